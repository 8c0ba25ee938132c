"""Large bodies pass through a worker in both directions, and hardly any of it is ever in its memory.

`make stream` sends a gibibyte each way (STREAM_MIB, in mebibytes).
"""

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.proxied import TIMEOUT, Site, site

pytestmark = pytest.mark.e2e
__all__ = ["site"]

MIB = 1024 * 1024
SIZE = int(os.environ.get("STREAM_MIB", "64")) * MIB
PIECE = bytes(256 * 1024)
WARM = 4 * MIB
ALLOWED_GROWTH = 30 * MIB


def resident(worker: int, what: str) -> int:
    """Bytes. what: VmRSS for now, VmHWM for the most there ever was."""
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def up(site: Site, size: int, *, chunked: bool) -> None:
    pieces: Iterator[bytes] = (PIECE for _ in range(size // len(PIECE)))
    headers = {} if chunked else {"Content-Length": str(size)}
    with closing(http.client.HTTPConnection("127.0.0.1", site.bff.port, timeout=TIMEOUT)) as connection:
        connection.request("PUT", "/api/work/sink", pieces, headers, encode_chunked=chunked)
        found = json.loads(connection.getresponse().read())
    assert found == {"received": size, "framing": "chunked" if chunked else "length"}


def down(site: Site, size: int, *, chunked: bool) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", site.bff.port, timeout=TIMEOUT)) as connection:
        connection.request("GET", f"/api/work/source?size={size}{'&chunked=1' if chunked else ''}")
        answer, buffer, received = connection.getresponse(), bytearray(len(PIECE)), 0
        while some := answer.readinto(buffer):
            received += some
    assert received == size


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
@pytest.mark.parametrize("way", [up, down])
def test_the_worker_does_not_grow(
    site: Site, way: Callable[..., None], chunked: bool, record_testsuite_property: Callable[[str, object], None]
) -> None:
    way(site, WARM, chunked=chunked)
    (worker,) = site.bff.workers()
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # from now on VmHWM counts anew
    before, start = resident(worker, "VmRSS"), time.monotonic()
    way(site, SIZE, chunked=chunked)
    growth, seconds = resident(worker, "VmHWM") - before, time.monotonic() - start
    figures = f"{SIZE // MIB} MiB, the worker at most {growth / MIB:.1f} MiB larger, {SIZE / MIB / seconds:.0f} MiB/s"
    print(f"\n{way.__name__} {'chunked' if chunked else 'announced'}: {figures}")
    record_testsuite_property(f"stream_{way.__name__}_{chunked}", figures)
    assert growth < ALLOWED_GROWTH
    assert site.bff.workers() == [worker]
