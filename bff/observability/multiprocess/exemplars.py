"""The latest exemplar of each bucket, per process: prometheus_client's multiprocess mode has none.

A file of fixed-size records beside the value files. A reader may come while a record is being written, so each carries
a checksum; a record that does not match its own is left out of that one scrape.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.samples import Exemplar

PATTERN = "exemplars_*.bin"
KEY_BYTES = 1000
TRACE_ID, SPAN_ID = "trace_id", "span_id"
_CHECKSUM = struct.Struct("=I")
# length of the key, key, trace id, span id, value, timestamp
_RECORD = struct.Struct(f"=I{KEY_BYTES}s32s16sdd")
_SIZE = _CHECKSUM.size + _RECORD.size


class ExemplarFile:
    """The writer's side. Only exemplars of a trace are kept: trace_id, and span_id when there is one."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._slots: dict[bytes, int] = {}

    def keep(self, key: bytes, exemplar: Exemplar) -> None:
        """Raises OSError. key: the bucket's."""
        trace_id = exemplar.labels.get(TRACE_ID, "").encode()
        span_id = exemplar.labels.get(SPAN_ID, "").encode()
        if not 0 < len(trace_id) <= 32 or len(span_id) > 16 or len(key) > KEY_BYTES:
            return
        content = _RECORD.pack(len(key), key, trace_id, span_id, exemplar.value, float(exemplar.timestamp or 0))
        slot = self._slots.setdefault(key, len(self._slots))
        os.pwrite(self._fd, _CHECKSUM.pack(zlib.crc32(content)) + content, slot * _SIZE)

    def close(self) -> None:
        os.close(self._fd)


def read_exemplars(path: Path) -> Iterator[tuple[bytes, Exemplar]]:
    """(key, exemplar) of each whole record; nothing when the file is gone."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    for start in range(0, len(data) - _SIZE + 1, _SIZE):
        content = data[start + _CHECKSUM.size : start + _SIZE]
        if _CHECKSUM.unpack_from(data, start)[0] == zlib.crc32(content):
            length, key, trace_id, span_id, value, timestamp = _RECORD.unpack(content)
            yield key[:length], Exemplar(_labels(trace_id, span_id), value, timestamp)


def _labels(trace_id: bytes, span_id: bytes) -> dict[str, str]:
    labels = {TRACE_ID: _text(trace_id)}
    return labels | ({SPAN_ID: _text(span_id)} if span_id.strip(b"\0") else {})


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
