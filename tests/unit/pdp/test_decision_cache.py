"""What is remembered, for how long, and what makes a worker forget it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.kv import KeyValue
from bff.pdp.decision_cache import CHANGES, LONGEST, DecisionCache
from bff.pdp.model import Decision, Evaluation, NoDecision, Semantic, properties
from bff.settings import PdpSettings
from tests.clock import Clock
from tests.unit.pdp.support import ALLOW, DENY, Channel, Told, question
from tests.unit.support import counted

SECRET = question("secret")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pdp() -> Told:
    return Told()


@pytest.fixture
def channel() -> Channel:
    return Channel()


def worker(pdp: Told, channel: Channel, clock: Clock, **settings: Any) -> DecisionCache:
    made = DecisionCache(pdp, cast(KeyValue, channel), PdpSettings(**settings), clock)
    made.start()
    return made


@pytest.fixture
def decisions(pdp: Told, channel: Channel, clock: Clock) -> DecisionCache:
    return worker(pdp, channel, clock, allow_ttl=60.0, deny_ttl=10.0)


def cached(result: str) -> float:
    return counted("bff_authz_cache_total", result=result)


@pytest.mark.parametrize(("asked", "decision", "life"), [(question(), ALLOW, 60), (SECRET, DENY, 10)])
def test_a_decision_lives_as_long_as_its_kind(
    decisions: DecisionCache, pdp: Told, clock: Clock, asked: Evaluation, decision: Decision, life: float
) -> None:
    hits, misses = cached("hit"), cached("miss")
    assert decisions.decide(asked) == decision
    clock.now += life - 0.001
    assert decisions.decide(asked) == decision
    assert (len(pdp.asked), cached("hit") - hits, cached("miss") - misses) == (1, 1, 1)
    clock.now += 0.001
    assert decisions.decide(asked) == decision
    assert (len(pdp.asked), cached("hit") - hits, cached("miss") - misses) == (2, 1, 2)


@pytest.mark.parametrize(
    ("settings", "asked", "kept"),
    [
        ({"allow_ttl": 0.0}, question(), 0),
        ({"allow_ttl": 0.0}, SECRET, 1),
        ({"deny_ttl": 0.0}, SECRET, 0),
        ({"deny_ttl": 0.0}, question(), 1),
        ({"allow_ttl": 0.0, "deny_ttl": 0.0}, question(), 0),
        ({"cache_size": 0}, question(), 0),
    ],
)
def test_nothing_is_kept_of_a_kind_without_a_life(
    pdp: Told, channel: Channel, clock: Clock, settings: dict[str, Any], asked: Evaluation, kept: int
) -> None:
    decisions = worker(pdp, channel, clock, **settings)
    for _ in range(2):
        decisions.decide(asked)
    assert (len(decisions), len(pdp.asked)) == (kept, 2 - kept)


OTHERS = [
    question(who="bob"),
    question("8"),
    question(resource="invoices"),
    question()._replace(action="write"),
    question()._replace(subject_type="client"),
    question()._replace(subject_properties=properties({"roles": ["admin"]})),
    question(resource_properties=properties({"amount": 7})),
    question(context=properties({"client_address": "203.0.113.8"})),
    question(action_properties=properties({"soft": True})),
]


def test_every_part_of_a_question_tells_it_from_others(decisions: DecisionCache, pdp: Told) -> None:
    for asked in [question(), *OTHERS]:
        decisions.decide(asked)
    assert pdp.asked == [question(), *OTHERS]
    assert {field for other in OTHERS for field, one, two in zip(Evaluation._fields, question(), other, strict=True)
            if one != two} == set(Evaluation._fields)  # fmt: skip


def test_the_correlation_id_goes_along_but_tells_no_questions_apart(decisions: DecisionCache, pdp: Told) -> None:
    for correlation_id in ("first", "second"):
        decisions.decide(question(), correlation_id)
    assert pdp.correlation_ids == ["first"]


def test_a_failure_is_not_remembered(decisions: DecisionCache, pdp: Told) -> None:
    pdp.failing = "timeout"
    with pytest.raises(NoDecision, match="timeout"):
        decisions.decide(question())
    pdp.failing = ""
    assert decisions.decide(question()) == ALLOW


def test_a_remembered_decision_outlives_the_pdp_until_its_time_is_over(
    decisions: DecisionCache, pdp: Told, clock: Clock
) -> None:
    decisions.decide(question())
    pdp.failing = "connection"
    clock.now += 59
    assert decisions.decide(question()) == ALLOW
    clock.now += 1
    with pytest.raises(NoDecision):
        decisions.decide(question())


def test_memory_is_bounded(pdp: Told, channel: Channel, clock: Clock) -> None:
    decisions = worker(pdp, channel, clock, cache_size=3)
    for number in range(10):
        decisions.decide(question(str(number)))
    assert len(decisions) == 3
    decisions.decide(question("9"))
    decisions.decide(question("6"))
    assert len(pdp.asked) == 11, "the oldest went first"


@pytest.mark.parametrize(("longer", "kept"), [(0, 1), (1, 0)])
def test_a_question_longer_than_memory_is_worth(decisions: DecisionCache, longer: int, kept: int) -> None:
    rest = sum(map(len, question("")))
    decisions.decide(question("x" * (LONGEST - rest + longer)))
    assert len(decisions) == kept


# Changes.

ALICE, BOB, OTHER_THING = question(), question(who="bob"), question("8")
CHANGED: list[tuple[dict[str, tuple[str, str]], set[Evaluation]]] = [
    ({}, set()),
    ({"subject": ("user", "alice")}, {BOB}),
    ({"subject": ("client", "alice")}, {ALICE, BOB, OTHER_THING}),
    ({"resource": ("orders", "7")}, {OTHER_THING}),
    ({"resource": ("pages", "7")}, {ALICE, BOB, OTHER_THING}),
    ({"subject": ("user", "alice"), "resource": ("orders", "7")}, {BOB, OTHER_THING}),
]


@pytest.mark.parametrize(("what", "left"), CHANGED)
def test_a_change_is_heard_by_every_worker(
    pdp: Told, channel: Channel, clock: Clock, what: dict[str, Any], left: set[Evaluation]
) -> None:
    workers = [worker(pdp, channel, clock) for _ in range(2)]
    for each in workers:
        for asked in (ALICE, BOB, OTHER_THING):
            each.decide(asked)
    workers[0].change(**what)
    for each in workers:
        assert set(each._remembered) == left


@pytest.mark.parametrize(
    "message", ["", "x", "[]", "7", "null", "{}", '{"subject": 7, "resource": null}', '{"subject": null}']
)
def test_a_message_that_cannot_be_read_empties_everything(
    decisions: DecisionCache, channel: Channel, message: str
) -> None:
    decisions.decide(question())
    channel.publish(CHANGES, message)
    assert len(decisions) == 0


def test_nothing_is_remembered_while_changes_cannot_be_heard(
    decisions: DecisionCache, pdp: Told, channel: Channel
) -> None:
    decisions.decide(question())
    channel.cut()
    assert (len(decisions), decisions.truthful) == (0, False)
    for _ in range(2):
        decisions.decide(question())
    assert (len(pdp.asked), len(decisions)) == (3, 0)
    channel.mend()
    for _ in range(2):
        decisions.decide(question())
    assert (len(pdp.asked), len(decisions)) == (4, 1)


def test_nothing_is_remembered_before_the_start(pdp: Told, channel: Channel, clock: Clock) -> None:
    decisions = DecisionCache(pdp, cast(KeyValue, channel), PdpSettings(), clock)
    decisions.decide(question())
    assert len(decisions) == 0
    decisions.close()


def in_thread(work: Callable[[], Any]) -> "Future[Any]":
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def test_an_answer_that_was_under_way_when_something_changed_is_not_kept(
    decisions: DecisionCache, pdp: Told, channel: Channel
) -> None:
    pdp.go.clear()
    before = in_thread(lambda: decisions.decide(question()))
    assert pdp.entered.acquire(timeout=5)
    pdp.changed.add("7")
    decisions.change()
    after = in_thread(lambda: decisions.decide(question()))
    assert pdp.entered.acquire(timeout=5), "who asks after the change does not get the answer from before it"
    pdp.go.set()
    assert (before.result(5), after.result(5)) == (ALLOW, DENY)
    assert decisions.decide(question()) == DENY
    assert len(pdp.asked) == 2, "the answer from after the change is the one that is kept"


def test_an_answer_to_several_that_was_under_way_is_not_kept_either(decisions: DecisionCache, pdp: Told) -> None:
    pdp.go.clear()
    before = in_thread(lambda: decisions.decide_all([question(), SECRET], Semantic.EXECUTE_ALL))
    assert pdp.entered.acquire(timeout=5)
    decisions.change(resource=("pages", "1"))
    pdp.go.set()
    assert before.result(5) == [ALLOW, DENY]
    assert len(decisions) == 0


# One call for all who ask the same.


def test_threads_that_ask_the_same_make_one_call(decisions: DecisionCache, pdp: Told) -> None:
    pdp.go.clear()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(decisions.decide, question()) for _ in range(8)]
        other = pool.submit(decisions.decide, SECRET)
        assert pdp.entered.acquire(timeout=5)
        _wait_for(lambda: waiting(decisions) == 7)
        pdp.go.set()
        assert {answer.result(5) for answer in answers} == {ALLOW}
        assert other.result(5) == DENY
    assert sorted(each.resource_id for each in pdp.asked) == ["7", "secret"]


def test_they_share_a_failure_as_well(decisions: DecisionCache, pdp: Told) -> None:
    pdp.go.clear()
    pdp.failing = "connection"
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(decisions.decide, question()) for _ in range(2)]
        _wait_for(lambda: waiting(decisions) == 1)
        pdp.go.set()
        assert [answer.exception(5).__class__ for answer in answers] == [NoDecision, NoDecision]
    assert len(pdp.asked) == 1


def test_who_waits_for_another_waits_no_longer_than_a_decision_may_take(
    pdp: Told, channel: Channel, clock: Clock
) -> None:
    decisions = worker(pdp, channel, clock, timeout=0.05)
    pdp.go.clear()
    first = in_thread(lambda: decisions.decide(question()))
    assert pdp.entered.acquire(timeout=5)
    with pytest.raises(NoDecision, match="timeout"):
        decisions.decide(question())
    pdp.go.set()
    assert first.result(5) == ALLOW


def waiting(decisions: DecisionCache) -> int:
    return sum(len(vars(flight)["_condition"]._waiters) for flight in decisions._single_flight._calls.values())


def _wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to that")


# Several questions.


def test_several_are_asked_in_one_call_and_only_those_that_are_not_remembered(
    decisions: DecisionCache, pdp: Told
) -> None:
    decisions.decide(question("1"))
    several = [question(each) for each in ("0", "1", "secret", "2")]
    assert decisions.decide_all(several, Semantic.EXECUTE_ALL) == [ALLOW, ALLOW, DENY, ALLOW]
    assert pdp.batches == [(3, Semantic.EXECUTE_ALL)]
    assert decisions.decide_all(several, Semantic.EXECUTE_ALL) == [ALLOW, ALLOW, DENY, ALLOW]
    assert (pdp.batches, len(decisions)) == ([(3, Semantic.EXECUTE_ALL)], 4)


def test_a_remembered_denial_ends_the_list_without_a_call_for_what_is_behind(
    decisions: DecisionCache, pdp: Told
) -> None:
    decisions.decide(SECRET)
    assert decisions.decide_all([question("1"), SECRET, question("2")], Semantic.DENY_ON_FIRST_DENY) == [ALLOW, DENY]
    assert pdp.batches == [(1, Semantic.DENY_ON_FIRST_DENY)]


IDS = st.lists(st.sampled_from(["1", "2", "3", "secret"]), max_size=8)


@given(IDS, st.lists(st.sampled_from(["1", "2", "secret"])), st.sampled_from(Semantic))
def test_what_is_remembered_changes_no_answer(asked: list[str], known: list[str], semantic: Semantic) -> None:
    pdp, clock = Told(), Clock()
    decisions = worker(pdp, Channel(), clock)
    for each in known:
        decisions.decide(question(each))
    questions = [question(each) for each in asked]
    assert decisions.decide_all(questions, semantic) == Told().decide_all(questions, semantic)
