"""However a service frames its answer: the client gets one valid framing, or problem details, and never waits for more.

In HTTP/1.1 and HTTP/1.0; another request follows on the same connection, and is answered as itself.
"""

import http.client
import json
from contextlib import closing

import pytest

from tests.e2e.proxied import TIMEOUT, Site, site
from tests.peers.framed import BROKEN, READ, REFUSED

pytestmark = pytest.mark.e2e
__all__ = ["site"]

VERSIONS = ("HTTP/1.1", "HTTP/1.0")


def connected(site: Site, version: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", site.bff.port, timeout=TIMEOUT)
    connection._http_vsn, connection._http_vsn_str = int(version[-1]) + 10, version  # type: ignore[attr-defined]
    return connection


def asked(connection: http.client.HTTPConnection, method: str, route: str, sent: bytes, case: str) -> None:
    """case: so that a log names it. The service then leaves its connection open where the answer allows it."""
    stay = "" if case.endswith(("to the end", "at all")) or case.startswith("only") else "&stay=1"
    connection.request(method, f"/api/{route}/wire?case={case.replace(' ', '-')}&hex={sent.hex()}{stay}")


def assert_in_step(connection: http.client.HTTPConnection, case: str) -> None:
    connection.request("GET", f"/api/plain/next?case={case.replace(' ', '-')}")
    answer = connection.getresponse()
    assert json.loads(answer.read())["head"].startswith("GET /plain/next"), case


def assert_not_whole(site: Site, version: str, route: str, sent: bytes, case: str) -> None:
    with closing(connected(site, version)) as connection:
        connection.request("GET", f"/api/{route}/wire?hex={sent.hex()}")
        try:
            received = connection.getresponse().read()
        except (http.client.HTTPException, OSError):
            return
    pytest.fail(f"{case}: {received!r} looks whole")


@pytest.mark.parametrize("route", ["plain", "work"])
@pytest.mark.parametrize("version", VERSIONS)
def test_one_framing_leaves(site: Site, version: str, route: str) -> None:
    """route: of which one streams."""
    for case, (method, sent, status, length, content) in READ.items():
        with closing(connected(site, version)) as connection:
            asked(connection, method, route, sent, case)
            answer = connection.getresponse()
            body = answer.read()
            assert (answer.status, body) == (status, content), case
            lengths = answer.headers.get_all("Content-Length") or []
            assert lengths == ([length] if length and status != 304 else []), case
            codings = answer.headers.get_all("Transfer-Encoding") or []
            chunked = length is None and method != "HEAD" and status != 204 and version == "HTTP/1.1"
            assert codings == (["chunked"] if chunked and status != 304 else []), case
            assert_in_step(connection, case)


@pytest.mark.parametrize("version", VERSIONS)
def test_problem_details_leave(site: Site, version: str) -> None:
    for case, sent in REFUSED.items():
        if len(sent) > 4000:
            continue  # longer than a target may be; tests/unit has them
        with closing(connected(site, version)) as connection:
            asked(connection, "GET", "plain", sent, case)
            answer = connection.getresponse()
            problem = json.loads(answer.read())
            assert (answer.status, answer.headers["Content-Type"]) == (502, "application/problem+json"), case
            assert problem["code"] == "upstream_unreachable", case
            assert_in_step(connection, case)


@pytest.mark.parametrize("route", ["plain", "work"])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_breaks_off_does_not_look_whole(site: Site, version: str, route: str) -> None:
    for case, sent in BROKEN.items():
        if len(sent) > 4000:
            continue
        assert_not_whole(site, version, route, sent, case)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_with_a_fault_is_no_html(site: Site, version: str) -> None:
    """A stream is not waited for, so that its first chunk may come too late for problem details."""
    for case in (case for case in REFUSED if case.startswith("chunk ")):
        assert_not_whole(site, version, "work", REFUSED[case], case)


def test_nothing_of_this_was_unforeseen(site: Site) -> None:
    assert site.complaints() == []
