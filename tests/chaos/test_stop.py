"""A worker hears that it shall stop from the moment it is there, and waits for nobody who asks nothing."""

import http.client
import os
import signal
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.peers import bff, process

pytestmark = pytest.mark.e2e

SLOW = """
import time
exec(compile(open("gunicorn.conf.py").read(), "gunicorn.conf.py", "exec"))

def post_fork(server, worker):
    time.sleep(%s)
"""
START_UP = 1.0
PATIENCE = 15  # far less than gunicorn's graceful_timeout, after which it kills


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_a_master_whose_workers_only_start_up_stops(tmp_path: Path, worker_class: str) -> None:
    config, port = tmp_path / "slow.conf.py", process.free_port()
    config.write_text(SLOW % START_UP)
    command = [str(Path(sys.executable).parent / "gunicorn"), "-c", str(config), "wsgi:app"]
    env = bff.environment(tmp_path, {"WEB_WORKER_CLASS": worker_class}, port=port, workers=2)
    with process.running(command, port=port, env=env, cwd=bff.ROOT, log=tmp_path / "log") as master:
        children = Path(f"/proc/{master.pid}/task/{master.pid}/children")
        deadline = time.monotonic() + PATIENCE
        while len(children.read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(process.POLL)
        os.kill(master.pid, signal.SIGTERM)
        assert master.wait(PATIENCE) == 0


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_idle_connections_hold_up_no_stop(tmp_path: Path, worker_class: str) -> None:
    """What arrives on one in the next moment is answered all the same."""
    with ExitStack() as stack:
        service = stack.enter_context(bff.running(tmp_path, {"WEB_WORKER_CLASS": worker_class}))
        silent, asking, unused = (
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)))
            for _ in range(3)
        )
        assert [_verify(each).status for each in (silent, asking)] == [401, 401]
        unused.connect()
        os.kill(service.process.pid, signal.SIGTERM)
        last = _verify(asking)
        assert last.status == 401
        assert service.process.wait(PATIENCE) == 0
        assert silent.sock.recv(1) == b""


def _verify(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("GET", "/auth/verify")
    answer = connection.getresponse()
    answer.read()
    return answer
