"""What gunicorn.conf.py does in the master, done in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bff.settings_check import EX_CONFIG

ROOT = Path(__file__).parents[2]
MASTER = """
import gc, json, runpy, weakref

conf = runpy.run_path("gunicorn.conf.py")
import wsgi

class Arbiter:
    class app:
        callable = wsgi.app

class Circle:
    def __init__(self):
        self.itself = self

class Server:
    class cfg:
        http_parser = conf["http_parser"]

conf["when_ready"](Server)
frozen, looked_at = gc.get_freeze_count(), len(gc.get_objects())
former = weakref.ref(Circle())
gc.freeze()
conf["on_reload"](Arbiter)
print(json.dumps([frozen, looked_at, gc.get_freeze_count(), former() is None]))
"""


def test_the_garbage_collector_leaves_alone_what_stays(tmp_path: Path) -> None:
    """In the workers as well, which are copies of the master. What a reload has replaced is collected all the same."""
    done = subprocess.run(
        [sys.executable, "-c", MASTER],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "BFF_DATA_DIR": str(tmp_path),
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "m"),
        },
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    frozen, looked_at, again, collected = json.loads(done.stdout)
    assert frozen > 20 * looked_at
    assert again > 0.9 * frozen
    assert collected


@pytest.mark.parametrize(
    ("variable", "value"), [("WEB_WORKER_CLASS", "sync"), ("WEB_THREADS", "many"), ("WEB_MAX_REQUESTS", "-1")]
)
def test_what_only_gunicorn_reads_is_refused_as_any_other_mistake(tmp_path: Path, variable: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "gunicorn.conf.py"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BFF_DATA_DIR": str(tmp_path), variable: value},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == EX_CONFIG
    assert f"  - {variable}: {value!r} is n" in done.stderr
