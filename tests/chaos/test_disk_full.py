"""The disk of the metrics is full when workers start: requests go on, and one loud line per worker says so."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.peers import bff
from tests.peers.bff import Visitor

pytestmark = pytest.mark.e2e


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system without room."""
    folder = tmp_path / "metrics"
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        with (folder / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(4096)):
                pass
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_requests_go_on(tmp_path: Path, full: Path, worker_class: str) -> None:
    settings = {"PROMETHEUS_MULTIPROC_DIR": str(full), "WEB_WORKER_CLASS": worker_class}
    with bff.running(tmp_path, settings, workers=2) as service, Visitor(service.base_url) as alice:
        assert alice.login().status_code == 302
        assert [alice.auth_verify().status_code for _ in range(20)] == [200] * 20
        assert service.metrics(), "the page is answered, whatever can be counted"
        loud = [record["pid"] for record in service.records() if record["event"] == "metrics_not_shared"]
        assert loud
        assert len(loud) == len(set(loud)), "once in a process"
