"""References for verify: an empty application, and the same check in a plain Flask view."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import redis
from flask import Flask, Response, request
from prometheus_client import Counter, Histogram


def empty(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The smallest WSGI application."""
    start_response("200 OK", [("Content-Length", "0")])
    return ()


def plain() -> Flask:
    """A Flask view, one Redis GET, one counter and one histogram. No sealing, no cache, no binding."""
    app = Flask("plain")
    store = redis.Redis.from_url(os.environ["REDIS_URL"])
    requests = Counter("plain_requests_total", "Requests.", ["method", "endpoint", "status"])
    duration = Histogram("plain_duration_seconds", "Seconds.", ["method", "endpoint", "status"])

    @app.route("/auth/verify")
    def verify() -> Response:
        start = time.perf_counter()
        cookie = request.cookies.get("bff_session", "")
        raw = store.get("plain:" + hashlib.sha256(cookie.encode()).hexdigest())
        session = json.loads(raw) if isinstance(raw, bytes) else None
        allowed = session is not None and session["expires_at"] > time.time()
        response = Response(status=200 if allowed else 401)
        if session is not None and allowed:
            response.headers["X-User-ID"] = session["sub"]
            response.headers["X-Auth-Time"] = str(session["auth_time"])
        labels = (request.method, "/auth/verify", str(response.status_code))
        requests.labels(*labels).inc()
        duration.labels(*labels).observe(time.perf_counter() - start)
        return response

    return app
