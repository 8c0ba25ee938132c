"""A periodic job: its work, its period, and whether every worker or the fleet runs it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """name: the metric's task_type. period: seconds.

    fleet: once per period in the whole fleet instead of in every worker. Periods are counted from the epoch, so that
    all workers mean the same one. Two workers may run such a job at once, so its writes must be safe to repeat: see
    bff.kv.lease.
    stepwise: run gets a function that returns whether the next step may begin. It may not when the worker is about to
    leave, or when the lease was lost.
    at_stop: runs once more when the worker leaves, so that none of its notes is lost.
    """

    name: str
    period: float
    run: Callable[..., object]
    fleet: bool = False
    stepwise: bool = False
    at_stop: bool = False
