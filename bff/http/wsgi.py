"""Outbound HTTP without a network: requests go into WSGI apps of this process (PEP 3333)."""

import io
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse

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
