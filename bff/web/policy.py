"""Default-deny: a view needs a session, a request from our own pages, and a CSRF proof for unsafe methods.

A view declares exceptions by the `policy` decorator. A test compares them with one literal table, so a new open
endpoint is one visible line in a diff.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])
_ATTRIBUTE = "__bff_policy__"


@dataclass(frozen=True)
class Policy:
    """cross_site: whether pages of other sites may send a browser here with its session. The view then checks a proof
    of its own. Otherwise bff.web.isolation refuses such requests, whatever the method.

    limit: the name of the rate limit, per session if the view needs one, else per address. own_body: whether the body
    is for the BFF, so that the bound of our own endpoints applies. Neither opens an endpoint, so policies that differ
    only in them are equal."""

    session: bool = True
    csrf: bool = True
    cross_site: bool = False
    limit: str | None = field(default=None, compare=False)
    own_body: bool = field(default=True, compare=False)


DEFAULT = Policy()


def policy(
    *,
    session: bool = True,
    csrf: bool = True,
    cross_site: bool = False,
    limit: str | None = None,
    own_body: bool = True,
) -> Callable[[View], View]:
    """Declares a view's exceptions and its rate limit. CSRF protects a session, so without a session csrf must be False
    too. Raises ValueError."""
    if csrf and not session:
        raise ValueError("a CSRF proof is bound to a session")

    def declare(view: View) -> View:
        setattr(view, _ATTRIBUTE, Policy(session, csrf, cross_site, limit, own_body))
        return view

    return declare


def policy_of(view: Callable[..., Any]) -> Policy:
    declared: Policy = getattr(view, _ATTRIBUTE, DEFAULT)
    return declared
