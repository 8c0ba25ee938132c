"""`python -m bff.admin sessions | revoke-user SUB | revoke-session REFERENCE | stats`.

Exit codes: 0 done, 1 nothing found, 2 wrong arguments, and of sysexits.h 69 when the store does not answer, 75 when it
answered too late (the command may have taken effect: run it again), 78 for a wrong configuration.
"""

import argparse
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bff import services as service_layer
from bff import settings
from bff.admin import report
from bff.admin.service import SessionAdmin
from bff.errors import StoreTimeout, StoreUnavailable
from bff.observability import logs
from bff.settings import Settings
from bff.settings_check import EX_CONFIG, problems
from bff.settings_check import report as told

DONE, NOTHING, EX_UNAVAILABLE, EX_TEMPFAIL = 0, 1, 69, 75
_REFERENCE = re.compile("[0-9a-f]{24}")
_MOST = 10_000
_UNHEARD = logging.NullHandler()
"""Silences our log: the operator reads the command's own messages."""
_NO_STORE = "There is no store at {}. Are BFF_DATA_DIR and REDIS_URL those of the server?"


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.time,
) -> int:
    """Returns the exit code. environ: the process's own when None. Raises SystemExit(2) for wrong arguments."""
    given = _parser().parse_args(arguments)
    logging.getLogger("bff").addHandler(_UNHEARD)
    config = settings.load(environ, given.config)
    if found := problems(config):
        return _failed(told(found), EX_CONFIG)
    if not config.store.redis_url and not config.store.path.exists():
        return _failed(_NO_STORE.format(config.store.path), EX_UNAVAILABLE)
    try:
        return _run(given, config, clock)
    except StoreTimeout:
        return _failed("The store answers too late. Run the command again: ended sessions stay ended.", EX_TEMPFAIL)
    except StoreUnavailable:
        return _failed("The store does not answer. Ended sessions stay ended.", EX_UNAVAILABLE)


def _run(given: argparse.Namespace, config: Settings, clock: Callable[[], float]) -> int:
    services = service_layer.build(config, clock=clock)
    correlation = logs.correlation_id.set(logs.correlation_id_for(None))  # all events of this command carry it
    try:
        services.kv.start()
        services.rotation.follow()
        return _answer(given, SessionAdmin(services, show_users=given.show_users))
    finally:
        services.close()
        logs.correlation_id.reset(correlation)


def _answer(given: argparse.Namespace, desk: SessionAdmin) -> int:
    if given.command == "stats":
        numbers = desk.stats()
        _write(report.as_json(numbers) if given.json else report.stats(numbers))
        return DONE
    if given.command == "sessions":
        rows, name = desk.sessions(given.user, given.idp, given.limit), "sessions"
    elif given.command == "revoke-user":
        rows, name = desk.revoke_user(given.sub, given.idp), "revoked"
    else:
        rows, name = desk.revoke_session(given.reference), "revoked"
    if given.json:
        _write(report.as_json({name: rows}))
    elif rows:
        _write(report.sessions(rows))
    said = f"{len(rows)} {'session' if len(rows) == 1 else 'sessions'}"
    sys.stderr.write(f"{said} {name}.\n" if name == "revoked" else f"{said}.\n")
    return DONE if rows else NOTHING


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _failed(why: str, code: int) -> int:
    sys.stderr.write(f"{why}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="for programs; times in Unix seconds")
    common.add_argument("--config", type=Path, metavar="DIR", help="instead of BFF_CONFIG_DIR")
    people = argparse.ArgumentParser(add_help=False)
    people.add_argument("--show-users", action="store_true", help="with each user's `sub`, not only their pseudonym")
    people.add_argument("--idp", metavar="ALIAS", help="only sessions of this provider")
    parser = argparse.ArgumentParser(
        prog="python -m bff.admin",
        description="Look at the sessions of a fleet, and end some. Reads the settings that the server reads.",
        epilog="Exit codes: 0 done, 1 nothing found, 2 wrong arguments, 69 the store does not answer, 75 it answers too"
        " late, 78 the settings are wrong.",
    )
    parser.set_defaults(show_users=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("sessions", parents=[common, people], help="which there are")
    listing.add_argument("--user", metavar="SUB", help="only of this user, by the provider's `sub`")
    listing.add_argument("--limit", type=_limit, default=50, metavar="N", help="at most so many (default 50)")
    user = commands.add_parser("revoke-user", parents=[common, people], help="end all sessions of a user")
    user.add_argument("sub", metavar="SUB", help="the provider's `sub`")
    one = commands.add_parser("revoke-session", parents=[common], help="end one session")
    one.add_argument("reference", type=_reference, metavar="REFERENCE", help="as in X-Session-ID, events and logs")
    commands.add_parser("stats", parents=[common], help="how many of what there are")
    return parser


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_MOST}")
    return int(text)


def _reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise argparse.ArgumentTypeError("must be 24 hexadecimal digits, as in X-Session-ID")
    return text


if __name__ == "__main__":
    raise SystemExit(main())
