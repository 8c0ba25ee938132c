"""A worker hears that it shall stop from the moment it is there, not only when it has started up."""

import os
import signal
import sys
import time
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
