"""Outbound HTTP: one pool per service, a timeout on every call, bounded answers, no redirects, breakers in front.

The only module that knows `requests`. Redirects are never followed: an endpoint that answers one is not the endpoint
that was configured, and following it could leak credentials.
"""

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, ReadTimeoutError

from bff.breaker import Breaker
from bff.errors import UpstreamError

MAX_BODY = 1024 * 1024
_CHUNK = 64 * 1024
WsgiApp = Callable[..., Any]


@dataclass(frozen=True)
class Response:
    """A whole answer, at most MAX_BODY bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises UpstreamError (bad_response) for anything else."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError) as err:
            raise UpstreamError("The answer is not JSON.", outcome="bad_response") from err
        if not isinstance(content, dict):
            raise UpstreamError("The answer is not a JSON object.", outcome="bad_response")
        return content


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """requests would otherwise add credentials that it finds in ~/.netrc."""
    return request


class HttpClient:
    """Calls to one service. Each `target` (an endpoint of the service) has a breaker of its own."""

    def __init__(
        self,
        service: str,
        *,
        timeout: float,
        adapter: BaseAdapter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """timeout: seconds to connect, and again between two reads. adapter: replaces the network altogether."""
        self._service = service
        self._timeout = timeout
        self._adapter = adapter
        self._clock = clock
        self._session: requests.Session | None = None
        self._breakers: dict[str, Breaker] = {}

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def get(self, url: str, *, target: str, headers: Mapping[str, str] | None = None) -> Response:
        """Raises UpstreamError. Repeated once after a broken connection, since GET may be."""
        try:
            return self._call("GET", url, target, headers, None)
        except UpstreamError as err:
            if err.outcome != "connection":
                raise
        return self._call("GET", url, target, headers, None)

    def post_form(
        self, url: str, form: Mapping[str, str], *, target: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Raises UpstreamError. Never repeated: the other side may have acted on it."""
        return self._call("POST", url, target, headers, dict(form))

    def _call(
        self, method: str, url: str, target: str, headers: Mapping[str, str] | None, form: dict[str, str] | None
    ) -> Response:
        breaker = self._breakers.setdefault(target, Breaker(f"{self._service}_{target}", clock=self._clock))
        if not breaker.allow():
            raise UpstreamError("Too many calls failed just now.", outcome="circuit_open")
        try:
            response = self._send(method, url, headers, form)
        except UpstreamError:
            breaker.failed()
            raise
        if response.status >= 500:
            breaker.failed()
        else:
            breaker.succeeded()
        return response

    def _send(self, method: str, url: str, headers: Mapping[str, str] | None, form: dict[str, str] | None) -> Response:
        try:
            with self._pool().request(
                method,
                url,
                headers={"Accept": "application/json", **(headers or {})},
                data=form,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as answer:
                return Response(answer.status_code, answer.headers, self._body(answer))
        except (requests.Timeout, ReadTimeoutError) as err:
            raise UpstreamError("The call took too long.", outcome="timeout") from err
        except (requests.RequestException, HTTPError, OSError) as err:
            raise UpstreamError("The call could not be made.", outcome="connection") from err

    def _pool(self) -> requests.Session:
        """Made by the first call, so in the process that uses it and never before a fork."""
        if self._session is None:
            session = requests.Session()
            session.auth = _no_netrc
            session.cookies.set_policy(
                DefaultCookiePolicy(allowed_domains=[])
            )  # one user's call must not mark the next
            for scheme in ("https://", "http://"):
                session.mount(scheme, self._adapter or HTTPAdapter(pool_connections=4, pool_maxsize=16))
            self._session = session
        return self._session

    def _body(self, answer: requests.Response) -> bytes:
        """Raises UpstreamError when the body is too large or does not end within four timeouts."""
        body, deadline = bytearray(), self._clock() + 4 * self._timeout
        # read1 gives what has arrived; requests' own iterator would wait for a whole chunk, byte after late byte.
        while chunk := answer.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > MAX_BODY:
                raise UpstreamError("The answer is too large.", outcome="bad_response")
            if self._clock() > deadline:
                raise UpstreamError("The answer took too long.", outcome="timeout")
        return bytes(body)


class WsgiTransport(BaseAdapter):
    """Carries requests into WSGI apps of this process instead of onto a network.

    In development the BFF reaches its own embedded provider this way, so one worker with one thread is enough.
    Origins that `apps` does not name go to `others`, or fail.
    """

    def __init__(self, apps: Mapping[str, WsgiApp], others: BaseAdapter | None = None) -> None:
        """apps: WSGI callables by origin, for example http://127.0.0.1:8000."""
        super().__init__()
        self._apps = apps
        self._others = others

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        parts = urlsplit(request.url or "")
        app = self._apps.get(f"{parts.scheme}://{parts.netloc}")
        if timeout is None:
            raise requests.RequestException("a call without a timeout")
        if app is None and self._others is not None:
            return self._others.send(request, stream, timeout, verify, cert, proxies)
        if app is None:
            raise requests.ConnectionError(f"no such host: {parts.netloc}")
        return self._run(app, request)

    def _run(self, app: WsgiApp, request: requests.PreparedRequest) -> requests.Response:
        started: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
            started.update(status=status, headers=headers)

        chunks = app(_environ(request), start_response)
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        code, _, reason = started["status"].partition(" ")
        raw = HTTPResponse(
            io.BytesIO(body), headers=started["headers"], status=int(code), reason=reason, preload_content=False
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        if self._others is not None:
            self._others.close()


def _environ(request: requests.PreparedRequest) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of an outgoing request."""
    parts = urlsplit(request.url or "")
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else bytes(body)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(parts.path, "latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": parts.hostname,
        "SERVER_PORT": str(parts.port or (443 if parts.scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": parts.netloc,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(len(body)),
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        environ["CONTENT_TYPE" if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    environ.pop("HTTP_CONTENT_LENGTH", None)
    return environ
