"""HTTP exchange: one request on one connection, and its streamed answer (RFC 9112)."""

import errno
import http.client
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from socket import SHUT_RDWR
from typing import Any, Protocol, cast

from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.util import SKIP_HEADER

from bff.errors import BadGateway, UpstreamTimeout
from bff.http.client import Response
from bff.http.connection_pool import ConnectionPool
from bff.http.disconnect import DisconnectMonitor
from bff.http.response import StrictResponse
from bff.http.response_head import MalformedResponse, reframed

log = logging.getLogger(__name__)

NOT_HTTP = "The service's answer is not HTTP."
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_NOT_OURS = dict.fromkeys(("Accept-Encoding", "User-Agent"), SKIP_HEADER)
"""Header fields that urllib3 would add where the client sent none."""


@dataclass(frozen=True)
class UpstreamRequest:
    """One request. target: the part behind the service's base_url. body: bytes can be sent again, an iterable cannot.
    length: of the body, None when unknown. timeout: seconds to connect, and again until the answer begins.
    streaming: the answer may then pause for longer."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    timeout: float
    body: bytes | Iterable[bytes] | None = field(default=None, repr=False)
    length: int | None = None
    streaming: bool = False

    @property
    def replayable(self) -> bool:
        return self.body is None or isinstance(self.body, bytes)

    @property
    def idempotent(self) -> bool:
        """Whether it is safe to send twice (RFC 9110 section 9.2.2), by its method or its sender's choice."""
        return self.method in _SAFE or "Idempotency-Key" in self.headers


class UpstreamResponse(Protocol):
    """An answer with a body that is still on its way: iterate over it, and close it in any case."""

    status: int
    reason: str
    headers: list[tuple[str, str]]

    def __iter__(self) -> Iterator[bytes]:
        """The body as it arrives. Raises ResponseTruncated."""

    def close(self) -> None: ...


def head(answer: UpstreamResponse) -> Response:
    """Status and header fields of an answer, without its body."""
    return Response(answer.status, HTTPHeaderDict(answer.headers), b"")


class ResponseTruncated(ConnectionResetError):
    """The answer broke off. A WSGI server treats it as a broken connection and closes its client's: a truncated body
    must not look complete."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.ECONNRESET, reason)


class ConnectionBroken(Exception):
    """The connection ended before an answer began. processed: whether the service may have acted on the request."""

    def __init__(self, *, processed: bool) -> None:
        super().__init__()
        self.processed = processed


class ConnectionLease:
    """A connection while it serves one request, with a watch on the waiting client."""

    def __init__(
        self, connection: HTTPConnection, connections: ConnectionPool, disconnects: DisconnectMonitor, client: Any
    ) -> None:
        self.connection = connection
        self._socket = connection.sock  # http.client drops it when the answer ends with the connection
        self._connections = connections
        self._disconnects = disconnects
        self._watch = disconnects.watch(client, self._cancel) if client is not None else None

    @property
    def client_gone(self) -> bool:
        return self._watch is not None and self._watch.gone

    def finish(self, *, reusable: bool) -> None:
        if self._watch is not None:
            self._disconnects.end(self._watch)
        if reusable:
            self._connections.release(self.connection)
        else:
            self.connection.close()

    def _cancel(self) -> None:
        """Wakes up the thread that waits for the service; runs in the watcher's thread. Only the owning thread closes
        the connection, since the descriptor could belong to another one by then."""
        with suppress(OSError):
            self._socket.shutdown(SHUT_RDWR)


class Exchange:
    """One request on one line, until its answer begins."""

    def __init__(self, line: ConnectionLease, prefix: str, request: UpstreamRequest) -> None:
        self._line = line
        self._target = prefix + request.target
        self._request = request
        self._head_sent = False
        self._complete = request.body is None

    def run(self) -> UpstreamResponse:
        response = self._response()
        try:
            first = self._first(response)
        except TimeoutError as err:
            raise UpstreamTimeout from err
        except (MalformedResponse, OSError) as err:
            raise BadGateway(NOT_HTTP) from err
        return HttpUpstreamResponse(response, self._line, first, reusable=self._complete)

    def _response(self) -> StrictResponse:
        connection = self._line.connection
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has read everything
                self._send(connection)
            response: Any = connection.getresponse()  # of a _Strict connection
        except TimeoutError as err:
            raise UpstreamTimeout from err
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as err:
            raise ConnectionBroken(processed=self._head_sent) from err
        except (MalformedResponse, http.client.HTTPException, HTTPError, OSError, ValueError) as err:
            raise BadGateway(NOT_HTTP) from err
        connection.sock.settimeout(None if self._request.streaming else self._request.timeout)
        return cast(StrictResponse, response)

    def _first(self, response: StrictResponse) -> bytes:
        """Reads the first content, so that a malformed body becomes an error while that is still possible. Does not
        wait for an answer that may pause."""
        return b"" if self._request.streaming else response.read()

    def _send(self, connection: HTTPConnection) -> None:
        request = self._request
        headers = {**_NOT_OURS, **request.headers}
        if request.length is not None:
            headers["Content-Length"] = str(request.length)
        connection.timeout = request.timeout
        connection.request(
            request.method,
            self._target,
            self._chunks() if request.body is not None else None,
            headers,
            chunked=request.body is not None and request.length is None,
            preload_content=False,
            decode_content=False,
        )
        self._head_sent = True

    def _chunks(self) -> Iterator[bytes]:
        """The body's chunks; the first one is read after the head was sent."""
        self._head_sent = True
        body = self._request.body
        yield from (body,) if isinstance(body, bytes) else body or ()
        self._complete = True


class HttpUpstreamResponse:
    def __init__(self, response: StrictResponse, line: ConnectionLease, first: bytes, *, reusable: bool) -> None:
        """first: content that was read already. reusable: whether the line may serve another request after this
        answer."""
        self.status = response.head.status
        self.reason = response.head.reason
        self.headers = reframed(response.head.fields, response.framing.length)
        self._response = response
        self._line = line
        self._first = first
        self._reusable = reusable
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        first, self._first = self._first, b""
        if first:
            yield first
        while part := self._read():
            yield part

    def close(self) -> None:
        """Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._response.close()
            self._line.finish(reusable=self._reusable and self._response.reusable)

    def _read(self) -> bytes:
        try:
            return self._response.read()
        except (MalformedResponse, OSError) as err:
            self._reusable = False
            reason = "timeout" if isinstance(err, TimeoutError) else "connection"
            if not self._line.client_gone:
                log.warning("upstream_answer_broken", extra={"reason": reason})
            raise ResponseTruncated(reason) from err
