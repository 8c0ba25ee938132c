"""What must be decided the same wherever the policy runs: the rules of tests/contract/policies, as a table."""

from typing import Any, NamedTuple

from bff.pdp.model import NOTHING, Evaluation, properties
from tests.peers.cerbos import ROLES

ADDRESS = properties({"client_address": "203.0.113.7"})
ODD = ("o'hara", 'say "hi"', "two\nlines", "älice 7%", "a/b?c#d", "\\back\\", 'user::"bob"', "*", " ", "🙂", "x" * 900)


class Case(NamedTuple):
    about: str
    question: Evaluation
    allowed: bool


def question(
    subject: str,
    roles: list[str] | None,
    action: str,
    resource: tuple[str, str],
    about: dict[str, Any] | None = None,
    *,
    kind: str = "user",
    context: str = ADDRESS,
    **said: Any,
) -> Evaluation:
    """roles: None for a subject without that property. about: the resource's properties. said: the subject's others."""
    known = {**said, **({} if roles is None else {ROLES: roles})}
    return Evaluation(
        kind, subject, properties(known), action, resource[0], resource[1], properties(about or {}), context
    )


ORDER, MINE, PAGE = ("orders", "7"), {"tenant": "t1", "owner": "alice"}, ("pages", "home")


def order(roles: list[str] | None, action: str, allowed: bool, about: str, /, who: str = "bob", **order: Any) -> Case:
    """Somebody of tenant t1 about an order of t1 that is somebody else's, unless the order says otherwise."""
    of = {"tenant": "t1", "owner": "carol", "amount": 100, **order}
    of = {name: value for name, value in of.items() if value is not ...}
    return Case(about, question(who, roles, action, ORDER, of, tenant="t1", permissions=[]), allowed)


ROLE_CASES = [
    order(["clerk"], "read", True, "a clerk reads"),
    order(["auditor"], "read", True, "an auditor reads"),
    order(["manager"], "read", True, "a manager reads"),
    order(["guest"], "read", False, "a guest does not"),
    order(["Clerk"], "read", False, "roles are told apart by case"),
    order(["clerk "], "read", False, "and by blanks"),
    order(["guest", "x", "auditor"], "read", True, "one role of several is enough"),
    order([], "read", False, "nobody's role"),
    order(None, "read", False, "no roles at all"),
    order(["admin"], "read", True, "an administrator reads"),
    order(["admin"], "delete", True, "and deletes"),
    order(["admin"], "anything-at-all", True, "and does what no rule names"),
    order(["manager"], "delete", False, "a manager does not delete"),
    order(["auditor"], "approve", False, "an auditor does not approve"),
    order(["clerk"], "READ", False, "actions are told apart by case"),
    order(["clerk"], "no-such-action", False, "an unknown action"),
]
TENANT_CASES = [
    order(["clerk"], "read", False, "another tenant's", tenant="t2"),
    order(["manager"], "approve", False, "another tenant's to approve", tenant="t2"),
    order(["clerk"], "read", False, "an order without a tenant", tenant=...),
    order(["clerk"], "read", False, "a tenant of another type", tenant=["t1"]),
    order(["clerk"], "read", False, "an empty tenant", tenant=""),
    order(["admin"], "read", True, "an administrator has no tenant", tenant="t2"),
    Case("a subject without a tenant", question("bob", ["clerk"], "read", ORDER, {"tenant": "t1"}), False),
    Case("no tenant on either side is no match", question("bob", ["clerk"], "read", ORDER), False),
]
OWNER_CASES = [
    order([], "read", True, "the owner reads", owner="bob"),
    order([], "cancel", True, "the owner cancels", owner="bob"),
    order([], "approve", False, "the owner does not approve", owner="bob"),
    order([], "cancel", False, "somebody else does not cancel", owner="bobby"),
    order(["clerk"], "cancel", False, "not even a clerk", owner="carol"),
    order([], "read", False, "an order without an owner", owner=...),
    order([], "read", False, "an owner of another type", owner=["bob"]),
    order(None, "read", True, "the owner needs no role", owner="bob", tenant="t2"),
    order([], "read", False, "ids are told apart by case", owner="Bob"),
]
AMOUNT_CASES = [
    order(["clerk"], "approve", True, "a clerk approves up to a thousand", amount=1000),
    order(["clerk"], "approve", False, "and no more", amount=1001),
    order(["clerk"], "approve", True, "nothing", amount=0),
    order(["clerk"], "approve", True, "less than nothing", amount=-5),
    order(["manager"], "approve", True, "a manager approves more", amount=1001),
    order(["manager"], "approve", True, "up to a million", amount=1_000_000),
    order(["manager"], "approve", False, "and no more than that", amount=1_000_001),
    order(["admin"], "approve", False, "nor does an administrator", amount=1_000_001),
    order(["clerk", "manager"], "approve", True, "who is both", amount=5000),
    order(["clerk"], "approve", False, "an order without an amount", amount=...),
    order(["clerk"], "approve", False, "an amount that is text", amount="10"),
    order(["manager"], "approve", True, "which a manager does not need", amount=...),
]
FROZEN_CASES = [
    order(["admin"], "delete", False, "a frozen order", frozen=True),
    order(["admin"], "delete", True, "one that is not", frozen=False),
    order(["clerk"], "read", True, "reading a frozen one", frozen=True),
    order([], "cancel", False, "a frozen one of one's own", owner="bob", frozen=True),
    order(["manager"], "approve", False, "approving a frozen one", frozen=True),
]
PERMISSION_CASES = [
    Case("a permission", question("bob", [], "export", ORDER, permissions=["orders.export"]), True),
    Case("another", question("bob", [], "export", ORDER, permissions=["orders.read"]), False),
    Case("none", question("bob", [], "export", ORDER, permissions=[]), False),
    Case("none known", question("bob", [], "export", ORDER), False),
    Case("one that only begins so", question("bob", [], "export", ORDER, permissions=["orders.export.all"]), False),
    Case("one for another action", question("bob", [], "delete", ORDER, permissions=["orders.export"]), False),
]
OTHER_CASES = [
    Case("everybody reads a page", question("bob", [], "read", PAGE), True),
    Case("whatever the roles", question("bob", ["x"], "read", PAGE), True),
    Case("a client reads a page", question("billing", [], "read", PAGE, kind="client"), True),
    Case("nobody writes one", question("bob", ["admin"], "write", PAGE), False),
    Case("but with a role of many names", question("bob", ['päge "editor"'], "write", PAGE), True),
    Case("an unknown resource type", question("bob", ["admin"], "read", ("unknown", "7")), False),
    Case("a type that only begins so", question("bob", ["admin"], "read", ("orders2", "7")), False),
    Case("types are told apart by case", question("bob", ["admin"], "read", ("Orders", "7")), False),
    Case("without a context", question("bob", [], "read", PAGE, context=NOTHING), True),
    Case("a resource named as its subject", question("bob", [], "read", ("pages", "bob")), True),
]
ODD_CASES = [
    case
    for odd in ODD
    for case in (
        Case(f"an odd resource {odd[:9]!r}", question("bob", [], "read", ("pages", odd)), True),
        Case(f"an odd owner {odd[:9]!r}", question(odd, [], "cancel", ORDER, {"owner": odd}), True),
        Case(f"not odd enough {odd[:9]!r}", question(odd, [], "cancel", ORDER, {"owner": odd + "."}), False),
        Case(f"an odd role {odd[:9]!r}", question("bob", [odd], "read", ORDER, {"tenant": "t"}, tenant="t"), False),
    )
]
CASES = [
    *ROLE_CASES, *TENANT_CASES, *OWNER_CASES, *AMOUNT_CASES, *FROZEN_CASES, *PERMISSION_CASES, *OTHER_CASES, *ODD_CASES,
]  # fmt: skip
