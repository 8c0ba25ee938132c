"""In-process transport: outbound HTTP goes into WSGI apps of this process (PEP 3333) instead of onto a network."""

import io
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse
from werkzeug.test import EnvironBuilder, run_wsgi_app

from bff.errors import BadGateway
from bff.http import UpstreamRequest, UpstreamResponse
from bff.http.exchange import NOT_HTTP
from bff.http.response_head import Head, MalformedResponse, framing, reframed
from bff.observability import metrics
from bff.settings import UpstreamSettings

WsgiApp = Callable[..., Any]


class WsgiTransport(BaseAdapter):
    """The BFF reaches its own embedded provider this way, so one worker with one thread is enough. Requests to origins
    outside `apps` go to `others`, or fail."""

    def __init__(self, apps: Mapping[str, WsgiApp], others: BaseAdapter | None = None) -> None:
        """apps: WSGI callables by origin, for example http://127.0.0.1:8000."""
        super().__init__()
        self._apps = apps
        self._others = others

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        app = self._apps.get(f"{parts.scheme}://{parts.netloc}")
        if options.get("timeout") is None:
            raise requests.RequestException("a call without a timeout")
        if app is None and self._others is not None:
            return self._others.send(request, *args, **options)
        if app is None:
            raise requests.ConnectionError(f"no such host: {parts.netloc}")
        body = request.body or b""
        answer = _Answer(app, request.method or "", request.url or "", request.headers, body)
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
    """A service in this process: an Upstream that streams the answers of a WSGI app."""

    def __init__(self, settings: UpstreamSettings, app: WsgiApp) -> None:
        self._settings = settings
        self._app = app

    def send(self, request: UpstreamRequest, client: Any = None) -> UpstreamResponse:
        """Raises BadGateway."""
        start, body = time.perf_counter(), request.body or b""
        body = body if isinstance(body, bytes) else b"".join(body)
        url = self._settings.base_url + request.target
        answer = _Answer(self._app, request.method, url, request.headers, body)
        try:  # the same strict parser as for the network
            head = Head(1, answer.status, answer.reason, answer.headers)
            answer.headers = reframed(head.fields, framing(head, request.method).length)
        except MalformedResponse as err:
            answer.close()
            raise BadGateway(NOT_HTTP) from err
        metrics.upstream_call(self._settings.service, str(answer.status), time.perf_counter() - start)
        return answer

    def close(self) -> None:
        return


class _Answer:
    """The response of a WSGI app, once it has begun."""

    def __init__(self, app: WsgiApp, method: str, url: str, headers: Mapping[str, str], body: str | bytes) -> None:
        self._parts, status, fields = run_wsgi_app(app, _environ(method, url, headers, body))
        code, _, self.reason = status.partition(" ")
        self.status, self.headers = int(code), list(fields)

    def __iter__(self) -> Iterator[bytes]:
        yield from filter(None, self._parts)

    def close(self) -> None:
        if hasattr(self._parts, "close"):
            self._parts.close()


def _environ(method: str, url: str, headers: Mapping[str, str], body: str | bytes) -> dict[str, Any]:
    """The WSGI environment of a request, with its target as it was sent (werkzeug would write some of it anew)."""
    parts = urlsplit(url)
    target = {
        "RAW_URI": "/" + "".join(url.split("/", 3)[3:]),
        "PATH_INFO": unquote(parts.path, "latin-1"),
        "QUERY_STRING": parts.query,
        "REMOTE_ADDR": "127.0.0.1",
    }
    return EnvironBuilder(
        base_url=f"{parts.scheme}://{parts.netloc}",
        method=method,
        headers=headers.items(),
        data=body,
        environ_overrides=target,
    ).get_environ()
