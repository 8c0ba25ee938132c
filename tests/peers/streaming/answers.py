"""What the service does at each of its addresses; at every other one it tells what it was sent."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from urllib.parse import parse_qs

from tests.peers.streaming.wire import Request

PIECE = 64 * 1024


class Query:
    """Numbers in a query; 0 for one that is not there."""

    def __init__(self, target: str) -> None:
        self._values = {name: values[0] for name, values in parse_qs(target.partition("?")[2]).items()}

    def number(self, name: str) -> int:
        return int(self._values.get(name, 0))

    def seconds(self, name: str) -> float:
        return float(self._values.get(name, 0))

    def text(self, name: str) -> str:
        return self._values.get(name, "")

    def has(self, name: str) -> bool:
        return name in self._values


async def say(request: Request, status: str, fields: str, content: bytes = b"") -> None:
    """fields: lines, each with its end. A HEAD request gets no content."""
    body = b"" if request.method == "HEAD" else content
    request.writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode("latin-1") + body)
    await request.writer.drain()


async def answer(request: Request, content: object, fields: str = "") -> None:
    body = json.dumps(content).encode()
    own = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    await say(request, "200 OK", own + fields, body)


async def echo(request: Request) -> None:
    async for _ in request.body():
        pass
    await answer(request, asdict(request.seen))


async def sse(request: Request) -> None:
    """`count` events, `every` so many seconds, then none for as long as the client stays, or the end with `end`.

    Each has the time at which it was sent. They go on after Last-Event-ID. With `close`, the answer ends where its
    connection does, instead of being chunked.
    """
    query, first = Query(request.target), int(request.field("last-event-id") or 0) + 1
    framing = "Connection: close" if query.has("close") else "Transfer-Encoding: chunked"
    await say(request, "200 OK", f"Content-Type: text/event-stream\r\n{framing}\r\n")
    for number in range(first, first + query.number("count")):
        event = f"id: {number}\ndata: {time.time()}\n\n".encode()
        request.writer.write(event if query.has("close") else chunk(event))
        await request.writer.drain()
        await asyncio.sleep(query.seconds("every"))
    if query.has("end"):
        request.writer.write(b"0\r\n\r\n")
    else:
        await never(request)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


async def never(request: Request) -> None:
    await asyncio.Event().wait()


async def trailers(request: Request) -> None:
    await say(
        request,
        "200 OK",
        "Trailer: X-User-ID, Digest\r\nTransfer-Encoding: chunked\r\n",
        chunk(b"body") + b"0\r\nX-User-ID: mallory\r\nDigest: x\r\n\r\n",
    )


async def early(request: Request) -> None:
    """An answer before the body was read, and then no interest in it."""
    await say(request, "403 Forbidden", "Content-Length: 2\r\nConnection: close\r\n", b"no")
    request.writer.close()


async def sink(request: Request) -> None:
    async for _ in request.body():
        pass
    await answer(request, {"received": request.seen.received, "framing": request.seen.framing})


async def source(request: Request) -> None:
    """`size` bytes, `chunked` or with their length."""
    query = Query(request.target)
    left, chunked = query.number("size"), query.has("chunked")
    await say(request, "200 OK", "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {left}\r\n")
    while left:
        piece = bytes(min(left, PIECE))
        request.writer.write(chunk(piece) if chunked else piece)
        await request.writer.drain()
        left -= len(piece)
    if chunked:
        request.writer.write(b"0\r\n\r\n")


async def die(request: Request) -> None:
    """In the middle of an answer that is `chunked` or announced its length; `reset`, or as if it were its end."""
    query = Query(request.target)
    framing = "Transfer-Encoding: chunked" if query.has("chunked") else "Content-Length: 1000"
    await say(request, "200 OK", f"{framing}\r\n", chunk(b"half") if query.has("chunked") else b"half")
    if query.has("reset"):
        sock = request.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    request.writer.close()


async def wire(request: Request) -> None:
    """Exactly the bytes that the query has as `hex`, and then the end, or with `stay` the next request."""
    request.writer.write(bytes.fromhex(Query(request.target).text("hex")))
    await request.writer.drain()
    if not Query(request.target).has("stay"):
        request.writer.close()


async def private(request: Request) -> None:
    """Header fields that are the connection's and the site's own."""
    fields = (
        "Set-Cookie: bff_session=stolen\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        "Strict-Transport-Security: max-age=0\r\nClear-Site-Data: *\r\nAccess-Control-Allow-Origin: *\r\n"
        "Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Accel-Redirect: /bff-verify\r\nX-User-ID: mallory\r\n"
        "X-Unknown: 1\r\nX-Custom: kept\r\n"
    )
    await answer(request, {}, fields)


ANSWERS: dict[str, Callable[[Request], Awaitable[None]]] = {
    function.__name__: function for function in (sse, never, trailers, early, sink, source, die, wire, private)
}


def handler(target: str) -> Callable[[Request], Awaitable[None]]:
    """By the last segment of the path."""
    return ANSWERS.get(target.partition("?")[0].rpartition("/")[2], echo)
