"""docs/metrics.md against the declared metrics, and the declared metrics against what the code records."""

import ast
from fnmatch import fnmatch
from typing import get_args

import pytest

from bff.events.model import SecurityEvent, Severity
from bff.observability import catalogue, metrics, process_metrics, reloads
from bff.sessions import csrf
from bff.sessions.model import EndReason
from tests.architecture import source

CATALOGUE = {metric.name: metric for metric in catalogue.declared()}
SOURCES = {path: text for path, text in source.files().items() if path != "bff/observability/catalogue.py"}

# Metrics that are declared before anything records them, by what will. Let it shrink.
NOT_YET_RECORDED: frozenset[str] = frozenset()

# Where the code writes label values down: (metric, label, files, what is called, which argument).
WRITTEN = [
    ("bff_logins_total", "result", "*", "login", 0),
    ("bff_logins_total", "result", "*", "fail", 0),
    ("bff_logins_total", "result", "*", "LoginFailed", "code"),
    ("bff_oauth_flow_duration_seconds", "flow_type", "*", "oauth_flow", 0),
    ("bff_token_exchange_total", "status", "*", "token_exchange", 1),
    ("bff_token_response_faults_total", "fault", "bff/http/*", "UpstreamError", "fault"),
    ("bff_token_refresh_failed_total", "reason", "bff/tokens/*", "token_refresh_failed", 1),
    ("bff_token_refresh_failed_total", "reason", "bff/tokens/*", "_failed", 0),
    ("bff_token_refresh_failed_total", "reason", "bff/*", "RequestFailed", 0),
    ("bff_token_validation_total", "token_type", "*", "CountedValidation", 0),
    ("bff_token_validation_total", "status", "*", "token_validation", 1),
    ("bff_token_validation_total", "status", "*", "TokenInvalid", 0),
    ("bff_token_validation_total", "status", "*", "TokenInvalid", "counted"),
    ("bff_redis_operations_total", "operation", "bff/kv/redis.py", "execute", 0),
    ("bff_redis_operations_total", "operation", "bff/kv/redis.py", "script", 0),
    ("bff_redis_operations_total", "operation", "bff/kv/redis.py", "transaction", 0),
    ("bff_redis_operations_total", "operation", "bff/kv/redis_executor.py", "_measured", 0),
    ("bff_idp_requests_total", "endpoint", "bff/oidc/*", "post", 0),
    ("bff_idp_requests_total", "endpoint", "bff/oidc/*", "_fetched", 0),
    ("bff_idp_requests_total", "status", "bff/http/*", "UpstreamError", "outcome"),
    ("bff_background_tasks_total", "task_type", "*", "Job", 0),
    ("circuit_breaks_total", "service", "*", "Breaker", 0),
]
# Whose token it is instead, told to the caller; what is counted of it is another word.
NOT_COUNTED = {("TokenInvalid", "nonce"), ("TokenInvalid", "subject")}


def test_the_document_holds_the_catalogue() -> None:
    text = (source.ROOT / "docs/metrics.md").read_text()
    assert catalogue.with_table(text) == text, "Run: python -m bff.observability.catalogue docs/metrics.md"


def test_every_label_has_its_values_written_down_and_no_other() -> None:
    declared = {
        (metric.name, label) for metric in CATALOGUE.values() for label in metric.labels if metric.values(label)
    }
    written = {(name, label) for name, values in catalogue.LABEL_VALUES.items() for label in values}
    assert written <= declared, f"Remove from LABEL_VALUES: {sorted(written - declared)}"


@pytest.mark.parametrize(("metric", "label", "files", "callee", "argument"), WRITTEN)
def test_what_the_code_records_is_documented(
    metric: str, label: str, files: str, callee: str, argument: int | str
) -> None:
    recorded = _literals(files, callee, argument)
    assert recorded, f"Nothing calls {callee} with a literal any more: correct WRITTEN, so that this test sees again"
    values = CATALOGUE[metric].values(label)
    known = {value for value in recorded if (f"`{value}`" in values if isinstance(values, str) else value in values)}
    missing = recorded - known
    assert not missing, f"Add to LABEL_VALUES of {metric}, then write docs/metrics.md anew: {sorted(missing)}"


def _literals(files: str, callee: str, argument: int | str) -> set[str]:
    sources = {path: text for path, text in SOURCES.items() if fnmatch(path, files)}
    found = set()
    for name, call in source.calls(sources):
        given: list[ast.expr] = [word.value for word in call.keywords if word.arg == argument]
        if isinstance(argument, int):
            given = call.args[argument : argument + 1]
        texts = {node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        found |= {text for text in texts if name == callee and (callee, text) not in NOT_COUNTED}
    return found


def test_what_is_documented_can_be_recorded() -> None:
    written = source.strings(SOURCES)
    unknown = {
        f"{metric.name}: {value}"
        for metric in CATALOGUE.values()
        if metric.name not in _not_yet()
        for label in metric.labels
        for value in metric.values(label)
        if not isinstance(metric.values(label), str) and value not in written
    }
    assert not unknown, f"No code knows these label values; remove them from LABEL_VALUES: {sorted(unknown)}"


@pytest.mark.parametrize(
    ("metric", "label", "enumerated"),
    [
        ("bff_sessions_destroyed_total", "reason", set(EndReason)),
        ("bff_csrf_violations_total", "reason", set(get_args(csrf.Reason))),
        ("bff_security_events_total", "event_type", set(SecurityEvent)),
        ("bff_security_events_total", "severity", set(Severity)),
    ],
)
def test_enumerations_are_documented_whole(metric: str, label: str, enumerated: set[str]) -> None:
    assert set(CATALOGUE[metric].values(label)) == enumerated, "Correct LABEL_VALUES in bff/observability/catalogue.py"


def test_every_declared_metric_is_recorded_somewhere() -> None:
    declarations = source.parse((source.ROOT / "bff/observability/metrics.py").read_text())
    uses = {
        node.name: {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
        for node in declarations.body
        if isinstance(node, ast.FunctionDef)
    }
    reached = _used_outside()
    for _ in uses:  # a record function may call another
        reached |= {name for function, names in uses.items() if function in reached for name in names}
    unrecorded = _constants(declarations) - reached
    assert unrecorded == NOT_YET_RECORDED, f"Record or remove: {sorted(unrecorded ^ NOT_YET_RECORDED)}"


def _not_yet() -> set[str]:
    """Names on the page of what is not recorded yet."""
    described = [next(iter(vars(metrics)[constant].describe())) for constant in NOT_YET_RECORDED]
    return {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in described}


def _constants(declarations: ast.Module) -> set[str]:
    """Names of the metrics that bff/observability/metrics.py declares."""
    assignments = [node for node in declarations.body if isinstance(node, ast.Assign)]
    kinds = ("Counter", "Histogram", "Gauge", "Summary")
    found = {
        target.id
        for node in assignments
        for target in node.targets
        if isinstance(target, ast.Name)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id in kinds
    }
    assert len(found) == len(CATALOGUE) - 1 - len(process_metrics.FACTS) - len(reloads.FACTS), (
        "all but those that are asked for at scrape time"
    )
    return found


def _used_outside() -> set[str]:
    """What the rest of the project takes from the module, as metrics.NAME."""
    return {
        node.attr
        for path, text in SOURCES.items()
        if path != "bff/observability/metrics.py"
        for node in ast.walk(source.parse(text))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "metrics"
    }
