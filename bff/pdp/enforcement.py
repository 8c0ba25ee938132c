"""Whoever protects something asks here: the answer is let through or AccessDenied, and it is counted and audited.

What a decision is made of: who asks (with roles and permissions), what they want to do to what, and the client's
address as context. A request that is not clearly allowed is denied, unless its route was declared to go on without a
decision (`on_error: allow`) and nobody answers: what a request can bring about itself lets no request pass (ADR 38).
"""

import functools
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from bff.errors import AccessDenied
from bff.events.audit import Audit
from bff.observability import labels, metrics, traces
from bff.observability.traces import exemplar
from bff.pdp.decision_cache import DecisionCache
from bff.pdp.model import Cause, Decision, Evaluation, NoDecision, ResourceAction, Semantic, Subject, properties
from bff.settings import OnError, RouteSettings, VerifyProfile

log = logging.getLogger(__name__)

ALLOW, DENY, ERROR, NO_MAPPING = "allow", "deny", "error", "no_mapping"
UNDECIDED = "We can't check your permission right now. Please try again in a moment."
WHY = {
    Cause.OUTAGE: UNDECIDED,
    Cause.QUESTION: "The policy cannot decide about the values in this request.",
    Cause.MISTAKE: "The policy cannot decide about this request. If that happens again, contact this site's support.",
}
CODES = {Cause.OUTAGE: ERROR, Cause.QUESTION: "property_invalid", Cause.MISTAKE: ERROR}
ADDRESS = "client_address"
LONGEST_ASKED = 32 * 1024
"""Characters of an id and properties that a request may bring in. A longer question could keep a PDP busy until the
time is over, and what its sender has caused would pass for an outage."""
_REMEMBERED = 4096
_Record = Callable[[float, metrics.Exemplar], None]


class Request(NamedTuple):
    """What is audited of the request behind a question. route: its id, or a path template. user: as applications see
    it; only a keyed pseudonym of it is told."""

    correlation_id: str
    route: str
    user: str

    def __repr__(self) -> str:
        return f"Request({self.route})"


class Names:
    """Which resources and actions have a metric label of their own: those that a route or a verify profile names."""

    def __init__(self, routes: Collection[RouteSettings], profiles: Collection[VerifyProfile]) -> None:
        maps = [route.authz_map for route in routes if route.authz and route.authz_map]
        asked = {profile.resource for profile in profiles if profile.resource}
        self.resources = frozenset({each.resource for each in maps} | asked)
        self.actions = frozenset({each.action for each in maps} | (labels.METHODS if asked else set()))


class PolicyEnforcementPoint:
    def __init__(self, decisions: DecisionCache, audit: Audit, names: Names, on_error: OnError = OnError.DENY) -> None:
        """on_error: where a caller does not say its own."""
        self._decisions = decisions
        self._audit = audit
        self._names = names
        self._on_error = on_error
        self._records: dict[tuple[str, str, str], _Record] = {}

    def enforce(
        self,
        subject: Subject,
        asked: ResourceAction,
        *,
        client_address: str,
        correlation_id: str,
        route: str,
        user: str,
        on_error: OnError | None = None,
    ) -> None:
        """Raises AccessDenied: deny, with the policy's reason; when no decision can be had property_invalid, where the
        request is why, else error. Only an outage lets a request go on that was declared with `on_error: allow`."""
        start = time.perf_counter()
        request = Request(correlation_id, route, user)
        try:
            with traces.span("decision", self._named(asked)) as span:
                _refuse_long(asked)
                decision = self._decisions.decide(evaluation_request(subject, asked, client_address), correlation_id)
                span.set_attribute("bff.decision", ALLOW if decision.allowed else DENY)
        except NoDecision as err:
            passes = err.cause is Cause.OUTAGE and (on_error or self._on_error) is OnError.ALLOW
            self._tell(ERROR, asked, request, start, err.reason, passes)
            if not passes:
                raise AccessDenied(WHY[err.cause], code=CODES[err.cause]) from err
            return
        self._tell(ALLOW if decision.allowed else DENY, asked, request, start, decision.reason, decision.allowed)
        if not decision.allowed:
            raise AccessDenied(decision.reason)

    def answer(
        self, questions: Sequence[Evaluation], semantic: Semantic, request: Request
    ) -> list[Decision | NoDecision]:
        """The same for callers who want to know rather than to do: one decision per question in order, as far as the
        semantic goes. Undecided for one that cannot be had, which is as good as a denial whatever `on_error` says."""
        start = time.perf_counter()
        decided: list[Decision | NoDecision] = []
        try:
            with traces.span("decisions", {}):
                decided += self._decided(questions, semantic, request.correlation_id)
        except NoDecision as err:
            decided += [err] * (1 if semantic is Semantic.DENY_ON_FIRST_DENY else len(questions))
        for each, decision in zip(questions, decided, strict=False):
            if isinstance(decision, NoDecision):
                self._tell(ERROR, _resource_action(each), request, start, decision.reason, False)
            else:
                told = ALLOW if decision.allowed else DENY
                self._tell(told, _resource_action(each), request, start, decision.reason, decision.allowed)
        return decided

    def refused(
        self, code: str, asked: ResourceAction, *, correlation_id: str, route: str, user: str, detail: str = ""
    ) -> AccessDenied:
        """The error for a request about which no question could be put. code: no_mapping, or what was wrong with it."""
        counted = NO_MAPPING if code == NO_MAPPING else DENY
        self._tell(counted, asked, Request(correlation_id, route, user), time.perf_counter(), code, False)
        return AccessDenied(detail, code=code)

    def _decided(self, questions: Sequence[Evaluation], semantic: Semantic, correlation_id: str) -> list[Decision]:
        if len(questions) == 1:
            return [self._decisions.decide(questions[0], correlation_id)]
        return self._decisions.decide_all(questions, semantic, correlation_id)

    def _tell(
        self, decision: str, asked: ResourceAction, request: Request, start: float, reason: str, passes: bool
    ) -> None:
        resource, action = self._closed(asked)
        seconds = time.perf_counter() - start
        self._record(resource, action, decision)(seconds, exemplar())
        self._audit.decision(
            {
                "decision": decision,
                "passed": passes,
                "resource": asked.resource,
                "action": asked.action,
                "id": asked.id,
                "route": request.route,
                "user": self._audit.pseudonym(request.user),
                "correlation_id": request.correlation_id,
                "latency": seconds,
                "reason": reason,
            }
        )
        if decision == ERROR:
            log.warning("access_undecided", extra={**_facts(resource, action, request, passes), "reason": reason})
        elif decision != ALLOW:
            log.info("access_denied", extra={**_facts(resource, action, request, passes), "decision": decision})

    def _closed(self, asked: ResourceAction) -> tuple[str, str]:
        """(resource, action) as metrics and traces may name them."""
        resource = asked.resource if asked.resource in self._names.resources else labels.OTHER
        return resource, asked.action if asked.action in self._names.actions else labels.OTHER

    def _named(self, asked: ResourceAction) -> dict[str, str]:
        resource, action = self._closed(asked)
        return {"bff.resource": resource, "bff.action": action}

    def _record(self, resource: str, action: str, decision: str) -> _Record:
        names = resource, action, decision
        record = self._records.get(names)
        if record is None:
            record = self._records[names] = metrics.authz_recorder(*names)
        return record


def _facts(resource: str, action: str, request: Request, passes: bool) -> dict[str, object]:
    """For the log. A policy's reason is not among them, since it may speak of the person or the thing."""
    return {"resource": resource, "action": action, "route": request.route, "passed": passes}


def _refuse_long(asked: ResourceAction) -> None:
    """Raises NoDecision."""
    if len(asked.id) + len(asked.properties) > LONGEST_ASKED:
        raise NoDecision("properties")


def evaluation_request(subject: Subject, asked: ResourceAction, client_address: str) -> Evaluation:
    return Evaluation(*subject, asked.action, asked.resource, asked.id, asked.properties, context(client_address))


@functools.lru_cache(maxsize=_REMEMBERED)
def context(client_address: str) -> str:
    """AuthZEN's context, as `properties` writes it."""
    return context_with(client_address, {})


def context_with(client_address: str, more: Mapping[str, Any]) -> str:
    """more: what a caller adds; the address stays ours. Raises ValueError for what JSON cannot say."""
    return properties({**more, ADDRESS: client_address})


def _resource_action(question: Evaluation) -> ResourceAction:
    return ResourceAction(question.resource_type, question.action, question.resource_id, question.resource_properties)
