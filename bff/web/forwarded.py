"""Parser of the `Forwarded` header (RFC 7239), from its right end, where the adjacent proxy has written.

The text left of that end may be anything, even unclosed quotes, and must not change how the right end is parsed. So
the last element is the shortest end of the header that is a whole element. Such an end cannot lie within the quotes of
a longer element. It would then hold a closing quote without an opening one.
"""

import re

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"'
_PAIR = rf"({_WORD})=({_WORD}|{_QUOTED})"
_PAIRS = re.compile(_PAIR)
_ELEMENT = re.compile(rf"[ \t]*{_PAIR}(?:[ \t]*;[ \t]*{_PAIR})*[ \t]*")
_NODE = re.compile(r"(?:\[([^\]]*)\]|([0-9.]+))(?::(?:\d{1,5}|_[0-9A-Za-z._-]+))?")


def last(header: str) -> tuple[str | None, str]:
    """Returns (the address in the last element's `for`, the rest left of that element).

    The address is None for a malformed element, for none or several `for`, for `unknown`, and for an obfuscated name
    such as `_hidden`.
    """
    start = len(header)
    while start:
        start = header.rfind(",", 0, start)
        begin = start + 1
        if _ELEMENT.fullmatch(header, begin):
            return _for(header[begin:]), header[: max(start, 0)]
        start = max(start, 0)
    return None, ""


def _for(element: str) -> str | None:
    named = [value for name, value in _PAIRS.findall(element) if name.lower() == "for"]
    if len(named) != 1:
        return None
    value = named[0]
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    node = _NODE.fullmatch(value)
    return (node[1] or node[2]) if node else None
