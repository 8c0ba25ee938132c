"""Client authentication at a provider.

    client_secret_basic, client_secret_post        RFC 6749 section 2.3.1
    private_key_jwt                                RFC 7523 section 2.2, OpenID Connect Core section 9
    tls_client_auth, self_signed_tls_client_auth   RFC 8705 section 2; the connection itself is the proof

Each provider's settings name the method.
"""

import base64
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus

from bff.crypto import random_id
from bff.keys.signing import PrivateKey, SigningKeys
from bff.settings import ProviderSettings

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFE = 60


class ClientAuth:
    def __init__(self, config: ProviderSettings, clock: Callable[[], float]) -> None:
        """Raises ValueError when private_key_jwt has no usable key."""
        self._config = config
        self._clock = clock
        self._keys = SigningKeys(config.client_key or "") if config.auth_method == "private_key_jwt" else None

    def public_keys(self) -> list[dict[str, str]]:
        """The JWKs that verify our assertions; empty unless the method is private_key_jwt."""
        return self._keys.public() if self._keys else []

    def apply(self, form: Mapping[str, str], *, audience: str) -> tuple[dict[str, str], dict[str, str]]:
        """Returns (form, headers) with the client's proof added.

        audience: the provider's issuer identifier, which an assertion should name (RFC 7523bis). The token endpoint's
        URL as audience allowed mix-ups.
        """
        body = dict(form)
        if self._keys is not None:
            body |= {
                "client_id": self._config.client_id,
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": self._assertion(self._keys.current(self._clock()), audience),
            }
            return body, {}
        if self._config.mutual_tls:
            return body | {"client_id": self._config.client_id}, {}
        secret = self._config.client_secret or ""
        if self._config.auth_method == "client_secret_post":
            return body | {"client_id": self._config.client_id, "client_secret": secret}, {}
        # Both halves are form-encoded before they are joined (RFC 6749 section 2.3.1).
        pair = f"{quote_plus(self._config.client_id)}:{quote_plus(secret)}"
        return body, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def _assertion(self, key: PrivateKey, audience: str) -> str:
        now = int(self._clock())
        claims = {
            "iss": self._config.client_id,
            "sub": self._config.client_id,
            "aud": audience,
            "jti": random_id(),
            "iat": now,
            "exp": now + ASSERTION_LIFE,
        }
        return key.sign(claims, typ="JWT")
