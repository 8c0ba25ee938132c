"""Loop detection: a browser logs in for the same page again and again, because it does not return the session cookie.

A login that directly follows another one of the same browser is a round. A cookie counts the rounds, with the same
attributes as a login attempt's cookie. A login only succeeds if the browser returns the attempt's cookie, so it returns
the counter too. Otherwise the first login ends on a page with the reason, and there is no second round (ADR 45).
"""

import contextlib
import logging
import re
from urllib.parse import urlsplit

from flask import request
from werkzeug.wrappers import Response

from bff.crypto import digest
from bff.errors import LoginFailed, LoginLoop, StoreUnavailable
from bff.login.flow import LoginResult
from bff.login.transaction import cookie_name
from bff.observability import metrics
from bff.settings.cookies import ROUNDS
from bff.web import context, cookies
from bff.web.context import services

log = logging.getLogger(__name__)

MOST_ROUNDS = 5
SUSPICIOUS = 2
MEMORY = 10
"""Seconds after a login within which the next login counts as a round; at most the sessions' idle timeout."""
_MOST_PAGES = 12
"""Most pages in the cookie: several pages may form one loop."""

_VALUE = re.compile(rf"(\d{{1,16}})((?:\.[0-9a-f]{{8}}){{1,{_MOST_PAGES}}})")

_DETAILS = {
    "cookie_not_returned": "You have logged in several times, and each time your browser did not send back the cookie"
    " of the session. Allow cookies for this site, and try again. If that does not help, contact this site's support.",
    "secure_cookie_over_http": "You have logged in several times, and each time your browser kept the cookie of the"
    " session back, which is for https alone. Open this site by its https address.",
    "session_refused": "You have logged in several times, and each time the session was not accepted. Delete the"
    " cookies of this site, and try again. If that does not help, contact this site's support.",
    "sent_back": "You are logged in, and the page that you opened sends you to log in again all the same. Contact the"
    " support of that page.",
}
_LOST = {
    "cookie_not_returned": "Your browser did not send back the cookie of this login. It blocks the cookies of this"
    " site, or the login was started in another browser. Allow cookies for this site, and log in again.",
    "secure_cookie_over_http": "Your browser did not send back the cookie of this login, which is for https alone. Open"
    " this site by its https address.",
}


def note(response: Response, completed: LoginResult) -> None:
    """Records a successful login. A login that began before the last one ended is no round: it is another tab's."""
    ended_at, pages = _remembered()
    now = services().clock()
    if now - completed.seconds < ended_at:
        return
    pages = [*pages, _page(completed.idp, completed.return_to)][-_MOST_PAGES:]
    cookies.keep_flow(response, ROUNDS, ".".join([str(int(now * 1000)), *pages]), max_age=_memory())


def so_far(idp: str, return_to: str) -> int:
    """Returns the number of rounds for this page."""
    return _remembered()[1].count(_page(idp, return_to))


def refuse_loop(idp: str | None, return_to: str) -> None:
    """Raises LoginLoop, counted and logged, instead of a login that would be one round too many."""
    if so_far(idp or next(iter(services().providers)), return_to) < MOST_ROUNDS:
        return
    cause = _cause()
    metrics.login("loop")
    log.warning("login_loop", extra={"cause": cause, "rounds": MOST_ROUNDS})
    raise LoginLoop(_DETAILS[cause])


def forget(response: Response) -> None:
    if cookies.of_flow(ROUNDS):
        cookies.forget_flow(response, ROUNDS)


def explain_lost_attempt(error: LoginFailed, state: str) -> None:
    """Replaces the error's detail with the likely cause when the callback brought no cookie of its attempt at all."""
    if error.code == "state_mismatch" and not cookies.of_flow(cookie_name(state)):
        cause = _lost_on_the_way()
        log.warning("login_cookie_missing", extra={"cause": cause})
        error.detail = _LOST[cause]


def _cause() -> str:
    """Returns a key of _DETAILS."""
    if not cookies.values(services().settings.cookies.name):
        return _lost_on_the_way()
    with contextlib.suppress(StoreUnavailable):
        return "sent_back" if context.present_session() else "session_refused"
    return "session_refused"


def _lost_on_the_way() -> str:
    return "secure_cookie_over_http" if services().settings.cookies.secure and _by_http() else "cookie_not_returned"


def _by_http() -> bool:
    """Whether the browser uses http, by a trusted proxy's X-Forwarded-Proto, else by the base URL."""
    told = request.headers.get("X-Forwarded-Proto") if context.clients().trusts_peer(request.environ) else None
    return (told or urlsplit(services().settings.base_url).scheme).lower() == "http"


def _remembered() -> tuple[float, list[str]]:
    """Returns (the end of the last login in Unix seconds, the pages of the last logins)."""
    sent = cookies.of_flow(ROUNDS)
    found = _VALUE.fullmatch(sent[0]) if sent else None
    ended_at = int(found[1]) / 1000 if found else 0.0
    if found is None or services().clock() - ended_at > _memory():
        return 0.0, []
    return ended_at, found[2].split(".")[1:]


def _memory() -> int:
    return min(MEMORY, services().settings.sessions.idle_timeout)


def _page(idp: str, return_to: str) -> str:
    """Returns a short digest of the page, without its query, which may differ in each round."""
    return digest(f"{idp} {re.split('[?#]', return_to, maxsplit=1)[0]}")[:8]
