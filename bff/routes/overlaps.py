"""Paths of which neither is more specific than the other, though a request could mean either.

`/api/a/{x}` and `/api/{y}/b` both take `/api/a/b`, and whichever went first would be a surprise to somebody. Found by
walking the trie against itself from each place where a literal segment and a value part, not by comparing all pairs.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bff.routes.trie import Endpoint, Node

_VALUE, _REST = "{}", "*"


class Overlap(NamedTuple):
    """path: one that both take, as a template with `{}` for any segment."""

    first: Endpoint
    second: Endpoint
    path: tuple[str, ...]


class _Pair(NamedTuple):
    """Two nodes that the same beginning of a path leads to. before: that beginning. The first is more specific in one
    segment of it; second_too: the second one is in another."""

    first: Node
    second: Node
    before: tuple[str, ...]
    second_too: bool = False


def overlaps(root: Node) -> Iterator[Overlap]:
    """One for each pair of paths that no third one decides, by being the most specific where both could be meant."""
    declared = set(_shapes(root))
    for pair in _partings(root, ()):
        for found in _within(pair):
            if found.path not in declared:
                yield found


def _partings(node: Node, before: tuple[str, ...]) -> Iterator[_Pair]:
    for segment, child in node.items():
        if node.value is not None and segment:
            yield _Pair(child, node.value, (*before, segment))
        yield from _partings(child, (*before, segment))
    if node.value is not None:
        yield from _partings(node.value, (*before, _VALUE))


def _within(pair: _Pair) -> Iterator[Overlap]:
    first, second, before, second_too = pair
    if second_too and first.end and second.end:
        yield Overlap(first.end, second.end, before)
    if second_too and first.rest and second.rest:
        yield Overlap(first.rest, second.rest, (*before, _REST))
    if first.rest:  # whatever the second has here is more specific than that
        yield from (Overlap(first.rest, end, path) for end, path in _below(second, before))
    if second_too and second.rest:
        yield from (Overlap(end, second.rest, path) for end, path in _below(first, before))
    for following in _following(pair):
        yield from _within(following)


def _following(pair: _Pair) -> Iterator[_Pair]:
    first, second, before, second_too = pair
    small, large = sorted((first, second), key=len)
    for segment in small:
        if segment in large:
            yield _Pair(first[segment], second[segment], (*before, segment), second_too)
    if second.value is not None:
        for segment, child in first.items():
            if segment:
                yield _Pair(child, second.value, (*before, segment), second_too)
    if first.value is not None:
        for segment, child in second.items():
            if segment:
                yield _Pair(first.value, child, (*before, segment), True)
    if first.value is not None and second.value is not None:
        yield _Pair(first.value, second.value, (*before, _VALUE), second_too)


def _below(node: Node, before: tuple[str, ...]) -> Iterator[tuple[Endpoint, tuple[str, ...]]]:
    """Every endpoint at least one segment further on, but the node's own rest, with its path."""
    steps = [*node.items(), *([(_VALUE, node.value)] if node.value is not None else [])]
    for segment, child in steps:
        path = (*before, segment)
        if child.end:
            yield child.end, path
        if child.rest:
            yield child.rest, (*path, _REST)
        yield from _below(child, path)


def _shapes(node: Node, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if node.end:
        yield before
    if node.rest:
        yield (*before, _REST)
    yield from (path for _, path in _below(node, before))
