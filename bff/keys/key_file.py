"""Key file command: creates and rotates the keys of `private_key_jwt` (RFC 7523) and security event tokens (RFC 8417).

    python -m bff.keys new [--alg ES256]        prints a new JWK Set, which is a secret
    python -m bff.keys rotate FILE [--keep 2]   puts a new key in front of those in a file, and drops the oldest; the
                                                file keeps its owner, group and rights
    python -m bff.keys public FILE              prints the public keys, to register at a provider

Install the rotated file and reload the BFF at once: a new key signs one hour after its creation.
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
    """The text names the problem, and quotes nothing from the file."""


def new(algorithm: str, now: float) -> str:
    """Returns a JWK Set (RFC 7517 section 5) with one private key."""
    return _text([generated(algorithm, now)])


def rotate(path: Path, keep: int, now: float) -> None:
    """Rewrites the file with a new key and the newest of the old ones, `keep` in all. Raises KeyFileError."""
    path = path.resolve()  # so that a symbolic link stays a link
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
    """Returns the public halves as a JWK Set. Raises KeyFileError."""
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
    """Atomic replacement: a crash leaves the old file or the new one. Keeps the old file's owner, group and rights.

    Raises KeyFileError.
    """
    try:
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # with mode 0600
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
    """Copies owner, group, mode and ACL, before any key is written to the new file.

    Raises OSError when this user may not set the owner or group. Otherwise the BFF would fail to read the file, and
    the operator would notice only at its next start.
    """
    rights = former.stat()
    os.fchown(descriptor, rights.st_uid, rights.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(rights.st_mode))
    if _has_acl(former):
        os.setxattr(descriptor, _ACL, os.getxattr(former, _ACL))
    elif _has_acl(descriptor):  # inherited from the folder's default: it would let other users read the keys
        os.removexattr(descriptor, _ACL)
        os.fchmod(descriptor, stat.S_IMODE(rights.st_mode))


def _has_acl(file: Path | int) -> bool:
    try:
        return _ACL in os.listxattr(file)
    except OSError:  # not every file system supports extended attributes
        return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str] | None = None, clock: Callable[[], float] = time.time) -> int:
    """Returns the exit status: 0, or 1 for a bad file. Raises SystemExit(2) for bad arguments."""
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
