"""The latest exemplar of each bucket, from the process that observed to the OpenMetrics page."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client import values as client_values
from prometheus_client.openmetrics import parser
from prometheus_client.samples import Exemplar

from bff.observability.multiprocess import values
from bff.observability.multiprocess.collector import MultiprocessCollector
from bff.observability.multiprocess.exemplars import NAME, RECORD_BYTES, ExemplarFile, read_exemplars
from tests.unit.value_files import Process, Scrapers, histogram, samples

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
LABELS = {"trace_id": TRACE, "span_id": SPAN}


@pytest.fixture
def scrapers() -> Iterator[Scrapers]:
    with Scrapers() as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(values.FOLDER, str(tmp_path))
    monkeypatch.setattr(values, "_process", values._Process())
    monkeypatch.setattr(client_values, "ValueClass", values.SharedValue)
    yield tmp_path
    values._process.close()


def exemplars(collector: MultiprocessCollector) -> dict[tuple[str, str | None], Exemplar]:
    """By sample name and bound, as the strict parser of OpenMetrics reads the page."""
    page = collector.text(openmetrics=True, more=()).decode()
    return {
        (sample.name, sample.labels.get("le")): sample.exemplar
        for family in parser.text_string_to_metric_families(page)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }


def an_exemplar_file(folder: Path, owner: str, found: dict[str, Exemplar]) -> Path:
    """found: by bound."""
    path = folder / NAME.format(owner)
    file = ExemplarFile(path)
    for place in histogram({}):
        if exemplar := found.get(dict(place.labels).get("le", "")):
            file.keep(place.key.encode(), exemplar)
    file.close()
    return path


@pytest.fixture
def observed(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path, ours=True)
    for place in histogram({}):
        process.add(place, 1)
    yield process
    process.close()


def test_from_an_observation_to_the_page(folder: Path, scrapers: Scrapers) -> None:
    metric = Histogram("h", "Help.", buckets=(1, 10), registry=CollectorRegistry())
    metric.observe(0.5, LABELS)
    metric.observe(0.25, {"trace_id": "f" * 32})  # without a span
    metric.observe(5)
    metric.observe(100, LABELS)
    found = exemplars(scrapers.new(folder))
    assert {bound: (each.labels, each.value) for (_, bound), each in found.items()} == {
        "1.0": ({"trace_id": "f" * 32}, 0.25),
        "+Inf": (LABELS, 100),
    }
    assert all(each.timestamp for each in found.values())


def test_nothing_is_kept_without_a_trace(folder: Path, scrapers: Scrapers) -> None:
    registry = CollectorRegistry()
    metric = Histogram("h", "Help.", registry=registry)
    metric.observe(1)
    metric.observe(1, {})
    assert not list(folder.glob("exemplars_*"))
    metric.observe(1, {"span_id": SPAN})
    metric.observe(1, {"trace_id": ""})
    metric.observe(1, {"trace_id": "f" * 33})
    metric.observe(1, {"trace_id": TRACE, "span_id": "f" * 17})
    Counter("c", "Help.", registry=registry).inc(1, LABELS)  # the buckets are enough
    assert exemplars(scrapers.new(folder)) == {}


def test_other_formats_know_nothing_of_them(tmp_path: Path, scrapers: Scrapers, observed: Process) -> None:
    collector = scrapers.new(tmp_path)
    without = collector.text(openmetrics=False, more=()), samples(collector.collect())
    an_exemplar_file(tmp_path, observed.owner, {"1.0": Exemplar(LABELS, 0.5, 1.0)})
    assert (collector.text(openmetrics=False, more=()), samples(collector.collect())) == without
    assert exemplars(collector)


def test_the_latest_of_all_processes_wins(tmp_path: Path, scrapers: Scrapers, observed: Process) -> None:
    others = [Process(tmp_path, ours=True) for _ in range(2)]
    for process, timestamp in zip((observed, *others), (10.0, 30.5, 20.0), strict=True):
        an_exemplar_file(tmp_path, process.owner, {"1.0": Exemplar({"trace_id": process.owner}, 0.5, timestamp)})
    found = exemplars(scrapers.new(tmp_path))
    assert list(found) == [("h_bucket", "1.0")]
    assert found["h_bucket", "1.0"].labels == {"trace_id": others[0].owner}
    assert float(found["h_bucket", "1.0"].timestamp or 0) == 30.5


def test_they_end_with_their_process(tmp_path: Path, scrapers: Scrapers, observed: Process) -> None:
    other = Process(tmp_path, ours=True)
    for timestamp, process in enumerate((observed, other), 100):
        an_exemplar_file(tmp_path, process.owner, {"1.0": Exemplar(LABELS, 0.5, float(timestamp))})
    other.close()
    assert float(exemplars(scrapers.new(tmp_path))["h_bucket", "1.0"].timestamp or 0) == 100
    observed.close()
    assert exemplars(scrapers.new(tmp_path)) == {}
    successor = Process(tmp_path, ours=True)
    assert (successor.owner, exemplars(scrapers.new(tmp_path))) == (observed.owner, {})


def test_more_than_the_file_was_made_for(tmp_path: Path) -> None:
    path, file = tmp_path / "exemplars_1.bin", ExemplarFile(tmp_path / "exemplars_1.bin")
    kept = {b"%d" % number: Exemplar(LABELS, float(number), 1.0) for number in range(1000)}
    for key, exemplar in kept.items():
        file.keep(key, exemplar)
    file.keep(b"7", Exemplar(LABELS, 7.5, 2.0))
    file.close()
    assert dict(read_exemplars(path)) == kept | {b"7": Exemplar(LABELS, 7.5, 2.0)}


@pytest.mark.parametrize("same", [False, True])
def test_a_new_file_begins_empty(tmp_path: Path, same: bool) -> None:
    path = an_exemplar_file(tmp_path, "slot0", {"1.0": Exemplar(LABELS, 0.5, 1.0)})
    again = an_exemplar_file(tmp_path, "slot0" if same else "slot1", {})
    assert list(read_exemplars(again)) == []
    assert bool(list(read_exemplars(path))) is not same


def test_a_torn_record_is_left_out(tmp_path: Path, scrapers: Scrapers, observed: Process) -> None:
    path = an_exemplar_file(
        tmp_path, observed.owner, {"1.0": Exemplar(LABELS, 0.5, 1.0), "+Inf": Exemplar(LABELS, 50.0, 1.0)}
    )
    whole, size = path.read_bytes(), RECORD_BYTES
    other = an_exemplar_file(tmp_path, "slot1", {"1.0": Exemplar({"trace_id": "f" * 32}, 0.75, 2.0)})
    newer = other.read_bytes()[:size]
    other.unlink()
    for torn in range(size):  # the first bytes are written, or the last
        for record in (newer[:torn] + whole[torn:size], whole[:torn] + newer[torn:]):
            path.write_bytes(record + whole[size:])
            found = {exemplar.value for _, exemplar in read_exemplars(path)}
            assert found in ({50.0}, {50.0, 0.5}, {50.0, 0.75})
            if 0.5 in found or 0.75 in found:
                assert record in (whole[:size], newer)
    for end in range(size, 2 * size):
        path.write_bytes(whole[:end])
        assert [exemplar.value for _, exemplar in read_exemplars(path)] == [0.5]
    path.write_bytes(os.urandom(5 * size + 7))
    assert exemplars(scrapers.new(tmp_path)) == {}


def test_a_series_that_no_file_has_yet(tmp_path: Path, scrapers: Scrapers) -> None:
    process = Process(tmp_path, ours=True)
    an_exemplar_file(tmp_path, process.owner, {"1.0": Exemplar(LABELS, 0.5, 1.0)})
    assert exemplars(scrapers.new(tmp_path)) == {}


def test_within_the_limits_of_openmetrics(folder: Path, scrapers: Scrapers) -> None:
    """Names and values of an exemplar's labels have 128 characters at most; the parser refuses more."""
    metric = Histogram("h", "Help.", registry=CollectorRegistry())
    metric.observe(0.5, {**LABELS, "more": "x" * 50})  # only the trace is kept
    found = exemplars(scrapers.new(folder))
    assert [each.labels for each in found.values()] == [LABELS]
    assert sum(len(name) + len(value) for name, value in LABELS.items()) <= 128


def test_a_key_that_is_too_long_for_a_record(folder: Path, scrapers: Scrapers) -> None:
    metric = Histogram("h", "Help.", ["path"], registry=CollectorRegistry())
    metric.labels("x" * 1000).observe(0.5, LABELS)
    metric.labels("x").observe(0.5, LABELS)
    assert len(exemplars(scrapers.new(folder))) == 1


def test_on_a_full_disk_the_observation_still_counts(
    folder: Path, scrapers: Scrapers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    metric = Histogram("h", "Help.", registry=CollectorRegistry())

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    for _ in range(3):
        metric.observe(0.5, LABELS)
    assert samples(scrapers.new(folder).collect())["h_count", frozenset()] == 3
    assert [record.message for record in caplog.records] == ["metrics_not_shared"]
