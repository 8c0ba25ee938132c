"""Only what is this user's own is opened, and never anything that makes the opener wait."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bff.lib import own_files
from bff.lib.own_files import NotOurs

SOMEBODY = 4711


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a file another user's; where we may not give it away, it is we who become another."""

    def change(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)

    return change


def test_what_is_ours(tmp_path: Path) -> None:
    for path in (tmp_path / "new", tmp_path / "new"):
        descriptor = own_files.open_file(path, os.O_RDONLY | os.O_CREAT)
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        os.close(descriptor)
    folder = own_files.open_folder(tmp_path)
    os.close(own_files.open_file("new", folder=folder))
    os.close(folder)
    own_files.require_folder(tmp_path)


@pytest.mark.parametrize("kind", ["fifo", "link", "dangling link", "socket", "folder", "device", "foreign"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDONLY | os.O_CREAT])
def test_what_is_no_file_of_ours(tmp_path: Path, foreign: Callable[[Path], None], kind: str, flags: int) -> None:
    path, other = tmp_path / "it", tmp_path / "other"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "link" | "dangling link":
            path.symlink_to(other)
            if kind == "link":
                other.touch()
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        case "folder":
            path.mkdir()
        case "device":
            path = Path("/dev/null")
        case _:
            path.touch()
            foreign(path)
    with pytest.raises(NotOurs):
        own_files.open_file(path, flags)
    assert kind != "dangling link" or not other.exists()


def test_a_folder_of_another_user(tmp_path: Path, foreign: Callable[[Path], None]) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    with pytest.raises(NotADirectoryError):
        own_files.open_folder(link)
    own_files.require_folder(link)  # an operator's own link
    foreign(folder)
    for path in (folder, link):
        with pytest.raises(NotOurs):
            own_files.require_folder(path)
    with pytest.raises(NotOurs):
        own_files.open_folder(folder)


def test_a_link_of_another_user(tmp_path: Path, foreign: Callable[[Path], None]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    foreign(tmp_path / "link")
    with pytest.raises(NotOurs):
        own_files.require_folder(tmp_path / "link")


def test_a_folder_that_everybody_shares(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(NotOurs, match="shared by everybody"):
        own_files.require_folder(tmp_path)
    tmp_path.chmod(0o777)  # an emptyDir of Kubernetes
    own_files.require_folder(tmp_path)
