"""How much of a request has arrived: waited for to its end, and no thread gets it that would wait for more."""

from contextlib import suppress
from typing import Any

import pytest
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from bff.server import framing
from bff.server.arrival import LONGEST_BODY, LONGEST_HEAD, Arrival, ArrivalState
from tests.unit.server.support import PARSERS, config

START = b"POST /x HTTP/1.1\r\nHost: a.test\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
WHOLE = {
    "no body": START + b"\r\n",
    "an empty body": START + b"Content-Length: 0\r\n\r\n",
    "a body": START + b"content-length:5 \r\n\r\nhello",
    "chunks": START + CHUNKED + b"\r\n5;a=b\r\nhello\r\n00\r\n\r\n",
    "chunks and trailers": START + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n",
    "the largest body": START + b"Content-Length: %d\r\n\r\n" % LONGEST_BODY + b"a" * LONGEST_BODY,
    "an empty line before it": b"\r\n" + START + b"Content-Length: 1\r\n\r\na",
}
UNUSUAL = {
    "two lengths": START + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a length that is none": START + b"Content-Length: +5\r\n\r\n",
    "both": START + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n",
    "another coding": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "a chunk without a size": START + CHUNKED + b"\r\nxyz\r\n",
    "a line of chunks without an end": START + CHUNKED + b"\r\n5;" + b"a" * 1024,
}
TOO_LONG = {
    "a head": (START + b"A: b\r\n" * (LONGEST_HEAD // 6), ArrivalState.BAD_HEAD),
    "no HTTP": (b"\x16\x03\x01", ArrivalState.BAD_HEAD),
    "bare line feeds": (START.replace(b"\r", b"") + b"Content-Length: 2\n\nab", ArrivalState.BAD_HEAD),
    "two empty lines": (b"\r\n\r\n" + START + b"\r\n", ArrivalState.BAD_HEAD),
    "no line": (b"a: b\r\n\r\n", ArrivalState.BAD_HEAD),
    "another version": (b"PRI * HTTP/2.0\r\n\r\n", ArrivalState.BAD_HEAD),
    "a line": (b"GET /" + b"a" * 8192, ArrivalState.BAD_HEAD),
    "a body": (START + b"Content-Length: %d\r\n\r\n" % (LONGEST_BODY + 1), ArrivalState.LONG_BODY),
    "a chunk": (START + CHUNKED + b"\r\n%x\r\n" % (LONGEST_BODY + 1), ArrivalState.LONG_BODY),
    "all chunks": (START + CHUNKED + b"\r\n" + b"1\r\na\r\n" * LONGEST_BODY, ArrivalState.LONG_BODY),
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
def test_a_request_is_waited_for_until_its_last_byte(data: bytes) -> None:
    arrival = Arrival()
    for at in range(len(data) - 1) if len(data) < 1000 else [len(data) - 2]:
        part = data[at : at + 1] if len(data) < 1000 else data[: at + 1]
        assert arrival.add(part) in (ArrivalState.HEAD, ArrivalState.BODY)
    assert arrival.add(data[-1:]) is ArrivalState.WHOLE
    assert arrival.data == data


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_what_will_be_refused_is_not_waited_for(data: bytes) -> None:
    assert Arrival().add(data) is ArrivalState.WHOLE


@pytest.mark.parametrize(("data", "state"), TOO_LONG.values(), ids=TOO_LONG.keys())
def test_what_is_too_long_or_no_request_is_not_waited_for(data: bytes, state: ArrivalState) -> None:
    assert Arrival().add(data) is state


@pytest.mark.parametrize("data", [WHOLE["a body"], WHOLE["chunks"]], ids=["length", "chunked"])
def test_a_body_whose_head_was_read_already(data: bytes) -> None:
    body = data.partition(b"\r\n\r\n")[2]
    arrival = Arrival.of_body(5 if body == b"hello" else None)
    assert [arrival.add(body[:4]), arrival.add(body[4:] + b"GET")] == [ArrivalState.BODY, ArrivalState.WHOLE]


@pytest.mark.parametrize(
    ("fields", "waits"),
    [(b"Expect: 100-continue\r\n", True), (b"EXPECT:100-Continue\r\n", True), (b"X-Expect: 100-continue\r\n", False)],
)
def test_a_client_that_waits_to_be_asked(fields: bytes, waits: bool) -> None:
    arrival = Arrival()
    arrival.add(START + fields + b"Content-Length: 5\r\n\r\n")
    assert (arrival.in_body, arrival.waits_to_continue) == (True, waits)


def test_it_costs_the_same_for_each_byte_however_they_arrive() -> None:
    """The search for the end of a head goes on where it ended."""
    looked: list[int] = []

    class Counted(bytearray):
        def find(self, *wanted: Any) -> int:
            looked.append(len(self) - (wanted[1] if len(wanted) > 1 else 0))
            return super().find(*wanted)

    arrival = Arrival()
    arrival.add(START + CHUNKED + b"\r\n")
    arrival.data = Counted(arrival.data)
    for _ in range(1000):
        for byte in b"1\r\na\r\n":
            arrival.add(bytes([byte]))
    assert sum(looked) <= 6 * len(looked)


class AskedForMore(Exception):
    pass


@pytest.fixture(scope="module", params=PARSERS)
def parser(request: pytest.FixtureRequest) -> str:
    config(request.param)  # or skip
    return str(request.param)


def gunicorn_reads(data: bytes, http_parser: str) -> None:
    """All of one request, as a thread does. Raises AskedForMore."""

    def arriving() -> Any:
        yield data
        raise AskedForMore

    request = next(RequestParser(config(http_parser), arriving(), ("127.0.0.1", 1)))
    framing.check(request)
    while request.body.read(1000):
        pass


PIECES = [
    b"POST /x HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"Host: a\r\n",
    b"Host: a\n", b"Content-Length: 3\r\n", b"Content-Length:3\n", b"content-length : 3\r\n",
    b"Content-Length: 0x3\r\n", b"Content-Length:\r\n 3\r\n", b"Content_Length: 3\r\n", CHUNKED,
    b"transfer-encoding:chunked\n", b"Transfer-Encoding: Chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding : chunked\r\n", b"Expect: 100-continue\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n",
    b"0\r\nA: b\r\n\r\n", b"3;a\r\n", b'3;"\n"\r\n',
    b"3 \r\n", b"g\r\n", b"abc", b"0", b"00000000000000000003\r\n", b"\x00", b"\xff",
    b";" + b"a" * 1100 + b"\r\n",
]  # fmt: skip


BEGUN = st.sampled_from([b"", START, START + CHUNKED + b"\r\n"])


@given(st.builds(bytes.__add__, BEGUN, st.lists(st.sampled_from(PIECES), max_size=9).map(b"".join)), st.integers(0, 40))
@example(START + CHUNKED + b"\r\n3;" + b"a" * 1100 + b"\r\nab", 0)
@example(b"\r\n\r\n", 0)
def test_a_thread_that_gets_it_waits_for_nothing(parser: str, data: bytes, cut: int) -> None:
    """gunicorn reads it, or refuses it, without asking for more than there is."""
    arrival = Arrival()
    states = [arrival.add(data[:cut]), arrival.add(data[cut:])]
    if states[-1] is ArrivalState.WHOLE and states[0] in (ArrivalState.HEAD, ArrivalState.BODY):
        with suppress(OSError, ParseException, StopIteration):
            gunicorn_reads(bytes(arrival.data), parser)
