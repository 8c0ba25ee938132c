"""Structured logging: gunicorn's log lines as JSON.

The access line has the path without its query, because queries carry codes and states. The path of a proxied request
names people and things, so its line has the path of its route instead, as config/routes.yaml has it.
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
"""Key in the WSGI environment of a proxied request: the path of its route."""

_LONGEST_PATH = 256
_SHORT_PATH = 39  # shorter than any text that redaction takes for a credential


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
        """Drop the quoted request of a refusal: gunicorn quotes lines of it, which may hold secrets and names."""
        fault = sys.exc_info()[1]
        if isinstance(fault, ParseException):
            msg, args, options["extra"] = "request_refused", (), {"fault": type(fault).__name__}
        super().warning(msg, *args, **options)

    def debug(self, msg: object, *args: Any, **options: Any) -> None:
        """Drop the quoted request when the client broke it off."""
        if isinstance(sys.exc_info()[1], NoMoreData):
            msg, args = "request_broken_off", ()
        super().debug(msg, *args, **options)

    def exception(self, msg: object, *args: Any, **options: Any) -> None:
        """Keep the traceback, but drop the request's address: its query may carry codes and states."""
        if str(msg).startswith("Error handling request"):
            msg, args = "request_failed", ()
        super().exception(msg, *args, **options)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: datetime.timedelta) -> None:
        if not self.access_log_enabled:
            return
        status = resp.status
        correlation_id = next((value for name, value in reversed(resp.headers) if name == "X-Correlation-ID"), "")
        # Formatted by hand: json.dumps of the same costs more than a verify, and every request pays for it.
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
        """Write the complete line without a log record, which would cost as much again. Syslog needs a record."""
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
    """The path for the log. The BFF's own paths are short; a longer one may hold any text of a client, so it is
    redacted."""
    return path if len(path) <= _SHORT_PATH else redact(path[:_LONGEST_PATH])
