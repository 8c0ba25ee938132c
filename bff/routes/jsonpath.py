"""JSONPath (RFC 9535) into the content of a request: `{"path": {...}, "query": {...}, "body": ...}`.

The library parses every expression. Nearly all are a plain chain of names such as `$.path.id`. Our own code follows
these, because the library takes many times as long.
"""

from collections.abc import Mapping
from typing import Any

from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError
from jsonpath.segments import JSONPathChildSegment
from jsonpath.selectors import NameSelector
from jsonpath.token import (
    TOKEN_DOT,
    TOKEN_DOUBLE_QUOTE_STRING,
    TOKEN_LBRACKET,
    TOKEN_NAME,
    TOKEN_RBRACKET,
    TOKEN_ROOT,
    TOKEN_SINGLE_QUOTE_STRING,
    TOKEN_WHITESPACE,
)

PARTS = ("path", "query", "body")
MISSING = object()
_STRICT = JSONPathEnvironment(strict=True)
_ONE_NAME = ((TOKEN_LBRACKET, TOKEN_SINGLE_QUOTE_STRING, TOKEN_RBRACKET),
             (TOKEN_LBRACKET, TOKEN_DOUBLE_QUOTE_STRING, TOKEN_RBRACKET))  # fmt: skip


class TooDeep(Exception):
    """The document is nested too deeply for an expression with `..`."""


class Selector:
    """One expression. parts: those of PARTS that it looks into. singular: whether it can select one value only
    (RFC 9535 section 2.3.5). chain: the names that it follows, None when it is more than a chain of names."""

    def __init__(self, text: str) -> None:
        """Raises ValueError with a sentence about the mistake."""
        try:
            self._query = _STRICT.compile(text)
            self.parts = _parts(text)
        except (JSONPathError, RecursionError) as err:
            reason = getattr(err, "message", None)  # str() of the error can itself raise (2.2.2)
            raise ValueError(f"is not a JSONPath (RFC 9535): {reason or 'it cannot be read'}.") from err
        self.chain = _chain(self._query)
        self.singular = isinstance(self._query, JSONPath) and self._query.singular_query()

    def one(self, document: Mapping[str, Any]) -> Any:
        """The value that a singular expression selects, or MISSING. Raises TooDeep."""
        if self.chain is None:
            found = self.all(document)
            return found[0] if found else MISSING
        value: Any = document
        for name in self.chain:
            if not isinstance(value, dict) or name not in value:
                return MISSING
            value = value[name]
        return value

    def all(self, document: Mapping[str, Any]) -> list[Any]:
        """Every value that it selects. Raises TooDeep."""
        try:
            return self._query.findall(document)
        except (JSONPathError, RecursionError) as err:
            raise TooDeep from err


def _parts(text: str) -> frozenset[str]:
    """The parts behind each `$`, those inside filters included, so that no other part of the request is read.

    Raises ValueError where one is not in PARTS."""
    tokens = [token for token in _STRICT.lexer.tokenize(text) if token.kind != TOKEN_WHITESPACE]
    found = set()
    for position, token in enumerate(tokens):
        if token.kind == TOKEN_ROOT:
            following = tokens[position + 1 : position + 4]
            kinds = tuple(each.kind for each in following)
            named = kinds in _ONE_NAME or kinds[:2] == (TOKEN_DOT, TOKEN_NAME)
            found.add(following[1].value if named else "")
    if not found <= set(PARTS):
        raise ValueError("must begin with $.path, $.query or $.body, in filters, too.")
    return frozenset(found)


def _chain(query: Any) -> tuple[str, ...] | None:
    names = []
    for segment in query.segments:
        if not isinstance(segment, JSONPathChildSegment) or len(segment.selectors) != 1:
            return None
        (selector,) = segment.selectors
        if not isinstance(selector, NameSelector):
            return None
        names.append(selector.name)
    return tuple(names)
