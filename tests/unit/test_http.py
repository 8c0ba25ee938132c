"""Outbound HTTP against a real server on the loopback address that answers badly on request."""

import contextlib
import gzip
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, use_span
from prometheus_client import REGISTRY

from bff.dev.in_process import WsgiTransport
from bff.errors import UpstreamError
from bff.http import MAX_BODY, HttpClient, Response
from tests.clock import Clock
from tests.unit.support import counted

TIMEOUT = 0.15
PATIENT = 5.0
CLOSED, HALF_OPEN, OPEN = 0, 1, 2
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Upstream"

    def do_GET(self) -> None:
        self.server.calls[f"{self.command} {self.path}"] += 1
        self.server.last_headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.last_body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.answers.get(self.path, not_found)(self)

    def do_POST(self) -> None:
        self.do_GET()

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        return

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def break_off(self) -> None:
        """End the connection without a word."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def not_found(handler: Handler) -> None:
    handler.reply(404)


class Upstream(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.calls: Counter[str] = Counter()
        self.connections = 0
        self.last_headers: dict[str, str] = {}
        self.last_body = b""
        self.ended = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def on(self, path: str, answer: Answer) -> str:
        """Answer this path so; its URL."""
        self.answers[path] = answer
        return self.url(path)

    def hang(self, handler: Handler) -> None:
        """Say nothing until the test is over."""
        self.ended.wait(PATIENT)
        handler.close_connection = True

    def drip(self, handler: Handler) -> None:
        """Send a body byte by byte, each soon enough for a timeout between two reads."""
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not self.ended.wait(TIMEOUT / 3):
            handler.wfile.write(b"x")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    thread.join(PATIENT)
    server.server_close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Pauses(list[float]):
    """Lets no time pass but the clock's, and remembers what a call waited."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
        self._clock.now += seconds


@pytest.fixture
def pauses(clock: Clock) -> Pauses:
    return Pauses(clock)


@pytest.fixture
def client(clock: Clock, pauses: Pauses) -> Iterator[HttpClient]:
    client = HttpClient("test", timeout=PATIENT, clock=clock, wait=pauses, random=lambda: 0.5)
    yield client
    client.close()


def outcome(call: Callable[[], Response]) -> str:
    with pytest.raises(UpstreamError) as caught:
        call()
    assert "127.0.0.1" not in str(caught.value), "an error's text may reach a browser"
    return caught.value.outcome


def test_answers_come_back_whole(upstream: Upstream, client: HttpClient) -> None:
    url = upstream.on("/json", lambda handler: handler.reply(200, b'{"a": 1}', X_Test="yes"))
    answer = client.get(url, target="t", headers={"Authorization": "Bearer t"})
    assert (answer.status, answer.ok, answer.json(), answer.headers["x-test"]) == (200, True, {"a": 1}, "yes")
    assert upstream.last_headers["accept"] == "application/json"
    assert upstream.last_headers["authorization"] == "Bearer t"


def test_a_form_is_posted_once(upstream: Upstream, client: HttpClient) -> None:
    url = upstream.on("/token", lambda handler: handler.reply(400, b'{"error": "invalid_grant"}'))
    answer = client.post_form(url, {"code": "a b&c"}, target="token")
    assert (answer.status, answer.ok, upstream.last_body) == (400, False, b"code=a+b%26c")
    assert upstream.calls == {"POST /token": 1}


def test_connections_are_used_again(upstream: Upstream, client: HttpClient) -> None:
    url = upstream.on("/", lambda handler: handler.reply(200, b"{}"))
    for _ in range(3):
        client.get(url, target="t")
    assert (upstream.calls["GET /"], upstream.connections) == (3, 1)


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b'"text"', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        Response(200, {}, body).json()
    assert caught.value.outcome == "bad_response"


def test_a_timeout_must_be_named() -> None:
    client: Any = HttpClient
    with pytest.raises(TypeError, match="timeout"):
        client("test")


def test_silence_ends_in_a_timeout_and_is_not_repeated(upstream: Upstream) -> None:
    client = HttpClient("test", timeout=TIMEOUT)
    url = upstream.on("/hang", upstream.hang)
    assert outcome(lambda: client.get(url, target="t")) == "timeout"
    assert upstream.calls["GET /hang"] == 1
    client.close()


def test_a_body_that_never_ends_is_a_timeout(upstream: Upstream) -> None:
    """Each byte comes in time; only the whole does not."""
    client = HttpClient("test", timeout=TIMEOUT)
    url = upstream.on("/drip", upstream.drip)
    assert outcome(lambda: client.get(url, target="t")) == "timeout"
    assert upstream.calls["GET /drip"] == 1
    client.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_answers(upstream: Upstream, client: HttpClient, status: int) -> None:
    upstream.on("/elsewhere", lambda handler: handler.reply(200))
    url = upstream.on("/moved", lambda handler: handler.reply(status, Location="/elsewhere"))
    assert client.get(url, target="t").status == status
    assert client.post_form(url, {}, target="t").status == status
    assert upstream.calls["GET /elsewhere"] == 0


def test_a_body_may_have_one_mebibyte_and_no_more(upstream: Upstream, client: HttpClient) -> None:
    full = upstream.on("/full", lambda handler: handler.reply(200, b"x" * MAX_BODY))
    more = upstream.on("/more", lambda handler: handler.reply(200, b"x" * (MAX_BODY + 1)))
    assert len(client.get(full, target="t").body) == 1024 * 1024
    assert outcome(lambda: client.get(more, target="t")) == "bad_response"


def test_compression_does_not_get_around_the_limit(upstream: Upstream, client: HttpClient) -> None:
    small = gzip.compress(b'{"a": 1}')
    bomb = gzip.compress(b"x" * 64 * MAX_BODY)
    url = upstream.on("/small", lambda handler: handler.reply(200, small, Content_Encoding="gzip"))
    assert client.get(url, target="t").json() == {"a": 1}
    url = upstream.on("/bomb", lambda handler: handler.reply(200, bomb, Content_Encoding="gzip"))
    assert outcome(lambda: client.get(url, target="t")) == "bad_response"


def broken(times: int) -> Answer:
    """Break off so many connections, then answer."""
    left = [times]

    def answer(handler: Handler) -> None:
        left[0] -= 1
        if left[0] >= 0:
            handler.break_off()
        else:
            handler.reply(200, b"{}")

    return answer


def failing(status: int, times: int, **headers: str) -> Answer:
    """Answer so, so many times, then well."""
    left = [times]

    def answer(handler: Handler) -> None:
        left[0] -= 1
        handler.reply(status if left[0] >= 0 else 200, b"{}", **headers)

    return answer


def test_get_is_repeated_twice_after_a_broken_connection(upstream: Upstream, client: HttpClient) -> None:
    assert client.get(upstream.on("/twice", broken(2)), target="t").ok
    assert upstream.calls["GET /twice"] == 3
    url = upstream.on("/thrice", broken(3))
    assert outcome(lambda: client.get(url, target="t")) == "connection"
    assert upstream.calls["GET /thrice"] == 3


@pytest.mark.parametrize("status", [502, 503, 504])
def test_get_is_repeated_when_a_gateway_says_not_now(upstream: Upstream, client: HttpClient, status: int) -> None:
    assert client.get(upstream.on("/twice", failing(status, 2)), target="t").ok
    assert upstream.calls["GET /twice"] == 3
    assert client.get(upstream.on("/thrice", failing(status, 3)), target="t").status == status
    assert upstream.calls["GET /thrice"] == 3


@pytest.mark.parametrize("status", [400, 404, 429, 500, 501])
def test_no_other_answer_is_repeated(upstream: Upstream, client: HttpClient, pauses: Pauses, status: int) -> None:
    assert client.get(upstream.on("/", failing(status, 1)), target="t").status == status
    assert (upstream.calls["GET /"], pauses) == (1, [])


@pytest.mark.parametrize("answer", [broken(1), failing(503, 1)], ids=["broken", "503"])
def test_post_is_sent_once(upstream: Upstream, client: HttpClient, answer: Answer) -> None:
    url = upstream.on("/once", answer)
    with contextlib.suppress(UpstreamError):
        assert client.post_form(url, {}, target="t").status == 503
    assert upstream.calls["POST /once"] == 1


@pytest.mark.parametrize("answer", [broken(2), failing(503, 2)], ids=["broken", "503"])
def test_post_is_repeated_when_the_caller_says_so(upstream: Upstream, client: HttpClient, answer: Answer) -> None:
    url = upstream.on("/revoke", answer)
    assert client.post_form(url, {"token": "x"}, target="t", idempotent=True).ok
    assert (upstream.calls["POST /revoke"], upstream.last_body) == (3, b"token=x")


def test_each_attempt_proves_anew_who_sends_it(upstream: Upstream, client: HttpClient) -> None:
    proofs = iter(range(9))

    def prove(form: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        number = str(next(proofs))
        return {**form, "assertion": number}, {"X-Proof": number}

    url = upstream.on("/revoke", failing(503, 1))
    assert client.post_form(url, {"token": "x"}, target="t", prove=prove, idempotent=True).ok
    assert (upstream.last_body, upstream.last_headers["x-proof"]) == (b"token=x&assertion=1", "1")


@pytest.mark.parametrize(
    ("drawn", "retry_after", "expected"),
    [
        (0.0, {}, [0.05, 0.05]),
        (0.5, {}, [0.15, 0.15]),
        (0.999, {}, [0.2498, 0.2498]),
        (0.5, {"Retry_After": "0"}, [0.15, 0.15]),
        (0.5, {"Retry_After": "1"}, [1.15, 1.15]),
        (0.5, {"Retry_After": "2"}, []),
        (0.5, {"Retry_After": "Fri, 31 Dec 2027 23:59:59 GMT"}, []),
        (0.5, {"Retry_After": "soon"}, []),
    ],
)
def test_pauses_are_drawn_at_random_and_no_sooner_than_asked(
    upstream: Upstream, clock: Clock, pauses: Pauses, drawn: float, retry_after: dict[str, str], expected: list[float]
) -> None:
    client = HttpClient("test", timeout=PATIENT, clock=clock, wait=pauses, random=lambda: drawn)
    client.get(upstream.on("/", failing(503, 2, **retry_after)), target="t")
    assert pauses == pytest.approx(expected)
    assert upstream.calls["GET /"] == 1 + len(expected)
    client.close()


@pytest.mark.parametrize(("each_takes", "attempts"), [(1.0, 3), (2.4, 2), (4.9, 1)])
def test_no_repetition_begins_after_a_timeout(
    upstream: Upstream, client: HttpClient, clock: Clock, each_takes: float, attempts: int
) -> None:
    """With a timeout of 5 seconds, and pauses of 0.15."""

    def slow(handler: Handler) -> None:
        clock.now += each_takes
        handler.reply(503)

    assert client.get(upstream.on("/slow", slow), target="t").status == 503
    assert upstream.calls["GET /slow"] == attempts


def test_each_attempt_counts_for_the_breaker_which_ends_the_repetitions(
    upstream: Upstream, client: HttpClient, pauses: Pauses
) -> None:
    url = upstream.on("/down", lambda handler: handler.reply(503))
    assert client.get(url, target="t").status == 503
    assert client.get(url, target="t").status == 503, "the answer, not that the breaker opened on it"
    assert (upstream.calls["GET /down"], len(pauses)) == (5, 3)
    assert outcome(lambda: client.get(url, target="t")) == "circuit_open"
    assert (upstream.calls["GET /down"], len(pauses)) == (5, 3)


def test_a_body_cut_short_is_a_broken_connection(upstream: Upstream, client: HttpClient) -> None:
    def cut(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"{}")
        handler.break_off()

    url = upstream.on("/cut", cut)
    assert outcome(lambda: client.post_form(url, {}, target="t")) == "connection"


def test_a_closed_port_is_a_broken_connection(client: HttpClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        assert outcome(lambda: client.get(url, target="t")) == "connection"


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1/", "http://", "http://[", "http://127.0.0.1:port/"])
def test_a_url_that_is_none_is_an_upstream_error(client: HttpClient, url: str) -> None:
    assert outcome(lambda: client.get(url, target="t")) == "connection"


def test_the_breaker_opens_for_one_target_alone(upstream: Upstream, client: HttpClient, clock: Clock) -> None:
    failing = upstream.on("/down", lambda handler: handler.reply(503))
    fine = upstream.on("/up", lambda handler: handler.reply(200))
    for _ in range(5):
        assert client.post_form(failing, {}, target="token").status == 503
    assert outcome(lambda: client.post_form(failing, {}, target="token")) == "circuit_open"
    assert upstream.calls["POST /down"] == 5
    assert client.get(fine, target="jwks").ok

    clock.now += 1
    upstream.on("/down", lambda handler: handler.reply(200))
    assert client.post_form(failing, {}, target="token").ok
    assert client.post_form(failing, {}, target="token").ok, "closed again"


def poisoned(upstream: Upstream, fault: Answer) -> str:
    """An endpoint that one question is too much for, and that only takes POST."""

    def answer(handler: Handler) -> None:
        if handler.command == "GET":
            handler.reply(405)
        elif b"poison" in upstream.last_body:
            fault(handler)
        else:
            handler.reply(200, b"{}")

    return upstream.on("/ask", answer)


FAULTS: dict[str, Answer] = {
    "closes": Handler.break_off,
    "is silent": lambda handler: handler.server.hang(handler),
    "fails": lambda handler: handler.reply(500),
    "is unavailable": lambda handler: handler.reply(503),
    "says too much": lambda handler: handler.reply(200, b"x" * (MAX_BODY + 1)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("repeatable", [False, True])
def test_somebodys_words_open_no_breaker_for_everybody(
    upstream: Upstream, clock: Clock, pauses: Pauses, fault: str, repeatable: bool
) -> None:
    timeout, answers = TIMEOUT if fault == "is silent" else PATIENT, list[Response]()

    def patiently(work: Callable[[], None]) -> None:
        """Only silence is to take too long, and not an answer that a busy machine is late with."""
        asking._timeout = PATIENT
        work()
        asking._timeout = timeout

    asking = HttpClient("test", timeout=timeout, clock=clock, wait=pauses, random=lambda: 0.5, later=patiently)
    url = poisoned(upstream, FAULTS[fault])
    for _ in range(12):
        with contextlib.suppress(UpstreamError):
            asking.post_json(url, {"a": "poison"}, target="t", idempotent=repeatable, foreign=True)
    patiently(lambda: answers.append(asking.post_json(url, {"a": "b"}, target="t", foreign=True)))
    assert answers[0].ok
    asking.close()


def test_a_doubt_is_settled_in_our_own_words(upstream: Upstream, clock: Clock) -> None:
    jobs: list[Callable[[], None]] = []
    client = HttpClient("test", timeout=PATIENT, clock=clock, later=jobs.append)
    url = upstream.on("/ask", lambda handler: handler.reply(503))

    def post() -> Response:
        return client.post_form(url, {"code": "secret"}, target="t", headers={"A": "b"}, foreign=True)

    before = counted("circuit_breaks_total", service="test_t")
    for _ in range(5):
        assert post().status == 503
    assert len(jobs) == 1, "one asks for all"
    assert post().status == 503, "and nobody waits for it"
    jobs.pop()()
    assert (upstream.last_body, "a" in upstream.last_headers, upstream.calls["GET /ask"]) == (b"", False, 1)
    assert outcome(post) == "circuit_open"
    assert counted("circuit_breaks_total", service="test_t") == before + 1
    clock.now += 1
    assert post().status == 503
    jobs.pop()()
    assert outcome(post) == "circuit_open", "a probe's doubt is settled at once"
    clock.now += 1
    upstream.on("/ask", lambda handler: handler.reply(200))
    assert [post().status for _ in range(2)] == [200, 200]
    client.close()


def test_an_endpoint_that_does_not_know_get_is_there(upstream: Upstream, client: HttpClient) -> None:
    """An endpoint for POST alone may say so by 501 (RFC 9110 section 15.6.2), as well as by 404 or 405."""
    url = upstream.on("/ask", lambda handler: handler.reply(501 if handler.command == "GET" else 500))
    answers = [client.post_json(url, {}, target="t", foreign=True).status for _ in range(12)]
    assert (answers, upstream.calls["GET /ask"]) == ([500] * 12, 2)


def test_after_an_outage_a_poisoned_probe_keeps_nobody_out(
    upstream: Upstream, client: HttpClient, clock: Clock
) -> None:
    upstream.on("/ask", lambda handler: handler.reply(503))
    url = upstream.url("/ask")
    for _ in range(5):
        client.post_json(url, {}, target="t", foreign=True)
    assert outcome(lambda: client.post_json(url, {}, target="t", foreign=True)) == "circuit_open"
    poisoned(upstream, Handler.break_off)
    clock.now += 1
    assert outcome(lambda: client.post_json(url, {"a": "poison"}, target="t", foreign=True)) == "connection"
    assert client.post_json(url, {}, target="t", foreign=True).ok


def test_a_closed_port_leaves_no_doubt(clock: Clock) -> None:
    jobs: list[Callable[[], None]] = []
    client = HttpClient("test", timeout=PATIENT, clock=clock, later=jobs.append)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        outcomes = [outcome(lambda: client.post_form(url, {}, target="t", foreign=True)) for _ in range(6)]
    assert (outcomes, jobs) == (["connection"] * 5 + ["circuit_open"], [])
    client.close()


def test_the_breakers_metrics_tell_the_whole_story(upstream: Upstream, clock: Clock) -> None:
    client = HttpClient("idp_story", timeout=PATIENT, clock=clock)
    seen: list[float] = []

    def status() -> float:
        return counted("circuit_breaker_status", service="idp_story_token")

    def probed(handler: Handler) -> None:
        seen.append(status())
        handler.reply(200)

    def call(path: str) -> float:
        with contextlib.suppress(UpstreamError):
            client.post_form(upstream.url(path), {}, target="token")
        return status()

    upstream.on("/up", lambda handler: handler.reply(200))
    upstream.on("/down", lambda handler: handler.reply(503))
    upstream.on("/probed", probed)
    assert call("/up") == CLOSED
    assert [call("/down") for _ in range(5)] == [CLOSED] * 4 + [OPEN]
    assert call("/up") == OPEN, "a call that is held back changes nothing"
    clock.now += 1
    assert call("/down") == OPEN, "a probe that fails"
    clock.now += 1
    assert call("/probed") == CLOSED
    assert seen == [HALF_OPEN]
    assert counted("circuit_breaks_total", service="idp_story_token") == 1
    client.close()


def test_the_breakers_metrics_name_endpoints_and_no_addresses(upstream: Upstream, client: HttpClient) -> None:
    before = breakers()
    for number in range(20):
        client.get(upstream.on(f"/users/{number}", lambda handler: handler.reply(200)), target="userinfo")
    assert breakers() - before <= {"test_userinfo"}


def breakers() -> set[str]:
    return {
        sample.labels["service"]
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "circuit_breaker_status"
    }


def test_a_refusal_is_an_answer_and_opens_nothing(upstream: Upstream, client: HttpClient) -> None:
    url = upstream.on("/no", lambda handler: handler.reply(401))
    assert [client.get(url, target="t").status for _ in range(10)] == [401] * 10


def test_a_call_says_which_trace_it_works_for(upstream: Upstream, client: HttpClient) -> None:
    """W3C Trace Context, with the version of the header that is in use."""
    url = upstream.on("/", lambda handler: handler.reply(200))
    context = SpanContext(
        0x0AF7651916CD43DD8448EB211C80319C,
        0xB7AD6B7169203331,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState([("vendor", "value")]),
    )
    with use_span(NonRecordingSpan(context)):
        client.get(url, target="t", headers={"X-Test": "yes"})
    assert upstream.last_headers["traceparent"] == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert (upstream.last_headers["tracestate"], upstream.last_headers["x-test"]) == ("vendor=value", "yes")
    client.post_form(url, {}, target="t")
    assert not {"traceparent", "tracestate"} & upstream.last_headers.keys()


def test_netrc_is_ignored(
    upstream: Upstream, client: HttpClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something")
    monkeypatch.setenv("NETRC", str(netrc))
    url = upstream.on("/", lambda handler: handler.reply(200))
    with requests.get(url, timeout=PATIENT):
        assert "authorization" in upstream.last_headers, "requests alone would send it"
    client.get(url, target="t")
    assert "authorization" not in upstream.last_headers


def test_cookies_are_not_kept(upstream: Upstream, client: HttpClient) -> None:
    """All users' calls go through one client: a cookie would tie one to another."""
    url = upstream.on("/", lambda handler: handler.reply(200, Set_Cookie="who=alice; Path=/"))
    client.get(url, target="t")
    client.get(url, target="t")
    assert "cookie" not in upstream.last_headers


class App:
    """A WSGI app that says what it was asked, and remembers whether it was closed."""

    def __init__(self) -> None:
        self.closed = False
        self.environ: dict[str, Any] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> "App":
        self.environ = {**environ, "body": environ["wsgi.input"].read()}
        start_response("201 CREATED", [("Content-Type", "application/json"), ("X-Test", "yes")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield from (b'{"a"', b": 1}")

    def close(self) -> None:
        self.closed = True


def test_the_wsgi_transport_reaches_an_app_of_this_process() -> None:
    app = App()
    client = HttpClient("test", timeout=TIMEOUT, adapter=WsgiTransport({"http://127.0.0.1:8000": app}))
    answer = client.post_form("http://127.0.0.1:8000/a%20b?q=1", {"x": "y"}, target="t", headers={"X-One": "1"})
    assert (answer.status, answer.json(), answer.headers["x-test"]) == (201, {"a": 1}, "yes")
    assert app.closed
    said = {name: app.environ[name] for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_X_ONE", "body")}
    assert said == {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/a b", "QUERY_STRING": "q=1", "HTTP_X_ONE": "1", "body": b"x=y",
    }  # fmt: skip
    assert app.environ["CONTENT_TYPE"] == "application/x-www-form-urlencoded"
    client.close()


def test_the_wsgi_transport_knows_no_other_host_and_demands_a_timeout() -> None:
    transport = WsgiTransport({"http://127.0.0.1:8000": App()})
    client = HttpClient("test", timeout=TIMEOUT, adapter=transport)
    assert outcome(lambda: client.get("http://127.0.0.1:8001/", target="t")) == "connection"
    request = requests.Request("GET", "http://127.0.0.1:8000/").prepare()
    with pytest.raises(requests.RequestException, match="without a timeout"):
        transport.send(request)


def test_the_wsgi_transport_hands_other_hosts_on(upstream: Upstream) -> None:
    transport = WsgiTransport({}, others=requests.adapters.HTTPAdapter())
    client = HttpClient("test", timeout=PATIENT, adapter=transport)
    url = upstream.on("/", lambda handler: handler.reply(200))
    assert client.get(url, target="t").ok
    client.close()
