"""HTTP/1.1 as it is on the wire (RFC 9112), read as strictly as there is: what is in doubt is noted as such."""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

KEPT = 2000
"""Bytes of a body, and sizes of its parts, that are remembered."""


class Ending(asyncio.StreamReaderProtocol):
    """Tells when the other side has closed its connection, also to who is not reading."""

    def __init__(self, serve: Any) -> None:
        super().__init__(asyncio.StreamReader(limit=1024 * 1024), serve)
        self.ended = asyncio.Event()

    def eof_received(self) -> bool:
        self.ended.set()
        super().eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        super().connection_lost(exc)


@dataclass
class Seen:
    """One request. framing: none, length, chunked or ambiguous. parts: the sizes in which a chunked body came, and when
    (Unix time) each did. complete: whether the body came to its end. gone: when the client went away before the answer
    ended; 0 when it did not."""

    connection: int
    head: str
    framing: str
    parts: list[tuple[int, float]] = field(default_factory=list)
    received: int = 0
    body: str = ""
    complete: bool = False
    gone: float = 0
    digest: str = ""


class Request:
    def __init__(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        self.lines = head.decode("latin-1").split("\r\n")[:-2]
        self.method, self.target = (*self.lines[0].split(" "), "", "")[:2]
        self.fields = [(name.lower(), value.strip()) for name, _, value in (ln.partition(":") for ln in self.lines[1:])]
        self.seen = Seen(connection, head.decode("latin-1"), self._framing())
        self.writer = writer
        self._reader = reader
        self._digest = hashlib.sha256()

    def field(self, name: str) -> str:
        return ", ".join(value for known, value in self.fields if known == name)

    async def body(self) -> AsyncIterator[bytes]:
        source = {"length": self._announced, "chunked": self._chunks}.get(self.seen.framing)
        async for part in source() if source else _nothing():
            self._note(part)
            yield part
        self.seen.complete, self.seen.digest = True, self._digest.hexdigest()

    def _framing(self) -> str:
        lengths = [value for name, value in self.fields if name == "content-length"]
        codings = [value for name, value in self.fields if name == "transfer-encoding"]
        if not lengths and not codings:
            return "none"
        if lengths and not codings and len(lengths) == 1 and lengths[0].isdecimal():
            return "length"
        return "chunked" if codings == ["chunked"] and not lengths else "ambiguous"

    def _note(self, part: bytes) -> None:
        seen = self.seen
        self._digest.update(part)
        seen.received += len(part)
        seen.body += part.decode("latin-1")[: KEPT - len(seen.body)]
        if len(seen.parts) < KEPT:
            seen.parts.append((len(part), time.time()))

    async def _announced(self) -> AsyncIterator[bytes]:
        left = int(self.field("content-length"))
        while left:
            part = await self._reader.read(min(left, 256 * 1024))
            if not part:
                raise ConnectionResetError
            left -= len(part)
            yield part

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := _size(await self._reader.readuntil(b"\r\n")):
            yield await self._reader.readexactly(size)
            if await self._reader.readexactly(2) != b"\r\n":
                raise ValueError("a chunk does not end where it said")
        if await self._reader.readexactly(2) != b"\r\n":
            raise ValueError("trailers")


def _size(line: bytes) -> int:
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}\r\n", line):
        raise ValueError("a chunk's size is no number")
    return int(line, 16)


async def _nothing() -> AsyncIterator[bytes]:
    none: tuple[bytes, ...] = ()
    for part in none:
        yield part
