"""`on_error: allow` is for outages. Whatever a request can bring about itself is none, on either engine (ADR 38)."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from bff.errors import (
    AccessDenied,
    InsufficientScope,
    ProviderUnavailable,
    StoreUnavailable,
    TokenRefused,
    TokenUnavailable,
)
from bff.oidc.dpop import Dpop
from bff.pdp.authzen import METADATA
from bff.pdp.cedar import Cedar
from bff.pdp.credential import ClientCredentialsBearer
from bff.pdp.model import Cause, NoDecision, ResourceAction, properties
from bff.settings import OnError, ServiceSettings, TokenKind
from tests.clock import Clock
from tests.flows.policy import read
from tests.unit.pdp.support import Told, question
from tests.unit.pdp.test_authzen import BAD, BASE, ONE, Answer, Pdp, breaks, made, says, times_out
from tests.unit.pdp.test_cedar import UNSAYABLE
from tests.unit.pdp.test_enforcement import ABOUT, ALICE, Sink
from tests.unit.pdp.test_enforcement import made as guarded


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cause(ask: Any) -> Cause:
    with pytest.raises(NoDecision) as caught:
        ask()
    return caught.value.cause


OUTAGES: dict[str, Answer] = {
    "no connection": breaks,
    "no answer in time": times_out,
    **{str(status): says({"decision": True}, status) for status in (429, 500, 502, 503, 504, 599)},
}
OTHERS = {name: answer for name, answer in BAD.items() if name not in ("too often", "broken")} | {
    str(status): says({}, status) for status in (*range(400, 429), *range(430, 452), 301, 308, 206)
}


@pytest.mark.parametrize("answer", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_at_a_remote_one(clock: Clock, answer: Answer) -> None:
    pdp = Pdp(clock)
    pdp.on(ONE, answer)
    assert cause(lambda: made(pdp, clock).decide(question())) is Cause.OUTAGE


@pytest.mark.parametrize("answer", OTHERS.values(), ids=OTHERS)
def test_what_is_no_outage_at_a_remote_one(clock: Clock, answer: Answer) -> None:
    pdp = Pdp(clock)
    pdp.on(ONE, answer)
    assert cause(lambda: made(pdp, clock).decide(question())) is not Cause.OUTAGE


@pytest.mark.parametrize("status", [400, 413, 422])
def test_who_has_read_the_question_and_refuses_it_speaks_of_the_question(clock: Clock, status: int) -> None:
    pdp = Pdp(clock)
    pdp.on(ONE, says({}, status))
    assert cause(lambda: made(pdp, clock).decide(question())) is Cause.QUESTION


@pytest.mark.parametrize("size", [1, 10])
def test_answers_that_are_too_large_open_no_circuit(clock: Clock, size: int) -> None:
    """Else who can cause them could cause an outage for everybody."""
    pdp = Pdp(clock)
    pdp.on(ONE, BAD["too much"])
    client = made(pdp, clock)
    for _ in range(20 * size):
        assert cause(lambda: client.decide(question())) is Cause.MISTAKE


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(says({}, 500), Cause.OUTAGE), (says({}, 429), Cause.OUTAGE), (breaks, Cause.OUTAGE), (says({}), Cause.MISTAKE)],
)
def test_metadata(clock: Clock, answer: Answer, expected: Cause) -> None:
    pdp = Pdp(clock)
    pdp.on(BASE + METADATA, answer)
    assert cause(lambda: made(pdp, clock).decide(question())) is expected


@pytest.mark.parametrize("asked", UNSAYABLE.values(), ids=UNSAYABLE)
def test_what_cedar_cannot_say(tmp_path: Path, asked: Any) -> None:
    (tmp_path / "all.cedar").write_text("permit(principal, action, resource);")
    assert cause(lambda: Cedar(read(tmp_path), "roles").decide(asked)) is Cause.QUESTION


@pytest.mark.parametrize("value", ["60", [60], {"n": 60}, True])
def test_what_a_rule_of_cedar_fails_on(tmp_path: Path, value: object) -> None:
    rules = "permit(principal, action, resource); forbid(principal, action, resource) when { resource.n > 50 };"
    (tmp_path / "all.cedar").write_text(rules)
    asked = question(resource_properties=properties({"n": value}))
    assert cause(lambda: Cedar(read(tmp_path), "roles").decide(asked)) is Cause.MISTAKE


def test_a_type_that_cedar_has_no_name_for(tmp_path: Path) -> None:
    (tmp_path / "all.cedar").write_text("permit(principal, action, resource);")
    assert cause(lambda: Cedar(read(tmp_path), "roles").decide(question(resource="9x"))) is Cause.MISTAKE


class Failing:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def ensure(self, *_: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TokenUnavailable(), Cause.OUTAGE),
        (ProviderUnavailable(), Cause.OUTAGE),
        (StoreUnavailable(), Cause.OUTAGE),
        (TokenRefused(), Cause.MISTAKE),
        (InsufficientScope(), Cause.MISTAKE),
    ],
)
def test_a_token_that_cannot_be_had(clock: Clock, error: Exception, expected: Cause) -> None:
    service = ServiceSettings("pdp", TokenKind.CLIENT_CREDENTIALS)
    own = ClientCredentialsBearer(cast(Any, Failing(error)), service, Dpop(clock), lambda work: work(), clock, clock)
    assert cause(lambda: own.headers(BASE, 1)) is expected


@pytest.mark.parametrize(
    ("undecided", "passes", "code"),
    [
        (NoDecision("timeout"), True, ""),
        (NoDecision("connection"), True, ""),
        (NoDecision("circuit_open"), True, ""),
        (NoDecision("bad_response", Cause.OUTAGE), True, ""),
        (NoDecision("bad_response", Cause.QUESTION), False, "property_invalid"),
        (NoDecision("properties"), False, "property_invalid"),
        *[(NoDecision(each), False, "error") for each in ("bad_response", "refused", "policy", "type", "token", "new")],
    ],
)
def test_who_passes_without_a_decision(undecided: NoDecision, passes: bool, code: str) -> None:
    pdp, sink = Told(), Sink()
    enforcement = guarded(pdp, sink, OnError.ALLOW)

    def decide(*_: Any) -> Any:
        raise undecided

    pdp.decide = decide  # type: ignore[assignment,method-assign]
    asked = ResourceAction("orders", "read", "7")
    if passes:
        enforcement.enforce(ALICE, asked, **ABOUT)
    else:
        with pytest.raises(AccessDenied) as caught:
            enforcement.enforce(ALICE, asked, **ABOUT)
        assert caught.value.code == code
        assert "moment" not in caught.value.detail, "it lasts"
    event = sink.last()
    assert (event["decision"], event["passed"], event["reason"]) == ("error", passes, undecided.reason)
    assert json.dumps(event["reason"])
