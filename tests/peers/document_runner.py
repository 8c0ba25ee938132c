"""A stranger who follows a document of ours: writes the files it shows and runs the commands it gives, in its order.

The word after a block's language says what it is: ```sh commands for one shell that stays open; ```sh packages what the
machine must have; ```LANGUAGE file=PATH a file. Blocks that say neither, such as ```text, are only read.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, Self, cast

from bff.settings.environment import SERVER_VARIABLES, VARIABLES
from tests.peers import process

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<word>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE = 120
NOT_CHECKED_OUT = (".git", ".venv", ".bff", "node_modules", "__pycache__", ".*_cache", ".hypothesis", "quickstart")


class Block(NamedTuple):
    """word: what follows the language, empty when nothing does."""

    language: str
    word: str
    text: str

    @property
    def file(self) -> str:
        """The path that it is the content of; empty when it is no file."""
        name, _, path = self.word.partition("=")
        return path if name == "file" else ""

    @property
    def commands(self) -> bool:
        return (self.language, self.word) == ("sh", "")


def blocks(document: str) -> list[Block]:
    return [Block(one["language"], one["word"] or "", one["text"]) for one in BLOCK.finditer(document)]


def elsewhere(text: str, ports: Mapping[int, int]) -> str:
    """The text with these ports instead of those."""
    return re.sub(r"\b\d{4,5}\b", lambda found: str(ports.get(int(found[0]), found[0])), text)


def checkout(folder: Path) -> Path:
    """A copy of this repository as it is now, without what is made in it; its .venv is this Python's own."""
    copy = folder / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_CHECKED_OUT))
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


class Shell:
    """One bash that stays open, as a terminal does: what a block exports or starts is there for the next."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder = folder
        self._log = log
        self._done = 0
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, commands: str) -> str:
        """What they print. Raises AssertionError with that when one of them fails."""
        shell = self._process
        assert shell is not None
        assert shell.stdin is not None
        self._done += 1
        before, marker = self._log.stat().st_size, self._log.with_name(f"done-{self._done}")
        shell.stdin.write(f"{commands}\ntouch '{marker}'\n".encode())
        shell.stdin.flush()
        deadline = time.monotonic() + PATIENCE
        while not marker.exists():
            ended = shell.poll() is not None
            assert not ended, f"failed: {commands}\n{self._said(before)}"
            assert time.monotonic() < deadline, f"takes too long: {commands}\n{self._said(before)}"
            time.sleep(process.POLL)
        return self._said(before)

    def _said(self, since: int) -> str:
        return self._log.read_bytes()[since:].decode(errors="replace")

    def __enter__(self) -> Self:
        with self._log.open("ab") as output:
            self._process = process.start(
                ["bash", "-eo", "pipefail"], env=_environment(), cwd=self._folder, output=output, stdin=subprocess.PIPE
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            process.stop(self._process)
            with suppress(BrokenPipeError):
                cast(IO[bytes], self._process.stdin).close()


def _environment() -> dict[str, str]:
    """This machine's, without what would be settings of the BFF's or of other programs' under test."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES | SERVER_VARIABLES}


@contextmanager
def following(folder: Path) -> Iterator[tuple[Path, Shell]]:
    """A fresh checkout and a shell in it."""
    copy = checkout(folder)
    with Shell(copy, folder / "shell.log") as shell:
        yield copy, shell
