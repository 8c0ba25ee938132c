"""Request context: the services and the admitted session, for every view."""

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
    """Returns the request's session. navigable: whether links on other sites may lead here.

    Views get a session only from here, so this is the one check of the page that sent the request. Raises
    CsrfViolation; Unauthenticated and its subclasses, StoreUnavailable.
    """
    _refuse_other_pages(navigable)
    session = services().authenticator.authenticate(request.headers.get("Cookie", ""), client(), touch=touch).session
    g.session = session
    return session


def present_session(*, touch: bool = False) -> Session | None:
    """Returns the session as `admit` does, or None for an anonymous request. Raises CsrfViolation, StoreUnavailable."""
    try:
        return admit(touch=touch)
    except Unauthenticated:
        return None


def _refuse_other_pages(navigable: bool) -> None:
    """Raises CsrfViolation, counted, unless the view's policy declares a proof of its own (bff.web.policy)."""
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
    """Adds the refusal to the audit trail if the request has a session; a request without one writes nothing there.

    Raises StoreUnavailable. Raises Unauthenticated for a request with neither a session nor Fetch Metadata: it gets 401
    like any anonymous request. With Fetch Metadata the answer is 403 with and without a session. So another site's page
    cannot learn whether the user is logged in.
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
    """Returns the login URL, with the page to return to afterwards."""
    url = services().settings.base_url + "/auth/login"
    return f"{url}?return_to={quote(return_to, safe='')}" if return_to else url


def login_again(start: LoginStart | None) -> str:
    """Returns the URL that restarts a failed login, at its provider and for its page if they are known."""
    if start is None:
        return login_url()
    url = login_url(page_of(start))
    return f"{url}&idp={quote(start.idp, safe='')}" if start.idp in services().providers else url


def page_of(start: LoginStart | None) -> str:
    """Returns the page that a login was for; the home page if it is unknown or no longer allowed."""
    with contextlib.suppress(InvalidReturnUrl):
        return services().return_urls.checked(start.return_to if start else HOME)
    return HOME


def forget_session(response: Response) -> None:
    """Clears the cookies of an ended session, with the attributes that their name prefixes require."""
    names = services().settings.cookies
    response.delete_cookie(names.name, **cookie_options(httponly=True))
    response.delete_cookie(names.csrf_name, **cookie_options())


def cookie_options(**more: Any) -> dict[str, Any]:
    """Returns the attributes that all our cookies share."""
    cookies = services().settings.cookies
    return {"secure": cookies.secure, "domain": cookies.domain, "path": "/", **more}
