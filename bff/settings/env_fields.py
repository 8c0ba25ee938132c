"""Fields of environment variables, besides marshmallow's own."""

import base64
import binascii
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields

from bff.settings.model import RATE_LIMITS, Network, RateLimit

SECRET_BYTES = 32
UNIX = "unix"
_LONGEST_SOCKET_PATH = 107  # unix(7)
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._:-]+")  # a wildcard would match nothing
_SERVER = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RATE_LIMIT = re.compile(r"([a-z_]+)=([1-9]\d{0,8})/(second|minute|hour|day)(?::(open|closed))?")


class Words(fields.String):
    """Several values in one variable, separated by commas or blanks, as a tuple."""

    separators = r"[,\s]+"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        return tuple(self.word(part) for part in re.split(self.separators, text) if part)

    def word(self, text: str) -> Any:
        return text


class Networks(Words):
    def word(self, text: str) -> Network:
        return _network(text)


class Proxies(Words):
    """Networks, and the word unix for every process that can open the socket file."""

    def word(self, text: str) -> Network | str:
        return text if text == UNIX else _network(text)


class Address(fields.String):
    """host:port to listen on, as (host, port); an IPv6 host in brackets."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        host, _, port = text.rpartition(":")
        try:
            address = ip_address(host.strip("[]"))
        except ValueError as err:
            raise ValidationError("is not an address to listen on, such as 127.0.0.1:9100 or [::]:9100.") from err
        if not (port.isdigit() and 0 < int(port) < 65536):
            raise ValidationError("needs a port, as in 127.0.0.1:9100.")
        return str(address), int(port)


class ListenAddress(Address):
    """The same, or unix:/path for a socket file, as its path."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        kind, _, path = str(value).partition(":")
        if kind != UNIX:
            return super()._deserialize(value, attr, data, **kwargs)
        path = re.sub("^//(?=/)", "", path)  # unix:///path, as gunicorn has it
        if not path.startswith("/") or path.startswith("//") or len(path.encode()) > _LONGEST_SOCKET_PATH:
            raise ValidationError(
                f"needs the whole path of a socket file of {_LONGEST_SOCKET_PATH} bytes at most: unix:/run/bff.sock."
            )
        return path


class Origins(Words):
    """Origins such as https://app.example.com; a bare host means https."""

    def word(self, text: str) -> str:
        origin = text if "://" in text else f"https://{text}"
        return normal_origin(origin)


class Events(Words):
    def word(self, text: str) -> str:
        if not _EVENT.fullmatch(text):
            raise ValidationError(f"{text!r} is not a name such as page_view.")
        return text


class Servers(Words):
    """host:port of brokers; an IPv6 host in brackets."""

    def word(self, text: str) -> str:
        host, _, port = text.rpartition(":")
        if not (_SERVER.fullmatch(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValidationError("each broker is host:port, such as kafka.example.com:9092, and nothing more.")
        return text


class RateLimitList(Words):
    """Limits such as beacon=120/minute or beacon=120/minute:closed; a limit that is not named keeps its default."""

    separators = r"[;,\s]+"

    def word(self, text: str) -> RateLimit:
        match = _RATE_LIMIT.fullmatch(text)
        if not match:
            raise ValidationError(f"{text!r} is not a limit such as beacon=120/minute or login=20/minute:closed.")
        name, amount, per, away = match.groups()
        known = {limit.name: limit for limit in RATE_LIMITS}
        if name not in known:
            raise ValidationError(f"there is no limit named {name!r}; there is {', '.join(known)}.")
        return RateLimit(name, int(amount), per, closed=away == "closed" if away else known[name].closed)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        given: tuple[RateLimit, ...] = super()._deserialize(value, attr, data, **kwargs)
        by_name = {limit.name: limit for limit in given}
        if len(by_name) < len(given):
            raise ValidationError("names a limit twice.")
        return tuple(by_name.get(limit.name, limit) for limit in RATE_LIMITS)


class FilePath(fields.String):
    """The path of a file. The part that reads the file reports a missing one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text:
            raise ValidationError("is not a path.")
        return Path(text)


class Secrets(Words):
    def word(self, text: str) -> bytes:
        try:
            plain = text.translate(str.maketrans("-_", "+/"))  # either alphabet of RFC 4648, padded or not
            raw = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except (binascii.Error, ValueError) as err:
            raise ValidationError("is not base64.") from err
        if len(raw) < SECRET_BYTES:
            raise ValidationError(f"is only {len(raw)} bytes long; {SECRET_BYTES} random bytes are needed.")
        return raw


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as err:
        raise ValidationError(f"{text!r} is not a network such as 10.0.0.0/8 or ::1 ({err}).") from err


def normal_origin(text: str) -> str:
    """scheme://host[:port] as browsers spell it: in lower case, without the scheme's default port.

    Raises ValidationError for a text that is not an http(s) origin.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as err:
        raise ValidationError(f"{text!r} is not an origin such as https://app.example.com.") from err
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or not plain:
        raise ValidationError(f"{text!r} is not an origin such as https://app.example.com.")
    authority = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{authority}" + (f":{port}" if port not in (None, _PORTS[parts.scheme]) else "")
