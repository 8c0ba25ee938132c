"""A worker's concurrency, from the same variables as gunicorn.conf.py."""

from collections.abc import Mapping

THREADS = 8
GREENLETS = 1000


def greenlets(environ: Mapping[str, str]) -> bool:
    return environ.get("WEB_WORKER_CLASS") == "gevent"


def concurrency(environ: Mapping[str, str]) -> int:
    """Requests that one worker answers at a time. gunicorn.conf.py refuses a value that is no number."""
    if greenlets(environ):
        return GREENLETS
    threads = environ.get("WEB_THREADS", "")
    return int(threads) if threads.isdecimal() and int(threads) else THREADS
