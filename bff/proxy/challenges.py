"""Parser of a service's WWW-Authenticate (RFC 9110 section 11.6.1): is the token refused, or not enough?

`invalid_token` (RFC 6750 section 3.1), or a 401 without an error, refuses the token: a new one may succeed. Every other
error is about the grant behind the token: `insufficient_user_authentication` (RFC 9470) asks the user to log in again,
`insufficient_scope` needs a wider grant. A new token does not help then, so the challenge goes to the page. The page
never gets a challenge of another scheme: a browser would open a window and ask the user for a password.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

SCHEMES = frozenset({"bearer", "dpop"})
INVALID_TOKEN = "invalid_token"  # noqa: S105 - an error's name
FOR_THE_PAGE = frozenset({"insufficient_user_authentication", "insufficient_scope"})

LONGEST = 16 * 1024
"""Characters of challenges that are parsed; longer ones are ignored."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - of HTTP's grammar
_QUOTED = r'"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)"'
_PARAMETER = re.compile(rf"[ \t]*({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|{_QUOTED})[ \t]*(?=,|$)")
_SCHEME = re.compile(rf"[ \t]*({_TOKEN})(?:[ \t]+(?=\S)|[ \t]*(?=,|$))")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*[ \t]*(?=,|$)")
_COMMA = re.compile(r"[ \t]*,")
_ESCAPED = re.compile(r"\\(.)")


class Challenge(NamedTuple):
    """scheme: as written. parameters: names in lower case."""

    scheme: str
    parameters: dict[str, str]

    @property
    def error(self) -> str:
        """The parameter `error` of a challenge for an access token."""
        return self.parameters.get("error", "") if self.scheme.lower() in SCHEMES else ""

    def __str__(self) -> str:
        parameters = ", ".join(f"{name}={_quoted(value)}" for name, value in self.parameters.items())
        return f"{self.scheme} {parameters}".rstrip()


def challenges(fields: Iterable[tuple[str, str]]) -> list[Challenge]:
    """The challenges in all fields of that name, up to the first unreadable one."""
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
    """Whether a 401 with these fields refuses the token itself, so that a new one may succeed."""
    return all(challenge.error in ("", INVALID_TOKEN) for challenge in challenges(fields))


def passed_on(fields: Iterable[tuple[str, str]], *, own_token: bool) -> list[str]:
    """The challenges for the client, which only a page with its user can answer. own_token: whether the token was the
    client's own; then all challenges about tokens."""
    return [
        str(challenge)
        for challenge in challenges(fields)
        if challenge.error in FOR_THE_PAGE or (own_token and challenge.scheme.lower() in SCHEMES)
    ]


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
