"""Path template of a route: literal segments, `{name}` for one segment, and `*` at the end for the rest.

It is written decoded, so that each path has one spelling.
"""

import re
from dataclasses import dataclass
from functools import cached_property

REST = "*"
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FORBIDDEN = re.compile(r"[%;?#\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Template:
    """segments: the texts between the slashes, without the empty one before the first."""

    segments: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in order; `*` for the rest."""
        found = [name_of(segment) for segment in self.segments]
        return tuple(name for name in found if name is not None)


def name_of(segment: str) -> str | None:
    """`id` for `{id}`, `*` for `*`, None for a literal one."""
    match = _NAME.fullmatch(segment)
    return match[1] if match else REST if segment == REST else None


def parse(text: str) -> Template:
    """Raises ValueError with a sentence about the mistake."""
    if not text.startswith("/"):
        raise ValueError("must begin with a slash.")
    if found := _FORBIDDEN.search(text):
        raise ValueError(f"is written as it reads, not encoded, so {found[0]!r} has no place in it.")
    template = Template(tuple(text[1:].split("/")))
    for position, segment in enumerate(template.segments):
        _check(segment, last=position == len(template.segments) - 1)
    if len(set(template.names)) < len(template.names):
        raise ValueError("uses a name twice.")
    return template


def _check(segment: str, *, last: bool) -> None:
    if segment == "" and not last:
        raise ValueError("has an empty segment, which no request may have.")
    if segment in (".", ".."):
        raise ValueError("has a dot segment, which no request may have.")
    if segment == REST and not last:
        raise ValueError("has a * that is not its last segment.")
    if name_of(segment) is None and any(character in segment for character in "{}*"):
        raise ValueError(f"has a segment {segment!r}; there are literal ones, {{name}}, and * at the end.")
