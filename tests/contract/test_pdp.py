"""One suite for every policy decision point: Cedar in process, Cerbos over AuthZEN, and the BFF itself over AuthZEN."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bff.http import HttpClient
from bff.pdp.authzen import Authzen
from bff.pdp.cedar import Cedar
from bff.pdp.model import Evaluation, NoDecision, PolicyDecisionPoint, Semantic
from tests.clock import Clock
from tests.contract.decisions import CASES, Case, question
from tests.flows.policy import authzen_client, read
from tests.peers import cerbos
from tests.peers.cerbos import ROLES, Cerbos

POLICIES = Path(__file__).parent / "policies"
TIMEOUT = 10.0  # a busy machine must not look like an outage
YES, NO = question("bob", [], "read", ("pages", "1")), question("bob", [], "write", ("pages", "1"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cerbos]:
    prepared = cerbos.prepared(tmp_path_factory.mktemp("cerbos"))
    with prepared.running():
        yield prepared


@pytest.fixture(scope="module", params=["cedar", "cerbos", "bff"])
def pdp(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyDecisionPoint]:
    if request.param == "cedar":
        yield Cedar(read(POLICIES), ROLES)
    elif request.param == "cerbos":
        base_url = request.getfixturevalue("server").base_url
        http = HttpClient("pdp", timeout=TIMEOUT, whole=True)
        yield Authzen(base_url, TIMEOUT, http)
        http.close()
    else:
        with authzen_client(tmp_path_factory.mktemp("bff"), Clock(), POLICIES, ROLES) as client:
            yield client


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60
    assert len({case.question for case in CASES}) == len(CASES)
    assert len({case.about for case in CASES}) == len(CASES)
    for allowed in (True, False):
        assert sum(case.allowed is allowed for case in CASES) >= 25


@pytest.mark.parametrize("case", CASES, ids=[case.about for case in CASES])
def test_decisions(pdp: PolicyDecisionPoint, case: Case) -> None:
    assert pdp.decide(case.question, "contract-0001").allowed is case.allowed


BATCHES = [
    ((YES, NO, YES), Semantic.EXECUTE_ALL, [True, False, True]),
    ((YES, NO, YES), Semantic.DENY_ON_FIRST_DENY, [True, False]),
    ((NO, YES, NO), Semantic.DENY_ON_FIRST_DENY, [False]),
    ((YES, YES), Semantic.DENY_ON_FIRST_DENY, [True, True]),
    ((YES, NO, YES), Semantic.PERMIT_ON_FIRST_PERMIT, [True]),
    ((NO, YES, NO), Semantic.PERMIT_ON_FIRST_PERMIT, [False, True]),
    ((NO, NO), Semantic.PERMIT_ON_FIRST_PERMIT, [False, False]),
    ((YES,), Semantic.EXECUTE_ALL, [True]),
]


@pytest.mark.parametrize(("questions", "semantic", "expected"), BATCHES)
def test_several_at_once(
    pdp: PolicyDecisionPoint, questions: Sequence[Evaluation], semantic: Semantic, expected: list[bool]
) -> None:
    assert [each.allowed for each in pdp.decide_all(questions, semantic)] == expected


def test_all_of_them_at_once_are_decided_as_each_alone(pdp: PolicyDecisionPoint) -> None:
    for start in range(0, len(CASES), 25):
        some = CASES[start : start + 25]
        answers = pdp.decide_all([case.question for case in some], Semantic.EXECUTE_ALL, "contract-0002")
        assert [each.allowed for each in answers] == [case.allowed for case in some]


def test_subjects_of_one_list_are_told_apart(pdp: PolicyDecisionPoint) -> None:
    """What they share is said once on the wire; what they do not share must not be."""
    about = {"owner": "alice"}
    asked = [question(who, [], "cancel", ("orders", "7"), about) for who in ("alice", "bob", "alice")]
    assert [each.allowed for each in pdp.decide_all(asked, Semantic.EXECUTE_ALL)] == [True, False, True]


def test_it_says_that_it_would_answer(pdp: PolicyDecisionPoint) -> None:
    pdp.check()


def test_nobody_there(tmp_path: Path) -> None:
    http = HttpClient("pdp", timeout=1, whole=True)
    absent = Authzen(cerbos.prepared(tmp_path).base_url, 1, http)
    for asked in (lambda: absent.decide(YES), lambda: absent.decide_all([YES], Semantic.EXECUTE_ALL), absent.check):
        with pytest.raises(NoDecision) as caught:
            asked()
        assert caught.value.reason in ("connection", "circuit_open")
    http.close()
