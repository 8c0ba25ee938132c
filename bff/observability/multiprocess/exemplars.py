"""Checksummed records: the latest exemplar of each bucket, per process; prometheus_client's multiprocess mode has none.

A file of fixed-size records beside the value files, written through mapped memory. A reader may read a record while it
is being written, so each has a checksum. A scrape skips a record with a wrong checksum.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client.samples import Exemplar

NAME = "exemplars_{}.bin"
KEY_BYTES = 1000
TRACE_ID, SPAN_ID = "trace_id", "span_id"
_FIRST = 64  # records
_CHECKSUM = struct.Struct("=I")  # of the key, padded and with its length, and of the latest
_LATEST = struct.Struct("=32s16sdd")  # trace id, span id, value, timestamp
_KEY = struct.Struct(f"=I{KEY_BYTES}s")
_WRITTEN = _CHECKSUM.size + _LATEST.size
RECORD_BYTES = _WRITTEN + _KEY.size


class _Place(NamedTuple):
    start: int
    key_checksum: int


class ExemplarFile:
    """The writer's side. Only exemplars of a trace are kept: trace_id, and span_id when there is one."""

    def __init__(self, path: Path) -> None:
        """Creates an empty file. Raises OSError."""
        path.unlink(missing_ok=True)  # not truncated: a process that has it mapped would get a SIGBUS
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._places: dict[bytes, _Place] = {}
        self._capacity = 0

    def keep(self, key: bytes, exemplar: Exemplar) -> None:
        """Raises OSError. key: the bucket's."""
        trace_id = exemplar.labels.get(TRACE_ID, "").encode()
        span_id = exemplar.labels.get(SPAN_ID, "").encode()
        if not 0 < len(trace_id) <= 32 or len(span_id) > 16 or len(key) > KEY_BYTES:
            return
        start, key_checksum = self._places.get(key) or self._append(key)
        latest = _LATEST.pack(trace_id, span_id, exemplar.value, float(exemplar.timestamp or 0))
        self._map[start : start + _WRITTEN] = _CHECKSUM.pack(zlib.crc32(latest, key_checksum)) + latest

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, key: bytes) -> _Place:
        start = len(self._places) * RECORD_BYTES
        if start == self._capacity:
            self._reserve(2 * self._capacity or _FIRST * RECORD_BYTES)
        padded = _KEY.pack(len(key), key)
        self._map[start + _WRITTEN : start + RECORD_BYTES] = padded
        place = self._places[key] = _Place(start, zlib.crc32(padded))
        return place

    def _reserve(self, capacity: int) -> None:
        """Reserve the space first: a full disk raises OSError here, instead of a SIGBUS at a later write."""
        os.posix_fallocate(self._fd, 0, capacity)
        self._map = mmap.mmap(self._fd, capacity)
        self._capacity = capacity


def read_exemplars(path: Path) -> Iterator[tuple[bytes, Exemplar]]:
    """(key, exemplar) of each whole record; none when the file has been removed."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    for start in range(0, len(data) - RECORD_BYTES + 1, RECORD_BYTES):
        latest = data[start + _CHECKSUM.size : start + _WRITTEN]
        key = data[start + _WRITTEN : start + RECORD_BYTES]
        if _CHECKSUM.unpack_from(data, start)[0] == zlib.crc32(latest, zlib.crc32(key)):
            trace_id, span_id, value, timestamp = _LATEST.unpack(latest)
            length, padded = _KEY.unpack(key)
            yield padded[:length], Exemplar(_labels(trace_id, span_id), value, timestamp)


def _labels(trace_id: bytes, span_id: bytes) -> dict[str, str]:
    labels = {TRACE_ID: _text(trace_id)}
    return labels | ({SPAN_ID: _text(span_id)} if span_id.strip(b"\0") else {})


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
