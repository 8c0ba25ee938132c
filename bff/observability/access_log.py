"""gunicorn's log lines as JSON. The access line has the path without its query: queries carry codes and states."""

import datetime
import json
import logging
import os
from typing import Any

from gunicorn.glogging import Logger

from bff.observability.logs import Formatter

_LONGEST_PATH = 256


class JsonLogger(Logger):
    """For gunicorn's `logger_class` setting."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(Formatter())
        for handler in self.access_log.handlers:
            handler.setFormatter(logging.Formatter("%(message)s"))

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: datetime.timedelta) -> None:
        if not self.access_log_enabled:
            return
        status = resp.status
        line = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "level": "INFO",
            "logger": "gunicorn.access",
            "event": "request",
            "pid": os.getpid(),
            "method": environ.get("REQUEST_METHOD", "")[:16],
            "path": environ.get("PATH_INFO", "")[:_LONGEST_PATH],
            "status": int(status.split(None, 1)[0]) if isinstance(status, str) else status,
            "bytes": getattr(resp, "sent", None),
            "duration_ms": round(request_time.total_seconds() * 1000, 3),
            "correlation_id": next((value for name, value in resp.headers if name == "X-Correlation-ID"), None),
        }
        self.access_log.info(json.dumps(line))
