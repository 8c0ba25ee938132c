"""Tokens exchanged for a service (RFC 8693): kept beside the session's, replaced ahead of their end, asked for once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from bff.errors import InsufficientScope, SessionEnded, TokenExpired, TokenRefused, TokenUnavailable
from bff.sessions.model import Session
from bff.sessions.tokens import AccessToken
from bff.settings import ServiceSettings, TokenKind
from bff.tokens.exchange import ACCESS_TOKEN
from bff.tokens.refresh_status import FAILURE_LIFE
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.later_grants import EXCHANGE
from tests.flows.provider import html, raising, reply
from tests.unit.tokens.fleet import LIFE, Fleet, Worker

ORDERS = ServiceSettings("orders", TokenKind.EXCHANGE, audience="https://orders.example", scope="orders:read")
STOCK = ServiceSettings("stock", TokenKind.EXCHANGE, resource="https://stock.example")
NOWHERE = ServiceSettings("nowhere", TokenKind.EXCHANGE, audience="unknown")
OWN = ServiceSettings("own", TokenKind.CLIENT_CREDENTIALS, audience="https://own.example")
CALLS, REFRESHES = "bff_token_exchange_total", "bff_token_refresh_total"
FAILED, FAULTS = "bff_token_refresh_failed_total", "bff_token_response_faults_total"
LONG = 3600.0  # so that only the exchanged token is old


@pytest.fixture
def worker(fleet: Fleet) -> Worker:
    return fleet.worker(ORDERS, STOCK, NOWHERE, OWN)


@pytest.fixture
def other(fleet: Fleet) -> Worker:
    return fleet.worker(ORDERS, STOCK, NOWHERE)


@pytest.fixture
def session(fleet: Fleet, worker: Worker) -> Session:
    return fleet.login(worker, life=LONG)


def exchanges(fleet: Fleet) -> int:
    return fleet.calls(EXCHANGE)


def held(worker: Worker, session: Session, service: str = "orders") -> AccessToken:
    """The one that was asked for last."""
    services = worker.tokens(session).services
    return [token for name, token in services.items() if name.partition(":")[0] == service][-1]


def refused_once(fleet: Fleet, error: str) -> None:
    """The first exchange is, as of a subject token that was revoked before its time."""
    original, refused = fleet.idp.later_grants._exchange, list[bool]()

    def exchange(form: Any) -> tuple[int, dict[str, Any]]:
        if not refused:
            refused.append(True)
            return 400, {"error": error}
        return original(form)

    fleet.idp.later_grants._exchange = exchange  # type: ignore[method-assign]


def test_what_is_asked(fleet: Fleet, worker: Worker, session: Session, counters: Counters) -> None:
    value = worker.token(session, "orders")
    form = fleet.idp.last("token").form
    assert form == {
        "grant_type": EXCHANGE,
        "subject_token": worker.token(session),
        "subject_token_type": ACCESS_TOKEN,
        "requested_token_type": ACCESS_TOKEN,
        "audience": "https://orders.example",
        "scope": "orders:read",
    }
    assert value == held(worker, session).value != worker.token(session)
    assert counters.gained(CALLS) == {"token_exchange success": 1}
    assert counters.gained(REFRESHES) == {"orders success": 1}
    worker.token(session, "stock")
    assert fleet.idp.last("token").form["resource"] == "https://stock.example"
    assert [name.partition(":")[0] for name in worker.tokens(session).services] == ["orders", "stock"]


def test_it_is_kept_for_every_worker(fleet: Fleet, worker: Worker, other: Worker, session: Session) -> None:
    assert {each.token(session, "orders") for each in (worker, other, worker)} == {worker.token(session, "orders")}
    assert exchanges(fleet) == 1


def test_from_memory_it_costs_no_round_trip(fleet: Fleet, worker: Worker, session: Session) -> None:
    worker.remember(session)
    first = worker.token(session, "orders")
    worker.store.forget()
    assert worker.token(session, "orders") == first
    assert worker.store.reads == worker.store.writes == []


def test_one_call_for_many(fleet: Fleet, worker: Worker, other: Worker, session: Session, counters: Counters) -> None:
    waited = threading.Event()
    fleet.wait = lambda _seconds: waited.set()
    fleet.meanwhile(lambda: waited.wait(10))
    with ThreadPoolExecutor(8) as pool:
        every = [pool.submit((worker, other)[number % 2].token, session, "orders") for number in range(8)]
        assert len({each.result(30) for each in every}) == 1
    assert waited.is_set()
    assert exchanges(fleet) == 1
    gained = counters.gained(REFRESHES)
    assert gained.pop("orders success") == 1
    assert gained.keys() == {"orders reused"}, "but for those who came late and found it in memory"


class TestAheadOfItsEnd:
    def test_it_is_replaced_while_it_serves(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
    ) -> None:
        old = worker.token(session, "orders")
        clock.now = held(worker, session).refresh_at
        assert worker.token(session, "orders") == old
        assert exchanges(fleet) == 1
        fleet.catch_up()
        assert exchanges(fleet) == 2
        assert worker.token(session, "orders") != old
        assert counters.gained("bff_token_expiry_total") == {}

    def test_after_a_failure_it_is_left_alone_for_a_while(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        worker.remember(session)
        old = worker.token(session, "orders")
        clock.now = held(worker, session).refresh_at
        worker.remember(session)
        fleet.refuses("access_denied")
        for _ in range(5):
            assert worker.token(session, "orders") == old
            fleet.catch_up()
        assert fleet.idp.count("token") == 2
        clock.now += FAILURE_LIFE
        fleet.idp.repair()
        worker.token(session, "orders")
        fleet.catch_up()
        assert worker.token(session, "orders") != old

    @pytest.mark.parametrize(
        "answer",
        [
            raising(requests.Timeout()),
            raising(requests.ConnectionError()),
            html(500),
            html(200),
            lambda: reply({"error": "invalid_target"}, 400),
            lambda: reply({"error": "invalid_client"}, 401),
            lambda: reply({"access_token": "x", "token_type": "mac"}),
            lambda: reply({"access_token": "x", "token_type": "Bearer", "scope": "nothing"}),
        ],
        ids=["timeout", "connection", "500", "page", "target", "client", "type", "scope"],
    )
    def test_a_live_token_survives_every_failure(
        self, answer: Callable[[], Any], fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        old = worker.token(session, "orders")
        clock.now = held(worker, session).refresh_at
        fleet.idp.break_endpoint("token", answer)
        for _ in range(3):
            assert worker.token(session, "orders") == old
            fleet.catch_up()
        assert held(worker, session).value == old

    def test_also_that_of_the_store(self, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
        worker.remember(session)
        old = worker.token(session, "orders")
        clock.now = held(worker, session).refresh_at
        worker.remember(session)
        worker.token(session, "orders")
        worker.store.down = True
        fleet.catch_up()
        assert worker.token(session, "orders") == old


def test_a_dead_one_is_waited_for(
    fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
) -> None:
    old = worker.token(session, "orders")
    clock.now += 600
    assert worker.token(session, "orders") != old
    assert counters.gained("bff_token_expiry_total") == {"orders": 1}


def test_a_dead_subject_token_is_refreshed_first(fleet: Fleet, worker: Worker, clock: Clock) -> None:
    session = fleet.login(worker)
    old = worker.tokens(session)
    clock.now += LIFE
    worker.token(session, "orders")
    assert fleet.calls() == 1
    assert fleet.idp.last("token").form["subject_token"] == worker.tokens(session).access.value != old.access.value


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_request"])
class TestARefusedSubjectToken:
    """By invalid_request as RFC 8693 section 2.2.2 has it, or by invalid_grant as many providers have it."""

    def test_another_one_is_tried_once(self, error: str, fleet: Fleet, worker: Worker, session: Session) -> None:
        old = worker.tokens(session)
        refused_once(fleet, error)
        worker.token(session, "orders")
        assert (fleet.calls(), exchanges(fleet)) == (1, 2)
        assert fleet.idp.last("token").form["subject_token"] != old.access.value

    def test_and_not_twice(
        self, error: str, fleet: Fleet, worker: Worker, session: Session, counters: Counters
    ) -> None:
        fleet.idp.later_grants._exchange = lambda form: (400, {"error": error})  # type: ignore[method-assign]
        with pytest.raises(TokenRefused):
            worker.token(session, "orders")
        assert (fleet.calls(), exchanges(fleet)) == (1, 2)
        assert counters.gained("bff_sessions_destroyed_total") == {}
        reason = {"invalid_request": "refused"}.get(error, error)
        assert counters.gained(FAILED) == {reason: 2}

    def test_without_a_refresh_token_there_is_no_other(self, error: str, fleet: Fleet, worker: Worker) -> None:
        session = fleet.login(worker, refresh_token=None)
        refused_once(fleet, error)
        with pytest.raises(TokenRefused):
            worker.token(session, "orders")
        assert exchanges(fleet) == 1

    def test_the_login_is_over(self, error: str, fleet: Fleet, worker: Worker, session: Session) -> None:
        fleet.idp.later_grants.end_families()
        refused_once(fleet, error)
        with pytest.raises(SessionEnded):
            worker.token(session, "orders")


def test_a_service_that_the_provider_does_not_know(
    fleet: Fleet, worker: Worker, session: Session, counters: Counters
) -> None:
    with pytest.raises(TokenRefused):
        worker.token(session, "nowhere")
    assert fleet.calls() == 0
    assert counters.gained(CALLS) == {"token_exchange invalid_target": 1}
    assert counters.gained(FAILED) == {"refused": 1}
    assert counters.gained(REFRESHES) == {"nowhere failed": 1}


def test_less_scope_than_the_service_needs(fleet: Fleet, worker: Worker, session: Session, counters: Counters) -> None:
    fleet.idp.later_grants.response = {"scope": "orders:list"}
    with pytest.raises(InsufficientScope):
        worker.token(session, "orders")
    assert worker.tokens(session).services == {}
    assert counters.gained(FAULTS) == {"token_exchange scope": 1}
    assert counters.gained(FAILED) == {"bad_response": 1}


@pytest.mark.parametrize(
    ("answer", "reason", "fault"),
    [
        (raising(requests.Timeout()), "timeout", None),
        (html(503), "server_error", None),
        (html(200), "bad_response", "not_json"),
        (lambda: reply({"access_token": "x", "token_type": "N_A"}), "bad_response", "token_type"),
        (lambda: reply({"token_type": "Bearer"}), "bad_response", "access_token"),
    ],
)
def test_no_token_for_now(
    answer: Callable[[], Any],
    reason: str,
    fault: str | None,
    fleet: Fleet,
    worker: Worker,
    session: Session,
    counters: Counters,
) -> None:
    fleet.idp.break_endpoint("token", answer)
    with pytest.raises(TokenUnavailable):
        worker.token(session, "orders")
    assert counters.gained(FAILED) == {reason: 1}
    assert counters.gained(FAULTS) == ({f"token_exchange {fault}": 1} if fault else {})
    fleet.idp.repair()
    worker.token(session, "orders")


@pytest.mark.parametrize("grant", ["exchange", "client"])
@pytest.mark.parametrize("fault", [(500, {}), (503, {"error": "server_error"})], ids=["500", "503"])
def test_one_service_whose_tokens_the_provider_fails_at_shuts_out_nobody(
    grant: str, fault: tuple[int, dict[str, str]], fleet: Fleet, worker: Worker, counters: Counters
) -> None:
    """Any session may ask for such a token, and so for such an answer, as often as it likes."""
    sessions = [fleet.login(worker, life=LONG) for _ in range(12)]
    counters.start()
    setattr(fleet.idp.later_grants, f"_{grant}", lambda _form: fault)
    for session in sessions:
        with pytest.raises(TokenUnavailable):
            worker.token(session, "orders" if grant == "exchange" else "own")
        fleet.catch_up()
    assert worker.refresh(sessions[0]).access.value
    assert counters.gained("circuit_breaks_total") == {}


def test_a_session_that_ended_meanwhile(fleet: Fleet, worker: Worker, session: Session) -> None:
    fleet.then(lambda: worker.store.delete(f"cold:{session.key}"))
    with pytest.raises(TokenExpired):
        worker.token(session, "orders")
    assert worker.store.get(f"cold:{session.key}") is None


def test_a_refresh_meanwhile_is_not_lost(fleet: Fleet, worker: Worker, other: Worker, session: Session) -> None:
    """Both change the same record."""
    fleet.then(lambda: other.refresh(session))
    value = worker.token(session, "orders")
    tokens = worker.tokens(session)
    assert [token.value for token in tokens.services.values()] == [value]
    assert tokens.refresh_token is not None
    assert fleet.idp.later_grants.alive(tokens.refresh_token)


def test_renewed_however_fresh(fleet: Fleet, worker: Worker, session: Session) -> None:
    old = worker.token(session, "orders")
    renewed = worker.services.tokens.service.renew(session, "orders")
    assert renewed is not None
    assert renewed.token.value == worker.token(session, "orders") != old
