"""The subject that a caller is, by session or by token."""

import json

import pytest

from bff.bearer.access_token import BearerClaims
from bff.pdp.model import Subject
from bff.pdp.subjects import Subjects
from bff.sessions.model import User
from bff.settings import PdpSettings, ProviderSettings

PROVIDERS = (
    ProviderSettings("main", "https://a.example", "bff"),
    ProviderSettings("partner", "https://b.example", "bff", user_id="arn"),
)
ALICE = User("alice", "alice", "Alice", "a@example.com", ("clerk",), ("orders.read",))


def token(idp: str = "main", client_id: str = "spa", sub: str = "alice") -> BearerClaims:
    return BearerClaims(
        sub, "https://a.example", idp, f"auth:account:{idp}:{sub}", client_id, (), (), ("clerk",), ("orders.read",),
        None, None,
    )  # fmt: skip


def subjects(**settings: str) -> Subjects:
    return Subjects(PdpSettings(**settings), PROVIDERS)  # type: ignore[arg-type]


def test_what_is_known_of_a_session_s_user() -> None:
    subject = subjects().of_user(ALICE, "main")
    assert (subject.type, subject.id) == ("user", "alice")
    assert json.loads(subject.properties) == {"roles": ["clerk"], "permissions": ["orders.read"], "idp": "main"}
    assert subjects(subject_type="person", roles_property="cerbos.roles").of_user(ALICE, "main") == Subject(
        "person", "alice", '{"cerbos.roles":["clerk"],"idp":"main","permissions":["orders.read"]}'
    )


def test_roles_are_always_a_list_that_a_policy_may_ask() -> None:
    assert json.loads(subjects().of_user(User("a", "a"), "main").properties) == {
        "roles": [],
        "permissions": [],
        "idp": "main",
    }


def test_a_user_is_the_same_subject_by_session_and_by_token() -> None:
    known = subjects()
    assert known.of_token(token()) == known.of_user(ALICE, "main")
    partner = User("auth:account:partner:alice", "alice", roles=("clerk",), permissions=("orders.read",))
    assert known.of_token(token("partner")) == known.of_user(partner, "partner")


@pytest.mark.parametrize("sub", ["auth:account:partner:alice", "auth%3Aaccount%3Apartner%3Aalice", "alice:7"])
def test_nobody_is_the_subject_of_another_provider_s_user(sub: str) -> None:
    known = subjects()
    partner = known.of_token(token("partner"))
    assert partner.id == "auth:account:partner:alice"
    assert known.of_token(token(sub=sub)).id != partner.id
    assert known.of_token(token("partner", sub=sub)).id.startswith("auth:account:partner:a")
    assert known.of_token(token("partner", sub=sub)).id.count(":") == 3


def test_a_client_that_speaks_for_itself_is_no_user_of_that_name() -> None:
    own = subjects().of_token(token(client_id="alice"))
    assert (own.type, own.id) == ("client", "alice")
    assert subjects().of_token(token(client_id="")).type == "user"


def test_subjects_are_written_once() -> None:
    known = subjects()
    assert known.of_user(ALICE, "main") is known.of_user(ALICE, "main")
    assert known.of_user(User("alice", "alice"), "main") is not known.of_user(ALICE, "main")
