"""A6: a service's answer whose end can be found in two ways, or in none.

One valid framing leaves through every proxy, or problem details. The client waits for nothing, and the next answer on
its connection is its own.
"""

import json
import socket

import pytest

from tests.attacks.ground import Site
from tests.attacks.wire import ANSWERS
from tests.e2e.protected import PROXIES
from tests.peers import raw

pytestmark = pytest.mark.e2e


def get(port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def fields_of(answer: raw.Answer, name: str) -> str | None:
    return next((value for known, value in answer.fields.items() if known.lower() == name), None)


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize("proxy", PROXIES)
def test_one_framing_leaves_or_problem_details(site: Site, proxy: str, case: str) -> None:
    port = site.ports[proxy]
    with socket.create_connection(("127.0.0.1", port), raw.PATIENCE) as client:
        client.sendall(get(port, f"/api/wire/{case}"))
        answer = raw.answer(client)
        assert answer.status in ANSWERS[case][1]
        assert answer.complete
        length = fields_of(answer, "content-length")
        assert length is None or answer.status == 304 or int(length) == len(answer.body)
        assert length is None or fields_of(answer, "transfer-encoding") is None
        if answer.status == 502:
            assert fields_of(answer, "content-type") == "application/problem+json"
            assert json.loads(answer.body)["code"] == "upstream_unreachable"
        else:
            assert answer.body == (b"ok" if answer.status == 200 else b"")
        client.sendall(get(port, f"/api/open/after-{case}"))
        assert f"/after-{case} " in json.loads(raw.answer(client).body)["head"]
