"""Structured logging with redaction: one JSON object a line, with correlation id and trace, and without secrets.

Redaction is the last step before a line is written, so it covers messages, extra fields and tracebacks alike. It
replaces any text that looks like a credential: a long unbroken run of base64url, a Bearer header, a JWT. It also
replaces the value of any field with a name such as token or password. Redaction is the second line of defence; the
first is to log no secret.
"""

import logging
import random
import re
import sys
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

from bff.observability import traces

REDACTED = "[redacted]"
MAX_CORRELATION_ID = 39  # shorter than any text that redaction takes for a credential

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")

_WELL_FORMED = re.compile(rf"[A-Za-z0-9._-]{{8,{MAX_CORRELATION_ID}}}")
_CREDENTIAL = re.compile(
    r"(?:bearer|basic|dpop)\s+[^\s\"\\]{8,}|eyJ[A-Za-z0-9_.=-]{20,}|[A-Za-z0-9_-]{40,}[A-Za-z0-9_.=-]*", re.I
)
# As JSON, as JSON inside a JSON string, or as Python prints a dictionary into a traceback.
_SECRET_FIELD = re.compile(
    r"""(?P<field>(?P<quote>\\{0,3}["'])
        (?:[a-z_-]*(?:token|secret|password|cookie|verifier|assertion)|authorization|code|state|nonce)
        (?P=quote)\s*:\s*)
        b?(?P=quote)(?:(?:(?!(?P=quote))(?>\\.|.))*+(?P=quote)|.*?(?P=quote))""",
    re.I | re.X,
)


def correlation_id_for(given: str | None) -> str:
    """The caller's id when it is well-formed, else a new one.

    The id is no secret, so it need not come from the kernel. A system call would release the GIL in the middle of a
    verify. With busy threads, the wait to get it back costs more than the whole verify.
    """
    return given if given and _WELL_FORMED.fullmatch(given) else f"{random.getrandbits(128):032x}"


def redact(line: str) -> str:
    line = _SECRET_FIELD.sub(rf"\g<field>\g<quote>{REDACTED}\g<quote>", line)
    return _CREDENTIAL.sub(REDACTED, line)


class Formatter(JsonFormatter):
    def __init__(self) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger", "message": "event"},
            timestamp="time",
        )

    def add_fields(
        self, log_data: dict[str, object], record: logging.LogRecord, message_dict: dict[str, object]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data["pid"] = record.process
        if value := correlation_id.get():
            log_data["correlation_id"] = value
        log_data.update(traces.current() or {})

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure(level: str) -> None:
    """Configure this process to write all log lines to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("urllib3").setLevel(logging.WARNING)  # its debug lines quote URLs
    logging.captureWarnings(True)
