"""Beacon endpoint, POST /api/v1/metrics: counts the events that browsers report.

It serves `navigator.sendBeacon`, which sends text/plain without a preflight, and fetch with JSON. It needs no session,
and no store unless the operator declared its limit closed.
"""

from collections.abc import Collection

from flask import Blueprint, request
from werkzeug.wrappers import Response

from bff.beacon import reports
from bff.errors import BFFError, BodyTooLarge, RateLimited, ReportMediaType, ReportRefused, ReportTooLarge
from bff.observability import labels, metrics
from bff.web.pipeline import answer
from bff.web.policy import policy

_MEDIA_TYPES = frozenset({"application/json", "text/plain"})
_UTF_8 = frozenset({"utf-8", "utf8"})


def blueprint(events: Collection[str]) -> Blueprint:
    """events: the event names with a counter of their own."""
    routes = Blueprint("beacon", __name__)
    count, observe = metrics.public_event_recorders(events), metrics.web_vital_recorders()

    @routes.post("/api/v1/metrics")
    @policy(session=False, csrf=False, limit="beacon")
    def report() -> tuple[str, int]:
        for event in reports.read(_body()):
            if event.name not in count:
                metrics.public_rejected("unknown_event")
            count.get(event.name, count[labels.OTHER])()
            if event.vital:
                observe[event.vital](event.value)
        return "", 204

    @routes.errorhandler(ReportRefused)
    @routes.errorhandler(RateLimited)
    @routes.errorhandler(BodyTooLarge)
    def refused(error: BFFError) -> Response:
        metrics.public_rejected(error.code)
        return answer(error)

    return routes


def _body() -> bytes:
    """Returns at most reports.LONGEST bytes of UTF-8. Reads no more of a longer body, none of a compressed one."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise ReportMediaType("The body must not be compressed.", headers=[("Accept-Encoding", "identity")])
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype not in _MEDIA_TYPES or charset not in _UTF_8:
        raise ReportMediaType("The body must be application/json or text/plain, in UTF-8.")
    announced = request.content_length or 0
    request.max_content_length = reports.LONGEST + 1  # the most bytes read of a body of unknown length
    body = b"" if announced > reports.LONGEST else request.get_data(cache=False)
    if max(announced, len(body)) > reports.LONGEST:
        raise ReportTooLarge(f"A report has at most {reports.LONGEST} bytes.")
    return body
