"""What this worker remembers of the policy decision point's answers, so that most requests cost no call.

A decision is remembered under the whole question (but not its correlation id, on which no decision depends): a grant
for `allow_ttl` seconds and a denial for `deny_ttl`, each off when 0. Threads that ask the same question at the same
moment make one call. A failure is not remembered; the breaker in front of the PDP is what keeps it cheap.

The PDP may say that its policies or data changed. That is published, and every worker's listener forgets what it must,
everything when in doubt. While the listener is not connected nothing is remembered, and an answer that was under way
when something was to be forgotten is given to those who had asked before, but neither remembered nor given to those who
ask after:

    request                        listener
    generation -> 7
    the PDP is asked
                                   "changed": forget, generation = 8
    generation is not 7 any more: answer, but do not remember
"""

import json
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bff.kv import KeyValue, Subscription
from bff.lib.single_flight import SingleFlight
from bff.observability import metrics
from bff.pdp.model import Decision, Evaluation, NoDecision, PolicyDecisionPoint, Semantic
from bff.settings import PdpSettings

CHANGES = "decision-changes"
LONGEST = 4096
"""Characters of a question that is remembered; callers choose some of them, and memory is bounded by their number."""


class Remembered(NamedTuple):
    decision: Decision
    until: float


class DecisionCache:
    def __init__(
        self, pdp: PolicyDecisionPoint, kv: KeyValue, settings: PdpSettings, clock: Callable[[], float]
    ) -> None:
        """clock: seconds that only go forward."""
        self._pdp = pdp
        self._kv = kv
        self._life = {True: settings.allow_ttl, False: settings.deny_ttl}
        self._size = settings.cache_size if any(self._life.values()) else 0
        self._patience = settings.timeout
        self._clock = clock
        self._remembered: dict[Evaluation, Remembered] = {}
        self._changing = threading.Lock()  # a question that is remembered takes no lock
        self._generation = 0
        self._truthful = False
        self._subscription: Subscription | None = None
        self._single_flight = SingleFlight()
        self._hit, self._miss = (metrics.AUTHZ_CACHE.labels(result).inc for result in ("hit", "miss"))

    def start(self) -> None:
        """Begin to listen; until that works nothing is remembered."""
        if self._size and self._subscription is None:
            self._subscription = self._kv.subscribe(CHANGES, self._changed, self._listening)

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def __len__(self) -> int:
        return len(self._remembered)

    @property
    def truthful(self) -> bool:
        """Whether the listener is connected, so that decisions may be remembered."""
        return self._truthful

    def decide(self, question: Evaluation, correlation_id: str = "") -> Decision:
        """Raises NoDecision."""
        known = self._cached(question)
        if known is not None:
            self._hit()
            return known
        self._miss()
        generation = self._generation
        name = generation, question
        flight, leads = self._single_flight.join(name)
        if leads:
            return self._single_flight.run(name, flight, lambda: self._asked(question, correlation_id, generation))
        try:
            decision: Decision = flight.result(self._patience)
        except TimeoutError as err:
            raise NoDecision("timeout") from err
        return decision

    def decide_all(
        self, questions: Sequence[Evaluation], semantic: Semantic, correlation_id: str = ""
    ) -> list[Decision]:
        """One decision per question in order, as far as the semantic goes; in one call for all that are not remembered.
        Raises NoDecision."""
        known = [self._cached(question) for question in questions]
        last = next((number for number, decision in enumerate(known) if decision and semantic.ends(decision)), None)
        known = known if last is None else known[: last + 1]
        for decision in known:
            (self._hit if decision else self._miss)()
        missing = [question for question, decision in zip(questions, known, strict=False) if decision is None]
        return _merged(known, self._asked_all(missing, semantic, correlation_id), semantic)

    def change(self, *, subject: tuple[str, str] | None = None, resource: tuple[str, str] | None = None) -> None:
        """Let every worker forget the decisions about one subject or resource, each as (type, id), or all of them.
        Raises StoreUnavailable."""
        self._kv.publish(CHANGES, json.dumps({"subject": subject, "resource": resource}))

    def _cached(self, question: Evaluation) -> Decision | None:
        found = self._remembered.get(question)
        return found.decision if found is not None and self._clock() < found.until else None

    def _asked(self, question: Evaluation, correlation_id: str, generation: int) -> Decision:
        if (known := self._cached(question)) is not None:
            return known  # somebody landed just before this one boarded
        decision = self._pdp.decide(question, correlation_id)
        self._remember(question, decision, generation)
        return decision

    def _asked_all(self, questions: list[Evaluation], semantic: Semantic, correlation_id: str) -> list[Decision]:
        if not questions:
            return []
        generation = self._generation
        decisions = self._pdp.decide_all(questions, semantic, correlation_id)
        for question, decision in zip(questions, decisions, strict=False):
            self._remember(question, decision, generation)
        return decisions

    def _remember(self, question: Evaluation, decision: Decision, generation: int) -> None:
        life = self._life[decision.allowed]
        if not life or sum(map(len, question)) > LONGEST:
            return
        with self._changing:
            if not self._truthful or generation != self._generation:
                return
            self._remembered.pop(question, None)
            while len(self._remembered) >= self._size:
                # Oldest first. Decisions live for seconds, so being recently used says little.
                del self._remembered[next(iter(self._remembered))]
            self._remembered[question] = Remembered(decision, self._clock() + life)

    def _changed(self, message: str) -> None:
        forgotten = _is_invalidated(message)
        with self._changing:
            self._generation += 1
            for question in [question for question in self._remembered if forgotten(question)]:
                del self._remembered[question]

    def _listening(self, connected: bool) -> None:
        """Whatever was missed while the listener was away is unknown, so nothing is remembered across the gap."""
        with self._changing:
            self._generation += 1
            self._remembered.clear()
            self._truthful = connected


def _is_invalidated(message: str) -> Callable[[Evaluation], bool]:
    """Which questions are about what changed; all of them when the message does not say it in a way known here."""
    try:
        content = json.loads(message)
        subject, resource = (tuple(content[name] or ()) for name in ("subject", "resource"))
    except (ValueError, TypeError, KeyError):
        subject = resource = ()

    def is_meant(question: Evaluation) -> bool:
        about = not subject or subject == (question.subject_type, question.subject_id)
        return about and (not resource or resource == (question.resource_type, question.resource_id))

    return is_meant


def _merged(known: Sequence[Decision | None], asked: list[Decision], semantic: Semantic) -> list[Decision]:
    """In the order of the questions, the asked ones in the gaps, until one ends the list."""
    answers, merged = iter(asked), []
    for decision in known:
        found = next(answers, None) if decision is None else decision
        if found is None:
            break
        merged.append(found)
        if semantic.ends(found):
            break
    return merged
