"""A question is read, and an answer written, as gunicorn would; or left to it."""

import re
import socket
from collections.abc import Iterable
from typing import Any

import pytest
from gunicorn.http import get_parser
from gunicorn.http.wsgi import Response, create
from hypothesis import example, given
from hypothesis import strategies as st

from bff.server import fast_http
from tests.fuzz import examples
from tests.unit.server.support import CLIENT, NOT_AT_ONCE, PARSERS, SERVER, VERIFY, Verify, config

SETTINGS = config()
AROUND = fast_http.connection_environ(CLIENT, SERVER, SETTINGS)
OF_A_REQUEST = {"wsgi.input", "wsgi.errors", "wsgi.early_hints", "gunicorn.socket"}  # objects, made for each
IN_ITS_PLACE = "bff.listener"  # in that of gunicorn.socket
PROXYS = (
    VERIFY + b"Cookie: theme=dark; bff_session=abc\r\nUser-Agent: Mozilla/5.0 (X11)\r\nAccept:  */*\t\r\n"
    b"X-Forwarded-For: 203.0.113.7, 10.0.0.1\r\nX-Forwarded-Uri: /orders/17?a=b\r\nConnection: keep-alive\r\n"
    b"Content-Type: text/plain\r\nx-name: caf\xe9\r\n\r\n"
)


def asked(data: bytes) -> fast_http.Environ | None:
    return fast_http.parse(data, Verify.paths, AROUND)


def gunicorns(data: bytes, parser: str, client: Any = CLIENT, server: Any = SERVER) -> fast_http.Environ:
    """The environment that the application would have from gunicorn, whose parser is one of PARSERS. Raises what
    gunicorn answers with an error, and AssertionError where more is left than this one request."""
    request = next(get_parser(config(parser), iter([data]), client))
    SETTINGS.pre_request(None, request)
    environ: fast_http.Environ = create(request, None, client, server, SETTINGS)[1]
    assert environ["wsgi.input"].read() == b""
    assert request.unreader.buf.getvalue() == b""
    assert not request.should_close()
    environ["wsgi.multithread"] = True  # as both kinds of worker set it
    return environ


def changed(place: int, removed: int, text: bytes) -> bytes:
    return PROXYS[:place] + text + PROXYS[place + removed :]


def told(environ: fast_http.Environ) -> fast_http.Environ:
    return {name: value for name, value in environ.items() if name not in {*OF_A_REQUEST, IN_ITS_PLACE}}


TEXT = st.text("ab:;,=/%?#\"'\x00\x0b\x7f\x80\xe9 \t_-", max_size=8).map(lambda text: text.encode("latin-1"))
NAMES = st.sampled_from(
    b"Host,Cookie,cookie,X-Forwarded-For,X_Forwarded_For,Connection,Content-Length,Transfer-Encoding,Expect,Upgrade,"
    b"Content-Type,SCRIPT_NAME,Forwarded,, Host".split(b",")
)
VALUES = TEXT | st.sampled_from(b"a.test,close,keep-alive,0,9,chunked,100-continue,[::1]:8".split(b","))
LINES = st.tuples(
    NAMES | TEXT, st.sampled_from([b": ", b":", b" : ", b""]), VALUES, st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r"])
).map(b"".join)
TARGETS = st.sampled_from([b"/auth/verify"] * 8 + [b"//auth/verify", b"/auth/verify/", b"/auth/verify;", b"*"])
METHODS = st.sampled_from([b"GET"] * 8 + [b"HEAD", b"get", b"POST", b"OPTIONS"])
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"", b"\r\nabc", b"\r\n" + VERIFY + b"\r\n"])
HEADS = st.builds(
    lambda method, target, query, version, host, lines, end: b"".join(
        [method, b" ", target, query, b" HTTP/", version, b"\r\n", host, *lines, end]
    ),
    METHODS,
    TARGETS,
    st.just(b"") | TEXT.map(lambda text: b"?" + text),
    st.sampled_from([b"1.1"] * 8 + [b"1.0", b"1.2", b"2.0", b"1.10"]),
    st.sampled_from([b"Host: a.test\r\n"] * 4 + [b""]),
    st.lists(LINES, max_size=4),
    ENDS,
)


@examples(1000)
@given(HEADS | st.builds(changed, st.integers(0, len(PROXYS) - 1), st.integers(0, 2), TEXT))
@example(PROXYS)
@example(PROXYS.replace(b" HTTP", b"\x80 HTTP"))
@example(PROXYS.replace(b" HTTP", b"  HTTP"))
def test_what_is_read_gunicorn_reads_alike(data: bytes) -> None:
    environ = asked(data)
    if environ is not None:
        assert all(told(environ) == told(gunicorns(data, parser)) for parser in PARSERS)


@pytest.mark.parametrize("line", [b"GET /auth/verify HTTP/1.1", b"HEAD /auth/verify?a=b&c HTTP/1.1"])
@pytest.mark.parametrize("rest", [PROXYS.partition(b"\r\n")[2], b"Host: [::1]:8000\r\n\r\n", b"Host:\r\n\r\n"])
@pytest.mark.parametrize(
    "server", [SERVER, ("::1", 8000, 0, 0), "/run/bff.sock"], ids=["by IPv4", "by IPv6", "by a socket file"]
)
@pytest.mark.parametrize(
    "client", [CLIENT, ("::1", 4711, 0, 0), "", b""], ids=["by IPv4", "by IPv6", "unnamed", "in bytes"]
)
def test_a_proxys_question_is_read(line: bytes, rest: bytes, server: Any, client: Any) -> None:
    data = line + b"\r\n" + rest
    environ = fast_http.parse(data, Verify.paths, fast_http.connection_environ(client, server, SETTINGS))
    assert environ is not None
    theirs = gunicorns(data, "python", client, server)
    if server != "/run/bff.sock" or b"[" not in rest:  # gunicorn cuts the brackets' inside in two
        assert told(environ) == told(theirs)


COOKIE_FIELDS = {
    "one": (b"Cookie: a=1; b=2\r\n", "a=1; b=2"),
    "two": (b"Cookie: a=1\r\nCookie: b=2\r\n", "a=1; b=2"),
    "three, with others between, in any case": (
        b"Cookie: a=1\r\nAccept: */*\r\ncookie: b=2; c=3\r\nCOOKIE: d=4\r\n", "a=1; b=2; c=3; d=4"
    ),
    "an empty one first": (b"Cookie: \r\nCookie: b=2\r\n", "; b=2"),
    "a comma in a value": (b"Cookie: a=1,b=2\r\nCookie: c=3\r\n", "a=1,b=2; c=3"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), COOKIE_FIELDS.values(), ids=COOKIE_FIELDS.keys())
def test_cookies_in_several_fields_are_read_as_in_one(fields: bytes, expected: str) -> None:
    """A proxy between HTTP/2 and HTTP/1.1 may leave them apart (RFC 9113 section 8.2.3)."""
    data = VERIFY + fields + b"\r\n"
    environ = asked(data)
    assert environ is not None
    assert environ["HTTP_COOKIE"] == gunicorns(data, "python")["HTTP_COOKIE"] == expected


@pytest.mark.parametrize("data", NOT_AT_ONCE.values(), ids=NOT_AT_ONCE.keys())
def test_anything_else_is_left_alone(data: bytes) -> None:
    assert asked(data) is None


def test_two_questions_share_nothing() -> None:
    first, second = asked(PROXYS), asked(PROXYS)
    assert first is not None
    assert second is not None
    first["HTTP_COOKIE"] = "another"
    assert second == asked(PROXYS) | {"wsgi.input": second["wsgi.input"]}  # type: ignore[operator]


def written_by_gunicorn(
    status: str, headers: list[tuple[str, str]], body: Iterable[bytes], *, method: bytes, closes: bool
) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request = next(get_parser(SETTINGS, iter([PROXYS.replace(b"GET", method, 1)]), CLIENT))
        response = Response(request, theirs, SETTINGS)
        response.start_response(status, headers)
        if closes:
            response.force_close()
        for part in body:
            response.write(part)
        response.close()
        return ours.recv(65536)


def undated(data: bytes) -> bytes:
    dated, times = re.subn(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", b"", data)
    assert times == 1
    return dated


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize(
    ("method", "status", "headers", "body"),
    [
        (b"GET", "200 OK", [("Content-Length", "0"), ("X-User-ID", "alice")], ()),
        (b"GET", "401 Unauthorized", [("Content-Length", "4"), ("Location", "/a?b=c")], (b"ab", b"cd")),
        (b"HEAD", "403 Forbidden", [("Content-Length", "4"), ("X-Name", "caf\xe9")], ()),
    ],
)
def test_an_answer_is_written_as_gunicorn_does(
    method: bytes, status: str, headers: list[tuple[str, str]], body: tuple[bytes, ...], closes: bool
) -> None:
    answer = fast_http.FastResponse({})
    answer.start_response(status, headers)
    answer.finish(body, closes=closes)
    assert undated(answer.data) == undated(written_by_gunicorn(status, headers, body, method=method, closes=closes))
    assert (answer.sent, answer.closes, answer.headers) == (len(b"".join(body)), closes, headers)


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b=c", "a\nb", "a\x00b", "a\x7f", "\u0100"])
def test_nothing_gets_out_of_a_header_field(value: str) -> None:
    with pytest.raises(ValueError, match=r"control character|latin-1"):
        fast_http.FastResponse({}).start_response("200 OK", [("Content-Length", "0"), ("X-Name", value)])
