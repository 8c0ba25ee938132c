"""Strict parser of an HTTP/1.1 response's head (RFC 9112): one reading of its fields and its framing, or none.

http.client's parser is lenient: a bare CR ends a field, a line without a colon ends the head, and a Content-Length that
is no number is ignored. A lenient gateway may frame an answer differently from its client.
"""

import re
from enum import StrEnum
from http import HTTPStatus
from typing import NamedTuple

Fields = list[tuple[str, str]]

MOST_FIELDS = 100

_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\0]*?)[ \t]*")
_FOLD = re.compile(r"[ \t]+([^\r\0]*?)[ \t]*")  # section 5.2
_LENGTH = re.compile(r"[0-9]{1,18}")
_WITHOUT_CONTENT = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED})


class MalformedResponse(Exception):
    """A service's answer is no HTTP/1.1 response, or is ambiguous. reason: one word, for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Head(NamedTuple):
    """minor: of the HTTP version. fields: with folded lines joined."""

    minor: int
    status: int
    reason: str
    fields: Fields

    def __repr__(self) -> str:
        return f"Head({self.status})"

    def listed(self, name: str) -> list[str]:
        """The members of a list-based field (RFC 9110 section 5.6.1), in lower case; empty ones as they are."""
        return [
            member.strip(" \t").lower()
            for known, value in self.fields
            if known.lower() == name
            for member in value.split(",")
        ]


class Content(StrEnum):
    """The rule for the end of a response's content (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class Framing(NamedTuple):
    """length: the Content-Length for the client, None for none. persistent: whether the connection may carry another
    response after this one."""

    content: Content
    length: int | None
    persistent: bool


def parse(head: bytes) -> Head:
    """Parses a head up to its empty line. Raises MalformedResponse."""
    start, *lines = [line.removesuffix("\r") for line in head.decode("latin-1").rstrip("\r\n").split("\n")]
    status_line = _STATUS_LINE.fullmatch(start)
    if status_line is None:
        raise MalformedResponse("status_line")
    if len(lines) > MOST_FIELDS:
        raise MalformedResponse("too_many_fields")
    fields: Fields = []
    for line in lines:
        if field := _FIELD.fullmatch(line):
            fields.append((field[1], field[2]))
        elif fields and (fold := _FOLD.fullmatch(line)):
            fields[-1] = (fields[-1][0], f"{fields[-1][1]} {fold[1]}".strip(" "))
        else:
            raise MalformedResponse("field")
    return Head(int(status_line[1]), int(status_line[2]), (status_line[3] or "").strip(), fields)


def framing(head: Head, method: str) -> Framing:
    """The framing of the response to a request of this method. Raises MalformedResponse."""
    length, codings = announced_length(head), head.listed("transfer-encoding")
    persistent = head.minor > 0 and "close" not in head.listed("connection")
    if method == "HEAD" or head.status in _WITHOUT_CONTENT:
        return _without_content(head, method, length, persistent and (method == "HEAD" or not codings))
    if not codings:
        content = Content.CLOSE if length is None else Content.LENGTH
        return Framing(content, length, persistent and length is not None)
    if codings != ["chunked"] or head.minor == 0:
        raise MalformedResponse("transfer_encoding")
    # Section 6.3, item 3: the coding overrides the length. The length is dropped, and the connection is closed.
    return Framing(Content.CHUNKED, None, persistent and length is None)


def announced_length(head: Head) -> int | None:
    """The value of Content-Length; equal values may be repeated. Raises MalformedResponse."""
    lengths = head.listed("content-length")
    if not all(map(_LENGTH.fullmatch, lengths)) or len({int(length) for length in lengths}) > 1:
        raise MalformedResponse("content_length")
    return int(lengths[0]) if lengths else None


def reframed(fields: Fields, length: int | None) -> Fields:
    """The fields with this Content-Length instead of their own framing fields."""
    kept = [(name, value) for name, value in fields if name.lower() not in ("content-length", "transfer-encoding")]
    return kept if length is None else [*kept, ("Content-Length", str(length))]


def _without_content(head: Head, method: str, length: int | None, persistent: bool) -> Framing:
    """The framing of answers without content. An answer to HEAD, or a 304, announces the length of a GET; a 205 must
    announce 0 (RFC 9110 section 15.3.6), a 204 none. Content that these two announce may still follow, so their
    connection is closed."""
    if head.status == HTTPStatus.RESET_CONTENT and method != "HEAD":
        return Framing(Content.NONE, 0, persistent and length == 0)
    if head.status in (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT):
        return Framing(Content.NONE, None, persistent and not length)
    return Framing(Content.NONE, length, persistent)
