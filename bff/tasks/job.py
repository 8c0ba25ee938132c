"""What is done again and again, how often, and by whom."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """name: the metric's task_type. period: seconds.

    fleet: once per period in the whole fleet instead of in every worker. Periods are counted from the epoch, so that
    all workers mean the same one. What such a job writes must bear being written by two: see bff.kv.lease.
    stepwise: run is handed a function that says whether it may begin its next step. It may not when the worker is
    about to leave, or when the lease was lost.
    at_stop: once more when the worker leaves, so that nothing it noted is lost.
    """

    name: str
    period: float
    run: Callable[..., object]
    fleet: bool = False
    stepwise: bool = False
    at_stop: bool = False
