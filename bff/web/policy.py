"""Default-deny: a view needs a session, a request of our own pages, and a CSRF proof for unsafe methods, unless it says
otherwise here.

A test compares every exception with one literal table, so a new open endpoint is one visible line in a diff.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])
_ATTRIBUTE = "__bff_policy__"


@dataclass(frozen=True)
class Policy:
    """cross_site: whether pages of other sites may send a browser here with its session, since the view has a proof of
    its own; else they are refused, whatever the method (bff.web.isolation).

    limit: the name of the rate limit, per session where the view needs one, else per address. own_body: whether the
    body is for us, so that the bound of our own endpoints is its bound. Both open nothing, so two policies that differ
    only there are the same."""

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
    """Declare what a view does without, and how often one client may ask for it. CSRF protects a session, so without a
    session csrf must be False too."""
    if csrf and not session:
        raise ValueError("a CSRF proof is bound to a session")

    def declare(view: View) -> View:
        setattr(view, _ATTRIBUTE, Policy(session, csrf, cross_site, limit, own_body))
        return view

    return declare


def policy_of(view: Callable[..., Any]) -> Policy:
    declared: Policy = getattr(view, _ATTRIBUTE, DEFAULT)
    return declared
