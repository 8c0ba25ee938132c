"""The latest exemplar of each bucket, per process: prometheus_client's multiprocess mode has none.

A file of fixed-size records beside the value files. A reader may come while a record is being written, so its first and
last field are one sequence number, odd while the record is in the making; a record whose ends differ is left out of
that one scrape.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.samples import Exemplar

KEY_BYTES = 1000
TRACE_ID, SPAN_ID = "trace_id", "span_id"
# sequence, length of the key, key, trace id, span id, value, timestamp, sequence again
_RECORD = struct.Struct(f"=II{KEY_BYTES}s32s16sddI4x")


class ExemplarFile:
    """The writer's side. Only exemplars of a trace are kept: trace_id, and span_id when there is one."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._slots: dict[bytes, int] = {}
        self._sequence = 0

    def keep(self, key: bytes, exemplar: Exemplar) -> None:
        """Raises OSError. key: the bucket's."""
        trace_id = exemplar.labels.get(TRACE_ID, "").encode()
        if not trace_id or len(trace_id) > 32 or len(key) > KEY_BYTES:
            return
        slot = self._slots.setdefault(key, len(self._slots))
        self._sequence = (self._sequence + 2) % 2**32
        record = _RECORD.pack(
            self._sequence,
            len(key),
            key,
            trace_id,
            exemplar.labels.get(SPAN_ID, "").encode(),
            exemplar.value,
            exemplar.timestamp or 0.0,
            self._sequence,
        )
        os.pwrite(self._fd, record, slot * _RECORD.size)


def read_exemplars(path: Path) -> Iterator[tuple[bytes, Exemplar]]:
    """(key, exemplar) for each whole record; nothing when the file is gone."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    whole = len(data) - len(data) % _RECORD.size
    for first, length, key, trace_id, span_id, value, timestamp, last in _RECORD.iter_unpack(data[:whole]):
        if first == last and 0 < length <= KEY_BYTES:
            yield key[:length], Exemplar(_labels(trace_id, span_id), value, timestamp)


def _labels(trace_id: bytes, span_id: bytes) -> dict[str, str]:
    labels = {TRACE_ID: trace_id.rstrip(b"\0").decode("ascii", "replace")}
    if span := span_id.rstrip(b"\0").decode("ascii", "replace"):
        labels[SPAN_ID] = span
    return labels
