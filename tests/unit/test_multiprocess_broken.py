"""Files that are truncated, overwritten or never were ours: a scrape survives them, and keeps what can be read."""

import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.observability.multiprocess.files import entry, header, parse_name
from bff.observability.multiprocess.folder import Found
from bff.observability.multiprocess.mending import mend
from bff.observability.multiprocess.slots import Slot
from tests.fuzz import examples
from tests.unit.value_files import (
    Process,
    Scrapers,
    counter,
    difference,
    every_way,
    expected,
    gauge,
    histogram,
    nobody,
    samples,
    scraped,
    stock,
)

HEALTHY = {"path": "/healthy"}
LABELS = {"path": "/a"}
OTHER = "200"  # an owner whose files count, although it is none that holds a slot
GARBAGE = b"\xff\xfe garbage \x00" * 8


def file_of(*entries: bytes, used: int | None = None) -> bytes:
    body = b"".join(entries)
    return header(8 + len(body) if used is None else used) + body


def key(*parts: object) -> bytes:
    return entry(json.dumps(parts).encode(), 7.0)


GOOD = key("c", "c_total", LABELS, "Help.")
WITHOUT_LABELS_TEXT = key("c", "c_total", {"path": 1}, "Help.")
# Each with what stays counted of it: the good entry's 7, or nothing.
BROKEN: dict[str, tuple[bytes, float]] = {
    "truncated in an entry": (file_of(GOOD, GOOD)[:-20], 7),
    "truncated behind the header": (file_of(GOOD)[:8], 0),
    "header says more than there is": (file_of(GOOD, used=10_000), 7),
    "header says nearly everything": (file_of(GOOD, used=2**31 - 1), 7),
    "header ends inside an entry": (file_of(GOOD, used=30), 0),
    "header ends inside itself": (file_of(GOOD, used=3), 0),
    "header is negative": (file_of(GOOD, used=-5), 0),
    "garbage only": (GARBAGE, 0),
    "garbage behind good": (file_of(GOOD, GARBAGE), 7),
    "key of no length": (file_of(GOOD, struct.pack("=i", 0) + b" " * 28), 7),
    "key of negative length": (file_of(GOOD, struct.pack("=i", -9) + b" " * 28), 7),
    "key of absurd length": (file_of(GOOD, struct.pack("=i", 2**31 - 1) + b" " * 28), 7),
    "key is no JSON": (file_of(entry(b"no json"), GOOD), 7),
    "key is no UTF-8": (file_of(entry(b'["\xff"]'), GOOD), 7),
    "key is too short": (file_of(key("c", "c_total"), GOOD), 7),
    "key is too long": (file_of(key("c", "c_total", {}, "", ""), GOOD), 7),
    "key is a number": (file_of(entry(b"12345678"), GOOD), 7),
    "key is nested deeply": (file_of(entry(b"[" * 100_000), GOOD), 7),
    "labels are a list": (file_of(key("c", "c_total", ["path"], "Help."), GOOD), 7),
    "label is a number": (file_of(WITHOUT_LABELS_TEXT, GOOD), 7),
    "label has no name": (file_of(key("c", "c_total", {"": "x"}, "Help."), GOOD), 7),
    "metric has no name": (file_of(key("", "c_total", {}, "Help."), GOOD), 7),
    "sample has no name": (file_of(key("c", "", {}, "Help."), GOOD), 7),
    "help is missing": (file_of(key("c", "c_total", {}, None), GOOD), 7),
}


@pytest.fixture
def scrapers() -> Iterator[Scrapers]:
    with Scrapers() as found:
        yield found


@pytest.fixture
def healthy(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path, ours=True)
    for place in (counter(HEALTHY), counter(LABELS), *histogram(HEALTHY), gauge("max", HEALTHY)):
        process.add(place, 3)
    yield process
    process.close()


@pytest.mark.parametrize(("content", "kept"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("already_read", [False, True])
def test_set_aside_once_and_counted_as_far_as_it_is_readable(
    tmp_path: Path,
    scrapers: Scrapers,
    healthy: Process,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
    kept: float,
    already_read: bool,
) -> None:
    told: list[str] = []
    collectors = [scrapers.new(tmp_path, told.append) for _ in range(2)]
    path = tmp_path / f"counter_{OTHER}.db"
    if already_read:
        path.write_bytes(file_of())
        assert every_way(collectors[0])
    path.write_bytes(content)
    wanted = expected([healthy])
    wanted["c_total", frozenset(LABELS.items())] += kept
    for collector in (*collectors, *collectors, scrapers.new(tmp_path, told.append)):
        for found in every_way(collector):
            assert difference(found, wanted) == {}
    for found in stock(tmp_path):
        assert difference(found, wanted) == {}
    assert told == [path.name]
    assert [record.message for record in caplog.records] == ["metrics_file_quarantined"]
    assert path.with_suffix(".corrupt").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\0", b"\0" * 7, b"\0" * 8, b"\0" * 65536, file_of()])
def test_a_file_that_was_only_just_made_is_not_broken(
    tmp_path: Path, scrapers: Scrapers, healthy: Process, content: bytes
) -> None:
    path = tmp_path / f"counter_{OTHER}.db"
    path.write_bytes(content)
    collector = scrapers.new(tmp_path)
    assert difference(samples(collector.collect()), expected([healthy])) == {}
    path.write_bytes(file_of(GOOD))
    assert samples(collector.collect())["c_total", frozenset(LABELS.items())] == 10


@pytest.mark.parametrize("bound", ["", "x", "1,5", "0x10"])
def test_a_bound_that_is_no_number(tmp_path: Path, scrapers: Scrapers, healthy: Process, bound: str) -> None:
    told: list[str] = []
    wrong = key("h", "h_bucket", {**HEALTHY, "le": bound}, "Help.")
    right = key("h", "h_bucket", {**HEALTHY, "le": "1"}, "Help.")  # the same bucket as 1.0
    (tmp_path / f"histogram_{OTHER}.db").write_bytes(file_of(wrong, right))
    collector = scrapers.new(tmp_path, told.append)
    found = samples(collector.collect())
    assert found["h_bucket", frozenset({**HEALTHY, "le": "1.0"}.items())] == 3 + 3 + 7
    assert found["h_count", frozenset(HEALTHY.items())] == 4 * 3 + 7
    assert difference(found, samples(collector.collect())) == {}
    assert told == [f"histogram_{OTHER}.db"]


def test_half_a_surrogate_pair_is_shown_as_a_question_mark(tmp_path: Path, scrapers: Scrapers) -> None:
    """prometheus_client writes it into its file, and could then encode no page."""
    process = Process(tmp_path, ours=False)
    process.add(counter({"path": "a\ud800"}, help_text="\udfff"), 2)
    process.add(gauge("max", {"path": "\udc00b"}), 3)
    process.close()
    for found in every_way(scrapers.new(tmp_path)):
        assert found == {("c_total", frozenset({("path", "a?")})): 2, ("g_max", frozenset({("path", "?b")})): 3}


def test_names_that_prometheus_would_refuse_are_escaped(tmp_path: Path, scrapers: Scrapers) -> None:
    (tmp_path / "counter_100.db").write_bytes(file_of(key("a b\n", "a b\n_total", {"1 x": "y"}, "Help.")))
    page = scrapers.new(tmp_path).text(openmetrics=True, more=()).decode()
    assert page == '# HELP a_b_ Help.\n# TYPE a_b_ counter\na_b__total{__x="y"} 7.0\n# EOF\n'


@pytest.mark.parametrize("mode", ["livesum", "liveall", "all"])
def test_a_broken_gauge_of_one_process_goes_with_its_file(
    tmp_path: Path, scrapers: Scrapers, healthy: Process, mode: str
) -> None:
    told: list[str] = []
    with closing(Slot(tmp_path)) as slot:
        path = slot.path(f"gauge_{mode}_{{}}.db")
        path.write_bytes(file_of(key("g", "g", LABELS, "Help."), GARBAGE))
        collector = scrapers.new(tmp_path, told.append)
        assert every_way(collector)
        assert difference(samples(collector.collect()), expected([healthy])) == {}
    assert told == [path.name]
    assert not path.exists()


def test_what_is_whole_again_is_left_alone(tmp_path: Path, scrapers: Scrapers, healthy: Process) -> None:
    """Somebody else saw to it, or it never was broken: a writer may have been in the middle."""
    name = healthy.path("counter").name
    mend(tmp_path, Found(name, parse_name(name) or pytest.fail(name), 0), nobody)
    healthy.add(counter(LABELS), 1)
    assert difference(scraped(tmp_path), expected([healthy])) == {}


def test_without_space_a_broken_file_is_counted_where_it_is(
    tmp_path: Path,
    scrapers: Scrapers,
    healthy: Process,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    (tmp_path / f"counter_{OTHER}.db").write_bytes(file_of(GOOD, GARBAGE))
    collector = scrapers.new(tmp_path, told.append)

    def full(_: Path, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        for number in (1, 2, 3):
            healthy.add(counter(LABELS), 1)
            assert samples(collector.collect())["c_total", frozenset(LABELS.items())] == 3 + 7 + number
    assert told == []
    assert [record.message for record in caplog.records] == ["metrics_folder_unusable"]
    assert samples(collector.collect())["c_total", frozenset(LABELS.items())] == 3 + 7 + 3
    assert told == [f"counter_{OTHER}.db"]


@pytest.mark.parametrize(
    "how",
    [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere"), lambda path: path.symlink_to(path)],
    ids=["folder", "fifo", "dangling link", "circular link"],
)
def test_what_is_no_file_is_passed_over(
    tmp_path: Path, scrapers: Scrapers, healthy: Process, how: Callable[[Path], object]
) -> None:
    how(tmp_path / f"counter_{OTHER}.db")
    collector = scrapers.new(tmp_path)
    assert difference(samples(collector.collect()), expected([healthy])) == {}
    assert difference(samples(collector.collect()), expected([healthy])) == {}


@pytest.mark.parametrize(
    "name",
    ["counter.db", "counter_.db", "counter_1_2.db", "gauge_1.db", "gauge_max_1_2.db", "other_1.db", "counter_1.txt",
     "counter_archive-7.db", "counter_slot.db", "counter_slotx.db", "counter_slot99.db", "counter_\u00b2.db"],
)  # fmt: skip
def test_strange_names_break_nothing(tmp_path: Path, scrapers: Scrapers, healthy: Process, name: str) -> None:
    (tmp_path / name).write_bytes(file_of(key("x", "x_total", {}, "Help.")))
    collector = scrapers.new(tmp_path)
    wanted = expected([healthy])
    for _ in range(2):
        found = samples(collector.collect())
        assert difference({series: found[series] for series in wanted}, wanted) == {}


def test_a_folder_that_is_not_there(tmp_path: Path, scrapers: Scrapers, caplog: pytest.LogCaptureFixture) -> None:
    collector = scrapers.new(tmp_path / "gone")
    for _ in range(3):
        assert collector.text(openmetrics=True, more=()) == b"# EOF\n"
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("CRITICAL", "metrics_folder_unusable")
    ]


@examples(200)
@given(data=st.data())
def test_any_damage_to_a_file_leaves_the_others_alone(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name, Scrapers() as scrapers:
        folder = Path(name)
        good, bad = Process(folder, ours=True), Process(folder, ours=True)
        for place in histogram(HEALTHY):
            good.add(place, 3)
            bad.add(place, 2)
        for place in histogram(LABELS):
            bad.add(place, 1)
        bad.close()
        collectors = [scrapers.new(folder, lambda _: None) for _ in range(2)]
        assert collectors[0].text(openmetrics=False, more=())
        content = bytearray(bad.path("histogram").read_bytes().rstrip(b"\0"))
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(content)))
            damage = data.draw(st.binary(max_size=12) | st.just(b"\0" * 12) | st.just(b"\xff" * 12))
            content[start : start + data.draw(st.sampled_from([0, len(damage), len(content)]))] = damage
        bad.path("histogram").write_bytes(content)
        for collector in (*collectors, *collectors):
            assert collector.text(openmetrics=False, more=())
            assert collector.text(openmetrics=True, more=()).endswith(b"# EOF\n")
        with closing(Process(folder, ours=True)) as successor:
            assert successor.owner == bad.owner
            for place in histogram(HEALTHY):
                successor.add(place, 1)
        for collector in collectors:
            assert b'h_bucket{le="0.1",path="/healthy"}' in collector.text(openmetrics=False, more=())
        good.close()
