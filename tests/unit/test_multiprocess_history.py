"""Processes come, count, break and die in any order: the totals of every scrape are true, and none goes back. There are
never more slots than processes lived at once."""

import math
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from bff.observability.multiprocess.collector import MultiprocessCollector
from bff.observability.multiprocess.slots import PREFIX, held
from tests.fuzz import examples
from tests.unit.value_files import (
    MODES,
    Place,
    Process,
    Samples,
    Scrapers,
    counter,
    decreased,
    difference,
    every_way,
    expected,
    gauge,
    histogram,
    stock,
    summary,
)

LABELS = [{"path": ""}, {"path": "/a"}, {"path": 'quote"\\\n'}]
# What prometheus_client makes together, before it counts anything in one of them.
CHILDREN: list[list[Place]] = [
    child
    for labels in LABELS
    for child in ([counter(labels)], [counter(labels, help_text="Newer help.")], histogram(labels), summary(labels))
]
GAUGES = [gauge(mode, labels) for mode in MODES for labels in LABELS[:2]]
# Sums whose order matters in the last bit, and whole numbers.
amounts = st.sampled_from([0.1, 0.2, 0.3, 1e-9, 1.0, 2.0, 1e9, 1 / 3])


class Fleet(RuleBasedStateMachine):
    alive: Bundle[Process] = Bundle("alive")
    dead: Bundle[Process] = Bundle("dead")

    @initialize()
    def begin(self) -> None:
        self.scrapers = Scrapers()
        self.folder = Path(self.scrapers.enter_context(tempfile.TemporaryDirectory()))
        self.processes: list[Process] = []
        self.most_alive = 0
        self.set_aside: list[str] = []
        self.broken: list[str] = []
        self.now = 1.0
        self.seen: Samples = {}
        self.collectors = [self.collector(), self.collector()]

    def collector(self) -> MultiprocessCollector:
        return self.scrapers.new(self.folder, self.set_aside.append)

    @rule(target=alive, ours=st.booleans())
    def start(self, ours: bool) -> Process:
        if self._waiting():
            self._check(self.collectors[0])  # a successor would cut off what cannot be read
        self.processes.append(Process(self.folder, ours=ours))
        self.most_alive = max(self.most_alive, sum(not process.ended for process in self.processes))
        return self.processes[-1]

    @rule(process=alive, child=st.sampled_from(CHILDREN), amount=amounts, which=st.integers(0, 4))
    def count(self, process: Process, child: list[Place], amount: float, which: int) -> None:
        for place in child:
            process.add(place, 0)
        where = child[which % len(child)]
        process.add(where, amount if where.name.endswith(("_sum", "_total")) else math.ceil(amount))

    @rule(process=alive, where=st.sampled_from(GAUGES), value=st.sampled_from([-1.0, 0.0, 0.5, 7.0]))
    def gauge(self, process: Process, where: Place, value: float) -> None:
        self.now += 1
        process.set(where, value, self.now)

    @rule(target=dead, process=consumes(alive))
    def die(self, process: Process) -> Process:
        process.close()
        return process

    @rule(process=dead, kind=st.sampled_from(["counter", "histogram", "summary", "gauge_max"]))
    def breaks(self, process: Process, kind: str) -> None:
        """A worker was killed while it wrote: behind its last whole entry the file is garbage."""
        path = process.path(kind)
        if path.exists() and path.name not in self._waiting() and process.owner not in held(self.folder):
            content = path.read_bytes()
            used = int.from_bytes(content[:4], "little")
            if used > 8:
                path.write_bytes((used + 40).to_bytes(4, "little") + content[4:used] + b"\xff" * 40)
                self.broken.append(path.name)

    def _waiting(self) -> list[str]:
        """Broken, and not seen by a scrape yet."""
        return self.broken[len(self.set_aside) :]

    @rule(number=st.integers(0, 1))
    def scrape(self, number: int) -> None:
        self._check(self.collectors[number])

    @rule(number=st.integers(0, 1))
    def another_worker_begins_to_scrape(self, number: int) -> None:
        self.collectors[number] = self.collector()
        self._check(self.collectors[number])

    def _check(self, collector: MultiprocessCollector) -> None:
        wanted = expected(self.processes)
        for found in every_way(collector):
            assert difference(found, wanted) == {}
            assert decreased(self.seen, found) == {}
            self.seen = found
        for found in stock(self.folder):
            assert difference(found, wanted) == {}
        assert sorted(self.set_aside) == sorted(self.broken)
        assert len(list(self.folder.glob(f"{PREFIX}*"))) == self.most_alive

    def teardown(self) -> None:
        if hasattr(self, "processes"):
            for process in self.processes:
                process.close()
            self.scrapers.close()


TestFleet = Fleet.TestCase
TestFleet.settings = settings(examples(150), stateful_step_count=50)
