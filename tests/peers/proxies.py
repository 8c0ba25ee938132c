"""Real reverse proxies that run the very files in deploy/, and an application behind them that says what it got."""

import getpass
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import requests

from tests.peers import install, process

DEPLOY = Path(__file__).parents[2] / "deploy"


class Echo(BaseHTTPRequestHandler):
    """Answers with the request's method, path and header fields, as they arrived."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"method": self.command, "path": self.path, "headers": self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server finds them by these names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep the test's output quiet."""


@contextmanager
def echo() -> Iterator[str]:
    """host:port of the application."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def caddy(
    port: int, bff: str, app: str, *, verify: str = "", profile: str = "", log: Path | None = None
) -> Iterator[None]:
    """Caddy on port; bff and app are host:port. verify: the BFF's listener for questions, if there is one.
    profile: of the BFF's config/verify.yaml, with the `@`."""
    env = {
        "SITE_ADDRESS": f"http://127.0.0.1:{port}",
        "BFF_ADDRESS": bff,
        "BFF_VERIFY_ADDRESS": verify or bff,
        "BFF_VERIFY": f"/auth/verify{profile}",
        "APP_ADDRESS": app,
    }
    file = DEPLOY / "caddy" / "Caddyfile"
    with process.running([program("caddy"), "run", "--config", file], port=port, env=env, log=log):
        yield


@contextmanager
def traefik(
    port: int,
    bff: str,
    app: str,
    *,
    verify: str = "",
    profile: str = "",
    log: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Traefik, as `caddy`. more: of its static configuration."""
    env = _variables(DEPLOY / "traefik" / "traefik.env") | {
        "TRAEFIK_ENTRYPOINTS_WEB_ADDRESS": f"127.0.0.1:{port}",
        "TRAEFIK_PROVIDERS_FILE_FILENAME": str(DEPLOY / "traefik" / "dynamic.yml"),
        "BFF_URL": f"http://{bff}",
        "BFF_VERIFY_URL": f"http://{verify or bff}",
        "BFF_VERIFY": f"/auth/forward{profile}",
        "APP_URL": f"http://{app}",
        **(more or {}),
    }
    with process.running([program("traefik")], port=port, env=env, log=log):
        _wait_for_routes(port)  # it listens before it has read dynamic.yml
        yield


@contextmanager
def nginx(
    port: int,
    bff: str,
    app: str,
    *,
    verify: str = "",
    profile: str = "",
    log: Path | None = None,
    streams: str = "",
) -> Iterator[None]:
    """nginx, as `caddy`: its configuration with the files replaced that an operator writes. streams: streams.conf."""
    program = install.debian("nginx", "nginx-light")
    with TemporaryDirectory() as made:
        folder = Path(made) / "nginx"
        shutil.copytree(DEPLOY / "nginx", folder)
        servers = {"bff": bff, "bff_verify": verify or bff, "app": app}
        upstreams = [f"upstream {name} {{ server {at}; keepalive 32; }}" for name, at in servers.items()]
        (folder / "upstreams.conf").write_text("\n".join(upstreams))
        (folder / "streams.conf").write_text(streams)
        (folder / "site.conf").write_text(f"listen 127.0.0.1:{port};\nset $verify /auth/verify/nginx{profile};\n")
        user = ["-g", f"user {getpass.getuser()};"] if os.geteuid() == 0 else []  # others may not enter the folder
        command: list[str | Path] = [program, "-p", made, "-e", "stderr", "-c", folder / "nginx.conf", *user]
        with process.running(command, port=port, log=log):
            yield


@contextmanager
def envoy(
    port: int, bff: str, app: str, *, verify: str = "", profile: str = "", log: Path | None = None
) -> Iterator[None]:
    """Envoy, as `caddy`: its configuration with those lines changed that end with a name."""
    text = (DEPLOY / "envoy" / "envoy.yaml").read_text()
    servers = {"SITE": f"127.0.0.1:{port}", "BFF": bff, "BFF_VERIFY": verify or bff, "APP": app}
    for name, address in servers.items():
        host, _, number = address.rpartition(":")
        text = _changed(text, name, f"socket_address: {{address: {host}, port_value: {number}}}")
    text = _changed(text, "VERIFY", f"path_prefix: /auth/verify/envoy{profile}")
    options = ["--config-yaml", text, "--disable-hot-restart", "--concurrency", "1"]
    with process.running([program("envoy"), *options], port=port, log=log):
        yield


@contextmanager
def haproxy(
    port: int, bff: str, app: str, *, verify: str = "", profile: str = "", log: Path | None = None
) -> Iterator[None]:
    """HAProxy, as `caddy`."""
    program = install.debian("haproxy", "haproxy")
    env = {
        "SITE_ADDRESS": f"127.0.0.1:{port}",
        "BFF_ADDRESS": bff,
        "BFF_VERIFY_ADDRESS": verify or bff,
        "BFF_VERIFY": f"/auth/verify{profile}",
        "APP_ADDRESS": app,
    }
    command: list[str | Path] = [program, "-db", "-C", DEPLOY / "haproxy", "-f", "haproxy.cfg"]
    with process.running(command, port=port, env=env, log=log):
        yield


def _changed(text: str, name: str, line: str) -> str:
    changed, times = re.subn(rf"(?m)^( *)\S.*  # {name}$", rf"\g<1>{line}", text)
    if times != 1:
        raise RuntimeError(f"{times} lines end with # {name}")
    return changed


def _wait_for_routes(port: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while requests.get(f"http://127.0.0.1:{port}/public/", timeout=seconds).status_code == 404:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the proxy on {port} has no routes after {seconds} s")
        time.sleep(process.POLL)


def _variables(file: Path) -> dict[str, str]:
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def program(name: str) -> Path:
    """A program that a development requirement put beside this Python."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        install.unavailable(name, "pip install -r requirements-dev.txt")
    return path
