"""Parser of REDIS_URL, without the Redis library, so that configuration can be checked before the server starts.

    redis://[user:password@]host[:6379][/db]          rediss:// is the same over TLS
    unix://[user:password@]/path/to/socket[?db=0]
    redis+sentinel://[user:password@]host[:26379],host.../service[/db]
    redis+cluster://[user:password@]host[:6379],host...       rediss+cluster:// is the same over TLS

No error text and no repr carries any part of the URL that could be a credential.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_ANY = frozenset({"db", "client_name"})
# No option switches off the verification of the server's certificate; name a private CA instead.
_TLS = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_check_hostname"})
OPTIONS: Mapping[str, frozenset[str]] = {
    "redis": _ANY,
    "rediss": _ANY | _TLS,
    "unix": _ANY | {"username", "password"},
    "redis+sentinel": _ANY | {"sentinel_username", "sentinel_password"},
    "redis+cluster": _ANY - {"db"},
    "rediss+cluster": _ANY - {"db"} | _TLS,
}
CLUSTER = ("redis+cluster", "rediss+cluster")
PORTS = {"redis+sentinel": 26379}
DEFAULT_PORT = 6379


@dataclass(frozen=True)
class RedisUrl:
    """hosts: the server's, the sentinels', or any nodes of the cluster. options: the query's, as text, only those that
    the scheme knows."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{hosts}/{self.service and self.service + '/'}{self.db}"


def parse(url: str) -> RedisUrl:
    """Raises ValueError about the mistake, without quoting the URL."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in OPTIONS:
        raise ValueError(f"the scheme must be one of {', '.join(OPTIONS)}")
    try:
        split = urlsplit(url)
        options = _options(scheme, split.query)
        return _build(split, options)
    except _SafeError as err:
        raise ValueError(str(err)) from None
    except ValueError:  # urllib quotes the part that it cannot read
        raise ValueError("the host, port or database number cannot be read; is a special character unquoted?") from None


class _SafeError(ValueError):
    """A message that is safe to show."""


def _options(scheme: str, query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options.keys() - OPTIONS[scheme]:
        raise _SafeError(f"{scheme}:// takes no option {name!r}; it takes {', '.join(sorted(OPTIONS[scheme]))}")
    return options


def _build(split: SplitResult, options: dict[str, str]) -> RedisUrl:
    userinfo, _, location = split.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    path = unquote(split.path)
    service, db = _service_and_db(split.scheme, path)
    return RedisUrl(
        scheme=split.scheme,
        hosts=() if split.scheme == "unix" else _hosts(location, PORTS.get(split.scheme, DEFAULT_PORT)),
        path=path if split.scheme == "unix" else "",
        service=service,
        db=int(options.pop("db", db) or 0),
        username=unquote(username) or options.pop("username", None),
        password=unquote(password) or options.pop("password", None),
        options=options,
    )


def _service_and_db(scheme: str, path: str) -> tuple[str, str]:
    if scheme == "unix":
        if not path:
            raise _SafeError("unix:// needs the socket's path")
        return "", ""
    if scheme in CLUSTER and path.strip("/") not in ("", "0"):
        raise _SafeError(f"{scheme}:// takes no database's number: a cluster has only one")
    if scheme != "redis+sentinel":
        return "", path.strip("/")
    service, _, db = path.strip("/").partition("/")
    if not service:
        raise _SafeError("redis+sentinel:// needs the service's name after the hosts")
    return service, db


def _hosts(location: str, default_port: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for part in location.split(","):
        split = urlsplit(f"//{part}")
        hosts.append((unquote(split.hostname or "127.0.0.1"), split.port or default_port))
    return tuple(hosts)
