"""`make run` from a fresh clone on a Debian that has Python, pip, venv and make, and no compiler: alice logs in."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import debian, process
from tests.peers.bff import Visitor
from tests.peers.document_runner import ROOT

pytestmark = pytest.mark.e2e

INSTALLED_WITHIN = 300.0


@pytest.fixture(scope="module")
def bare(folder: Path) -> Iterator[Path]:
    with debian.root(folder) as root:
        clone(root / "bff")
        yield root


def clone(target: Path) -> None:
    """What a clone of this working tree's files would hold."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def test_make_run_needs_no_compiler(bare: Path, folder: Path) -> None:
    assert not [name for name in ("cc", "gcc", "c++", "cargo") if shutil.which(name, path=str(bare / "usr" / "bin"))]
    port, log = process.free_port(), folder / "make-run.log"
    words = [f"PORT={port}", "WEB_CONCURRENCY=1", "PIP_NO_COMPILE=1", "make", "-C", "/bff", "run"]
    with log.open("wb") as output:
        running = process.start(
            debian.command(bare, words), env=debian.environment(process.marked()), cwd=folder, output=output
        )
        try:
            process.wait_for_port(port, process=running, seconds=INSTALLED_WITHIN)
            with Visitor(f"http://127.0.0.1:{port}") as alice:
                assert alice.login().status_code == 302
                assert alice.session()["user"]["sub"] == "alice"
                assert alice.auth_verify().headers["X-User-ID"] == "alice"
        except RuntimeError as err:
            pytest.fail(f"{err}\n{log.read_text(errors='replace')[-3000:]}")
        finally:
            process.stop(running)
    records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [record["http_parser"] for record in records if record["event"] == "http_parser"] == ["python"]
