"""How `make test` spreads the suite over two processes, and how both end when the run is told to.

A module stays whole: what it starts once, it starts in one process. The order is by weight, so that nobody is left with
a long module at the end. Without xdist (`pytest tests/unit`, a debugger, one core) nothing here changes anything.

The scheduler is our own because `--dist loadgroup` of pytest-xdist 3.8 groups nothing under pytest 9.2, silently.
"""

import gc
import os
import signal
from contextlib import suppress
from typing import Any

import pytest
from xdist import is_xdist_controller
from xdist.scheduler import LoadScopeScheduling

from tests.peers import process

PROCESSES = 2  # more of them would only make servers wait for each other
ALONE = tuple(f"tests/e2e/test_{name}.py" for name in ("admin", "pdp_outage", "workers"))
"""Allow each answer a tenth of a second, or a tenth more than a timeout. They come first, and beside them the other
process starts no servers."""
QUIET = tuple(f"tests/{folder}/" for folder in ("architecture", "flows", "unit"))


class Modules(LoadScopeScheduling):  # type: ignore[misc] # xdist comes without types
    """Gives a process a module at a time, in the order in which they were collected.

    A process starts a test only when it knows of another, or that there is none: hence two modules to begin with.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]

    def _assign_work_unit(self, node: Any) -> None:
        if self._may_go_on(node):
            super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        if self._may_go_on(node):
            super()._reschedule(node)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        for waiting in [each for each in self.nodes if not self.assigned_work[each]]:
            self._reschedule(waiting)
            self._reschedule(waiting)

    def _may_go_on(self, node: Any) -> bool:
        """Whether the module that comes next is one for this process; beside one of ALONE, the next that is quiet."""
        beside = any(
            False in modules.get(alone, {}).values()
            for other, modules in self.assigned_work.items()
            if other is not node
            for alone in ALONE
        )
        quiet = next((module for module in self.workqueue if module.startswith(QUIET)), None) if beside else None
        if quiet is not None:
            self.workqueue.move_to_end(quiet, last=False)
        return not beside or quiet is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Modules:
    config.option.loadscopereorder = False  # by the number of tests would be by weight the wrong way round
    return Modules(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: 0 is xdist's word for none, as on one core a second process only adds its start."""
    cores = len(os.sched_getaffinity(0))
    return PROCESSES if cores >= PROCESSES else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_lightness)


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end, so the garbage collector need not look at them again and again; nor at what
    they leave behind each time that 700 objects have come."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _lightness(item: pytest.Item) -> int:
    if item.nodeid.startswith(ALONE):
        return 0
    return 1 if item.get_closest_marker("e2e") else 2


@pytest.hookimpl(tryfirst=True)  # before xdist waits for its workers
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """xdist lets a worker go on for five seconds, and kills it five seconds later with its servers still running."""
    if exitstatus == pytest.ExitCode.INTERRUPTED and is_xdist_controller(session):
        for pid in process.survivors():  # of the controller's own, only workers
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
