"""Makes and replaces the keys of `private_key_jwt` (RFC 7523), which also sign security event tokens (RFC 8417).

    python -m bff.keys new [--alg ES256]        prints a new JWK Set, which is a secret
    python -m bff.keys rotate FILE [--keep 2]   puts a new key in front of those in a file, and drops the oldest; the
                                                file keeps its owner, group and rights
    python -m bff.keys public FILE              prints what to register at a provider

A key that `rotate` made is to be in place, and the BFF reloaded, at once: it signs an hour after it was made.
"""

import argparse
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bff.keys.signing import ALGORITHMS, PrivateKey, SigningKeys, generated

_ACL = "system.posix_acl_access"


class KeyFileError(Exception):
    """The text says what is wrong, and quotes nothing of a file."""


def new(algorithm: str, now: float) -> str:
    """A JWK Set (RFC 7517 section 5) with one private key."""
    return _text([generated(algorithm, now)])


def rotate(path: Path, keep: int, now: float) -> None:
    """Rewrite the file with a new key in front of the newest of the others, `keep` in all. Raises KeyFileError."""
    path = path.resolve()  # a link stays one
    old = _keys(path)
    signs = old.current(now)
    kept = old.all[: keep - 1]
    if signs not in kept:
        raise KeyFileError(
            f"{path}: the key that signs now would be dropped, before a newer one has been published for long enough."
            " Wait, or keep more."
        )
    _replace(path, _text([generated(old.all[0].algorithm, now), *kept]))


def public(path: Path) -> str:
    """The public halves as JWK Set. Raises KeyFileError."""
    return json.dumps({"keys": _keys(path).public()}, indent=2) + "\n"


def _keys(path: Path) -> SigningKeys:
    try:
        return SigningKeys(path.read_text())
    except (OSError, UnicodeDecodeError) as err:
        raise KeyFileError(f"{path}: cannot be read ({type(err).__name__}).") from None
    except ValueError as err:
        raise KeyFileError(f"{path}: {err}.") from None


def _text(keys: Sequence[PrivateKey]) -> str:
    return json.dumps({"keys": [key.private() for key in keys]}, indent=2) + "\n"


def _replace(path: Path, text: str) -> None:
    """Atomic replacement: whole or not at all, also after a crash, and with the former file's owner, group and rights.

    Raises KeyFileError.
    """
    try:
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # which has mode 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                _take_rights(file.fileno(), path)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
            _sync(path.parent)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as err:
        raise KeyFileError(f"{path}: cannot be written ({type(err).__name__}).") from None


def _take_rights(descriptor: int, former: Path) -> None:
    """Before anything is written. Raises OSError where this user may not give the file to its owner or group: a file
    that the BFF can no longer read would be found out at its next start only."""
    rights = former.stat()
    os.fchown(descriptor, rights.st_uid, rights.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(rights.st_mode))
    if _has_acl(former):
        os.setxattr(descriptor, _ACL, os.getxattr(former, _ACL))
    elif _has_acl(descriptor):  # from the folder's default: it would let others in
        os.removexattr(descriptor, _ACL)
        os.fchmod(descriptor, stat.S_IMODE(rights.st_mode))


def _has_acl(file: Path | int) -> bool:
    try:
        return _ACL in os.listxattr(file)
    except OSError:  # not every file system knows them
        return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str] | None = None, clock: Callable[[], float] = time.time) -> int:
    """0, or 1 for a file that is wrong; wrong arguments end in SystemExit(2)."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "new":
            sys.stdout.write(new(given.alg, clock()))
        elif given.command == "rotate":
            rotate(given.file, given.keep, clock())
        else:
            sys.stdout.write(public(given.file))
    except KeyFileError as err:
        sys.stderr.write(f"{err}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bff.keys", description="Keys of private_key_jwt.")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("new", help="print a new JWK Set")
    making.add_argument("--alg", choices=ALGORITHMS, default="ES256")
    rotating = commands.add_parser("rotate", help="put a new key of the same algorithm in front of those in a file")
    rotating.add_argument("file", type=Path)
    rotating.add_argument("--keep", type=_two_or_more, default=2, help="how many keys the file may then hold")
    publishing = commands.add_parser("public", help="print the public keys of a file")
    publishing.add_argument("file", type=Path)
    return parser


def _two_or_more(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 2 <= int(text) <= 100):
        raise argparse.ArgumentTypeError("a number from 2 on, since the old key signs for another hour")
    return int(text)
