"""How a worker answers many requests at a time, as gunicorn.conf.py has it."""

from collections.abc import Mapping

THREADS = 8
GREENLETS = 1000


def greenlets(environ: Mapping[str, str]) -> bool:
    return environ.get("WEB_WORKER_CLASS") == "gevent"


def concurrency(environ: Mapping[str, str]) -> int:
    """gunicorn.conf.py refuses what is no number."""
    if greenlets(environ):
        return GREENLETS
    threads = environ.get("WEB_THREADS", "")
    return int(threads) if threads.isdecimal() and int(threads) else THREADS
