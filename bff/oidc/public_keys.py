"""The keys that a provider publishes (JWKS, RFC 7517), and which of them a signature is to be checked with."""

from collections.abc import Sequence

from joserfc import jws
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import Key


class PublicKeys:
    """One state of a provider's key set. Choices are remembered, so tokens of one key cost one choice."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)
        self._chosen: dict[tuple[str | None, str], Key] = {}

    def choose(self, kid: str | None, algorithm: str) -> Key:
        """The key of that name that may be used so; without a name, the one key that fits the algorithm (OpenID
        Connect Core section 10.1). Raises InvalidKeyIdError; JoseError when the key is of another kind."""
        key = self._chosen.get((kid, algorithm))
        if key is None:
            key = self._found(kid, algorithm)
            jws.JWSRegistry.algorithms[algorithm].check_key(key)
            self._chosen[kid, algorithm] = key
        return key

    def _found(self, kid: str | None, algorithm: str) -> Key:
        named = [key for key in self._keys if kid is None or key.kid == kid]
        fitting = [key for key in named if key.get("use") in (None, "sig") and key.get("alg") in (None, algorithm)]
        if not fitting or (kid is None and len(fitting) > 1):
            raise InvalidKeyIdError(f"{len(fitting)} keys fit")
        return fitting[0]
