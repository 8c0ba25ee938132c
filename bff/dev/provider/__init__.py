"""An OpenID Provider inside the BFF, for development: OpenID Connect Core 1.0 on Authlib's server.

It is a real provider with two users without passwords, so the BFF talks to it exactly as to any other. All its state is
in the BFF's own store, so all workers are one provider. Authlib accepts plain http only on loopback addresses;
elsewhere it needs https.
"""

from collections.abc import Callable, Collection

from flask import Blueprint

from bff.dev.provider import server
from bff.dev.provider.registry import RegisteredClient
from bff.dev.provider.storage import ProviderRecords, SigningKey
from bff.dev.provider.views import Views
from bff.kv import KeyValue
from bff.settings import ProviderSettings

__all__ = ["blueprint"]


def blueprint(
    kv: KeyValue,
    settings: ProviderSettings,
    base_url: str,
    clock: Callable[[], float],
    return_origins: Collection[str],
) -> Blueprint:
    """All endpoints below the issuer's path. settings: the BFF's registration at this provider. return_origins: origins
    that a login may return to besides base_url."""
    client = RegisteredClient(settings.client_id, settings.client_secret or "", base_url, settings.scopes)
    built = server.build(settings.issuer, client, ProviderRecords(kv), SigningKey(kv), clock)
    return Views(built, clock, return_origins).blueprint()
