"""A request that memory can answer is answered where it is read, without what gunicorn does for any other.

Which ones these are the application says (`Verify.at_once`). Here is what a worker needs for that, however it waits for
its connections.
"""

import functools
from datetime import datetime
from typing import Any

from bff.workers import question
from bff.workers.question import Answer


class Settled:
    """gunicorn's settings, which it looks up some twenty times for a request: each is looked up once."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(self._settings, name)
        return value


class AtOnce:
    """For a worker to inherit before gunicorn's own class."""

    alive: bool
    cfg: Any
    log: Any
    max_requests: int
    nr: int
    wsgi: Any
    gunicorns: bool  # TLS and HTTP/2 are left to gunicorn
    verify: Any = None  # the app's, when it is the BFF, with nothing around it that wants to see each request

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cfg = Settled(self.cfg)
        self.gunicorns = bool(self.cfg.is_ssl or "h2" in self.cfg.http_protocols)
        self._around = functools.lru_cache(maxsize=1024)(functools.partial(question.surroundings, settings=self.cfg))

    def load_wsgi(self) -> None:
        super().load_wsgi()  # type: ignore[misc]  # gunicorn's
        verify = getattr(self.wsgi, "extensions", {}).get("bff_verify")
        self.verify = verify if verify is getattr(self.wsgi, "wsgi_app", None) else None

    def is_verify(self, request: Any) -> bool:
        return self.verify is not None and request.path in self.verify.paths

    def answer(self, data: bytes, client: Any, server: Any, *, closes: bool = False) -> Answer | None:
        """What memory answers to data, which is all that a connection has; None, and nothing done, where it has no
        answer. client, server: the connection's ends. closes: whether it shall be the last."""
        try:
            environ = question.asked(data, self.verify.paths, self._around(client, server))
            if environ is None:
                return None
            answer = Answer(environ)
            body = self.verify.at_once(environ, answer.start_response)
        except Exception:  # noqa: BLE001 - gunicorn meets it again, and answers
            return None
        if body is None:
            return None
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        answer.finish(body, closes=closes or not self.alive)
        return answer

    def note(self, answer: Answer) -> None:
        """In the access log, once it was sent."""
        self.log.access(answer, None, answer.environ, datetime.now() - answer.begun)
