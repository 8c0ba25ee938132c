"""Workers of one fleet without Flask: their own memories, one embedded store, and the provider that they ask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from joserfc.jwk import Key

from bff import services as service_layer
from bff import settings as settings_layer
from bff.dev.in_process import WsgiTransport
from bff.kv.sqlite import SqliteStore
from bff.oidc.claims import user_from_claims
from bff.services import Services
from bff.sessions.binding import binding_of
from bff.sessions.model import Session, User
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings import ServiceSettings
from tests.clock import Clock
from tests.flows.internet import BFF, ISSUER, NEW_KEY
from tests.flows.provider import OpenIdProvider, reply
from tests.flows.registration import SECRET
from tests.flows.store import WatchedStore

LIFE = 600.0
"""Seconds for which a login's access token is good."""
SCOPE = "openid profile email"


@dataclass
class Worker:
    services: Services
    store: WatchedStore

    def token(self, session: Session, service: str = "user") -> str:
        usable = self.services.tokens.service.ensure_token(session, service)
        assert usable is not None
        return usable.token.value

    def tokens(self, session: Session) -> Tokens:
        """What the store holds."""
        held = self.services.token_store.read(session.key)
        assert held is not None
        return held.tokens

    def refresh(self, session: Session, seen: Tokens | None = None, *, patient: bool = True) -> Tokens:
        return self.services.tokens.refresher.refresh(session, seen or self.tokens(session), patient=patient)

    def remember(self, session: Session) -> None:
        """As a request does on its way in, with a listener that is connected."""
        cache = self.services.cache
        if not cache.truthful:
            cache._listening(True)
        cache.lookup(session.key, self.services.clock())

    def close_breakers(self) -> None:
        """As after their rest, which is measured on the machine's own clock."""
        for client in self.services.http:
            client._breakers.clear()


@dataclass
class Fleet:
    folder: Path
    clock: Clock
    key: Key
    idp: OpenIdProvider = field(init=False)
    workers: list[Worker] = field(default_factory=list)
    wait: Callable[[float], None] = field(init=False)
    """What happens while a worker waits for another: so many seconds pass."""
    postponed: list[Callable[[], None]] = field(default_factory=list)
    """What no request waited for; `catch_up` does it."""

    def __post_init__(self) -> None:
        self.idp = OpenIdProvider(ISSUER, self.key, self.clock)
        self.wait = self._pass

    def worker(self, *services: ServiceSettings, claims_refresh: str = "auto", **environ: str) -> Worker:
        settings = settings_layer.load(
            {
                "ENVIRONMENT": "staging",
                "BFF_BASE_URL": BFF,
                "BFF_SECRETS": NEW_KEY,
                "BFF_DATA_DIR": str(self.folder),
                "BFF_CONFIG_DIR": str(self.folder / "config"),
                "OIDC_ISSUER": ISSUER,
                "AUTH_CLIENT_ID": "bff",
                "AUTH_CLIENT_SECRET": SECRET,
                **environ,
            }
        )
        provider = replace(settings.providers[0], claims_refresh=claims_refresh)
        store = WatchedStore(SqliteStore(settings.store.path, self.clock))
        built = service_layer.build(
            replace(settings, services=services, providers=(provider,)),
            clock=self.clock,
            kv=store,
            transport=WsgiTransport({ISSUER: self.idp}),
            monotonic=self.clock,
            wait=self._waited,
            later=self.postponed.append,
        )
        self.workers.append(Worker(built, store))
        return self.workers[-1]

    def login(
        self,
        worker: Worker,
        *,
        life: float | None = LIFE,
        sub: str = "alice",
        user: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Session:
        """A session whose tokens the provider issued just now. user: its claims. changes: to the Tokens."""
        issued = self.idp.tokens(None)
        self.idp.later_grants.begin_family(issued["refresh_token"])
        now = self.clock()
        wanted_at, ends_at = (now + 300, None) if life is None else (now + life * 0.8, now + life)
        token = AccessToken(issued["access_token"], wanted_at, ends_at, SCOPE)
        tokens = Tokens("default", token, issued["refresh_token"], issued["id_token"])
        _, session = worker.services.store.create(
            User(sub, sub) if user is None else user_from_claims(user, worker.services.settings.providers[0]),
            idp="default",
            auth_time=0,
            sid="",
            binding=binding_of("203.0.113.7", "a browser"),
            tokens=replace(tokens, **changes),
        )
        return session

    def catch_up(self) -> None:
        while self.postponed:
            self.postponed.pop(0)()

    def calls(self, grant: str = "refresh_token") -> int:
        """How often the provider was asked for tokens so."""
        return sum(call.form.get("grant_type", "").endswith(grant) for call in self.idp.calls)

    def refuses(self, error: str, status: int = 400) -> None:
        self.idp.break_endpoint("token", lambda: reply({"error": error}, status))

    def meanwhile(self, act: Callable[[], object]) -> None:
        """Do something when the provider was asked for tokens next and has not answered yet."""
        original = self.idp.later_grants.answer

        def answer(form: Any) -> Any:
            self.idp.later_grants.answer = original  # type: ignore[method-assign]
            act()
            return original(form)

        self.idp.later_grants.answer = answer  # type: ignore[method-assign]

    def then(self, act: Callable[[], object]) -> None:
        """Do something when the provider has decided about the next request, and its answer is on its way."""
        original = self.idp.later_grants.answer

        def answer(form: Any) -> Any:
            self.idp.later_grants.answer = original  # type: ignore[method-assign]
            response = original(form)
            act()
            return response

        self.idp.later_grants.answer = answer  # type: ignore[method-assign]

    def _pass(self, seconds: float) -> None:
        self.clock.now += seconds

    def _waited(self, seconds: float) -> None:
        self.wait(seconds)

    def close(self) -> None:
        for worker in self.workers:
            worker.services.close()
