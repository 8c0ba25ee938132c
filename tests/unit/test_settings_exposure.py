"""Settings that can be read, and that let anybody in, are refused by name."""

import base64
import os
from pathlib import Path

import pytest

from tests.unit.test_settings_check import ANOTHER, KEY, PRODUCTION, found

WIDE = [
    "0.0.0.0/0", "::/0", "0.0.0.0/1", "0.0.0.0/1, 128.0.0.0/1", "128.0.0.0/7", "10.0.0.0/7", "::/1", "2000::/3", "::/8",
    "2600::/12", "127.0.0.0/8, 0.0.0.0/0", ",".join(f"{first}.0.0.0/8" for first in range(256)),
]  # fmt: skip
NARROW = [
    "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16", "fc00::/7", "fe80::/10", "127.0.0.0/8, ::1", "104.16.0.0/13",
    "2600:9000::/28", "2400:cb00::/32", "192.0.2.7", "unix", "3.0.0.0/8",
]  # fmt: skip


def encoded(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


def only(change: dict[str, str], folder: Path) -> str:
    lines = found({**PRODUCTION, **change}, folder)
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("networks", WIDE)
def test_proxies_that_are_everybody(tmp_path: Path, networks: str) -> None:
    assert only({"TRUSTED_PROXIES": networks}, tmp_path).startswith("TRUSTED_PROXIES: ")


@pytest.mark.parametrize("networks", NARROW)
def test_proxies_that_somebody_may_have(tmp_path: Path, networks: str) -> None:
    assert found({**PRODUCTION, "TRUSTED_PROXIES": networks}, tmp_path) == []


@pytest.mark.parametrize("networks", WIDE)
def test_metrics_for_everybody_on_the_public_port(tmp_path: Path, networks: str) -> None:
    change = {"METRICS_ALLOWED_CIDRS": networks}
    assert only(change, tmp_path).startswith("METRICS_ALLOWED_CIDRS: ")
    for other in ({"METRICS_TOKEN": "a token of the scrapers"}, {"METRICS_BIND": "127.0.0.1:9100"}):
        assert found({**PRODUCTION, **change, **other}, tmp_path) == []


@pytest.mark.parametrize("networks", [each for each in NARROW if each != "unix"])
def test_metrics_for_scrapers_on_the_public_port(tmp_path: Path, networks: str) -> None:
    assert found({**PRODUCTION, "METRICS_ALLOWED_CIDRS": networks}, tmp_path) == []


@pytest.mark.parametrize(
    "secret",
    [
        bytes(32), b"k" * 32, b"\xff" * 64, b"ab" * 16, b"0123456789abcdef" * 2, b"changeme-changeme-changeme-chang",
        bytes(range(32)), bytes(range(255, 191, -2)), b"\x00" * 28 + b"\x01\x02\x03\x04",
    ],
)  # fmt: skip
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_secrets_that_anybody_guesses(tmp_path: Path, secret: bytes, environment: str) -> None:
    for number, keys in enumerate(([secret], [base64.b64decode(KEY), secret]), 1):
        change = {"ENVIRONMENT": environment, "BFF_SECRETS": ",".join(map(encoded, keys))}
        assert only(change, tmp_path).startswith(f"BFF_SECRETS: key {number} is not random")


def test_a_key_that_is_there_twice(tmp_path: Path) -> None:
    assert only({"BFF_SECRETS": f"{KEY},{KEY}"}, tmp_path).startswith("BFF_SECRETS: names one key twice")


def test_random_secrets_are_taken(tmp_path: Path) -> None:
    for _ in range(50):
        raw, text = os.urandom(32), os.urandom(32).hex().encode()  # `openssl rand -hex 32`, encoded once more
        assert found({**PRODUCTION, "BFF_SECRETS": f"{encoded(raw)} {encoded(text)}"}, tmp_path) == []


def test_a_developer_may_have_any_secret(tmp_path: Path) -> None:
    assert found({"BFF_SECRETS": encoded(b"k" * 32)}, tmp_path) == []


@pytest.mark.parametrize("name", ["CORS_ALLOW_ORIGINS", "BFF_ALLOWED_REDIRECT_HOSTS"])
@pytest.mark.parametrize(
    "origin", ["*", "null", "NULL", "https://null", "*.example.com", "https://*.example.com", "https://*", "file://x"]
)
def test_origins_that_are_nobodys(tmp_path: Path, name: str, origin: str) -> None:
    line = only({name: f"https://good.example.com {origin}"}, tmp_path)
    assert line.startswith(f"{name}: ")
    assert "origin" in line


def test_pages_over_http_may_not_use_the_session(tmp_path: Path) -> None:
    assert "use https" in only({"CORS_ALLOW_ORIGINS": "http://spa.example.com"}, tmp_path)
    for origin in ("https://spa.example.com", "http://127.0.0.1:5173", "http://localhost:5173"):
        assert found({**PRODUCTION, "CORS_ALLOW_ORIGINS": origin}, tmp_path) == []


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("https://app.example.com/bff", "BFF_BASE_URL: 'https://app.example.com/bff' is not an origin"),
        ("https://app.example.com?a=b", "BFF_BASE_URL: "),
        ("https://alice@app.example.com", "BFF_BASE_URL: "),
        ("https://*.example.com", "BFF_BASE_URL: "),
        ("http://app.example.com", "BFF_BASE_URL: is required in production and must be https."),
    ],
)
def test_a_base_url_that_is_no_https_origin(tmp_path: Path, base_url: str, message: str) -> None:
    assert any(line.startswith(message) for line in found({**PRODUCTION, "BFF_BASE_URL": base_url}, tmp_path))


def test_hsts_goes_with_https(tmp_path: Path) -> None:
    assert found({**PRODUCTION, "BFF_HSTS": "31536000", "BFF_SECRETS": f"{KEY} {ANOTHER}"}, tmp_path) == []
    (line,) = found({"BFF_HSTS": "31536000"}, tmp_path)
    assert line.startswith("BFF_HSTS: browsers ignore it over http")
