"""What an engine makes of text for a number is its own affair: where a mapping has types, no request gets that far."""

from typing import Any

import pytest

from bff.errors import AccessDenied
from bff.pdp.model import NoDecision, PolicyDecisionPoint, ResourceAction, properties
from bff.routes import AuthzMapping
from bff.settings import AuthzMap
from tests.contract.decisions import ADDRESS, question
from tests.contract.test_pdp import pdp, server

__all__ = ["pdp", "server"]

TYPED = AuthzMapping(AuthzMap("orders", "approve", "$.path.id", (("amount", "$.body.amount | number"),)))
MOST = 1_000_000  # which a rule forbids to exceed


def asked(amount: str) -> ResourceAction:
    body = f'{{"amount": {amount}}}'.encode()
    return TYPED.asked({"id": "7"}, "", body, "application/json", "")


def allowed(pdp: PolicyDecisionPoint, about: dict[str, Any]) -> bool:
    """To a manager, who has no other bounds."""
    named = {"tenant": "t1", "owner": "carol", **about}
    return pdp.decide(
        question("bob", ["manager"], "approve", ("orders", "7"), named, context=ADDRESS, tenant="t1")
    ).allowed


@pytest.mark.parametrize("amount", ['"2000000"', "null", "true", "[2000000]", '{"n": 1}', str(2**63), "1e400"])
def test_what_is_no_number_is_denied_by_name_whichever_engine_there_is(pdp: PolicyDecisionPoint, amount: str) -> None:
    with pytest.raises(AccessDenied) as caught:
        asked(amount)
    assert caught.value.code == "property_invalid"


@pytest.mark.parametrize(("amount", "expected"), [(MOST, True), (MOST + 1, False)])
def test_what_is_one_is_decided_alike(pdp: PolicyDecisionPoint, amount: int, expected: bool) -> None:
    assert asked(str(amount)).properties == properties({"amount": amount})
    assert allowed(pdp, {"amount": amount}) is expected


def test_without_a_type_an_engine_may_let_text_pass(pdp: PolicyDecisionPoint, request: pytest.FixtureRequest) -> None:
    """Cedar leaves it undecided, and Cerbos skips the rule: why a mapping for an engine elsewhere needs types."""
    try:
        passes = allowed(pdp, {"amount": str(2 * MOST)})
    except NoDecision:
        passes = False
    assert passes is (request.node.callspec.params["pdp"] == "cerbos")
