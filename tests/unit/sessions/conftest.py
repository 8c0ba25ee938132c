"""The session layer on a real embedded store, without Flask: store, cache, gate and the clock they live by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bff.crypto import Keyring
from bff.events.audit import Audit
from bff.kv.sqlite import SqliteStore
from bff.sessions.authenticator import ClientFingerprint, SessionAuthenticator
from bff.sessions.binding import binding_of
from bff.sessions.cache import SessionCache
from bff.sessions.directory import Directory
from bff.sessions.model import Session, User
from bff.sessions.records import SessionRecords
from bff.sessions.store import SessionStore
from bff.sessions.token_store import TokenStore
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings import SessionSettings
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.store import WatchedStore
from tests.unit.support import NoEvents

CLIENT = ClientFingerprint("203.0.113.7", "a browser")
COOKIE = "bff_session"
SECRET = b"s" * 32


@dataclass
class Layer:
    """One worker's view of the sessions."""

    clock: Clock
    kv: WatchedStore
    tokens: TokenStore
    records: SessionRecords
    directory: Directory
    store: SessionStore
    cache: SessionCache
    authenticator: SessionAuthenticator

    def create(self, sub: str = "alice", *, sid: str = "", idp: str = "default") -> tuple[str, Session]:
        """(the Cookie header, the session)."""
        cookie, session = self.store.create(
            User(sub, sub),
            idp=idp,
            auth_time=0,
            sid=sid,
            binding=binding_of(*CLIENT),
            tokens=Tokens(idp, AccessToken("the-access", self.clock() + 3000), "the-refresh"),
        )
        return f"{COOKIE}={cookie}", session


def _layer(path: Path, clock: Clock, secrets: tuple[bytes, ...], changes: dict[str, Any]) -> Layer:
    values: dict[str, Any] = {
        "lifetime": 28800,
        "idle_timeout": 3600,
        "binding": "enforce",
        "bound_to": "both",
        "cache_ttl": 5.0,
        "cache_size": 100,
        "outage_grace": 10.0,
    }
    settings = SessionSettings(**(values | changes))
    kv = WatchedStore(SqliteStore(path, clock))
    tokens = TokenStore(kv, Keyring(secrets), clock, login_timeout=900)
    audit = Audit(NoEvents(), Keyring(secrets).mac("audit-user"))
    records = SessionRecords(kv, Keyring(secrets))
    store = SessionStore(kv, records, settings, clock, tokens, audit)
    cache = SessionCache(store, kv, settings, clock, clock)
    return Layer(
        clock,
        kv,
        tokens,
        records,
        Directory(kv, records, clock),
        store,
        cache,
        SessionAuthenticator(cache, store, audit, settings, COOKIE, clock, clock),
    )


Worker = Callable[..., Layer]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def worker(tmp_path: Path, clock: Clock) -> Iterator[Worker]:
    """Makes workers of one fleet: their own caches, one store. Keywords are session settings."""
    made: list[Layer] = []

    def make(*, secrets: tuple[bytes, ...] = (SECRET,), **changes: Any) -> Layer:
        made.append(_layer(tmp_path / "store.sqlite3", clock, secrets, changes))
        return made[-1]

    yield make
    for each in made:
        each.cache.close()
        each.kv.close()


@pytest.fixture
def sessions(worker: Worker) -> Layer:
    return worker()
