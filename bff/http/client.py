"""HTTP client for whole documents: one pool per service, timeouts, bounded answers, retries, circuit breakers.

The client never follows redirects: the target is not the configured endpoint, and could get our credentials.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from random import random as random_number
from typing import Any

import requests
from requests.adapters import BaseAdapter
from urllib3 import Timeout
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from bff.breaker import Breaker, BreakerState
from bff.bulkhead import Bulkhead
from bff.errors import Busy, UpstreamError
from bff.http import retry
from bff.http.deadline_adapter import DeadlineAdapter
from bff.http.tls import TlsAdapter
from bff.lib.deadline import left as time_left
from bff.observability import traces

MAX_BODY = 1024 * 1024
_CHUNK = 64 * 1024
Prove = Callable[[Mapping[str, str]], tuple[dict[str, str], dict[str, str]]]
"""Adds client authentication to a form: (form, headers). Called for each attempt, as some proofs are valid once."""
_LONGEST = 4  # total time of a call, with retries and body, as a multiple of its timeout, unless that is for the whole


@dataclass(frozen=True)
class Response:
    """A whole answer, at most MAX_BODY bytes."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises UpstreamError (bad_response) for anything else."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError) as err:
            raise UpstreamError("The answer is not JSON.", outcome="bad_response", fault="not_json") from err
        if not isinstance(content, dict):
            raise UpstreamError("The answer is not a JSON object.", outcome="bad_response", fault="not_json")
        return content


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from adding credentials of ~/.netrc."""
    return request


@dataclass(frozen=True)
class _Request:
    """A request, with the deadline of its whole answer on the client's clock. foreign: whether it carries a client's
    data."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    deadline: float
    form: Mapping[str, str] | None = field(default=None, repr=False)
    prove: Prove | None = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)
    foreign: bool = False

    def proved(self) -> tuple[Mapping[str, str] | None, Mapping[str, str]]:
        """(form, headers) of one attempt."""
        if self.form is None or self.prove is None:
            return self.form, self.headers
        form, headers = self.prove(self.form)
        return form, {**self.headers, **headers}


class HttpClient:
    """Calls to one service. Each `target` (an endpoint of the service) has a breaker of its own.

    A call with a client's data may fail because of that data, and one client must not open the circuit for all. So,
    once it was connected, its failures are only doubts. A GET of the same URL by the BFF itself settles them (ADR 33).
    """

    def __init__(
        self,
        service: str,
        *,
        timeout: float,
        whole: bool = False,
        certificate: tuple[Path, Path] | None = None,
        ca_file: Path | None = None,
        adapter: BaseAdapter | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = random_number,
        later: Callable[[Callable[[], None]], None] = lambda work: work(),
        bulkhead: Bulkhead | None = None,
    ) -> None:
        """timeout: seconds to connect, and again between two reads; with `whole`, for a call in total, with all retries
        and a slow answer. certificate: PEM files of the client certificate and its private key. ca_file: PEM file of
        the server's certificate authorities, None for those that the machine trusts. adapter: replaces the network.
        wait, random (from 0 up to 1): for the pauses before a retry. later: runs work in the background. bulkhead:
        limits concurrent calls, none if None; the wait for a place is no part of a call's timeout."""
        self._service = service
        self._bulkhead = bulkhead
        self._timeout = timeout
        self._whole = whole
        self._certificate = certificate
        self._ca_file = ca_file
        self._adapter = adapter
        self._clock = clock
        self._wait = wait
        self._random = random
        self._later = later
        self._session: requests.Session | None = None
        self._breakers: dict[str, Breaker] = {}

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def get(
        self,
        url: str,
        *,
        target: str,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
        foreign: bool = False,
    ) -> Response:
        """Sends GET, with retries (bff.http.retry). seconds: the limit of this call within a `whole` client's timeout;
        all of it if None. foreign: whether the request carries a client's data. Raises UpstreamError."""
        request = _Request("GET", url, headers or {}, self._deadline(seconds), foreign=foreign)
        return self._call(request, target, idempotent=True)

    def post_form(
        self,
        url: str,
        form: Mapping[str, str],
        *,
        target: str,
        headers: Mapping[str, str] | None = None,
        prove: Prove | None = None,
        idempotent: bool = False,
        foreign: bool = False,
    ) -> Response:
        """Sends a form once, since the server may have acted on it, or with retries if `idempotent`. foreign: whether
        the form carries a client's data. Raises UpstreamError."""
        request = _Request("POST", url, headers or {}, self._deadline(), form, prove, foreign=foreign)
        return self._call(request, target, idempotent=idempotent)

    def post_json(
        self,
        url: str,
        document: Mapping[str, Any],
        *,
        target: str,
        headers: Mapping[str, str] | None = None,
        idempotent: bool = False,
        seconds: float | None = None,
        foreign: bool = False,
    ) -> Response:
        """Sends JSON. idempotent, foreign: as for `post_form`; seconds: as for `get`. Raises UpstreamError."""
        body = json.dumps(document, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        request = _Request("POST", url, headers, self._deadline(seconds), body=body, foreign=foreign)
        return self._call(request, target, idempotent=idempotent)

    def _deadline(self, seconds: float | None = None) -> float:
        now = self._clock()
        most = (1 if self._whole else _LONGEST) * (self._timeout if seconds is None else seconds)
        return now + min(most, time_left(now))

    def _call(self, request: _Request, target: str, *, idempotent: bool) -> Response:
        if self._bulkhead is None:
            return self._called(request, target, idempotent=idempotent)
        asked_at = self._clock()
        try:
            place = self._bulkhead.enter()
        except Busy as err:
            raise UpstreamError("Too many calls are under way.", outcome="busy", connected=False) from err
        try:
            now = self._clock()
            deadline = min(request.deadline + now - asked_at, now + time_left(now))
            return self._called(replace(request, deadline=deadline), target, idempotent=idempotent)
        finally:
            place.leave()

    def _called(self, request: _Request, target: str, *, idempotent: bool) -> Response:
        if self._clock() >= request.deadline:  # no failure of the service, so no breaker counts it
            raise UpstreamError("The request's time is over.", outcome="timeout", connected=False)
        breaker = self._breaker(target)
        last_start = min(self._clock() + self._timeout, request.deadline)
        for _ in range(retry.MAX_RETRIES if idempotent else 0):
            ended = self._attempt(request, breaker)
            pause = _backoff(ended, self._random)
            if pause is None or self._clock() + pause >= last_start or breaker.state is BreakerState.OPEN:
                return _result(ended)
            self._wait(pause)
        return _result(self._attempt(request, breaker))

    def _breaker(self, target: str) -> Breaker:
        """The target's own breaker, created once: a new one sets its metric to closed."""
        if target not in self._breakers:
            self._breakers.setdefault(target, Breaker(f"{self._service}_{target}", clock=self._clock))
        return self._breakers[target]

    def _attempt(self, request: _Request, breaker: Breaker) -> Response | UpstreamError:
        if not breaker.allow():
            return UpstreamError("Too many calls failed just now.", outcome="circuit_open")
        try:
            response = self._send(request)
        except UpstreamError as err:
            if err.fault == "too_large":  # the service answers, and the request may be the cause of the large answer
                breaker.succeeded()
            else:
                self._failed(request, breaker, connected=err.connected)
            return err
        if response.status >= 500:
            self._failed(request, breaker, connected=True)
        else:
            breaker.succeeded()
        return response

    def _failed(self, request: _Request, breaker: Breaker, *, connected: bool) -> None:
        if not (request.foreign and connected):
            breaker.failed()
        elif breaker.doubted():
            self._later(lambda: self._settle(request.url, breaker))

    def _settle(self, url: str, breaker: Breaker) -> None:
        try:
            status = self._send(_Request("GET", url, {}, self._clock() + self._timeout)).status
            well = status < 500 or status == HTTPStatus.NOT_IMPLEMENTED  # an endpoint for POST may answer 501 to GET
        except UpstreamError:
            well = False
        if well:
            breaker.succeeded()
        else:
            breaker.broken()

    def _send(self, request: _Request) -> Response:
        form, headers = request.proved()
        try:
            with self._pool().request(
                request.method,
                request.url,
                headers={"Accept": "application/json", **traces.outgoing(), **headers},
                data=form if request.body is None else request.body,
                timeout=self._limit(request.deadline),
                verify=str(self._ca_file) if self._ca_file else None,
                allow_redirects=False,
                stream=True,
            ) as answer:
                return Response(answer.status_code, answer.headers, self._body(answer, request.deadline))
        except (requests.Timeout, ReadTimeoutError) as err:
            connected = not isinstance(err, requests.ConnectTimeout)
            raise UpstreamError("The call took too long.", outcome="timeout", connected=connected) from err
        except (requests.RequestException, HTTPError, OSError) as err:
            raise UpstreamError("The call could not be made.", outcome="connection", connected=_connected(err)) from err

    def _limit(self, deadline: float) -> Any:
        """The timeout of one attempt, in the form of requests. Raises UpstreamError when the call's time is over."""
        if not self._whole:
            return self._timeout
        left = deadline - self._clock()
        if left <= 0:
            raise UpstreamError("The call took too long.", outcome="timeout")
        return Timeout(total=left)

    def _pool(self) -> requests.Session:
        """The pool; the first call creates it, so in the process that uses it and never before a fork."""
        if self._session is None:
            session = requests.Session()
            session.auth = _no_netrc
            session.cookies.set_policy(
                DefaultCookiePolicy(allowed_domains=[])
            )  # one user's call must not mark the next
            if self._certificate is not None:
                session.cert = (str(self._certificate[0]), str(self._certificate[1]))
            adapter = DeadlineAdapter if self._whole else TlsAdapter
            for scheme in ("https://", "http://"):
                session.mount(scheme, self._adapter or adapter(pool_connections=4, pool_maxsize=16))
            self._session = session
        return self._session

    def _body(self, answer: requests.Response, deadline: float) -> bytes:
        """Reads the body. Raises UpstreamError when it is too large or does not end by the deadline."""
        body = bytearray()
        # read1 returns the bytes that have arrived; requests' own iterator would wait for a whole chunk.
        while chunk := answer.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > MAX_BODY:
                raise UpstreamError("The answer is too large.", outcome="bad_response", fault="too_large")
            if self._clock() > deadline:
                raise UpstreamError("The answer took too long.", outcome="timeout")
        return bytes(body)


def _connected(error: Exception) -> bool:
    """Whether the failure came after the connection was made. requests raises ConnectionError also for a connection
    that ended without an answer, around urllib3's error."""
    if isinstance(error, requests.ConnectionError):
        return bool(error.args) and isinstance(error.args[0], ProtocolError)
    return True


def _backoff(ended: Response | UpstreamError, random: Callable[[], float]) -> float | None:
    """Seconds until the retry, None for no retry."""
    if isinstance(ended, UpstreamError):
        return retry.backoff(ended.outcome, "", random)
    return retry.backoff(ended.status, ended.headers.get("Retry-After", ""), random)


def _result(ended: Response | UpstreamError) -> Response:
    if isinstance(ended, UpstreamError):
        raise ended
    return ended
