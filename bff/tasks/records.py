"""Job records for /health: the time of each job's last success, and the outcome of its last turn.

Records of the fleet's jobs are in the store, written by the worker that had the turn. Every worker reads them in the
background, so that /health answers from memory.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bff.kv import Batch, KeyValue
from bff.tasks.job import Job

LATE_PERIODS = 3
LATE_SECONDS = 15.0
"""Beyond LATE_PERIODS without success a job is late so many seconds later: another worker may still take over."""

_REMEMBERED = 30 * 86400.0


@dataclass(frozen=True)
class Last:
    """status: of the last turn, success or failed. succeeded_at: seconds since the epoch, None for never."""

    status: str
    succeeded_at: float | None


class TaskRecords:
    def __init__(self, kv: KeyValue, clock: Callable[[], float]) -> None:
        self._kv = kv
        self._clock = clock
        self._since = clock()
        self._last: dict[str, Last] = {}

    def begin(self) -> None:
        """Starts the time within which a job must succeed for the first time."""
        self._since = self._clock()

    def note(self, job: Job, status: str) -> None:
        """Records a turn of this worker's own job."""
        self._last[job.name] = self._after(self._last.get(job.name), status)

    def tell(self, job: Job, status: str) -> None:
        """Records a turn of the fleet's job in the store, unless another worker wrote meanwhile: its record is newer.
        Raises StoreUnavailable."""
        found = self._kv.get(_key(job))
        last = self._after(_opened(found), status)
        raw = json.dumps([last.status, last.succeeded_at]).encode()
        if found is None:
            self._kv.set_if_absent(_key(job), raw, _REMEMBERED)
        else:
            self._kv.compare_and_set(_key(job), found, raw, _REMEMBERED)

    def read(self, jobs: Sequence[Job]) -> None:
        """Reads the records of the fleet's jobs. Raises StoreUnavailable; the former records stay then."""
        batch = Batch()
        for job in jobs:
            batch.get(_key(job))
        for job, raw in zip(jobs, self._kv.execute(batch), strict=True):
            if (last := _opened(raw)) is not None:
                self._last[job.name] = last

    def report(self, jobs: Sequence[Job]) -> dict[str, dict[str, object]]:
        """By job: seconds since the last success (None for never), status of the last turn (unknown before it), period
        in seconds, whether one worker does it for the fleet, whether it is late."""
        return {job.name: self._reported(job) for job in jobs}

    def _reported(self, job: Job) -> dict[str, object]:
        last, now = self._last.get(job.name, Last("unknown", None)), self._clock()
        waited = now - (self._since if last.succeeded_at is None else last.succeeded_at)
        return {
            "last_success": None if last.succeeded_at is None else round(max(0.0, waited), 1),
            "last_status": last.status,
            "period": job.period,
            "fleet": job.fleet,
            "late": waited > LATE_PERIODS * job.period + LATE_SECONDS,
        }

    def _after(self, last: Last | None, status: str) -> Last:
        if status == "success":
            return Last(status, self._clock())
        return Last(status, last.succeeded_at if last else None)


def _key(job: Job) -> str:
    return f"task:{job.name}"


def _opened(raw: bytes | None) -> Last | None:
    """The record; None for none, and for bytes of an unknown form."""
    try:
        status, succeeded_at = json.loads(raw or b"null")
        return Last(str(status), None if succeeded_at is None else float(succeeded_at))
    except (ValueError, TypeError):
        return None
