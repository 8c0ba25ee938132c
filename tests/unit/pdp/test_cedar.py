"""What becomes of a question in Cedar, what Cedar cannot say, and what is wrong with policies."""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.pdp.cedar import LONGEST_REASON, NOT_PERMITTED, Cedar, problems
from bff.pdp.model import Decision, Evaluation, NoDecision, properties
from tests.flows.policy import policies, read
from tests.fuzz import examples

EVERYTHING = "permit(principal, action, resource);"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "policies"


def cedar(folder: Path, *texts: str, roles_property: str = "roles") -> Cedar:
    return Cedar(read(policies(folder, **{f"p{number}": text for number, text in enumerate(texts)})), roles_property)


def question(
    subject: dict[str, Any] | None = None,
    resource: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    **parts: str,
) -> Evaluation:
    asked = Evaluation(
        "user",
        "alice",
        properties(subject or {}),
        "read",
        "orders",
        "7",
        properties(resource or {}),
        properties(context or {}),
    )
    return asked._replace(**parts)


def undecided(pdp: Cedar, asked: Evaluation) -> str:
    with pytest.raises(NoDecision) as caught:
        pdp.decide(asked)
    return caught.value.reason


SEEN = [
    ('principal == user::"alice"', question()),
    ('principal is user && principal.id == "alice"', question()),
    ('principal in role::"clerk"', question({"roles": ["x", "clerk"]})),
    ('principal.roles.contains("clerk") && principal.tenant == "t"', question({"roles": ["clerk"], "tenant": "t"})),
    ('action == Action::"read"', question()),
    ('resource == orders::"7"', question()),
    ('resource is orders && resource.id == "7" && resource.amount > 5', question(resource={"amount": 6})),
    ('context.client_address == "203.0.113.7"', question(context={"client_address": "203.0.113.7"})),
    (
        'ip(context.client_address).isInRange(ip("203.0.113.0/24"))',
        question(context={"client_address": "203.0.113.7"}),
    ),
    ("resource.deep.list.contains({a: true})", question(resource={"deep": {"list": [{"a": True}]}})),
    ('resource == shop::orders::"7"', question(resource_type="shop::orders")),
    ('resource.id == "7"', question(resource={"id": "8"})),
    ('principal.id == "alice" && resource.id == "alice"', question(resource_type="user", resource_id="alice")),
]


@pytest.mark.parametrize(("condition", "asked"), SEEN)
def test_what_a_policy_sees(folder: Path, condition: str, asked: Evaluation) -> None:
    assert cedar(folder, f"permit(principal, action, resource) when {{ {condition} }};").decide(asked) == Decision(True)


def test_where_roles_are_kept(folder: Path) -> None:
    pdp = cedar(folder, 'permit(principal in role::"clerk", action, resource);', roles_property="cerbos.roles")
    assert pdp.decide(question({"cerbos.roles": ["clerk"]})).allowed
    assert not pdp.decide(question({"roles": ["clerk"]})).allowed


def test_the_correlation_id_is_not_for_policies(folder: Path) -> None:
    pdp = cedar(folder, "permit(principal, action, resource) when { context has correlation_id };")
    assert not pdp.decide(question(), "correlation-1").allowed


UNSAYABLE: dict[str, Evaluation] = {
    "null": question(resource={"a": None}),
    "null within": question(resource={"a": [{"b": None}]}),
    "a fraction": question(resource={"a": 1.5}),
    "a whole number as a fraction": question(resource={"a": 1.0}),
    "too much": question(resource={"a": 2**63}),
    "too little": question(resource={"a": -(2**63) - 1}),
    "too deep": question(resource={"a": json.loads("[" * 40 + "]" * 40)}),
    "half a character": question(resource={"a": "\ud800"}),
    "half a character as a key": question(resource={"\ud800": 1}),
    "half a character as an id": question(resource_id="\ud800"),
    "half a character as a subject": question(subject_id="\ud800"),
    "half a character as an action": question(action="\ud800"),
    "half a character as a role": question({"roles": ["\ud800"]}),
    "roles that are no list": question({"roles": "admin"}),
    "a role that is no text": question({"roles": [7]}),
    "an entity": question(resource={"owner": {"__entity": {"type": "user", "id": "alice"}}}),
    "an entity of attributes": question(resource={"__entity": {"type": "user", "id": "alice"}}),
    "an entity in the context": question(context={"who": {"__entity": {"type": "user", "id": "alice"}}}),
    "an extension": question(resource={"a": [{"__extn": {"fn": "ip", "arg": "127.0.0.1"}}]}),
    "an expression": question(resource={"a": {"__expr": "principal"}}),
    "an entity of the subject": question({"boss": {"__entity": {"type": "user", "id": "alice"}}}),
    "a context that is null": question(context={"a": None}),
    "properties of an action": question(action_properties=properties({"soft": True})),
    "properties of oneself": question(resource={"admin": True}, resource_type="user", resource_id="alice"),
}


@pytest.mark.parametrize("asked", UNSAYABLE.values(), ids=UNSAYABLE)
def test_what_cedar_cannot_say_is_not_decided(folder: Path, asked: Evaluation) -> None:
    assert undecided(cedar(folder, EVERYTHING), asked) == "properties"


@pytest.mark.parametrize("edge", [2**63 - 1, -(2**63), 0, True, "", [], {}, "\x00", "__entity"])
def test_what_cedar_can_just_say(folder: Path, edge: object) -> None:
    assert cedar(folder, EVERYTHING).decide(question(resource={"a": edge})).allowed


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "api-x", "orders\n", "Ünï", "7up", "a::", "::a", "a:b", 'a::"b"', "orders//", "if", "in"]
)
def test_a_type_that_cedar_has_no_name_for(folder: Path, name: str) -> None:
    pdp = cedar(folder, EVERYTHING)
    for part in ("subject_type", "resource_type"):
        assert undecided(pdp, question()._replace(**{part: name})) in ("type", "properties")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("__entity"), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.text(st.characters(codec=None, categories=None), max_size=20)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Cedar:
    """A policy that knows one person and one thing. One for all questions: a free name for a folder takes pytest
    milliseconds to find among thousands of others, and a decision takes a tenth of one."""
    folder = tmp_path_factory.mktemp("policies")
    return cedar(folder, 'permit(principal == user::"alice", action, resource == orders::"7");')


@given(
    kind=TEXT | st.just("user"),
    name=TEXT,
    said=st.dictionaries(st.text() | st.just("roles"), JSON, max_size=4),
    about=st.dictionaries(st.text(), JSON, max_size=4),
)
@examples(100)
def test_hostile_questions_are_decided_or_not_but_nothing_else(
    narrow: Cedar, kind: str, name: str, said: dict[str, Any], about: dict[str, Any]
) -> None:
    """None of them is about that person and that thing, so none is allowed."""
    for asked in (
        question(said, about, about, subject_type=kind, subject_id=f"{name}."),
        question(said, about, about, resource_type=kind, resource_id=f"{name}."),
        question(said, about, about, action=name, resource_id="8"),
    ):
        with suppress(NoDecision):
            assert not narrow.decide(asked).allowed


# Why not.


def test_what_the_person_is_told(folder: Path) -> None:
    pdp = cedar(
        folder,
        'permit(principal, action == Action::"read", resource);',
        '@id("f") @reason("  Only\\n until \\u{1F642} noon.") forbid(principal, action, resource is late);',
        'forbid(principal, action, resource is silent);',
        f'@reason("{"x" * 2000}") forbid(principal, action, resource is long);',
    )  # fmt: skip
    assert pdp.decide(question()) == Decision(True)
    assert pdp.decide(question(action="write")) == Decision(False, NOT_PERMITTED)
    assert pdp.decide(question(resource_type="late")) == Decision(False, "Only until 🙂 noon.")
    assert pdp.decide(question(resource_type="silent")) == Decision(False, "")
    assert len(pdp.decide(question(resource_type="long")).reason) == LONGEST_REASON


def test_without_policies_nothing_is_permitted(folder: Path) -> None:
    assert cedar(folder).decide(question()) == Decision(False, NOT_PERMITTED)
    assert Cedar(read(folder / "absent"), "roles").decide(question()) == Decision(False, NOT_PERMITTED)


FORBID = "forbid(principal, action, resource) when { resource.amount > 10 };"


def test_a_forbid_that_fails_leaves_a_permission_in_doubt(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pdp = cedar(folder, EVERYTHING, FORBID)
    assert pdp.decide(question(resource={"amount": 7})).allowed
    assert not pdp.decide(question(resource={"amount": 11})).allowed
    with caplog.at_level(logging.WARNING):
        assert undecided(pdp, question(resource={"total": 11})) == "policy"
        assert undecided(pdp, question(resource={"amount": "much"}, resource_id="private")) == "policy"
    assert [record.message for record in caplog.records] == ["cedar_policy_failed"] * 2
    assert {vars(record)["policy"] for record in caplog.records} == {"policy1"}
    assert "private" not in caplog.text


def test_a_permit_that_fails_permits_nothing_and_is_in_nobodys_way(folder: Path) -> None:
    pdp = cedar(
        folder,
        "permit(principal, action, resource) when { resource.amount > 10 };",
        'permit(principal == user::"alice", action, resource);',
    )
    assert pdp.decide(question()).allowed
    assert pdp.decide(question(subject_id="bob")) == Decision(False, NOT_PERMITTED)


def test_a_denial_needs_no_more_certainty(folder: Path) -> None:
    assert not cedar(folder, FORBID).decide(question()).allowed


def test_what_cedar_says_of_a_question_is_not_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        undecided(cedar(folder, EVERYTHING), question(subject_type="if", subject_id="private"))
    assert [record.message for record in caplog.records] == ["cedar_no_decision"]
    assert "private" not in caplog.text


# Mistakes in policies.


def test_policies_that_are_right(folder: Path) -> None:
    policies(folder, a=f'@id("a") {EVERYTHING}', b=f'// nothing\n@id("b") {EVERYTHING}')
    (folder / "README.md").write_text("not a policy")
    assert problems(read(folder), needed=True) == []


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"a": "permit("}, ["a.cedar: is not Cedar: "]),
        ({"a": "permit(", "b": "forbid", "c": EVERYTHING}, ["a.cedar: is not Cedar: ", "b.cedar: is not Cedar: "]),
        (
            {"a": f'@id("x") {EVERYTHING}', "b": f'@id("x") {EVERYTHING}'},
            ['b.cedar: @id("x") names another policy already, in a.cedar.'],
        ),
        (
            {"a": f'@id("x") {EVERYTHING} @id("x") {EVERYTHING}'},
            ['a.cedar: @id("x") names another policy already, in a.cedar.'],
        ),
        ({"a": "permit(principal == ?principal, action, resource);", "b": EVERYTHING}, ["a.cedar: holds a template"]),
        ({}, [": holds no policy in *.cedar"]),
        ({"a": "// nothing yet"}, [": holds no policy in *.cedar"]),
    ],
)
def test_every_mistake_has_a_sentence(folder: Path, texts: dict[str, str], expected: list[str]) -> None:
    found = problems(read(policies(folder, **texts)), needed=True)
    assert len(found) == len(expected)
    for sentence, part in zip(found, expected, strict=True):
        assert part in sentence
        assert sentence.startswith(str(folder))
        assert sentence.endswith(".")


def test_no_policy_is_no_mistake_where_nothing_asks(folder: Path) -> None:
    assert problems(read(policies(folder)), needed=False) == []
    assert problems(read(folder / "absent"), needed=False) == []
    assert len(problems(read(folder / "absent"), needed=True)) == 1


def test_a_policy_that_cannot_be_read(folder: Path) -> None:
    policies(folder)
    (folder / "a.cedar").write_bytes(b"\xff")
    assert problems(read(folder), needed=True) == [f"{folder}: cannot be read (UnicodeDecodeError)."]
