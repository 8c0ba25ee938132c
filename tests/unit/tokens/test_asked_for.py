"""A token belongs to what it was asked for: a service, an audience, a resource, a scope, a provider."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bff.errors import InsufficientScope
from bff.oidc.token_endpoint import CLIENT_CREDENTIALS
from bff.sessions.model import Session
from bff.sessions.tokens import AccessToken, Tokens, tokens_from_bytes, tokens_to_bytes
from bff.settings import ProviderSettings, ServiceSettings, TokenKind
from bff.tokens.asked_for import MOST_BESIDE, asked_for, beside, covers
from tests.flows.later_grants import EXCHANGE
from tests.unit.tokens.fleet import Fleet, Worker

PROVIDER = ProviderSettings("x", "https://idp.example", "bff")
KINDS = pytest.mark.parametrize("kind", [TokenKind.EXCHANGE, TokenKind.CLIENT_CREDENTIALS])
CHANGES: tuple[dict[str, Any], ...] = (
    {"audience": "https://other.example"},
    {"resource": "https://resource.example"},
    {"scope": "orders:write"},
    {"scope": "orders:read orders:write"},
    {"id": "others"},
)


def service(kind: TokenKind, **changes: Any) -> ServiceSettings:
    return replace(ServiceSettings("orders", kind, audience="https://orders.example", scope="orders:read"), **changes)


def calls(fleet: Fleet) -> int:
    return fleet.calls(EXCHANGE) + fleet.calls(CLIENT_CREDENTIALS)


@KINDS
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_changed_configuration_is_in_effect_at_the_next_use(
    fleet: Fleet, session: Session, kind: TokenKind, change: dict[str, Any]
) -> None:
    """Workers with the former configuration go on beside it, and each keeps its own: nobody asks twice."""
    former, changed = fleet.worker(service(kind)), fleet.worker(service(kind, **change))
    name = change.get("id", "orders")
    first, second = former.token(session, "orders"), changed.token(session, name)
    assert first != second
    form = fleet.idp.last("token").form
    assert change.get("audience", form["audience"]) == form["audience"]
    assert change.get("scope", form["scope"]) == form["scope"]
    for _ in range(3):
        assert (former.token(session, "orders"), changed.token(session, name)) == (first, second)
    assert calls(fleet) == 2


@KINDS
def test_what_does_not_change_what_is_asked_for_asks_for_nothing(
    fleet: Fleet, session: Session, kind: TokenKind
) -> None:
    one = fleet.worker(service(kind, scope="orders:read orders:write", line=1))
    other = fleet.worker(service(kind, scope="orders:write  orders:read", line=7))
    assert one.token(session, "orders") == other.token(session, "orders")
    assert calls(fleet) == 1


@pytest.mark.parametrize(
    "change", [{"id": "y"}, {"issuer": "https://other.example"}, {"client_id": "other"}, {"dpop": True}], ids=str
)
def test_another_provider_or_client_is_another_name(change: dict[str, Any]) -> None:
    wanted = service(TokenKind.EXCHANGE)
    assert asked_for(wanted, PROVIDER) != asked_for(wanted, replace(PROVIDER, **change))


@KINDS
def test_a_narrower_token_is_refused_when_it_comes(fleet: Fleet, session: Session, kind: TokenKind) -> None:
    worker = fleet.worker(service(kind, scope="orders:read orders:write"))
    fleet.idp.later_grants.response = {"scope": "orders:read"}
    for _ in range(2):
        with pytest.raises(InsufficientScope):
            worker.token(session, "orders")
    assert worker.tokens(session).services == {}


def narrowed(tokens: Tokens) -> Tokens:
    services = {name: replace(token, scope="nothing") for name, token in tokens.services.items()}
    return replace(tokens, services=services)


def test_a_narrower_exchanged_token_is_refused_when_it_is_there(fleet: Fleet, session: Session) -> None:
    worker = fleet.worker(service(TokenKind.EXCHANGE))
    first = worker.token(session, "orders")
    worker.services.token_store.update(session.key, narrowed)
    assert worker.token(session, "orders") != first
    assert calls(fleet) == 2


def test_a_narrower_own_token_is_refused_when_it_is_there(fleet: Fleet, session: Session) -> None:
    worker, wanted = fleet.worker(service(TokenKind.CLIENT_CREDENTIALS)), service(TokenKind.CLIENT_CREDENTIALS)
    first = worker.token(session, "orders")
    own = worker.services.tokens.own
    record = own._record(wanted)
    narrow = replace(own._known[record], access=replace(own._known[record].access, scope="nothing"))
    own._known[record] = narrow
    worker.services.kv.set(record, own._sealer.seal(tokens_to_bytes(narrow), record), 60)
    assert worker.token(session, "orders") != first
    assert calls(fleet) == 2


def test_a_narrower_own_token_of_the_session_is_refused_also_after_a_401(fleet: Fleet) -> None:
    """A refresh may bring a narrower one."""
    worker = fleet.worker(ServiceSettings("wide", scope="orders:admin"))
    session = fleet.login(worker)
    with pytest.raises(InsufficientScope):
        worker.services.tokens.service.renew(session, "wide")


@KINDS
def test_what_is_listed_is_of_the_token_that_is_there(fleet: Fleet, session: Session, kind: TokenKind) -> None:
    former = fleet.worker(service(kind))
    changed = fleet.worker(service(kind, audience="https://other.example", scope="orders:write"))
    former.token(session, "orders")

    def listed(worker: Worker) -> tuple[str, str | None, bool]:
        (found,) = [each for each in worker.services.tokens.service.listed(session) if each.service == "orders"]
        return found.scope, found.audience, found.expires_in is not None

    assert listed(former) == ("orders:read", "https://orders.example", True)
    assert listed(changed) == ("", None, False)
    changed.token(session, "orders")
    assert listed(changed) == ("orders:write", "https://other.example", True)


def token(value: str, expires_at: float | None = 1000.0) -> AccessToken:
    return AccessToken(value, 500.0, expires_at)


def test_a_session_keeps_the_newest_few_of_a_service() -> None:
    held: dict[str, AccessToken] = {"orders": token("of an earlier version"), "other": token("another service's")}
    for number in range(10):
        held = beside(held, f"orders:{number}", token(str(number)), now=100.0)
    assert list(held) == ["other", *(f"orders:{number}" for number in range(10 - MOST_BESIDE, 10))]


def test_a_session_keeps_none_that_are_over() -> None:
    held = {"a:1": token("over", 100.0), "b:1": token("good", 101.0), "c:1": token("unknown", None)}
    assert list(beside(held, "d:1", token("new"), now=100.0)) == ["b:1", "c:1", "d:1"]
    assert list(beside(held, "d:1", token("new"), now=500.0 + 86400.0)) == ["d:1"]


@pytest.mark.parametrize(
    ("scope", "wanted", "enough"),
    [
        ("a b", "b", True),
        ("b a", "a  b", True),
        ("a", "a b", False),
        ("", "", True),
        ("", "a", False),
        ("ab", "a", False),
    ],
)
def test_covers(scope: str, wanted: str, enough: bool) -> None:
    assert covers(AccessToken("x", 0.0, scope=scope), ServiceSettings("s", scope=wanted)) is enough


RECORD: dict[str, Any] = {"idp": "x", "access": {"value": "v", "refresh_at": 1.0}}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"new": 1},
        {"services": {}},
        {"access": {**RECORD["access"], "new": [1], "scope": "a"}},
        {"services": {"orders": {"value": "w", "refresh_at": 2.0, "expires_at": 9.0, "new": {}}}},
    ],
    ids=str,
)
def test_records_of_other_versions_open(change: dict[str, Any]) -> None:
    opened = tokens_from_bytes(json.dumps({**RECORD, **change}).encode())
    assert (opened.idp, opened.access.value, opened.refresh_token) == ("x", "v", None)
    assert list(opened.services) == list(change.get("services", {}))
    assert tokens_from_bytes(tokens_to_bytes(opened)) == opened


@pytest.mark.parametrize(
    "raw", [b"", b"1", b"[]", b"null", b"{}", b'{"idp":"x","access":[]}', b'{"idp":"x","access":{},"services":{}}']
)
def test_what_is_no_record_is_refused(raw: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        tokens_from_bytes(raw)


def test_a_token_of_an_earlier_version_is_not_used(fleet: Fleet, session: Session) -> None:
    """It lies under the service's name alone, so what it was asked for is not known. It is left to its workers."""
    worker = fleet.worker(service(TokenKind.EXCHANGE))
    old = AccessToken("old", fleet.clock() + 500, fleet.clock() + 600, "orders:read")
    change: Callable[[Tokens], Tokens] = lambda tokens: replace(tokens, services={"orders": old})  # noqa: E731
    worker.services.token_store.update(session.key, change)
    assert worker.token(session, "orders") != "old"
    assert worker.tokens(session).services["orders"] == old
