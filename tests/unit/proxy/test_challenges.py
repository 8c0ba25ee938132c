"""Which challenge of a service refuses the token, and which one is for the page (RFC 6750, RFC 9449, RFC 9470)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.proxy.challenges import challenges, passed_on, refuses_token

STEP_UP = 'Bearer error="insufficient_user_authentication", acr_values="phr", max_age="5"'


def fields(*values: str) -> list[tuple[str, str]]:
    return [("Www-authenticate", value) for value in values]


@pytest.mark.parametrize(
    ("values", "refused", "shown"),
    [
        ([], True, []),
        ([""], True, []),
        (["Bearer"], True, []),
        (['Bearer realm="x"'], True, []),
        (['Bearer error="invalid_token"'], True, []),
        (["bearer error=invalid_token"], True, []),
        (['DPoP error="invalid_token", algs="ES256"'], True, []),
        (['Basic realm="x"'], True, []),
        (['Basic realm="x", error="insufficient_scope"'], True, []),
        (["Negotiate abc=="], True, []),
        ([STEP_UP], False, [STEP_UP]),
        (["bearer ERROR = insufficient_scope"], False, ['bearer error="insufficient_scope"']),
        ([f"DPoP{STEP_UP[6:]}"], False, [f"DPoP{STEP_UP[6:]}"]),
        ([f'Basic realm="a, Bearer error=x", {STEP_UP}'], False, [STEP_UP]),
        ([f"{STEP_UP}, Basic realm=x"], False, [STEP_UP]),
        (["Basic realm=x", STEP_UP], False, [STEP_UP]),
        ([f"Negotiate abc==, {STEP_UP}"], False, [STEP_UP]),
        (['Bearer error="invalid_token"', STEP_UP], False, [STEP_UP]),
        ([f", ,{STEP_UP},"], False, [STEP_UP]),
        (['Bearer error="insufficient_scope", scope="a b"'], False, ['Bearer error="insufficient_scope", scope="a b"']),
        (['Bearer error="invalid_request"'], False, []),
        (['DPoP error="invalid_dpop_proof"'], False, []),
        (['Bearer error="x\\"insufficient_scope"'], False, []),
    ],
)  # fmt: skip
def test_challenges(values: list[str], refused: bool, shown: list[str]) -> None:
    assert refuses_token(fields(*values)) == refused
    assert passed_on(fields(*values), own_token=False) == shown


def test_a_quoted_value_stays_one() -> None:
    text = r'Bearer error="insufficient_scope", error_description="say \"no\", \\ Basic realm=x"'
    assert passed_on(fields(text), own_token=False) == [text]


@given(st.lists(st.text(max_size=60), max_size=3))
def test_whatever_is_said_is_read(values: list[str]) -> None:
    for challenge in challenges(fields(*values)):
        assert challenges(fields(str(challenge))) == [challenge]


@pytest.mark.parametrize(
    "text", ["a " * 8000, "a=" * 8000, '"' * 16000, "a" * 16000 + " ", 'Bearer a="' + "\\" * 16000]
)
def test_a_long_one_costs_little(text: str) -> None:
    """Linear, or this test would not end."""
    challenges(fields(text))
