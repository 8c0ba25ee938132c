"""CPU time in this process, and the reference for it: an empty Flask view dispatched in turn."""

import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from werkzeug.test import create_environ


def empty_view() -> Callable[[], object]:
    """Sends one request to a Flask app with an empty view, without a client around it."""
    app = Flask("empty", static_folder=None)
    app.add_url_rule("/", view_func=lambda: "")
    environ = create_environ("/")

    def start_response(_status: str, _headers: list[tuple[str, str]], _error: Any = None) -> Callable[[bytes], object]:
        return len

    return lambda: b"".join(app.wsgi_app(environ.copy(), start_response))


def cpu(work: Callable[[], object], times: int) -> float:
    """Seconds of CPU time for each call."""
    return cpu_each(lambda _: work(), range(times))


def cpu_each(work: Callable[[Any], object], items: Any) -> float:
    """Seconds of CPU time for each of the items."""
    start = time.process_time()
    for item in items:
        work(item)
    return (time.process_time() - start) / len(items)
