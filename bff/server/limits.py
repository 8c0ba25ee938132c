"""Limits of both workers: seconds and bytes that a client may cost before the worker disconnects it."""

DRAIN_MS = 100
"""Milliseconds in which a leaving worker still answers on connections that their clients believe to be open."""

UNUSED = 1.0
"""Seconds in addition for a connection without a request. Its client may have opened it in the last moment, and would
see it end without an answer."""

STALL_TIMEOUT = 60
"""Seconds after which the worker drops a client that sends no more of a long body, or reads no more of a service's
answer."""

RECEIVE_TIMEOUT = 30.0
"""Seconds from a request's first byte until it must be whole, if the worker receives its body (408). Bytes that drip
in do not extend it."""

LEAVING = 5.0
"""The same in a leaving worker, in seconds."""

RECEIVE_BUDGET = 16 * 1024 * 1024
"""Bytes of unfinished requests that a worker keeps. Beyond that, the oldest of them is refused (408)."""

SEND_TIMEOUT = 30.0
"""Seconds in which a client must read the rest of a small answer that no thread waits for."""

SEND_BUDGET = 16 * 1024 * 1024
"""Bytes of such answers that a worker keeps. Beyond that, it closes the oldest connection."""

LINGER_TIMEOUT = 2.0
"""Seconds that a client has to close a connection that the worker has closed."""

LINGER_BYTES = 16 * 1024 * 1024
"""Bytes that the worker reads from such a client meanwhile, and discards."""
