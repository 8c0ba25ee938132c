"""The files of a client's TLS connections are read once, and again when they are renewed."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from urllib3.util.ssl_ import create_urllib3_context

from bff.errors import UpstreamError
from bff.http import HttpClient
from bff.http import tls as client_tls
from bff.http.tls import CertificateFiles
from tests.peers import certificates, tls
from tests.peers.certificates import Certificates


def app(_environ: object, start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Connection", "close")])
    return [b"{}"]


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return certificates.make(tmp_path)


@pytest.fixture
def others(tmp_path: Path) -> Certificates:
    (tmp_path / "others").mkdir()
    return certificates.make(tmp_path / "others")


@pytest.fixture(params=[True, False], ids=["whole", "by each step"])
def client(request: pytest.FixtureRequest, files: Certificates, tmp_path: Path) -> Iterator[HttpClient]:
    """With files of its own, that it would be let in with."""
    for file in (files.ca, files.certificate, files.key):
        shutil.copy(file, tmp_path / f"own-{file.name}")
    ca, certificate, key = (tmp_path / f"own-{file.name}" for file in (files.ca, files.certificate, files.key))
    made = HttpClient("t", timeout=5, whole=request.param, ca_file=ca, certificate=(certificate, key))
    yield made
    made.close()


def renew(file: Path, by: Path) -> None:
    """As a tool would do that renews certificates: in one step, and later than before."""
    new = file.with_suffix(".new")
    shutil.copy(by, new)
    os.utime(new, ns=(0, file.stat().st_mtime_ns + 1))
    new.rename(file)


def test_read_once(client: HttpClient, files: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mock(wraps=create_urllib3_context)
    monkeypatch.setattr(client_tls, "create_urllib3_context", made)
    with tls.served(app, files, mutual=True) as origin:
        for _ in range(5):
            assert client.get(origin, target="t").ok
    assert made.call_count == 1


def test_who_is_trusted_is_renewed(client: HttpClient, files: Certificates, others: Certificates) -> None:
    own = files.ca.with_name(f"own-{files.ca.name}")
    with tls.served(app, files, mutual=True) as origin:
        assert client.get(origin, target="t").ok
        renew(own, others.ca)
        with pytest.raises(UpstreamError, match="could not be made"):
            client.get(origin, target="t")
        renew(own, files.ca)
        assert client.get(origin, target="t").ok


def test_what_is_shown_is_renewed(client: HttpClient, files: Certificates, others: Certificates) -> None:
    own = {file: file.with_name(f"own-{file.name}") for file in (files.certificate, files.key)}
    with tls.served(app, files, mutual=True) as origin:
        assert client.get(origin, target="t").ok
        for file, by in zip(own.values(), (others.certificate, others.key), strict=True):
            renew(file, by)
        with pytest.raises(UpstreamError, match="could not be made"):
            client.get(origin, target="t")
        for by, file in own.items():
            renew(file, by)
        assert client.get(origin, target="t").ok


def test_a_file_is_away_for_a_moment(client: HttpClient, files: Certificates) -> None:
    own = files.key.with_name(f"own-{files.key.name}")
    with tls.served(app, files, mutual=True) as origin:
        own.rename(own.with_suffix(".away"))
        with pytest.raises(UpstreamError, match="could not be made"):
            client.get(origin, target="t")
        own.with_suffix(".away").rename(own)
        assert client.get(origin, target="t").ok


@pytest.mark.parametrize("kind", ["away", "half of it", "another's"])
def test_files_that_are_no_longer_good_leave_what_was(
    client: HttpClient, files: Certificates, others: Certificates, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As while a tool writes the certificate before its key."""
    own = files.key.with_name(f"own-{files.key.name}")
    with tls.served(app, files, mutual=True) as origin:
        assert client.get(origin, target="t").ok
        if kind == "away":
            own.unlink()
        elif kind == "half of it":
            own.write_bytes(files.key.read_bytes()[:200])
        else:
            renew(own, others.key)
        for _ in range(3):
            assert client.get(origin, target="t").ok
        assert [record.message for record in caplog.records] == ["certificate_files_unusable"]
        renew(own, files.key) if kind != "away" else shutil.copy(files.key, own)
        assert client.get(origin, target="t").ok


def test_a_folder_of_those_who_are_trusted(files: Certificates, tmp_path: Path) -> None:
    folder = tmp_path / "trusted"
    folder.mkdir()
    shutil.copy(files.ca, folder / "ca.pem")
    context = CertificateFiles(folder).context()
    assert context.check_hostname
    assert context.get_ca_certs() == [], "each is read when it is needed"
