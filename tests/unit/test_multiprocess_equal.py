"""Whatever processes wrote, our collector finds the samples that prometheus_client's own finds in the same files."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bff.observability.multiprocess.collector import MultiprocessCollector
from tests.fuzz import examples
from tests.unit.value_files import (
    MODES,
    Place,
    Process,
    Scrapers,
    counter,
    difference,
    every_way,
    gauge,
    histogram,
    stock,
    summary,
)

HOSTILE = ["", '"', "\\", "\n", "\\n", 'a"b\\c\nd', "%", "%s%r", "{}", "a,b", "=", "#", " ", "é", "日本", "💥", "\x00"]
label_values = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
labels: st.SearchStrategy[Mapping[str, str]] = st.fixed_dictionaries({"path": label_values, "a": label_values})
counts = st.integers(0, 2**40).map(float)
amounts = st.floats(0, 1e9) | st.integers(0, 5).map(float) | st.sampled_from([1e-9, 0.1, 1e15, 1e16, 1.5e300])
gauge_values = amounts | st.sampled_from([-1.5, float("inf"), float("-inf")])
helps = st.sampled_from(["Help.", "Other help.", 'Back\\slash, "quotes"\nand a line.'])


@st.composite
def written(draw: st.DrawFn) -> list[tuple[Place, float]]:
    """What one process writes: places in any order, each with a value."""
    found: list[tuple[Place, float]] = []
    for _ in range(draw(st.integers(0, 6))):
        given_labels = draw(labels)
        match draw(st.sampled_from(["counter", "gauge", "histogram", "summary"])):
            case "counter":
                found.append((counter(given_labels, draw(st.sampled_from("cd")), draw(helps)), draw(amounts)))
            case "gauge":
                found.append((gauge(draw(st.sampled_from(MODES)), given_labels), draw(gauge_values)))
            case "histogram":
                found += [(each, draw(amounts_of(each))) for each in histogram(given_labels)]
            case _:
                found += [(each, draw(amounts_of(each))) for each in summary(given_labels)]
    return draw(st.permutations(found))


def amounts_of(where: Place) -> st.SearchStrategy[float]:
    return amounts if where.name.endswith("_sum") else counts


def assert_equal_to_stock(folder: Path, collector: MultiprocessCollector) -> None:
    for ours, theirs in zip(every_way(collector), stock(folder), strict=True):
        assert difference(ours, theirs) == {}


@examples(150)
@given(rounds=st.lists(st.lists(written(), min_size=3, max_size=3), min_size=1, max_size=3), ours=st.data())
def test_equal_after_every_round(rounds: list[list[list[tuple[Place, float]]]], ours: st.DataObject) -> None:
    """Three processes; keys are appended between the scrapes, in another order in each file."""
    with tempfile.TemporaryDirectory() as name, Scrapers() as scrapers:
        folder = Path(name)
        processes = [Process(folder, ours=ours.draw(st.booleans())) for _ in range(3)]
        collector = scrapers.new(folder)
        now = 1.0
        for batches in rounds:
            for process, batch in zip(processes, batches, strict=True):
                for where, value in batch:
                    now += 1  # two processes that set a gauge at the same moment have no most recent value
                    if where.kind.startswith("gauge"):
                        process.set(where, value, now)
                    else:
                        process.add(where, value)
            assert_equal_to_stock(folder, collector)
            assert_equal_to_stock(folder, scrapers.new(folder))
        for process in processes:
            process.close()


def test_a_histogram_in_the_making_is_not_shown(tmp_path: Path) -> None:
    """Its values are made one after the other, and a scrape may come in between; OpenMetrics wants all of them."""
    process = Process(tmp_path, ours=True)
    with Scrapers() as scrapers:
        collector = scrapers.new(tmp_path)
        *first, last = histogram({"path": "/a"})
        for place in first:
            process.add(place, 0)
            assert every_way(collector) == [{}, {}, {}]
        process.add(last, 0)
        assert_equal_to_stock(tmp_path, collector)
    process.close()
