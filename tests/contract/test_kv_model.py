"""Random sequences of operations, and the passing of time, must give what plain dictionaries give."""

from dataclasses import dataclass, field
from math import inf
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bff.kv import Batch, KeyValue
from tests.contract.backends import Backend
from tests.fuzz import examples

# Lives and pauses are far apart from each other, so that the real milliseconds of a run decide nothing.
LIVES = st.sampled_from([None, 1000.0, 2000.0, 3000.0])
PAUSES = st.sampled_from([500.0, 1000.0])
KEYS = st.sampled_from(["a", "b", "i:a"])
VALUES = st.sampled_from([b"", b"1", b"2"])
INDEXES = st.sampled_from(["a", "b"])
MEMBERS = st.sampled_from(["m", "n", "ö"])
SCORES = st.sampled_from([-inf, -1.0, 0.0, 0.5, 3.0, inf])


@dataclass
class Entry:
    value: Any
    ends: float = inf


@dataclass
class Model:
    """What a store holds, by the same rules and without a store."""

    now: float = 0
    values: dict[str, Entry] = field(default_factory=dict)
    indexes: dict[str, Entry] = field(default_factory=dict)
    log: list[bytes] = field(default_factory=list)
    reader: str | None = None
    taken: int = 0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.values = {key: entry for key, entry in self.values.items() if entry.ends > self.now}
        self.indexes = {name: entry for name, entry in self.indexes.items() if entry.ends > self.now}

    def get(self, key: str) -> bytes | None:
        return self.values[key].value if key in self.values else None

    def set(self, key: str, value: bytes, ttl: float | None) -> None:
        self.values[key] = Entry(value, inf if ttl is None else self.now + ttl)

    def compare_and_set(self, key: str, expected: bytes, value: bytes | None, ttl: float | None) -> bool:
        if self.get(key) != expected:
            return False
        if value is None:
            del self.values[key]
        elif ttl is None:
            self.values[key].value = value
        else:
            self.set(key, value, ttl)
        return True

    def index_add(self, index: str, member: str, score: float, only_present: bool, ttl: float | None) -> None:
        entry = self.indexes.get(index, Entry({}))
        if member in entry.value or not only_present:
            entry.value[member] = score
            self.indexes[index] = entry
        if ttl is not None and index in self.indexes:
            entry.ends = max(self.now + ttl, 0 if entry.ends == inf else entry.ends)

    def index_remove(self, index: str, member: str) -> bool:
        entry = self.indexes.get(index)
        if entry is None or entry.value.pop(member, None) is None:
            return False
        if not entry.value:
            del self.indexes[index]
        return True

    def index_range(self, index: str, low: float, high: float) -> list[tuple[str, float]]:
        scores = self.indexes[index].value if index in self.indexes else {}
        found = [(member, score) for member, score in scores.items() if low <= score <= high]
        return sorted(found, key=lambda pair: (pair[1], pair[0].encode()))

    def log_append(self, values: list[bytes], limit: int) -> tuple[int, int]:
        self.log += values
        dropped = max(0, len(self.log) - limit)
        self._shorten(dropped)
        return len(self.log), dropped

    def log_take(self, reader: str, count: int) -> list[bytes] | None:
        if reader != self.reader:
            return None
        entries = self.log[self.taken : self.taken + count]
        self.taken += len(entries)
        return entries

    def log_acknowledge(self, count: int) -> int:
        removed = min(count, len(self.log))
        self._shorten(removed)
        return removed

    def _shorten(self, removed: int) -> None:
        del self.log[:removed]
        self.taken = max(0, self.taken - removed)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.model = Model()
        self.kv: KeyValue = backend.fresh()

    @rule(seconds=PAUSES)
    def pass_time(self, seconds: float) -> None:
        self.backend.advance(seconds)
        self.model.pass_time(seconds)

    @rule(key=KEYS, value=VALUES, ttl=LIVES)
    def set(self, key: str, value: bytes, ttl: float | None) -> None:
        self.kv.set(key, value, ttl)
        self.model.set(key, value, ttl)

    @rule(key=KEYS, value=VALUES, ttl=LIVES)
    def set_if_absent(self, key: str, value: bytes, ttl: float | None) -> None:
        absent = self.model.get(key) is None
        if absent:
            self.model.set(key, value, ttl)
        assert self.kv.set_if_absent(key, value, ttl) is absent

    @rule(key=KEYS, expected=VALUES, value=VALUES | st.none(), ttl=LIVES)
    def compare_and_set(self, key: str, expected: bytes, value: bytes | None, ttl: float | None) -> None:
        answer = self.model.compare_and_set(key, expected, value, ttl)
        assert self.kv.compare_and_set(key, expected, value, ttl) is answer

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.kv.delete(key) is (self.model.values.pop(key, None) is not None)

    @rule(index=INDEXES, member=MEMBERS, score=SCORES, only_present=st.booleans(), ttl=LIVES)
    def index_add(self, index: str, member: str, score: float, only_present: bool, ttl: float | None) -> None:
        self.model.index_add(index, member, score, only_present, ttl)
        batch = Batch().index_add(index, member, score, only_present=only_present, ttl=ttl)
        assert self.kv.execute(batch) == [None]

    @rule(index=INDEXES, member=MEMBERS, key=KEYS, value=VALUES)
    def batch(self, index: str, member: str, key: str, value: bytes) -> None:
        score = dict(self.model.index_range(index, -inf, inf)).get(member)
        before, removed = self.model.get(key), self.model.index_remove(index, member)
        self.model.set(key, value, None)
        batch = Batch().get(key).index_score(index, member).index_remove(index, member).set(key, value)
        assert self.kv.execute(batch) == [before, score, removed, None]

    @rule(
        index=INDEXES,
        low=SCORES,
        high=SCORES,
        limit=st.integers(0, 3),
        offset=st.integers(0, 2),
        descending=st.booleans(),
    )
    def index_range(self, index: str, low: float, high: float, limit: int, offset: int, descending: bool) -> None:
        expected = self.model.index_range(index, low, high)
        found = self.kv.index_range(index, low, high, limit, offset=offset, descending=descending)
        assert found == (expected[::-1] if descending else expected)[offset:][:limit]
        assert self.kv.index_count(index, low, high) == len(expected)

    @rule(values=st.lists(VALUES, max_size=3), limit=st.integers(1, 5))
    def log_append(self, values: list[bytes], limit: int) -> None:
        assert self.kv.log_append("log", values, limit) == self.model.log_append(values, limit)

    @rule(reader=st.sampled_from(["r", "s"]))
    def log_open(self, reader: str) -> None:
        self.kv.log_open("log", reader)
        self.model.reader, self.model.taken = reader, 0

    @rule(reader=st.sampled_from(["r", "s"]), count=st.integers(1, 3), kept=st.booleans())
    def log_take(self, reader: str, count: int, kept: bool) -> None:
        """kept: not acknowledged, which only the oldest entries are here."""
        oldest = self.model.taken == 0
        entries, expected = self.kv.log_read("log", reader, count), self.model.log_take(reader, count)
        assert (None if entries is None else [entry.value for entry in entries]) == expected
        if entries and oldest and not kept:
            removed = self.model.log_acknowledge(len(entries))
            assert self.kv.log_acknowledge("log", [entry.id for entry in entries]) == removed

    @invariant()
    def same(self) -> None:
        for key in ("a", "b", "i:a"):
            assert self.kv.get(key) == self.model.get(key)
        assert self.kv.log_length("log") == len(self.model.log)
        for index in ("a", "b"):
            assert self.kv.index_range(index, -inf, inf, 10) == self.model.index_range(index, -inf, inf)


def test_behaves_like_dictionaries(backend: Backend) -> None:
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(backend)

    run_state_machine_as_test(
        Machine,
        settings=settings(examples(50), stateful_step_count=25, derandomize=True, database=None),
    )
