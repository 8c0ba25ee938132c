"""Compact JWS (RFC 7515 section 3.1) as a test wants them, also those that no library would make."""

import base64
import json
from collections.abc import Callable
from typing import Any

from joserfc import jws
from joserfc.jwk import Key

Sign = Callable[[dict[str, Any], Any], str]
"""Header and claims in, a token out."""


def compact(header: dict[str, Any], payload: bytes, key: Key) -> str:
    return assembled(header, payload, lambda body: jws.JWSRegistry.algorithms[header["alg"]].sign(body, key))


def unsigned(header: dict[str, Any], claims: Any) -> str:
    """alg none (RFC 7515 appendix A.5)."""
    return assembled({**header, "alg": "none"}, json.dumps(claims).encode(), lambda _body: b"")


def assembled(header: dict[str, Any], payload: bytes, sign: Callable[[bytes], bytes]) -> str:
    body = f"{base64url(json.dumps(header).encode())}.{base64url(payload)}"
    return f"{body}.{base64url(sign(body.encode()))}"


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
