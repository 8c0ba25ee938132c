"""Who is let through, what they are told otherwise, and what is counted, audited and logged of it."""

import logging
from collections.abc import Callable
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from bff.crypto import Keyring
from bff.errors import AccessDenied
from bff.events.audit import Audit
from bff.events.model import Data, EventType
from bff.kv import KeyValue
from bff.pdp.decision_cache import DecisionCache
from bff.pdp.enforcement import (
    LONGEST_ASKED,
    UNDECIDED,
    WHY,
    Names,
    PolicyEnforcementPoint,
    Request,
    context,
    context_with,
)
from bff.pdp.model import Cause, Decision, ResourceAction, Semantic, Subject, properties
from bff.settings import AuthzMap, OnError, PdpSettings, RouteSettings, VerifyProfile
from tests.clock import Clock
from tests.unit.pdp.support import ALLOW, DENY, Channel, Told, question
from tests.unit.support import counted

ALICE = Subject("user", "alice", properties({"roles": ["clerk"]}))
ROUTES = (
    RouteSettings("r1", "/api/orders/{id}", "orders", authz=True, authz_map=AuthzMap("orders", "read")),
    RouteSettings("r2", "/api/hidden", "orders", authz=False, authz_map=AuthzMap("hidden", "peek")),
    RouteSettings("r3", "/api/unmapped", "orders", authz=True),
)
PROFILES = (VerifyProfile("wiki", resource="wiki"), VerifyProfile("plain"))
ABOUT: dict[str, Any] = {
    "client_address": "203.0.113.7",
    "correlation_id": "correlation-1",
    "route": "r1",
    "user": "alice",
}


class Sink:
    def __init__(self) -> None:
        self.events: list[tuple[str, Data]] = []

    def emit(self, event_type: str, data: Data) -> None:
        self.events.append((event_type, data))

    def last(self) -> dict[str, Any]:
        event_type, data = self.events[-1]
        assert event_type is EventType.AUTHZ_DECISION
        return dict(data)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def pdp() -> Told:
    return Told()


@pytest.fixture
def enforcement(pdp: Told, sink: Sink) -> PolicyEnforcementPoint:
    return made(pdp, sink)


def made(pdp: Told, sink: Sink, on_error: OnError = OnError.DENY) -> PolicyEnforcementPoint:
    decisions = DecisionCache(pdp, cast(KeyValue, Channel()), PdpSettings(), Clock())
    decisions.start()
    audit = Audit(sink, Keyring([b"k" * 32]).mac("audit-user"))
    return PolicyEnforcementPoint(decisions, audit, Names(ROUTES, PROFILES), on_error)


def requests(resource: str = "orders", action: str = "read", decision: str = "allow") -> float:
    return counted("bff_authz_requests_total", resource=resource, action=action, decision=decision)


def denied(ask: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(AccessDenied) as caught:
        ask()
    return caught.value.code, caught.value.detail


def test_who_may_goes_on(enforcement: PolicyEnforcementPoint, pdp: Told, sink: Sink) -> None:
    before, latencies = requests(), counted("bff_authz_latency_seconds_count", resource="orders")
    enforcement.enforce(ALICE, ResourceAction("orders", "read", "7", properties({"amount": 5})), **ABOUT)
    asked = question(resource_properties=properties({"amount": 5}), context=context("203.0.113.7"))
    assert (pdp.asked, pdp.correlation_ids) == ([asked], ["correlation-1"])
    assert requests() == before + 1
    assert counted("bff_authz_latency_seconds_count", resource="orders") == latencies + 1
    event = sink.last()
    assert 0 < event.pop("latency") < 5
    assert len(event.pop("user")) == 24, "a keyed pseudonym, too short for a log to take it for a credential"
    assert event == {
        "decision": "allow", "passed": True, "resource": "orders", "action": "read", "id": "7", "route": "r1",
        "correlation_id": "correlation-1", "reason": "",
    }  # fmt: skip


def test_who_may_not_is_told_why(enforcement: PolicyEnforcementPoint, sink: Sink) -> None:
    before = requests(decision="deny")
    assert denied(lambda: enforcement.enforce(ALICE, ResourceAction("orders", "read", "secret"), **ABOUT)) == (
        "deny",
        "Not you.",
    )
    assert requests(decision="deny") == before + 1
    event = sink.last()
    assert (event["decision"], event["passed"], event["reason"]) == ("deny", False, "Not you.")


@pytest.mark.parametrize(
    ("general", "own", "passes"),
    [
        (OnError.DENY, None, False),
        (OnError.DENY, OnError.DENY, False),
        (OnError.DENY, OnError.ALLOW, True),
        (OnError.ALLOW, None, True),
        (OnError.ALLOW, OnError.DENY, False),
    ],
)
def test_without_a_decision(pdp: Told, sink: Sink, general: OnError, own: OnError | None, passes: bool) -> None:
    enforcement, before = made(pdp, sink, general), requests(decision="error")
    pdp.failing = "timeout"
    asked = ResourceAction("orders", "read", "7")
    if passes:
        enforcement.enforce(ALICE, asked, **ABOUT, on_error=own)
    else:
        assert denied(lambda: enforcement.enforce(ALICE, asked, **ABOUT, on_error=own)) == ("error", UNDECIDED)
    assert requests(decision="error") == before + 1
    event = sink.last()
    assert (event["decision"], event["passed"], event["reason"]) == ("error", passes, "timeout")


def test_no_question_is_so_long_that_its_answer_takes_long(pdp: Told, sink: Sink) -> None:
    enforcement = made(pdp, sink, OnError.ALLOW)
    longest = ResourceAction(
        "orders", "read", "7" * 1000, properties({"a": "x" * (LONGEST_ASKED - 1000 - len('{"a":""}'))})
    )
    enforcement.enforce(ALICE, longest, **ABOUT)
    longer = longest._replace(id=longest.id + "7")
    assert denied(lambda: enforcement.enforce(ALICE, longer, **ABOUT)) == ("property_invalid", WHY[Cause.QUESTION])
    assert len(pdp.asked) == 1


def test_on_error_lets_no_denial_pass(enforcement: PolicyEnforcementPoint) -> None:
    asked = ResourceAction("orders", "read", "secret")
    assert denied(lambda: enforcement.enforce(ALICE, asked, **ABOUT, on_error=OnError.ALLOW))[0] == "deny"


@pytest.mark.parametrize(
    ("code", "counted_as"), [("no_mapping", "no_mapping"), ("bad_body", "deny"), ("missing_id", "deny")]
)
def test_what_no_question_could_be_put_about(
    enforcement: PolicyEnforcementPoint, sink: Sink, pdp: Told, code: str, counted_as: str
) -> None:
    before = requests("orders", "read", counted_as)
    told = {"correlation_id": "correlation-1", "route": "r3", "user": "alice"}
    error = enforcement.refused(code, ResourceAction("orders", "read", ""), **told, detail="No id.")
    assert (error.code, error.detail, error.status) == (code, "No id.", 403)
    assert requests("orders", "read", counted_as) == before + 1
    event = sink.last()
    assert (event["decision"], event["passed"], event["reason"], event["route"]) == (counted_as, False, code, "r3")
    assert pdp.asked == []


LABELS = [
    (("orders", "read"), ("orders", "read")),
    (("wiki", "GET"), ("wiki", "GET")),
    (("wiki", "BREW"), ("wiki", "other")),
    (("orders", "delete"), ("orders", "other")),
    (("hidden", "peek"), ("other", "other")),
    (("alice@example.com", "read"), ("other", "read")),
    (("", ""), ("other", "other")),
]


@pytest.mark.parametrize(("named", "labels"), LABELS)
def test_only_what_the_configuration_names_is_a_label(
    enforcement: PolicyEnforcementPoint, named: tuple[str, str], labels: tuple[str, str]
) -> None:
    before = requests(*labels)
    enforcement.enforce(ALICE, ResourceAction(*named, "7"), **ABOUT)
    assert requests(*labels) == before + 1


def test_a_thousand_names_are_one_series(enforcement: PolicyEnforcementPoint) -> None:
    def series() -> set[tuple[str, ...]]:
        found = next(iter(REGISTRY.restricted_registry(["bff_authz_requests_total"]).collect())).samples
        return {tuple(sample.labels.values()) for sample in found}

    enforcement.enforce(ALICE, ResourceAction("first", "first", "7"), **ABOUT)
    before = series()
    for number in range(1000):
        enforcement.enforce(ALICE, ResourceAction(f"r{number}", f"a{number}", "7"), **ABOUT)
    assert series() == before


def test_the_log_tells_of_denials_but_not_of_persons_or_things(
    enforcement: PolicyEnforcementPoint, pdp: Told, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        enforcement.enforce(ALICE, ResourceAction("orders", "read", "7"), **ABOUT)
        assert caplog.records == [], "who passes is in the audit and in the access log"
        denied(lambda: enforcement.enforce(ALICE, ResourceAction("orders", "read", "secret"), **ABOUT))
        denied(lambda: enforcement.enforce(ALICE, ResourceAction("somebody's", "own", "secret"), **ABOUT))
        pdp.failing = "timeout"
        enforcement.enforce(ALICE, ResourceAction("orders", "read", "8"), **ABOUT, on_error=OnError.ALLOW)
    assert [record.message for record in caplog.records] == ["access_denied", "access_denied", "access_undecided"]
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING"]
    first, second, third = (vars(record) for record in caplog.records)
    assert [first[name] for name in ("decision", "resource", "action", "route", "passed")] == [
        "deny", "orders", "read", "r1", False,
    ]  # fmt: skip
    assert (second["resource"], second["action"]) == ("other", "other")
    assert (third["reason"], third["passed"]) == ("timeout", True)
    shown = " ".join(str(vars(record)) for record in caplog.records)
    assert not any(word in shown for word in ("alice", "secret", "somebody", "203.0.113.7"))


def test_users_have_the_same_pseudonym_each_time_and_another_than_others(
    enforcement: PolicyEnforcementPoint, sink: Sink
) -> None:
    for who in ("alice", "bob", "alice"):
        enforcement.enforce(ALICE, ResourceAction("orders", "read", "7"), **{**ABOUT, "user": who})
    one, other, again = (str(data["user"]) for _, data in sink.events)
    assert one == again != other
    assert "alice" not in one


def test_nobody_shows_a_person_by_accident() -> None:
    shown = (
        repr(ALICE) + repr(question()) + repr(Request("c", "r", "alice")) + repr(ResourceAction("orders", "read", "7"))
    )
    assert not any(word in shown for word in ("alice", "clerk", "'7'"))


# For those who only want to know.

BEHIND = Request("correlation-1", "/access/v1/evaluations", "alice")


def test_answers_are_decisions(enforcement: PolicyEnforcementPoint, sink: Sink) -> None:
    asked = [question("7"), question("secret"), question("8")]
    assert enforcement.answer(asked, Semantic.EXECUTE_ALL, BEHIND) == [ALLOW, DENY, ALLOW]
    assert enforcement.answer(asked, Semantic.DENY_ON_FIRST_DENY, BEHIND) == [ALLOW, DENY]
    assert [str(data["decision"]) for _, data in sink.events] == ["allow", "deny", "allow", "allow", "deny"]
    assert sink.last()["route"] == "/access/v1/evaluations"


@pytest.mark.parametrize(
    ("semantic", "answers"),
    [(Semantic.EXECUTE_ALL, 2), (Semantic.DENY_ON_FIRST_DENY, 1), (Semantic.PERMIT_ON_FIRST_PERMIT, 2)],
)
def test_what_is_undecided_is_said_even_where_requests_may_go_on(
    pdp: Told, sink: Sink, semantic: Semantic, answers: int
) -> None:
    pdp.failing = "connection"
    enforcement = made(pdp, sink, OnError.ALLOW)
    answered = enforcement.answer([question("7"), question("8")], semantic, BEHIND)
    assert [each.reason for each in answered] == ["connection"] * answers
    assert [(data["decision"], data["passed"]) for _, data in sink.events] == [("error", False)] * answers


def test_the_context_is_the_clients_address_whatever_else_is_said() -> None:
    assert context("203.0.113.7") == '{"client_address":"203.0.113.7"}'
    said = {"client_address": "127.0.0.1", "time": "noon"}
    assert context_with("203.0.113.7", said) == '{"client_address":"203.0.113.7","time":"noon"}'
    with pytest.raises(ValueError, match="JSON"):
        context_with("203.0.113.7", {"x": float("nan")})


def test_a_decision_without_a_reason(pdp: Told, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdp, "decide", lambda *_: Decision(False))
    enforcement = made(pdp, sink)
    assert denied(lambda: enforcement.enforce(ALICE, ResourceAction("orders", "read", "7"), **ABOUT)) == ("deny", "")
