"""Prints the resident bytes that reading a folder of value files takes: `python -m benchmarks.reader FOLDER`."""

import gc
import os
import sys
from pathlib import Path

from bff.observability.multiprocess.collector import MultiprocessCollector

SCRAPES = 5


def main(folder: Path) -> int:
    """Reads both formats more than once, after the code's own memory is resident. Returns the bytes."""
    with_nothing = MultiprocessCollector(folder / "nothing", print)
    with_nothing.text(openmetrics=True, more=[])
    before = _resident()
    collector = MultiprocessCollector(folder, print)
    for number in range(SCRAPES):
        collector.text(openmetrics=number % 2 == 0, more=[])
    gc.collect()
    return _resident() - before


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
