"""In order, at least once, by one at a time: what becomes of events when carriers, workers and the store fail."""

import logging

import pytest

from bff.errors import StoreUnavailable
from bff.events import relay as delivery_module
from bff.events.drops import DroppedEvents
from bff.events.envelope import CloudEvent
from bff.events.model import EventType
from bff.events.outbox import LOG, Outbox
from bff.events.publisher import Outcome
from bff.events.relay import LEASE, TURN
from tests.clock import Clock
from tests.flows.store import WatchedStore
from tests.unit.events.support import LOGIN, Told, relay
from tests.unit.support import counted


def happened(box: Outbox, *sessions: str) -> None:
    for session in sessions:
        box.emit(EventType.LOGIN_SUCCEEDED, {**LOGIN, "session": session})


class TestDelivered:
    def test_in_order_and_then_gone(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        publisher = Told()
        one = relay(kv, box, publisher, clock)
        happened(box, "1", "2", "3")
        one.run()
        assert publisher.ids() == ["1", "2", "3"]
        assert kv.log_length(LOG) == 0
        one.run()
        assert publisher.ids() == ["1", "2", "3"], "once"

    def test_more_than_one_batch_in_one_turn(
        self, kv: WatchedStore, box: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery_module, "BATCH", 2)
        publisher, names = Told(), [str(number) for number in range(7)]
        happened(box, *names)
        relay(kv, box, publisher, clock).run()
        assert publisher.ids() == names

    def test_not_acknowledged_before_the_carrier_says_so(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        publisher, begun = Told(settles=None), clock.now
        one = relay(kv, box, publisher, clock)
        happened(box, "1", "2")
        one.run()
        assert kv.log_length(LOG) == 2
        assert clock.now - begun == pytest.approx(TURN, abs=0.1), "a turn ends"
        publisher.settle(0, Outcome.DELIVERED)
        one.run()
        assert kv.log_length(LOG) == 1
        publisher.settle(1, Outcome.DELIVERED)
        one.run()
        assert kv.log_length(LOG) == 0
        assert publisher.ids() == ["1", "2"]

    def test_only_so_many_are_under_way(
        self, kv: WatchedStore, box: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery_module, "WINDOW", 3)
        publisher = Told(settles=None)
        one = relay(kv, box, publisher, clock)
        happened(box, "1", "2", "3", "4", "5")
        one.run()
        assert publisher.ids() == ["1", "2", "3"]
        publisher.settle(0, Outcome.DELIVERED)
        one.run()
        assert publisher.ids() == ["1", "2", "3", "4"]

    def test_what_is_derived_belongs_to_its_event(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        publisher = Told(settles=None)
        one = relay(kv, box, publisher, clock)
        one._derive = lambda event: [CloudEvent(event.topic, event.key, event.content | {"id": "derived"})]
        happened(box, "1")
        one.run()
        assert [event.content["id"] == "derived" for event in publisher.sent] == [False, True]
        publisher.settle(0, Outcome.DELIVERED)
        one.run()
        assert kv.log_length(LOG) == 1
        publisher.settle(1, Outcome.DELIVERED)
        one.run()
        assert kv.log_length(LOG) == 0


class TestCarrierFails:
    def test_everything_from_there_on_is_sent_again(
        self, kv: WatchedStore, box: Outbox, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        publisher = Told(settles=None)
        one = relay(kv, box, publisher, clock)
        happened(box, "1", "2", "3")
        one.run()
        resets = publisher.resets
        publisher.settle(0, Outcome.DELIVERED)
        publisher.settle(1, Outcome.FAILED)
        one.run()
        assert publisher.resets == resets + 1
        assert publisher.ids() == ["1", "2", "3"], "after a moment's rest"
        assert "event_delivery_failed" in caplog.text
        happened(box, "4")
        publisher.settles = Outcome.DELIVERED
        one.run()
        assert publisher.ids() == ["1", "2", "3", "2", "3", "4"]
        assert publisher.again == [False, False, False, True, True, False]
        assert publisher.sent[1].content == publisher.sent[3].content, "with the same id"
        assert kv.log_length(LOG) == 0

    def test_what_is_said_of_those_before_is_heard_no_more(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        publisher = Told(settles=None)
        one = relay(kv, box, publisher, clock)
        happened(box, "1", "2")
        one.run()
        publisher.settle(0, Outcome.FAILED)
        one.run()
        publisher.settle(1, Outcome.DELIVERED)
        one.run()
        assert kv.log_length(LOG) == 2
        assert len(publisher.sent) == 4

    def test_what_is_refused_for_ever_is_lost_aloud_and_stops_nobody(
        self, kv: WatchedStore, box: Outbox, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        publisher, before = Told(settles=Outcome.REFUSED), counted("bff_events_lost_total", reason="refused")
        happened(box, "1", "2")
        relay(kv, box, publisher, clock).run()
        assert counted("bff_events_lost_total", reason="refused") == before + 2
        assert kv.log_length(LOG) == 0
        assert [record.levelno for record in caplog.records if record.message == "events_lost"] == [logging.ERROR]

    def test_an_entry_that_cannot_be_read_stops_nobody(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        kv.log_append(LOG, [b"what is this"], 100)
        publisher = Told()
        happened(box, "1")
        relay(kv, box, publisher, clock).run()
        assert publisher.ids() == ["1"]
        assert kv.log_length(LOG) == 1, "another worker may have the key"


class TestOneAtATime:
    def test_the_others_wait_for_the_lease(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        first, second = Told(), Told()
        one, two = relay(kv, box, first, clock), relay(kv, box, second, clock)
        one.run()
        two.run()
        happened(box, "1")
        two.run()
        assert second.ids() == []
        one.run()
        assert first.ids() == ["1"]

    def test_a_worker_that_was_killed_loses_nothing(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        first, second = Told(settles=None), Told()
        happened(box, "1", "2")
        relay(kv, box, first, clock).run()  # and never again
        two = relay(kv, box, second, clock)
        two.run()
        assert second.ids() == []
        clock.now += LEASE
        two.run()
        assert second.ids() == ["1", "2"]
        assert [each.content["id"] for each in second.sent] == [each.content["id"] for each in first.sent]

    def test_a_worker_that_stood_still_delivers_no_more(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        first, second = Told(settles=None), Told(settles=None)
        one, two = relay(kv, box, first, clock), relay(kv, box, second, clock)
        happened(box, "1")
        one.run()
        clock.now += LEASE
        two.run()
        happened(box, "2")
        one.run()
        assert (first.ids(), second.ids()) == (["1"], ["1"])
        two.run()
        assert second.ids() == ["1", "2"]

    def test_a_worker_that_stood_still_in_the_midst_of_its_turn(
        self, kv: WatchedStore, box: Outbox, clock: Clock
    ) -> None:
        """It has the lease no longer, and has not asked yet: the log itself refuses it."""
        first, second = Told(settles=None), Told(settles=None)
        one, two = relay(kv, box, first, clock), relay(kv, box, second, clock)
        happened(box, "1")
        one.run()

        def overtaken(_seconds: float) -> None:
            one._wait = lambda seconds: None
            clock.now += LEASE
            two.run()
            happened(box, "2")

        one._wait = overtaken
        one.run()
        assert first.ids() == ["1"]
        assert second.ids() == ["1"]

    def test_one_that_ends_hands_over_at_once(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        first, second = Told(settles=None), Told()
        one, two = relay(kv, box, first, clock), relay(kv, box, second, clock)
        happened(box, "1", "2")
        one.run()
        first.settle(0, Outcome.DELIVERED)
        begun = clock.now
        one.close()
        assert first.closed
        assert clock.now - begun == pytest.approx(TURN, abs=0.1), "it gave the other one a moment"
        two.run()
        assert second.ids() == ["2"]


class TestStoreFails:
    def test_goes_on_when_it_is_back(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        publisher = Told()
        one = relay(kv, box, publisher, clock)
        happened(box, "1")
        one.run()
        happened(box, "2")
        kv.down = True
        with pytest.raises(StoreUnavailable):
            one.run()
        kv.down = False
        one.run()
        assert publisher.ids() == ["1", "2"]

    def test_entries_that_were_taken_on_an_answer_that_never_came(
        self, kv: WatchedStore, box: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publisher = Told()
        one = relay(kv, box, publisher, clock)
        one.run()
        happened(box, "1", "2")

        def cut_off(log: str, reader: str, count: int) -> None:
            kv.inner.log_read(log, reader, count)
            raise StoreUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(kv, "log_read", cut_off)
            with pytest.raises(StoreUnavailable):
                one.run()
        happened(box, "3")
        one.run()
        one.run()
        assert publisher.ids() == ["1", "2", "3"]

    def test_a_log_that_cannot_be_opened_anew(
        self, kv: WatchedStore, box: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(log: str, reader: str) -> None:
            raise StoreUnavailable

        publisher = Told(settles=None)
        one = relay(kv, box, publisher, clock)
        happened(box, "1", "2")
        one.run()
        publisher.settle(0, Outcome.FAILED)
        with monkeypatch.context() as patch:
            patch.setattr(kv, "log_open", away)
            with pytest.raises(StoreUnavailable):
                one.run()
        happened(box, "3")
        publisher.settles = Outcome.DELIVERED
        one.run()
        one.run()
        assert publisher.ids() == ["1", "2", "1", "2", "3"]

    def test_delivered_but_not_acknowledged_comes_again(
        self, kv: WatchedStore, box: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(log: str, ids: list[str]) -> int:
            raise StoreUnavailable

        publisher = Told()
        one = relay(kv, box, publisher, clock)
        happened(box, "1")
        with monkeypatch.context() as patch:
            patch.setattr(kv, "log_acknowledge", away)
            with pytest.raises(StoreUnavailable):
                one.run()
        one.run()
        assert publisher.ids() == ["1"], "it is remembered as delivered"
        assert kv.log_length(LOG) == 0

    def test_a_store_that_has_lost_everything(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        publisher = Told()
        one = relay(kv, box, publisher, clock)
        one.run()
        kv.log_open(LOG, "nobody")  # as after FLUSHALL: the log is not this reader's
        kv.delete("lock:event-delivery")
        happened(box, "1")
        one.run()
        one.run()
        assert publisher.ids() == ["1"]


def test_what_nobody_took_for_too_long_is_lost_aloud(kv: WatchedStore, box: Outbox, clock: Clock) -> None:
    publisher, before = Told(settles=None), counted("bff_events_lost_total", reason="too_old")
    one = relay(kv, box, publisher, clock, max_age=100)
    happened(box, "1")
    one.run()
    clock.now += 101
    happened(box, "2")
    one.run()
    assert counted("bff_events_lost_total", reason="too_old") == before + 1
    assert kv.log_length(LOG) == 1


def test_losses_are_said_once_in_a_while(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    drops = DroppedEvents(clock)
    for _ in range(5):
        drops.dropped("refused", 2)
    drops.dropped("too_old", 0)
    drops.deferred(1)
    clock.now += 10
    drops.dropped("refused", 1)
    said = [(record.message, record.__dict__["reason"], record.__dict__["events"]) for record in caplog.records]
    assert said == [
        ("events_lost", "refused", 2),
        ("events_not_durable", "store_unavailable", 1),
        ("events_lost", "refused", 9),
    ]
