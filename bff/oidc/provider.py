"""Client of one OpenID Provider: its metadata, its keys, and calls to its endpoints.

Metadata (OpenID Connect Discovery 1.0) and keys come from stale-if-error caches. A worker fetches them when first
needed and refreshes them before they are an hour old. While the provider is unavailable, the last good copy serves.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key

from bff.errors import ProviderUnavailable, UpstreamError
from bff.http import HttpClient, Response
from bff.lib import deadline
from bff.lib.stale_cache import StaleIfErrorCache
from bff.observability import metrics
from bff.oidc.client_auth import ClientAuth
from bff.oidc.key_questions import KeyQuestions, Purpose
from bff.oidc.public_keys import PublicKeys
from bff.oidc.reachable import Reachable
from bff.settings import ProviderSettings

log = logging.getLogger(__name__)

METADATA_LIFE = 3600.0
KEYS_LIFE = 3600.0
CALL_LIMIT = 5.0
"""Seconds of one answer of a provider, including retries and the metadata that must be fetched first."""
RENEWED_AHEAD = 900.0
"""Seconds before the end of a life from which a background task fetches anew."""

# Endpoints at which this BFF authenticates, so a provider may list an alias for mutual TLS (RFC 8705 section 5).
_PROVED = frozenset(
    {"token_endpoint", "pushed_authorization_request_endpoint", "introspection_endpoint", "revocation_endpoint"}
)
_ENDPOINTS = (
    *sorted(_PROVED),
    "authorization_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "end_session_endpoint",
)


@dataclass(frozen=True)
class Metadata:
    """The members of a discovery document that the BFF uses; an absent endpoint is None."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    revocation_endpoint: str | None
    introspection_endpoint: str | None
    pushed_authorization_request_endpoint: str | None
    require_pushed_authorization_requests: bool
    authorization_response_iss_parameter_supported: bool


class Provider:
    def __init__(
        self,
        config: ProviderSettings,
        http: HttpClient,
        clock: Callable[[], float] = time.time,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        later: Callable[[Callable[[], None]], None] = lambda work: work(),
    ) -> None:
        """clock: Unix seconds, for the BFF's assertions. monotonic: for the age of copies, and the clock of `http`.
        later: runs work in the background."""
        self.config = config
        self._http = http
        self._monotonic = monotonic
        self._auth = ClientAuth(config, clock)
        self._metadata = StaleIfErrorCache(ProviderUnavailable, self._fetch_metadata, METADATA_LIFE, monotonic, later)
        self._keys = StaleIfErrorCache(ProviderUnavailable, self._fetch_keys, KEYS_LIFE, monotonic, later)
        self._questions = KeyQuestions(monotonic)
        self._reachable = Reachable(self.check, monotonic)

    @property
    def id(self) -> str:
        return self.config.id

    def metadata(self) -> Metadata:
        """Raises ProviderUnavailable when no fetch has ever succeeded."""
        return self._metadata.get()

    def keys(self) -> PublicKeys:
        """The provider's public keys. Raises ProviderUnavailable when no fetch has ever succeeded."""
        return self._keys.get()

    def newer_keys(self, purpose: Purpose, kid: str | None) -> PublicKeys:
        """Fetches the keys anew for a token with an unknown key id.

        Returns the cached keys when the bucket of this purpose is empty. Raises ProviderUnavailable as `keys` does.
        """
        return self._keys.refetch() if self._questions.allow(purpose, kid) else self._keys.landed()

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Sets a deadline for all calls to this provider inside the block, however many there are."""
        return deadline.ends_by(self._monotonic() + seconds)

    def public_keys(self) -> list[dict[str, str]]:
        """The JWKs with which the provider verifies this BFF's assertions."""
        return self._auth.public_keys()

    def check(self) -> None:
        """Fetches discovery now and keeps it. Raises ProviderUnavailable."""
        self._metadata.refresh()

    def require_reachable(self) -> None:
        """Raises ProviderUnavailable when the provider answered neither the last call nor a call made now."""
        self._reachable.require()

    def renew(self) -> None:
        """Fetches copies that are due soon, before a login or a token has to wait for them.

        Raises ProviderUnavailable; the last good copies stay.
        """
        try:
            self._metadata.refresh_if_due(RENEWED_AHEAD)
        finally:
            self._keys.refresh_if_due(RENEWED_AHEAD)

    def post(
        self,
        endpoint: str,
        url: str,
        form: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        *,
        repeatable: bool = False,
        foreign: bool = False,
    ) -> Response:
        """Sends a client-authenticated POST. endpoint: its name in the metric. repeatable, foreign: as in HttpClient.

        Raises UpstreamError.
        """
        prove = partial(self._auth.apply, audience=self.metadata().issuer)
        return self._measured(
            endpoint,
            lambda: self._http.post_form(
                url,
                form,
                target=endpoint,
                headers=headers,
                prove=prove,
                idempotent=repeatable,
                foreign=foreign,
            ),
        )

    def get(
        self, endpoint: str, url: str, headers: Mapping[str, str] | None = None, *, foreign: bool = False
    ) -> Response:
        """foreign: as in HttpClient. Raises UpstreamError."""
        return self._measured(endpoint, lambda: self._http.get(url, target=endpoint, headers=headers, foreign=foreign))

    def _measured(self, endpoint: str, call: Callable[[], Response]) -> Response:
        start, status = time.perf_counter(), "connection"
        try:
            response = call()
            status = str(response.status)
            self._reachable.note(answered=response.status < 500, asked=endpoint == "discovery")
        except UpstreamError as err:
            status = err.outcome
            self._reachable.note(answered=err.outcome == "bad_response", asked=endpoint == "discovery")
            log.warning("idp_call_failed", extra={"idp": self.id, "endpoint": endpoint, "outcome": err.outcome})
            raise
        finally:
            metrics.idp_request(endpoint, status, time.perf_counter() - start)
        return response

    def _fetch_metadata(self) -> Metadata:
        url = self.config.issuer.rstrip("/") + "/.well-known/openid-configuration"
        content = self._fetched("discovery", url)
        if content.get("issuer") != self.config.issuer:
            # OpenID Connect Discovery 1.0 section 4.3: another issuer's document must not be used.
            raise ProviderUnavailable("The provider's discovery document names another issuer.")
        for endpoint in insecure_endpoints(self.config.issuer, content):
            log.error("insecure_endpoint", extra={"idp": self.id, "endpoint": endpoint})
            raise ProviderUnavailable("The provider's discovery document names an endpoint without TLS.")
        try:
            return _metadata(content, mutual_tls=self.config.mutual_tls)
        except KeyError as err:
            raise ProviderUnavailable("The provider's discovery document is incomplete.") from err

    def _fetch_keys(self) -> PublicKeys:
        with self.within(CALL_LIMIT):  # includes the metadata, where that must be fetched first
            published = self._fetched("jwks", self.metadata().jwks_uri).get("keys")
        keys = [key for key in map(_key, published if isinstance(published, list) else []) if key]
        if not keys:
            raise ProviderUnavailable("The provider's keys cannot be read.")
        return PublicKeys(keys)

    def _fetched(self, endpoint: str, url: str) -> dict[str, Any]:
        try:
            response = self.get(endpoint, url)
            if not response.ok:
                raise ProviderUnavailable(f"The provider answered {response.status}.")
            return response.json()
        except UpstreamError as err:
            raise ProviderUnavailable from err


def of_issuer(providers: Mapping[str, Provider], issuer: object) -> Provider | None:
    """Returns the provider with exactly this issuer identifier (OpenID Connect Core section 3.1.3.7)."""
    for provider in providers.values():
        if provider.config.issuer == issuer:
            return provider
    return None


def _key(published: object) -> Key | None:
    """Returns None for an unknown or incomplete key: a client ignores those (RFC 7517 section 5)."""
    try:
        return import_key(published) if isinstance(published, dict) else None
    except (JoseError, KeyError, TypeError, ValueError):
        return None


def insecure_endpoints(issuer: str, content: Mapping[str, Any]) -> Iterator[str]:
    """Yields the endpoints without https although the issuer has it (OpenID Connect Discovery 1.0 section 3).

    Over plain http an attacker on the network may forge answers and read secrets.
    """
    if not issuer.lower().startswith("https:"):
        return
    aliases = content.get("mtls_endpoint_aliases")
    for document in (content, aliases if isinstance(aliases, dict) else {}):
        for name in _ENDPOINTS:
            value = document.get(name)
            if isinstance(value, str) and not value.lower().startswith("https://"):
                yield name


def _metadata(content: Mapping[str, Any], *, mutual_tls: bool) -> Metadata:
    """Raises KeyError when an endpoint is missing that every login needs."""
    aliases = content.get("mtls_endpoint_aliases") if mutual_tls else None
    aliases = aliases if isinstance(aliases, dict) else {}

    def endpoint(name: str) -> str | None:
        value = content.get(name)
        if name in _PROVED and isinstance(aliases.get(name), str):
            value = aliases[name]
        return value if isinstance(value, str) else None

    def required(name: str) -> str:
        value = endpoint(name)
        if value is None:
            raise KeyError(name)
        return value

    return Metadata(
        issuer=content["issuer"],
        authorization_endpoint=required("authorization_endpoint"),
        token_endpoint=required("token_endpoint"),
        jwks_uri=required("jwks_uri"),
        userinfo_endpoint=endpoint("userinfo_endpoint"),
        end_session_endpoint=endpoint("end_session_endpoint"),
        revocation_endpoint=endpoint("revocation_endpoint"),
        introspection_endpoint=endpoint("introspection_endpoint"),
        pushed_authorization_request_endpoint=endpoint("pushed_authorization_request_endpoint"),
        require_pushed_authorization_requests=content.get("require_pushed_authorization_requests") is True,
        authorization_response_iss_parameter_supported=content.get("authorization_response_iss_parameter_supported")
        is True,
    )
