"""Wiring of policy decisions: the decision point, the cache in front of it, and the enforcement point."""

from collections.abc import Callable
from dataclasses import dataclass

from bff.errors import UpstreamError
from bff.events.audit import Audit
from bff.http import HttpClient
from bff.kv import KeyValue
from bff.pdp.authzen import Authzen, Credential
from bff.pdp.cedar import Cedar
from bff.pdp.credential import FixedBearer
from bff.pdp.decision_cache import DecisionCache
from bff.pdp.enforcement import Names, PolicyEnforcementPoint
from bff.pdp.model import NoDecision, PolicyDecisionPoint
from bff.pdp.subjects import Subjects
from bff.settings import ServiceSettings, Settings


@dataclass(frozen=True)
class PolicyServices:
    """decisions: the cache, started and closed with the worker. enforcement: the policy enforcement point. check: for
    health; None without a remote PDP."""

    subjects: Subjects
    decisions: DecisionCache
    enforcement: PolicyEnforcementPoint
    check: Callable[[], None] | None


def build_policy(
    settings: Settings,
    kv: KeyValue,
    audit: Audit,
    http: HttpClient,
    own_token: Callable[[ServiceSettings], Credential],
    monotonic: Callable[[], float],
) -> PolicyServices:
    """http: for a remote PDP. own_token: builds the credential with a token by client credentials. monotonic: seconds
    that only go forward."""
    pdp = _pdp(settings, http, own_token, monotonic)
    decisions = DecisionCache(pdp, kv, settings.pdp, monotonic)
    names = Names(settings.routes, settings.verify_profiles)
    return PolicyServices(
        Subjects(settings.pdp, settings.providers),
        decisions,
        PolicyEnforcementPoint(decisions, audit, names, settings.pdp.on_error),
        None if settings.pdp.base_url is None else lambda: _check(pdp),
    )


def _pdp(
    settings: Settings,
    http: HttpClient,
    own_token: Callable[[ServiceSettings], Credential],
    monotonic: Callable[[], float],
) -> PolicyDecisionPoint:
    pdp = settings.pdp
    if pdp.base_url is None:
        return Cedar(pdp.policies, pdp.roles_property)
    credential: Credential | None = None
    if pdp.bearer is not None:
        credential = FixedBearer(pdp.bearer)
    elif pdp.service is not None:
        credential = own_token(pdp.service)
    return Authzen(pdp.base_url, pdp.timeout, http, credential, monotonic)


def _check(pdp: PolicyDecisionPoint) -> None:
    """Raises UpstreamError."""
    try:
        pdp.check()
    except NoDecision as err:
        raise UpstreamError("The policy decision point does not answer.", outcome=err.reason) from err
