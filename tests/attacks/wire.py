"""A service that sends exactly the bytes that the table has for the last segment of the path, and then waits: what a
client of it believes to be missing never comes."""

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

PLAIN = b"HTTP/1.1 200 OK\r\n"
TWO = b"2\r\nok\r\n0\r\n\r\n"
CHUNKED = PLAIN + b"Transfer-Encoding: chunked\r\n"
ANSWERS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "length-and-chunks": (CHUNKED + b"Content-Length: 1000\r\n\r\n" + TWO, (200, 502)),
    "bad-length-and-chunks": (CHUNKED + b"Content-Length: -2\r\n\r\n" + TWO, (200, 502)),
    "negative": (PLAIN + b"Content-Length: -2\r\n\r\nok", (502,)),
    "plus": (PLAIN + b"Content-Length: +2\r\n\r\nok", (502,)),
    "hexadecimal": (PLAIN + b"Content-Length: 0x2\r\n\r\nok", (502,)),
    "empty": (PLAIN + b"Content-Length:\r\n\r\nok", (502,)),
    "two-lengths": (PLAIN + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", (502,)),
    "list-of-lengths": (PLAIN + b"Content-Length: 2, 3\r\n\r\nok", (502,)),
    "chunked-twice": (CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n" + TWO, (502,)),
    "another-coding": (PLAIN + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + TWO, (502,)),
    "identity": (PLAIN + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", (200, 502)),
    "space-before-colon": (PLAIN + b"Transfer-Encoding : chunked\r\n\r\n" + TWO, (502,)),
    "reset-with-a-body": (b"HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nok", (205, 502)),
    "reset-in-chunks": (b"HTTP/1.1 205 Reset\r\nTransfer-Encoding: chunked\r\n\r\n" + TWO, (205, 502)),
    "reset-without-a-word": (b"HTTP/1.1 205 Reset\r\n\r\n", (205, 502)),
    "nothing-with-a-body": (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", (204, 502)),
    "unchanged-with-a-body": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", (304, 502)),
    "more-than-announced": (PLAIN + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", (200,)),
    "impossible-status": (b"HTTP/1.1 1000 High\r\nContent-Length: 2\r\n\r\nok", (502,)),
    "no-status": (b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok", (502,)),
    "another-protocol": (b"SSH-2.0-OpenSSH\r\n\r\n", (502,)),
    "switched": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", (502,)),
}
"""What the service sends, and the statuses that may come of it."""


class _Sender(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with suppress(ConnectionError):
            name = self.rfile.readline().split(b" ")[1].rpartition(b"/")[2].decode()
            while self.rfile.readline().strip():
                pass
            self.wfile.write(ANSWERS[name][0])
            self.rfile.read()  # until the client goes away


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def service() -> Iterator[str]:
    """Its address."""
    with _Server(("127.0.0.1", 0), _Sender) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
