"""A real policy decision point (Cerbos), which speaks AuthZEN 1.0; with the policies of its folder."""

import json
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers import install, process

FOLDER = Path(__file__).parent / "cerbos"
HOST = "127.0.0.1"
ROLES = "cerbos.roles"  # the property of a subject that Cerbos takes for its roles


@dataclass
class Cerbos:
    """A server on a port that stays its own while it is down."""

    config: Path
    port: int
    log: Path | None = None

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @contextmanager
    def running(self) -> "Iterator[subprocess.Popen[bytes]]":
        command: list[str | Path] = [_program(), "server", f"--config={self.config}", "--debug-listen-addr="]
        with process.running(command, port=self.port, log=self.log) as server:
            yield server


def prepared(folder: Path) -> Cerbos:
    """Not running yet. folder: for its configuration and log."""
    port = process.free_port()
    config = folder / "cerbos.json"
    content = {
        "server": {"httpListenAddr": f"{HOST}:{port}", "grpcListenAddr": f"{HOST}:{process.free_port()}"},
        "storage": {"driver": "disk", "disk": {"directory": str(FOLDER / "policies"), "watchForChanges": False}},
        "telemetry": {"disabled": True},
    }
    config.write_text(json.dumps(content))
    return Cerbos(config, port, folder / "cerbos.log")


def freeze(server: "subprocess.Popen[bytes]") -> None:
    """It keeps its connections, takes new ones, and answers none."""
    server.send_signal(signal.SIGSTOP)


def thaw(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(signal.SIGCONT)


def _program() -> Path:
    if shutil.which("npm") is None or (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        install.unavailable("cerbos", "its package from npm is for Linux on x86-64")
    return install.npm(FOLDER) / "@cerbos" / "cerbos-linux-x64" / "cerbos-linux-x64"
