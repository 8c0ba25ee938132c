"""Opens sealed records; raises `KeyElsewhere` when only another instance's BFF_SECRETS has the key."""

import logging

from bff.crypto import SealedElsewhere, Sealer
from bff.errors import KeyElsewhere
from bff.observability import metrics

log = logging.getLogger(__name__)

_said: set[str] = set()


def opened(sealer: Sealer, sealed: bytes, context: str) -> bytes:
    """Raises SealError for a record that no instance of the fleet can open, KeyElsewhere."""
    try:
        return sealer.open(sealed, context)
    except SealedElsewhere as err:
        raise elsewhere(err.purpose) from err


def elsewhere(kind: str) -> KeyElsewhere:
    """Returns the error. Each call is counted; a process logs each kind once."""
    metrics.sealed_elsewhere(kind)
    if kind not in _said:
        _said.add(kind)
        log.error("key_elsewhere", extra={"kind": kind})
    return KeyElsewhere()
