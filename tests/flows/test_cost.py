"""What a request may cost is bounded by its bytes: counted in steps, so that no busy neighbour changes the result.

A step is a line of Python that runs, ours or a library's, or a call of a function in C. What C does within one call is
seen by the other half of this module: the same work upon four times as much must not take sixteen times as long, both
measured at the same moment by this thread's own CPU time, in the best of several tries.
"""

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, run_wsgi_app

from bff.beacon import reports as beacon
from bff.beacon import sensitive
from bff.login.return_url import ReturnUrls
from bff.login.transaction import surplus_transactions
from bff.observability import logs, traces
from bff.oidc import jwt
from bff.routes import AuthzMapping, check_query, decoded_path
from bff.routes.content import json_body, parameters
from bff.routes.jsonpath import Selector
from bff.settings import AuthzMap
from bff.web import forwarded, problem
from bff.web.bearer import bearer_token
from bff.web.client_address import ClientAddressResolver
from bff.web.forward_auth import OriginalRequest
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.internet import BFF, Site, SiteFactory, proof, site
from tests.flows.policy import policies, with_pdp


class Steps:
    """Counts while it is entered."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> "Steps":
        sys.settrace(self._line)
        sys.setprofile(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        sys.setprofile(None)

    def _line(self, _frame: Any, event: str, _argument: Any) -> Any:
        self.number += event == "line"
        return self._line

    def _call(self, _frame: Any, event: str, _argument: Any) -> None:
        self.number += event == "c_call"


def steps(work: Callable[[], object]) -> int:
    with Steps() as counted, suppress(Exception):
        work()
    return counted.number


# Everything of ours that reads what strangers send, alone.


def one_report(text: str) -> bytes:
    return json.dumps({"event": "x", "path": text}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def reports(text: str) -> bytes:
    events = [{"event": "x", "path": text[start : start + 1000]} for start in range(0, len(text), 1000)]
    return json.dumps(events, ensure_ascii=False).encode("utf-8", "surrogatepass")


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


RETURNS = ReturnUrls("https://app.example", ["https://other.example"])
CLIENTS = [
    ClientAddressResolver((), unix_sockets=True),
    ClientAddressResolver((), unix_sockets=True, header="Forwarded"),
]
TYPED = AuthzMapping(AuthzMap("o", "a", None, (("a", "$.body.a? | number"), ("q", "$.query.q?"))))
WIDE = Selector("$.body..a")
READERS: dict[str, Callable[[str], object]] = {
    "a report": lambda text: beacon.read(one_report(text)),
    "several reports": lambda text: beacon.read(reports(text)),
    "a name": sensitive.kind_of_name,
    "a text": lambda text: [sensitive.kind_of_text(text[start : start + 1024]) for start in range(0, len(text), 1024)],
    "the log": logs.redact,
    "a log line": lambda text: logs.redact(json.dumps({"m": text})),
    "a log line in a log line": lambda text: logs.redact(json.dumps({"m": json.dumps({"token": text})})),
    "a correlation id": logs.correlation_id_for,
    "a trace": traces.is_sampled,
    "a return address": RETURNS.checked,
    "a return address of an origin": lambda text: RETURNS.checked("https://other.example/" + text),
    "a forwarded address": lambda text: CLIENTS[0].of({"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": text}),
    "Forwarded": lambda text: CLIENTS[1].of({"REMOTE_ADDR": "", "HTTP_FORWARDED": text}),
    "Forwarded's end": lambda text: forwarded.last(text[-512:]),
    "a bearer token": lambda text: bearer_token(f"Bearer {text}"),
    "a JWT": jwt.parse,
    "a JWT's header": lambda text: jwt.parse(f"{encoded(text.encode())}.e30.AA"),
    "a JWT's claims": lambda text: jwt.parse(f"e30.{encoded(text.encode())}.AA"),
    "a path": decoded_path,
    "a path of one segment": lambda text: decoded_path("/" + text),
    "a query": check_query,
    "a query for a policy": parameters,
    "a body for a policy": lambda text: json_body(text.encode(), "application/json", ""),
    "a body's property": lambda text: TYPED.asked({}, "q=" + text, text.encode(), "application/json", ""),
    "a media type": lambda text: json_body(b"{}", text, text),
    "a body searched through": lambda text: WIDE.all({"body": json_body(text.encode(), "application/json", "")}),
    "Accept": lambda text: problem.is_navigation({"HTTP_ACCEPT": text}),
    "nginx' question": lambda text: OriginalRequest.of({"PATH_INFO": "/auth/verify/nginx", "HTTP_X_ORIGINAL_URL":
    text}), "Envoy's question": lambda text: OriginalRequest.of(
        {"PATH_INFO": "/auth/verify/envoy/" + text, "RAW_URI": "/auth/verify/envoy/" + text, "REQUEST_METHOD": "GET"}
    ),
    "attempts": lambda text: surplus_transactions({f"bff_login_{number:016x}": text for number in range(len(text) //
    40)}),
}  # fmt: skip
PIECES = (
    "4-", "4 ", "4.", "4", "%2D4", "%25", "%", "%2525", "%C3", "a@", "@a.", "://:", "basic a ", "bearer a", "a=",
    '"a":', "a.b[c]-", "+1 (2) ", "0123/456 ", "234-567-", "AA11 AAAA ", "aB", "eyJ", "eyJ.", "token",
    '"token": "\\', "'token': '\\\\", '"code":', "\\", '\\"', "\u0315\u0300", "\ufdfa", "\u00e4", "\U0001d4b3",
    "authorization :", "deadbeef-", "1.1.1.1,", "for=1.1.1.1,", 'for="\\', ";a=b", "/a", "/./", "//", ";", "&", "a&",
    "a=b&", "[", "[[],", "[1,", "{", '{"a":', '{"a":1,', "1", "-", "1e", ".", ",", " ", "\t", "a;q=0.1,", "text/html,",
    "bff_login_", "=", "~", "#", "?", "https://", "[]", "-----BEGIN ",
)  # fmt: skip
SIZES = (2000, 8000)
PER_CHARACTER = 60  # steps; of all readers, a letter that has to be made plain costs most
READING = 2500  # whatever the size is: marshmallow's schemas


@pytest.mark.parametrize("reader", READERS)
def test_reading_costs_so_many_steps_for_each_character(reader: str) -> None:
    read = READERS[reader]
    read_whole = [steps(lambda text=piece * 8: read(text)) for piece in PIECES]  # type: ignore[misc]
    for piece, warm in zip(PIECES, read_whole, strict=True):
        for size in SIZES:
            text = (piece * size)[:size]
            number = steps(lambda text=text: read(text))  # type: ignore[misc]
            assert number <= READING + PER_CHARACTER * size, (piece, size, number, warm)


TRIES = 8


def seconds(work: Callable[[], object]) -> float:
    start = time.thread_time()
    with suppress(Exception):
        work()
    return time.thread_time() - start


def grows(work: Callable[[int], Callable[[], object]], size: int) -> float:
    """How many times as long four times as much takes, in the best of some tries; 4 where it is linear, and 16 where
    it is not. 0 for what is too short to be measured."""
    best = float("inf")
    for _ in range(TRIES):
        small, large = (min(seconds(work(size * factor)) for _ in range(3)) for factor in (1, 4))
        if large < 0.002:
            return 0.0
        best = min(best, large / small)
        if best < 7:
            break
    return best


@pytest.mark.parametrize("reader", READERS)
def test_what_c_does_grows_with_the_size_and_not_with_its_square(reader: str) -> None:
    read = READERS[reader]
    for piece in PIECES:
        assert grows(lambda size, piece=piece: lambda: read((piece * size)[:size]), 4000) < 10, piece  # type: ignore[misc]


# Every endpoint, through all that is around it.

HEADS: dict[str, tuple[str, str]] = {
    "cookies": ("Cookie", "a=b; "),
    "cookies of login attempts": ("Cookie", "bff_login_0123456789abcdef=1; "),
    "quotes in a cookie": ("Cookie", 'bff_session="'),
    "blanks in a cookie": ("Cookie", "bff_session= ;"),
    "addresses": ("X-Forwarded-For", "1.1.1.1,"),
    "elements of Forwarded": ("Forwarded", 'for="\\'),
    "media types": ("Accept", "a/b;q=0.1,"),
    "languages": ("Accept-Language", "de;q=0.1,"),
    "codings": ("Accept-Encoding", "gzip;q=0.1,"),
    "parameters of a media type": ("Content-Type", ";a=b"),
    "a token": ("Authorization", "Bearer eyJ."),
    "a correlation id": ("X-Correlation-ID", "a-"),
    "a request id": ("X-Request-ID", "a-"),
    "a trace": ("traceparent", "00-"),
    "states of a trace": ("tracestate", "a=b,"),
    "baggage": ("baggage", "a=b,"),
    "a CSRF token": ("X-CSRF-Token", "a."),
    "an origin": ("Origin", "https://a"),
    "an original URL": ("X-Original-URL", "https://a/%25"),
    "an original address": ("X-Forwarded-Uri", "/a%25"),
    "an original host": ("X-Forwarded-Host", "a.a:"),
    "entity tags": ("If-None-Match", '"a",'),
    "ranges": ("Range", "bytes=0-0,"),
    "a name": ("User-Agent", "Version/1 "),
    "requested headers": ("Access-Control-Request-Headers", "a,"),
    "hops": ("Connection", "a,"),
}
QUERIES = ("a=b&", "%25", "state=a&", "return_to=", "name[]=a&", ";", "iss=a&sid=b&", "login_hint=%F0")
HEAD = 4000
PER_BYTE = 12


def endpoints(bff: Site) -> Iterator[tuple[str, str]]:
    """(method, path) of all that there are, what is in front of Flask included."""
    yield from (
        ("GET", path) for path in ("/auth/verify", "/auth/forward", "/auth/verify/nginx", "/auth/verify/envoy/a")
    )
    for rule in bff.app.url_map.iter_rules():
        path = rule.rule.replace("<anything:_rest>", "orders").replace("<reference>", "0" * 24)
        path = path.replace("<path:filename>", "bff.js").partition("<")[0]
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, path


@dataclass
class Asking:
    bff: Site
    alice: Browser
    proof: dict[str, str]

    def steps(
        self, method: str, path: str, query: str = "", fields: dict[str, str] | None = None, body: bytes = b""
    ) -> int:
        """By a client that is logged in and has a CSRF token, unless the fields say otherwise."""
        cookies = "; ".join(f"{each.name}={each.value}" for each in self.alice.cookies)
        sent = {"Cookie": cookies, "Content-Type": "application/json", **self.proof} | (fields or {})
        asked = EnvironBuilder(path, BFF, query_string=query, method=method, data=body, headers=Headers(sent))
        environ = asked.get_environ()
        environ["REMOTE_ADDR"] = "203.0.113.7"
        return steps(lambda: run_wsgi_app(self.bff.app.wsgi_app, environ))


LIMITS = ("login", "callback", "backchannel_logout", "frontchannel_logout", "evaluation", "beacon")


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    folder, clock = tmp_path_factory.mktemp("cost"), Clock()
    rules = policies(folder / "policies", all="permit(principal, action, resource);")
    limits = ";".join(f"{name}=1000000/minute" for name in LIMITS)
    environ = {"RATE_LIMITS": limits, "TRUSTED_PROXIES": "203.0.113.0/24", "SESSION_BINDING": "off"}
    key = RSAKey.generate_key(2048, {"kid": "first", "alg": "RS256", "use": "sig"})
    bff = site(folder, clock, key, environ, change=with_pdp(policies=rules))
    alice = bff.logged_in()
    yield Asking(bff, alice, proof(alice))
    bff.services.close()


ENDED = {"/auth/logout", "/access/v1/invalidate"}
"""Whose success ends what the next request needs, or needs what is not configured; asked without a session here."""
NOBODY = {"Cookie": "", "X-CSRF-Token": ""}


def test_every_endpoint_s_head_costs_so_many_steps_for_each_byte(asking: Asking) -> None:
    for method, path in endpoints(asking.bff):
        without = NOBODY if path in ENDED else {}
        plain = max(asking.steps(method, path, fields=without) for _ in range(2))
        for what, (name, piece) in HEADS.items():
            value = (piece * HEAD)[:HEAD]
            number = asking.steps(method, path, fields={**without, name: value})
            assert number <= plain + READING + PER_BYTE * HEAD, (method, path, what, plain, number)
        for piece in QUERIES:
            number = asking.steps(method, path, (piece * HEAD)[:HEAD], without)
            assert number <= plain + READING + PER_BYTE * HEAD, (method, path, piece, plain, number)


@pytest.mark.parametrize("path", ["/api/", "/auth/", "/static/", "/auth/verify/envoy/", "/.well-known/", "/"])
@pytest.mark.parametrize("piece", ["a/", "/", "%2e%2e/", "%25", "..;/", "%C3%A4"])
def test_a_path_of_a_thousand_segments(asking: Asking, path: str, piece: str) -> None:
    plain = asking.steps("GET", path)
    assert asking.steps("GET", path + (piece * HEAD)[:HEAD]) <= plain + READING + PER_BYTE * HEAD


BODY = 60_000
PER_BODY_BYTE = 30  # of JSON that a schema judges member by member


def body(piece: str, size: int = BODY) -> bytes:
    return (piece * size)[:size].encode()


def whole(piece: str, size: int = BODY) -> bytes:
    """JSON that is an array of so much."""
    return b"[" + ",".join([piece] * (size // (len(piece) + 1))).encode() + b"]"


def questions(context: object, number: int) -> bytes:
    """About the context, which stands once for all."""
    asked = {"action": {"name": "a"}, "resource": {"type": "t", "id": "1"}}
    return json.dumps({**asked, "context": context, "evaluations": [{}] * number}).encode()


UNREADABLE = ("[", '{"a":', "1", "[1,", "a&", "a=b&", "%25", '"', "\\", "logout_token=e30.&")
MEMBERS = ("1", "[]", "{}", '"a"', "9" * 4000, '{"event":"x"}', '{"everywhere":true}')
BODIES: dict[str, bytes] = {
    **{f"so much of {piece}": body(piece) for piece in UNREADABLE},
    **{f"a list of {piece[:20]}": whole(piece) for piece in MEMBERS},
    "many names": json.dumps({f"name{number}": number for number in range(4000)}).encode(),
    "one name often": b"{" + b",".join([b'"a":1'] * 8000) + b"}",
    "many questions": questions({}, 4000),
    "fifty questions about much": questions({"a": "x" * 55_000}, 50),
    "fifty questions about many things": questions({f"n{number}": 1 for number in range(4000)}, 50),
    "a long token": b"logout_token=eyJhbGciOiJSUzI1NiJ9." + b"A" * 50_000 + b".AAAA",
    "a token of many parts": b"logout_token=" + b"e30." * 12_000,
    "a deep token": b"logout_token=e30." + encoded(b'{"a":' * 8000).encode() + b".AA",
}
TYPES = ("application/json", "application/x-www-form-urlencoded", "text/plain")


@pytest.mark.parametrize("what", BODIES)
def test_every_endpoint_s_body_costs_so_many_steps_for_each_byte(asking: Asking, what: str) -> None:
    content = BODIES[what]
    for method, path in endpoints(asking.bff):
        for content_type in TYPES if method == "POST" else ():
            without = NOBODY if path in ENDED else {}
            plain = asking.steps(method, path, fields={**without, "Content-Type": content_type})
            number = asking.steps(method, path, fields={**without, "Content-Type": content_type}, body=content)
            assert number <= plain + READING + PER_BODY_BYTE * len(content), (path, content_type, plain, number)


def question(**more: Any) -> dict[str, Any]:
    return {"action": {"name": "a"}, "resource": {"type": "t", "id": "1"}, **more}


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (question(context={"a": "x" * 55_000}, evaluations=[{}] * 50), 400),
        (question(context={"a": "x" * 1000}, evaluations=[{}] * 50), 200),
        (question(context={"a": "x" * 1000}, evaluations=[{}] * 51), 400),
        (question(context={"a": "x" * 1000}, evaluations=[{"context": {"a": "x" * 1300}}] * 40), 200),
    ],
)
def test_questions_are_bounded_in_number_times_size(asking: Asking, asked: dict[str, Any], status: int) -> None:
    answer = asking.alice.fetch("/access/v1/evaluations", method="POST", json=asked, headers=proof(asking.alice))
    assert answer.status_code == status, answer.text


def test_each_question_is_one_hit(new_site: SiteFactory, tmp_path: Path) -> None:
    rules = policies(tmp_path / "policies", all="permit(principal, action, resource);")
    bff = new_site(RATE_LIMITS="evaluation=20/minute", change=with_pdp(policies=rules))
    alice = bff.logged_in()

    def ask(number: int) -> int:
        body = question(evaluations=[{}] * number)
        return alice.fetch("/access/v1/evaluations", method="POST", json=body, headers=proof(alice)).status_code

    assert [ask(8), ask(8), ask(8), ask(3), ask(1)] == [200, 200, 429, 200, 429]
