"""A reverse proxy's question and its answer, read and written without gunicorn's request and response.

Those are made for everything that a request can be, and cost several times what verify does. What is read here gunicorn
and bff/framing.py would let pass, and read alike (a test compares them); anything unusual is left to them.
"""

import functools
import re
import time
from collections.abc import Iterable
from datetime import datetime
from io import BytesIO
from typing import Any

import gunicorn_h1c
from gunicorn import SERVER, util
from gunicorn.http import wsgi

from bff import framing
from bff.web.listener import LISTENER

LONGEST = 8192
"""Bytes of a question."""

Environ = dict[str, Any]

_LONGEST_LINE = 1024
_MOST_FIELDS = 50
_COOKIE = f"HTTP_{framing.COOKIE}"
_REQUEST_LINE = re.compile(rb"(GET|HEAD) ([!->@-~]+)[ ?]")
_LEFT_TO_GUNICORN = frozenset({"CONTENT-LENGTH", "TRANSFER-ENCODING", "EXPECT", "UPGRADE"})  # more than a head follows


def surroundings(client: Any, server: Any, settings: Any) -> Environ:
    """What the environments of all requests on a connection have alike. client, server: its two ends as gunicorn has
    them; settings: gunicorn's."""
    environ = {
        **wsgi.base_environ(settings),
        "wsgi.multithread": True,
        "wsgi.url_scheme": "http",
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        LISTENER: server,
    }
    if isinstance(client, tuple):
        environ.update(REMOTE_ADDR=client[0], REMOTE_PORT=str(client[1]))
    else:
        environ["REMOTE_ADDR"] = client.decode() if isinstance(client, bytes) else client
    name, port = server[:2] if isinstance(server, tuple) else (server, "")
    environ.update(SERVER_NAME=name, SERVER_PORT=str(port))
    return environ


def asked(data: bytes, paths: frozenset[str], around: Environ) -> Environ | None:
    """The environment (PEP 3333) of the request that data is, no more and no less, when it is for one of the paths.

    None for whatever else it is. around: what `surroundings` gave.
    """
    line = _REQUEST_LINE.match(data)
    if line is None or line[2].decode() not in paths:
        return None
    try:
        head = gunicorn_h1c.parse_request(data, limit_request_line=_LONGEST_LINE, limit_request_fields=_MOST_FIELDS)
    except (gunicorn_h1c.ParseError, gunicorn_h1c.IncompleteError):
        return None
    if head["consumed"] != len(data) or head["minor_version"] != 1:
        return None
    uri = head["path"].decode("latin-1")
    path, _, query = uri.partition("?")
    environ = {
        **around,
        "REQUEST_METHOD": line[1].decode(),
        "PATH_INFO": path,
        "QUERY_STRING": query.partition("#")[0],
        "RAW_URI": uri,
        "wsgi.input": BytesIO(),
    }
    for name, value in head["headers"]:
        key, text = _key(name), value.decode("latin-1")
        if key is None or (key in environ and key != _COOKIE):
            return None
        environ[key] = framing.COOKIE_JOINT.join((environ[key], text)) if key in environ else text
    host = environ.get("HTTP_HOST")
    if host is None or not framing.is_host(host):
        return None
    if host and not environ["SERVER_PORT"]:  # a socket file's name is not the server's
        name, _, port = host.partition(":")
        environ.update(SERVER_NAME=name, SERVER_PORT=port or "80")
    return environ if environ.get("HTTP_CONNECTION", "keep-alive") == "keep-alive" else None


@functools.lru_cache(maxsize=256)
def _key(name: bytes) -> str | None:
    """Where the environment has a header field; None for one that gunicorn must see."""
    text = name.decode("latin-1").upper()
    if not text or "_" in text or text in _LEFT_TO_GUNICORN:
        return None
    return "CONTENT_TYPE" if text == "CONTENT-TYPE" else f"HTTP_{text.replace('-', '_')}"


class Answer:
    """A response as WSGI makes it (PEP 3333) that says how long it is.

    data: its bytes. closes: whether the connection ends with it. environ: of its question. The access log reads
    `status`, `headers` and `sent`.
    """

    def __init__(self, environ: Environ) -> None:
        self.environ = environ
        self.begun = datetime.now()
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.sent = 0
        self.data = b""
        self.closes = False
        self._fields = b""

    def start_response(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Raises ValueError for what has no place in a header field."""
        lines = [f"{name}: {value}" for name, value in headers]
        if not "".join(lines).isprintable():
            raise ValueError("a header field holds a control character")
        self._fields = "\r\n".join(lines).encode("latin-1")
        self.status, self.headers = status, headers

    def finish(self, body: Iterable[bytes], *, closes: bool) -> None:
        content = b"".join(body)
        start = (
            f"HTTP/1.1 {self.status}\r\nServer: {SERVER}\r\nDate: {_date(int(time.time()))}\r\n"
            f"Connection: {'close' if closes else 'keep-alive'}\r\n"
        )
        self.data = b"".join((start.encode(), self._fields, b"\r\n\r\n", content))
        self.sent, self.closes = len(content), closes


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    """RFC 9110 section 5.6.7."""
    return str(util.http_date(second))
