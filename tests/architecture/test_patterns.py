"""No pattern can take more than linear time by going back: hostile text is matched by nearly all of them."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _constants as ops
from re import _parser as parser
from typing import Any

import pytest

import bff

_EVERY = frozenset(range(128))
_METHOD: Any = type(re.compile("").fullmatch)
_UNBOUNDED = (ops.MAX_REPEAT, ops.MIN_REPEAT)
_CLASSES = {
    ops.CATEGORY_DIGIT: r"\d", ops.CATEGORY_NOT_DIGIT: r"\D", ops.CATEGORY_SPACE: r"\s",
    ops.CATEGORY_NOT_SPACE: r"\S", ops.CATEGORY_WORD: r"\w", ops.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip

NESTED = {
    # Each round begins with a separator that what stands before it cannot hold, so there is one way to match.
    "bff.pdp.cedar._IDENTIFIER",
    "bff.routes.path.PLAIN_REST",
    "bff.settings.yaml_fields._PREFIX",
    "bff.web.forwarded._ELEMENT",
}


def _compiled(value: Any) -> Any:
    """Also of `re.compile(...).fullmatch`."""
    return value.__self__ if type(value) is _METHOD else value


def patterns() -> Iterator[tuple[str, "re.Pattern[Any]"]]:
    for module in pkgutil.walk_packages(bff.__path__, "bff."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        members: dict[str, Any] = vars(loaded)
        for name, value in members.items():
            found = _compiled(value)
            if isinstance(found, re.Pattern):
                yield f"{module.name}.{name}", found


PATTERNS = {name: pattern for pattern, name in {pattern: name for name, pattern in reversed(list(patterns()))}.items()}


def parsed(pattern: "re.Pattern[Any]") -> Any:
    return parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else 0)


def inner(argument: Any) -> Iterator[Any]:
    """The sequences of operations within one's argument."""
    if isinstance(argument, parser.SubPattern):
        yield argument
    elif isinstance(argument, list | tuple):
        for each in argument:
            yield from inner(each)


def repeats(sequence: Any) -> Iterator[Any]:
    """The bodies of all repetitions without a bound that can go back."""
    for op, argument in sequence:
        if op in _UNBOUNDED and argument[1] is ops.MAXREPEAT:
            yield argument[2]
        for each in inner(argument):
            yield from repeats(each)


def first(sequence: Any) -> frozenset[int]:
    """The ASCII characters that it can begin with; all where that is not clear."""
    for op, argument in sequence:
        if op is ops.LITERAL:
            return frozenset({argument})
        if op is ops.NOT_LITERAL:
            return _EVERY - {argument}
        if op is ops.IN:
            return _class(argument)
        if op is ops.SUBPATTERN:
            return first(argument[3])
        if op in (*_UNBOUNDED, ops.POSSESSIVE_REPEAT) and argument[0] > 0:
            return first(argument[2])
        if op in (ops.ASSERT, ops.ASSERT_NOT, ops.AT):
            continue
        return _EVERY
    return _EVERY


def _class(items: Any) -> frozenset[int]:
    found: set[int] = set()
    for op, argument in items:
        if op is ops.LITERAL:
            found.add(argument)
        elif op is ops.RANGE:
            found.update(range(argument[0], argument[1] + 1))
        elif op is ops.CATEGORY:
            found.update(code for code in _EVERY if re.match(_CLASSES[argument], chr(code)))
    negated = items and items[0][0] is ops.NEGATE
    return _EVERY - found if negated else frozenset(found)


def ambiguous(sequence: Any) -> bool:
    """Whether two branches of it can begin with the same character."""
    for op, argument in sequence:
        if op is ops.BRANCH:
            sets = [first(branch) for branch in argument[1]]
            if any(one & other for number, one in enumerate(sets) for other in sets[:number]):
                return True
        if op not in (ops.ATOMIC_GROUP, ops.ASSERT, ops.ASSERT_NOT) and any(
            ambiguous(each) for each in inner(argument)
        ):
            return True
    return False


def test_there_are_patterns() -> None:
    assert len(PATTERNS) > 50


def test_repetitions_within_repetitions_are_these() -> None:
    nested = {
        name
        for name, pattern in PATTERNS.items()
        for body in repeats(parsed(pattern))
        if any(True for _ in repeats(body))
    }
    assert nested == NESTED


@pytest.mark.parametrize("name", PATTERNS)
def test_no_repetition_has_two_ways_on(name: str) -> None:
    assert not any(ambiguous(body) for body in repeats(parsed(PATTERNS[name])))


@pytest.mark.parametrize(
    ("pattern", "bad"),
    [
        (r"(?:\\.|.)*x", True),
        (r"(?:(?>\\.|.))*x", False),
        (r"(?:a|b)*", False),
        (r"(?:a|ab)+c", True),
        (r"(?:a|a){3}", False),
    ],
)
def test_the_test_itself(pattern: str, bad: bool) -> None:
    assert any(ambiguous(body) for body in repeats(parser.parse(pattern))) is bad
