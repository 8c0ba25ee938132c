"""A second OpenID Provider, independent of the first in language and authors: Canaille, on Flask and Authlib.

It has a virtual environment of its own, `canaille/.venv`, because it wants other versions than the BFF has pinned, and
listens on 127.0.0.3, because cookies ignore ports.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.peers import install, openid, process
from tests.peers.bff import Visitor
from tests.peers.openid import TIMEOUT, Client

FOLDER = Path(__file__).parent / "canaille"
HOST = "127.0.0.3"
PASSWORD = "a password nobody knows"
PEOPLE = [
    {"user_name": name, "formatted_name": f"{name.title()} {family}", "family_name": family, "password": PASSWORD}
    | {"emails": [f"{name}@example.com"]}
    for name, family in (("alice", "Adams"), ("bob", "Brown"))
]


def client(client_id: str, base_url: str) -> Client:
    """A client whose secret needs no encoding, for Authlib does not undo that of RFC 6749 section 2.3.1.

    It authenticates with client_secret_basic, the only method of the introspection and revocation endpoints here.
    """
    return openid.client(client_id, base_url, secret="s" * 32)


@dataclass(frozen=True)
class Canaille:
    issuer: str

    def login(self, visitor: Visitor, user: str = "alice") -> requests.Response:
        """The whole login at a BFF, with consent; the answer of the callback."""
        fields = {"login": user, "password": PASSWORD, "answer": "accept"}
        return visitor.open(visitor.walk(visitor.start_login(), f"{visitor.base_url}/auth/callback", **fields))

    def logout(self, visitor: Visitor, url: str) -> str:
        """RP-initiated logout from the BFF's logout_url on; the first address back at the BFF."""
        return visitor.walk(visitor.sent_on(url), visitor.base_url, answer="logout")

    def ask(self, endpoint: str, client: Client, **parameters: str) -> requests.Response:
        """What the client's own call to token, introspect or revoke answers."""
        credentials = client.metadata["client_id"], client.secret
        return requests.post(f"{self.issuer}/oauth/{endpoint}", data=parameters, auth=credentials, timeout=TIMEOUT)


@contextmanager
def running(clients: Sequence[Client], *, log: Path | None = None) -> Iterator[Canaille]:
    """Canaille with these clients, alice and bob."""
    python = install.venv(FOLDER)
    port = process.free_port(HOST)
    env = {
        "HOST": HOST,
        "PORT": str(port),
        "CLIENTS": json.dumps([_registration(one) for one in clients]),
        "PEOPLE": json.dumps(PEOPLE),
        "AUTHLIB_INSECURE_TRANSPORT": "1",
    }
    with process.running([python, FOLDER / "server.py"], port=port, host=HOST, env=env, log=log):
        yield Canaille(f"http://{HOST}:{port}")


def _registration(client: Client) -> dict[str, Any]:
    return client.metadata | {"client_name": "a BFF", "response_types": ["code"]}
