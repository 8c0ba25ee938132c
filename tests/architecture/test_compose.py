"""deploy/compose.yaml and the Dockerfiles, as far as they can be judged without Docker: see ADR 24."""

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bff import settings, settings_check
from bff.settings.environment import VARIABLES
from bff.settings.telemetry import OtelVariablesSchema
from tests.architecture.source import ROOT

DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WRITABLE_ROOT = {"kafka"}
NO_HEALTH_CHECK = {"app", "otel-collector", "bff"}  # nothing in their images could ask; the BFF's is in its Dockerfile
SECRET = base64.b64encode(hashlib.sha256(b"compose").digest()).decode()


def program(name: str) -> Path:
    return Path(sys.executable).parent / name


def checked(*command: str | Path) -> tuple[int, str]:
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout + result.stderr


def mounts() -> list[tuple[str, str]]:
    """(service, path in this folder) of everything that is mounted from it, built from it, or read from it."""
    found = []
    for name, service in SERVICES.items():
        sources = [volume.split(":")[0] for volume in service.get("volumes", [])]
        sources += [*service.get("env_file", []), *([service["build"]["context"]] if "build" in service else [])]
        found += [(name, source) for source in sources if source.startswith(".")]
    return found


def test_it_is_what_the_schema_of_compose_files_says() -> None:
    assert checked(program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", FILE) == (
        0,
        "ok -- validation done\n",
    )


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "deploy/provider/Dockerfile"])
def test_the_linter_of_dockerfiles_is_content(dockerfile: str) -> None:
    assert checked(program("hadolint"), "--no-color", dockerfile) == (0, "")


@pytest.mark.parametrize(("service", "path"), mounts())
def test_what_is_mounted_exists(service: str, path: str) -> None:
    assert (DEPLOY / path).exists()


def test_named_volumes_networks_and_dependencies_exist() -> None:
    for service in SERVICES.values():
        named = [one.split(":")[0] for one in service.get("volumes", []) if not one.startswith(".")]
        assert set(named) <= COMPOSE["volumes"].keys()
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service.get("read_only", False) is (name not in WRITABLE_ROOT)
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()
    assert ("healthcheck" in service) is (name not in NO_HEALTH_CHECK)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_who_waits_for_health_waits_for_somebody_who_tells_it(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        tells = "healthcheck" in SERVICES[other] or other == "bff"
        assert how["condition"] == ("service_healthy" if tells else "service_started")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_only_this_machine_reaches_it_and_every_version_is_exact(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", []) if not port.startswith("127.0.0.1:")] == []
    if "build" not in SERVICES[name]:
        assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", SERVICES[name]["image"])


def test_every_base_image_is_of_an_exact_version() -> None:
    for file in (ROOT / "Dockerfile", DEPLOY / "provider" / "Dockerfile"):
        bases = re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE)
        assert bases
        assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases)


def test_the_bffs_variables_exist_and_make_sense() -> None:
    given: dict[str, str] = SERVICES["bff"]["environment"]
    assert given.keys() <= VARIABLES | {str(field.data_key) for field in OtelVariablesSchema().fields.values()}
    values = {name: re.sub(r"\$\{(\w+).*\}", SECRET, value) for name, value in given.items()}
    (mounted,) = [volume.split(":") for volume in SERVICES["bff"]["volumes"]]
    assert mounted[1:] == [values["BFF_CONFIG_DIR"], "ro"]
    config = settings.load(values | {"BFF_CONFIG_DIR": str(DEPLOY / mounted[0])})
    assert settings_check.problems(config) == []
    assert [profile.id for profile in config.verify_profiles] == ["pages"]
    told = SERVICES["traefik"]["environment"]
    port = values["VERIFY_BIND"].rpartition(":")[2]
    assert (told["BFF_VERIFY"], told["BFF_VERIFY_URL"]) == ("/auth/forward@pages", f"http://bff:{port}")


def test_addresses_within_are_those_of_services() -> None:
    """host:port of each other service that one of ours or Traefik is told of."""
    aliases = {"login.localhost", "app.localhost", "localhost"}
    told = [str(value) for name in ("bff", "traefik") for value in SERVICES[name]["environment"].values()]
    hosts = {found[1] for text in told if (found := re.search(r"(?:://|^)([a-z][a-z.-]*):\d+", text))}
    assert hosts - aliases == {"redis", "kafka", "otel-collector", "bff", "app"}
    assert hosts - aliases <= SERVICES.keys()


def test_traefik_reads_its_routes_where_they_are_mounted() -> None:
    (mounted,) = [volume.split(":") for volume in SERVICES["traefik"]["volumes"]]
    lines = (DEPLOY / "traefik" / "traefik.env").read_text().splitlines()
    assert f"TRAEFIK_PROVIDERS_FILE_FILENAME={mounted[1]}" in lines


def test_the_collector_uses_only_what_it_declares() -> None:
    config = yaml.safe_load((DEPLOY / "otel" / "collector.yaml").read_text())
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= config[kind].keys()
