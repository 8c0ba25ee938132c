"""Run by test_kafka.py as another process: python -m tests.contract.greenlets BROKER FOLDER.

Delivers to a broker in a greenlet while another one ticks, and prints one line of JSON: how often that ran, its longest
pause in seconds, and how many events are left. Nothing that opens a socket is imported before gevent's patches.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path


def main(broker: str, folder: str) -> None:
    from gevent import monkey

    monkey.patch_all()
    import time

    import gevent

    from bff.events.drops import DroppedEvents
    from bff.events.kafka import KafkaPublisher
    from bff.events.model import EventType
    from bff.events.outbox import LOG, Outbox
    from bff.events.relay import OutboxRelay
    from bff.kv.sqlite import SqliteStore
    from bff.settings import KafkaSettings
    from tests.unit.events.support import LOGIN, SOURCE, sealer

    ticks: list[float] = []

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.005)

    kv = SqliteStore(Path(folder) / "greenlets.sqlite")
    box = Outbox(kv, sealer(), SOURCE, 1000, time.time, DroppedEvents())
    for _ in range(100):
        box.emit(EventType.LOGIN_SUCCEEDED, LOGIN)
    relay = OutboxRelay(
        kv, box, KafkaPublisher(KafkaSettings((broker,), "g")), lambda _event: (), 3600, DroppedEvents()
    )
    ticker = gevent.spawn(tick)
    relay.run()
    relay.close()
    ticker.kill()
    pauses = [later - sooner for sooner, later in pairwise(ticks)]
    print(json.dumps({"ticks": len(ticks), "pause": max(pauses), "left": kv.log_length(LOG)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
