"""Authorization code flow with PKCE (RFC 7636), state and nonce, RFC 9207 `iss`, and PAR (RFC 9126) when offered."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from bff.crypto import base64url
from bff.errors import (
    InvalidReturnUrl,
    LoginUnconfirmed,
    ProviderUnavailable,
    StoreUnavailable,
    UnknownProvider,
    UpstreamError,
    of_login,
)
from bff.login.failure import fail
from bff.login.return_url import ReturnUrls
from bff.login.transaction import LoginTransaction, LoginTransactions, NewTransaction, cookie_name
from bff.observability import metrics, traces
from bff.oidc import dpop, token_endpoint
from bff.oidc.claims import user_from_claims
from bff.oidc.id_token import validate_id_token
from bff.oidc.jwt import TokenInvalid
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import GrantRefused, RequestFailed, TokenEndpoint
from bff.oidc.token_response import printable
from bff.oidc.userinfo import UserInfo
from bff.sessions.model import Session, User
from bff.sessions.shared_grant import SharedGrants
from bff.sessions.tokens import Tokens

log = logging.getLogger(__name__)

HOME = "/"
_GARBAGE = "The identity provider's answer cannot be understood."
_PROVIDERS_FAULT = frozenset({"server_error", "temporarily_unavailable"})  # RFC 6749 section 4.1.2.1
LONGEST = 5.0
"""Most seconds that a user waits for the provider, at the login's start and again at its end."""
MOST_AGAIN = 2
"""How often a login restarts because of a revocation."""


@dataclass(frozen=True)
class LoginRedirect:
    """The URL to redirect the browser to, and the cookie that binds the attempt to that browser."""

    url: str
    cookie_name: str
    cookie_value: str = field(repr=False)


@dataclass(frozen=True)
class LoginResult:
    """A successful login. seconds: from the redirect to the provider until now, including the user's own time."""

    user: User
    tokens: Tokens = field(repr=False)
    idp: str
    auth_time: int
    sid: str = field(repr=False)
    return_to: str
    seconds: float
    revocations: int = 0
    again: int = 0


class Overtaken(Exception):
    """A revocation invalidated this login's tokens or its code.

    The login must restart; single sign-on at the provider answers at once. again: restarts so far.
    """

    def __init__(self, idp: str, return_to: str, again: int) -> None:
        super().__init__(idp)
        self.idp = idp
        self.return_to = return_to
        self.again = again


class LoginFlow:
    def __init__(
        self,
        providers: Mapping[str, Provider],
        attempts: LoginTransactions,
        token_endpoint: TokenEndpoint,
        return_urls: ReturnUrls,
        redirect_uris: Mapping[str, str],
        grants: SharedGrants,
        clock: Callable[[], float],
    ) -> None:
        """providers: by alias, the default one first. redirect_uris: by alias, one for each provider."""
        self._providers = providers
        self._attempts = attempts
        self._token_endpoint = token_endpoint
        self._userinfo = UserInfo(token_endpoint.dpop)
        self._return_urls = return_urls
        self._redirect_uris = redirect_uris
        self._grants = grants
        self._clock = clock

    def begin(
        self, *, return_to: str, idp: str | None = None, hints: Mapping[str, str] | None = None, again: int = 0
    ) -> LoginRedirect:
        """Starts an attempt. hints: prompt, acr_values, login_hint from the request. again: as in Overtaken.

        Raises InvalidReturnUrl, UnknownProvider, ProviderUnavailable, StoreUnavailable.
        """
        provider = self._provider(idp)
        with traces.span("login", {"bff.idp": provider.id}), provider.within(LONGEST):
            return self._begun(provider, return_to, hints or {}, again)

    def _begun(self, provider: Provider, return_to: str, hints: Mapping[str, str], again: int) -> LoginRedirect:
        key, back = dpop.new_key() if provider.config.dpop else None, self._return_urls.checked(return_to)
        provider.require_reachable()
        revocations = self._grants.revocations(provider.id)
        begun = self._attempts.begin(provider.id, back, key, revocations=revocations, again=again)
        url = self._authorization_url(provider, self._parameters(provider, begun, hints))
        self._attempts.keep(begun)
        metrics.login("started")
        return LoginRedirect(url, cookie_name(begun.state), begun.cookie)

    def complete(
        self, parameters: Mapping[str, str], cookies: Callable[[str], Sequence[str]], *, redirect_uri: str
    ) -> LoginResult:
        """Finishes the attempt that the callback's `state` names. cookies: returns the browser's cookies of one name.
        redirect_uri: the address that received the answer.

        The code is exchanged only when state, browser and redirect URI match. Raises LoginFailed with the metric's
        result as its code, ProviderUnavailable, StoreUnavailable, Overtaken.
        """

        def check_address(attempt: LoginTransaction) -> None:
            # RFC 9700 section 4.4.2.2. A provider removed meanwhile has no redirect URI; the code below refuses it.
            if self._redirect_uris.get(attempt.idp, redirect_uri) != redirect_uri:
                fail("state_mismatch", "The answer came from another identity provider.")

        attempt = self._attempts.consume(parameters.get("state", ""), cookies, check_address)
        provider = self._providers.get(attempt.idp) or fail("idp_error", "This way to log in was withdrawn meanwhile.")
        with (
            traces.span("callback", {"bff.idp": provider.id}),
            provider.within(LONGEST),
            of_login(attempt.idp, attempt.return_to),
        ):
            return self._completed(provider, parameters, attempt)

    def _completed(self, provider: Provider, parameters: Mapping[str, str], attempt: LoginTransaction) -> LoginResult:
        self._check_response(provider, parameters)
        tokens = self._exchange(provider, parameters["code"], attempt)
        claims = self._claims(provider, tokens, attempt)
        return LoginResult(
            user=user_from_claims(claims, provider.config),
            tokens=tokens,
            idp=provider.id,
            auth_time=int(claims.get("auth_time", claims["iat"])),
            sid=claims["sid"] if isinstance(claims.get("sid"), str) else "",
            return_to=self._still_allowed(attempt.return_to),
            seconds=self._clock() - attempt.started_at,
            revocations=attempt.revocations,
            again=attempt.again,
        )

    def check_tokens(self, completed: LoginResult, session: Session) -> None:
        """Call it when the new session is in the store, so that later revocations find it.

        Raises Overtaken when a revocation may have ended its tokens before.
        """
        if completed.again >= MOST_AGAIN:
            return
        with suppress(StoreUnavailable):  # then the tokens count as good
            if self._grants.overtook(session, completed.revocations):
                raise Overtaken(completed.idp, completed.return_to, completed.again + 1)

    def _still_allowed(self, return_to: str) -> str:
        """Checks the return URL again, because the configuration may have changed since the login began.

        The user is logged in, so a URL that is no longer allowed becomes the home page.
        """
        try:
            return self._return_urls.checked(return_to)
        except InvalidReturnUrl:
            log.warning("return_url_withdrawn")
            return HOME

    def _provider(self, idp: str | None) -> Provider:
        if idp is None:
            return next(iter(self._providers.values()))
        if idp not in self._providers:
            raise UnknownProvider
        return self._providers[idp]

    def _parameters(self, provider: Provider, begun: NewTransaction, hints: Mapping[str, str]) -> dict[str, str]:
        return {
            **hints,
            **dict(provider.config.authorization_parameters),  # the operator's parameters override those of a link
            "response_type": "code",
            "client_id": provider.config.client_id,
            "redirect_uri": self._redirect_uris[provider.id],
            "scope": provider.config.scopes,
            "state": begun.state,
            "nonce": begun.transaction.nonce,
            "code_challenge": base64url(hashlib.sha256(begun.transaction.verifier.encode()).digest()),
            "code_challenge_method": "S256",
            **_bound_to(begun.transaction.dpop_key),
        }

    def _authorization_url(self, provider: Provider, parameters: dict[str, str]) -> str:
        metadata = provider.metadata()
        endpoint = metadata.pushed_authorization_request_endpoint
        wanted = provider.config.par == "always" or metadata.require_pushed_authorization_requests
        if wanted and endpoint is None:
            raise ProviderUnavailable("The provider offers no pushed authorization requests.")
        if endpoint is not None and provider.config.par != "never":
            parameters = self._pushed(provider, endpoint, parameters)
        joint = "&" if "?" in metadata.authorization_endpoint else "?"
        return metadata.authorization_endpoint + joint + urlencode(parameters)

    @staticmethod
    def _pushed(provider: Provider, endpoint: str, parameters: dict[str, str]) -> dict[str, str]:
        try:
            answer = provider.post("authorization_par", endpoint, parameters, foreign=True)
            request_uri = printable(answer.json().get("request_uri")) if answer.ok else None
        except UpstreamError as err:
            raise ProviderUnavailable from err
        if request_uri is None:
            log.error("par_refused", extra={"idp": provider.id, "status": answer.status})
            raise ProviderUnavailable("The provider refused the pushed authorization request.")
        return {"client_id": provider.config.client_id, "request_uri": request_uri}

    @staticmethod
    def _check_response(provider: Provider, parameters: Mapping[str, str]) -> None:
        """Checks the issuer of the answer (RFC 9207) before its content."""
        issuer, metadata = parameters.get("iss"), provider.metadata()
        if issuer != metadata.issuer and (issuer or metadata.authorization_response_iss_parameter_supported):
            fail("state_mismatch", "The answer came from another identity provider.")
        if (error := parameters.get("error")) in _PROVIDERS_FAULT:
            raise LoginUnconfirmed("The identity provider has a problem of its own.", code="idp_error")
        if error:
            fail("cancelled" if error == "access_denied" else "idp_error")
        if not parameters.get("code"):
            fail("idp_error")

    def _exchange(self, provider: Provider, code: str, attempt: LoginTransaction) -> Tokens:
        form = {"code": code, "redirect_uri": self._redirect_uris[provider.id], "code_verifier": attempt.verifier}
        try:
            issued = self._token_endpoint.request(provider, token_endpoint.CODE, form, key=attempt.dpop_key)
        except GrantRefused as err:
            if err.error == "invalid_grant" and self._may_be_overtaken(attempt):
                raise Overtaken(attempt.idp, self._still_allowed(attempt.return_to), attempt.again + 1) from err
            fail("token_endpoint")
        except RequestFailed as err:
            garbage = err.reason == "bad_response"
            raise LoginUnconfirmed(_GARBAGE if garbage else "The identity provider did not answer.") from err
        if issued.access is None or issued.id_token is None:
            raise LoginUnconfirmed(_GARBAGE)
        # RFC 6749 section 5.1: an answer without a scope grants the requested one.
        access = replace(issued.access, scope=issued.access.scope or provider.config.scopes)
        return Tokens(provider.id, access, issued.refresh_token, issued.id_token, attempt.dpop_key)

    def _may_be_overtaken(self, attempt: LoginTransaction) -> bool:
        """Whether any user's revocation came meanwhile: this login's user is not known yet."""
        return attempt.again < MOST_AGAIN and self._grants.revocations(attempt.idp) > attempt.revocations

    def _claims(self, provider: Provider, tokens: Tokens, attempt: LoginTransaction) -> dict[str, Any]:
        try:
            claims = validate_id_token(
                tokens.id_token or "",
                provider,
                nonce=attempt.nonce,
                access_token=tokens.access.value,
                clock=self._clock,
            )
        except TokenInvalid as err:
            log.warning("id_token_rejected", extra={"idp": provider.id, "reason": err.status})
            fail("nonce" if err.status == "nonce" else "id_token")
        return self._with_userinfo(provider, claims, tokens)

    def _with_userinfo(self, provider: Provider, claims: dict[str, Any], tokens: Tokens) -> dict[str, Any]:
        """Asks the userinfo endpoint only when the ID token lacks a claim. Its failure costs a claim, not the login."""
        names = provider.config.claims
        wanted = [path.split(".")[0] for path in (names.name, names.email, names.roles)]
        if all(name in claims for name in wanted):
            return claims
        more = self._userinfo.claims(provider, claims["sub"], tokens.access, tokens.dpop_key)
        return {**(more or {}), **claims}


def _bound_to(key: str | None) -> dict[str, str]:
    """Returns the parameter that makes the code useless without the session's key (RFC 9449 section 10)."""
    return {"dpop_jkt": dpop.thumbprint(key)} if key else {}
