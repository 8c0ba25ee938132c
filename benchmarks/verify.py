"""Speed of verify against an empty WSGI callable, and against the same check in plain Flask, under the same gunicorn.

Cache warm, metrics on, one server loaded at a time, in turn, every round printed.
"""

import hashlib
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import redis as redis_client

from benchmarks import servers

PATH = "/auth/verify"
ROUNDS = 21
SECONDS = 1
AT_LEAST_OF_EMPTY = 0.75
AT_LEAST_OF_PLAIN = 2.5


def main() -> bool:
    """Whether both targets were met."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(servers.redis(folder))
        env = servers.environment(url, folder)
        cookie = servers.make_session(env)
        _make_plain_session(url, cookie)
        reference = "benchmarks/reference_conf.py"
        targets = {
            name: stack.enter_context(servers.gunicorn(app, config, env))
            for name, app, config in (
                ("empty", "benchmarks.references:empty", reference),
                ("verify", "wsgi:app", "benchmarks/own_conf.py"),
                ("plain", "benchmarks.references:plain()", reference),
            )
        }
        print(
            f"gunicorn: {servers.WORKERS} gthread workers; wrk: {servers.CONNECTIONS} connections, as many for each,"
            f" {SECONDS} s; Redis 8.2"
        )
        for target in targets.values():
            target.load(PATH, cookie, seconds=2)
        rounds = [
            {name: target.load(PATH, cookie, seconds=SECONDS) for name, target in targets.items()}
            for _ in range(ROUNDS)
        ]
    return _report(rounds)


def _make_plain_session(url: str, cookie: str) -> None:
    session = {"sub": "alice", "auth_time": 1_700_000_000, "expires_at": time.time() + 3600}
    with redis_client.Redis.from_url(url) as client:
        client.set("plain:" + hashlib.sha256(cookie.encode()).hexdigest(), json.dumps(session))


def _report(rounds: list[dict[str, float]]) -> bool:
    for number, found in enumerate(rounds, 1):
        of_empty, of_plain = found["verify"] / found["empty"], found["verify"] / found["plain"]
        figures = ", ".join(f"{name} {value:.0f}/s" for name, value in found.items())
        print(f"round {number}: {figures}; verify/empty {of_empty:.2f}, verify/plain {of_plain:.2f}")
    of_empty = statistics.median(found["verify"] / found["empty"] for found in rounds)
    of_plain = statistics.median(found["verify"] / found["plain"] for found in rounds)
    print(f"median verify/empty {of_empty:.2f} (target: at least {AT_LEAST_OF_EMPTY})")
    print(f"median verify/plain {of_plain:.2f} (target: at least {AT_LEAST_OF_PLAIN})")
    return of_empty >= AT_LEAST_OF_EMPTY and of_plain >= AT_LEAST_OF_PLAIN
