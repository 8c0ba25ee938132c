"""The BFF's own tokens (RFC 6749 section 4.4): one call for the fleet, shared through the store, sealed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests

from bff.errors import InsufficientScope, StoreUnavailable, TokenRefused, TokenUnavailable
from bff.sessions.model import Session
from bff.settings import ServiceSettings, TokenKind
from bff.tokens.refresh_status import FAILURE_LIFE
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.internet import OLD_KEY
from tests.flows.provider import raising
from tests.unit.tokens.fleet import Fleet, Worker

STOCK = ServiceSettings("stock", TokenKind.CLIENT_CREDENTIALS, audience="https://stock.example", scope="stock:read")
CALLS, REFRESHES = "bff_token_exchange_total", "bff_token_refresh_total"
GRANT = "client_credentials"


@pytest.fixture
def worker(fleet: Fleet) -> Worker:
    return fleet.worker(STOCK)


@pytest.fixture
def other(fleet: Fleet) -> Worker:
    return fleet.worker(STOCK)


def refresh_at(worker: Worker) -> float:
    usable = worker.services.tokens.service.ensure_token(no_session(), "stock")
    assert usable is not None
    return usable.token.refresh_at


def no_session() -> Session:
    """A person has no part in it."""
    return None  # type: ignore[return-value]


def stock(worker: Worker) -> str:
    return worker.token(no_session(), "stock")


def test_what_is_asked(fleet: Fleet, worker: Worker, counters: Counters) -> None:
    stock(worker)
    form = fleet.idp.last("token").form
    assert form == {"grant_type": GRANT, "audience": "https://stock.example", "scope": "stock:read"}
    assert counters.gained(CALLS) == {"client_credentials success": 1}
    assert counters.gained(REFRESHES) == {"stock success": 1}
    assert counters.gained("bff_token_refresh_success_total") == {}  # nobody's


def test_workers_share_it(fleet: Fleet, worker: Worker, other: Worker) -> None:
    assert stock(worker) == stock(other) == stock(worker)
    assert fleet.calls(GRANT) == 1


def test_from_memory_it_costs_no_round_trip(worker: Worker) -> None:
    first = stock(worker)
    worker.store.down = True
    assert stock(worker) == first


def test_it_is_sealed(fleet: Fleet, worker: Worker) -> None:
    value = stock(worker)
    (name,) = [call.split()[1] for call in worker.store.writes if call.startswith("set service-token")]
    raw = worker.store.get(name)
    assert raw is not None
    assert value.encode() not in raw
    assert value not in name


def test_sealed_with_a_key_that_is_no_more(fleet: Fleet, worker: Worker) -> None:
    first = stock(worker)
    assert stock(fleet.worker(STOCK, BFF_SECRETS=OLD_KEY)) != first


def test_a_changed_configuration_asks_anew(fleet: Fleet, worker: Worker) -> None:
    first = stock(worker)
    changed = fleet.worker(replace(STOCK, scope="stock:read stock:write"))
    assert stock(changed) != first
    assert fleet.calls(GRANT) == 2


def test_one_call_for_the_fleet(fleet: Fleet, worker: Worker, other: Worker, counters: Counters) -> None:
    waited = threading.Event()
    fleet.wait = lambda _seconds: waited.set()
    fleet.meanwhile(lambda: waited.wait(10))
    with ThreadPoolExecutor(8) as pool:
        every = [pool.submit(stock, (worker, other)[number % 2]) for number in range(8)]
        assert len({each.result(30) for each in every}) == 1
    assert waited.is_set()
    assert fleet.calls(GRANT) == 1


def test_it_is_replaced_while_it_serves(fleet: Fleet, worker: Worker, other: Worker, clock: Clock) -> None:
    old = stock(worker)
    stock(other)
    clock.now = refresh_at(worker)
    assert stock(worker) == old
    assert fleet.calls(GRANT) == 1
    fleet.catch_up()
    assert stock(worker) != old
    assert stock(other) == old
    fleet.catch_up()
    assert stock(other) == stock(worker)
    assert fleet.calls(GRANT) == 2


def test_an_old_one_is_not_good_enough_to_begin_with(fleet: Fleet, worker: Worker, other: Worker, clock: Clock) -> None:
    old = stock(worker)
    clock.now = refresh_at(worker)
    assert stock(other) != old
    assert fleet.calls(GRANT) == 2


def test_after_a_failure_it_is_left_alone_for_a_while(fleet: Fleet, worker: Worker, clock: Clock) -> None:
    old = stock(worker)
    clock.now = refresh_at(worker)
    fleet.idp.break_endpoint("token", raising(requests.Timeout()))
    for _ in range(5):
        assert stock(worker) == old
        fleet.catch_up()
    assert fleet.idp.count("token") == 2
    clock.now += FAILURE_LIFE
    fleet.idp.repair()
    stock(worker)
    fleet.catch_up()
    assert stock(worker) != old


def test_a_live_token_survives_the_store(fleet: Fleet, worker: Worker, clock: Clock) -> None:
    old = stock(worker)
    clock.now = refresh_at(worker)
    worker.store.down = True
    assert stock(worker) == old
    fleet.catch_up()
    assert stock(worker) == old


def test_a_dead_one_is_waited_for(fleet: Fleet, worker: Worker, clock: Clock, counters: Counters) -> None:
    old = stock(worker)
    clock.now += 600
    assert stock(worker) != old
    assert counters.gained("bff_token_expiry_total") == {"stock": 1}
    clock.now += 600
    worker.store.down = True
    with pytest.raises(StoreUnavailable):
        stock(worker)


def test_renewed_however_fresh(fleet: Fleet, worker: Worker, other: Worker) -> None:
    old = stock(worker)
    stock(other)
    renewed = worker.services.tokens.service.renew(no_session(), "stock")
    assert renewed is not None
    assert renewed.token.value == stock(worker) != old
    again = other.services.tokens.service.renew(no_session(), "stock")
    assert again is not None
    assert again.token.value not in (old, renewed.token.value)  # newer than the fleet's, not only than the worker's own
    assert fleet.calls(GRANT) == 3


def test_the_provider_refuses(fleet: Fleet, worker: Worker, counters: Counters) -> None:
    fleet.refuses("unauthorized_client")
    with pytest.raises(TokenRefused):
        stock(worker)
    assert counters.gained(CALLS) == {"client_credentials unauthorized_client": 1}
    assert counters.gained("bff_token_refresh_failed_total") == {"refused": 1}


def test_the_provider_is_away(fleet: Fleet, worker: Worker, counters: Counters) -> None:
    fleet.idp.break_endpoint("token", raising(requests.ConnectionError()))
    with pytest.raises(TokenUnavailable):
        stock(worker)
    assert counters.gained(REFRESHES) == {"stock failed": 1}
    assert counters.gained("bff_token_refresh_failed_total") == {"connection": 1}


def test_less_scope_than_the_service_needs(fleet: Fleet, worker: Worker, counters: Counters) -> None:
    fleet.idp.later_grants.response = {"scope": "stock:list"}
    with pytest.raises(InsufficientScope):
        stock(worker)
    assert counters.gained("bff_token_response_faults_total") == {"client_credentials scope": 1}


def test_bound_to_a_key_that_all_workers_have(fleet: Fleet) -> None:
    one, two = (fleet.worker(STOCK, DPOP_ENABLED="true") for _ in range(2))
    fleet.idp.later_grants.response = {"token_type": "DPoP"}
    keys = set()
    for each in (one, two):
        usable = each.services.tokens.service.ensure_token(no_session(), "stock")
        assert usable is not None
        keys.add(usable.key)
    assert len(keys) == 1
    assert None not in keys
    assert fleet.calls(GRANT) == 1
