"""Decision cache: this worker's copies of the policy decision point's answers, so that most requests cost no call.

The key is the whole question (but not its correlation id, on which no decision depends). A grant lives for `allow_ttl`
seconds and a denial for `deny_ttl`, each off when 0. Threads with the same question at the same moment make one call
(single flight). A failure is not cached; the breaker in front of the PDP keeps it cheap.

The PDP may report changed policies or data. The BFF publishes the report, and every worker's listener drops the
affected decisions, all of them when in doubt. While the listener is not connected the cache is off. A change may arrive
during a call to the PDP: then earlier requests get the answer, but it is neither cached nor given to later requests:

    request                        listener
    generation -> 7
    the PDP is asked
                                   "changed": drop, generation = 8
    generation is not 7 any more: answer, but do not cache
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
"""Characters of the longest question in the cache; callers choose some of them, and this bounds the memory."""


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
        self._changing = threading.Lock()  # a cached question takes no lock
        self._generation = 0
        self._truthful = False
        self._subscription: Subscription | None = None
        self._single_flight = SingleFlight()
        self._hit, self._miss = (metrics.AUTHZ_CACHE.labels(result).inc for result in ("hit", "miss"))

    def start(self) -> None:
        """Starts the listener; the cache is off until it is connected."""
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
        """Whether the listener is connected, so that decisions may be cached."""
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
        """One decision per question in order, up to the question where the semantic ends the list. All questions that
        are not cached go into one call. Raises NoDecision."""
        known = [self._cached(question) for question in questions]
        last = next((number for number, decision in enumerate(known) if decision and semantic.ends(decision)), None)
        known = known if last is None else known[: last + 1]
        for decision in known:
            (self._hit if decision else self._miss)()
        missing = [question for question, decision in zip(questions, known, strict=False) if decision is None]
        return _merged(known, self._asked_all(missing, semantic, correlation_id), semantic)

    def change(self, *, subject: tuple[str, str] | None = None, resource: tuple[str, str] | None = None) -> None:
        """Makes every worker drop the decisions about one subject or resource, each as (type, id), or all of them.
        Raises StoreUnavailable."""
        self._kv.publish(CHANGES, json.dumps({"subject": subject, "resource": resource}))

    def _cached(self, question: Evaluation) -> Decision | None:
        found = self._remembered.get(question)
        return found.decision if found is not None and self._clock() < found.until else None

    def _asked(self, question: Evaluation, correlation_id: str, generation: int) -> Decision:
        if (known := self._cached(question)) is not None:
            return known  # another flight landed just before this one began
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
                # Oldest first, not least recently used: decisions live for seconds.
                del self._remembered[next(iter(self._remembered))]
            self._remembered[question] = Remembered(decision, self._clock() + life)

    def _changed(self, message: str) -> None:
        forgotten = _is_invalidated(message)
        with self._changing:
            self._generation += 1
            for question in [question for question in self._remembered if forgotten(question)]:
                del self._remembered[question]

    def _listening(self, connected: bool) -> None:
        """Clears the cache, since messages of changes may have been missed in the gap."""
        with self._changing:
            self._generation += 1
            self._remembered.clear()
            self._truthful = connected


def _is_invalidated(message: str) -> Callable[[Evaluation], bool]:
    """Returns a predicate of the affected questions; all of them when the message is of an unknown form."""
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
    """Merges cached and fetched decisions in the order of the questions, until one ends the list."""
    answers, merged = iter(asked), []
    for decision in known:
        found = next(answers, None) if decision is None else decision
        if found is None:
            break
        merged.append(found)
        if semantic.ends(found):
            break
    return merged
