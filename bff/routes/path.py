"""Refuses ambiguous request targets (RFC 3986 sections 2.1 and 3.3, RFC 3629).

The BFF must forward the path that it authorised. Two servers disagree about a path with dot segments, empty segments,
an encoded separator, a `;`, bytes that are not UTF-8, or a character that is encoded twice. No API needs one of these,
so such a path is refused instead of cleaned.
"""

import re
from urllib.parse import unquote_to_bytes

from bff.errors import AmbiguousTarget

# Unambiguous without decoding: one segment, and one or several of them.
PLAIN = re.compile(r"[A-Za-z0-9_~\-][A-Za-z0-9_~\-.]*").fullmatch
PLAIN_REST = re.compile(r"[A-Za-z0-9_~\-][A-Za-z0-9_~\-.]*(?:/[A-Za-z0-9_~\-][A-Za-z0-9_~\-.]*)*/?").fullmatch
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# A space, a backslash and the like may not stand in a target; browsers leave | ^ [ ] as they are.
_RAW = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,=:@/|^\[\]]|%[0-9A-Fa-f]{2})*")
_RAW_QUERY = re.compile(r"[!-~]*")  # every printable character of ASCII but the space
_ENCODED_TWICE = re.compile(r"%(?:2[eEfF5]|5[cC]|3[bB]|00)")  # . / % \ ; NUL


def segments(path: str) -> list[str]:
    """The decoded segments of a raw path, the empty one before its first slash included.

    path: before the `?`, still percent-encoded, one character for each byte. Raises AmbiguousTarget."""
    if not _RAW.fullmatch(path):
        raise AmbiguousTarget("The path holds a character that must be percent-encoded, or one that is none.")
    raw = path.split("/")
    if "" in raw[1:-1]:
        raise AmbiguousTarget("The path holds an empty segment.")
    return [_decoded(segment) if "%" in segment else _checked(segment) for segment in raw]


def decoded(segment: str) -> str:
    """Decodes a raw segment of a path that `segments` accepted."""
    return unquote_to_bytes(segment).decode() if "%" in segment else segment


def decoded_path(path: str) -> str:
    """The decoded text of a raw path. Raises AmbiguousTarget."""
    return "/".join(segments(path))


def check_query(query: str) -> None:
    """Raises AmbiguousTarget for a character that must be encoded in a query (RFC 3986 section 3.4)."""
    if not _RAW_QUERY.fullmatch(query) or "#" in query:
        raise AmbiguousTarget("The query holds a character that must be percent-encoded.")


def _decoded(segment: str) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as err:
        raise AmbiguousTarget("The path is not UTF-8.") from err
    if "/" in text or "\\" in text or ";" in text or CONTROL.search(text):
        raise AmbiguousTarget("The path holds an encoded separator or control character.")
    if _ENCODED_TWICE.search(text):
        raise AmbiguousTarget("The path is encoded twice.")
    return _checked(text)


def _checked(segment: str) -> str:
    if segment in (".", ".."):
        raise AmbiguousTarget("The path holds a dot segment.")
    return segment
