"""What every view may ask for: the services, and the session that the pipeline admitted."""

from typing import Any, cast
from urllib.parse import quote

from flask import current_app, g, request
from werkzeug.wrappers import Response

from bff.errors import Unauthenticated
from bff.services import Services
from bff.sessions import csrf
from bff.sessions.gate import Client
from bff.sessions.model import Session
from bff.tasks import Tasks
from bff.web.client import Clients


def services() -> Services:
    return cast(Services, current_app.extensions["bff"])


def tasks() -> Tasks:
    return cast(Tasks, current_app.extensions["bff_tasks"])


def client() -> Client:
    clients: Clients = current_app.extensions["bff_clients"]
    return clients.of(request.environ)


def admit(*, touch: bool = True) -> Session:
    """The session that this request belongs to. Raises Unauthenticated and its kin, StoreUnavailable."""
    session = services().gate.admit(request.headers.get("Cookie", ""), client(), touch=touch).session
    g.session = session
    return session


def present_session(*, touch: bool = False) -> Session | None:
    """The same, or None for an anonymous request. Raises StoreUnavailable."""
    try:
        return admit(touch=touch)
    except Unauthenticated:
        return None


def login_url(return_to: str | None = None) -> str:
    """Where a person logs in, and comes back to return_to afterwards."""
    url = services().settings.base_url + "/auth/login"
    return f"{url}?return_to={quote(return_to, safe='')}" if return_to else url


def forget_session(response: Response) -> None:
    """Clear the cookies of a session that has ended, with the attributes that their names ask for."""
    response.delete_cookie(services().settings.cookies.name, **cookie_options(httponly=True))
    response.delete_cookie(csrf.COOKIE, **cookie_options())


def cookie_options(**more: Any) -> dict[str, Any]:
    """Attributes that all our cookies share."""
    cookies = services().settings.cookies
    return {"secure": cookies.secure, "domain": cookies.domain, "path": "/", **more}
