"""A browser for tests: cookies by RFC 6265bis (host, path, Secure, SameSite, Max-Age), redirects, fetch metadata.

It speaks to WSGI apps by origin, and its clock is the test's.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urljoin, urlsplit

from werkzeug.test import Client, TestResponse

from bff.dev.in_process import WsgiApp

MOST_REDIRECTS = 10
VERIFY_BIND = "127.0.0.1:8001"
ON_VERIFY_BIND = {"bff.listener": ("127.0.0.1", 8001)}
"""Of a WSGI environment whose request came in there; where the setting is not set it means nothing."""
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
QUESTIONS = ("/auth/verify", "/auth/forward")
_order = itertools.count()


@dataclass
class Cookie:
    name: str
    value: str
    host: str
    path: str
    secure: bool
    httponly: bool
    samesite: str
    expires_at: float | None
    order: int = field(default_factory=lambda: next(_order))


class Browser:
    def __init__(
        self, hosts: Mapping[str, WsgiApp], home: str, clock: Callable[[], float], address: str = "203.0.113.7"
    ) -> None:
        """hosts: WSGI apps by origin. home: the origin that relative addresses belong to."""
        self.hosts = hosts
        self.home = home
        self.clock = clock
        self.address = address
        self.agent = AGENT
        self.cookies: list[Cookie] = []

    def navigate(
        self, url: str, *, came_from: str | None = None, headers: Mapping[str, str] | None = None
    ) -> TestResponse:
        """Open an address as a person does; one step, redirects not followed. came_from: the page that linked it."""
        navigation = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate"}
        return self.send("GET", url, {**navigation, **(headers or {})}, came_from=came_from)

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        json: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> TestResponse:
        """What a script of the home page does."""
        metadata = {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}
        if method != "GET":
            metadata["Origin"] = self.home
        return self.send(method, url, {**metadata, **(headers or {})}, json=json, data=data)

    def follow(self, answer: TestResponse, *, until: str | None = None) -> TestResponse:
        """Follow redirects, as far as an address that starts with `until`, which is not opened."""
        came_from = answer.request.url
        for _ in range(MOST_REDIRECTS):
            if "Location" not in answer.headers:
                return answer
            url = urljoin(answer.request.url, answer.headers["Location"])
            if until and url.startswith(until):
                return answer
            answer = self.navigate(url, came_from=came_from)
        raise AssertionError("a redirect loop")

    def verify(
        self,
        uri: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        profile: str = "",
        peer: str = "127.0.0.1",
    ) -> TestResponse:
        """The question that a reverse proxy asks before it lets this browser's request through; a trusted one at peer.
        profile: the one that it asks by, with the `@`."""
        forwarded = {
            "X-Forwarded-For": self.address,
            "X-Forwarded-Proto": urlsplit(self.home).scheme,
            "X-Forwarded-Host": urlsplit(self.home).netloc,
            "X-Forwarded-Uri": uri,
            "X-Forwarded-Method": method,
        }
        said = {**forwarded, **(headers or {})}
        return self.send("GET", f"/auth/verify{profile}", said, peer=peer)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        json: Any = None,
        data: bytes | None = None,
        came_from: str | None = None,
        peer: str | None = None,
        environ: Mapping[str, Any] = ON_VERIFY_BIND,
    ) -> TestResponse:
        """environ: of the WSGI environment; by default, questions of proxies come in where proxies ask."""
        url = urljoin(self.home, url)
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        sent = {"User-Agent": self.agent, **headers}
        if "Cookie" not in sent and (cookie := self.cookie_header(url, came_from)):
            sent["Cookie"] = cookie
        answer = Client(self.hosts[origin], use_cookies=False).open(
            parts.path or "/",
            base_url=origin,
            query_string=parts.query,
            method=method,
            headers=sent,
            json=json,
            data=data,
            buffered=True,
            environ_base={"REMOTE_ADDR": peer or self.address},
            environ_overrides={
                "RAW_URI": (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
                **(environ if parts.path.startswith(QUESTIONS) else {}),
            },
        )
        for line in answer.headers.getlist("Set-Cookie"):
            self._store(line, parts.hostname or "", parts.path, parts.scheme)
        return answer

    def cookie_header(self, url: str, came_from: str | None = None) -> str:
        parts = urlsplit(url)
        strange = came_from is not None and urlsplit(came_from).hostname != parts.hostname
        sent = [
            cookie
            for cookie in self._alive()
            if cookie.host == parts.hostname
            and (parts.path or "/").startswith(cookie.path)
            and (parts.scheme == "https" or not cookie.secure)
            and not (strange and cookie.samesite == "Strict")
        ]
        sent.sort(key=lambda cookie: (-len(cookie.path), cookie.order))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in sent)

    def cookie(self, name: str) -> Cookie | None:
        return next((cookie for cookie in self._alive() if cookie.name == name), None)

    def named(self, prefix: str) -> list[Cookie]:
        return [cookie for cookie in self._alive() if cookie.name.startswith(prefix)]

    def put(self, name: str, value: str, *, path: str = "/") -> None:
        """Plant a cookie, as a sibling host or an attacker might."""
        self._keep(Cookie(name, value, urlsplit(self.home).hostname or "", path, True, True, "Lax", None))

    def forget(self, name: str) -> None:
        self.cookies = [cookie for cookie in self.cookies if cookie.name != name]

    def _alive(self) -> list[Cookie]:
        return [cookie for cookie in self.cookies if cookie.expires_at is None or cookie.expires_at > self.clock()]

    def _store(self, line: str, host: str, path: str, scheme: str) -> None:
        for name, morsel in SimpleCookie(line).items():
            assert scheme == "https" or not morsel["secure"], "a Secure cookie over http is dropped"
            if name.lower().startswith("__host-"):
                kept = bool(morsel["secure"]) and morsel["path"] == "/" and not morsel["domain"]
                assert kept, "a __Host- cookie that is not Secure and for the whole host is dropped"
            if name.lower().startswith("__host-http-"):
                assert morsel["httponly"], "a __Host-Http- cookie that is not HttpOnly is dropped"
            age = morsel["max-age"]
            self._keep(
                Cookie(
                    name=name,
                    value=morsel.value,
                    host=morsel["domain"].lstrip(".") or host,
                    path=morsel["path"] or path.rpartition("/")[0] or "/",
                    secure=bool(morsel["secure"]),
                    httponly=bool(morsel["httponly"]),
                    samesite=morsel["samesite"] or "Lax",
                    expires_at=self.clock() + int(age) if age != "" else None,
                )
            )

    def _keep(self, cookie: Cookie) -> None:
        def same(other: Cookie) -> bool:
            return (other.name, other.host, other.path) == (cookie.name, cookie.host, cookie.path)

        for old in filter(same, self.cookies):
            cookie.order = old.order
        self.cookies = [other for other in self.cookies if not same(other)] + [cookie]
