"""What is durable is in the store when `emit` returns, whatever else goes on; what is not waits; nothing is silent."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from bff.errors import StoreUnavailable
from bff.events import outbox as outbox_module
from bff.events import sample as sample_module
from bff.events.model import EVENTS, MARK, EventOrigin, EventType
from bff.events.outbox import LOG, SAMPLED, SHARE, Outbox
from bff.events.sample import PER_SECOND
from bff.kv import Appended
from bff.observability import logs
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.store import WatchedStore
from tests.unit.events.support import FAILURE, LOGIN, kept, outbox
from tests.unit.support import counted


def lost(reason: str) -> float:
    return counted("bff_events_lost_total", reason=reason)


def sampled_out(reason: str) -> float:
    return counted("bff_events_sampled_out_total", reason=reason)


def types(kv: WatchedStore, box: Outbox) -> list[str]:
    return [str(event.content["type"]) for event in kept(kv, box)]


def sessions(kv: WatchedStore, box: Outbox) -> list[str]:
    return [event.content["data"]["session"] for event in kept(kv, box)]


def login(box: Outbox, session: str) -> None:
    box.emit(EventType.LOGIN_SUCCEEDED, {**LOGIN, "session": session})


class TestDurable:
    def test_is_in_the_store_at_once(self, kv: WatchedStore, box: Outbox) -> None:
        login(box, "s1")
        assert sessions(kv, box) == ["s1"]

    def test_takes_along_what_waited_in_order(self, kv: WatchedStore, box: Outbox) -> None:
        box.emit(EventType.SESSION_CREATED, {**LOGIN, "user": "u"})
        assert kv.log_length(LOG) == 0
        login(box, "s1")
        assert types(kv, box) == ["session.created", "auth.login.succeeded"]

    def test_knows_the_request(self, kv: WatchedStore, box: Outbox) -> None:
        before = logs.correlation_id.set("correlation-7")
        login(box, "s1")
        logs.correlation_id.reset(before)
        assert kept(kv, box)[0].content["correlationid"] == "correlation-7"

    def test_of_many_threads_each_finds_its_own_there(self, kv: WatchedStore, box: Outbox) -> None:
        def one(number: int) -> bool:
            before = kv.log_length(LOG)
            login(box, str(number))
            return kv.log_length(LOG) > before

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(one, range(200)))
        assert sorted(map(int, sessions(kv, box))) == list(range(200))

    def test_threads_write_together(self, kv: WatchedStore, clock: Clock) -> None:
        """While one writes, seven more come; the next one writes for all of them."""
        slow = Slow(kv)
        box = outbox(slow, clock)
        with ThreadPoolExecutor(8) as pool:
            first = pool.submit(login, box, "0")
            assert slow.writing.wait(10)
            others = [pool.submit(login, box, str(number)) for number in range(1, 8)]
            assert eventually(lambda: box._emitted == 8)
            slow.go_on.set()
            for each in [first, *others]:
                each.result()
        assert [len(values) for values in slow.written] == [1, 7]


class Slow(WatchedStore):
    """The first append waits for `go_on`."""

    def __init__(self, inner: WatchedStore) -> None:
        super().__init__(inner)
        self.writing, self.go_on = threading.Event(), threading.Event()
        self.written: list[Sequence[bytes]] = []

    def log_append(self, log: str, values: Sequence[bytes], limit: int) -> Appended:
        self.writing.set()
        self.go_on.wait(10)
        self.written.append(values)
        return super().log_append(log, values, limit)


class TestOthers:
    def test_wait_for_the_flush(self, kv: WatchedStore, box: Outbox) -> None:
        box.emit(EventType.LOGIN_FAILED, FAILURE)
        box.emit(EventType.SESSION_CREATED, {**LOGIN, "user": "u"})
        assert (kv.log_length(LOG), kv.log_length(SAMPLED)) == (0, 0)
        box.flush()
        assert types(kv, box) == ["session.created", "auth.login.failed"]
        assert counted("bff_outbox_depth") == 2


class TestOfStrangers:
    def test_only_some_of_each_second_are_kept(self, kv: WatchedStore, box: Outbox, clock: Clock) -> None:
        before = sampled_out("rate")
        for second in range(3):
            clock.now = 1000 + second
            for _ in range(50):
                box.emit(EventType.LOGIN_FAILED, FAILURE)
                box.emit(EventType.RETURN_URL_REFUSED, {})
            box.flush()
        assert types(kv, box).count("auth.login.failed") == 3 * PER_SECOND
        assert types(kv, box).count("security.return_url.refused") == 3 * PER_SECOND
        assert sampled_out("rate") == before + 2 * 3 * (50 - PER_SECOND)

    def test_none_of_them_takes_the_place_of_another(self, kv: WatchedStore, clock: Clock) -> None:
        """With brokers away: as many of them as there may be, before, between and after the others."""
        box, lost_before, before = outbox(kv, clock, limit=100), lost("outbox_full"), sampled_out("full")
        for number in range(100):
            clock.now += 1
            for _ in range(20):
                box.emit(EventType.LOGIN_FAILED, FAILURE)
                box.emit(EventType.FRONTCHANNEL_LOGOUT, {"idp": "default", "sessions": "0"})
            login(box, str(number))
            box.flush()
        kept_sessions = [event.content["data"]["session"] for event in kept(kv, box, LOG)]
        assert kept_sessions == [str(number) for number in range(100)]
        assert kv.log_length(SAMPLED) == 100 // SHARE
        assert (lost("outbox_full"), sampled_out("full")) == (lost_before, before + 100 * 2 * PER_SECOND - 10)

    def test_none_of_them_takes_the_place_of_another_in_memory(
        self, kv: WatchedStore, box: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox_module, "BUFFER", 5)
        before, kv.down = lost("buffer_full"), True
        for number in range(5):
            login(box, str(number))
            for _ in range(sample_module.BUFFER):
                clock.now += 1
                box.emit(EventType.LOGIN_FAILED, FAILURE)
        assert len(box._sample) == sample_module.BUFFER
        kv.down = False
        box.flush()
        assert [event.content["data"]["session"] for event in kept(kv, box, LOG)] == ["0", "1", "2", "3", "4"]
        assert lost("buffer_full") == before

    def test_nobody_waits_for_the_store(self, kv: WatchedStore, box: Outbox) -> None:
        for event_type in EventType:
            if EVENTS[event_type].origin is EventOrigin.STRANGER:
                box.emit(event_type, {})
        assert kv.writes == []

    def test_what_the_store_does_not_take_waits(self, kv: WatchedStore, box: Outbox) -> None:
        box.emit(EventType.LOGIN_FAILED, FAILURE)
        kv.down = True
        with pytest.raises(StoreUnavailable):
            box.flush()
        kv.down = False
        box.flush()
        assert types(kv, box) == ["auth.login.failed"]

    def test_a_logout_that_ended_a_session_is_the_providers(self, kv: WatchedStore, box: Outbox) -> None:
        box.emit(EventType.FRONTCHANNEL_LOGOUT, {"idp": "default", "sessions": "1"})
        assert kv.log_length(LOG) == 1


class TestBounds:
    def test_of_too_many_the_oldest_are_lost_and_that_is_said(
        self, kv: WatchedStore, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        box, before = outbox(kv, clock, limit=100), lost("outbox_full")
        for number in range(103):
            login(box, str(number))
        assert sessions(kv, box) == [str(number) for number in range(3, 103)]
        assert lost("outbox_full") == before + 3
        said = [record for record in caplog.records if record.message == "events_lost"]
        assert [(record.levelno, record.__dict__["events"]) for record in said] == [(logging.ERROR, 1)]
        clock.now += 10
        login(box, "more")
        assert caplog.records[-1].__dict__["events"] == 3, "with those that were not said"

    def test_values_that_cannot_be_said(self, kv: WatchedStore, box: Outbox) -> None:
        box.emit(EventType.LOGIN_SUCCEEDED, {"session": "\ud800", "idp": object()})
        assert kept(kv, box)[0].content["data"] == {"session": MARK, "idp": MARK}

    def test_an_entry_that_no_key_opens(self, kv: WatchedStore, box: Outbox) -> None:
        """Nobody has lost it yet."""
        before = counted("bff_events_lost_total")
        kv.log_append(LOG, [b"", b"something else"], 100)
        login(box, "s1")
        assert sessions(kv, box) == ["s1"]
        assert counted("bff_events_lost_total") == before

    def test_the_store_holds_nothing_that_can_be_read(self, kv: WatchedStore, box: Outbox) -> None:
        login(box, "a-session")
        kv.log_open(LOG, "r")
        assert b"a-session" not in (kv.log_read(LOG, "r", 1) or [])[0].value


class TestStoreAway:
    def test_costs_nobody_an_answer_and_no_event(
        self, kv: WatchedStore, box: Outbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        late, kv.down = counted("bff_events_late_total"), True
        for number in range(3):
            login(box, str(number))
        box.emit(EventType.SESSION_CREATED, {**LOGIN, "session": "-", "user": "u"})
        assert counted("bff_events_late_total") == late + 3, "each once, however often it is tried"
        assert "events_not_durable" in caplog.text
        with pytest.raises(StoreUnavailable):
            box.flush()
        kv.down = False
        login(box, "3")
        assert [event.content["data"].get("session", "-") for event in kept(kv, box)] == ["0", "1", "2", "-", "3"]
        assert counted("bff_events_late_total") == late + 3

    def test_memory_is_bounded_and_keeps_what_is_durable(
        self, kv: WatchedStore, box: Outbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox_module, "BUFFER", 5)
        before, kv.down = lost("buffer_full"), True
        for number in range(7):
            login(box, str(number))
        for _ in range(3):
            box.emit(EventType.SESSION_CREATED, {**LOGIN, "user": "u"})
        assert lost("buffer_full") == before + 5
        kv.down = False
        box.flush()
        assert sessions(kv, box) == ["2", "3", "4", "5", "6"]

    def test_many_events_are_written_in_parts(
        self, kv: WatchedStore, box: Outbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox_module, "AT_ONCE", 2)
        kv.down = True
        for number in range(5):
            login(box, str(number))
        kv.down = False
        box.flush()
        assert sessions(kv, box) == ["0", "1", "2", "3", "4"]

    def test_those_who_wait_do_not_try_one_after_the_other(self, kv: WatchedStore, clock: Clock) -> None:
        slow = Slow(kv)
        box = outbox(slow, clock)
        with ThreadPoolExecutor(8) as pool:
            first = pool.submit(login, box, "0")
            assert slow.writing.wait(10)
            others = [pool.submit(login, box, str(number)) for number in range(1, 8)]
            assert eventually(lambda: box._emitted == 8)
            slow.down = True
            slow.go_on.set()
            for each in [first, *others]:
                each.result()
        assert len(slow.written) == 2, "the first one, and one for all who came meanwhile"

    def test_what_is_left_at_the_end_is_said(self, kv: WatchedStore, box: Outbox) -> None:
        before, kv.down = lost("stopped"), True
        login(box, "s1")
        box.close()
        assert lost("stopped") == before + 1
