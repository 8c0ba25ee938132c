"""docs/routes-and-policies.md: its files load, its commands print what it says, and its policies answer as it says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bff import settings, settings_check
from bff.pdp.cedar import Cedar
from bff.pdp.model import Evaluation, properties
from tests.flows.policy import read
from tests.peers import document_runner

pytestmark = pytest.mark.e2e

GUIDE = (document_runner.ROOT / "docs" / "routes-and-policies.md").read_text()
ROW = re.compile(r"^\| *([a-z, ]*?) *\| (read|change) \| *(\d*) *\| (yes|no)(?:: (.*?))? \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def written(folder: Path) -> Iterator[Path]:
    """The guide's files, after its commands have printed what it says."""
    blocks = document_runner.blocks(GUIDE)
    files, commands = [block for block in blocks if block.file], [block for block in blocks if block.commands]
    assert len(files) == 3
    assert len(commands) == 3
    expected = [block.text for block in blocks if block.word == "output"]
    with document_runner.following(folder) as (checkout, shell):
        (checkout / "guide" / "policies").mkdir(parents=True)
        for block in files:
            (checkout / block.file).write_text(block.text)
        said = [shell.run(block.text) for block in commands]
        assert [text for text in said if text] == expected
        yield checkout / "guide"


def test_the_files_hold_no_mistake(written: Path) -> None:
    config = settings.load({"BFF_DATA_DIR": str(written), "VERIFY_BIND": "127.0.0.1:8001"}, written)
    assert settings_check.problems(config) == []
    assert [route.id for route in config.routes] == ["orders-read", "orders-change"]
    assert [profile.id for profile in config.verify_profiles] == ["pages", "reports"]


def test_the_policies_answer_as_the_table_says(written: Path) -> None:
    cedar, rows = Cedar(read(written / "policies"), "roles"), ROW.findall(GUIDE)
    assert len(rows) == 5
    for roles, action, quantity, answer, reason in rows:
        decision = cedar.decide(question([role for role in roles.split(", ") if role], action, quantity))
        assert (decision.allowed, decision.reason) == (answer == "yes", reason), (roles, action, quantity)


def question(roles: list[str], action: str, quantity: str) -> Evaluation:
    about: dict[str, Any] = {"quantity": int(quantity)} if quantity else {}
    return Evaluation("user", "alice", properties({"roles": roles}), action, "order", "7", properties(about))
