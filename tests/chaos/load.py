"""Load of every kind at a fleet, of which each request is counted, with what became of it."""

import http.client
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from typing import Any

import requests

from bff.crypto import digest
from tests.chaos.fleet import LOG, Fleet, Pod, wait
from tests.peers.bff import Visitor
from tests.peers.openid import NAVIGATION

PATIENCE = 60
PAUSE = 0.02
"""Seconds between two requests of a client: load, but not so much that every request waits for a processor."""
EVENTS = 15
EVERY = 0.1
"""Events of a stream, and seconds between two of them: longer than the balancer needs to go elsewhere."""
FAILED = OSError, http.client.HTTPException, requests.RequestException, AssertionError, KeyError

_numbers = count()


class Load:
    """done: requests by kind. failed: each that did not have the answer that it should, with what it had.
    sessions: cookies of those that were created and not ended. logins, logouts: references of sessions."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self.sessions: list[str] = []
        self.logins: list[str] = []
        self.logouts: list[str] = []

    def visitor(self) -> Visitor:
        return Visitor(self._fleet.base_url, f"http://127.0.0.1:{self._fleet.questions}")

    def log_in(self, person: Visitor) -> None:
        """Each time somebody else: a login that a logout of the same person overtakes begins again, as it should."""
        name = f"person-{next(_numbers)}"
        self._expect("login", lambda: person.login(login_hint=name).status_code, 302)
        with self._lock:
            self.logins.append(reference(person.cookie()))
            self.sessions.append(person.cookie())

    @contextmanager
    def running(self) -> Iterator[None]:
        """From when every client has had an answer, until each has ended what it had begun."""
        with ExitStack() as stack:
            people = [stack.enter_context(self.visitor()) for _ in range(5)]
            for person in people:
                self.log_in(person)
            cookie = people[0].cookie()
            clients: list[Callable[[], None]] = [
                lambda: self._verify(cookie),
                lambda: self._verify(people[1].cookie(), fresh=True),
                lambda: self._call(people[2].cookie()),
                lambda: self._call(people[3].cookie(), fresh=True),
                lambda: self._refresh(people[4]),
                self._log_in_and_out,
                lambda: self._stream(cookie),
                lambda: self._stream(cookie),
            ]
            threads = [threading.Thread(target=self._guarded, args=(client,)) for client in clients]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                self._over.set()
                for thread in threads:
                    thread.join()

    def lost_sessions(self) -> list[str]:
        """Sessions that some pod does not know any more, each with its port."""
        return [f"{pod.port}: {cookie}" for pod in self._fleet.pods for cookie in self._unknown(pod)]

    def lost_events(self) -> list[tuple[str, str]]:
        """(type, session) of what was answered and has not arrived at the broker, or under two ids."""
        wait(lambda: self._fleet.store.command("XLEN", LOG) == 0, "the outbox is empty")
        messages = self._fleet.broker.messages(["bff.auth", "bff.sessions"])
        events = {str(each.event["id"]): each.event for each in messages}
        found = Counter((each["type"], each["data"].get("session", "")) for each in events.values())
        expected = [(name, each) for name in ("auth.login.succeeded", "session.created") for each in self.logins]
        expected += [(name, each) for name in ("auth.logout", "session.ended") for each in self.logouts]
        return [each for each in expected if found[each] != 1]

    def _unknown(self, pod: Pod) -> list[str]:
        with closing(http.client.HTTPConnection("127.0.0.1", pod.verify_port, timeout=PATIENCE)) as line:
            return [cookie for cookie in self.sessions if _asked(line, "/auth/verify", cookie)[0] != 200]

    def _guarded(self, client: Callable[[], None]) -> None:
        try:
            client()
        except Exception as err:  # noqa: BLE001 - the test is to hear of it
            self._fail("client", repr(err))

    def _fail(self, kind: str, seen: str) -> None:
        with self._lock:
            self.failed.append(f"{time.strftime('%H:%M:%S')} {kind}: {seen}")

    def _expect(self, kind: str, ask: Callable[[], object], wanted: object) -> bool:
        try:
            seen = ask()
        except FAILED as err:
            seen = repr(err)[:200]
        with self._lock:
            self.done[kind] += 1
        if seen != wanted:
            self._fail(kind, str(seen))
        return seen == wanted

    def _verify(self, cookie: str, *, fresh: bool = False) -> None:
        self._repeat(f"verify, {_kind(fresh)}", self._fleet.questions, "/auth/verify", cookie, fresh)

    def _call(self, cookie: str, *, fresh: bool = False) -> None:
        self._repeat(f"API, {_kind(fresh)}", self._fleet.site, "/api/orders/echo", cookie, fresh)

    def _repeat(self, kind: str, port: int, path: str, cookie: str, fresh: bool) -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        with closing(line):
            while not self._over.wait(PAUSE):
                if not fresh and _ended(line):
                    line.close()
                if fresh or not self._expect(kind, lambda: _asked(line, path, cookie)[0], 200):
                    line.close()
                if fresh:
                    self._expect(kind, lambda: _asked(line, path, cookie)[0], 200)

    def _refresh(self, person: Visitor) -> None:
        headers = {"X-CSRF-Token": person.csrf_token()}

        def refresh() -> int:
            return person.call("POST", "/auth/tokens/refresh", json={}, headers=headers).status_code

        while not self._over.wait(5 * PAUSE):
            self._expect("refresh", refresh, 200)

    def _log_in_and_out(self) -> None:
        while not self._over.wait(5 * PAUSE):
            with self.visitor() as person:
                self.log_in(person)
                self._look_and_leave(person)

    def _look_and_leave(self, person: Visitor) -> None:
        """Every other one stays."""
        cookie = person.cookie()
        self._expect("session", lambda: person.session()["authenticated"], True)
        if len(self.logins) % 2 and self._expect("logout", lambda: person.logout().status_code, 200):
            with self._lock:
                self.sessions.remove(cookie)
                self.logouts.append(reference(cookie))

    def _stream(self, cookie: str) -> None:
        path = f"/api/orders/sse?count={EVENTS}&every={EVERY}&end=1"
        while not self._over.is_set():
            self._expect("stream", lambda: self._whole(path, cookie), EVENTS)

    def _whole(self, path: str, cookie: str) -> int:
        """How many events came."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._fleet.site, timeout=PATIENCE)) as line:
            return _asked(line, path, cookie)[1].count(b"id: ")


def reference(cookie: str) -> str:
    """Of a session in events."""
    return digest(digest(cookie))[:24]


def _ended(line: http.client.HTTPConnection) -> bool:
    """Whether the server has closed it, which clients look at before they use it again."""
    return line.sock is not None and bool(select.select([line.sock], [], [], 0)[0])


def _kind(fresh: bool) -> str:
    return "fresh" if fresh else "kept"


def _asked(line: http.client.HTTPConnection, path: str, cookie: str) -> tuple[int, bytes]:
    headers: dict[str, Any] = {"Cookie": f"bff_session={cookie}", "User-Agent": NAVIGATION["User-Agent"]}
    line.request("GET", path, headers=headers)
    answer = line.getresponse()
    return answer.status, answer.read()
