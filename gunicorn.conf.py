"""gunicorn's settings. `gunicorn -c gunicorn.conf.py wsgi:app` is the whole command.

Order matters here: gevent patches before anything is imported, the settings are checked before a port is bound, and
the metrics folder exists before prometheus_client is imported, since that is when it looks.
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
"""Seconds for which a thread may keep the interpreter from the others. With Python's own five thousandths, a request
that comes while a scrape or an export of spans is being written may wait so long each time that it needs it."""
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
    """The running configuration is kept."""
    logging.getLogger("bff.settings").error("reload_refused", extra={"problems": problems})
    _note(successful=False)


def _note(*, successful: bool) -> None:
    """For every scrape: which configuration is in effect, and whether it is what was read last."""
    from bff.observability import reloads

    if master.running is not None:
        folder = Path(os.environ[_METRICS_DIR])
        reloads.note(folder, master.running.hash, master.running.since, successful=successful)


def _put_into_effect(server: Any, current: Configuration) -> None:
    """What the master itself does with it, and its processes beside the workers."""
    from bff.server import metrics_server

    if not draining.begun():
        draining.install(server, current.settings.drain_delay, lambda: _other_master(server) is not None)
    metrics_server.beside.run(current.settings)
    logging.getLogger("bff.settings").info("configuration_in_effect", extra={"hash": current.hash})
    _note(successful=True)


def _make_metrics_dir() -> None:
    """A fresh start counts from zero; reloads and upgrades go on counting in the same folder."""
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
    """What is there now stays. Were every worker's garbage collector to look at it again, all requests would wait for
    some 20 ms each time, and the workers would share no memory."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _binds(config: settings.Settings) -> list[str]:
    """The public listener, and the proxies' own."""
    # In development only this machine may talk to it: the embedded provider lets anybody in.
    public = f"{'127.0.0.1' if config.development else '0.0.0.0'}:{config.port}"  # noqa: S104
    verify = config.verify_bind
    if verify is None:
        return [public]
    if isinstance(verify, str):
        return [public, f"unix:{verify}"]
    host, port = verify
    return [public, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]


def _moved(config: settings.Settings) -> Iterator[str]:
    """gunicorn would close all listeners and bind them anew while its workers still hold them, and end when it
    cannot."""
    if master.running is not None and _binds(config) != _binds(master.running.settings):
        yield "PORT, VERIFY_BIND: where to listen changes with a restart, not with a reload."


def _read() -> settings.Settings:
    """The settings that gunicorn runs with: as they read now, or at a reload that is refused those of before."""
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
forwarded_allow_ips = "*"  # whom gunicorn believes what these two are about, which is nothing: no need to find out
keepalive = 95  # longer than common proxies keep idle connections, so that they close first
timeout = 30
graceful_timeout = 30
max_requests = _number("WEB_MAX_REQUESTS", 500_000)
max_requests_jitter = max_requests // 10
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - gunicorn unlinks its file
logger_class = JsonLogger
loglevel = _settings.log_level
accesslog = "-"
control_socket_disable = True  # one path for every instance of a user, and a thread in the master


def on_starting(server: Any) -> None:
    """The command line may have named other addresses than this file."""
    if problems := settings_check.listener_problems(_settings, server.cfg.address):
        _refuse(problems)


def _addresses(server: Any) -> list[object]:
    """Of the sockets that are open, also of those that were inherited; none where the workers open them."""
    return [listener.getsockname() for listener in getattr(server, "LISTENERS", ())]


def on_reload(arbiter: Any) -> None:
    """SIGHUP: new workers get the new configuration, if it is one."""
    current = master.take()
    if current is None:
        return
    arbiter.app.callable = current.app
    _spare_the_collector()
    _put_into_effect(arbiter, current)


def _survive(app: Any) -> None:
    """gunicorn ends when this file does not execute. At a reload the master goes on with what it has."""
    reload = app.reload

    def reload_or_keep() -> None:
        former = app.cfg
        try:
            reload()
        except (Exception, SystemExit) as err:  # noqa: BLE001 - whatever the file raised
            app.cfg, master.next = former, None
            _refuse_reload([f"gunicorn.conf.py: cannot be executed ({type(err).__name__}); see standard error."])

    app.reload = reload_or_keep


def pre_exec(server: Any) -> None:
    """SIGUSR2: the new master starts with the environment of the old one's start, and must count in the same folder."""
    server.cfg.env_orig[_METRICS_DIR] = os.environ[_METRICS_DIR]


def when_ready(server: Any) -> None:
    """In the master, before the first fork: METRICS_BIND gets its own process."""
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
    """The one that serves on the same sockets, and counts in the same folder (SIGUSR2)."""
    from bff.observability import process_metrics

    other = int(server.reexec_pid or server.master_pid)
    return other if other and process_metrics.alive(other) else None


def _require_listener(wanted: settings.Bind, addresses: list[object]) -> None:
    """--bind, systemd's sockets and those of an older master (SIGUSR2) come before `bind`."""
    from bff.web.listener import VerifyListener

    verify = VerifyListener(wanted)
    if addresses and not any(verify.named(address) for address in addresses):
        _refuse(["VERIFY_BIND: is not among the sockets that this process was given to listen on."])


def pre_fork(server: Any, worker: Any) -> None:
    """A worker that is told to stop before it has started does so when it has. As it comes, it would take that for a
    message to a master, and the true one would wait for it until graceful_timeout is over."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)


def pre_request(worker: Any, req: Any) -> None:
    """Of whichever class the worker is; what this raises is answered, and the connection closed."""
    framing.check(req)


def post_worker_init(worker: Any) -> None:
    """After the fork: now connections and threads may be made."""
    from bff.app import start
    from bff.observability import metrics

    _hear_stops()
    if _kind == "gthread":
        sys.setswitchinterval(_TURN)
    metrics.worker_started()
    start(worker.wsgi)
    gc.freeze()  # what has come since the fork, with libraries that are imported here


def worker_exit(server: Any, worker: Any) -> None:
    """In the worker, after its last request."""
    from bff.app import stop
    from bff.observability import process_metrics

    if worker.wsgi is not None:
        stop(worker.wsgi)
    reason = "max_requests" if worker.nr >= worker.max_requests else "stopped"
    process_metrics.record_exit(Path(os.environ[_METRICS_DIR]), reason)


def child_exit(server: Any, worker: Any) -> None:
    """In the master, when a worker is gone."""
    from bff.observability import process_metrics

    process_metrics.count_leaving(Path(os.environ[_METRICS_DIR]), worker.pid, timed_out=worker.aborted)


def on_exit(server: Any) -> None:
    """A private metrics folder goes with its master, unless another master counts in it (SIGUSR2)."""
    from bff.observability import process_metrics, reloads
    from bff.server import metrics_server

    metrics_server.beside.stop()
    folder = Path(os.environ[_METRICS_DIR])
    reloads.forget(folder)
    if _other_master(server) is not None:
        process_metrics.hand_over_cpu_account(folder)
    elif (folder / metrics_folder.OWNER).exists():
        shutil.rmtree(folder, ignore_errors=True)
