"""What every view may ask for: the services, and the session that the pipeline admitted."""

import contextlib
from typing import Any, cast
from urllib.parse import quote

from flask import current_app, g, request
from werkzeug.wrappers import Response

from bff.errors import CsrfViolation, InvalidReturnUrl, LoginStart, StoreUnavailable, Unauthenticated
from bff.events.model import SecurityEvent
from bff.login.flow import HOME
from bff.observability import metrics
from bff.services import Services
from bff.sessions.authenticator import ClientFingerprint
from bff.sessions.model import Session
from bff.tasks import Tasks
from bff.web import isolation
from bff.web.client_address import ClientAddressResolver
from bff.web.policy import policy_of


def services() -> Services:
    return cast(Services, current_app.extensions["bff"])


def tasks() -> Tasks:
    return cast(Tasks, current_app.extensions["bff_tasks"])


def client() -> ClientFingerprint:
    return clients().of(request.environ)


def clients() -> ClientAddressResolver:
    return cast(ClientAddressResolver, current_app.extensions["bff_clients"])


def admit(*, touch: bool = True, navigable: bool = False) -> Session:
    """The session that this request belongs to. navigable: whether links of other sites may lead here.

    Nothing else opens a session to a view, so every view is judged here by which page sent the request. Raises
    CsrfViolation; Unauthenticated and its kin, StoreUnavailable.
    """
    _refuse_other_pages(navigable)
    session = services().authenticator.authenticate(request.headers.get("Cookie", ""), client(), touch=touch).session
    g.session = session
    return session


def present_session(*, touch: bool = False) -> Session | None:
    """The same, or None for an anonymous request. Raises CsrfViolation, StoreUnavailable."""
    try:
        return admit(touch=touch)
    except Unauthenticated:
        return None


def _refuse_other_pages(navigable: bool) -> None:
    """Raises CsrfViolation, counted, unless the view says that it has proofs of its own (bff.web.policy)."""
    if policy_of(current_app.view_functions[request.endpoint or ""]).cross_site:
        return
    config = services().settings
    try:
        isolation.check(
            request.environ,
            {config.base_url, *config.cors_allow_origins},
            other_sites=config.cookies.samesite == "None",
            navigable=navigable,
        )
    except CsrfViolation as err:
        with contextlib.suppress(StoreUnavailable):
            _report(err.code)
        metrics.csrf_violation(err.code)
        raise


def _report(reason: str) -> None:
    """In the audit trail, where there is a session that the page did not get to use; strangers write nothing there.

    Raises StoreUnavailable, and Unauthenticated for a stranger whose browser does not say which site sent it: that one
    is told to log in like any other. With Fetch Metadata the answer is 403 whether or not there is a session, so that
    another site's page cannot find out by it.
    """
    try:
        session = (
            services().authenticator.authenticate(request.headers.get("Cookie", ""), client(), touch=False).session
        )
    except Unauthenticated:
        if reason == "foreign_origin":
            raise
    else:
        services().audit.security(SecurityEvent.CSRF_VIOLATION, reason=reason, session=session.reference)


def login_url(return_to: str | None = None) -> str:
    """Where a person logs in, and comes back to return_to afterwards."""
    url = services().settings.base_url + "/auth/login"
    return f"{url}?return_to={quote(return_to, safe='')}" if return_to else url


def login_again(start: LoginStart | None) -> str:
    """Where a login that failed is begun again: at its own provider and for its own page, where they are known."""
    if start is None:
        return login_url()
    url = login_url(page_of(start))
    return f"{url}&idp={quote(start.idp, safe='')}" if start.idp in services().providers else url


def page_of(start: LoginStart | None) -> str:
    """The page that a login was for, unless it is not known, or no longer allowed."""
    with contextlib.suppress(InvalidReturnUrl):
        return services().return_urls.checked(start.return_to if start else HOME)
    return HOME


def forget_session(response: Response) -> None:
    """Clear the cookies of a session that has ended, with the attributes that their names ask for."""
    names = services().settings.cookies
    response.delete_cookie(names.name, **cookie_options(httponly=True))
    response.delete_cookie(names.csrf_name, **cookie_options())


def cookie_options(**more: Any) -> dict[str, Any]:
    """Attributes that all our cookies share."""
    cookies = services().settings.cookies
    return {"secure": cookies.secure, "domain": cookies.domain, "path": "/", **more}
