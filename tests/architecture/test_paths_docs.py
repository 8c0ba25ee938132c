"""docs/paths.md lists what the BFF serves, all of it and nothing else.

tests/e2e/test_proxies.py asks for each of these paths through each proxy of deploy/.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from bff import settings
from bff.app import create_app, stop
from bff.web.forward_auth import ENVOY, FORWARDED, NGINX
from tests.architecture import markdown
from tests.architecture.source import ROOT

ROWS = markdown.rows("paths.md")
DEVELOPMENT = re.compile(r"/(dev/.*)?")
"""The demo page, the embedded provider and the sample API."""
PLACES = {"public", "inside", "verify"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder: Path = tmp_path_factory.mktemp("paths")
    app = create_app(settings.load({"BFF_DATA_DIR": str(folder)}, ROOT / "config"))
    yield app
    stop(app)


def served(app: Flask) -> dict[str, set[str]]:
    """Methods by path, as the document writes it."""
    found: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        if not DEVELOPMENT.fullmatch(rule.rule):
            methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            found.setdefault(_shape(rule.rule), set()).update(methods)
    return found


def _shape(path: str) -> str:
    return re.sub(r"[<{]\w+[}>]", "{}", path.replace("<anything:_rest>", "**"))


def test_every_path_that_is_served_is_listed_and_no_other(app: Flask) -> None:
    listed = {_shape(path): set(cells[1].split(", ")) for path, cells in ROWS.items() if cells[2] != "verify"}
    assert listed == served(app)


def test_every_dialect_of_verify_is_listed_and_no_other() -> None:
    listed = {path for path, cells in ROWS.items() if cells[2] == "verify"}
    assert listed == {*FORWARDED, NGINX, ENVOY, f"{FORWARDED[0]}@{{profile}}"}


def test_each_says_where() -> None:
    assert {cells[2] for cells in ROWS.values()} == PLACES
