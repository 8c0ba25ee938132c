"""A burst: requests on a connection each, all of them under way at once, counted by what they were answered."""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tests.peers.openid import NAVIGATION

PATIENCE = 60


class Request(NamedTuple):
    """cookie: of a session; none where it is empty."""

    port: int
    path: str
    cookie: str = ""

    def data(self) -> bytes:
        fields = dict(NAVIGATION) | {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        if self.cookie:
            fields["Cookie"] = f"bff_session={self.cookie}"
        lines = [f"GET {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode()


def send(requests: Sequence[Request]) -> "tuple[Counter[str], float]":
    """How often each `path status` came, an error by its name instead of the status; and the seconds of it all."""
    begun = time.monotonic()
    with selectors.DefaultSelector() as poller:
        for request in requests:
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", request.port))
            poller.register(client, selectors.EVENT_WRITE, (request, bytearray()))
        return _answered(poller, begun), time.monotonic() - begun


def _answered(poller: selectors.BaseSelector, begun: float) -> "Counter[str]":
    seen: Counter[str] = Counter()
    while poller.get_map():
        ready = poller.select(1)
        late = time.monotonic() > begun + PATIENCE
        for key in list(poller.get_map().values()) if late else [key for key, _ in ready]:
            outcome = "late" if late else _step(poller, key)
            if outcome:
                seen[f"{key.data[0].path} {outcome}"] += 1
                poller.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
    return seen


def _step(poller: selectors.BaseSelector, key: selectors.SelectorKey) -> str:
    """What became of it; empty while that is open."""
    client: socket.socket = key.fileobj  # type: ignore[assignment]
    request, received = key.data
    try:
        if key.events & selectors.EVENT_WRITE:
            client.send(request.data())
            poller.modify(client, selectors.EVENT_READ, key.data)
            return ""
        received += (part := client.recv(65536))
    except OSError as err:
        return type(err).__name__
    if part:
        return ""
    return received[9:12].decode() or "nothing"
