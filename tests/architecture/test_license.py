"""The licence is the one that every file says."""

import hashlib
import json
import re
import tomllib

import pytest
import yaml

from tests.architecture.source import ROOT

SPDX = "Apache-2.0"
TEXT = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # SHA-256 of apache.org's LICENSE-2.0.txt


def test_its_text_is_whole() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == TEXT


def test_the_project_names_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["license-files"]) == (SPDX, ["LICENSE"])
    assert "(LICENSE)" in (ROOT / "README.md").read_text()
    assert yaml.safe_load((ROOT / "bff/web/openapi.yaml").read_text())["info"]["license"]["identifier"] == SPDX
    assert json.loads((ROOT / "deploy/provider/package.json").read_text())["license"] == SPDX


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "deploy/provider/Dockerfile"])
def test_images_name_it(dockerfile: str) -> None:
    labels = re.findall(r'org\.opencontainers\.image\.licenses="([^"]*)"', (ROOT / dockerfile).read_text())
    assert labels == [SPDX]


def test_the_image_holds_it() -> None:
    assert "!LICENSE" in (ROOT / ".dockerignore").read_text().split()
    assert re.search(r"^COPY (.* )?LICENSE ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
