"""Work that nobody waits for: it is done, it keeps its request's context, and its failure is logged."""

import logging
import threading
from collections.abc import Iterator

import pytest

from bff.lib.background import Background
from bff.observability.logs import correlation_id

PATIENCE = 10


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background()
    yield made
    made.close()


def test_the_caller_goes_on_and_the_work_is_done_in_its_context(background: Background) -> None:
    may_end, seen = threading.Event(), []

    def work() -> None:
        may_end.wait(PATIENCE)
        seen.append((correlation_id.get(), threading.current_thread() is not caller))

    caller, token = threading.current_thread(), correlation_id.set("of-the-request")
    background(work)
    correlation_id.reset(token)
    assert seen == []
    may_end.set()
    background.close()
    assert seen == [("of-the-request", True)]


def test_a_failure_is_logged_and_the_next_work_is_done(
    background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("on purpose")

    with caplog.at_level(logging.ERROR):
        background(fail)
        background(done.set)
        assert done.wait(PATIENCE)
        background.close()
    assert [record.message for record in caplog.records] == ["background_work_failed"]


def test_nothing_begins_after_the_end(background: Background) -> None:
    background.close()
    background(lambda: pytest.fail("begun after the end"))


def test_without_work_there_is_no_thread() -> None:
    before = threading.active_count()
    Background().close()
    assert threading.active_count() == before
