"""JWK Set of a provider (RFC 7517): selects the key that verifies a signature."""

from collections.abc import Sequence

from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import Key


class PublicKeys:
    """One fetched version of a provider's key set."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def choose(self, kid: str | None, algorithm: str) -> Key:
        """Returns the key with this `kid` and a fitting `use` and `alg`.

        Without a `kid`, exactly one key must fit (OpenID Connect Core section 10.1). Raises InvalidKeyIdError.
        """
        named = [key for key in self._keys if kid is None or key.kid == kid]
        fitting = [key for key in named if key.get("use") in (None, "sig") and key.get("alg") in (None, algorithm)]
        if not fitting or (kid is None and len(fitting) > 1):
            raise InvalidKeyIdError(f"{len(fitting)} keys fit")
        return fitting[0]
