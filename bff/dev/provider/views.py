"""The embedded provider's pages and endpoints.

The login page works without JavaScript. Against login CSRF its form carries a token that is bound to the authorization
request, and the browser's Fetch Metadata must show that the form came from this very site.
"""

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from authlib.oauth2 import OAuth2Error
from flask import Blueprint, Response, jsonify, make_response, render_template, request
from werkzeug.datastructures import Headers

from bff.crypto import digest, random_id
from bff.dev.provider.metadata import metadata
from bff.dev.provider.registry import USERS
from bff.dev.provider.server import ProviderServer
from bff.dev.provider.storage import FORM_LIFE, Login
from bff.web.policy import policy
from bff.web.security_headers import page_policy

COOKIE = "dev_idp_session"


class Views:
    def __init__(self, server: ProviderServer, clock: Callable[[], float], return_origins: Collection[str]) -> None:
        """return_origins: origins that a login may return to besides the BFF."""
        self._server = server
        self._records = server.records
        self._path = urlsplit(server.issuer).path
        self._origin = server.client.origin
        self._clock = clock
        # A login's form redirects to the page where the login began.
        self._content_security_policy = page_policy(sorted(return_origins))

    def blueprint(self) -> Blueprint:
        routes = Blueprint("dev_idp", __name__, url_prefix=self._path, template_folder="../templates")
        routes.add_url_rule("/.well-known/openid-configuration", view_func=self.discovery)
        routes.add_url_rule("/jwks", view_func=self.jwks)
        routes.add_url_rule("/authorize", view_func=self.authorize)
        routes.add_url_rule("/authorize", view_func=self.choose, methods=["POST"])
        routes.add_url_rule("/token", view_func=self.token, methods=["POST"])
        routes.add_url_rule("/userinfo", view_func=self.userinfo, methods=["GET", "POST"])
        routes.add_url_rule("/introspect", view_func=self.introspect, methods=["POST"])
        routes.add_url_rule("/revoke", view_func=self.revoke, methods=["POST"])
        routes.add_url_rule("/logout", view_func=self.logout, methods=["GET", "POST"])
        routes.register_error_handler(OAuth2Error, self._refused)
        return routes

    @policy(session=False, csrf=False)
    def discovery(self) -> Response:
        return jsonify(metadata(self._server.issuer, self._server.client.scope))

    @policy(session=False, csrf=False)
    def jwks(self) -> Response:
        return jsonify(self._server.key.key_set().as_dict(private=False))

    @policy(session=False, csrf=False)
    def authorize(self) -> Response:
        login = self._recent_login()
        grant = self._server.get_consent_grant(end_user=login)
        if login is None or grant.prompt:
            return self._login_page()
        return self._authorized(grant, login)

    @policy(session=False, csrf=False)
    def choose(self) -> Response:
        """Handles the login page's form: an account, or Cancel."""
        grant = self._server.get_consent_grant(end_user=self._login())
        if not self._form_is_ours():
            return self._login_page("That page was out of date. Please choose again.", 400)
        if "cancel" in request.form:
            return self._authorized(grant, None)
        if request.form.get("user") not in USERS:
            return self._login_page("There is no such account. Please choose again.", 400)
        secret = random_id()
        login = self._log_in(secret, request.form["user"])
        response = self._authorized(grant, login)
        response.set_cookie(COOKIE, secret, path=self._path, httponly=True, samesite="Lax", secure=self._secure)
        return response

    @policy(session=False, csrf=False)
    def token(self) -> Response:
        response: Response = self._server.create_token_response()
        return response

    @policy(session=False, csrf=False)
    def userinfo(self) -> Response:
        response: Response = self._server.create_endpoint_response("userinfo")
        return response

    @policy(session=False, csrf=False)
    def introspect(self) -> Response:
        response: Response = self._server.create_endpoint_response("introspection")
        return response

    @policy(session=False, csrf=False)
    def revoke(self) -> Response:
        response: Response = self._server.create_endpoint_response("revocation")
        return response

    @policy(session=False, csrf=False)
    def logout(self) -> Response:
        """RP-Initiated Logout 1.0. Without a valid ID token as a hint the page asks the user first (section 6)."""
        asked = self._server.validate_endpoint_request("end_session")
        login = self._login()
        if asked.needs_confirmation and login and not self._form_is_ours():
            return self._page("logout", user=USERS[login.sub], form_token=self._form_token())
        response: Response = self._server.create_endpoint_response("end_session", asked) or self._page("logged_out")
        if login:
            self._records.drop("login", login.sid)
        response.delete_cookie(COOKIE, path=self._path, httponly=True, samesite="Lax", secure=self._secure)
        return response

    @property
    def _secure(self) -> bool:
        return self._origin.startswith("https:")

    def _login(self) -> Login | None:
        return self._records.login(request.cookies.get(COOKIE))

    def _recent_login(self) -> Login | None:
        """The browser's login; None also if it is too old for `max_age` (OpenID Connect Core section 3.1.2.1)."""
        login, max_age = self._login(), request.args.get("max_age", type=int)
        if login and max_age is not None and self._clock() - login.auth_time > max_age:
            return None
        return login

    def _log_in(self, secret: str, sub: str) -> Login:
        before = self._login()
        if before:
            self._records.drop("login", before.sid)
        login = Login(digest(secret), sub, int(self._clock()))
        self._records.save_login(login)
        return login

    def _authorized(self, grant: object, login: Login | None) -> Response:
        response: Response = self._server.create_authorization_response(grant=grant, grant_user=login)
        return response

    def _login_page(self, problem: str = "", status: int = 200) -> Response:
        login = self._login()
        return self._page(
            "login",
            status,
            problem=problem,
            users=USERS.values(),
            current=login.sub if login else "",
            hint=request.args.get("login_hint", ""),
            form_token=self._form_token(),
        )

    def _form_token(self) -> str:
        token = random_id()
        self._records.put("form", token, {"request": digest(request.full_path)}, FORM_LIFE)
        return token

    def _form_is_ours(self) -> bool:
        """Whether this POST comes from the page of this very request, on this site."""
        record = self._records.get("form", request.form.get("form_token", ""))
        return (
            request.method == "POST"
            and record == {"request": digest(request.full_path)}
            and _same_origin(request.headers, self._origin)
        )

    def _page(self, name: str, status: int = 200, **context: object) -> Response:
        response = make_response(render_template(f"dev/{name}.html", **context), status)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Content-Security-Policy"] = self._content_security_policy
        return response

    def _refused(self, error: OAuth2Error) -> Response:
        if error.redirect_uri:
            return self._server.refuse(error)
        return self._page("error", 400, code=error.error, description=error.description)


def _same_origin(headers: Headers, origin: str) -> bool:
    """Whether a form came from this origin, by Fetch Metadata, or by the Origin header of older browsers.

    A client that sends neither is no browser, so no foreign page can make it send a user's form.
    """
    site = headers.get("Sec-Fetch-Site")
    return site == "same-origin" if site else headers.get("Origin", origin) == origin
