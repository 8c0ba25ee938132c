"""What gunicorn logs of requests that it cannot serve: the kind of fault, and nothing of the request."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHeader, InvalidRequestLine, NoMoreData

from bff.observability.logs import Formatter
from bff.server.access_log import JsonLogger

QUOTED = "/auth/callback?state=short&login_hint=alice@example.com"


@pytest.fixture
def logger() -> Iterator[JsonLogger]:
    config = Config()
    config.set("loglevel", "debug")
    made = JsonLogger(config)
    handler = gunicorns(made)
    former = handler.setStream(io.StringIO())
    yield made
    handler.setStream(former)


def gunicorns(logger: JsonLogger) -> Any:
    """Its handler, beside which pytest has its own."""
    return next(each for each in logger.error_log.handlers if isinstance(each.formatter, Formatter))


def written(logger: JsonLogger) -> dict[str, Any]:
    (line,) = gunicorns(logger).stream.getvalue().splitlines()
    assert "alice" not in line
    record: dict[str, Any] = json.loads(line)
    return record


@pytest.mark.parametrize("fault", [InvalidRequestLine(f"GET {QUOTED}"), InvalidHeader(f"Referer {QUOTED}")])
def test_a_refused_request(logger: JsonLogger, fault: Exception) -> None:
    try:
        raise fault
    except Exception as err:  # noqa: BLE001 - as gunicorn's workers do
        logger.warning(f"Invalid request from ip=192.0.2.7: {err}")
    record = written(logger)
    assert (record["event"], record["fault"]) == ("request_refused", type(fault).__name__)
    assert "192.0.2.7" not in str(record)


def test_one_that_is_broken_off(logger: JsonLogger) -> None:
    try:
        raise NoMoreData(f"GET {QUOTED}".encode())
    except NoMoreData as err:
        logger.debug("Ignored premature client disconnection. %s", err)
    assert written(logger)["event"] == "request_broken_off"


def test_one_that_fails_without_an_answer(logger: JsonLogger) -> None:
    try:
        raise RuntimeError("of the application")
    except RuntimeError:
        logger.exception("Error handling request %s %s", "GET", QUOTED)
    record = written(logger)
    assert record["event"] == "request_failed"
    assert "of the application" in record["exc_info"]


def test_any_other_line_stays_as_it_is(logger: JsonLogger) -> None:
    logger.warning("Worker exiting (pid: %s)", 7)
    assert written(logger)["event"] == "Worker exiting (pid: 7)"
