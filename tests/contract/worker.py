"""Run by the contract tests as other processes: python -m tests.contract.worker ADDRESS ACTION KEY TIMES.

Prints one line of JSON. ADDRESS is a Redis URL or the path of a SQLite file. Nothing that opens a socket is imported
before gevent had its chance to patch the standard library.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bff.errors import StoreUnavailable
from bff.kv import KeyValue

PATIENT = 5.0


def main(address: str, action: str, key: str, times: str) -> None:
    if action in ("greenlets", "frozen"):
        from gevent import monkey

        monkey.patch_all()
    actions: dict[str, Callable[[KeyValue, str, int], Any]] = {
        "increment": increment,
        "take": take,
        "fork": fork,
        "greenlets": greenlets,
        "frozen": frozen,
        "log": log,
        "window": window,
    }
    patience = 0.25 if action == "frozen" else PATIENT
    result = actions[action](open_store(address, patience), key, int(times))
    sys.stdout.write(json.dumps(result) + "\n")


def open_store(address: str, timeout: float) -> KeyValue:
    if "://" in address:
        from bff.kv.redis import RedisStore

        return RedisStore(address, timeout=timeout)
    from bff.kv.sqlite import SqliteStore

    return SqliteStore(Path(address), timeout=timeout)


def increment(kv: KeyValue, key: str, times: int) -> int:
    """Add one so often, with nothing but compare-and-set; answers how often somebody else was faster."""
    lost = 0
    for _ in range(times):
        while True:
            current = kv.get(key) or b"0"
            if kv.compare_and_set(key, current, str(int(current) + 1).encode()):
                break
            lost += 1
    return lost


def take(kv: KeyValue, key: str, times: int) -> list[str]:
    """What this process received of key0, key1, ..."""
    taken = []
    for name in (f"{key}{number}" for number in range(times)):
        value = kv.get(name)
        if value is not None and kv.compare_and_set(name, value, None):
            taken.append(value.decode())
    return taken


def log(kv: KeyValue, key: str, times: int) -> int:
    """How many entries this process appended, one by one, each with its own name."""
    return sum(bool(kv.log_append(key, [f"{os.getpid()}-{number}".encode()], 1000)) for number in range(times))


def window(kv: KeyValue, key: str, times: int) -> int:
    """How many of this process's hits were let through."""
    return sum(kv.window_hit(key, 30, 60).counted for _ in range(times))


def fork(kv: KeyValue, key: str, times: int) -> dict[str, Any]:
    """Use the store, fork, and use it in both processes at once."""
    kv.set(key, b"parent")
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writer, json.dumps(_child(kv, key, times)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    read = [kv.get(key) == b"parent" for _ in range(times)]
    with open(reader, "rb") as pipe:
        child = json.loads(pipe.read() or "null")
    os.wait()
    written = [kv.get(f"{key}{number}") == str(number).encode() for number in range(times)]
    return {"parent": all(read), "child": child, "written": all(written)}


def _child(kv: KeyValue, key: str, times: int) -> dict[str, bool]:
    inherited = _connections()
    read = kv.get(key) == b"parent"
    anew = bool(_connections() - inherited)
    for number in range(times):
        kv.set(f"{key}{number}", str(number).encode())
    return {"read": read, "connected anew": anew}


def _connections() -> set[tuple[str, str]]:
    """This process's open sockets and database files: descriptor and what it leads to."""
    links = ((link.name, os.readlink(link)) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return {(name, target) for name, target in links if "socket:" in target or target.endswith(".sqlite")}


def greenlets(kv: KeyValue, key: str, times: int) -> dict[str, Any]:
    """Commands of many greenlets beside a subscription."""
    import gevent

    kv.set(key, b"0")
    received: list[str] = []
    states: list[bool] = []
    kv.subscribe(key, received.append, states.append)
    connected = _within(5, lambda: states == [True])
    gevent.joinall([gevent.spawn(increment, kv, key, 3) for _ in range(times)], timeout=20, raise_error=True)
    kv.publish(key, "hello")
    delivered = _within(5, lambda: received == ["hello"])
    total = int(kv.get(key) or b"0")
    kv.close()
    return {"connected": connected, "total": total, "delivered": delivered}


def frozen(kv: KeyValue, key: str, times: int) -> dict[str, Any]:
    """How often another greenlet ran while the store did not answer this one."""
    import gevent

    ticks: list[int] = []

    def tick() -> None:
        while True:
            gevent.sleep(0.01)
            ticks.append(1)

    ticker = gevent.spawn(tick)
    try:
        kv.get(key)
    except StoreUnavailable as err:
        return {"error": type(err).__name__, "ticks": len(ticks)}
    finally:
        ticker.kill()
    return {"error": None, "ticks": len(ticks)}


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


if __name__ == "__main__":
    main(*sys.argv[1:])
