"""What a scrape costs beside prometheus_client's own collector on the same files, and what counting costs a verify.

CPU time throughout (time.process_time, /proc), since that is what a scrape takes from the requests of its worker.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from benchmarks import servers
from bff.observability.multiprocess import archive
from bff.observability.multiprocess.collector import MultiprocessCollector

WORKERS = 8
COUNTERS = 1600
HISTOGRAMS = 200
BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, float("inf"))
SERIES = COUNTERS + HISTOGRAMS * (len(BUCKETS) + 1)
ROUNDS = 7
RECYCLED = 1000

AT_LEAST_TIMES_STOCK = 20
AT_MOST_OF_FRESH = 1.2
AT_MOST_MEMORY = 20_000_000
AT_MOST_OF_VERIFY = 0.10
AT_MOST_P99 = 1.10


def main() -> bool:
    """Whether every target was met."""
    return all([_scrape(), _recycled(), _recording(), _p99()])


class Worker:
    """One process's files, written as prometheus_client writes them: 4,000 series."""

    def __init__(self, folder: Path, pid: int, seed: int) -> None:
        self._random = random.Random(seed)
        self.counters = MmapedDict(str(folder / f"counter_{pid}.db"))
        self.histograms = MmapedDict(str(folder / f"histogram_{pid}.db"))
        self._keys = [(self.counters, key) for key in _counter_keys()]
        self._keys += [(self.histograms, key) for key in _histogram_keys()]
        self.count(1.0)

    def count(self, share: float) -> None:
        """Move that share of the series."""
        for file, key in self._keys:
            if self._random.random() < share:
                value, _ = file.read_value(key)
                file.write_value(key, value + self._random.random(), 0.0)

    def close(self) -> None:
        self.counters.close()
        self.histograms.close()


def _counter_keys() -> Iterator[str]:
    for number in range(COUNTERS):
        yield mmap_key("bench", "bench_total", ["endpoint", "status"], [f"/route/{number}", "200"], "Help.")


def _histogram_keys() -> Iterator[str]:
    for number in range(HISTOGRAMS):
        yield mmap_key("seconds", "seconds_sum", ["endpoint"], [f"/route/{number}"], "Help.")
        for bound in BUCKETS:
            text = "+Inf" if bound == float("inf") else str(bound)
            yield mmap_key("seconds", "seconds_bucket", ["endpoint", "le"], [f"/route/{number}", text], "Help.")


def _cpu(work: Callable[[], object], times: int = 1) -> float:
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def _ignore(_name: str) -> None:
    return


def _scrape() -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workers = [Worker(folder, 100_000 + number, number) for number in range(WORKERS)]
        registry = CollectorRegistry()
        MultiProcessCollector(registry, name)
        collector = MultiprocessCollector(folder, _ignore)
        before = _resident()
        collector.text(openmetrics=False, more=[])
        memory = _resident() - before
        print(f"scrape: {WORKERS} live workers x {SERIES} series, the same files, CPU per scrape")
        met = True
        for share in (0.0, 0.1, 1.0):
            ratios = [_round(workers, share, registry, collector) for _ in range(ROUNDS)]
            stock, ours, times = (statistics.median(column) for column in zip(*ratios, strict=True))
            target = f" (target: at least {AT_LEAST_TIMES_STOCK})" if share == 0.1 else ""
            print(
                f"  {share:4.0%} of the series moved: stock {stock * 1000:.1f} ms, ours {ours * 1000:.2f} ms,"
                f" median ratio {times:.1f}{target}"
            )
            met &= share != 0.1 or times >= AT_LEAST_TIMES_STOCK
        print(f"  reader's resident memory: {memory / 1e6:.1f} MB (target: under {AT_MOST_MEMORY / 1e6:.0f})")
        for worker in workers:
            worker.close()
    return met and memory < AT_MOST_MEMORY


def _round(
    workers: list[Worker], share: float, registry: CollectorRegistry, collector: MultiprocessCollector
) -> tuple[float, float, float]:
    for worker in workers:
        worker.count(share)
    ours = _cpu(lambda: collector.text(openmetrics=False, more=[]))
    stock = _cpu(lambda: generate_latest(registry))
    return stock, ours, stock / ours


def _recycled() -> bool:
    """A fleet whose workers were replaced a thousand times, beside one that just started."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workers = [Worker(folder, 100_000 + number, number) for number in range(WORKERS)]
        collector = MultiprocessCollector(folder, _ignore)
        collector.text(openmetrics=False, more=[])
        fresh = statistics.median(_moved_and_scraped(workers, collector) for _ in range(3 * ROUNDS))
        for number in range(RECYCLED):
            dead = 200_000 + number
            worker = Worker(folder, dead, number)
            worker.close()
            archive.compact(folder, lambda pid, dead=dead: pid == dead, _ignore)  # type: ignore[misc]
        collector.text(openmetrics=False, more=[])
        later = statistics.median(_moved_and_scraped(workers, collector) for _ in range(3 * ROUNDS))
        for worker in workers:
            worker.close()
    print(
        f"after {RECYCLED} recycled workers: {later * 1000:.2f} ms, fresh {fresh * 1000:.2f} ms,"
        f" ratio {later / fresh:.2f} (target: at most {AT_MOST_OF_FRESH})"
    )
    return later / fresh <= AT_MOST_OF_FRESH


def _moved_and_scraped(workers: list[Worker], collector: MultiprocessCollector) -> float:
    for worker in workers:
        worker.count(0.1)
    return _cpu(lambda: collector.text(openmetrics=False, more=[]))


def _resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _recording() -> bool:
    """All that verify records, against all that a verify costs a gunicorn worker."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = servers.environment(stack.enter_context(servers.redis(folder)), folder)
        cookie = servers.make_session(env)
        server = stack.enter_context(servers.gunicorn("wsgi:app", "gunicorn.conf.py", env))
        servers.load(f"{server.url}/auth/verify", cookie, seconds=2)
        whole = [server.cpu_per_request("/auth/verify", cookie, seconds=2) for _ in range(ROUNDS)]
    alone = servers.cpu_of_recording()
    ratio = alone / statistics.median(whole)
    print(f"recording all metrics of one verify: {alone * 1e6:.2f} us of CPU")
    print(f"  one verify in a worker: {', '.join(f'{each * 1e6:.0f}' for each in whole)} us of CPU")
    print(f"  median ratio {ratio:.3f} (target: under {AT_MOST_OF_VERIFY})")
    return ratio < AT_MOST_OF_VERIFY


def _p99() -> bool:
    """Verify's p99 under load, with and without a scrape every second, in turn."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = servers.environment(stack.enter_context(servers.redis(folder)), folder)
        cookie = servers.make_session(env)
        server = stack.enter_context(servers.gunicorn("wsgi:app", "gunicorn.conf.py", env))
        servers.load(f"{server.url}/auth/verify", cookie, seconds=2)
        ratios = []
        for number in range(1, ROUNDS + 1):
            without = server.p99("/auth/verify", cookie, seconds=4)
            with servers.scraping(f"{server.url}/metrics"):
                scraped = server.p99("/auth/verify", cookie, seconds=4)
            ratios.append(scraped / without)
            print(f"  round {number}: p99 {without * 1000:.2f} ms, scraped every second {scraped * 1000:.2f} ms")
    ratio = statistics.median(ratios)
    print(f"verify's p99 while scraped every second: median ratio {ratio:.2f} (target: under {AT_MOST_P99})")
    return ratio < AT_MOST_P99
