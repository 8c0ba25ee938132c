"""`python -m bff.routes METHOD PATH` explains the handling of a request; without arguments it lists the routes.

Exits with 1 for a request without a route, and with 78 for a wrong configuration.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bff import settings
from bff.errors import BFFError
from bff.routes import explain
from bff.settings_check import EX_CONFIG, problems, report


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Returns the exit code. environ: the process's own when None. Raises SystemExit(2) for wrong arguments."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.method and not given.path:
        parser.error("a METHOD needs a PATH")
    config = settings.load(environ, given.config)
    if found := problems(config):
        sys.stderr.write(report(found) + "\n")
        return EX_CONFIG
    if not given.method:
        _write(*explain.listing(config))
        return 0
    body = None if given.body is None else given.body.encode()
    try:
        for what, how in explain.request(config, given.method, given.path, body):
            _write(f"{what + ':':12}{how}")
    except BFFError as err:
        allowed = "".join(f" ({name}: {value})" for name, value in err.headers)
        sys.stderr.write(f"{err.status} {err.code}: {err}{allowed}\n")
        return 1
    return 0


def _write(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bff.routes", description="Explains the handling of a request.")
    parser.add_argument("method", nargs="?", metavar="METHOD", help="such as GET")
    parser.add_argument("path", nargs="?", metavar="PATH", help="with its query, as a client sends it")
    parser.add_argument("--config", type=Path, metavar="DIR", help="instead of BFF_CONFIG_DIR")
    parser.add_argument("--body", metavar="JSON", help="of the request")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
