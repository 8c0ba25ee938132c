"""Outbound HTTP without a network: requests go into WSGI apps of this process (PEP 3333)."""

import io
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from bff.errors import BadGateway
from bff.http.exchange import NOT_HTTP, Incoming, Outgoing
from bff.http.response_head import Head, MalformedResponse, framing, reframed
from bff.observability import metrics
from bff.settings import UpstreamSettings

WsgiApp = Callable[..., Any]


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
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else bytes(body)
        answer = _Answer(app, _environ(request.method or "", request.url or "", request.headers, body))
        try:
            content = b"".join(answer)
        finally:
            answer.close()
        raw = HTTPResponse(
            io.BytesIO(content),
            request_method=request.method,
            headers=HTTPHeaderDict(answer.headers),
            status=answer.status,
            reason=answer.reason,
            preload_content=False,
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        if self._others is not None:
            self._others.close()


class WsgiUpstream:
    """A service in this process: an Upstream whose answers come from a WSGI app, each part when it is there."""

    def __init__(self, settings: UpstreamSettings, app: WsgiApp) -> None:
        self._settings = settings
        self._app = app

    def send(self, request: Outgoing, client: Any = None) -> Incoming:
        start, body = time.perf_counter(), request.body or b""
        body = body if isinstance(body, bytes) else b"".join(body)
        url = self._settings.base_url + request.target
        answer = _Answer(self._app, _environ(request.method, url, request.headers, body))
        answer.reframe(request.method)
        metrics.upstream_call(self._settings.service, str(answer.status), time.perf_counter() - start)
        return answer

    def close(self) -> None:
        return


class _Answer:
    """What a WSGI app answers, once it has begun to."""

    def __init__(self, app: WsgiApp, environ: dict[str, Any]) -> None:
        self.status, self.reason = 0, ""
        self.headers: list[tuple[str, str]] = []
        self._parts = app(environ, self._start_response)
        self._rest = iter(self._parts)
        self._first = next(self._rest, b"")  # an app may wait until then before it says how it answers

    def __iter__(self) -> Iterator[bytes]:
        yield from filter(None, chain([self._first], self._rest))

    def close(self) -> None:
        if hasattr(self._parts, "close"):
            self._parts.close()

    def reframe(self, method: str) -> None:
        """As if it had come over the network. Raises BadGateway."""
        head = Head(1, self.status, self.reason, self.headers)
        try:
            self.headers = reframed(head.fields, framing(head, method).length)
        except MalformedResponse as err:
            self.close()
            raise BadGateway(NOT_HTTP) from err

    def _start_response(self, status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
        code, _, self.reason = status.partition(" ")
        self.status, self.headers = int(code), headers


def _environ(method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of a request, with the target as it was sent where gunicorn has it, too."""
    parts = urlsplit(url)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "RAW_URI": "/" + "".join(url.split("/", 3)[3:]),
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
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ["CONTENT_TYPE" if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    environ.pop("HTTP_CONTENT_LENGTH", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
