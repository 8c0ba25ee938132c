"""Session endpoints for a browser application: login, callback, session, CSRF token, logout."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, jsonify, make_response, redirect, render_template, request
from marshmallow import RAISE, Schema, ValidationError, fields
from werkzeug.wrappers import Response as BaseResponse

from bff.errors import (
    BadRequest,
    BFFError,
    KeyElsewhere,
    LoginFailed,
    ProviderUnavailable,
    StoreUnavailable,
    Unauthenticated,
    of_login,
)
from bff.events.model import SecurityEvent
from bff.login import logout as logout_at_provider
from bff.login.flow import LoginRedirect, LoginResult, Overtaken
from bff.login.transaction import cookie_name, surplus_transactions
from bff.observability import metrics
from bff.sessions.binding import binding_of
from bff.sessions.device import device_of
from bff.sessions.model import EndReason, Session
from bff.settings import CALLBACK_PATH
from bff.web import canonical, context, cookies, problem, rounds
from bff.web.context import cookie_options, services
from bff.web.pipeline import answer
from bff.web.policy import policy
from bff.web.security_headers import page_policy

blueprint = Blueprint("auth", __name__)

_HINTS = ("prompt", "acr_values", "login_hint")
_LONGEST_HINT = 256
_LOGIN_RESULTS: Mapping[type[BFFError], str] = {
    StoreUnavailable: "store",
    ProviderUnavailable: "idp_error",
}
_LOGIN_EVENTS = {
    "state_reused": SecurityEvent.LOGIN_STATE_REUSED,
    "id_token": SecurityEvent.ID_TOKEN_REJECTED,
    "nonce": SecurityEvent.ID_TOKEN_REJECTED,
}


@blueprint.get("/auth/login")
@policy(session=False, csrf=False, cross_site=True, limit="login")
def login() -> BaseResponse:
    if not problem.is_navigation(request.environ):
        raise Unauthenticated("Send the browser to login_url as a navigation.")
    trusts_peer = context.clients().trusts_peer
    own = canonical.address(services().settings.base_url, request.environ, request.args, trusts_peer)
    if own is not None:
        return redirect(own)
    return_to, idp = request.args.get("return_to", "/"), request.args.get("idp")
    rounds.refuse_loop(idp, return_to)
    started = services().login.begin(
        return_to=return_to,
        idp=idp,
        hints={name: request.args[name][:_LONGEST_HINT] for name in _HINTS if request.args.get(name)},
    )
    response = _to_provider(started)
    for name in surplus_transactions(cookies.of_flows()):
        cookies.forget_flow(response, name)
    return response


def _to_provider(started: LoginRedirect) -> BaseResponse:
    response = redirect(started.url)
    cookies.keep_flow(response, started.cookie_name, started.cookie_value, max_age=services().settings.login_timeout)
    return response


@blueprint.get(CALLBACK_PATH)
@blueprint.get(f"{CALLBACK_PATH}/<alias>")
@policy(session=False, csrf=False, cross_site=True, limit="callback")
def callback(alias: str | None = None) -> BaseResponse:
    """alias: of the provider, if there are several; each has its own redirect URI."""
    start = time.perf_counter()
    own = services().settings.base_url + CALLBACK_PATH
    try:
        _refuse_duplicates()
        completed = services().login.complete(
            request.args, cookies.of_flow, redirect_uri=own if alias is None else f"{own}/{alias}"
        )
        with of_login(completed.idp, completed.return_to):
            response = _begin_session(completed)
    except Overtaken as overtaken:
        return _begin_again(overtaken)
    except (LoginFailed, StoreUnavailable, ProviderUnavailable) as err:
        metrics.login(_login_result(err))
        raise
    rounds.note(response, completed)
    metrics.login("success")
    metrics.oauth_flow("login", completed.seconds)
    metrics.oauth_flow("authorization_code", time.perf_counter() - start)
    cookies.forget_flow(response, cookie_name(request.args["state"]))
    return response


def _begin_again(overtaken: Overtaken) -> BaseResponse:
    metrics.login("overtaken")
    started = services().login.begin(return_to=overtaken.return_to, idp=overtaken.idp, again=overtaken.again)
    response = _to_provider(started)
    cookies.forget_flow(response, cookie_name(request.args["state"]))
    return response


@blueprint.errorhandler(LoginFailed)
def login_failed(error: LoginFailed) -> BaseResponse:
    """Redirects a browser that is logged in already (another tab was faster) to its page instead of an error."""
    services().audit.security(_LOGIN_EVENTS.get(error.code, SecurityEvent.LOGIN_FAILED), reason=error.code)
    if error.code.startswith("state_") and _logged_in():
        return redirect(context.page_of(error.login))
    rounds.explain_lost_attempt(error, request.args.get("state", ""))
    response = answer(error)
    if error.code == "loop":
        rounds.forget(response)  # so that the user can try again
    return response


@blueprint.get("/auth/session")
@blueprint.get("/api/auth/session")
@policy(session=False, csrf=False)
def session() -> Response:
    """Answers 200 with and without a session; ?touch=false does not extend the session."""
    current = context.present_session(touch=request.args.get("touch") != "false")
    if current is None:
        return jsonify(authenticated=False, login_url=context.login_url())
    now, user = services().clock(), current.user
    return jsonify(
        authenticated=True,
        user={"sub": user.sub, "name": user.name, "email": user.email, "roles": list(user.roles)},
        expires_in=int(current.ends_at - now),
        idle_expires_in=int(current.expires_at - now),
        auth_time=current.auth_time,
        idp=current.idp,
    )


@blueprint.get("/auth/csrf")
def csrf_token() -> Response:
    token = services().csrf.issue(g.session)
    response = jsonify(csrf_token=token)
    name = services().settings.cookies.csrf_name
    response.set_cookie(name, token, **cookie_options(httponly=False, samesite="Strict"))
    return response


class _TrueOrFalse(fields.Boolean):
    """A JSON boolean. marshmallow's own field also accepts text and numbers."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class LogoutRequestSchema(Schema):
    class Meta:
        unknown = RAISE

    everywhere = _TrueOrFalse(load_default=False)


@blueprint.post("/auth/logout")
def logout() -> BaseResponse:
    try:
        wanted = LogoutRequestSchema().load(request.get_json() if request.get_data() else {})
    except (ValidationError, RecursionError) as err:
        raise BadRequest("The body may hold `everywhere`, true or false, and nothing else.") from err
    response = make_response()
    url = _end(g.session, response, everywhere=wanted["everywhere"])
    response.data = jsonify(logout_url=_one_time(url, response)).data
    response.content_type = "application/json"
    return response


@blueprint.get("/auth/logout")
@policy(session=False, csrf=False, cross_site=True)
def logout_by_navigation() -> BaseResponse:
    """Logs out with a valid csrf parameter; without one it asks first, so that a foreign link cannot log a user out."""
    current = context.present_session()
    if current is None:
        return redirect("/")
    if not services().csrf.valid(current, request.args.get("csrf", "")):
        return _confirmation(current)
    response = redirect("/")
    url = _end(current, response, everywhere=False)
    # A script that follows a redirect may read its target; a navigation shows it only to the user.
    response.location = url if url and problem.is_navigation(request.environ) else _one_time(url, response)
    return response


def _confirmation(current: Session) -> Response:
    """Returns the confirmation page. Its form leads to the provider, and from there to any page of the provider's."""
    response = make_response(render_template("logout.html", csrf=services().csrf.issue(current)))
    issuers = (urlsplit(provider.issuer) for provider in services().settings.providers)
    over_http = sorted({f"http://{parts.netloc}" for parts in issuers if parts.scheme == "http"})
    response.headers["Content-Security-Policy"] = page_policy(("https:", *over_http))
    return response


def _login_result(err: BFFError) -> str:
    """Returns the metric's result: by the error's type or base type, else the error's own code."""
    return next((word for kind, word in _LOGIN_RESULTS.items() if isinstance(err, kind)), err.code)


@blueprint.get(logout_at_provider.END_SESSION_PATH)
@policy(session=False, csrf=False, cross_site=True, limit="end_session")
def end_session() -> BaseResponse:
    """The one-time address that a page got as logout_url.

    A used, expired or another browser's ticket is no error: the BFF has ended that session already.
    """
    if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        raise BadRequest("Send the browser to logout_url as a navigation.")
    url, sent = None, cookies.of_flow(logout_at_provider.COOKIE)
    try:
        url = services().end_session.take(request.args.get("ticket", ""), sent[0] if sent else "")
    except KeyElsewhere:  # a retry may reach an instance that can open the ticket
        raise
    except StoreUnavailable:
        pass
    if url is None:
        return redirect("/") if _logged_in() else make_response(render_template("logged_out.html"))
    response = redirect("/")
    response.location = url  # set afterwards, so that the body does not contain the ID token
    cookies.forget_flow(response, logout_at_provider.COOKIE, samesite=services().settings.cookies.samesite)
    return response


def _one_time(url: str | None, response: BaseResponse) -> str:
    """Returns the address to which a page sends the browser to end the provider's session.

    It is a one-time address of ours that redirects to url, so that the page sees no ID token. Without a url it is the
    start page.
    """
    base_url = services().settings.base_url
    if url is None:
        return f"{base_url}/"
    try:
        ticket = services().end_session.keep(url)
    except StoreUnavailable:  # our session has ended; only the provider's lives on
        return f"{base_url}/"
    cookies.keep_flow(
        response,
        logout_at_provider.COOKIE,
        ticket.cookie,
        max_age=logout_at_provider.TICKET_LIFE,
        samesite=services().settings.cookies.samesite,
    )
    return base_url + ticket.path


def _end(current: Session, response: BaseResponse, *, everywhere: bool) -> str | None:
    """Ends the session here, revokes its tokens and clears the cookies.

    Returns the URL that ends the provider's session, None if there is none. The URL holds the ID token, so no page may
    see it.
    """
    start, service = time.perf_counter(), services()
    provider, held = service.providers.get(current.idp), None
    with contextlib.suppress(StoreUnavailable):  # ending the session below raises if the store is really unavailable
        held = service.token_store.read(current.key)
    if everywhere:
        ended = service.authenticator.end_all_of(current, EndReason.LOGOUT_EVERYWHERE)
        service.audit.security(SecurityEvent.LOGOUT_EVERYWHERE, session=current.reference, sessions=str(ended))
    else:
        service.authenticator.end(current, EndReason.LOGOUT)
        service.audit.security(SecurityEvent.LOGOUT, session=current.reference)
    context.forget_session(response)
    rounds.forget(response)
    service.tokens.revocations.revoke_now(current.key)
    url = None
    if provider is not None:
        tokens = held.tokens if held else None
        home = f"{service.settings.base_url}/"
        url = logout_at_provider.end_session_url(provider, tokens, post_logout_redirect_uri=home)
    metrics.oauth_flow("logout", time.perf_counter() - start)
    return url


def _home(completed: LoginResult) -> BaseResponse:
    """Sends the browser to the page that the login was for.

    A redirect in a navigation from another site carries no Strict cookie (RFC 6265bis section 5.2). So a page of ours
    starts a new navigation. It does so in a login loop too: the browser aborts after twenty redirects, before the BFF
    would notice the loop.
    """
    strict = services().settings.cookies.samesite == "Strict"
    if not strict and rounds.so_far(completed.idp, completed.return_to) < rounds.SUSPICIOUS:
        return redirect(completed.return_to)
    response = make_response(render_template("logged_in.html", return_to=completed.return_to))
    response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"  # as for the redirect that the page replaces
    return response


def _logged_in() -> bool:
    """False also when the store is unavailable: then the answer shows the login's own failure."""
    with contextlib.suppress(StoreUnavailable):
        return context.present_session() is not None
    return False


def _refuse_duplicates() -> None:
    """Raises LoginFailed for a repeated parameter, which makes the request invalid (RFC 6749 section 3.1)."""
    if any(len(values) > 1 for _, values in request.args.lists()):
        raise LoginFailed("The answer repeats a parameter.", code="idp_error")


def _begin_session(completed: LoginResult) -> BaseResponse:
    """Creates a session under a new id and ends this browser's former one (session fixation)."""
    service, former, client = services(), context.present_session(), context.client()
    cookie, new = service.store.create(
        completed.user,
        idp=completed.idp,
        auth_time=completed.auth_time,
        sid=completed.sid,
        binding=binding_of(*client),
        tokens=completed.tokens,
        device=device_of(client.user_agent),
    )
    try:
        service.login.check_tokens(completed, new)
    except Overtaken:
        service.authenticator.discard(new)
        raise
    if former is not None:
        with contextlib.suppress(StoreUnavailable):  # the former session ends when idle; this login has succeeded
            service.authenticator.replace(former, new)
    service.audit.security(SecurityEvent.LOGIN_SUCCEEDED, session=new.reference, idp=completed.idp)
    response = _home(completed)
    response.set_cookie(
        service.settings.cookies.name,
        cookie,
        max_age=service.settings.sessions.lifetime,
        **cookie_options(httponly=True, samesite=service.settings.cookies.samesite),
    )
    return response
