"""Inline answers: a worker answers where it reads, without gunicorn's work for an ordinary request.

It sends the answers that the application has in memory (`Verify.at_once`), and refuses requests that never become whole
or find no place. Both worker classes share this part, however they wait for their connections.
"""

import functools
from datetime import datetime
from typing import Any

from bff.bulkhead import Bound
from bff.errors import BFFError
from bff.observability import logs, metrics
from bff.server import fast_http
from bff.server.access_log import ROUTE
from bff.server.fast_http import FastResponse
from bff.server.parking import BoundFor
from bff.web import problem

_PROXIED = "/api/*"  # in the log: the path of a request without a route may name people


class CachedConfig:
    """Cache of gunicorn's settings: gunicorn looks them up some twenty times for a request, this class once in all."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(self._settings, name)
        return value


class InlineVerify:
    """Mix-in: a worker inherits it before gunicorn's own class."""

    alive: bool
    cfg: Any
    log: Any
    max_requests: int
    nr: int
    wsgi: Any
    gunicorns: bool  # TLS and HTTP/2 are left to gunicorn
    verify: Any = None  # the application's, if that is the BFF without middleware that must see each request
    bound_for: BoundFor = staticmethod(lambda _method, _target: None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cfg = CachedConfig(self.cfg)
        self.gunicorns = bool(self.cfg.is_ssl or "h2" in self.cfg.http_protocols)
        self._around = functools.lru_cache(maxsize=1024)(
            functools.partial(fast_http.connection_environ, settings=self.cfg)
        )

    def load_wsgi(self) -> None:
        super().load_wsgi()  # type: ignore[misc]  # gunicorn's
        extensions = getattr(self.wsgi, "extensions", {})
        verify = extensions.get("bff_verify")
        self.bound_for = extensions.get("bff_bound_for", self.bound_for)
        self.verify = verify if verify is getattr(self.wsgi, "wsgi_app", None) else None

    def is_verify(self, request: Any) -> bool:
        return self.verify is not None and request.path in self.verify.paths

    def answer(self, data: bytes, client: Any, server: Any, *, closes: bool = False) -> FastResponse | None:
        """The answer from memory to data, all unread bytes of a connection; None, without side effects, if there is
        none. client, server: the connection's ends. closes: whether the connection shall end."""
        try:
            environ = fast_http.parse(data, self.verify.paths, self._around(client, server))
            if environ is None:
                return None
            answer = FastResponse(environ)
            body = self.verify.at_once(environ, answer.start_response)
        except Exception:  # noqa: BLE001 - gunicorn runs into it again, and answers
            return None
        if body is None:
            return None
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        answer.finish(body, closes=closes or not self.alive)
        return answer

    def streams(self, method: str, target: str) -> bool:
        """Whether the request's body is passed on as it arrives, so that no worker waits until it is whole."""
        bound = self.bound_for(method, target)
        return bound is not None and bound.streaming

    def refusal(self, error: BFFError, method: str, target: str, bound: Bound | None = None) -> FastResponse:
        """The last response of a connection, to a request that never reaches the application. bound: the service it
        was for."""
        path = target.partition("?")[0]
        answer = FastResponse({"REQUEST_METHOD": method, "PATH_INFO": path})
        if bound is not None or path.startswith("/api/"):
            answer.environ[ROUTE] = bound.path if bound else _PROXIED
        correlation_id = logs.correlation_id_for(None)
        content, content_type = problem.body(problem.facts(error, correlation_id), navigation=False)
        about = [("Content-Type", content_type), ("Content-Length", str(len(content))), ("Cache-Control", "no-store")]
        headers = [*about, ("X-Correlation-ID", correlation_id), *problem.headers(error)]
        answer.start_response(f"{error.status} {error.title}", headers)
        answer.finish([] if method == "HEAD" else [content], closes=True)
        metrics.http_request(method, bound.route if bound else None, error.status, 0.0)
        return answer

    def note(self, answer: FastResponse) -> None:
        """Write the access line, after the answer was sent."""
        self.log.access(answer, None, answer.environ, datetime.now() - answer.begun)
