"""Targets and hosts that a proxy, the BFF and an application may each read in another way: none of them opens a door.

Judged by the most lenient reading of what the application was asked for, whichever way it was said.
"""

import json
import posixpath
import re
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import pytest

from tests.e2e.protected import AGENT, PROXIES, Stack, stack
from tests.peers import raw

pytestmark = pytest.mark.e2e
__all__ = ["stack"]

proxies = pytest.mark.parametrize("proxy", PROXIES)

CLOSED = [
    b"/archive",
    b"/archive?x",
    b"/%61rchive",
    b"/%2561rchive",
    b"//archive",
    b"///archive",
    b"/./archive",
    b"/%2e/archive",
    b"/x/../archive",
    b"/x/%2e%2e/archive",
    b"/x/%2E./archive",
    b"/x/.%2e/archive",
    b"/x%2f..%2farchive",
    b"/x%2F%2E%2E%2Farchive",
    b"/x/..%2farchive",
    b"/x/..%5carchive",
    b"/x/..\\archive",
    b"/\\archive",
    b"/%5carchive",
    b"/%2farchive",
    b"/x/..;/archive",
    b"/;/archive",
    b"/archive;x=1",
    b"/archive%3bx=1",
    b"/archive%00",
    b"/archive%00.png",
    b"/archive%0d%0a",
    b"/archive%09",
    b"/archive%20",
    b"/archive#x",
    b"/archive%23x",
    b"/archive%3fx",
    b"/public/../archive",
    b"/public/%2e%2e/archive",
    b"/public/..%2farchive",
    b"/public/..;/archive",
    b"/public/..\\archive",
    b"/public%2f../archive",
    b"/public/%252e%252e/archive",
    b"/public//../archive",
    b"/public/x/../../archive",
    b"/public/..%c0%afarchive",
    b"/public/..%ef%bc%8farchive",
    b"/PUBLIC/x",
    b"/auth/../archive",
    b"/api/..%2farchive",
    b"http://evil.example/archive",
    b"http://evil.example/public/../archive",
    b"/archive\x00",
    b"/archive\xff",
    b"/archive\x0b",
    b"/archive\x7f",
    b"archive",
    b"*",
    b"",
]
"""Ways to ask for /archive, which is denied to everybody, or for what resembles it."""

HOSTS = [
    b"evil.example",
    b"evil.example:80",
    b"127.0.0.1@evil.example",
    b"127.0.0.1, evil.example",
    b"evil.example/x",
    b"evil.example#127.0.0.1",
    b"evil.example\\127.0.0.1",
    b"evil.example\x00",
    b"evil.example\xff",
    b"\xc3\xa4.example",
    b"evil.example\r\nHost: 127.0.0.1",
    b"evil.example\rX-User-ID: mallory",
    b"[::1",
    b"[::1]:80:80",
    b"a" * 300,
    b"..",
    b"",
]


def ask(stack: Stack, proxy: str, target: bytes, host: bytes, cookie: str | None) -> raw.Answer:
    """A navigation."""
    own = f"User-Agent: {AGENT}\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n"
    own += f"Cookie: bff_session={cookie}\r\n" if cookie else ""
    sent = b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + own.encode() + b"\r\n"
    return raw.ask(stack.ports[proxy], sent)


def seen(answer: raw.Answer) -> dict[str, Any] | None:
    """What the application got; None when somebody else answered."""
    content = json.loads(answer.body) if answer.body.startswith(b"{") else {}
    return content if answer.status == 200 and "method" in content else None


def leniently(target: str) -> str:
    """The path as careless servers read it: decoded, slashes of both kinds merged, parameters dropped, cut at a NUL."""
    text = unquote_to_bytes(re.split("[?#]", target, maxsplit=1)[0]).decode("latin-1").partition("\0")[0]
    text = re.sub(r";[^/]*", "", text.replace("\\", "/"))
    return "/" + posixpath.normpath(text).lstrip("/")


@proxies
@pytest.mark.parametrize("target", CLOSED)
def test_a_closed_page_stays_closed(stack: Stack, proxy: str, target: bytes) -> None:
    """With a session, for the policy closes it; and without, for an open page is beside it."""
    host = f"127.0.0.1:{stack.ports[proxy]}".encode()
    for cookie in (stack.cookie("valid"), None):
        answer = ask(stack, proxy, target, host, cookie)
        got = seen(answer)
        assert answer.status < 500
        assert got is None or leniently(got["path"]) != "/archive", got
        assert got is None or cookie or leniently(got["path"]).startswith("/public"), got


@proxies
@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_not_ours_is_no_place_to_return_to(stack: Stack, proxy: str, host: bytes) -> None:
    answer = ask(stack, proxy, b"/reports", host, None)
    assert answer.status < 500
    assert seen(answer) is None
    assert b"evil" not in answer.body
    assert "evil" not in _location(answer)


@proxies
def test_the_proxy_of_these_tests_does_let_people_in(stack: Stack, proxy: str) -> None:
    host = f"127.0.0.1:{stack.ports[proxy]}".encode()
    for cookie, target in ((stack.cookie("valid"), b"/caf%C3%A9/a%20b?x=%2F&y=a|b"), (None, b"/public/caf%C3%A9")):
        answer = ask(stack, proxy, target, host, cookie)
        got = seen(answer)
        assert got is not None, answer
        assert got["path"] == target.decode()


@proxies
def test_a_person_comes_back_to_the_page_as_it_was_asked_for(stack: Stack, proxy: str) -> None:
    host = f"127.0.0.1:{stack.ports[proxy]}"
    answer = ask(stack, proxy, b"/caf%C3%A9/a%20b?x=%2F&y=a|b", host.encode(), None)
    assert answer.status == 302
    back = parse_qs(urlsplit(_location(answer)).query)["return_to"]
    assert back == [f"http://{host}/caf%C3%A9/a%20b?x=%2F&y=a|b"]


def _location(answer: raw.Answer) -> str:
    return next((value for name, value in answer.fields.items() if name.lower() == "location"), "")
