"""Speed of verify while 200 idle Server-Sent Events streams are open, under two gevent workers.

Against an empty WSGI callable under the same gunicorn, one server loaded at a time, in turn, every round printed. Each
round opens the streams anew, half of them at each worker.
"""

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import servers
from tests.peers import raw, service

PATH = "/auth/verify"
STREAM = "/api/events/sse?count=1"
STREAMS = 200
ROUNDS = 21
SECONDS = 1
AT_LEAST_OF_EMPTY = 0.75
ROUTES = """
services: {events: {token: none, base_url: "%s"}}
routes: [{id: events, path: /api/events/*, service: events, auth: none, streaming: true}]
"""
Round = dict[str, float]


def main() -> bool:
    """Whether the target was met, with the streams open."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        events = stack.enter_context(service.running(folder))
        (folder / "routes.yaml").write_text(ROUTES % events.url)
        env = servers.environment(stack.enter_context(servers.redis(folder)), folder)
        env |= {"WEB_WORKER_CLASS": "gevent", "BFF_CONFIG_DIR": str(folder)}
        cookie = servers.make_session(env)
        empty = stack.enter_context(
            servers.gunicorn("benchmarks.references:empty", "benchmarks/reference_conf.py", env)
        )
        bff = stack.enter_context(servers.gunicorn("wsgi:app", "benchmarks/own_conf.py", env))
        print(
            f"gunicorn: {servers.WORKERS} gevent workers; wrk: {servers.CONNECTIONS} connections, as many for each,"
            f" {SECONDS} s; {STREAMS} streams"
        )
        for server in (empty, bff):
            server.load(PATH, cookie, seconds=2)
        rounds = [_round(empty, bff, cookie) for _ in range(ROUNDS)]
    return _report(rounds)


def _round(empty: servers.Server, bff: servers.Server, cookie: str) -> Round:
    found = {"empty": empty.load(PATH, cookie, seconds=SECONDS), "verify": bff.load(PATH, cookie, seconds=SECONDS)}
    with raw.event_streams(bff.ports, STREAM, STREAMS) as streams:
        found["with streams"] = bff.load(PATH, cookie, seconds=SECONDS)
        if not all(raw.idle(stream) for stream in streams):
            raise RuntimeError("a stream has ended")
    return found


def _report(rounds: list[Round]) -> bool:
    for number, found in enumerate(rounds, 1):
        figures = ", ".join(f"{name} {value:.0f}/s" for name, value in found.items())
        ratios = ", ".join(f"{name}/empty {found[name] / found['empty']:.2f}" for name in ("verify", "with streams"))
        print(f"round {number}: {figures}; {ratios}")
    without, with_streams = (
        statistics.median(found[name] / found["empty"] for found in rounds) for name in ("verify", "with streams")
    )
    print(f"median verify/empty {without:.2f}, with {STREAMS} streams {with_streams:.2f}", end=" ")
    print(f"(target: at least {AT_LEAST_OF_EMPTY})")
    return with_streams >= AT_LEAST_OF_EMPTY
