"""gunicorn's log lines as JSON. The access line has the path without its query: queries carry codes and states.

The path of a proxied request names people and things, so its line has that of its route, as config/routes.yaml has it.
"""

import contextlib
import datetime
import logging
import os
import sys
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as _text
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.http.errors import NoMoreData, ParseException

from bff.observability.logs import Formatter, redact
from bff.observability.traces import TRACE

ROUTE = "bff.route"
"""Where the WSGI environment of a proxied request has the path of its route."""

_LONGEST_PATH = 256
_SHORT_PATH = 39  # shorter than what redaction takes for a credential


class JsonLogger(Logger):
    """For gunicorn's `logger_class` setting."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(Formatter())
        for handler in self.access_log.handlers:
            handler.setFormatter(logging.Formatter("%(message)s"))
        self._streams = [each for each in self.access_log.handlers if isinstance(each, logging.StreamHandler)]

    def warning(self, msg: object, *args: Any, **options: Any) -> None:
        """Without the request that gunicorn refuses: it would quote lines of it, which may hold secrets and names."""
        fault = sys.exc_info()[1]
        if isinstance(fault, ParseException):
            msg, args, options["extra"] = "request_refused", (), {"fault": type(fault).__name__}
        super().warning(msg, *args, **options)

    def debug(self, msg: object, *args: Any, **options: Any) -> None:
        """The same for one that was broken off."""
        if isinstance(sys.exc_info()[1], NoMoreData):
            msg, args = "request_broken_off", ()
        super().debug(msg, *args, **options)

    def exception(self, msg: object, *args: Any, **options: Any) -> None:
        """With its traceback, but without the request's address, whose query may carry codes and states."""
        if str(msg).startswith("Error handling request"):
            msg, args = "request_failed", ()
        super().exception(msg, *args, **options)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: datetime.timedelta) -> None:
        if not self.access_log_enabled:
            return
        status = resp.status
        correlation_id = next((value for name, value in reversed(resp.headers) if name == "X-Correlation-ID"), "")
        # Written by hand, since this is done for every request: json.dumps of the same costs more than a verify.
        self._write(
            f'{{"time": "{datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")}", "level": "INFO",'
            f' "logger": "gunicorn.access", "event": "request", "pid": {os.getpid()},'
            f' "method": {_text(environ.get("REQUEST_METHOD", "")[:16])},'
            f' "path": {_text(environ.get(ROUTE) or _path(environ.get("PATH_INFO", "")))},'
            f' "status": {int(status.split(None, 1)[0]) if isinstance(status, str) else status},'
            f' "bytes": {getattr(resp, "sent", None) or 0},'
            f' "duration_ms": {request_time.total_seconds() * 1000:.3f},'
            f' "correlation_id": {_text(correlation_id)}{_trace(environ.get(TRACE))}}}'
        )

    def _write(self, line: str) -> None:
        """What logging does with a record costs as much again, and the line is complete; syslog wants a record."""
        if len(self._streams) < len(self.access_log.handlers):
            self.access_log.info(line)
            return
        for handler in self._streams:
            with handler.lock or contextlib.nullcontext():
                handler.stream.write(f"{line}\n")
                handler.flush()


def _trace(ids: Mapping[str, str] | None) -> str:
    return f', "trace_id": "{ids["trace_id"]}", "span_id": "{ids["span_id"]}"' if ids else ""


def _path(path: str) -> str:
    """Our own paths are short and say nothing; in a longer one a client may have put anything."""
    return path if len(path) <= _SHORT_PATH else redact(path[:_LONGEST_PATH])
