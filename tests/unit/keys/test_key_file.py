"""The tool that makes and rotates keys: `python -m bff.keys`."""

import json
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, RSAKey

from bff.keys.key_file import main
from bff.keys.signing import PUBLISHED_BEFORE, SigningKeys
from tests.clock import Clock

ACL = "system.posix_acl_access"
MONTH = 30 * 24 * 3600
Printed = pytest.CaptureFixture[str]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path, clock: Clock, capsys: Printed) -> Path:
    """A file with one key, a month old."""
    path = tmp_path / "keys.json"
    assert main(["new"], clock) == 0
    path.write_text(capsys.readouterr().out)
    clock.now += MONTH
    return path


def acl(*, owner: int, nobody: int, group: int, mask: int, other: int) -> bytes:
    """As Linux keeps it (acl(5)): version 2, then tag, rights and id of each entry."""
    entries = [(1, owner, -1), (2, nobody, 65534), (4, group, -1), (16, mask, -1), (32, other, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def held(path: Path) -> SigningKeys:
    return SigningKeys(path.read_text())


def kids(path: Path) -> list[str | None]:
    return [key.kid for key in held(path).all]


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_new_prints_a_set_of_one_key(capsys: Printed, clock: Clock, algorithm: str) -> None:
    assert main(["new", "--alg", algorithm], clock) == 0
    (key,) = SigningKeys(capsys.readouterr().out).all
    assert (key.algorithm, key.issued) == (algorithm, int(clock()))


def test_a_rotation(file: Path, clock: Clock) -> None:
    (old,) = kids(file)
    assert main(["rotate", str(file)], clock) == 0
    new = kids(file)[0]
    assert kids(file) == [new, old]
    assert held(file).current(clock()).kid == old, "published, but not signing"
    clock.now += PUBLISHED_BEFORE
    assert held(file).current(clock()).kid == new
    clock.now += MONTH
    assert main(["rotate", str(file)], clock) == 0
    assert kids(file)[1:] == [new], "the old one is gone"


def test_keep_says_how_many_there_are(file: Path, clock: Clock) -> None:
    for count in (2, 3, 3):
        clock.now += MONTH
        assert main(["rotate", str(file), "--keep", "3"], clock) == 0
        assert len(kids(file)) == count


def test_the_key_that_signs_is_never_dropped(file: Path, clock: Clock, capsys: Printed) -> None:
    """Two rotations within the hour: the newest two could not sign yet."""
    assert main(["rotate", str(file)], clock) == 0
    before = file.read_text()
    clock.now += PUBLISHED_BEFORE - 1
    assert main(["rotate", str(file)], clock) == 1
    assert "the key that signs now would be dropped" in capsys.readouterr().err
    assert file.read_text() == before
    assert main(["rotate", str(file), "--keep", "3"], clock) == 0


@pytest.mark.parametrize("pem", [False, True])
def test_a_single_key_becomes_the_older_of_two(tmp_path: Path, clock: Clock, pem: bool) -> None:
    file = tmp_path / "key"
    key = RSAKey.generate_key(2048)
    file.write_text(key.as_pem(private=True).decode() if pem else json.dumps(key.as_dict(private=True)))
    assert main(["rotate", str(file)], clock) == 0
    assert [one.algorithm for one in held(file).all] == ["RS256", "RS256"]
    assert held(file).current(clock()).kid == key.thumbprint()


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644, 0o660])
def test_the_file_keeps_its_rights_and_a_link_stays_one(file: Path, clock: Clock, mode: int) -> None:
    file.chmod(mode)
    link = file.parent / "link"
    link.symlink_to(file.name)
    assert main(["rotate", str(link)], clock) == 0
    assert link.is_symlink()
    assert file.stat().st_mode & 0o7777 == mode
    assert sorted(file.parent.iterdir()) == [file, link], "no draft is left behind"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("owner", "group"), [(65534, 65534), (0, 65534), (65534, 0)])
def test_the_file_keeps_its_owner_and_group(file: Path, clock: Clock, owner: int, group: int) -> None:
    os.chown(file, owner, group)
    file.chmod(0o640)
    assert main(["rotate", str(file)], clock) == 0
    kept = file.stat()
    assert (kept.st_uid, kept.st_gid, kept.st_mode & 0o7777) == (owner, group, 0o640)


def test_who_may_not_keep_its_owner_replaces_nothing(
    file: Path, clock: Clock, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_text()

    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", forbidden)
    assert main(["rotate", str(file)], clock) == 1
    assert capsys.readouterr().err == f"{file}: cannot be written (PermissionError).\n"
    assert (file.read_text(), list(file.parent.iterdir())) == (before, [file])


NOBODY_MAY_READ = acl(owner=6, nobody=4, group=4, mask=4, other=0)
"""In an access control list, one more user than mode 0640 tells."""


@pytest.fixture
def acls(tmp_path: Path) -> None:
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", NOBODY_MAY_READ)
        os.removexattr(tmp_path, "system.posix_acl_default")
    except OSError:
        pytest.skip("this file system knows no access control lists")


@pytest.mark.usefixtures("acls")
def test_the_file_keeps_its_access_control_list(file: Path, clock: Clock) -> None:
    os.setxattr(file, ACL, NOBODY_MAY_READ)
    mode = file.stat().st_mode
    assert main(["rotate", str(file)], clock) == 0
    assert (os.getxattr(file, ACL), file.stat().st_mode) == (NOBODY_MAY_READ, mode)


@pytest.mark.usefixtures("acls")
def test_a_file_without_such_a_list_gets_none_from_its_folder(file: Path, clock: Clock) -> None:
    file.chmod(0o640)
    os.setxattr(file.parent, "system.posix_acl_default", NOBODY_MAY_READ)
    assert main(["rotate", str(file)], clock) == 0
    assert ACL not in os.listxattr(file)
    assert file.stat().st_mode & 0o7777 == 0o640


def test_file_and_folder_are_on_the_disk_before_it_says_so(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a crash could leave an empty file, or the former one."""
    synced: list[bool] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    assert main(["rotate", str(file)], clock) == 0
    assert synced == [False, True]


def test_a_file_that_cannot_be_replaced_stays_whole(
    file: Path, clock: Clock, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_text()

    def full(_descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["rotate", str(file)], clock) == 1
    assert capsys.readouterr().err == f"{file}: cannot be written (OSError).\n"
    assert file.read_text() == before
    assert list(file.parent.iterdir()) == [file]


def test_public_prints_what_to_register(file: Path, clock: Clock, capsys: Printed) -> None:
    assert main(["rotate", str(file)], clock) == 0
    assert main(["public", str(file)], clock) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"keys": held(file).public()}
    assert [set(key) for key in printed["keys"]] == [{"kty", "crv", "x", "y", "kid", "alg", "use"}] * 2


SECRET = ECKey.generate_key("P-256").as_dict(private=True)


@pytest.mark.parametrize("command", ["rotate", "public"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (FileNotFoundError)"),
        (b"\xff\xfe", "cannot be read (UnicodeDecodeError)"),
        (b"", "not a private key as JWK or PEM"),
        (json.dumps({**SECRET, "alg": "none"}).encode(), "not a private key that signs"),
        (json.dumps({"keys": [SECRET, SECRET]}).encode(), "two private keys with the same kid"),
        (json.dumps({"keys": []}).encode(), "a JWK Set without a private key"),
    ],
)
def test_a_file_that_is_wrong_is_said_so_without_a_word_of_it(
    tmp_path: Path, capsys: Printed, command: str, content: bytes | None, message: str
) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_bytes(content)
    assert main([command, str(file)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"{file}: {message}.\n"
    assert (file.read_bytes() if file.exists() else None) == content


@pytest.mark.parametrize(
    "arguments", [[], ["old"], ["new", "--alg", "HS256"], ["rotate"], ["rotate", "f", "--keep", "1"], ["public"]]
)
def test_wrong_arguments_are_a_mistake_of_another_kind(arguments: list[str], capsys: Printed) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m bff.keys" in capsys.readouterr().err


def test_the_command_itself(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bff.keys", "public", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"keys": held(file).public()}
