"""What gunicorn's parsers and its reader of chunked bodies let pass, and we do not."""

import sys
from contextlib import suppress
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from gunicorn.http.errors import NoMoreData, ObsoleteFolding, ParseException
from gunicorn.http.parser import RequestParser
from hypothesis import given
from hypothesis import strategies as st

from bff.server import framing
from tests.fuzz import examples
from tests.unit.server import support
from tests.unit.server.support import PARSERS, config
from tests.unit.server.test_fast_http import HEADS, PROXYS, TEXT, changed

HOST = b"Host: a.test\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module", params=PARSERS)
def parser(request: pytest.FixtureRequest) -> str:
    config(request.param)  # or skip
    return str(request.param)


def parsed(parser: str, head: bytes, *body: bytes, version: bytes = b"HTTP/1.1") -> Any:
    """A request as gunicorn has it after its own checks. body: as it arrives. Raises ParseException."""
    sent = b"POST /x " + version + b"\r\n" + head + b"\r\n"
    return next(RequestParser(config(parser), iter([sent, *body]), ("127.0.0.1", 1)))


def checked(parser: str, *body: bytes) -> Any:
    request = parsed(parser, HOST + CHUNKED, *body)
    framing.check(request)
    return request


HOSTLESS = (
    b"",
    b"Host: a/b\r\n",
    b"Host: a b\r\n",
    b"Host: u@a\r\n",
    b"Host: a:b\r\n",
    b"Host: [::1\r\n",
    b"Host: \xe4\r\n",
)
UNDONE_BY_NOBODY = (
    HOST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    HOST + b"Transfer-Encoding: gzip, chunked\r\n",
    HOST + b"Transfer-Encoding: identity, chunked\r\n",
)
REFUSED_BY_GUNICORN = (
    HOST + b"X-A: 1\r\n 2\r\n",
    HOST + b"Content-Length: 5\r\n Transfer-Encoding: chunked\r\n",
    HOST + b" Transfer-Encoding: chunked\r\n",
    HOST + b"Transfer-Encoding: gzip\r\n",
    HOST + b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n",
    HOST + b"X-A: 1\nX-B: 2\r\n",
    HOST + b"X-A : 1\r\n",
    HOST + b"X-A: 1\x00\r\n",
)


@pytest.mark.parametrize("head", HOSTLESS + UNDONE_BY_NOBODY)
def test_refused(parser: str, head: bytes) -> None:
    request = parsed(parser, head)  # or there would be nothing to refuse
    with pytest.raises(ParseException) as caught:
        framing.check(request)
    assert "a/b" not in str(caught.value), "what was sent is not logged"


@pytest.mark.parametrize("head", REFUSED_BY_GUNICORN)
def test_gunicorn_refuses_the_rest_with_either_parser(parser: str, head: bytes) -> None:
    with pytest.raises(ParseException):
        parsed(parser, head)


def test_no_version_but_1_0_and_1_1_is_known(parser: str) -> None:
    with pytest.raises(ParseException):
        framing.check(parsed(parser, HOST, version=b"HTTP/1.2"))


def test_a_folded_line_is_refused_that_an_older_parser_takes_for_a_field() -> None:
    with pytest.raises(ObsoleteFolding):
        framing.check(SimpleNamespace(headers=[("HOST", "a.test"), ("", "2")], version=(1, 1)))


def outcome(parser: str, data: bytes) -> tuple[object, ...] | None:
    """What is read of data, or None where it is refused or broken off."""
    request = None
    with suppress(ParseException, NoMoreData, StopIteration):
        request = next(RequestParser(config(parser), iter([data]), support.CLIENT))
        framing.check(request)
        body, rest = type(request.body.reader).__name__, request.unreader.buf.getvalue()
        return request.method, request.uri, request.version, request.headers, request.should_close(), body, rest
    return None


CODINGS = st.sampled_from(
    (*UNDONE_BY_NOBODY, *REFUSED_BY_GUNICORN, HOST + CHUNKED, HOST + b"Content-Length: 3\r\n")
).map(lambda head: PROXYS.replace(HOST, head))


@examples(500)
@given(HEADS | CODINGS | st.builds(changed, st.integers(0, len(PROXYS) - 1), st.integers(0, 2), TEXT))
def test_either_parser_reads_the_same(data: bytes) -> None:
    python, fast = (outcome(parser, data) for parser in PARSERS)
    if b"  HTTP/" in data:  # before the version the one in C takes two spaces for one
        assert python is None
    else:
        assert python == fast


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ({"gunicorn_h1c": None}, "python"),
        ({"gunicorn_h1c": ModuleType("older than its limits")}, "python"),
        ({"gunicorn_h1c": SimpleNamespace(LimitRequestLine=ValueError)}, "fast"),
    ],
)
def test_the_parser_in_c_is_used_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, modules: dict[str, Any], expected: str
) -> None:
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert framing.parser() == expected


@pytest.mark.parametrize(
    "host", [b"a.test", b"a.test:8443", b"[::1]:80", b"192.0.2.1", b"xn--bcher-kva.example", b"a_b", b"A%C3%A4", b""]
)
def test_hosts_there_are(parser: str, host: bytes) -> None:
    framing.check(parsed(parser, b"Host: " + host + b"\r\n"))


def test_http_1_0_needs_no_host(parser: str) -> None:
    framing.check(parsed(parser, b"", version=b"HTTP/1.0"))


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n0;c\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_chunks_that_are_right_however_they_arrive(body: bytes) -> None:
    for pieces in ([body], [body[:7], body[7:]], [bytes([byte]) for byte in body]):
        request = checked("python", *pieces, b"GET /next")
        assert request.body.read() == b"hello"
        assert not request.should_close()
        assert request.unreader.read() == b"GET /next"


@pytest.mark.parametrize(
    "body",
    [
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX Y: 3\r\n\r\n",
        b"5\r\nhel",
        b"5\r\nhello\r\n0\r\n",
    ],
)
def test_after_a_faulty_chunk_nobody_reads_on(body: bytes) -> None:
    request = checked("python", body)
    with pytest.raises(NoMoreData):
        request.body.read()
    assert request.should_close()


@pytest.mark.parametrize("start", [b"5;", b"5\r\nhello\r\n0\r\nX-A: ", b"5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: "])
def test_nobody_keeps_an_endless_line(start: bytes) -> None:
    taken = 0

    def arriving() -> Any:
        nonlocal taken
        yield start
        while taken < 100:
            taken += 1
            yield b"a" * 1024

    request = parsed("python", HOST + CHUNKED)
    request.unreader.iter = arriving()
    framing.check(request)
    with pytest.raises(NoMoreData):
        request.body.read()
    assert taken < 20
    assert request.should_close()


@given(st.binary(max_size=60))
def test_any_body_is_read_or_refused(content: bytes) -> None:
    request = checked("python", content)
    try:
        request.body.read()
    except NoMoreData:
        assert request.should_close()


LENGTH = HOST + b"Content-Length: 5\r\n"


class Stalls:
    """A client that sends no more when it is out of parts, and then goes on."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)

    def __iter__(self) -> "Stalls":
        return self

    def __next__(self) -> bytes:
        part = self._parts.pop(0)
        if not part:
            raise TimeoutError
        return part


@pytest.mark.parametrize(("coding", "begun"), [(LENGTH, b"hel"), (HOST + CHUNKED, b"5\r\nhel")])
def test_after_a_body_that_stalls_nothing_more_is_read(parser: str, coding: bytes, begun: bytes) -> None:
    first = b"POST /x HTTP/1.1\r\n" + coding + b"\r\n"
    requests = RequestParser(
        config(parser), Stalls(first, begun, b"", b"GET /smuggled HTTP/1.1\r\n\r\n"), ("127.0.0.1", 1)
    )
    request = next(requests)
    framing.check(request)
    with pytest.raises(TimeoutError):
        request.body.read(9)
    assert request.should_close()
    with pytest.raises(StopIteration):
        next(requests)


def test_a_body_that_ends_too_soon_is_no_body(parser: str) -> None:
    request = parsed(parser, LENGTH, b"hel")
    framing.check(request)
    with pytest.raises(ConnectionAbortedError):
        request.body.read(5)
    assert request.should_close()


@pytest.mark.parametrize(
    ("parts", "read", "closes"),
    [
        ((b"hello",), 0, False),
        ((b"hello",), 5, False),
        ((b"hel", b"lo"), 0, True),
        ((b"hel", b"lo"), 5, False),
        ((b"hel", b"lo"), 3, True),
        ((b"helloGET /next",), 3, False),
    ],
)
def test_a_connection_is_kept_after_a_body_that_is_there(
    parser: str, parts: tuple[bytes, ...], read: int, closes: bool
) -> None:
    """Read or not: gunicorn throws the rest away when it is in memory."""
    request = next(_fed(parser, LENGTH, *parts))
    framing.check(request)
    got = b""
    while len(got) < read:
        got += request.body.reader.read(read - len(got))
    assert (got, request.should_close()) == (b"hello"[:read], closes)


@pytest.mark.parametrize(
    ("body", "closes"),
    [(b"5\r\nhello\r\n0\r\n\r\n", False), (b"5\r\nhello\r\n0\r\n", True), (b"5\r\nhel", True), (b"g\r\n", True)],
)
def test_a_connection_is_kept_after_chunks_that_are_there(parser: str, body: bytes, closes: bool) -> None:
    request = next(_fed(parser, HOST + CHUNKED, body))
    framing.check(request)
    assert request.should_close() is closes


def test_a_body_is_asked_for_when_it_is_wanted(parser: str) -> None:
    sent: list[bytes] = []
    request = next(_fed(parser, LENGTH + b"Expect: 100-continue\r\n", b""))
    request.unreader.sock = SimpleNamespace(sendall=sent.append)
    framing.check(request)
    assert (sent, request.should_close()) == ([], True)
    request.unreader.iter = iter([b"hello"])
    assert (request.body.read(5), sent) == (b"hello", [framing.CONTINUE])
    assert not request.should_close()


def _fed(parser: str, head: bytes, *body: bytes) -> RequestParser:
    """The first part of the body arrives with the head."""
    sent = b"POST /x HTTP/1.1\r\n" + head + b"\r\n"
    return RequestParser(config(parser), iter([sent + body[0], *body[1:]]), ("127.0.0.1", 1))
