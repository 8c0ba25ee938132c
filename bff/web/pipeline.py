"""Request pipeline around every view: correlation id, policy, error answers, response headers, metrics."""

import logging
import time
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, make_response, request
from werkzeug.exceptions import HTTPException

from bff.errors import (
    BFFError,
    BodyTooLarge,
    CsrfViolation,
    InvalidReturnUrl,
    LoginFailed,
    NoSuchRoute,
    ProviderUnavailable,
    RateLimited,
    StoreUnavailable,
)
from bff.events.model import SecurityEvent
from bff.observability import logs, metrics
from bff.sessions import csrf
from bff.settings import CALLBACK_PATH
from bff.web import context, cookies, cors, limits, problem, security_headers
from bff.web.policy import policy_of

log = logging.getLogger(__name__)

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}


def install(app: Flask) -> None:
    app.before_request(_begin)
    app.before_request(_require_one_leading_slash)
    app.before_request(cors.answer_preflight)
    app.before_request(_enforce_policy)
    app.after_request(_finish)
    app.teardown_request(_end)
    app.register_error_handler(BFFError, answer)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _begin() -> None:
    g.started = time.perf_counter()
    g.correlation_id = logs.correlation_id_for(request.headers.get("X-Correlation-ID"))
    g.correlation = logs.correlation_id.set(g.correlation_id)


def _require_one_leading_slash() -> None:
    """Raises NoSuchRoute. Flask reads //metrics as /metrics, which would bypass a proxy's rule for /metrics."""
    if request.environ["PATH_INFO"].startswith("//"):
        raise NoSuchRoute


def _enforce_policy() -> None:
    if request.endpoint is None:
        return  # Flask answers 404 or 405
    needs = policy_of(current_app.view_functions[request.endpoint])
    if needs.own_body:
        _check_body()
    session = context.admit() if needs.session else None
    if needs.csrf and request.method not in csrf.SAFE_METHODS:
        check_csrf(request.headers.get(csrf.HEADER))
    if needs.limit is not None:
        limits.check(needs.limit, session)


def _check_body() -> None:
    """Raises BodyTooLarge before the body is read, so that neither the worker nor a thread waits for it."""
    most = current_app.config["MAX_CONTENT_LENGTH"]
    reader = getattr(request.environ["wsgi.input"], "reader", None)  # bff/server/framing.py's, under gunicorn
    if (request.content_length or 0) > most or getattr(reader, "too_long", False):
        raise BodyTooLarge(f"At most {most} bytes are taken.")


def check_csrf(header: str | None) -> None:
    """Raises CsrfViolation, counted."""
    try:
        context.services().csrf.check(
            g.session,
            cookies=cookies.values(context.services().settings.cookies.csrf_name),
            header=header,
            origin=request.headers.get("Origin"),
        )
    except CsrfViolation as err:
        metrics.csrf_violation(err.code)
        context.services().audit.security(SecurityEvent.CSRF_VIOLATION, reason=err.code, session=g.session.reference)
        raise


def _finish(response: Response) -> Response:
    response.headers["X-Correlation-ID"] = g.correlation_id
    security_headers.add(response, own=g.get("own_answer", True), hsts=context.services().settings.hsts)
    limits.tell(response)
    cors.allow(response)
    rule = request.url_rule.rule if request.url_rule else None
    metrics.http_request(request.method, g.get("endpoint", rule), response.status_code, time.perf_counter() - g.started)
    return response


def _end(_error: BaseException | None) -> None:
    """Removes the correlation id from the thread's log context."""
    if "correlation" in g:
        logs.correlation_id.reset(g.pop("correlation"))


def answer(error: BFFError) -> Response:
    """Returns problem details, or for a navigation a small page with the same facts."""
    if isinstance(error, InvalidReturnUrl):
        context.services().audit.security(SecurityEvent.RETURN_URL_REFUSED)
    if isinstance(error, RateLimited):
        context.services().audit.security(SecurityEvent.RATE_LIMITED, limit=error.limit)
    content = problem.facts(error, g.correlation_id, context.login_url(_here()))
    if isinstance(error, LoginFailed | ProviderUnavailable | StoreUnavailable) and request.path.startswith("/auth/"):
        content["retry_url"] = _retry_url(error)
    body, content_type = problem.body(content, navigation=problem.is_navigation(request.environ))
    response = make_response(body, error.status)
    response.headers["Content-Type"] = content_type
    for name, value in problem.headers(error):
        response.headers[name] = value
    return response


def _retry_url(error: BFFError) -> str:
    """Returns the address at which the login continues.

    When the store failed before the callback found its login, nothing is lost, and the browser may repeat the callback.
    The empty address does so without the code in the page.
    """
    if request.path == "/auth/login":
        return request.full_path
    if isinstance(error, StoreUnavailable) and error.login is None and request.path.startswith(CALLBACK_PATH):
        return "" if problem.is_navigation(request.environ) else context.login_url()
    return context.login_again(error.login)


def _here() -> str | None:
    """Returns the user's page, to return to after a login; None for a fetch, which names an API's address."""
    if problem.is_navigation(request.environ) and request.method == "GET" and not request.path.startswith("/auth/"):
        return urlsplit(request.full_path).path
    return None


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    wrapped = BFFError(code=_CODES.get(status, "http_error"))
    wrapped.status, wrapped.title = status, HTTPStatus(status).phrase
    response = answer(wrapped)
    if allow := error.get_response().headers.get("Allow"):
        response.headers["Allow"] = allow
    return response


def _unexpected(error: Exception) -> Response:
    log.error("unexpected_error", exc_info=error)
    return answer(BFFError())
