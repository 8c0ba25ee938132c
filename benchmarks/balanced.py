"""An address for each worker, so that a benchmark decides how many connections each has.

With a shared address the split of sixteen connections over two workers is chance, and with all of them in one the other
core idles. In gunicorn's configuration: `bind` and `post_fork` from here.
"""

import os
from typing import Any

HOST = "127.0.0.1"


def addresses() -> list[str]:
    """host:port, one for each worker."""
    return [f"{HOST}:{port}" for port in os.environ["BENCHMARK_PORTS"].split(",")]


def post_fork(_server: Any, worker: Any) -> None:
    """Keeps one listener for the worker; gunicorn numbers workers from 1 in the order of their start."""
    worker.sockets = [worker.sockets[(worker.age - 1) % len(worker.sockets)]]
