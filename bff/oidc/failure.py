"""Why a login did not succeed, in the words of bff_logins_total, and what a person is told."""

from typing import NoReturn

from bff.errors import LoginFailed

_DETAILS = {
    "cancelled": "The login was cancelled.",
    "idp_error": "The identity provider refused the login.",
    "state_missing": "This login was not started here, or a long time ago.",
    "state_expired": "The login took longer than five minutes.",
    "state_mismatch": "The login was started in another browser.",
    "state_reused": "This login was finished already.",
    "nonce": "The identity provider's answer belongs to another login.",
    "id_token": "The identity provider's answer could not be trusted.",
    "token_endpoint": "The identity provider did not confirm the login.",
}


def fail(code: str, detail: str = "") -> NoReturn:
    """Raises LoginFailed."""
    raise LoginFailed(detail or _DETAILS[code], code=code)
