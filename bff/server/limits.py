"""gunicorn's workers with a few methods extended. A module has the name of WEB_WORKER_CLASS, and a class `Worker`."""

DRAIN_MS = 100
"""How long a worker that leaves still answers on connections that their clients believe to be kept."""

STALL_TIMEOUT = 60
"""Seconds after which a client is given up that neither sends the rest of a long body nor takes a service's answer."""

RECEIVE_TIMEOUT = 30.0
"""Seconds in which a request whose body the worker receives must be whole, from its first byte on: bytes that drip in
do not extend it (408)."""

LEAVING = 5.0
"""The same in a worker that was told to leave."""

RECEIVE_BUDGET = 16 * 1024 * 1024
"""Bytes of unfinished requests that a worker keeps. Beyond that, the oldest of them is refused (408)."""

SEND_TIMEOUT = 30.0
"""Seconds in which a client must take the rest of a small answer that no thread waits for."""

SEND_BUDGET = 16 * 1024 * 1024
"""Bytes of such answers that a worker keeps. Beyond that, the oldest connection is closed."""

LINGER_TIMEOUT = 2.0
"""Seconds that a client has to close a connection which has been closed from here."""

LINGER_BYTES = 16 * 1024 * 1024
"""Bytes that are read from such a client meanwhile, and thrown away."""
