"""What gunicorn.conf.py does in the master, done in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bff.settings_check import EX_CONFIG

ROOT = Path(__file__).parents[2]
MASTER = """
import gc, json, runpy, weakref

conf = runpy.run_path("gunicorn.conf.py")
import wsgi

class Circle:
    def __init__(self):
        self.itself = self

class Server:
    reexec_pid = master_pid = 0
    def signal(self, signum, frame): pass
    class app:
        callable = wsgi.app
        def reload(): pass
    class cfg:
        http_parser = conf["http_parser"]

conf["when_ready"](Server())
frozen, looked_at = gc.get_freeze_count(), len(gc.get_objects())
former = weakref.ref(Circle())
gc.freeze()
runpy.run_path("gunicorn.conf.py")["on_reload"](Server())
print(json.dumps([frozen, looked_at, gc.get_freeze_count(), former() is None]))
"""


def test_the_garbage_collector_leaves_alone_what_stays(tmp_path: Path) -> None:
    """In the workers as well, which are copies of the master. What a reload has replaced is collected all the same."""
    done = subprocess.run(
        [sys.executable, "-c", MASTER],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "BFF_DATA_DIR": str(tmp_path),
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "m"),
        },
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    frozen, looked_at, again, collected = json.loads(done.stdout)
    assert frozen > 20 * looked_at
    assert again > 0.9 * frozen
    assert collected


RELOAD = """
import json, logging, os, pathlib, runpy, sys

folder = pathlib.Path(os.environ["BFF_CONFIG_DIR"])
routes, level = folder / "routes.yaml", folder / "level"
level.write_text("info")
conf = runpy.run_path("gunicorn.conf.py")
import wsgi

class Server:
    reexec_pid = master_pid = 0
    def signal(self, signum, frame): pass
    class app:
        callable, cfg = wsgi.app, "former"
        def reload(self): self.reload_()
    class cfg:
        http_parser = conf["http_parser"]

def execute():
    server.app.cfg = "new"
    seen.append(runpy.run_path(os.environ.get("CONF", "gunicorn.conf.py")))

seen, server = [conf], Server()
server.app = Server.app()
server.app.reload_ = execute
conf["when_ready"](server)
exec(pathlib.Path(os.environ["CHANGES"]).read_text())
server.app.reload()
seen[-1]["on_reload"](server)
kept = server.app.callable is wsgi.app
print(json.dumps([kept, server.app.cfg, [each["loglevel"] for each in seen], [each["bind"] for each in seen]]))
"""


@pytest.mark.parametrize(
    ("change", "kept", "levels", "refused"),
    [
        ("", False, ["info", "info"], ""),
        ("level.write_text('debug')", False, ["info", "debug"], ""),
        ("level.write_text('debug'); routes.write_text('[')", True, ["info", "info"], "routes.yaml:1"),
        ("level.write_text('loud')", True, ["info", "info"], "LOG_LEVEL"),
        ("level.unlink()", True, ["info", "info"], "LOG_LEVEL_FILE"),
        ("level.write_text('debug'); os.environ['PORT'] = '8766'", True, ["info", "info"], "PORT, VERIFY_BIND"),
        ("os.environ['CONF'] = str(level)", True, ["info"], "gunicorn.conf.py: cannot be executed (NameError)"),
        ("level.write_text('('); os.environ['CONF'] = str(level)", True, ["info"], "cannot be executed (SyntaxError)"),
        ("os.environ['CONF'] = 'nowhere.py'", True, ["info"], "cannot be executed (FileNotFoundError)"),
        ("os.environ['WEB_THREADS'] = 'many'", True, ["info"], "cannot be executed (SystemExit)"),
    ],
)
def test_a_reload_is_in_effect_as_a_whole_or_not_at_all(
    tmp_path: Path, change: str, kept: bool, levels: list[str], refused: str
) -> None:
    """With gunicorn's own settings, and whatever becomes of its settings file."""
    (tmp_path / "changes").write_text(change)
    given = {"CHANGES": str(tmp_path / "changes"), "LOG_LEVEL_FILE": str(tmp_path / "level"), "PORT": "8765"}
    done = conf(tmp_path, {**given, "BFF_CONFIG_DIR": str(tmp_path)}, "-c", RELOAD)
    assert done.returncode == 0, done.stderr
    cfg = "new" if len(levels) == 2 else "former"
    assert json.loads(done.stdout)[:3] == [kept, cfg, levels]
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    said = [event["event"] for event in events if event["event"] in ("reload_refused", "configuration_in_effect")]
    assert said == ["configuration_in_effect", "reload_refused" if refused else "configuration_in_effect"]
    if refused:
        assert refused in str([event.get("problems") for event in events])


@pytest.mark.parametrize(
    ("variable", "value"), [("WEB_WORKER_CLASS", "sync"), ("WEB_THREADS", "many"), ("WEB_MAX_REQUESTS", "-1")]
)
def test_what_only_gunicorn_reads_is_refused_as_any_other_mistake(tmp_path: Path, variable: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "gunicorn.conf.py"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BFF_DATA_DIR": str(tmp_path), variable: value},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == EX_CONFIG
    assert f"  - {variable}: {value!r} is n" in done.stderr


BINDS = 'import json, runpy; print(json.dumps(runpy.run_path("gunicorn.conf.py")["bind"]))'


@pytest.mark.parametrize(
    ("verify_bind", "bound"),
    [
        ("", []),
        ("127.0.0.1:8001", ["127.0.0.1:8001"]),
        ("[::1]:8001", ["[::1]:8001"]),
        ("[0:0::1]:8001", ["[::1]:8001"]),
        ("unix:{0}/verify", ["unix:{0}/verify"]),
        ("unix://{0}/verify", ["unix:{0}/verify"]),
    ],
)
def test_proxies_have_a_listener_beside_the_public_one(tmp_path: Path, verify_bind: str, bound: list[str]) -> None:
    environ = {"VERIFY_BIND": verify_bind.format(tmp_path), "TRUSTED_PROXIES": "unix", "PORT": "8765"}
    done = conf(tmp_path, environ, "-c", BINDS)
    assert json.loads(done.stdout) == ["127.0.0.1:8765", *[each.format(tmp_path) for each in bound]]


@pytest.mark.parametrize(
    ("verify_bind", "complaint"),
    [
        ("8001", "is not an address to listen on"),
        ("localhost:8001", "is not an address to listen on"),
        ("127.0.0.1", "is not an address to listen on"),
        ("127.0.0.1:0", "needs a port"),
        ("unix:verify", "needs the whole path of a socket file"),
        ("unix:", "needs the whole path of a socket file"),
        ("unix:/" + "a" * 107, "needs the whole path of a socket file"),
        ("unix:/nowhere/at/all", "there is no folder"),
        ("unix:/etc/passwd", "is there already, and no socket"),
        ("0.0.0.0:8001", "development"),
        ("[::]:8001", "development"),
        ("127.0.0.1:8765", "has the port of the public listener"),
        ("127.0.0.1:9765", "has the port of METRICS_BIND"),
    ],
)
def test_where_proxies_cannot_ask(tmp_path: Path, verify_bind: str, complaint: str) -> None:
    environ = {"VERIFY_BIND": verify_bind, "TRUSTED_PROXIES": "unix", "PORT": "8765", "METRICS_BIND": "127.0.0.1:9765"}
    done = conf(tmp_path, environ, "gunicorn.conf.py")
    assert done.returncode == EX_CONFIG
    assert "  - VERIFY_BIND: " in done.stderr
    assert complaint in done.stderr


def conf(folder: Path, environ: Mapping[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    given = {"BFF_DATA_DIR": str(folder), "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"), **environ}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# What others may have put where anybody may write.

SHARED = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp")


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Path]:
    """Looks like the folder of a master that was killed."""
    folder = SHARED / f"bff-metrics-{os.getuid()}-{tmp_path.name[-8:]}{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink(missing_ok=True)
        else:
            shutil.rmtree(folder)


def test_a_fifo_among_abandoned_folders_does_not_hang_the_start(tmp_path: Path, planted: Path) -> None:
    os.mkfifo(planted / "owner")
    done = conf(tmp_path, {"PROMETHEUS_MULTIPROC_DIR": ""}, "gunicorn.conf.py")
    assert done.returncode == 0, done.stderr
    (line,) = [json.loads(text) for text in done.stderr.splitlines()]
    assert (line["event"], line["folder"], line["amount"]) == ("foreign_metrics_folder_ignored", str(SHARED), 1)
    assert planted.exists()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_nor_is_anything_followed(tmp_path: Path, planted: Path, kind: str) -> None:
    """A link to another folder of this user's would have that removed."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "owner").touch()
    planted.rmdir()
    planted.symlink_to(mine) if kind == "link" else planted.touch()
    done = conf(tmp_path, {"PROMETHEUS_MULTIPROC_DIR": ""}, "gunicorn.conf.py")
    assert (done.returncode, (mine / "owner").exists(), os.path.lexists(planted)) == (0, True, True)
    assert "foreign_metrics_folder_ignored" in done.stderr


@pytest.mark.parametrize("kind", ["file", "fifo", "shared", "a folder in it"])
def test_an_operators_folder_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "named"
    match kind:
        case "file":
            folder.touch()
        case "fifo":
            os.mkfifo(folder)
        case "shared":
            folder.mkdir()
            folder.chmod(0o1777)
        case _:
            (folder / "counter_1.db").mkdir(parents=True)
    done = conf(tmp_path, {"PROMETHEUS_MULTIPROC_DIR": str(folder)}, "gunicorn.conf.py")
    assert done.returncode == EX_CONFIG
    assert "  - PROMETHEUS_MULTIPROC_DIR: " in done.stderr


FOLDER = "import os, runpy; runpy.run_path('gunicorn.conf.py'); print(os.environ['PROMETHEUS_MULTIPROC_DIR'])"


def test_an_empty_name_is_none(tmp_path: Path) -> None:
    """It would be the working folder, whose files a fresh start removes."""
    done = conf(tmp_path, {"PROMETHEUS_MULTIPROC_DIR": ""}, "-c", FOLDER)
    assert Path(done.stdout.strip()).parent == SHARED


@pytest.mark.parametrize("kind", ["fifo", "link", "dangling link", "folder"])
def test_a_secret_that_is_no_file_of_ours_is_none(tmp_path: Path, kind: str) -> None:
    secret, other = tmp_path / "data" / "secret", tmp_path / "other"
    secret.parent.mkdir()
    match kind:
        case "fifo":
            os.mkfifo(secret)
        case "folder":
            secret.mkdir()
        case _:
            secret.symlink_to(other)
            if kind == "link":
                other.write_bytes(b"k" * 32)
    done = conf(tmp_path, {"BFF_DATA_DIR": str(secret.parent)}, "gunicorn.conf.py")
    assert done.returncode == EX_CONFIG
    assert "BFF_SECRETS: none is set, and none can be kept in BFF_DATA_DIR" in done.stderr
