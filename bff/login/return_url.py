"""Redirect allow-list: after login a browser may go to same-origin paths and to allow-listed origins (RFC 9700 section
4.11, open redirection).

The check covers the spelling as well as the parsed result, because browsers repair URLs that parsers reject. A browser
reads a backslash as a slash, drops a tab, and takes `//host` for another site.
"""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from bff.errors import InvalidReturnUrl

MAX_LENGTH = 2000
_PLAIN = re.compile(r"[!-~]+")  # printable ASCII without the space: no control characters, no look-alikes
_ENCODED_TRAP = re.compile(r"%(?:2f|5c|25|[01][0-9a-f]|7f)", re.IGNORECASE)  # slash, backslash, percent, controls
_DOTS = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
_SCHEME = re.compile(r"https?://[^/]", re.IGNORECASE)


class ReturnUrls:
    def __init__(self, own_origin: str, allowed_origins: Collection[str]) -> None:
        self._origins = frozenset({own_origin, *allowed_origins})

    def checked(self, text: str) -> str:
        """Returns the text unchanged when it is safe. Raises InvalidReturnUrl, which does not quote it."""
        if len(text) > MAX_LENGTH or not _PLAIN.fullmatch(text) or "\\" in text:
            raise InvalidReturnUrl
        if text.startswith("/"):
            if text.startswith("//"):
                raise InvalidReturnUrl
            path = text
        else:
            path = self._path_of_allowed(text)
        self._check_path(re.split(r"[?#]", path, maxsplit=1)[0])
        return text

    def _path_of_allowed(self, text: str) -> str:
        if not _SCHEME.match(text):
            raise InvalidReturnUrl
        try:
            parts = urlsplit(text)
        except ValueError as err:
            raise InvalidReturnUrl from err
        # Compare the whole authority as spelled: with user info or another port it is no allowed origin.
        if f"{parts.scheme}://{parts.netloc}".lower() not in self._origins:
            raise InvalidReturnUrl
        return parts.path

    @staticmethod
    def _check_path(path: str) -> None:
        segments = path.split("/")
        if _ENCODED_TRAP.search(path) or "" in segments[1:-1] or any(_DOTS.fullmatch(part) for part in segments):
            raise InvalidReturnUrl
