"""gunicorn's workers with a few methods extended. A module has the name of WEB_WORKER_CLASS, and a class `Worker`."""

PARTING_MS = 100
"""How long a worker that leaves still answers on connections that their clients believe to be kept."""

STALLED = 60
"""Seconds after which a client is given up that neither sends what it has announced nor takes what it is sent."""

LONGEST_HEAD = 64 * 1024
"""Bytes that may arrive before a request's head is there. gunicorn would wait for twelve times as many."""
