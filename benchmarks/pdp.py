"""Cost of a cached decision for a request: CPU time in this process, beside an empty Flask view dispatched in turn.

It runs the guard like a proxied call: the subject of the session's user, the question, the look-up, the metrics, and
the facts of the audit event, without a sink. Beside it the same with the event made, sealed and written to the embedded
store before the answer, as for audit-grade events: without a target, for information.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.cpu import cpu, empty_view
from bff import services, settings
from bff.crypto import Keyring
from bff.events.audit import Audit
from bff.pdp.enforcement import Names, PolicyEnforcementPoint
from bff.pdp.model import ResourceAction, properties
from bff.services import Services
from bff.sessions.model import User
from bff.settings import AuthzMap, Files, RouteSettings
from bff.settings.pdp import policy_files
from tests.unit.support import NoEvents

ROUNDS = 21
SEEN = 5000
DECIDED = 20_000
AUDITED = 500  # each of them a transaction
DISTINCT = 1000  # different resources, asked about one after the other
AT_MOST_OF_VIEW = 1 / 5
_POLICY = "permit(principal, action, resource) when { resource.amount < 100 };"


def decisions() -> bool:
    """Whether the target was met."""
    with tempfile.TemporaryDirectory() as folder:
        service = _service(Path(folder))
        view, ratios = empty_view(), []
        decide, audited = _decide(service, _unheard(service)), _decide(service, service.enforcement)
        print(f"empty Flask view, a remembered decision, one that is audited; CPU, {ROUNDS} rounds")
        for number in range(1, ROUNDS + 1):
            empty, decided = cpu(view, SEEN), cpu(decide, DECIDED)
            ratios.append(decided / empty)
            told = cpu(audited, AUDITED)
            figures = f"view {empty * 1e6:.1f} us, decision {decided * 1e6:.2f}, audited {told * 1e6:.0f}"
            print(f"  round {number}: {figures}; decision/view {ratios[-1]:.3f}")
        if len(service.decisions) != DISTINCT:
            raise RuntimeError("not every decision was remembered")
        service.close()
    print(f"median {statistics.median(ratios):.3f} (target: under {AT_MOST_OF_VIEW:.3f})")
    return statistics.median(ratios) < AT_MOST_OF_VIEW


def _service(folder: Path) -> Services:
    (folder / "policies").mkdir()
    (folder / "policies" / "orders.cedar").write_text(_POLICY)
    given = settings.load({"BFF_DATA_DIR": str(folder)}, folder)
    route = RouteSettings("order", "/api/orders/{id}", "orders", authz=True, authz_map=AuthzMap("orders", "read"))
    pdp = replace(given.pdp, policies=policy_files(folder / "policies", Files()), allow_ttl=3600.0)
    service = services.build(replace(given, routes=(route,), pdp=pdp))
    service.start()
    deadline = time.monotonic() + 5
    while not service.decisions.truthful and time.monotonic() < deadline:
        time.sleep(0.01)
    return service


def _unheard(service: Services) -> PolicyEnforcementPoint:
    names = Names(service.settings.routes, service.settings.verify_profiles)
    return PolicyEnforcementPoint(
        service.decisions, Audit(NoEvents(), Keyring(service.settings.secrets).mac("audit-user")), names
    )


def _decide(service: Services, enforcement: PolicyEnforcementPoint) -> Callable[[], object]:
    user = User("alice", "alice", "Alice Adams", "alice@example.test", ("admin", "staff"), ("orders.read",))
    things = [ResourceAction("orders", "read", str(number), properties({"amount": 7})) for number in range(DISTINCT)]
    correlation_id, turn = "0123456789abcdef0123456789abcdef", iter(things)

    def decide() -> None:
        nonlocal turn
        asked = next(turn, None)
        if asked is None:
            turn = iter(things)
            asked = next(turn)
        enforcement.enforce(
            service.subjects.of_user(user, "default"),
            asked,
            client_address="203.0.113.7",
            correlation_id=correlation_id,
            route="order",
            user=user.id,
        )

    for _ in things:
        decide()
    return decide
