"""A fleet whose workers look after their jobs when the schedule's own pauses say so, in a time that a test moves.

Workers die and freeze as processes do: they never come back to the store, or late. What a job does meanwhile is the
test's to say, and the others live on while it works.
"""

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bff.kv import KeyValue
from bff.tasks import Job, Tasks
from bff.tasks.runner import pause_of
from tests.clock import Clock
from tests.contract.backends import Backend
from tests.flows.store import WatchedStore

PODS = {"north": -0.3, "middle": 0.0, "south": 0.2}
"""How many seconds each pod's clock is ahead."""

WORKERS = 4
REPLACED_AFTER = 0.5


class Killed(BaseException):
    """Nothing that a process would do afterwards happens."""


class Line(WatchedStore):
    """A worker's way to the store, which ends with it. arriving: called before each call."""

    dead = False

    def __init__(self, inner: KeyValue, arriving: Callable[[], None]) -> None:
        super().__init__(inner)
        self._arriving = arriving

    def _answering(self) -> None:
        if self.dead:
            raise Killed
        self._arriving()
        super()._answering()


@dataclass(eq=False)
class Worker:
    pod: str
    clock: Callable[[], float]
    line: Line
    tasks: Tasks
    frozen: bool = False
    busy: set[str] = field(default_factory=set)

    def die(self) -> None:
        """Raises Killed."""
        self.line.dead = True
        raise Killed


Fate = Callable[[Worker], None]


class Fleet:
    """begun, done: the seconds at which the work of each (job, number of the period) was."""

    def __init__(self, backend: Backend, periods: dict[str, float], start: float) -> None:
        self.clock = Clock(start)
        self.begun: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        self.done: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        self.fates: dict[tuple[str, int], Fate] = {}
        """What happens to the first who does that work, instead of nothing more."""
        self._backend = backend
        self._periods = periods
        self._stores: dict[str, KeyValue] = {pod: backend.open() for pod in PODS}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._owed = 0.0
        self.workers = [self.worker(pod) for pod in PODS for _ in range(WORKERS)]

    def worker(self, pod: str) -> Worker:
        """Another one, whose jobs have their first look at once."""
        jobs: list[Job] = []
        line = Line(self._stores[pod], self.pass_in_store)
        made = Worker(pod, lambda: self.clock() + PODS[pod], line, Tasks((), line))
        for name, period in self._periods.items():
            jobs.append(Job(name, period, lambda name=name: self._work(made, name), fleet=True))
        made.tasks = Tasks(jobs, line, made.clock, self.clock)
        for job in jobs:
            self._at(self.clock(), lambda job=job: self._look(made, job))  # type: ignore[misc]
        return made

    def run_until(self, end: float) -> None:
        """Let the time pass with all that happens in it."""
        while self._events and self._events[0][0] <= end:
            due, _, event = heapq.heappop(self._events)
            self._pass_to(due)
            event()
        self._pass_to(end)

    def run_for(self, seconds: float) -> None:
        self.run_until(self.clock() + seconds)

    def pass_in_store(self) -> None:
        """Let what has passed on our clock pass on the store's, in whole milliseconds: before it is asked."""
        whole = math.floor(self._owed * 1000)
        self._owed -= whole / 1000
        if whole:
            self._backend.advance(whole / 1000 + 1e-7)

    def counts(self, of: dict[tuple[str, int], list[float]], name: str, periods: Iterable[int]) -> list[int]:
        return [len(of.get((name, period), ())) for period in periods]

    def _work(self, worker: Worker, name: str) -> None:
        turn = name, int(worker.clock() // self._periods[name])
        self.begun[turn].append(self.clock())
        if (fate := self.fates.pop(turn, None)) is not None:
            fate(worker)
        self.done[turn].append(self.clock())

    def _look(self, worker: Worker, job: Job) -> None:
        if worker.line.dead:
            return
        now = worker.clock()
        due = now + pause_of(job)(now) - PODS[worker.pod]
        self._at(due, lambda: self._look(worker, job))
        if worker.frozen or job.name in worker.busy:  # Schedule begins no second turn of a job
            return
        worker.busy.add(job.name)
        try:
            worker.tasks.turn(job)
        except Killed:
            self.workers.remove(worker)
            self._at(self.clock() + REPLACED_AFTER, lambda: self.workers.append(self.worker(worker.pod)))
        worker.busy.discard(job.name)

    def _at(self, due: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (due, next(self._order), event))

    def _pass_to(self, moment: float) -> None:
        passed = max(0.0, moment - self.clock())
        self.clock.now += passed
        self._owed += passed
