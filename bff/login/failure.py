"""Login failures: by result of bff_logins_total, a text that explains to the user the cause and the next step."""

from typing import NoReturn

from bff.errors import LoginFailed

_DETAILS = {
    "cancelled": "The login was cancelled. You are not logged in.",
    "idp_error": "The identity provider refused the login. If it does so again, ask the people who run it.",
    "state_missing": "This login has expired or was started in another browser. Log in again.",
    "state_expired": "The login took too long. Log in again.",
    "state_mismatch": "The login was started in another browser, or this one keeps no cookies of this site. Allow"
    " cookies for this site, and log in again.",
    "state_reused": "This login was finished already. Log in again.",
    "nonce": "The identity provider's answer belongs to another login. Log in again.",
    "id_token": "The identity provider's answer could not be trusted. If that happens again, ask the people who run"
    " this site.",
    "token_endpoint": "The identity provider did not confirm the login. Log in again.",
}


def fail(code: str, detail: str = "") -> NoReturn:
    """Raises LoginFailed."""
    raise LoginFailed(detail or _DETAILS[code], code=code)
