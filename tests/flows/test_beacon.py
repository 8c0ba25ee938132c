"""What browsers report, through the whole application: counted or refused, never kept, quoted or logged."""

import gzip
import io
import json
import logging
import os
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import Key
from prometheus_client import REGISTRY, generate_latest
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

from bff.beacon.reports import LONGEST
from bff.errors import RateLimited
from bff.observability.logs import Formatter
from bff.web.javascript import MODULE
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.internet import BFF, Site, SiteFactory, site
from tests.fuzz import examples
from tests.unit.sensitive_texts import PERSONAL, PERSONAL_NAMES, SECRET_NAMES, SECRETS, random_text, spelt

PATH = "/api/v1/metrics"
MANY = int(os.environ.get("SOAK_SERIES", "1000"))
PAGE_VIEW = b'{"event": "page_view"}'
VITAL = b'{"event": "web_vital", "name": "LCP", "value": 2.5}'
EVENTS, REJECTED = "bff_public_metrics_total", "bff_public_metrics_rejected_total"


@pytest.fixture(scope="module")
def bff(tmp_path_factory: pytest.TempPathFactory, rsa: Key) -> Iterator[Site]:
    """Its clock stands still, so a limit that no test is about must be out of reach."""
    made = site(tmp_path_factory.mktemp("beacon"), Clock(), rsa, {"RATE_LIMITS": "beacon=900000/second"})
    yield made
    made.services.close()


class Told(logging.Handler):
    """Every line of the log as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + repr(record.__dict__))


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    handler, root = Told(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def ask(bff: Site, method: str, path: str, body: bytes | io.RawIOBase = b"", **raw: Any) -> Response:
    """raw: entries of the WSGI environment; None takes one away."""
    environ = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
        "REMOTE_ADDR": "203.0.113.7", "SERVER_NAME": "app.example", "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "app.example",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "https", "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
        "CONTENT_TYPE": "text/plain;charset=UTF-8",
        "CONTENT_LENGTH": str(len(body)) if isinstance(body, bytes) else None,
        "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body, **raw,
    }  # fmt: skip
    chunks, status, headers = run_wsgi_app(
        bff.hosts[BFF], {name: value for name, value in environ.items() if value is not None}, buffered=True
    )
    return Response(b"".join(chunks), status, headers)


def post(bff: Site, body: Any, **raw: Any) -> Response:
    return ask(bff, "POST", PATH, body if isinstance(body, bytes | io.RawIOBase) else json.dumps(body).encode(), **raw)


@pytest.mark.parametrize(
    "content_type", ["text/plain;charset=UTF-8", "text/plain", "application/json", "Application/JSON; charset=utf8"]
)
def test_what_browsers_send(bff: Site, content_type: str) -> None:
    counters = Counters()
    answer = post(bff, b'[{"event": "page_view"}, {"event": "page_view"}]', CONTENT_TYPE=content_type)
    assert (answer.status_code, answer.data) == (204, b"")
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["X-Correlation-ID"]
    assert counters.gained(EVENTS) == {"page_view": 2}
    assert counters.gained(REJECTED) == {}


def test_undeclared_names_count_together(bff: Site) -> None:
    counters = Counters()
    assert post(bff, [{"event": "page_view"}, {"event": "a"}, {"event": "b"}, {"event": "other"}]).status_code == 204
    assert counters.gained(EVENTS) == {"page_view": 1, "other": 3}
    assert counters.gained(REJECTED) == {"unknown_event": 2}


def test_names_are_declared_in_the_settings(new_site: SiteFactory) -> None:
    bff, counters = new_site(PUBLIC_METRICS_EVENTS="cart_opened"), Counters()
    assert post(bff, [{"event": "page_view"}, {"event": "cart_opened"}]).status_code == 204
    assert counters.gained(EVENTS) == {"cart_opened": 1, "other": 1}


def test_web_vitals(bff: Site) -> None:
    counters = Counters()
    assert post(bff, VITAL).status_code == 204
    assert counters.gained("bff_public_web_vitals_count") == {"LCP": 1}
    assert counters.gained("bff_public_web_vitals_sum") == {"LCP": 2.5}
    assert counters.gained("bff_public_web_vitals_bucket") == dict.fromkeys(
        (f"LCP {bound}" for bound in ("2.5", "3.0", "4.0", "6.0", "10.0", "30.0", "+Inf")), 1
    )


def test_it_needs_no_store(bff: Site) -> None:
    bff.store.forget()
    bff.store.down = True
    try:
        assert post(bff, PAGE_VIEW).status_code == 204
    finally:
        bff.store.down = False
    assert bff.store.reads == bff.store.writes == []


def test_a_declared_origin_may_read_the_answer(new_site: SiteFactory) -> None:
    bff = new_site(CORS_ALLOW_ORIGINS="https://spa.example")
    assert post(bff, PAGE_VIEW, HTTP_ORIGIN="https://spa.example").headers["Access-Control-Allow-Credentials"] == "true"
    answer = post(bff, PAGE_VIEW, HTTP_ORIGIN="https://evil.example")
    assert answer.status_code == 204
    assert "Access-Control-Allow-Origin" not in answer.headers


class Endless(io.RawIOBase):
    """A body that never ends; it knows how much of it was read."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.taken += len(buffer)
        buffer[:] = b"[" * len(buffer)
        return len(buffer)


def zipped(size: int) -> bytes:
    return gzip.compress(b"[" + b" " * size + b"]")


def bytes_of(*parts: tuple[bytes, int]) -> bytes:
    return b"".join(part * times for part, times in parts)


REFUSALS: list[tuple[Callable[[], bytes], dict[str, Any], int, str]] = [
    (lambda: b" " * 10_000_000, {}, 413, "too_large"),
    (lambda: PAGE_VIEW + b" " * LONGEST, {}, 413, "too_large"),
    (lambda: b"", {"CONTENT_LENGTH": "99999999999"}, 413, "too_large"),
    (lambda: b"", {}, 400, "bad_json"),
    (lambda: b"[" * 1000, {}, 400, "bad_json"),
    (lambda: bytes_of((b"[", 1000), (b"]", 1000)), {}, 400, "bad_json"),
    (lambda: bytes_of((b'{"a":', 1000), (b"1", 1), (b"}", 1000)), {}, 400, "bad_json"),
    (lambda: b"[" * LONGEST, {}, 400, "bad_json"),
    (lambda: b'{"event": NaN}', {}, 400, "bad_json"),
    (lambda: b'{"event": "x", "event": "x"}', {}, 400, "bad_json"),
    (lambda: '{"event": "ä"}'.encode("latin-1"), {}, 400, "bad_json"),
    (lambda: PAGE_VIEW, {"CONTENT_LENGTH": "40"}, 400, ""),  # the client left before the end
    (lambda: PAGE_VIEW, {"CONTENT_TYPE": "text/plain; charset=utf-16"}, 415, "bad_json"),
    (lambda: PAGE_VIEW, {"CONTENT_TYPE": "application/x-www-form-urlencoded"}, 415, "bad_json"),
    (lambda: PAGE_VIEW, {"CONTENT_TYPE": "multipart/form-data; boundary=x"}, 415, "bad_json"),
    (lambda: PAGE_VIEW, {"CONTENT_TYPE": None}, 415, "bad_json"),
    (lambda: zipped(10_000_000), {"HTTP_CONTENT_ENCODING": "gzip"}, 415, "bad_json"),
    (lambda: zipped(10_000_000), {"HTTP_CONTENT_ENCODING": "identity, GZIP"}, 415, "bad_json"),
    (lambda: zipped(10), {}, 400, "bad_json"),
    (lambda: b'{"event": 1}', {}, 422, "schema"),
    (lambda: b'{"event": "x", "token": "x"}', {}, 422, "secret"),
    (lambda: b'{"event": "x", "path": "/a@b.example"}', {}, 422, "personal_data"),
]


@pytest.mark.parametrize(("body", "raw", "status", "reason"), REFUSALS)
def test_what_is_refused(bff: Site, body: Callable[[], bytes], raw: dict[str, Any], status: int, reason: str) -> None:
    sent, counters = body(), Counters()
    tracemalloc.start()
    start = time.process_time()
    answer = post(bff, sent, **raw)
    seconds, (_, most) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert counters.gained(REJECTED) == ({reason: 1} if reason else {})
    assert counters.gained(EVENTS) == {}
    assert not reason or answer.get_json(force=True)["code"] == reason
    assert seconds < 2
    assert most < 4_000_000, "bytes, however large the body is"


def test_a_body_of_unknown_length_is_not_read_to_its_end(bff: Site) -> None:
    body = Endless()
    answer = post(bff, body, **{"wsgi.input_terminated": True})
    assert answer.status_code == 413
    assert body.taken <= LONGEST + 1


def test_one_bad_event_spoils_the_report(bff: Site) -> None:
    counters = Counters()
    report = [{"event": "page_view"}, {"event": "page_view", "attributes": {"item": "alice@example.com"}}]
    answer = post(bff, report)
    problem = answer.get_json(force=True)
    assert (answer.status_code, problem["code"]) == (422, "personal_data")
    assert problem["detail"] == "[1].attributes.item looks like personal data. Nothing of the report was taken."
    assert counters.gained(EVENTS) == {}


words = st.sampled_from(["items", "a", "context", "list", "0"])


@st.composite
def hidden(draw: st.DrawFn, content: Any) -> Any:
    """The content somewhere in an otherwise good report."""
    for _ in range(draw(st.integers(0, 10))):
        content = draw(st.sampled_from([{draw(words): content}, [content], ["x", content], {"n": 1, "m": content}]))
    at = draw(st.sampled_from(["event", "path", "attributes", "value", "more"]))
    return draw(st.sampled_from([content, {"event": "page_view", at: content}, [{"event": "x"}, {at: content}]]))


@st.composite
def delicate(draw: st.DrawFn) -> tuple[Any, str, set[str]]:
    """(a report, why it is refused, what of it nobody may see again)."""
    canary = f"{draw(st.integers(10**9, 10**10))}x"
    names = st.tuples(spelt(SECRET_NAMES), st.just("secret")) | st.tuples(
        spelt(PERSONAL_NAMES), st.just("personal_data")
    )
    texts = st.tuples(st.sampled_from(SECRETS) | st.binary().map(random_text), st.just("secret")) | st.tuples(
        st.sampled_from(PERSONAL), st.just("personal_data")
    )
    if draw(st.booleans()):
        name, reason = draw(names)
        return draw(hidden({name: canary})), reason, {canary}
    text, reason = draw(texts)
    around = draw(st.sampled_from(["{}", "a {} b", "[{}]"])).format(text)
    return draw(hidden({around: canary} if draw(st.booleans()) else around)), reason, {text, canary}


@examples(100)
@given(delicate())
def test_nothing_delicate_is_counted_quoted_or_logged(bff: Site, told: Told, case: tuple[Any, str, set[str]]) -> None:
    report, reason, unseen = case
    counters = Counters()
    told.lines.clear()
    answer = post(bff, report)
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (422, reason)
    assert counters.gained(EVENTS) == {}
    assert counters.gained(REJECTED) == {reason: 1}
    for text in (answer.get_data(as_text=True), str(answer.headers), "".join(told.lines), metrics_page()):
        for secret in unseen:
            assert secret not in text
            assert json.dumps(secret).strip('"') not in text


def metrics_page() -> str:
    return generate_latest(REGISTRY).decode()


types = st.sampled_from(["text/plain", "application/json", "application/json;charset=utf-8"]) | st.text(
    st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=40
)
encodings = st.none() | st.sampled_from(["identity", "gzip", "br", "", " ", "identity;q=1"])


@examples(100)
@given(
    st.binary(max_size=300) | st.just(PAGE_VIEW), types, encodings, st.none() | st.text("0123456789-+ x", max_size=5)
)
def test_whatever_arrives_has_an_answer_below_500(
    bff: Site, body: bytes, content_type: str, encoding: str | None, length: str | None
) -> None:
    raw = {"CONTENT_TYPE": content_type, "HTTP_CONTENT_ENCODING": encoding}
    answer = post(bff, body, **raw, **({"CONTENT_LENGTH": length} if length is not None else {}))
    assert answer.status_code in (204, 400, 413, 415, 422)


def test_each_client_has_its_limit(new_site: SiteFactory, clock: Clock) -> None:
    bff = new_site(RATE_LIMITS="beacon=3/minute")
    counters = Counters()
    statuses = [post(bff, PAGE_VIEW, REMOTE_ADDR="192.0.2.1").status_code for _ in range(5)]
    assert statuses == [204, 204, 204, 429, 429]
    assert post(bff, PAGE_VIEW, REMOTE_ADDR="192.0.2.2").status_code == 204
    assert post(bff, PAGE_VIEW, REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.3").status_code == 204
    assert post(bff, PAGE_VIEW, REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR="192.0.2.9").status_code == 429
    assert counters.gained(EVENTS) == {"page_view": 5}
    assert counters.gained(REJECTED) == {"rate_limited": 3}
    assert counters.gained("bff_rate_limit_hits_total") == {"beacon": 3}
    (bucket,) = counters.gained("bff_rate_limit_violations_total")
    assert re.fullmatch("u[0-9a-f]{1,3}", bucket)
    clock.now += 15
    answer = post(bff, PAGE_VIEW, REMOTE_ADDR="192.0.2.1")
    assert (answer.headers["Retry-After"], answer.get_json(force=True)["code"]) == ("45", "rate_limited")
    clock.now += 45
    assert post(bff, PAGE_VIEW, REMOTE_ADDR="192.0.2.1").status_code == 204


def test_a_limit_comes_before_the_body(new_site: SiteFactory) -> None:
    bff, body = new_site(RATE_LIMITS="beacon=1/day"), Endless()
    assert post(bff, PAGE_VIEW).status_code == 204
    assert post(bff, body, **{"wsgi.input_terminated": True}).status_code == 429
    assert body.taken == 0


def test_many_of_everything_make_no_series(new_site: SiteFactory) -> None:
    """So many methods, paths, hosts, event names and clients: /metrics grows by no line. `make soak` tries 10,000."""
    bff = new_site(RATE_LIMITS="beacon=1/day", METRICS_USER_BUCKETS="4")

    def strangers(numbers: range) -> None:
        for n in numbers:
            client = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
            ask(bff, f"VERB{n}", f"/path/{n}", HTTP_HOST=f"host{n}.example", REMOTE_ADDR=client)
            bff.services.limits.by_address("beacon", client)  # its only one today
            with pytest.raises(RateLimited):
                bff.services.limits.by_address("beacon", client)
        for n in numbers[::50]:
            report = [{"event": f"event {k}"} for k in range(n, n + 50)]
            address = f"2001:db8:{n:x}::1"
            statuses = [post(bff, report, REMOTE_ADDR=address).status_code for _ in range(2)]
            assert statuses == [204, 429]

    strangers(range(20_000, 20_100))
    before = series()
    strangers(range(MANY))
    assert series() == before


def series() -> set[str]:
    return {line.rpartition(" ")[0] for line in metrics_page().splitlines() if not line.startswith("#")}


def test_the_module_is_served_for_caches(bff: Site) -> None:
    answer = ask(bff, "GET", "/static/bff.js")
    assert answer.status_code == 200
    assert answer.content_type == "text/javascript; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.data == MODULE.read_bytes()
    again = ask(bff, "GET", "/static/bff.js", HTTP_IF_NONE_MATCH=answer.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    assert ask(bff, "GET", "/static/bff.js", HTTP_IF_NONE_MATCH='"other"').status_code == 200
    for path in ("/static/", "/static/../app.py", "/static/bff.js/", "/static/%2e%2e/beacon.py"):
        assert ask(bff, "GET", path).status_code == 404


def test_the_module_is_small() -> None:
    """Without comments and indentation; a minifier would take more away."""
    code = re.sub(r"/\*.*?\*/|(?:^|\s)//.*?$", "", MODULE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len("\n".join(line.strip() for line in code.splitlines() if line.strip()).encode()) < 4000
