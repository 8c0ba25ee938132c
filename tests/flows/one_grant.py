"""A provider that keeps one grant for a person and a client, as oidc-provider and Keycloak do within single sign-on.

A revocation of any of its tokens ends the grant: every token of every login, and every code that is still to be
exchanged (RFC 7009 section 2.1). All its logins here are one person's.
"""

from collections.abc import Callable
from typing import Any

from werkzeug.wrappers import Request, Response

from tests.flows.provider import OpenIdProvider


class OneGrant(OpenIdProvider):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.meanwhile: dict[str, Callable[[], object]] = {}
        """What happens once, while an endpoint's answer is on its way."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        answer = super().__call__(environ, start_response)
        endpoint = self.calls[-1].endpoint
        act = self.meanwhile.pop(endpoint, None)
        if act is not None:
            act()
        return answer

    def _revoke(self, request: Request) -> Response:
        answer = super()._revoke(request)
        self.later_grants.end_families()
        self._grants.clear()
        return answer
