"""What a worker has around it in the tests of workers."""

import sys
from collections.abc import Callable
from typing import Any

from gunicorn.config import Config
from gunicorn.http import message

from bff.server import framing
from tests.peers import install

CLIENT, SERVER = ("203.0.113.7", 4711), ("127.0.0.1", 8000)
VERIFY = b"GET /auth/verify HTTP/1.1\r\nHost: a.test\r\n"

NOT_AT_ONCE = {
    "another path": b"GET /auth/session HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "another method": b"POST /auth/verify HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "in other words": b"GET /auth/%76erify HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "an absolute target": b"GET http://a.test/auth/verify HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "an older version": b"GET /auth/verify HTTP/1.0\r\nHost: a.test\r\n\r\n",
    "a long line": b"GET /auth/verify?" + b"a" * 1024 + b" HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "half a head": VERIFY,
    "half a line": b"GET /auth/ver",
    "two at once": VERIFY + b"\r\n" + VERIFY + b"\r\n",
    "two at once, the first with bare line feeds": VERIFY.replace(b"\r", b"") + b"\n" + VERIFY + b"\r\n",
    "with the body's beginning": VERIFY + b"Content-Length: 9\r\n\r\nabc",
    "with a body to come": VERIFY + b"Content-Length: 9\r\n\r\n",
    "with chunks to come": VERIFY + b"Transfer-Encoding: chunked\r\n\r\n",
    "that waits to be asked for a body": VERIFY + b"Expect: 100-continue\r\n\r\n",
    "an upgrade": VERIFY + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "the last one": VERIFY + b"Connection: close\r\n\r\n",
    "a field twice": VERIFY + b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\r\n",
    "a field that looks like another": VERIFY + b"X_Forwarded_For: 192.0.2.1\r\n\r\n",
    "no host": b"GET /auth/verify HTTP/1.1\r\n\r\n",
    "two hosts": VERIFY + b"Host: b.test\r\n\r\n",
    "an impossible host": b"GET /auth/verify HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a host that is none": b"GET /auth/verify HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    "an impossible character in the query": b"GET /auth/verify?\xe9 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "two spaces before the version": b"GET /auth/verify  HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "a field without a colon": VERIFY + b"Cookie\r\n\r\n",
    "a field without a name": VERIFY + b": a\r\n\r\n",
    "a space before the colon": VERIFY + b"Cookie : a=b\r\n\r\n",
    "a line that ends with a line feed": VERIFY + b"A: b\nCookie: a=b\r\n\r\n",
    "a line with a carriage return": VERIFY + b"A: b\rc\r\n\r\n",
    "half a line end each": VERIFY + b"A: b\rc\nd\r\n\r\n",
    "a control character in a field": VERIFY + b"A: b\x00\r\n\r\n",
    "a folded line": VERIFY + b"A: b\r\n c\r\n\r\n",
    "too many fields": VERIFY + b"".join(b"A%d: b\r\n" % number for number in range(50)) + b"\r\n",
    "no HTTP": b"\x16\x03\x01\r\n\r\n",
}  # fmt: skip
"""What a proxy's question is not: it is left to gunicorn."""

UNFINISHED = frozenset({
    "half a head", "half a line", "with the body's beginning", "with a body to come", "with chunks to come",
})  # fmt: skip
"""Those of them that a worker waits for."""


class Verify:
    """Answers at once what it `knows`."""

    paths = frozenset({"/auth/verify"})
    knows = True
    fails = False

    def answers(self, path: str) -> bool:
        return path.startswith("/auth/verify")

    def at_once(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> tuple[bytes, ...] | None:
        if self.fails:
            raise RuntimeError
        if not self.knows:
            return None
        start_response("200 OK", [("Content-Length", "2"), ("X-Asked", environ["PATH_INFO"])])
        return (b"ok",)


PARSERS = ("python", "fast")


def _offer_fast_parser() -> None:
    if (folder := str(install.fast_parser())) not in sys.path:
        sys.path.append(folder)
        message._fast_parser_available = None  # gunicorn looks once, and a test before may have made it look


def config(parser: str = "python") -> Config:
    """gunicorn's settings as gunicorn.conf.py has them, as far as they matter here."""
    if parser == "fast":
        _offer_fast_parser()
    made = Config()
    made.set("pre_request", lambda _worker, request: framing.check(request))
    for name, value in {"http_parser": parser, "header_map": "drop", "forwarder_headers": ""}.items():
        made.set(name, value)
    made.set("secure_scheme_headers", {})
    return made
