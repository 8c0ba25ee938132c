"""A start with mistakes in ten settings names all ten at once, ends with 78, and never binds the port."""

import socket
import subprocess

import pytest

from tests.peers import bff, process

pytestmark = pytest.mark.e2e

EX_CONFIG = 78
MISTAKES = {
    "ENVIRONMENT": "live",
    "BFF_BASE_URL": "ftp://app.example.com",
    "BFF_SECRETS": "c2hvcnQ=",
    "REDIS_URL": "http://redis.example.com",
    "BFF_COOKIE_NAME": "my session",
    "BFF_COOKIE_SAMESITE": "Sometimes",
    "SESSION_LIFETIME": "a day",
    "SESSION_BINDING": "maybe",
    "TRUSTED_PROXIES": "everybody",
    "LOG_LEVEL": "loud",
}


def test_ten_mistakes_are_ten_messages(tmp_path_factory: pytest.TempPathFactory) -> None:
    port = process.free_port()
    folder = tmp_path_factory.mktemp("bad_settings")
    result = subprocess.run(
        bff.COMMAND,
        cwd=bff.ROOT,
        env=bff.environment(folder, MISTAKES, port=port),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    messages = [line for line in result.stderr.splitlines() if line.startswith("  - ")]
    assert result.returncode == EX_CONFIG
    assert sorted(line.removeprefix("  - ").partition(":")[0] for line in messages) == sorted(MISTAKES)
    assert "Listening at" not in result.stderr
    assert "Traceback" not in result.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
