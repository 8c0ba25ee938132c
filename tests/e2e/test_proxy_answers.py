"""What comes back through the API proxy, from a real nginx and from a service that streams: all of it, as it comes."""

import gzip
import http.client
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime

import pytest
import requests

from tests.e2e.proxied import IMAGE, TEXT, TIMEOUT, Site, open_answer, site
from tests.peers import lateness, raw

pytestmark = pytest.mark.e2e
__all__ = ["site"]

FILES = ("files", "streamed")
PROMPTLY = 0.05
STREAMS = 20


# nginx


@pytest.mark.parametrize("route", FILES)
def test_a_file(site: Site, route: str) -> None:
    with open_answer(site, f"{route}/image.png") as answer:
        assert answer.read() == IMAGE
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Length"] == str(len(IMAGE))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert parsedate_to_datetime(answer.headers["Last-Modified"])
    assert answer.headers.get_all("Server") == ["gunicorn"]


@pytest.mark.parametrize("route", FILES)
@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=0-99", 206, slice(100)),
        ("bytes=-1", 206, slice(-1, None)),
        ("bytes=299999-", 206, slice(-1, None)),
        ("bytes=400000-", 416, None),
        ("pages=1-2", 200, slice(None)),
    ],
)
def test_a_range(site: Site, route: str, wanted: str, status: int, part: slice | None) -> None:
    with open_answer(site, f"{route}/image.png", Range=wanted) as answer:
        content = answer.read()
    assert (answer.status, part is None or content == IMAGE[part]) == (status, True)
    if status == 206:
        assert answer.headers["Content-Range"].endswith(f"/{len(IMAGE)}")


@pytest.mark.parametrize("route", FILES)
def test_what_the_browser_has_is_not_sent_again(site: Site, route: str) -> None:
    with open_answer(site, f"{route}/image.png") as answer:
        etag = answer.headers["ETag"]
    with open_answer(site, f"{route}/image.png", **{"If-None-Match": etag}) as answer:
        assert (answer.status, answer.read(), answer.headers["ETag"]) == (304, b"", etag)
    with open_answer(site, f"{route}/image.png", **{"If-Range": '"another"', "Range": "bytes=0-9"}) as answer:
        assert (answer.status, len(answer.read())) == (200, len(IMAGE))


@pytest.mark.parametrize("route", FILES)
def test_a_head(site: Site, route: str) -> None:
    """The connection then carries the next request."""
    connection = http.client.HTTPConnection("127.0.0.1", site.bff.port, timeout=TIMEOUT)
    with closing(connection):
        for _ in range(3):
            connection.request("HEAD", f"/api/{route}/image.png")
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, str(len(IMAGE)), b"")


@pytest.mark.parametrize("route", FILES)
def test_a_compressed_file_stays_so(site: Site, route: str) -> None:
    with open_answer(site, f"{route}/text.txt", **{"Accept-Encoding": "gzip"}) as answer:
        content = answer.read()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(content) < len(TEXT) / 4
    assert gzip.decompress(content) == TEXT
    with open_answer(site, f"{route}/text.txt") as answer:
        assert (answer.headers["Content-Encoding"], answer.read()) == (None, TEXT)


def test_a_file_that_is_not_there(site: Site) -> None:
    with open_answer(site, "files/nothing.txt") as answer:
        assert (answer.status, b"nginx" in answer.read()) == (404, True)


# Server-Sent Events


def events(answer: http.client.HTTPResponse) -> Iterator[tuple[int, float]]:
    """(id, seconds since the service sent it) as each event arrives."""
    number = 0
    while line := answer.readline():
        if line.startswith(b"id: "):
            number = int(line[4:])
        elif line.startswith(b"data: "):
            yield number, time.time() - float(line[6:])


def test_the_first_event_comes_at_once(site: Site, record_testsuite_property: Callable[[str, object], None]) -> None:
    """Each stream then stays idle, so nothing else pushes the event through."""
    delays = []
    for _ in range(STREAMS):
        with open_answer(site, "work/sse?count=1") as answer:
            delays.append(next(events(answer))[1])
    figures = f"median {statistics.median(delays) * 1000:.1f} ms, most {max(delays) * 1000:.1f} ms"
    print(f"\nfirst event after the service sent it: {figures}")
    record_testsuite_property("first_event", figures)
    assert statistics.median(delays) < PROMPTLY


def test_events_come_one_by_one(site: Site) -> None:
    with open_answer(site, "work/sse?count=6&every=0.1&end=1") as answer:
        found = list(events(answer))
    assert [number for number, _ in found] == [1, 2, 3, 4, 5, 6]
    assert statistics.median(delay for _, delay in found) < PROMPTLY
    assert (answer.headers["Content-Type"], answer.headers["Content-Length"]) == ("text/event-stream", None)


def test_a_stream_goes_on_where_it_was_left(site: Site) -> None:
    with open_answer(site, "work/sse?count=2&end=1", **{"Last-Event-ID": "41"}) as answer:
        assert [number for number, _ in events(answer)] == [42, 43]


def test_a_stream_whose_end_is_its_connections(site: Site) -> None:
    with open_answer(site, "work/sse?count=1&close=1") as answer:
        assert next(events(answer))[1] < PROMPTLY * 4


# Other answers


def test_trailers_are_dropped(site: Site) -> None:
    sent = b"GET /api/work/trailers HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: close\r\n\r\n"
    received = raw.exchange(site.bff.port, sent)
    assert received.endswith(b"\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
    assert b"Trailer" not in received
    assert b"mallory" not in received


def test_what_is_the_connections_or_the_sites_is_dropped(site: Site) -> None:
    answer = requests.get(site.url("work/private"), timeout=TIMEOUT)
    assert answer.headers["X-Custom"] == "kept"
    for name in (
        "Set-Cookie",
        "X-Hop",
        "Keep-Alive",
        "Strict-Transport-Security",
        "Clear-Site-Data",
        "Access-Control-Allow-Origin",
        "Proxy-Authenticate",
        "Upgrade",
        "X-Accel-Redirect",
        "X-User-ID",
        "X-Unknown",
    ):
        assert name not in answer.headers


@pytest.mark.parametrize("how", ["", "reset=1", "chunked=1", "chunked=1&reset=1"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_an_answer_that_breaks_off_does_not_look_complete(site: Site, how: str, version: str) -> None:
    with socket.create_connection(("127.0.0.1", site.bff.port), TIMEOUT) as client:
        client.sendall(f"GET /api/work/die?{how} {version}\r\nHost: a.test\r\n\r\n".encode())
        answer = raw.answer(client)
    assert (answer.status, answer.complete) == (200, False)


def test_a_service_that_never_answers(site: Site) -> None:
    with lateness.measured() as taken:
        answer = requests.get(site.url("impatient/never"), timeout=TIMEOUT)
    assert (answer.status_code, answer.json()["code"]) == (504, "upstream_timeout")
    assert 0.4 - taken.lost < taken.seconds < 2
    assert site.work.last().gone


def test_nothing_of_this_was_unforeseen(site: Site) -> None:
    assert site.complaints() == []
