"""Opening what this or another instance sealed: `KeyElsewhere` where the key is in another one's BFF_SECRETS alone."""

import logging

from bff.crypto import SealedElsewhere, Sealer
from bff.errors import KeyElsewhere
from bff.observability import metrics

log = logging.getLogger(__name__)

_said: set[str] = set()


def opened(sealer: Sealer, sealed: bytes, context: str) -> bytes:
    """Raises SealError for what no instance of the fleet opens, KeyElsewhere."""
    try:
        return sealer.open(sealed, context)
    except SealedElsewhere as err:
        raise elsewhere(err.purpose) from err


def elsewhere(kind: str) -> KeyElsewhere:
    """Counted each time, and said once by each process for each kind."""
    metrics.sealed_elsewhere(kind)
    if kind not in _said:
        _said.add(kind)
        log.error("key_elsewhere", extra={"kind": kind})
    return KeyElsewhere()
