"""Policy enforcement point: raises AccessDenied for a request that the policy does not allow; counts and audits each.

A question holds the subject (with roles and permissions), the action, the resource, and the client's address as
context. A request without a clear grant is denied. The exception is an outage of the PDP on a route with
`on_error: allow`: a failure that a request can cause by its content lets no request pass (ADR 38).
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
"""Characters of an id and properties from a request. A longer question could keep a PDP busy until the timeout, and the
sender's own doing would pass for an outage."""
_REMEMBERED = 4096
_Record = Callable[[float, metrics.Exemplar], None]


class Request(NamedTuple):
    """The audited facts of the request behind a question. route: its id, or a path template. user: as applications
    see it; the audit event carries only a keyed pseudonym."""

    correlation_id: str
    route: str
    user: str

    def __repr__(self) -> str:
        return f"Request({self.route})"


class Names:
    """Closed label values: the resources and actions that a route or a verify profile names; all else is `other`."""

    def __init__(self, routes: Collection[RouteSettings], profiles: Collection[VerifyProfile]) -> None:
        maps = [route.authz_map for route in routes if route.authz and route.authz_map]
        asked = {profile.resource for profile in profiles if profile.resource}
        self.resources = frozenset({each.resource for each in maps} | asked)
        self.actions = frozenset({each.action for each in maps} | (labels.METHODS if asked else set()))


class PolicyEnforcementPoint:
    def __init__(self, decisions: DecisionCache, audit: Audit, names: Names, on_error: OnError = OnError.DENY) -> None:
        """on_error: the default for callers without one."""
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
        """Raises AccessDenied: `deny` with the policy's reason; without a decision `property_invalid` if the request is
        the cause, else `error`. With `on_error: allow` only an outage lets the request pass."""
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
        """The same for callers that only ask: one decision per question in order, up to the question where the semantic
        ends the list. Undecided stands for a missing decision and counts as a denial, even with `on_error: allow`."""
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
        """The error for a request from which no question could be made. code: no_mapping, or the request's fault."""
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
        """(resource, action) as closed label values for metrics and traces."""
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
    """Fields for the log, without the policy's reason: its text may name the user or the resource."""
    return {"resource": resource, "action": action, "route": request.route, "passed": passes}


def _refuse_long(asked: ResourceAction) -> None:
    """Raises NoDecision."""
    if len(asked.id) + len(asked.properties) > LONGEST_ASKED:
        raise NoDecision("properties")


def evaluation_request(subject: Subject, asked: ResourceAction, client_address: str) -> Evaluation:
    return Evaluation(*subject, asked.action, asked.resource, asked.id, asked.properties, context(client_address))


@functools.lru_cache(maxsize=_REMEMBERED)
def context(client_address: str) -> str:
    """AuthZEN's context, serialised by `properties`."""
    return context_with(client_address, {})


def context_with(client_address: str, more: Mapping[str, Any]) -> str:
    """more: a caller's members; they cannot replace the address. Raises ValueError for values that JSON lacks."""
    return properties({**more, ADDRESS: client_address})


def _resource_action(question: Evaluation) -> ResourceAction:
    return ResourceAction(question.resource_type, question.action, question.resource_id, question.resource_properties)
