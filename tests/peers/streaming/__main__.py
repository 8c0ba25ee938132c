"""`python -m tests.peers.streaming PORT` listens on the loopback address."""

import asyncio
import itertools
import sys
import time
from contextlib import suppress
from dataclasses import asdict

from tests.peers.streaming.answers import answer, handler
from tests.peers.streaming.wire import Ending, Request, Seen


class Server:
    """Its own addresses, `/_test/seen` and `/_test/forget`, are not remembered."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._connections = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = next(self._connections)
        with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                await self._handle(Request(head, reader, writer, connection))
        writer.close()

    async def _handle(self, request: Request) -> None:
        if request.target.startswith("/_test/"):
            await answer(request, [asdict(each) for each in self._seen])
            if request.target == "/_test/forget":
                self._seen.clear()
            return
        self._seen.append(request.seen)
        await self._answered(request)

    async def _answered(self, request: Request) -> None:
        """Until the answer was given, or the client went away."""
        ended: asyncio.Event = request.writer.transport.get_protocol().ended  # type: ignore[attr-defined] # Ending's
        answering, gone = asyncio.ensure_future(handler(request.target)(request)), asyncio.ensure_future(ended.wait())
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not answering.done() or answering.exception() is not None:
            request.seen.gone = time.time()
            answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering


async def main(port: int) -> None:
    loop, server = asyncio.get_running_loop(), Server()
    async with await loop.create_server(lambda: Ending(server.serve), "127.0.0.1", port, backlog=512) as listening:
        await listening.serve_forever()


asyncio.run(main(int(sys.argv[1])))
