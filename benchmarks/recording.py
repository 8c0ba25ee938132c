"""Prints the seconds of CPU that all metrics of one allowed verify take: `python -m benchmarks.recording 200000`."""

import sys
import time

from bff.observability import metrics
from bff.observability.traces import exemplar


def main(times: int) -> float:
    """What bff/web/verify.py, the gate and the session cache record for one request that is allowed from memory."""
    hit = metrics.SESSION_CACHE.labels("hit").inc
    validated = metrics.SESSION_VALIDATION.observe
    verify = metrics.VERIFY_DURATION.labels("allowed").observe
    request = metrics.http_recorder("GET", "/auth/verify", 200)
    start = time.process_time()
    for _ in range(times):
        hit()
        validated(0.00002)
        traced = exemplar()
        verify(0.00004, traced)
        request(0.00004, traced)
    return (time.process_time() - start) / times


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
