"""The images, without Docker: the Dockerfiles' very steps in fresh folders, and what comes out started as
deploy/compose.yaml starts it, with a real Redis and a real Traefik."""

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.peers import image, install, process, proxies, redis
from tests.peers.bff import Visitor
from tests.peers.document_runner import ROOT
from tests.peers.image import Image

pytestmark = pytest.mark.e2e

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
NOT_STARTED = re.compile("OTLP|TRACING|KAFKA")  # whom these variables are about
SECRET = base64.b64encode(os.urandom(32)).decode()
"""For every variable that the composition leaves to its operator."""
PROVIDER_HOST = "127.0.0.2"
TIMEOUT = 10


@dataclass(frozen=True)
class Deployment:
    """base_url: Traefik's. address: the BFF's own. traefik: what compose says to it."""

    base_url: str
    address: str
    traefik: dict[str, str]
    image: Image
    environ: dict[str, str]
    process: "subprocess.Popen[bytes]"
    built: dict[str, tuple[int, int]]

    def check_health(self) -> int:
        """The exit code of what HEALTHCHECK runs."""
        command = self.image.command("HEALTHCHECK")
        return subprocess.run(
            command, env=self.environ, cwd=self.image.here, check=False, capture_output=True, timeout=TIMEOUT
        ).returncode


@pytest.fixture(scope="module")
def built(folder: Path) -> Image:
    made = Image(ROOT, folder / "bff-image")
    made.build()
    return made


@pytest.fixture(scope="module")
def fast(folder: Path, built: Image) -> Image:
    """Its first stage again, with what is compiled."""
    if shutil.which("gcc") is None:
        install.unavailable("the image with the parser in C", "gcc is needed")
    shutil.copytree(built.folder, folder / "fast-image", symlinks=True)  # pip has the rest already
    made = Image(ROOT, folder / "fast-image", {"FAST": "1"})
    made.build(stages=1)
    return made


@pytest.fixture(scope="module")
def provider_image(folder: Path) -> Image:
    if shutil.which("npm") is None:
        install.unavailable("the provider's image", "Node.js with npm is needed")
    made = Image(ROOT / "deploy" / "provider", folder / "provider-image")
    made.build()
    return made


@pytest.fixture(scope="module")
def deployment(folder: Path, built: Image, provider_image: Image) -> Iterator[Deployment]:
    site, port, verify = process.free_port(), process.free_port(), process.free_port()
    provider = process.free_port(PROVIDER_HOST)
    files = built.files()
    with redis.RedisServer(redis.debian(), folder) as store, proxies.echo() as application, ExitStack() as stack:
        here = {
            "http://app.localhost:8080": f"http://127.0.0.1:{site}",
            "http://login.localhost:7001": f"http://{PROVIDER_HOST}:{provider}",
            "http://bff:8000": f"http://127.0.0.1:{port}",
            "http://bff:8001": f"http://127.0.0.1:{verify}",
            "0.0.0.0:8001": f"127.0.0.1:{verify}",
            "http://app:3000": f"http://{application}",
            ":8080": f"127.0.0.1:{site}",
            "redis://redis:6379/0": store.url,
            "172.31.250.0/24": "127.0.0.0/8",
            "/etc/bff": str(ROOT / "deploy" / "bff"),
        }
        issuer = provider_image.environment(composed("provider", here) | {"PORT": str(provider), "HOST": PROVIDER_HOST})
        start(stack, provider_image, issuer, provider, PROVIDER_HOST, folder / "provider.log")
        arguments = {
            "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port} --bind 127.0.0.1:{verify}",
            "PORT": str(port),
            "WEB_CONCURRENCY": "2",
        }
        environ = built.environment(composed("bff", here) | arguments)
        running = start(stack, built, environ, port, "127.0.0.1", folder / "bff.log")
        traefik = composed("traefik", here)
        stack.enter_context(proxies.traefik(site, "", "", log=folder / "traefik.log", more=traefik))
        yield Deployment(
            f"http://127.0.0.1:{site}", f"http://127.0.0.1:{port}", traefik, built, environ, running, files
        )


def composed(service: str, here: dict[str, str]) -> dict[str, str]:
    """The variables that deploy/compose.yaml gives a service, with the addresses that there are here."""
    given = {name: re.sub(r"\$\{(\w+).*\}", SECRET, value) for name, value in variables(service)}
    return {name: here.get(value, value) for name, value in given.items() if not NOT_STARTED.search(name)}


def variables(service: str) -> list[tuple[str, str]]:
    return list(COMPOSE[service]["environment"].items())


def start(
    stack: ExitStack, made: Image, env: dict[str, str], port: int, host: str, log: Path
) -> "subprocess.Popen[bytes]":
    """env: all that it gets, but for the mark of these tests."""
    env |= process.marked()
    output = stack.enter_context(log.open("ab"))
    command = image.confined(made, made.command())
    running = process.start(command, env=env, cwd=made.here, output=output)
    stack.callback(process.stop, running)
    process.wait_for_port(port, host, process=running)
    return running


def test_somebody_is_sent_to_the_provider_of_the_composition_and_let_in(deployment: Deployment) -> None:
    page = f"{deployment.base_url}/reports"
    with Visitor(deployment.base_url) as alice:
        sent = alice.open(page)
        assert (sent.status_code, sent.headers["Location"].partition("?")[0]) == (302, f"{alice.base_url}/auth/login")
        back = alice.open(alice.authorize(page))
        assert back.headers["Location"].endswith("/reports")
        told = {name.lower(): value for name, value in alice.open(page).json()["headers"]}
        assert told["x-user-id"] == "alice"
        assert alice.session()["user"]["roles"] == ["admin", "user"]


def test_traefik_says_how_it_is(deployment: Deployment) -> None:
    command = COMPOSE["traefik"]["healthcheck"]["test"]
    program = Path(sys.executable).parent / command[1]
    env = {**os.environ, **deployment.traefik}
    assert (
        subprocess.run([program, *command[2:]], env=env, check=False, capture_output=True, timeout=TIMEOUT).returncode
        == 0
    )


def test_it_has_the_parser_in_c_only_when_it_was_asked_for(built: Image, fast: Image, deployment: Deployment) -> None:
    found = [len(list(image.folder.glob("venv/lib/python*/site-packages/gunicorn_h1c"))) for image in (built, fast)]
    assert found == [0, 1]
    log = (deployment.image.folder.parent / "bff.log").read_text()
    assert '"event": "http_parser"' in log
    assert '"http_parser": "python"' in log


def test_it_is_not_development(deployment: Deployment) -> None:
    assert not (deployment.image.here / "bff" / "dev").exists()
    assert not (deployment.image.here / "config").exists()
    assert requests.get(f"{deployment.address}/", timeout=TIMEOUT).status_code == 404


def test_it_is_nobody_and_its_root_is_read_only(deployment: Deployment) -> None:
    if not image.may_confine():
        pytest.skip("this user may not make mounts or change its identity")
    status = Path(f"/proc/{deployment.process.pid}/status").read_text()
    assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
    (root,) = [
        line.split()[3] for line in Path(f"/proc/{deployment.process.pid}/mounts").read_text().splitlines()
        if line.split()[1] == "/"
    ]  # fmt: skip
    assert "ro" in root.split(",")


def test_it_says_how_it_is_and_writes_nothing_into_its_root(deployment: Deployment) -> None:
    """The last one here, because it ends it."""
    assert deployment.check_health() == 0
    for path in ("/health/ready", "/metrics"):  # as Prometheus asks, from an address in TRUSTED_PROXIES
        assert requests.get(f"{deployment.address}{path}", timeout=TIMEOUT).status_code == 200
    deployment.process.terminate()
    assert deployment.process.wait(TIMEOUT) == 0
    assert deployment.check_health() == 1
    assert deployment.image.files() == deployment.built
