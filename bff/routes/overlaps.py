"""Finds ambiguous routes: a request could match both, and neither path is more specific than the other.

`/api/a/{x}` and `/api/{y}/b` both match `/api/a/b`, and either precedence would surprise an operator.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, zip_longest
from typing import NamedTuple

from bff.routes.trie import Endpoint
from bff.settings.template import REST, name_of

_VALUE = "{}"
_Shape = tuple[str, ...]
"""The segments of a path, `{}` for any one of them and `*` for the rest."""


class Overlap(NamedTuple):
    """path: the most general path that both match, with the more specific segment of either."""

    first: Endpoint
    second: Endpoint
    path: _Shape


def overlaps(endpoints: Sequence[Endpoint]) -> Iterator[Overlap]:
    """Yields each ambiguous pair of paths, unless a third route has just the path that both match."""
    by_shape = {_shape(each): each for each in endpoints}
    for one, other in combinations(by_shape, 2):
        path = _both(one, other)
        if path is not None and path not in by_shape:  # were one more specific, it would be the path itself
            yield Overlap(by_shape[one], by_shape[other], path)


def _shape(endpoint: Endpoint) -> _Shape:
    segments = ("", *endpoint.routes[0].template.segments)
    return tuple([_VALUE if name_of(each) not in (None, REST) else each for each in segments])


def _both(one: _Shape, other: _Shape) -> _Shape | None:
    """The paths that both match, as one shape; None when there are none."""
    path: list[str] = []
    for position, (mine, theirs) in enumerate(zip_longest(one, other)):
        if mine == theirs or (theirs == _VALUE and mine not in ("", REST, None)):
            path.append(mine)
        elif mine == _VALUE and theirs not in ("", REST, None):
            path.append(theirs)
        elif REST in (mine, theirs) and None not in (mine, theirs):
            return (*path, *(other if mine == REST else one)[position:])
        else:
            return None
    return tuple(path)
