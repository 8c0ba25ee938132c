"""Login failures: by result of bff_logins_total, a text that explains to the user the cause and the next step."""

from typing import NoReturn

from bff.errors import LoginFailed

_DETAILS = {
    "cancelled": "The login was cancelled. You are not logged in.",
    "idp_error": "The identity provider refused the login. If that happens again, contact its support.",
    "state_missing": "This sign-in has expired or was started in another browser. Please start again.",
    "state_expired": "The login took too long. Please log in again.",
    "state_mismatch": "The login was started in another browser, or this one keeps no cookies of this site. Allow"
    " cookies for this site, and log in again.",
    "state_reused": "This login is finished already. Please log in again.",
    "nonce": "The identity provider's answer belongs to another login. Please log in again.",
    "id_token": "We could not verify the identity provider's answer. If that happens again, contact this site's"
    " support.",
    "token_endpoint": "The identity provider did not confirm the login. Please log in again.",
}


def fail(code: str, detail: str = "") -> NoReturn:
    """Raises LoginFailed."""
    raise LoginFailed(detail or _DETAILS[code], code=code)
