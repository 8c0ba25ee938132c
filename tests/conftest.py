"""How `make test` spreads the suite over three processes, how they end when the run is told to, and how much is tried.

A module stays whole: what it starts once, it starts in one process. Long ones come early, so that nobody is left with
one at the end. Without xdist (`pytest tests/unit`, a debugger, one core) nothing here changes anything.

The scheduler is our own because `--dist loadgroup` of pytest-xdist 3.8 groups nothing under pytest 9.2, silently.
"""

import gc
import os
import signal
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from xdist import is_xdist_controller
from xdist.scheduler import LoadScopeScheduling

from tests import fuzz
from tests.peers import process

PROCESSES = 3  # on two cores: tests of servers mostly wait for them, so two of these and the quiet ones keep both busy
ALONE = ("tests/chaos/test_pdp_outage.py",)
"""Allow each answer a tenth more than a timeout, but for what this machine is late. They come first, and beside them
only quiet ones run."""
LONG = (
    *(
        f"tests/chaos/test_{name}.py"
        for name in ("collector_outage", "provider_outage", "refresh_races", "soak_sessions")
    ),
    *(f"tests/e2e/test_{name}.py" for name in ("bare_machine", "image", "tasks")),
    *(f"tests/contract/test_{name}.py" for name in ("kafka", "kv_redis")),
    *(f"tests/chaos/test_{name}.py" for name in ("burst", "max_requests", "rolling_restart", "rotation")),
)
QUIET = tuple(f"tests/{folder}/" for folder in ("architecture", "flows", "unit"))
"""Start hardly any servers: they need a core all the time, and servers mostly wait."""

STEPPED_BACK = 19
"""As far as nice(1) goes."""


class Modules(LoadScopeScheduling):  # type: ignore[misc] # xdist comes without types
    """Gives a process a module at a time: the last process quiet ones, the others those that start servers, and when
    either has no more of its own, what is left.

    A process starts a test only when it knows of another, or that there is none: hence two modules to begin with.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]

    def _assign_work_unit(self, node: Any) -> None:
        if self._may_go_on(node):
            super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        if not self.workqueue or self._may_go_on(node):
            super()._reschedule(node)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        for waiting in [each for each in self.nodes if self._left(each) <= 1]:
            self._reschedule(waiting)
            self._reschedule(waiting)

    def _left(self, node: Any) -> int:
        return int(self._pending_of(self.assigned_work[node]))

    def _may_go_on(self, node: Any) -> bool:
        """Whether the module at the head of the queue, which is chosen here, is one for this process."""
        first, last = self.nodes[0], self.nodes[-1]
        alone = self._runs_alone(node)
        quiet = next((each for each in self.workqueue if _quiet(each)), None)
        if quiet is not None and node is not first and (node is last or alone):
            self.workqueue.move_to_end(quiet, last=False)
            return True
        return not alone

    def _runs_alone(self, node: Any) -> bool:
        """Whether another process has, or will have, a module beside which this one may start no servers."""
        others = [modules for other, modules in self.assigned_work.items() if other is not node]
        running = any(False in modules.get(alone, {}).values() for modules in others for alone in ALONE)
        return running or (node is not self.nodes[0] and any(alone in self.workqueue for alone in ALONE))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Modules:
    config.option.loadscopereorder = False  # by the number of tests would be by weight the wrong way round
    return Modules(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: 0 is xdist's word for none, as on one core a second process only adds its start."""
    cores = len(os.sched_getaffinity(0))
    return PROCESSES if cores > 1 else 0


os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of some hundred servers would compile all of bff/ anew


def pytest_configure() -> None:
    settings.register_profile("tests", fuzz.examples())
    settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_place)


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end, so the garbage collector need not look at them again and again; nor at what
    they leave behind each time that 700 objects have come."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Quiet tests step back where a server's tests want a processor, if this user may come forward again."""
    if "PYTEST_XDIST_WORKER" in os.environ and os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, STEPPED_BACK if _quiet(item.nodeid) else 0)


def _place(item: pytest.Item) -> int:
    for place, modules in enumerate((ALONE, LONG)):
        if item.nodeid.startswith(modules):
            return place
    return 4 if _quiet(item.nodeid) else 3 - bool(item.get_closest_marker("e2e"))


def _quiet(name: str) -> bool:
    """name: of a test, or of its module."""
    return name.startswith(QUIET) and not name.startswith(ALONE)


@pytest.hookimpl(tryfirst=True)  # before xdist waits for its workers
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """xdist lets a worker go on for five seconds, and kills it five seconds later with its servers still running."""
    if exitstatus == pytest.ExitCode.INTERRUPTED and is_xdist_controller(session):
        for pid in process.survivors():  # of the controller's own, only workers
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
