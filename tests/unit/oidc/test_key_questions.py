"""Tokens that strangers invented do not keep a provider's new key from being fetched."""

import pytest

from bff.oidc.key_questions import ASKED_AGAIN_AFTER, MOST, KeyQuestions, Purpose
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def questions(clock: Clock) -> KeyQuestions:
    return KeyQuestions(clock)


def test_a_key_id_is_asked_for_once_in_a_while(questions: KeyQuestions, clock: Clock) -> None:
    for seconds, allowed in ((0, True), (0, False), (ASKED_AGAIN_AFTER - 0.1, False), (0.1, True), (0, False)):
        clock.now += seconds
        assert questions.allow(Purpose.BEARER, "k") is allowed


@pytest.mark.parametrize("forged", Purpose)
@pytest.mark.parametrize("true", Purpose)
def test_a_thousand_inventions_leave_every_other_purpose_its_fetches(
    questions: KeyQuestions, forged: Purpose, true: Purpose
) -> None:
    allowed = sum(questions.allow(forged, f"invented-{number}") for number in range(1000))
    assert allowed == MOST
    assert questions.allow(true, "new") is (true is not forged)


def test_one_invented_key_id_leaves_others_of_its_purpose_their_fetches(questions: KeyQuestions) -> None:
    allowed = sum(questions.allow(Purpose.BEARER, "invented") for _ in range(1000))
    assert allowed == 1
    assert questions.allow(Purpose.BEARER, "new")


def test_all_that_may_be_asked_in_a_minute_is_bounded(questions: KeyQuestions, clock: Clock) -> None:
    allowed = 0
    for second in range(60):
        clock.now += 1
        allowed += sum(questions.allow(Purpose.LOGOUT, f"{second}-{number}") for number in range(50))
    assert allowed <= MOST + 60 / ASKED_AGAIN_AFTER


def test_a_true_key_is_asked_for_within_the_interval_however_many_are_invented(
    questions: KeyQuestions, clock: Clock
) -> None:
    """The set is fetched as a whole, so a fetch that an invention brought about serves the true token, too."""
    for number in range(1000):
        questions.allow(Purpose.BEARER, f"a-{number}")
    clock.now += ASKED_AGAIN_AFTER
    assert questions.allow(Purpose.BEARER, "new")


def test_no_key_id_is_a_key_id(questions: KeyQuestions) -> None:
    assert [questions.allow(Purpose.LOGIN, kid) for kid in (None, "None", None, "\ud800")] == [True, True, False, True]
