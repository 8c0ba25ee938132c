"""Fast path: reads a reverse proxy's auth check and writes its answer without gunicorn's request and response objects.

gunicorn's objects serve every possible request, and cost several times as much as verify. The grammar here is a narrow
part of RFC 9112: one whole GET or HEAD without a body. gunicorn (with either parser) and bff/server/framing.py accept
every request that this module accepts, and read it alike; a test compares them. Any other request is left to them.
"""

import functools
import re
import time
from collections.abc import Iterable
from datetime import datetime
from io import BytesIO
from typing import Any

from gunicorn import SERVER, util
from gunicorn.http import wsgi

from bff.server import framing
from bff.web.listener import LISTENER

LONGEST = 8192
"""Bytes of an auth check's request."""

Environ = dict[str, Any]

_LONGEST_TARGET = 1024
_MOST_FIELDS = 50
_COOKIE = f"HTTP_{framing.COOKIE}"
_REQUEST_LINE = re.compile(rb"(GET|HEAD) (([!->@-~]+)(?:\?[!-~]*)?) HTTP/1\.1\r\n")
_NAME = re.compile(r"[!#$%&'*+\-.^`|~0-9A-Za-z]+")  # RFC 9110 section 5.1, without the underscore that WSGI confuses
_TEXT = bytes({ord("\t"), *range(0x20, 0x7F), *range(0x80, 0x100)})  # bytes of a field's value (section 5.5)
_LEFT_TO_GUNICORN = frozenset({"CONTENT-LENGTH", "TRANSFER-ENCODING", "EXPECT", "UPGRADE"})  # more than a head


def connection_environ(client: Any, server: Any, settings: Any) -> Environ:
    """The part of the WSGI environment that all requests of a connection share. client, server: its two ends as
    gunicorn has them. settings: gunicorn's."""
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


def parse(data: bytes, paths: frozenset[str], around: Environ) -> Environ | None:
    """The environment (PEP 3333) of a request for one of the paths; data must be exactly that request.

    None for any other data. around: the result of `connection_environ`.
    """
    line = _REQUEST_LINE.match(data)
    if line is None or line[3].decode() not in paths or len(line[2]) > _LONGEST_TARGET:
        return None
    uri = line[2].decode()
    path, _, query = uri.partition("?")
    environ = {
        **around,
        "REQUEST_METHOD": line[1].decode(),
        "PATH_INFO": path,
        "QUERY_STRING": query.partition("#")[0],
        "RAW_URI": uri,
        "wsgi.input": BytesIO(),
    }
    if not _add_fields(environ, data, line.end()):
        return None
    host = environ.get("HTTP_HOST")
    if host is None or not framing.is_host(host):
        return None
    if host and not environ["SERVER_PORT"]:  # a socket file's name is not the server's
        name, _, port = host.partition(":")
        environ.update(SERVER_NAME=name, SERVER_PORT=port or "80")
    return environ if environ.get("HTTP_CONNECTION", "keep-alive") == "keep-alive" else None


def _add_fields(environ: Environ, data: bytes, start: int) -> bool:
    """Whether data from start on is exactly one header section without unusual fields; adds its fields."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if rest or not end or data.translate(None, _TEXT) != b"\r\n" * data.count(b"\r\n"):  # control or half a line end
        return False
    lines = head[start:].decode("latin-1").split("\r\n")
    for line in lines:
        name, colon, value = line.partition(":")
        key = _key(name)
        if not colon or key is None or (key in environ and key != _COOKIE):
            return False
        text = value.strip(" \t")
        environ[key] = framing.COOKIE_JOINT.join((environ[key], text)) if key in environ else text
    return len(lines) <= _MOST_FIELDS


@functools.lru_cache(maxsize=256)
def _key(name: str) -> str | None:
    """The environment's key for a header field; None for a field that gunicorn must see."""
    text = name.upper()
    if _NAME.fullmatch(name) is None or text in _LEFT_TO_GUNICORN:
        return None
    return "CONTENT_TYPE" if text == "CONTENT-TYPE" else f"HTTP_{text.replace('-', '_')}"


class FastResponse:
    """A WSGI response (PEP 3333) with a body of known length.

    data: its bytes. closes: whether the connection ends with it. environ: of its request. The access log reads
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
        """Raises ValueError for a control character in a header field."""
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
