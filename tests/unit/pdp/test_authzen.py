"""What a remote policy decision point may say and not say, and what is made of it."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse

from bff.http import HttpClient, Response
from bff.pdp.authzen import LONGEST_REASON, METADATA, Authzen, Credential
from bff.pdp.credential import FixedBearer
from bff.pdp.model import Decision, NoDecision, Semantic, properties
from tests.clock import Clock
from tests.unit.pdp.support import question

BASE = "https://pdp.example"
ONE, SEVERAL = f"{BASE}/access/v1/evaluation", f"{BASE}/access/v1/evaluations"
TIMEOUT = 2.0
DOCUMENT = {
    "policy_decision_point": BASE,
    "access_evaluation_endpoint": ONE,
    "access_evaluations_endpoint": SEVERAL,
}
Answer = Callable[[requests.PreparedRequest], tuple[int, bytes]]


def says(content: object, status: int = 200) -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda _request: (status, body)


def breaks(_request: requests.PreparedRequest) -> tuple[int, bytes]:
    raise requests.ConnectionError


def times_out(_request: requests.PreparedRequest) -> tuple[int, bytes]:
    raise requests.Timeout


@dataclass
class Pdp(BaseAdapter):
    """Answers by URL, in order, the last answer for ever. It remembers what it was asked."""

    clock: Clock
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    seen: list[requests.PreparedRequest] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    takes: float = 0.0

    def on(self, url: str, *answers: Answer) -> None:
        self.answers[url] = list(answers)

    def send(self, request: requests.PreparedRequest, *_args: Any, **options: Any) -> requests.Response:
        self.seen.append(request)
        self.limits.append(options["timeout"].total)
        self.clock.now += self.takes
        queue = self.answers.get(request.url or "", [says({}, 404)])
        status, body = (queue.pop(0) if len(queue) > 1 else queue[0])(request)
        raw = HTTPResponse(io.BytesIO(body), status=status, preload_content=False)
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        return

    def calls(self, url: str) -> int:
        return sum(request.url == url for request in self.seen)

    def sent(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.seen[-1].body or b"")
        return content


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pdp(clock: Clock) -> Pdp:
    pdp = Pdp(clock)
    pdp.on(BASE + METADATA, says(DOCUMENT))
    pdp.on(ONE, says({"decision": True}))
    return pdp


@pytest.fixture
def client(pdp: Pdp, clock: Clock) -> Authzen:
    return made(pdp, clock)


def made(pdp: Pdp, clock: Clock, credential: Credential | None = None, base_url: str = BASE) -> Authzen:
    def pause(seconds: float) -> None:
        clock.now += seconds

    http = HttpClient("pdp", timeout=TIMEOUT, whole=True, adapter=pdp, clock=clock, wait=pause, random=lambda: 0.5)
    return Authzen(base_url, TIMEOUT, http, credential, clock)


def undecided(ask: Callable[[], object]) -> str:
    with pytest.raises(NoDecision) as caught:
        ask()
    return caught.value.reason


def test_a_question_as_the_standard_has_it(client: Authzen, pdp: Pdp) -> None:
    asked = question(
        resource_properties=properties({"amount": 7}),
        context=properties({"client_address": "203.0.113.7"}),
        action_properties=properties({"soft": True}),
    )
    assert client.decide(asked, "correlation-1") == Decision(True)
    assert pdp.sent() == {
        "subject": {"type": "user", "id": "alice", "properties": {"roles": ["clerk"]}},
        "action": {"name": "read", "properties": {"soft": True}},
        "resource": {"type": "orders", "id": "7", "properties": {"amount": 7}},
        "context": {"client_address": "203.0.113.7"},
    }
    headers = pdp.seen[-1].headers
    assert (headers["X-Request-ID"], headers["Content-Type"]) == ("correlation-1", "application/json")
    assert "Authorization" not in headers


BAD: dict[str, Answer] = {
    "text for true": says({"decision": "true"}),
    "a number for true": says({"decision": 1}),
    "null": says({"decision": None}),
    "a list": says({"decision": [True]}),
    "nothing": says({}),
    "another name": says({"Decision": True}),
    "a list around it": says([{"decision": True}]),
    "true itself": says(True),
    "no JSON": says(b"true"),
    "HTML": says(b"<html>"),
    "an empty answer": says(b""),
    "too much": says(b'{"decision": true, "x": "' + b"x" * 1024 * 1024 + b'"}'),
    "created": says({"decision": True}, 201),
    "no content": says(b"", 204),
    "elsewhere": says({"decision": True}, 307),
    "what a bad request gets": says({"decision": True}, 400),
    "not there": says({"decision": True}, 404),
    "too often": says({"decision": True}, 429),
    "broken": says({"decision": True}, 500),
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
def test_nothing_else_is_a_decision(client: Authzen, pdp: Pdp, answer: Answer) -> None:
    pdp.on(ONE, answer)
    assert undecided(lambda: client.decide(question())) == "bad_response"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(breaks, "connection"), (times_out, "timeout"), (says({}, 401), "refused"), (says({}, 403), "refused")],
)
def test_why_there_is_none(client: Authzen, pdp: Pdp, answer: Answer, reason: str) -> None:
    pdp.on(ONE, answer)
    assert undecided(lambda: client.decide(question())) == reason


def test_asking_again_is_the_same_as_asking_once(client: Authzen, pdp: Pdp) -> None:
    pdp.on(ONE, breaks, says({}, 503), says({"decision": True}))
    assert client.decide(question()) == Decision(True)
    assert pdp.calls(ONE) == 3


def test_after_many_failures_it_is_left_alone_for_a_second(client: Authzen, pdp: Pdp, clock: Clock) -> None:
    client.decide(question())
    pdp.on(ONE, times_out)
    for _ in range(5):
        assert undecided(lambda: client.decide(question())) == "timeout"
    assert undecided(lambda: client.decide(question())) == "circuit_open"
    assert pdp.calls(ONE) == 7, "and one in the BFF's own words"
    pdp.on(ONE, says({"decision": False}))
    clock.now += 1
    assert client.decide(question()) == Decision(False)


REASONS: list[tuple[Any, str]] = [
    ({"reason_user": "Not now."}, "Not now."),
    ({"reason_user": {"en": "Not now.", "de": "Nicht jetzt."}}, "Not now."),
    ({"reason_user": {"403": "Not now."}}, "Not now."),
    ({"reason_user": {"de": "Nicht jetzt.", "en": ""}}, ""),
    ({"reason": "policy_denied"}, "policy_denied"),
    ({"reason_user": "a", "reason": "b"}, "a"),
    ({"reason_user": 7, "reason": "b"}, "b"),
    ({"reason_user": {}, "reason": "b"}, "b"),
    ({"reason_user": {"en": ["x"]}}, ""),
    ({"reason_admin": {"en": "Policy C076E82F"}}, ""),
    ({"reason_user": "two\r\nlines\x00\x1b[31m\u202e"}, "two lines [31m"),
    ({"reason_user": "x" * 5000}, "x" * LONGEST_REASON),
    ({}, ""),
    (None, ""),
    ("text", ""),
    ([], ""),
]


@pytest.mark.parametrize(("context", "reason"), REASONS)
def test_what_the_person_is_told(client: Authzen, pdp: Pdp, context: Any, reason: str) -> None:
    pdp.on(ONE, says({"decision": False, "context": context}))
    assert client.decide(question()) == Decision(False, reason)


# Where it is.


def test_its_metadata_says_where_it_answers_and_is_asked_once(client: Authzen, pdp: Pdp) -> None:
    pdp.on(BASE + METADATA, says({**DOCUMENT, "access_evaluation_endpoint": "https://other.example/ask"}))
    pdp.on("https://other.example/ask", says({"decision": True}))
    for _ in range(2):
        assert client.decide(question()).allowed
    assert (pdp.calls(BASE + METADATA), pdp.calls(ONE)) == (1, 0)


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_without_metadata_the_paths_are_the_standards(client: Authzen, pdp: Pdp, status: int) -> None:
    pdp.on(BASE + METADATA, says({"error": "?"}, status))
    pdp.on(SEVERAL, says({"evaluations": [{"decision": True}]}))
    assert client.decide(question()).allowed
    assert client.decide_all([question()], Semantic.EXECUTE_ALL) == [Decision(True)]


def test_a_tenant_has_its_metadata_behind_the_well_known_path(pdp: Pdp, clock: Clock) -> None:
    base = f"{BASE}/tenant1"
    pdp.on(f"{BASE}{METADATA}/tenant1", says({**DOCUMENT, "policy_decision_point": base}))
    assert made(pdp, clock, base_url=base).decide(question()).allowed


METADATA_LIES: dict[str, tuple[Answer, str]] = {
    "another's": (says({**DOCUMENT, "policy_decision_point": "https://evil.example"}), "metadata"),
    "nobody's": (says({"access_evaluation_endpoint": ONE}), "metadata"),
    "no endpoint": (says({"policy_decision_point": BASE}), "metadata"),
    "in the clear": (says({**DOCUMENT, "access_evaluation_endpoint": "http://pdp.example/x"}), "metadata"),
    "several in the clear": (says({**DOCUMENT, "access_evaluations_endpoint": "http://pdp.example/x"}), "metadata"),
    "no URL": (says({**DOCUMENT, "access_evaluation_endpoint": "/access/v1/evaluation"}), "metadata"),
    "no text": (says({**DOCUMENT, "access_evaluation_endpoint": 7}), "metadata"),
    "a redirect": (says({}, 302), "metadata"),
    "no JSON": (says(b"<html>"), "bad_response"),
    "broken": (says({}, 500), "metadata"),
    "gone": (breaks, "connection"),
    "slow": (times_out, "timeout"),
}


@pytest.mark.parametrize(("answer", "reason"), METADATA_LIES.values(), ids=METADATA_LIES)
def test_metadata_that_is_not_believed(client: Authzen, pdp: Pdp, answer: Answer, reason: str) -> None:
    pdp.on(BASE + METADATA, answer)
    assert undecided(lambda: client.decide(question())) == reason
    assert undecided(client.check) == reason
    assert pdp.calls(ONE) == 0
    pdp.on(BASE + METADATA, says(DOCUMENT))
    pdp.clock.now += 1
    client.check()
    assert client.decide(question()).allowed


def test_what_was_known_serves_while_metadata_cannot_be_had(client: Authzen, pdp: Pdp) -> None:
    client.check()
    pdp.on(BASE + METADATA, breaks)
    assert undecided(client.check) == "connection"
    assert client.decide(question()).allowed


def test_an_endpoint_that_is_gone_is_looked_for_anew(client: Authzen, pdp: Pdp) -> None:
    client.check()
    pdp.on(ONE, says({}, 404))
    moved = f"{BASE}/v2/evaluation"
    pdp.on(BASE + METADATA, says({**DOCUMENT, "access_evaluation_endpoint": moved}))
    pdp.on(moved, says({"decision": True}))
    assert undecided(lambda: client.decide(question())) == "bad_response"
    assert client.decide(question()).allowed


# Several questions.


def test_what_questions_share_is_said_once(client: Authzen, pdp: Pdp) -> None:
    context = properties({"client_address": "203.0.113.7"})
    pdp.on(SEVERAL, says({"evaluations": [{"decision": True}, {"decision": False, "context": {"reason": "no"}}]}))
    asked = [question("1", context=context), question("2", context=context)]
    assert client.decide_all(asked, Semantic.EXECUTE_ALL, "c") == [Decision(True), Decision(False, "no")]
    assert pdp.sent() == {
        "subject": {"type": "user", "id": "alice", "properties": {"roles": ["clerk"]}},
        "context": {"client_address": "203.0.113.7"},
        "evaluations": [
            {"action": {"name": "read"}, "resource": {"type": "orders", "id": "1"}},
            {"action": {"name": "read"}, "resource": {"type": "orders", "id": "2"}},
        ],
        "options": {"evaluations_semantic": "execute_all"},
    }


def test_what_they_do_not_share_is_said_with_each(client: Authzen, pdp: Pdp) -> None:
    pdp.on(SEVERAL, says({"evaluations": [{"decision": True}, {"decision": True}]}))
    client.decide_all([question("1", "alice", context='{"a":1}'), question("2", "bob")], Semantic.EXECUTE_ALL)
    first, second = pdp.sent()["evaluations"]
    assert (first["subject"]["id"], second["subject"]["id"]) == ("alice", "bob")
    assert (first["context"], "context" in second, "subject" in pdp.sent()) == ({"a": 1}, False, False)


T, F = {"decision": True}, {"decision": False}
LISTS: list[tuple[Semantic, Any, str]] = [
    (Semantic.EXECUTE_ALL, [T, F, T], "TFT"),
    (Semantic.EXECUTE_ALL, [T, F], ""),
    (Semantic.EXECUTE_ALL, [T, F, T, T], ""),
    (Semantic.EXECUTE_ALL, [], ""),
    (Semantic.DENY_ON_FIRST_DENY, [T, F], "TF"),
    (Semantic.DENY_ON_FIRST_DENY, [F], "F"),
    (Semantic.DENY_ON_FIRST_DENY, [T, T, T], "TTT"),
    (Semantic.DENY_ON_FIRST_DENY, [T, T, F], "TTF"),
    (Semantic.DENY_ON_FIRST_DENY, [T, T], ""),
    (Semantic.DENY_ON_FIRST_DENY, [T, F, T], ""),
    (Semantic.DENY_ON_FIRST_DENY, [T, T, T, F], ""),
    (Semantic.DENY_ON_FIRST_DENY, [], ""),
    (Semantic.PERMIT_ON_FIRST_PERMIT, [F, T], "FT"),
    (Semantic.PERMIT_ON_FIRST_PERMIT, [T], "T"),
    (Semantic.PERMIT_ON_FIRST_PERMIT, [F, F, F], "FFF"),
    (Semantic.PERMIT_ON_FIRST_PERMIT, [F, F], ""),
    (Semantic.PERMIT_ON_FIRST_PERMIT, [F, T, T], ""),
    (Semantic.EXECUTE_ALL, [T, {"decision": "true"}, T], ""),
    (Semantic.EXECUTE_ALL, [T, None, T], ""),
    (Semantic.EXECUTE_ALL, [T, {"context": {"error": {"status": 404}}}, T], ""),
    (Semantic.EXECUTE_ALL, {"0": T, "1": T, "2": T}, ""),
    (Semantic.EXECUTE_ALL, None, ""),
]


@pytest.mark.parametrize(("semantic", "answers", "expected"), LISTS)
def test_how_many_answers_there_must_be(
    client: Authzen, pdp: Pdp, semantic: Semantic, answers: Any, expected: str
) -> None:
    """expected: what is made of them, empty for nothing."""
    pdp.on(SEVERAL, says({"evaluations": answers}))
    asked = [question(number) for number in "123"]
    if expected:
        decisions = client.decide_all(asked, semantic)
        assert "".join("T" if each.allowed else "F" for each in decisions) == expected
    else:
        assert undecided(lambda: client.decide_all(asked, semantic)) == "bad_response"


@pytest.mark.parametrize(
    ("semantic", "calls"),
    [(Semantic.EXECUTE_ALL, 3), (Semantic.DENY_ON_FIRST_DENY, 2), (Semantic.PERMIT_ON_FIRST_PERMIT, 1)],
)
def test_a_pdp_that_answers_one_question_at_a_time(client: Authzen, pdp: Pdp, semantic: Semantic, calls: int) -> None:
    pdp.on(BASE + METADATA, says({"policy_decision_point": BASE, "access_evaluation_endpoint": ONE}))
    pdp.on(ONE, says(T), says(F), says(T))
    decisions = client.decide_all([question(number) for number in "123"], semantic)
    assert (len(decisions), pdp.calls(ONE)) == (calls, calls)


CONTRADICTIONS = [
    [question(), question()._replace(subject_properties="{}")],
    [question(), question()._replace(subject_type="client")],
    [question(), question("8")._replace(subject_properties="{}")],
    [question(), question(who="bob", resource_properties='{"amount":1}')],
]


@pytest.mark.parametrize("asked", CONTRADICTIONS)
def test_what_a_pdp_might_mix_up_is_asked_one_by_one(client: Authzen, pdp: Pdp, asked: list[Any]) -> None:
    assert client.decide_all(asked, Semantic.EXECUTE_ALL) == [Decision(True), Decision(True)]
    assert (pdp.calls(SEVERAL), pdp.calls(ONE)) == (0, 2)


# Who asks, and how long.


def test_a_fixed_token(pdp: Pdp, clock: Clock) -> None:
    pdp.on(ONE, says({}, 401))
    assert undecided(lambda: made(pdp, clock, FixedBearer("t" * 40)).decide(question())) == "refused"
    assert pdp.seen[-1].headers["Authorization"] == "Bearer " + "t" * 40
    assert pdp.calls(ONE) == 1, "another try would end the same"


class Renewing:
    """A Credential that has another token when the first one is refused."""

    def __init__(self, clock: Clock, takes: float = 0.0) -> None:
        self._clock, self._takes = clock, takes
        self.renewed = 0

    def headers(self, url: str, seconds: float) -> Mapping[str, str]:
        self._clock.now += self._takes
        return {"Authorization": "Bearer first"}

    def others(self, url: str, refused: Response, seconds: float) -> Mapping[str, str] | None:
        self.renewed += 1
        return {"Authorization": "Bearer second"}


def test_a_refused_token_is_renewed_once(pdp: Pdp, clock: Clock) -> None:
    def only_the_second(request: requests.PreparedRequest) -> tuple[int, bytes]:
        return says(T)(request) if request.headers["Authorization"] == "Bearer second" else says({}, 401)(request)

    pdp.on(ONE, only_the_second)
    credential = Renewing(clock)
    assert made(pdp, clock, credential).decide(question()).allowed
    pdp.on(ONE, says({}, 401))
    assert undecided(lambda: made(pdp, clock, credential).decide(question())) == "refused"
    assert (credential.renewed, pdp.calls(ONE)) == (2, 4)


def test_all_calls_of_a_decision_share_its_time(pdp: Pdp, clock: Clock) -> None:
    """The token, the metadata, a refusal and the second try: each may take what the ones before have left."""
    pdp.takes = 0.4
    pdp.on(ONE, says({}, 401), says(T))
    assert made(pdp, clock, Renewing(clock, takes=0.5)).decide(question()).allowed
    assert pdp.limits == [pytest.approx(left) for left in (2.0, 1.1, 0.7)]


def test_what_is_left_when_time_is_over(pdp: Pdp, clock: Clock) -> None:
    started = clock.now
    pdp.takes = 0.9
    pdp.on(ONE, says({}, 503))
    assert undecided(lambda: made(pdp, clock).decide(question())) in ("timeout", "bad_response")
    assert clock.now - started < TIMEOUT * 1.1 + pdp.takes
    assert undecided(lambda: made(pdp, clock, Renewing(clock, takes=TIMEOUT)).decide(question())) == "timeout"
