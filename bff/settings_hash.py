"""Configuration hash: a keyed digest, equal in all instances with the same configuration in effect."""

import dataclasses
import json
from enum import Enum
from typing import Any

from bff.crypto import Keyring, digest
from bff.settings import Settings

_LENGTH = 16
_WHERE_IT_STANDS = ("line", "problems")  # no part of the effective configuration


def hash_of(settings: Settings) -> str:
    """Hashes every setting, policy and secret. Keyed, so an attacker needs BFF_SECRETS to test a guessed secret."""
    text = json.dumps(_plain(settings), sort_keys=True)
    return digest(Keyring(settings.secrets).mac("configuration").sign(text))[:_LENGTH]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.name not in _WHERE_IT_STANDS]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
