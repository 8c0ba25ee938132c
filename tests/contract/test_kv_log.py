"""Logs, as every store must keep them: in order, until acknowledged, for one reader at a time, within bounds."""

import pytest

from bff.kv import Appended, KeyValue
from tests.contract.backends import Backend, eventually
from tests.contract.test_kv import processes, together

ROOMY = 1000


def append(kv: KeyValue, *values: bytes, log: str = "l", limit: int = ROOMY) -> Appended:
    return kv.log_append(log, values, limit)


def taken(kv: KeyValue, reader: str = "r", count: int = 100, log: str = "l") -> list[bytes] | None:
    entries = kv.log_read(log, reader, count)
    return None if entries is None else [entry.value for entry in entries]


class TestOrder:
    def test_entries_are_taken_once_and_in_order(self, kv: KeyValue) -> None:
        kv.log_open("l", "r")
        assert append(kv, b"1", b"2") == (2, 0)
        assert append(kv, b"3") == (3, 0)
        assert taken(kv, count=2) == [b"1", b"2"]
        assert taken(kv, count=2) == [b"3"]
        assert taken(kv) == []
        append(kv, b"4")
        assert taken(kv) == [b"4"]
        assert kv.log_length("l") == 4, "taking removes nothing"

    @pytest.mark.parametrize("value", [b"", b"\0", bytes(range(256)), b"x" * 100_000])
    def test_any_bytes(self, kv: KeyValue, value: bytes) -> None:
        append(kv, value)
        kv.log_open("l", "r")
        assert taken(kv) == [value]

    def test_nothing_appended(self, kv: KeyValue) -> None:
        assert append(kv) == (0, 0)
        assert kv.log_length("l") == 0
        assert kv.log_acknowledge("l", []) == 0
        assert kv.log_acknowledge("l", ["17"]) == 0
        assert kv.log_trim("l", 0) == 0

    def test_logs_are_apart_and_no_keys(self, kv: KeyValue) -> None:
        append(kv, b"1")
        append(kv, b"2", log="other")
        kv.set("l", b"v")
        kv.log_open("l", "r")
        kv.log_open("other", "s")
        assert taken(kv) == [b"1"]
        assert taken(kv, "s", log="other") == [b"2"]
        assert taken(kv, "r", log="other") is None

    def test_many_writers_lose_nothing_and_keep_their_own_order(self, kv: KeyValue, backend: Backend) -> None:
        stores = [backend.open() for _ in range(3)]

        def write(number: int) -> None:
            for each in range(20):
                append(stores[number], f"{number}-{each}a".encode(), f"{number}-{each}b".encode())

        together(3, write)
        kv.log_open("l", "r")
        found = [value.decode() for value in taken(kv, count=200) or []]
        assert len(found) == len(set(found)) == 120
        for number in range(3):
            own = [value for value in found if value.startswith(f"{number}-")]
            assert own == [f"{number}-{each}{half}" for each in range(20) for half in "ab"]
        assert all(found[place + 1] == value[:-1] + "b" for place, value in enumerate(found) if value.endswith("a"))


class TestReader:
    def test_nobody_reads_before_opening(self, kv: KeyValue) -> None:
        append(kv, b"1")
        assert taken(kv) is None

    def test_a_log_can_be_opened_before_there_is_anything(self, kv: KeyValue) -> None:
        kv.log_open("l", "r")
        assert taken(kv) == []
        assert kv.log_length("l") == 0

    def test_what_was_not_acknowledged_is_there_again(self, kv: KeyValue) -> None:
        append(kv, b"1", b"2", b"3")
        kv.log_open("l", "r")
        first = kv.log_read("l", "r", 2) or []
        assert kv.log_acknowledge("l", [first[1].id]) == 1
        assert kv.log_acknowledge("l", [first[1].id]) == 0
        kv.log_open("l", "r")
        assert taken(kv) == [b"1", b"3"], "in order, whoever opens it"
        kv.log_open("l", "s")
        assert taken(kv, "s") == [b"1", b"3"]

    def test_a_former_reader_takes_nothing_more(self, kv: KeyValue, backend: Backend) -> None:
        """As a worker that stood still while another took over."""
        other = backend.open()
        append(kv, b"1", b"2", b"3")
        kv.log_open("l", "mine")
        mine = kv.log_read("l", "mine", 1) or []
        other.log_open("l", "theirs")
        assert taken(kv, "mine") is None
        assert taken(other, "theirs") == [b"1", b"2", b"3"]
        assert kv.log_acknowledge("l", [mine[0].id]) == 1, "what it has delivered is delivered"
        assert kv.log_length("l") == 2

    def test_an_empty_log_is_still_its_readers(self, kv: KeyValue) -> None:
        append(kv, b"1")
        kv.log_open("l", "r")
        entries = kv.log_read("l", "r", 1) or []
        kv.log_acknowledge("l", [entries[0].id])
        assert kv.log_length("l") == 0
        append(kv, b"2")
        assert taken(kv) == [b"2"]

    def test_workers_share_it(self, backend: Backend, kv: KeyValue) -> None:
        counted = sum(processes(backend, [("log", "l", 50), ("log", "l", 50)]))
        kv.log_open("l", "r")
        found = taken(kv, count=200) or []
        assert len(found) == counted == 100
        assert len({value.partition(b"-")[0] for value in found}) == 2


class TestBounds:
    def test_of_too_many_the_oldest_fall_out(self, kv: KeyValue) -> None:
        assert append(kv, b"1", b"2", b"3", limit=3) == (3, 0)
        assert append(kv, b"4", b"5", limit=3) == (3, 2)
        kv.log_open("l", "r")
        assert taken(kv) == [b"3", b"4", b"5"]
        assert append(kv, *(b"%d" % number for number in range(10)), limit=3) == (3, 10)
        assert taken(kv) == [b"7", b"8", b"9"]
        assert kv.log_length("l") == 3

    def test_room_is_made_by_acknowledging(self, kv: KeyValue) -> None:
        append(kv, b"1", b"2", limit=2)
        kv.log_open("l", "r")
        entries = kv.log_read("l", "r", 2) or []
        assert kv.log_acknowledge("l", [entry.id for entry in entries]) == 2
        assert append(kv, b"3", b"4", limit=2) == (2, 0)

    def test_what_is_too_old_goes(self, kv: KeyValue) -> None:
        append(kv, b"1", b"2")
        assert kv.log_trim("l", 1000) == 0
        assert kv.log_length("l") == 2
        gone = 0

        def all_gone() -> bool:
            nonlocal gone
            gone += kv.log_trim("l", 0.01)  # what was appended later may become too old later
            return gone == 2

        assert eventually(all_gone)
        assert kv.log_length("l") == 0
        assert append(kv, b"3") == (1, 0)
        kv.log_open("l", "r")
        assert taken(kv) == [b"3"]
