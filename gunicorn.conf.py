"""gunicorn's settings. `gunicorn -c gunicorn.conf.py wsgi:app` is the whole command.

The order matters: gevent patches before any other import. The settings are checked before gunicorn binds a port. The
metrics folder exists before prometheus_client is imported, because that library looks for it at import.
"""

import gc
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

_kind = os.environ.get("WEB_WORKER_CLASS", "gthread") or "gthread"
if _kind == "gevent":
    from gevent import monkey

    monkey.patch_all()

from bff import configuration, settings, settings_check  # noqa: E402 - after gevent
from bff.configuration import Configuration, master  # noqa: E402
from bff.observability import logs  # noqa: E402
from bff.server import draining, framing, metrics_folder  # noqa: E402 - after gevent
from bff.server.access_log import JsonLogger  # noqa: E402

_METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
_STOPS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
_TURN = 0.001
"""Switch interval in seconds; Python's default is 5 ms. A request waits up to one interval each time it needs the
GIL while a scrape or an export of spans runs."""
_reloading = master.running is not None
_upgrading = "GUNICORN_PID" in os.environ  # SIGUSR2: an older master still serves


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit():
        _refuse([f"{name}: {text!r} is not a whole number."])
    return int(text)


def _worker_class() -> str:
    if _kind not in ("gthread", "gevent"):
        _refuse([f"WEB_WORKER_CLASS: {_kind!r} is neither gthread nor gevent."])
    return {"gthread": "bff.server.gthread.BffThreadWorker", "gevent": "bff.server.gevent.BffGeventWorker"}[_kind]


def _refuse(problems: list[str]) -> NoReturn:
    sys.stderr.write(settings_check.report(problems) + "\n")
    sys.exit(settings_check.EX_CONFIG)


def _refuse_reload(problems: list[str]) -> None:
    """Log a refused reload; the master keeps the running configuration."""
    logging.getLogger("bff.settings").error("reload_refused", extra={"problems": problems})
    _note(successful=False)


def _note(*, successful: bool) -> None:
    """Record for every scrape which configuration is in effect, and whether the last one read was accepted."""
    from bff.observability import reloads

    if master.running is not None:
        folder = Path(os.environ[_METRICS_DIR])
        reloads.note(folder, master.running.hash, master.running.since, successful=successful)


def _put_into_effect(server: Any, current: Configuration) -> None:
    """Apply a configuration to the master itself and to its processes beside the workers."""
    from bff.server import metrics_server

    if not draining.begun():
        draining.install(server, current.settings.drain_delay, lambda: _other_master(server) is not None)
    metrics_server.beside.run(current.settings)
    logging.getLogger("bff.settings").info("configuration_in_effect", extra={"hash": current.hash})
    _note(successful=True)


def _make_metrics_dir() -> None:
    """Prepare the metrics folder: a fresh start counts from zero, reloads and upgrades continue in the same folder."""
    if _reloading:
        return
    if not os.environ.get(_METRICS_DIR):
        os.environ[_METRICS_DIR] = str(metrics_folder.private())
        return
    try:
        metrics_folder.configured(Path(os.environ[_METRICS_DIR]), upgrading=_upgrading)
    except OSError as err:
        _refuse([f"{_METRICS_DIR}: {err}."])


def _spare_the_collector() -> None:
    """Freeze all objects that exist before the fork. Otherwise each worker's garbage collector scans them again:
    every request waits some 20 ms each time, and the workers share no memory."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _binds(config: settings.Settings) -> list[str]:
    """The addresses of the public listener and of the proxies' own (VERIFY_BIND)."""
    # In development it listens on loopback only: the embedded provider accepts any login.
    public = f"{'127.0.0.1' if config.development else '0.0.0.0'}:{config.port}"  # noqa: S104
    verify = config.verify_bind
    if verify is None:
        return [public]
    if isinstance(verify, str):
        return [public, f"unix:{verify}"]
    host, port = verify
    return [public, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]


def _moved(config: settings.Settings) -> Iterator[str]:
    """A problem when a reload changes the listeners. gunicorn would close all of them and bind them anew while its
    workers still hold them, and would exit when the bind fails."""
    if master.running is not None and _binds(config) != _binds(master.running.settings):
        yield "PORT, VERIFY_BIND: where to listen changes with a restart, not with a reload."


def _read() -> settings.Settings:
    """The settings that gunicorn runs with: those just read, or the former ones after a refused reload."""
    reading = configuration.read(os.environ)
    if _reloading:
        from bff.app import create_app

        if problems := master.prepare(reading, create_app, _moved):
            _refuse_reload(problems)
    elif reading.settings is None or reading.problems:
        _refuse(list(reading.problems))
    else:
        master.start(reading.settings)
    return master.settings


def _hear_stops() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


_settings = _read()
logs.configure(_settings.log_level)
_make_metrics_dir()
if not _reloading:
    os.register_at_fork(after_in_parent=_hear_stops)

bind = _binds(_settings)
worker_class = _worker_class()
workers = _number("WEB_CONCURRENCY", max(2, os.cpu_count() or 1))
threads = _number("WEB_THREADS", 8)
preload_app = True
http_parser = framing.parser()
header_map = "drop"  # X_User_ID and X-User-ID would become the same WSGI key
forwarder_headers = ""  # nor may a header set SCRIPT_NAME or PATH_INFO
secure_scheme_headers: dict[str, str] = {}  # the scheme is BFF_BASE_URL's
forwarded_allow_ips = "*"  # the peers trusted with the two settings above; both are empty, so gunicorn need not check
keepalive = 95  # longer than common proxies keep idle connections, so that they close first
timeout = 30
graceful_timeout = 30
max_requests = _number("WEB_MAX_REQUESTS", 500_000)
max_requests_jitter = max_requests // 10
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - gunicorn unlinks its file
logger_class = JsonLogger
loglevel = _settings.log_level
accesslog = "-"
control_socket_disable = True  # it has one path for all instances of a user, and costs the master a thread


def on_starting(server: Any) -> None:
    """Check the listeners again: the command line may name other addresses than this file."""
    if problems := settings_check.listener_problems(_settings, server.cfg.address):
        _refuse(problems)


def _addresses(server: Any) -> list[object]:
    """Addresses of the open sockets, inherited ones included; empty where the workers open them."""
    return [listener.getsockname() for listener in getattr(server, "LISTENERS", ())]


def on_reload(arbiter: Any) -> None:
    """SIGHUP: new workers get the new configuration if it was accepted."""
    current = master.take()
    if current is None:
        return
    arbiter.app.callable = current.app
    _spare_the_collector()
    _put_into_effect(arbiter, current)


def _survive(app: Any) -> None:
    """Keep the master alive when this file fails to execute at a reload; gunicorn itself would exit."""
    reload = app.reload

    def reload_or_keep() -> None:
        former = app.cfg
        try:
            reload()
        except (Exception, SystemExit) as err:  # noqa: BLE001 - the file may raise any error
            app.cfg, master.next = former, None
            _refuse_reload([f"gunicorn.conf.py: cannot be executed ({type(err).__name__}); see standard error."])

    app.reload = reload_or_keep


def pre_exec(server: Any) -> None:
    """SIGUSR2: the new master inherits the environment of the old one's start, and must count in the same folder."""
    server.cfg.env_orig[_METRICS_DIR] = os.environ[_METRICS_DIR]


def when_ready(server: Any) -> None:
    """In the master, before the first fork: start the process that serves METRICS_BIND."""
    if problems := settings_check.listener_problems(_settings, _addresses(server)):
        _refuse(problems)
    _spare_the_collector()
    if _settings.verify_bind is not None:
        _require_listener(_settings.verify_bind, _addresses(server))
    logging.getLogger("bff.server.framing").info("http_parser", extra={"http_parser": server.cfg.http_parser})
    master.addresses = tuple(_addresses(server))
    _survive(server.app)
    if master.running is not None:
        _put_into_effect(server, master.running)


def _other_master(server: Any) -> int | None:
    """Process id of the master that serves the same sockets and counts in the same folder (SIGUSR2)."""
    from bff.observability import process_metrics

    other = int(server.reexec_pid or server.master_pid)
    return other if other and process_metrics.alive(other) else None


def _require_listener(wanted: settings.Bind, addresses: list[object]) -> None:
    """Refuse to start without the VERIFY_BIND listener: --bind, systemd's sockets and an older master's (SIGUSR2)
    take precedence over `bind`."""
    from bff.web.listener import VerifyListener

    verify = VerifyListener(wanted)
    if addresses and not any(verify.named(address) for address in addresses):
        _refuse(["VERIFY_BIND: is not among the sockets that this process was given to listen on."])


def pre_fork(server: Any, worker: Any) -> None:
    """Block the stop signals until the worker has started. A new worker still has the master's handlers, and would
    queue the signal as a master does. The real master would then wait for it until graceful_timeout is over."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)


def pre_request(worker: Any, req: Any) -> None:
    """Check the framing, in both worker classes. gunicorn answers the error that this raises, and closes the
    connection."""
    framing.check(req)


def post_worker_init(worker: Any) -> None:
    """After the fork: start the parts that open connections and threads."""
    from bff.app import start
    from bff.observability import metrics

    _hear_stops()
    if _kind == "gthread":
        sys.setswitchinterval(_TURN)
    metrics.worker_started()
    start(worker.wsgi)
    gc.freeze()  # the objects created since the fork, with libraries that are imported here


def worker_exit(server: Any, worker: Any) -> None:
    """In the worker, after its last request."""
    from bff.app import stop
    from bff.observability import process_metrics

    if worker.wsgi is not None:
        stop(worker.wsgi)
    reason = "max_requests" if worker.nr >= worker.max_requests else "stopped"
    process_metrics.record_exit(Path(os.environ[_METRICS_DIR]), reason)


def child_exit(server: Any, worker: Any) -> None:
    """In the master, after a worker has exited."""
    from bff.observability import process_metrics

    process_metrics.count_leaving(Path(os.environ[_METRICS_DIR]), worker.pid, timed_out=worker.aborted)


def on_exit(server: Any) -> None:
    """Remove a private metrics folder, unless another master counts in it (SIGUSR2)."""
    from bff.observability import process_metrics, reloads
    from bff.server import metrics_server

    metrics_server.beside.stop()
    folder = Path(os.environ[_METRICS_DIR])
    reloads.forget(folder)
    if _other_master(server) is not None:
        process_metrics.hand_over_cpu_account(folder)
    elif (folder / metrics_folder.OWNER).exists():
        shutil.rmtree(folder, ignore_errors=True)
