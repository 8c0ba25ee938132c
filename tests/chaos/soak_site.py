"""How the people of the soak reach the pods, and what their browsers keep."""

import http.client
import json
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from tests.chaos.soak_ledger import Life
from tests.peers import openid

TIMEOUT = 30


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: Mapping[str, str]

    @property
    def code(self) -> str:
        try:
            return str(json.loads(self.body)["code"])
        except (ValueError, KeyError):
            return ""


class Site:
    """The pods, as a balancer in front of them would ask: any that answers, on connections that are kept."""

    def __init__(self, base_url: str, ports: list[int]) -> None:
        self.base_url = base_url
        self._ports = ports
        self._of_thread = threading.local()
        self._kept: list[http.client.HTTPConnection] = []

    def ask(self, method: str, path: str, cookies: Mapping[str, str], body: str = "", **headers: str) -> Answer | None:
        """None where no answer came: what became of the request is unknown."""
        sent = {
            "Host": urlsplit(self.base_url).netloc,
            "User-Agent": openid.NAVIGATION["User-Agent"],
            "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
            **headers,
        }
        for connection in random.sample(self._connections(), len(self._ports)):
            try:
                return _asked(connection, method, path, body, sent)
            except ConnectionRefusedError:  # so nothing was asked: this pod is away
                connection.close()
            except (OSError, http.client.HTTPException):
                connection.close()
                return None
        return None

    def close(self) -> None:
        for connection in self._kept:
            connection.close()

    def _connections(self) -> list[http.client.HTTPConnection]:
        """Of this thread, one to each pod."""
        if not hasattr(self._of_thread, "connections"):
            self._of_thread.connections = [
                http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT) for port in self._ports
            ]
            self._kept += self._of_thread.connections
        connections: list[http.client.HTTPConnection] = self._of_thread.connections
        return connections


def _asked(
    connection: http.client.HTTPConnection, method: str, path: str, body: str, headers: Mapping[str, str]
) -> Answer:
    connection.request(method, path, body or None, headers)
    answer = connection.getresponse()
    content = answer.read()
    found: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_all("Set-Cookie", []):
        found.load(line)
    cookies = {name: "" if each["max-age"] == "0" else each.value for name, each in found.items()}
    return Answer(answer.status, dict(answer.headers.items()), content, cookies)


@dataclass
class Browser:
    """cookies: at the BFF. logins: cookies at each provider, by alias."""

    cookies: dict[str, str] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict)
    life: Life | None = None
    over: Life | None = None
    """A session that the script ended, of which this browser still has the cookie."""

    def keep(self, answer: Answer) -> None:
        """What the answer sets, and not what it clears."""
        self.cookies |= answer.cookies
        self.cookies = {name: value for name, value in self.cookies.items() if value}
