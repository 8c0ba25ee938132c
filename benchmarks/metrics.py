"""Cost of a scrape beside prometheus_client's own collector on the same files, and of counting for a verify.

CPU time throughout (time.process_time, /proc), since a scrape takes it from the requests of its worker.
"""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from benchmarks import servers
from bff.observability.multiprocess.collector import MultiprocessCollector
from bff.observability.multiprocess.slots import Slot

WORKERS = 8
COUNTERS = 1550
GAUGES = 50
HISTOGRAMS = 200
BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, float("inf"))
SERIES = COUNTERS + GAUGES + HISTOGRAMS * (len(BUCKETS) + 1)
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
    """One process's slot and its files, in prometheus_client's format: 4,000 series."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._slot = Slot(folder)
        self._random = random.Random(seed)
        self._files: dict[str, MmapedDict] = {}
        self._keys = []
        for kind, keys in (
            ("counter", _counter_keys()),
            ("histogram", _histogram_keys()),
            ("gauge_sum", _gauge_keys()),
        ):
            file = self._files[kind] = MmapedDict(str(self._slot.path(f"{kind}_{{}}.db")))
            self._keys += [(file, key) for key in keys]
        self.count(1.0)

    def count(self, share: float) -> None:
        """Changes that share of the series, another one in each worker."""
        for file, key in self._keys:
            if self._random.random() < share:
                value, _ = file.read_value(key)
                moved = self._random.random() if "_sum" in key else self._random.randrange(1, 1000)
                file.write_value(key, value + moved, 0.0)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._slot.close()


def _counter_keys() -> Iterator[str]:
    for number in range(COUNTERS):
        yield mmap_key("bench", "bench_total", ["endpoint", "status"], [f"/route/{number}", "200"], "Help.")


def _gauge_keys() -> Iterator[str]:
    for number in range(GAUGES):
        yield mmap_key("level", "level", ["tank"], [str(number)], "Help.")


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
        workers = [Worker(folder, number) for number in range(WORKERS)]
        registry = CollectorRegistry()
        MultiProcessCollector(registry, name)
        collector = MultiprocessCollector(folder, _ignore)
        collector.text(openmetrics=False, more=[])
        print(f"scrape: {WORKERS} live workers x {SERIES} series, the same files, CPU per scrape")
        times = {share: _rounds(workers, share, registry, collector) for share in (0.0, 0.1, 1.0)}
        memory = _memory(folder)
        print(f"  a reader's resident memory: {memory / 1e6:.1f} MB (target: under {AT_MOST_MEMORY / 1e6:.0f})")
        for worker in workers:
            worker.close()
    return times[0.1] >= AT_LEAST_TIMES_STOCK and memory < AT_MOST_MEMORY


def _rounds(
    workers: list[Worker], share: float, registry: CollectorRegistry, collector: MultiprocessCollector
) -> float:
    """The stock collector's cost as a multiple of ours, when this share of the series changed since the last scrape."""
    ratios = []
    for number in range(1, ROUNDS + 1):
        for worker in workers:
            worker.count(share)
        ours = _cpu(lambda: collector.text(openmetrics=False, more=[]))
        stock = _cpu(lambda: generate_latest(registry))
        ratios.append(stock / ours)
        print(f"  {share:.0%} moved, round {number}: stock {stock * 1000:.1f} ms, ours {ours * 1000:.2f} ms")
    ratio = statistics.median(ratios)
    target = f" (target: at least {AT_LEAST_TIMES_STOCK})" if share == 0.1 else ""
    print(f"  {share:.0%} moved: median stock/ours {ratio:.1f}{target}")
    return ratio


def _memory(folder: Path) -> int:
    """Growth in bytes of a process that scrapes this folder for the first time, and then again."""
    command = [sys.executable, "-m", "benchmarks.reader", str(folder)]
    return int(subprocess.run(command, cwd=servers.ROOT, check=True, capture_output=True, text=True).stdout)


def _recycled() -> bool:
    """Compares a fleet after a thousand replaced workers with one that just started, in turn."""
    with ExitStack() as stack:
        fresh, aged = (_Fleet(Path(stack.enter_context(tempfile.TemporaryDirectory()))) for _ in range(2))
        for number in range(RECYCLED):
            aged.replace(number)
        ratios = []
        for number in range(1, ROUNDS + 1):
            times = [statistics.median(fleet.moved_and_scraped() for _ in range(5)) for fleet in (fresh, aged)]
            ratios.append(times[1] / times[0])
            print(f"  round {number}: fresh {times[0] * 1000:.2f} ms, recycled {times[1] * 1000:.2f} ms")
        for fleet in (fresh, aged):
            fleet.close()
    ratio = statistics.median(ratios)
    print(f"after {RECYCLED} recycled workers: median ratio {ratio:.2f} (target: at most {AT_MOST_OF_FRESH})")
    return ratio <= AT_MOST_OF_FRESH


class _Fleet:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._workers = [Worker(folder, number) for number in range(WORKERS)]
        self._collector = MultiprocessCollector(folder, _ignore)

    def moved_and_scraped(self) -> float:
        """Changes series and scrapes. Returns the scrape's CPU seconds."""
        for worker in self._workers:
            worker.count(0.1)
        return _cpu(lambda: self._collector.text(openmetrics=False, more=[]))

    def replace(self, number: int) -> None:
        """Replaces a worker, another one each time."""
        which = number % WORKERS
        self._workers[which].close()
        self._workers[which] = Worker(self.folder, number)

    def close(self) -> None:
        self._collector.close()
        for worker in self._workers:
            worker.close()


def _recording() -> bool:
    """Compares the cost of verify's metrics with the whole cost of a verify in a gunicorn worker."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = servers.environment(stack.enter_context(servers.redis(folder)), folder)
        cookie = servers.make_session(env)
        server = stack.enter_context(servers.gunicorn("wsgi:app", "benchmarks/own_conf.py", env))
        server.load("/auth/verify", cookie, seconds=2)
        whole = [server.cpu_per_request("/auth/verify", cookie, seconds=2) for _ in range(ROUNDS)]
    alone = servers.cpu_of_recording()
    ratio = alone / statistics.median(whole)
    print(f"recording all metrics of one verify: {alone * 1e6:.2f} us of CPU")
    print(f"  one verify in a worker: {', '.join(f'{each * 1e6:.0f}' for each in whole)} us of CPU")
    print(f"  median ratio {ratio:.3f} (target: under {AT_MOST_OF_VERIFY})")
    return ratio < AT_MOST_OF_VERIFY


def _p99() -> bool:
    """Compares verify's p99 under load with and without a scrape every second, in turn."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = servers.environment(stack.enter_context(servers.redis(folder)), folder)
        cookie = servers.make_session(env)
        server = stack.enter_context(servers.gunicorn("wsgi:app", "benchmarks/own_conf.py", env))
        server.load("/auth/verify", cookie, seconds=2)
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
