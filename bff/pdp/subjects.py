"""The AuthZEN subject of a caller: the user of a session, or the user or client of a Bearer token."""

import functools
from collections.abc import Iterable, Sequence

from bff.bearer.access_token import BearerClaims
from bff.oidc.claims import user_id
from bff.pdp.model import Subject, properties
from bff.sessions.model import User
from bff.settings import PdpSettings, ProviderSettings

CLIENT = "client"
"""The type of a subject that is a client with a token of its own (RFC 6749 section 4.4)."""

_REMEMBERED = 4096


def is_own(token: BearerClaims) -> bool:
    """Whether the token is a client's own: its subject is the client (RFC 9068 section 2.2)."""
    return bool(token.client_id) and token.sub == token.client_id


class Subjects:
    def __init__(self, settings: PdpSettings, providers: Iterable[ProviderSettings]) -> None:
        self._type = settings.subject_type
        self._roles_property = settings.roles_property
        self._providers = {provider.id: provider for provider in providers}
        self._written = functools.lru_cache(maxsize=_REMEMBERED)(self._written_anew)

    def of_user(self, user: User, idp: str) -> Subject:
        """idp: the alias of the provider where the user logged in."""
        return self._written(self._type, user.id, user.roles, user.permissions, idp)

    def of_token(self, token: BearerClaims) -> Subject:
        """A user's token yields the same subject as the user's session."""
        kind = CLIENT if is_own(token) else self._type
        name = user_id(self._providers[token.idp], token.sub)
        return self._written(kind, name, token.roles, token.permissions, token.idp)

    def _written_anew(
        self, kind: str, name: str, roles: Sequence[str], permissions: Sequence[str], idp: str
    ) -> Subject:
        said = {self._roles_property: list(roles), "permissions": list(permissions), "idp": idp}
        return Subject(kind, name, properties(said))
