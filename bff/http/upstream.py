"""Streaming client of one service, behind a circuit breaker: passes requests on, and answers back.

Unlike `client.py`, which reads whole documents, it keeps nothing: a body is sent on as it arrives, and an answer is
read as it comes. The request is the caller's, down to the bytes of the target.
"""

import errno
import logging
import time
from collections.abc import Callable, Mapping
from random import random as random_number
from typing import Any, Protocol
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from bff.breaker import Breaker
from bff.errors import BadGateway, BFFError, ClientGone, UpstreamTimeout, UpstreamUnavailable
from bff.http import retry
from bff.http.connection_pool import ConnectionPool
from bff.http.disconnect import DisconnectMonitor
from bff.http.exchange import ConnectionBroken, ConnectionLease, Exchange, UpstreamRequest, UpstreamResponse
from bff.http.response_head import MalformedResponse
from bff.observability import metrics
from bff.settings import UpstreamSettings

log = logging.getLogger(__name__)

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})

_OUTCOMES: Mapping[type[BFFError], str] = {
    UpstreamTimeout: "timeout",
    BadGateway: "connection",
    UpstreamUnavailable: "circuit_open",
    ClientGone: "cancelled",
}


class Upstream(Protocol):
    def send(self, request: UpstreamRequest, client: Any = None) -> UpstreamResponse:
        """Sends a request and returns the answer when it begins. client: the waiting client's socket, if known.

        Raises BadGateway, UpstreamTimeout, UpstreamUnavailable, ClientGone, and the errors of the body's iterator.
        """

    def close(self) -> None: ...


class HttpUpstream:
    """A service on the network."""

    def __init__(
        self,
        settings: UpstreamSettings,
        disconnects: DisconnectMonitor,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = random_number,
    ) -> None:
        """wait, random (from 0 up to 1): for the pause before a second attempt to connect."""
        self._service = settings.service
        base = urlsplit(settings.base_url)
        self._prefix = base.path
        self._connections = ConnectionPool(base, ca_file=settings.ca_file, clock=clock)
        self._breaker = Breaker(f"upstream_{settings.service}", clock=clock)
        self._disconnects = disconnects
        self._wait = wait
        self._random = random

    def send(self, request: UpstreamRequest, client: Any = None) -> UpstreamResponse:
        start = time.perf_counter()
        try:
            answer = self._sent(request, client)
        except BFFError as err:
            if outcome := _OUTCOMES.get(type(err)):
                metrics.upstream_call(self._service, outcome, time.perf_counter() - start)
            if isinstance(err.__cause__, MalformedResponse):
                extra = {"service": self._service, "reason": err.__cause__.reason}
                log.warning("upstream_answer_malformed", extra=extra)
            raise
        metrics.upstream_call(self._service, str(answer.status), time.perf_counter() - start)
        return answer

    def close(self) -> None:
        self._connections.close()

    def _sent(self, request: UpstreamRequest, client: Any) -> UpstreamResponse:
        """Sends the request. Retries on a new connection when a pooled one was dead and the service did not act."""
        kept = self._connections.acquire()
        if kept is not None:
            try:
                return self._exchange(kept, request, client)
            except ConnectionBroken as err:
                if not request.replayable or (err.processed and not request.idempotent):
                    raise BadGateway from err
        try:
            return self._exchange(self._opened(request.timeout), request, client)
        except ConnectionBroken as err:
            raise BadGateway from err

    def _opened(self, timeout: float) -> HTTPConnection:
        """Opens a connection. Only failures to connect count for the circuit: one request may cause later failures, and
        one client must not open the circuit for all."""
        if not self._breaker.allow():
            raise UpstreamUnavailable
        try:
            connection = self._connected_soon(timeout)
        except (BadGateway, UpstreamTimeout) as err:
            if not _ran_short(err):
                self._breaker.failed()
            raise
        self._breaker.succeeded()
        return connection

    def _connected_soon(self, timeout: float) -> HTTPConnection:
        """Connects, with one retry: a service that restarts refuses connections for a moment."""
        try:
            return _connected(self._connections, timeout)
        except BadGateway:
            self._wait(retry.backoff("connection", "", self._random) or 0)
            return _connected(self._connections, timeout)

    def _exchange(self, connection: HTTPConnection, request: UpstreamRequest, client: Any) -> UpstreamResponse:
        """Raises ConnectionBroken, BadGateway, UpstreamTimeout, ClientGone, and the errors of the request's body."""
        line = ConnectionLease(connection, self._connections, self._disconnects, client)
        try:
            return Exchange(line, self._prefix, request).run()
        except BaseException as err:
            line.finish(reusable=False)
            if line.client_gone:
                raise ClientGone from err
            raise


def _connected(connections: ConnectionPool, timeout: float) -> HTTPConnection:
    try:
        return connections.open(timeout)
    except (HTTPError, OSError) as err:  # urllib3's error for a refused connection is a subclass of its timeout
        if isinstance(err, ConnectTimeoutError) and not isinstance(err, NewConnectionError):
            raise UpstreamTimeout from err
        raise BadGateway from err


def _ran_short(error: BaseException | None) -> bool:
    """Whether this process had no descriptor, port or memory left, which is no failure of the service."""
    while error is not None and getattr(error, "errno", None) not in _SHORTAGES:
        error = error.__cause__
    return error is not None
