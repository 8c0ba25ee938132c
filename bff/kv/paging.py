"""Keyset pagination: reads a long index a page at a time, so that no call holds up the store's other clients.

The cursor is a score, with the number of members of that score that were seen, since a page may end among equals. A
page costs the same at any position. Members that come, go or move meanwhile may be missed or seen twice; all others are
seen once.
"""

import math
from collections.abc import Iterator

from bff.kv import KeyValue

PAGE = 200


def pages(
    kv: KeyValue,
    index: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    size: int = PAGE,
    descending: bool = False,
) -> Iterator[list[tuple[str, float]]]:
    """Yields members with low <= score <= high, lowest score first, or highest, at most `size` in each page. Raises
    StoreUnavailable."""
    offset = 0
    while page := kv.index_range(index, low, high, size, offset=offset, descending=descending):
        yield page
        if len(page) < size:
            return
        last = page[-1][1]
        if last != (high if descending else low):
            offset = 0
        offset += sum(score == last for _, score in page)
        low, high = (low, last) if descending else (last, high)
