"""A certificate authority of the test's own, and certificates that it signs, as PEM files."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFE = datetime.timedelta(days=2)


@dataclass(frozen=True)
class Certificates:
    """ca: what the other side must trust. certificate, key: the server's."""

    ca: Path
    certificate: Path
    key: Path
    client_certificate: Path
    client_key: Path


def make(folder: Path, name: str = "127.0.0.1", client: str = "bff") -> Certificates:
    """A new authority, a certificate for a host name or an IP address, and one for a client."""
    ca_key, key, client_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca = _builder("Test CA", "Test CA", ca_key, authority=True).sign(ca_key, hashes.SHA256())
    server = _builder(name, "Test CA", key, authority=False)
    server = server.add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
    client_certificate = _builder(client, "Test CA", client_key, authority=False)
    return Certificates(
        ca=_written(folder / "ca.pem", ca.public_bytes(serialization.Encoding.PEM)),
        certificate=_signed(folder / "server.pem", server, ca_key),
        key=_written(folder / "server.key", _pem(key)),
        client_certificate=_signed(folder / "client.pem", client_certificate, ca_key),
        client_key=_written(folder / "client.key", _pem(client_key)),
    )


def _signed(path: Path, builder: x509.CertificateBuilder, ca_key: ec.EllipticCurvePrivateKey) -> Path:
    return _written(path, builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFE)
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
