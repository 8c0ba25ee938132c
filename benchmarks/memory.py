"""Memory of 10,000 cached sessions in a worker, identity headers included: resident memory before and after."""

import gc
import tempfile
import time
from pathlib import Path

from bff import services, settings
from bff.sessions.binding import binding_of
from bff.sessions.model import User
from bff.sessions.tokens import AccessToken, Tokens
from bff.web.profiles import DEFAULT, Profile

SESSIONS = 10_000
AT_MOST = 20_000_000
TOKENS = Tokens("embedded", AccessToken("access", 2e9))


def main() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        service = services.build(settings.load({"BFF_DATA_DIR": folder, "SESSION_CACHE_TTL": "60"}))
        service.start()
        keys = [_create(service, number) for number in range(SESSIONS + 100)]
        deadline = time.monotonic() + 5
        while not service.cache.truthful and time.monotonic() < deadline:
            time.sleep(0.01)
        _fill(service, keys[:100])  # the code's own memory is resident now
        before = _resident()
        _fill(service, keys[100:])
        used = _resident() - before
        held = len(service.cache)
        service.close()
    print(f"{held - 100} sessions cached: {used / 1e6:.1f} MB, {used / SESSIONS:.0f} bytes each (target: under 20 MB)")
    return held == SESSIONS + 100 and used < AT_MOST


def _create(service: services.Services, number: int) -> str:
    user = User(f"user-{number:08d}", f"user-{number:08d}", f"Person {number}", f"p{number}@example.test", ("staff",))
    binding = binding_of(f"203.0.{number % 250}.7", f"Mozilla/5.0 (X11; Linux) Browser/{number % 40}")
    _, session = service.store.create(
        user,
        idp="embedded",
        auth_time=1_700_000_000,
        sid=f"sid-{number}",
        binding=binding,
        tokens=Tokens("embedded", AccessToken("t", 2e9)),
    )
    return session.key


def _fill(service: services.Services, keys: list[str]) -> None:
    profile = Profile(DEFAULT, service.enforcement, service.subjects, service.tokens.service)
    for key in keys:
        entry = service.cache.lookup(key, service.clock())
        if entry is not None:
            profile.headers(entry)
    gc.collect()


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")
