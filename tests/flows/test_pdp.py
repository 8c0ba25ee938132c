"""The BFF as a policy decision point: for its own browser application, for services, and told of changes."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from bff.pdp.cedar import NOT_PERMITTED
from bff.pdp.enforcement import WHY
from bff.pdp.model import Cause
from bff.settings import OnError
from bff.web.pdp import LONGEST, MOST
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, Site, SiteFactory, proof
from tests.flows.issued import access_token
from tests.flows.policy import asked, policies, services_own_token, with_pdp
from tests.flows.token_use import refusal
from tests.fuzz import examples

ONE, SEVERAL, INVALIDATE = "/access/v1/evaluation", "/access/v1/evaluations", "/access/v1/invalidate"
CHANGE_TOKEN = "c" * 40
RULES = """
permit(principal in role::"user", action == Action::"read", resource is orders);
permit(principal, action == Action::"write", resource is orders) when { resource.owner == principal.id };
permit(principal, action == Action::"look", resource) when { context.client_address == "203.0.113.7" };
permit(principal, action == Action::"dive", resource) when { context has depth && context.depth > 3 };
@reason("Orders are never deleted.") forbid(principal, action == Action::"delete", resource is orders);
"""
READ: dict[str, Any] = {"action": {"name": "read"}, "resource": {"type": "orders", "id": "7"}}
DELETE = {**READ, "action": {"name": "delete"}}
WRITE = {**READ, "action": {"name": "write"}}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return policies(tmp_path / "policies", all=RULES)


@pytest.fixture
def site(new_site: SiteFactory, rules: Path) -> Site:
    return new_site(change=with_pdp(policies=rules, invalidation_token=CHANGE_TOKEN))


@pytest.fixture
def alice(site: Site) -> Browser:
    return site.logged_in()


def ask(browser: Browser, body: Any, path: str = ONE, **headers: str) -> TestResponse:
    return browser.fetch(path, method="POST", json=body, headers={**proof(browser), **headers})


def decided(answer: TestResponse) -> bool:
    assert answer.status_code == 200, answer.text
    decision: bool = answer.get_json()["decision"]
    return decision


# A browser application.


def test_what_its_user_may_do(alice: Browser, counters: Counters) -> None:
    assert ask(alice, READ).get_json() == {"decision": True}
    assert ask(alice, DELETE).get_json() == {
        "decision": False,
        "context": {"reason_user": {"en": "Orders are never deleted."}},
    }
    unknown = {"action": {"name": "read"}, "resource": {"type": "unknown", "id": "7"}}
    assert ask(alice, unknown).get_json()["context"] == {"reason_user": {"en": NOT_PERMITTED}}
    assert counters.gained("bff_authz_requests_total") == {"other other allow": 1, "other other deny": 2}
    assert counters.gained("bff_authz_cache_total") == {"miss": 3}


def test_properties_of_the_resource_count_and_those_of_the_subject_do_not(alice: Browser) -> None:
    mine = {**WRITE, "resource": {"type": "orders", "id": "7", "properties": {"owner": "alice"}}}
    yours = {**WRITE, "resource": {"type": "orders", "id": "7", "properties": {"owner": "bob"}}}
    assert (decided(ask(alice, mine)), decided(ask(alice, yours))) == (True, False)
    pretended = {**yours, "subject": {"type": "user", "id": "alice", "properties": {"id": "bob", "roles": ["admin"]}}}
    assert decided(ask(alice, pretended)) is False


def test_the_subject_is_the_session_s(alice: Browser) -> None:
    for subject in ({"type": "user", "id": "alice"}, {"id": "alice"}, {"type": "user"}, {}):
        assert decided(ask(alice, {**READ, "subject": subject}))
    for subject in ({"type": "user", "id": "bob"}, {"id": "bob"}, {"type": "client", "id": "alice"}):
        for body, path in (
            ({**READ, "subject": subject}, ONE),
            ({"evaluations": [{**READ, "subject": subject}]}, SEVERAL),
        ):
            assert refusal(ask(alice, body, path)) == (403, "other_subject")


def test_the_context_may_say_more_but_not_where_the_client_is(site: Site, alice: Browser) -> None:
    look = {**READ, "action": {"name": "look"}}
    assert decided(ask(alice, look))
    elsewhere = site.twin(alice, "203.0.113.8")
    assert not decided(ask(elsewhere, look))
    assert not decided(ask(elsewhere, {**look, "context": {"client_address": "203.0.113.7"}}))
    dive = {**READ, "action": {"name": "dive"}}
    assert decided(ask(alice, {**dive, "context": {"depth": 4}}))
    assert not decided(ask(alice, dive))


@pytest.mark.parametrize("path", [ONE, SEVERAL])
def test_a_session_needs_a_csrf_proof(site: Site, alice: Browser, path: str) -> None:
    assert refusal(alice.fetch(path, method="POST", json=READ)) == (403, "missing_cookie")
    assert refusal(site.browser().fetch(path, method="POST", json=READ)) == (401, "unauthenticated")
    basic = {"Authorization": "Basic YTpi"}
    assert refusal(site.browser().fetch(path, method="POST", json=READ, headers=basic)) == (401, "unauthenticated")


def test_the_caller_s_own_name_for_the_request_comes_back(alice: Browser) -> None:
    assert ask(alice, READ, **{"X-Request-ID": "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"}).headers["X-Request-ID"] == (
        "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"
    )
    for name in ("x" * 129, "\x7f", "ä"):
        assert "X-Request-ID" not in ask(alice, READ, **{"X-Request-ID": name}).headers
    assert "X-Request-ID" not in ask(alice, READ).headers


# Several questions.

SEMANTICS = [
    ("execute_all", [True, False, True]),
    (None, [True, False, True]),
    ("deny_on_first_deny", [True, False]),
    ("permit_on_first_permit", [True]),
]


@pytest.mark.parametrize(("semantic", "expected"), SEMANTICS)
def test_several_questions(alice: Browser, semantic: str | None, expected: list[bool]) -> None:
    body: dict[str, Any] = {"evaluations": [READ, DELETE, READ]}
    if semantic:
        body["options"] = {"evaluations_semantic": semantic}
    answers = ask(alice, body, SEVERAL).get_json()["evaluations"]
    assert [each["decision"] for each in answers] == expected


def test_what_stands_beside_them_is_the_default_for_each(alice: Browser) -> None:
    body = {
        "action": {"name": "read"},
        "resource": {"type": "orders", "id": "1"},
        "context": {"depth": 4},
        "evaluations": [
            {},
            {"action": {"name": "delete"}},
            {"resource": {"type": "unknown", "id": "1"}},
            {"action": {"name": "dive"}},
            {"action": {"name": "dive"}, "context": {}},
        ],
    }
    answers = ask(alice, body, SEVERAL).get_json()["evaluations"]
    assert [each["decision"] for each in answers] == [True, False, False, True, False]


@pytest.mark.parametrize("body", [READ, {**READ, "evaluations": []}])
def test_without_several_it_is_the_only_question(alice: Browser, body: dict[str, Any]) -> None:
    assert ask(alice, body, SEVERAL).get_json() == {"decision": True}


def test_as_many_as_there_may_be(alice: Browser) -> None:
    assert len(ask(alice, {"evaluations": [READ] * MOST}, SEVERAL).get_json()["evaluations"]) == MOST
    assert refusal(ask(alice, {"evaluations": [READ] * (MOST + 1)}, SEVERAL)) == (400, "bad_request")


BAD: list[Any] = [
    None, [], "x", 7, [READ], {}, {"action": {"name": "read"}}, {"resource": {"type": "orders", "id": "7"}},
    {**READ, "action": "read"}, {**READ, "action": {}}, {**READ, "action": {"name": ""}},
    {**READ, "action": {"name": 7}}, {**READ, "action": {"name": "x" * 1025}},
    {**READ, "resource": {"type": "orders"}}, {**READ, "resource": {"id": "7"}},
    {**READ, "resource": {"type": "orders", "id": 7}}, {**READ, "resource": {"type": "orders", "id": ""}},
    {**READ, "resource": {"type": "orders", "id": "7", "properties": []}}, {**READ, "context": "x"},
    {**READ, "context": {"x": float("nan")}}, {**READ, "subject": "alice"}, {**READ, "subject": {"id": ["alice"]}},
]  # fmt: skip
BAD_LISTS: list[Any] = [
    {"evaluations": {}}, {"evaluations": [7]}, {"evaluations": [{}]}, {"evaluations": [READ, {}]},
    {"evaluations": [READ], "options": {"evaluations_semantic": "any"}}, {"evaluations": [READ], "options": []},
]  # fmt: skip


@pytest.mark.parametrize("path", [ONE, SEVERAL])
@pytest.mark.parametrize("body", BAD)
def test_what_is_no_question(alice: Browser, counters: Counters, path: str, body: Any) -> None:
    assert refusal(ask(alice, body, path)) == (400, "bad_request")
    assert counters.gained("bff_authz_requests_total") == {}


@pytest.mark.parametrize("body", BAD_LISTS)
def test_what_is_no_list_of_questions(alice: Browser, body: Any) -> None:
    assert refusal(ask(alice, body, SEVERAL)) == (400, "bad_request")


def test_an_answer_names_what_is_wrong_but_repeats_nothing(alice: Browser) -> None:
    answer = ask(alice, {**READ, "action": {"name": 7}, "private": 1, "resource": {"type": "private"}})
    assert "action, resource" in answer.get_json(force=True)["detail"]
    assert "private" not in answer.text


def test_a_body_has_an_end(site: Site) -> None:
    token = services_own_token(site)
    fill = {"x": "y" * LONGEST}
    assert refusal(asked(site, ONE, {**READ, "context": fill}, token)) == (413, "too_large")


@given(st.text(st.characters(codec=None, categories=None), min_size=1, max_size=50))
@settings(examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_odd_names_are_decided_or_not_and_nothing_breaks(site: Site, odd: str) -> None:
    body = {
        "subject": {"type": odd, "id": odd, "properties": {odd: odd}},
        "action": {"name": odd},
        "resource": {"type": odd, "id": odd},
        "context": {odd: [odd]},
    }
    answer = asked(site, ONE, body, services_own_token(site))
    assert (answer.status_code, answer.get_json()["decision"]) == (200, False)


# Services.


def test_a_user_s_token_asks_for_that_user(site: Site) -> None:
    token = access_token(site.idp, sub="alice", client_id="spa", roles=["user"])
    assert decided(asked(site, ONE, READ, token))
    assert decided(asked(site, ONE, {**READ, "subject": {"type": "user", "id": "alice"}}, token))
    assert refusal(asked(site, ONE, {**READ, "subject": {"type": "user", "id": "bob"}}, token)) == (
        403,
        "other_subject",
    )
    assert not decided(asked(site, ONE, READ, access_token(site.idp, client_id="spa", roles=[])))


def test_a_client_that_speaks_for_itself_asks_about_anybody_it_names(site: Site) -> None:
    token = services_own_token(site)
    for roles, allowed in ((["user"], True), ([], False)):
        bob = {"type": "user", "id": "bob", "properties": {"roles": roles}}
        assert decided(asked(site, ONE, {**READ, "subject": bob}, token)) is allowed
    for subject in ({}, {"type": "user"}, {"id": "bob"}):
        assert refusal(asked(site, ONE, {**READ, "subject": subject}, token)) == (400, "bad_request")
    assert refusal(asked(site, ONE, READ, token)) == (400, "bad_request")
    two = [{**READ, "subject": {"type": "user", "id": who, "properties": {"roles": r}}} for who, r in
           (("bob", ["user"]), ("carol", []))]  # fmt: skip
    answers = asked(site, SEVERAL, {"evaluations": two}, token).get_json()["evaluations"]
    assert [each["decision"] for each in answers] == [True, False]


def test_a_token_that_is_not_accepted(site: Site, alice: Browser) -> None:
    assert refusal(asked(site, ONE, READ, "e30.e30.e30")) == (401, "invalid_token")
    headers = {"Authorization": "Bearer e30.e30.e30"}
    assert refusal(alice.fetch(ONE, method="POST", json=READ, headers=headers)) == (401, "invalid_token")


def test_where_to_ask(site: Site) -> None:
    assert site.browser().fetch("/.well-known/authzen-configuration").get_json() == {
        "policy_decision_point": BFF,
        "access_evaluation_endpoint": BFF + ONE,
        "access_evaluations_endpoint": BFF + SEVERAL,
    }


# When nobody can decide.


def test_undecided_is_denied_and_says_so_whatever_on_error(new_site: SiteFactory, rules: Path) -> None:
    site = new_site(change=with_pdp(policies=rules, on_error=OnError.ALLOW))
    alice = site.logged_in()
    unsayable = {**READ, "context": {"x": None}}
    error = {"status": 422, "message": WHY[Cause.QUESTION], "code": "property_invalid"}
    undecided = {"decision": False, "context": {"error": error}}
    assert ask(alice, unsayable).get_json() == undecided
    assert ask(alice, {"evaluations": [READ, unsayable]}, SEVERAL).get_json() == {"evaluations": [undecided] * 2}


# Changes.


def changed(site: Site, body: Any = None, token: str | None = CHANGE_TOKEN) -> TestResponse:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return site.browser().fetch(INVALIDATE, method="POST", json=body, headers=headers)


@pytest.fixture
def started(new_site: SiteFactory, rules: Path) -> Site:
    site = new_site(start=True, change=with_pdp(policies=rules, invalidation_token=CHANGE_TOKEN))
    assert eventually(lambda: site.services.decisions.truthful)
    return site


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (None, 0),
        ({}, 0),
        ({"subject": {"type": "user", "id": "alice"}}, 0),
        ({"subject": {"type": "user", "id": "bob"}}, 2),
        ({"resource": {"type": "orders", "id": "7"}}, 1),
        ({"subject": {"type": "user", "id": "alice"}, "resource": {"type": "orders", "id": "9"}}, 2),
    ],
)
def test_the_pdp_says_what_changed(started: Site, body: Any, left: int) -> None:
    alice = started.logged_in()
    for number in ("7", "8"):
        ask(alice, {**READ, "resource": {"type": "orders", "id": number}})
    assert len(started.services.decisions) == 2
    generation = started.services.decisions._generation
    answer = changed(started, body)
    assert (answer.status_code, answer.data) == (204, b"")
    assert eventually(lambda: started.services.decisions._generation > generation)
    assert len(started.services.decisions) == left


def test_decisions_are_remembered_between_requests(started: Site, counters: Counters, clock: Clock) -> None:
    alice = started.logged_in()
    for _ in range(3):
        assert decided(ask(alice, READ))
    assert counters.gained("bff_authz_cache_total") == {"miss": 1, "hit": 2}
    clock.now += 61
    assert decided(ask(alice, READ))
    assert counters.gained("bff_authz_cache_total") == {"miss": 2, "hit": 2}


@pytest.mark.parametrize(
    "body", [[], 7, {"subject": {}}, {"subject": {"type": "user"}}, {"subjects": {}}, {"all": True}]
)
def test_a_change_that_cannot_be_understood(site: Site, body: Any) -> None:
    assert refusal(changed(site, body)) == (400, "bad_request")


def test_who_may_say_so(site: Site, new_site: SiteFactory, rules: Path) -> None:
    assert refusal(changed(site, token=None)) == (401, "token_required")
    assert refusal(changed(site, token="d" * 40)) == (401, "invalid_token")
    assert refusal(changed(site, token=CHANGE_TOKEN[:-1])) == (401, "invalid_token")
    assert refusal(changed(new_site(change=with_pdp(policies=rules)))) == (404, "not_found")
