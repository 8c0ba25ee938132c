"""Prints the seconds of CPU that all metrics of one allowed verify take: `python -m benchmarks.recording 200000`."""

import sys
import time

from bff.observability import metrics
from bff.observability.traces import exemplar


def main(times: int) -> float:
    """Seconds of CPU for the metrics of bff/web/verify.py, the gate and the session cache, for one verify from
    memory."""
    hit = metrics.SESSION_CACHE.labels("hit").inc
    validated = metrics.SESSION_VALIDATION.observe
    verify = metrics.verify_recorder("GET", "/auth/verify", 200, "allowed")
    start = time.process_time()
    for _ in range(times):
        hit()
        validated(0.00002)
        verify(0.00004, exemplar())
    return (time.process_time() - start) / times


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
