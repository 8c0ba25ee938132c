"""Two instances, or two generations of secrets, on one outbox: each event reaches its carrier, and none is lost."""

import logging

import pytest

from bff.crypto import Keyring
from bff.events.drops import DroppedEvents
from bff.events.model import EventType
from bff.events.outbox import LOG, SAMPLED, Outbox
from bff.events.publisher import Outcome
from bff.events.relay import TRIM_EVERY, OutboxRelay
from bff.events.sealed_out import FIRST_TERM, LONGEST_TERM, REST
from bff.kv import KeyValue
from tests.clock import Clock
from tests.flows.store import WatchedStore
from tests.unit.events.support import LIMIT, LOGIN, SOURCE, Told, relay
from tests.unit.support import counted

SEALED_OUT = "bff_outbox_sealed_out"


def instance(kv: KeyValue, clock: Clock, secret: bytes) -> tuple[Outbox, Told, OutboxRelay]:
    box = Outbox(kv, Keyring([secret * 32]).sealer("outbox"), SOURCE, LIMIT, clock, DroppedEvents(clock))
    publisher = Told()
    return box, publisher, relay(kv, box, publisher, clock)


def happened(box: Outbox, *sessions: str) -> None:
    for session in sessions:
        box.emit(EventType.LOGIN_SUCCEEDED, {**LOGIN, "session": session})


def run(clock: Clock, seconds: float, *deliveries: OutboxRelay) -> None:
    """Each of them has its turn every second."""
    end = clock.now + seconds
    while clock.now < end:
        for each in deliveries:
            each.run()
        clock.now += 1


def test_each_instance_delivers_its_own(kv: WatchedStore, clock: Clock) -> None:
    one, ones, first = instance(kv, clock, b"1")
    other, others, second = instance(kv, clock, b"2")
    before = counted("bff_events_lost_total")
    for number in range(5):
        happened(one, f"one {number}")
        happened(other, f"other {number}")
    run(clock, 3 * (FIRST_TERM + REST), first, second)
    assert ones.ids() == [f"one {number}" for number in range(5)], "in order, and once"
    assert others.ids() == [f"other {number}" for number in range(5)]
    assert kv.log_length(LOG) == 0
    assert counted("bff_events_lost_total") == before
    assert counted(SEALED_OUT) == 0


def test_while_both_go_on(kv: WatchedStore, clock: Clock) -> None:
    one, ones, first = instance(kv, clock, b"1")
    other, others, second = instance(kv, clock, b"2")
    names = [str(number) for number in range(100)]
    for name in names:
        happened(one, name)
        happened(other, name)
        run(clock, 1, first, second)
    run(clock, 3 * (FIRST_TERM + REST), first, second)
    assert (ones.ids(), others.ids()) == (names, names)
    assert kv.log_length(LOG) == 0


def test_a_pod_that_is_ahead_in_a_rotation(kv: WatchedStore, clock: Clock) -> None:
    """One that has the new key only; then the delivering worker gets it."""
    new, _, _ = instance(kv, clock, b"n")
    old, publisher, behind = instance(kv, clock, b"o")
    happened(new, "1")
    happened(old, "2")
    run(clock, 60, behind)
    assert publisher.ids() == ["2"]
    assert kv.log_length(LOG) == 1
    behind.close()
    sealer = Keyring([b"n" * 32, b"o" * 32]).sealer("outbox")
    both = Outbox(kv, sealer, SOURCE, LIMIT, clock, DroppedEvents(clock))
    publisher = Told()
    run(clock, 1, relay(kv, both, publisher, clock))
    assert (publisher.ids(), kv.log_length(LOG)) == (["1"], 0)


def test_what_is_not_ours_is_not_read_again_and_again(
    kv: WatchedStore, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is gone for good: one line, few readings, and our own events go on."""
    gone, _, _ = instance(kv, clock, b"1")
    box, publisher, only = instance(kv, clock, b"2")
    happened(gone, "lost", "forgotten")
    opened: list[str] = []
    log_open = kv.inner.log_open

    def watched(log: str, reader: str) -> None:
        opened.append(log)
        log_open(log, reader)

    monkeypatch.setattr(kv.inner, "log_open", watched)
    names = [str(number) for number in range(600)]
    for name in names:
        happened(box, name)
        run(clock, 1, only)
    run(clock, REST + 1, only)
    assert publisher.ids() == names
    assert counted(SEALED_OUT) == 2
    assert opened.count(LOG) <= 2 + 600 // LONGEST_TERM + 6, "each pause is twice as long as the last"
    said = [record.levelno for record in caplog.records if record.message == "events_sealed_out"]
    assert said == [logging.ERROR]


def test_it_is_given_up_in_the_end_as_any_other(kv: WatchedStore, clock: Clock) -> None:
    gone, _, _ = instance(kv, clock, b"1")
    _, _, only = instance(kv, clock, b"2")
    happened(gone, "1")
    before = counted("bff_events_lost_total", reason="too_old")
    only._max_age = 100
    run(clock, 50, only)
    assert kv.log_length(LOG) == 1
    run(clock, 50 + TRIM_EVERY + REST, only)
    assert kv.log_length(LOG) == 0
    assert counted("bff_events_lost_total", reason="too_old") == before + 1
    run(clock, LONGEST_TERM + REST, only)
    assert counted(SEALED_OUT) == 0


def test_the_sample_of_strangers_is_kept_as_well(kv: WatchedStore, clock: Clock) -> None:
    _, _, only = instance(kv, clock, b"2")
    kv.log_append(SAMPLED, [b"sealed with another key"], 10)
    run(clock, 30, only)
    assert kv.log_length(SAMPLED) == 1


def test_with_a_broker_that_fails_others_have_their_turn(kv: WatchedStore, clock: Clock) -> None:
    one, ones, first = instance(kv, clock, b"1")
    other, others, second = instance(kv, clock, b"2")
    ones.settles = None
    happened(other, "theirs")
    happened(one, "ours")
    first.run()
    for _ in range(30):
        for number in range(len(ones.open)):
            ones.due.append((ones.open[number], Outcome.FAILED))
        ones.open.clear()
        run(clock, 1, first, second)
    assert others.ids() == ["theirs"]
