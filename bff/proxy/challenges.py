"""WWW-Authenticate of a service (RFC 9110 section 11.6.1): a token that is refused, or one that is not enough.

`invalid_token` (RFC 6750 section 3.1), or a 401 that names no error, refuses the token: another one may do. Every other
error is about what this token, or any like it, was issued for: `insufficient_user_authentication` (RFC 9470) wants the
user to log in again, `insufficient_scope` wants more to be granted. Another token is no answer to those, and only the
page can give one, so the challenge goes there. It never gets a challenge of another scheme: a browser would open a
window of its own and ask the user for a password.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

SCHEMES = frozenset({"bearer", "dpop"})
INVALID_TOKEN = "invalid_token"  # noqa: S105 - an error's name
FOR_THE_PAGE = frozenset({"insufficient_user_authentication", "insufficient_scope"})

LONGEST = 16 * 1024
"""Characters of challenges that are read; what is longer is not understood."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - of HTTP's grammar
_QUOTED = r'"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)"'
_PARAMETER = re.compile(rf"[ \t]*({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|{_QUOTED})[ \t]*(?=,|$)")
_SCHEME = re.compile(rf"[ \t]*({_TOKEN})(?:[ \t]+(?=\S)|[ \t]*(?=,|$))")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*[ \t]*(?=,|$)")
_COMMA = re.compile(r"[ \t]*,")
_ESCAPED = re.compile(r"\\(.)")


class Challenge(NamedTuple):
    """scheme: as it was written. parameters: names in lower case."""

    scheme: str
    parameters: dict[str, str]

    @property
    def error(self) -> str:
        """Of a challenge for an access token."""
        return self.parameters.get("error", "") if self.scheme.lower() in SCHEMES else ""

    def __str__(self) -> str:
        parameters = ", ".join(f"{name}={_quoted(value)}" for name, value in self.parameters.items())
        return f"{self.scheme} {parameters}".rstrip()


def challenges(fields: Iterable[tuple[str, str]]) -> list[Challenge]:
    """In all fields of the name. What cannot be read ends the list."""
    text = ", ".join(value for name, value in fields if name.lower() == "www-authenticate")
    found: list[Challenge] = []
    at = 0
    while at < len(text) <= LONGEST:
        if match := _COMMA.match(text, at):
            at = match.end()
        elif found and (match := _PARAMETER.match(text, at)):
            value = match[2] if match[2] is not None else _ESCAPED.sub(r"\1", match[3])
            found[-1].parameters.setdefault(match[1].lower(), value)
            at = match.end()
        elif match := _SCHEME.match(text, at):
            found.append(Challenge(match[1], {}))
            token68 = _TOKEN68.match(text, match.end())
            at = token68.end() if token68 else match.end()
        else:
            break
    return found


def refuses_token(fields: Iterable[tuple[str, str]]) -> bool:
    """Whether a 401 with these fields is about the token itself, so that another one may be taken."""
    return all(challenge.error in ("", INVALID_TOKEN) for challenge in challenges(fields))


def passed_on(fields: Iterable[tuple[str, str]], *, own_token: bool) -> list[str]:
    """The challenges that only the client can answer: a page with its user. own_token: whether the token was the
    client's own; then all that are about tokens."""
    return [
        str(challenge)
        for challenge in challenges(fields)
        if challenge.error in FOR_THE_PAGE or (own_token and challenge.scheme.lower() in SCHEMES)
    ]


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
