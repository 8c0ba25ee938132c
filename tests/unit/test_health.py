"""Health is what the last background check found; asking for it asks nobody else."""

import pytest

from bff.errors import StoreRefuses, StoreTimeout
from bff.health import Health
from tests.clock import Clock


class Component:
    """Up until told otherwise, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    def check(self) -> None:
        self.asked += 1
        if self.error:
            raise self.error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Component:
    return Component()


@pytest.fixture
def idp() -> Component:
    return Component()


@pytest.fixture
def health(store: Component, idp: Component, clock: Clock) -> Health:
    return Health({"store": store.check, "idp": idp.check}, frozenset({"store"}), clock)


def test_nothing_is_known_before_the_first_check(health: Health) -> None:
    assert (health.healthy(), health.ready()) == (False, False)
    assert health.report()["store"] == {"status": "unknown", "latency_ms": 0.0, "age_seconds": 0.0}
    assert health.names == ("store", "idp")


def test_up_when_every_check_passes(health: Health) -> None:
    assert health.refresh("store")
    assert health.ready()
    assert not health.healthy(), "the other one has not been asked yet"
    assert health.refresh("idp")
    assert health.healthy()


def test_readiness_looks_at_its_own_components_only(health: Health, idp: Component) -> None:
    idp.error = StoreTimeout()
    health.refresh("store")
    assert not health.refresh("idp")
    assert (health.healthy(), health.ready()) == (False, True)
    assert health.report()["idp"]["status"] == "down"


def test_a_component_that_others_go_on_without(store: Component, idp: Component, clock: Clock) -> None:
    health = Health({"store": store.check, "pdp": idp.check}, frozenset(), clock, optional=frozenset({"pdp"}))
    idp.error = StoreTimeout()
    for name in health.names:
        health.refresh(name)
    assert health.healthy()
    assert health.report()["pdp"]["status"] == "down"
    store.error = StoreTimeout()
    health.refresh("store")
    assert not health.healthy()


def test_a_component_goes_down_and_comes_back(health: Health, store: Component) -> None:
    health.refresh("store")
    store.error = StoreTimeout()
    assert not health.refresh("store")
    assert not health.ready()
    store.error = None
    assert health.refresh("store")
    assert health.ready()


def test_an_error_that_no_check_should_raise_is_down_too_and_is_not_hidden(health: Health, store: Component) -> None:
    health.refresh("store")
    store.error = RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        health.refresh("store")
    assert health.report()["store"]["status"] == "down"


def test_the_report_says_how_old_it_is(health: Health, clock: Clock) -> None:
    health.refresh("store")
    clock.now += 12.34
    assert health.report()["store"]["age_seconds"] == 12.3
    clock.now -= 100
    assert health.report()["store"]["age_seconds"] == 0.0, "a clock that was set back makes nothing negative"


def test_asking_for_health_asks_no_component(health: Health, store: Component, idp: Component) -> None:
    health.refresh("store")
    for _ in range(100):
        health.healthy(), health.ready(), health.report()
    assert (store.asked, idp.asked) == (1, 0)


def test_latency_is_the_checks_own(clock: Clock) -> None:
    def slow() -> None:
        sum(range(200_000))

    health = Health({"slow": slow, "quick": lambda: None}, frozenset(), clock)
    health.refresh("slow")
    health.refresh("quick")
    report = health.report()
    assert 0 <= float(str(report["quick"]["latency_ms"])) < float(str(report["slow"]["latency_ms"])) < 5000


def test_a_store_that_takes_no_writes_is_degraded_and_stays_in_service(
    health: Health, store: Component, idp: Component
) -> None:
    store.error = StoreRefuses("", reason="full")
    assert health.refresh("store")
    health.refresh("idp")
    assert (health.healthy(), health.ready(), health.degraded()) == (True, True, True)
    assert (health.report()["store"]["status"], health.report()["store"]["reason"]) == ("degraded", "full")
    store.error = None
    health.refresh("store")
    assert not health.degraded()
    assert "reason" not in health.report()["store"]


def test_whether_it_drains_is_asked_each_time(store: Component, clock: Clock) -> None:
    said: list[bool] = []
    health = Health({"store": store.check}, frozenset({"store"}), clock, draining=lambda: bool(said))
    assert not health.draining()
    said.append(True)
    assert health.draining()
