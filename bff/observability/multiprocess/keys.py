"""Parser of value file keys: the sample's name, metric, labels and help text.

A key is JSON: [family, sample name, labels, help text]. prometheus_client writes no other, so any other key means a
broken file. It is dropped, because a single bad line makes Prometheus refuse a whole page.
"""

import functools
import json
from sys import intern
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

Labels = tuple[tuple[str, str], ...]
BOUND = "le"


class Series(NamedTuple):
    """metric is the family's name, name the sample's (with _total, _bucket, _sum...)."""

    metric: str
    name: str
    labels: Labels


class Key(NamedTuple):
    raw: bytes
    series: Series
    help: str


@functools.lru_cache(maxsize=1 << 15)
def parse_key(raw: bytes, *, histogram: bool = False) -> Key:
    """Raises ValueError. Processes write the same keys, so each is parsed and held once."""
    try:
        metric, name, labels, help_text = json.loads(raw)
        pairs = sorted((_name(label), _text(value)) for label, value in labels.items())
        if histogram:
            pairs = [(label, _bound(value) if label == BOUND else value) for label, value in pairs]
        return Key(raw, Series(_name(metric), _name(name), tuple(pairs)), _text(help_text))
    except (ValueError, TypeError, AttributeError, RecursionError) as err:
        raise ValueError("not a metric's key") from err


def _name(text: object) -> str:
    if not text:
        raise ValueError("a name is empty")
    return _text(text)


def _text(text: object) -> str:
    """Replace a lone surrogate: it is valid in JSON, but no page could be encoded with it."""
    if not isinstance(text, str):
        raise TypeError("not a text")
    return intern(text.encode(errors="replace").decode())


def _bound(text: str) -> str:
    """The bound as the exposition writes it, so that 1 and 1.0 are one bucket."""
    return str(floatToGoString(float(text)))
