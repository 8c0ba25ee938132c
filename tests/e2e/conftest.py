"""What every end-to-end module needs: a folder of its own, and proof that it left no process behind."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import process, shared

ENDED_WITHIN = 5


@pytest.fixture(scope="session", autouse=True)
def _shared_ends() -> Iterator[None]:
    yield
    shared.end()


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    before = process.left_behind()
    yield
    deadline = time.monotonic() + ENDED_WITHIN
    while left := {pid: name for pid, name in process.left_behind().items() if pid not in before}:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(process.POLL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])
