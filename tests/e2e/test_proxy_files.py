"""The configurations in deploy/ as an operator finds them, with the addresses that they come with."""

import subprocess
from pathlib import Path

import pytest

from tests.peers import install
from tests.peers.proxies import DEPLOY, program

pytestmark = pytest.mark.e2e


def checked(*command: str | Path) -> str:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_nginx(tmp_path: Path) -> None:
    nginx = install.debian("nginx", "nginx-light")
    file = DEPLOY / "nginx" / "nginx.conf"
    assert "[warn]" not in checked(nginx, "-t", "-p", tmp_path, "-e", "stderr", "-c", file)


def test_envoy() -> None:
    """Envoy tells of fields that are on their way out when it has read them."""
    told = checked(program("envoy"), "--mode", "validate", "-l", "warning", "-c", DEPLOY / "envoy" / "envoy.yaml")
    assert "eprecated" not in told


def test_caddy() -> None:
    checked(program("caddy"), "validate", "--config", DEPLOY / "caddy" / "Caddyfile")


def test_haproxy() -> None:
    checked(install.debian("haproxy", "haproxy"), "-c", "-C", DEPLOY / "haproxy", "-f", "haproxy.cfg")
