"""docs/reliability.md: each row names a test that is there, and each module of tests/chaos stands in a row."""

import re

import pytest

from tests.architecture.source import ROOT
from tests.conftest import ALONE, LONG

PAGE = ROOT / "docs" / "reliability.md"
ROWS = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
HEAD, FAULTS = ROWS[0], {row[0]: row for row in ROWS[1:]}
MODULES = {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "chaos").glob("test_*.py")}


def shown_by(fault: str) -> list[str]:
    return re.findall(r"`(tests/[^`]+)`", FAULTS[fault][-1])


def test_the_page_has_a_table_with_a_row_for_each_fault() -> None:
    assert HEAD == ["fault", "what a user sees", "what the BFF does", "shown by"]
    assert len(FAULTS) == len(ROWS) - 1 > 0, "a fault is named twice, or none is"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_is_whole_and_names_tests_that_are_there(fault: str) -> None:
    assert all(FAULTS[fault])
    assert len(FAULTS[fault]) == len(HEAD)
    assert shown_by(fault)
    assert [name for name in shown_by(fault) if not (ROOT / name).is_file()] == []


def test_each_module_of_chaos_stands_in_one_row() -> None:
    named = [name for fault in FAULTS for name in shown_by(fault) if name.startswith("tests/chaos/")]
    assert sorted(named) == sorted(MODULES)


def test_the_makefile_and_the_scheduler_name_modules_that_are_there() -> None:
    """A module that was renamed would silently lose its place in the run."""
    named = {*re.findall(r"tests/[\w/]+\.py", (ROOT / "Makefile").read_text()), *ALONE, *LONG}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
