"""A property of a question: the place of its value in the request, and its type (ADR 38).

`$.body.quantity | number` is a number or the request is denied. Engines differ when a policy compares a text with a
number: Cedar refuses `"60" > 50`, others skip the rule, and the request passes. So the BFF checks the type before it
asks any engine.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from bff.errors import AccessDenied
from bff.routes.content import Rounded
from bff.routes.jsonpath import MISSING, Selector

LARGEST = 2**53 - 1
"""A reader with IEEE 754 numbers rounds a larger whole number (RFC 7493 section 2.2)."""
_OPTIONAL, _LIST = "?", "[]"
_TYPED = re.compile(r"\s*(?<!\|)\|\s*(\w+(?:\[\])?)\s*$")
_UNSAYABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _is_string(value: object) -> bool:
    return isinstance(value, str) and not _UNSAYABLE.search(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_number(value: object) -> bool:
    """Whether the value is an exact number: a rounded fraction is another number to an exact reader."""
    fraction = isinstance(value, float) and not isinstance(value, Rounded) and abs(value) <= LARGEST
    return fraction or _is_integer(value)


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool)


TYPES: Mapping[str, Callable[[object], bool]] = {
    "string": _is_string,
    "number": _is_number,
    "integer": _is_integer,
    "boolean": _is_boolean,
}
"""Types by name; `[]` behind a name makes it a list."""


def _is_scalar(value: object) -> bool:
    """Whether the value may be without a type, since every engine reads it alike."""
    return _is_string(value) or _is_integer(value) or _is_boolean(value)


class Property:
    """optional: whether the value may be missing (`?` after the path). type: as written, None without one. several:
    whether the value is a list."""

    def __init__(self, name: str, text: str) -> None:
        """Raises ValueError for a bad JSONPath, or an unknown type."""
        self.name = name
        path, self.type = _parted(text)
        self.optional = path.endswith(_OPTIONAL)
        self.selector = Selector(path.removesuffix(_OPTIONAL))
        listed = self.type is not None and self.type.endswith(_LIST)
        self.several = listed or not self.selector.singular
        if self.type is not None and self.several != listed:
            raise ValueError(f"could select several values, so its type is a list: {self.type}{_LIST}.")
        self._fits = _is_scalar if self.type is None else TYPES[self.type.removesuffix(_LIST)]

    def value(self, document: Mapping[str, Any]) -> Any:
        """The value for the policy; MISSING for an optional value that is missing.

        Raises AccessDenied (property_missing, property_invalid), TooDeep."""
        value = self.selector.one(document) if self.selector.singular else self.selector.all(document) or MISSING
        if value is MISSING:
            if not self.optional:
                raise AccessDenied("The request lacks something that the decision needs.", code="property_missing")
        elif not self._fitting(value):
            raise AccessDenied("A value in the request has another type than the policy expects.", code=INVALID)
        return value

    def _fitting(self, value: object) -> bool:
        if not self.several:
            return self._fits(value)
        return isinstance(value, list) and all(map(self._fits, value))


INVALID = "property_invalid"


def _parted(text: str) -> tuple[str, str | None]:
    """(path, type). A `|` that belongs to the path is in brackets, or more than a word follows. Raises ValueError."""
    found = _TYPED.search(text)
    if found is None:
        return text, None
    if found[1].removesuffix(_LIST) not in TYPES:
        known = ", ".join(TYPES)
        raise ValueError(f"names no type: {found[1]!r}; there are {known}, and lists of each such as string[].")
    return text[: found.start()], found[1]
