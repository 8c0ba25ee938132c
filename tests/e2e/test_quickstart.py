"""The README and docs/quickstart.md, followed to the letter by somebody who knows nothing else."""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers import document_runner, install, process
from tests.peers.bff import Visitor
from tests.peers.document_runner import Block, Shell

pytestmark = pytest.mark.e2e

README = document_runner.ROOT / "README.md"
QUICKSTART = document_runner.ROOT / "docs" / "quickstart.md"
# Of the README these are only looked at: test_make_run.py serves, and a suite that runs itself has no end.
TRIED = {"make ": "make --dry-run ", ".venv/bin/gunicorn ": ".venv/bin/gunicorn --check-config "}
BEGINNINGS = f"^(?:{'|'.join(map(re.escape, TRIED))})"
PROGRAMS = {"redis-server": "redis-server", "nginx-light": "nginx", "curl": "curl", "openssl": "openssl"}
ALREADY_HERE = {"python3-venv"}  # this Python runs in one
ENDINGS = ("kill ",)


@dataclass(frozen=True)
class Followed:
    """When everything runs. site: what browsers see; said: what each block of commands printed;
    ending: the block that stops everything; others: processes that ran before, of servers that modules share."""

    site: str
    said: list[str]
    shell: Shell
    ending: str
    others: frozenset[int]

    def running(self) -> list[str]:
        """The command line of each process that was started since."""
        return [command for pid, command in process.survivors().items() if pid not in self.others]


def ports_of(document: str) -> dict[int, int]:
    """A free port for each of the table at the beginning."""
    addresses = re.findall(r"^\|.*`\w+://([\d.]+):(\d+)` \|$", document, re.MULTILINE)
    assert addresses
    return {int(port): process.free_port(host) for host, port in addresses}


def have(packages: Block) -> None:
    """What the document says that the machine must have, installed in the way of these tests."""
    command = shlex.split(packages.text)
    assert command[:2] == ["apt-get", "install"]
    for package in {word for word in command[2:] if not word.startswith("-")} - ALREADY_HERE:
        install.debian(PROGRAMS[package], package)
    if shutil.which("npm") is None:
        install.unavailable("the quickstart", "Node.js with npm is needed")


@pytest.fixture(scope="module")
def followed(folder: Path) -> Iterator[Followed]:
    text = QUICKSTART.read_text()
    ports = ports_of(text)
    blocks = document_runner.blocks(document_runner.elsewhere(text, ports))
    said: list[str] = []
    others = frozenset(process.survivors())
    with document_runner.following(folder) as (checkout, shell):
        for block in blocks:
            if block.word == "packages":
                have(block)
            elif block.file:
                (checkout / block.file).write_text(block.text)
            elif block.commands and not block.text.startswith(ENDINGS):
                said.append(shell.run(block.text))
        (ending,) = [block.text for block in blocks if block.commands and block.text.startswith(ENDINGS)]
        yield Followed(f"http://127.0.0.1:{ports[8080]}", said, shell, ending, others)


def test_the_commands_of_the_readme_are_commands(folder: Path) -> None:
    commands = [block.text for block in document_runner.blocks(README.read_text()) if block.commands]
    assert len(commands) > 2
    (folder / "readme").mkdir()
    with document_runner.following(folder / "readme") as (_, shell):
        for text in commands:
            shell.run(re.sub(BEGINNINGS, lambda found: TRIED[found[0]], text, flags=re.MULTILINE))


def test_a_script_without_a_session_is_told_why(followed: Followed) -> None:
    (answer,) = [text for text in followed.said if "/1.1 " in text]
    assert "401" in answer.splitlines()[0]
    assert '"code": "unauthenticated"' in answer


def test_a_person_logs_in_and_is_greeted_by_name(followed: Followed) -> None:
    (promised,) = [block.text for block in document_runner.blocks(QUICKSTART.read_text()) if block.language == "text"]
    with Visitor(followed.site) as alice:
        sent = alice.open(f"{followed.site}/reports")
        assert (sent.status_code, sent.headers["Location"].partition("?")[0]) == (302, f"{followed.site}/auth/login")
        landed = alice.walk(f"{followed.site}/reports", f"{followed.site}/auth/callback", login="alice", password="any")
        back = alice.open(landed)
        assert back.headers["Location"].endswith("/reports")
        page = alice.open(f"{followed.site}/reports")
        assert (page.status_code, page.text) == (200, promised)
        assert {cookie.name for cookie in alice.cookies if cookie.domain == "127.0.0.1"} == {
            "bff_session",
            "bff_rounds",
        }

        answer = alice.open(f"{followed.site}/auth/logout?csrf={alice.csrf_token()}")
        assert answer.status_code == 302
        assert alice.open(f"{followed.site}/reports").status_code == 302


def test_what_it_starts_it_stops(followed: Followed) -> None:
    started = followed.running()
    assert {"redis-server", "nginx:", "node"} <= {command.split()[0].rpartition("/")[2] for command in started}
    followed.shell.run(followed.ending)
    assert [command for command in followed.running() if not command.startswith("bash ")] == []
