"""Whatever is sent over a raw socket: the service sees one request, the one that was authorised, or none.

A second, ordinary request follows at once on the same connection, and is answered as itself or not at all.
"""

import json
import re
from itertools import product

import pytest

from tests.e2e import hostile
from tests.e2e.proxied import KINDS, Site, shared_site
from tests.peers import install, raw
from tests.peers.bff import Visitor
from tests.peers.service import fields, request_line
from tests.peers.streaming.wire import Seen

pytestmark = pytest.mark.e2e

NEXT = b"GET /api/work/next HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
NEXT_LINE = "GET /work/next HTTP/1.1"
LATER = 100  # fields of one request that gunicorn takes
CLAIMED = (
    "X-User-ID", "X-User-Email", "X-User-Name", "X-User-Roles", "X-Session-ID", "X-Auth-Time", "X-Original-User",
    "Remote-User", "X-Remote-User", "X-Forwarded-User", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host",
    "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded", "X-Original-URL", "X-HTTP-Method-Override", "Authorization",
    "Cookie", "X-CSRF-Token", "X-Correlation-ID", "Proxy-Authorization", "Host",
)  # fmt: skip
# Every character that a field name may have (RFC 9110 section 5.6.2) and that CGI, WSGI or PHP turn into "_".
ALIASING = "!#$%&'*+.^_`|~"


@pytest.fixture(scope="module", params=product(KINDS, ("python", "fast")), ids=" ".join)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Under each kind of worker with each of gunicorn's parsers."""
    kind, parser = request.param
    environ = {"PYTHONPATH": str(install.fast_parser())} if parser == "fast" else {}
    started = shared_site(tmp_path_factory, kind, environ)
    assert parser_of(started) == parser
    return started


def parser_of(site: Site) -> str:
    """As the log has it."""
    (parser,) = [record["http_parser"] for record in site.bff.records() if record["event"] == "http_parser"]
    return str(parser)


def outcome(site: Site, sent: bytes) -> tuple[list[raw.Answer], list[Seen]]:
    """The answers to a request and the one after it, and what the service saw of the first."""
    site.work.forget()
    answers = raw.answers(raw.exchange(site.bff.port, sent + NEXT))
    seen = site.work.seen()
    if seen and request_line(seen[-1]) == NEXT_LINE:
        assert json.loads(answers[-1].body)["head"] == seen.pop().head, "the next request is answered as itself"
    else:
        assert all(answer.status >= 400 for answer in answers[1:])
    return answers, seen


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_refused(site: Site, name: str) -> None:
    answers, seen = outcome(site, hostile.REFUSED[name])
    assert 400 <= answers[0].status < 502
    assert seen == []


@pytest.mark.parametrize("name", hostile.BROKEN_OFF)
def test_broken_off(site: Site, name: str) -> None:
    """The service gets no end of such a request, nor does another follow it."""
    answers, _ = outcome(site, hostile.BROKEN_OFF[name])
    assert [answer.status for answer in answers] == [400]
    seen = site.work.wait(lambda seen: seen and seen[-1].gone)
    assert [each.complete for each in seen] == [False]


@pytest.mark.parametrize("name", hostile.PASSED)
def test_passed(site: Site, name: str) -> None:
    sent, body = hostile.PASSED[name]
    answers, seen = outcome(site, sent)
    assert [answer.status for answer in answers] == [200, 200]
    assert [(each.body.encode("latin-1"), each.complete, each.framing != "ambiguous") for each in seen] == [
        (body, True, True)
    ]
    assert request_line(seen[0]).split(" ")[1] == "/work/x"
    assert "mallory" not in seen[0].head


@pytest.mark.parametrize("target", hostile.REFUSED_TARGETS)
def test_a_target_that_could_be_read_in_two_ways(site: Site, target: bytes) -> None:
    answers, seen = outcome(site, hostile.get(line=b"GET " + target + b" HTTP/1.1"))
    assert answers[0].status in (400, 404)
    assert seen == []


@pytest.mark.parametrize("target", hostile.PASSED_TARGETS)
def test_a_target_is_passed_on_byte_for_byte(site: Site, target: bytes) -> None:
    answers, seen = outcome(site, hostile.get(line=b"GET " + target + b" HTTP/1.1"))
    sent_on = target[target.index(b"/", 1) :].decode()
    assert answers[0].status == 200
    assert [request_line(each) for each in seen] == [f"GET {sent_on} HTTP/1.1"]


def test_every_other_byte_in_a_target_is_refused(site: Site) -> None:
    """Those that cannot even be sent in a target are refused by the server, with the connection."""
    for byte in (*range(0x21), *range(0x7F, 0x100)):
        answers, seen = outcome(site, hostile.get(line=b"GET /api/work/a" + bytes([byte]) + b"b HTTP/1.1"))
        assert (answers[0].status, seen) == (400, []), byte


def claims() -> list[bytes]:
    """Fields by which some framework believes who asks, what for, or where from: every name in every spelling."""
    spellings = [name.replace("-", sign) for name in CLAIMED for sign in "-" + ALIASING if sign == "-" or "-" in name]
    spellings += [name.replace("-", "_", 1) for name in CLAIMED if name.count("-") > 1]
    lines = [f"{name}: mallory\r\n".encode() for name in spellings if name not in ("Host", "Cookie")]
    return lines + [line.lower() for line in lines] + [b"Cookie: mallory=mallory; _eid_csrf_v1=mallory\r\n"]


def test_no_claim_reaches_the_service(site: Site) -> None:
    lines = claims()
    step = LATER // 2 - 5
    for first in range(0, len(lines), step):
        answers, seen = outcome(site, hostile.get(b"".join(lines[first : first + step])))
        assert answers[0].status == 200
        assert "mallory" not in seen[0].head


def test_two_spaces_are_refused_or_read_as_one(site: Site) -> None:
    answers, seen = outcome(site, hostile.TWO_SPACES)
    if parser_of(site) == "fast":
        assert [request_line(each) for each in seen] == ["GET /work/x HTTP/1.1"]
    else:
        assert (answers[0].status, seen) == (400, [])


def test_only_what_is_known_reaches_the_service(site: Site) -> None:
    _, seen = outcome(
        site, hostile.get(b"X-Unknown: 1\r\nConnection: X-Forwarded-For, Host\r\nTE: trailers\r\nAccept: a/b\r\n")
    )
    found = dict(fields(seen[0]))
    assert re.fullmatch("[0-9a-f]{32}", found.pop("X-Correlation-ID"))
    assert found == {
        "Host": f"127.0.0.1:{site.work.port}",
        "Accept": "a/b",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": site.bff.address,
        "Forwarded": f'for=127.0.0.1;host="{site.bff.address}";proto=http',
    }


def test_a_user_brings_a_token_and_nothing_of_their_own(site: Site) -> None:
    with Visitor(site.bff.base_url) as alice:
        assert alice.login().status_code == 302
        headers = {"X-CSRF-Token": alice.csrf_token(), "Authorization": "Bearer mallory", "X-User-ID": "mallory"}
        assert alice.call("POST", "/api/mine/orders", json={}, headers=headers).status_code == 200
        cookies = [str(value) for value in alice.cookies.get_dict().values()]
    seen = site.work.last()
    found = {name.lower(): value for name, value in fields(seen)}
    assert re.fullmatch("Bearer [!-~]{20,}", found["authorization"])
    assert found["x-original-user"] == "auth:account:embedded:alice"
    assert not {"cookie", "x-csrf-token", "x-user-id", "origin"} & found.keys()
    assert not [secret for secret in ("mallory", *cookies) if secret in seen.head]


def test_nothing_of_this_was_unforeseen(site: Site) -> None:
    assert site.complaints() == []
