"""Generated documentation: writes the table of docs/metrics.md.

Run `python -m bff.observability.catalogue docs/metrics.md`. Names, types, labels, buckets and meanings come from the
declared metrics. The values of each label are listed here, so that a reader of dashboards need not search the code.
Tests compare them with the values that the code records.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from bff.observability import labels, metrics, process_metrics, reloads

BEGIN = "<!-- written by python -m bff.observability.catalogue: change the code, then run it -->"
END = "<!-- end -->"

# A tuple holds every value there is. A text describes an open, but bounded, set.
Values = tuple[str, ...] | str
_HTTP: Mapping[str, Values] = {
    "method": (*sorted(labels.METHODS), labels.OTHER),
    "endpoint": "a template such as `/auth/login`, the id of a route of `config/routes.yaml`, or `unmatched`",
    "status": "the three-digit status code",
}
_GRANTS = ("authorization_code", "refresh_token", "client_credentials", "token_exchange")
_TOKENS = "`user` for the session's own token, else a service of `config/routes.yaml`"
LABEL_VALUES: Mapping[str, Mapping[str, Values]] = {
    "http_requests_total": _HTTP,
    "http_request_duration_seconds": _HTTP,
    "bff_sessions_destroyed_total": {
        "reason": (
            "logout", "logout_everywhere", "backchannel", "idle_timeout", "absolute_timeout",
            "refresh_rejected", "revoked", "replaced", "store_reset",
        ),
    },
    "bff_session_cache_total": {"result": ("hit", "miss", "bypass", "grace", "invalidated")},
    "bff_verify_duration_seconds": {
        "status": ("allowed", "unauthenticated", "expired", "binding", "forbidden", "error"),
    },
    "bff_oauth_flow_duration_seconds": {"flow_type": (
        "login", "authorization_code", "refresh", "token_exchange", "client_credentials", "logout",
    )},
    "bff_logins_total": {
        "result": (
            "started", "success", "cancelled", "idp_error", "state_missing", "state_expired", "state_mismatch",
            "state_reused", "nonce", "id_token", "token_endpoint", "store", "overtaken", "loop",
        ),
    },
    "bff_session_binding_failures_total": {"reason": ("ip", "user_agent", "both")},
    "bff_token_exchange_total": {
        "grant_type": _GRANTS,
        "status": ("success", *sorted(metrics.OAUTH_ERRORS), "error"),
    },
    "bff_token_response_faults_total": {
        "grant_type": _GRANTS,
        "fault": (
            "not_json", "too_large", "access_token", "token_type", "expires_in", "expires_in_missing", "scope",
            "subject", "id_token",
        ),
    },
    "bff_token_validation_total": {
        "token_type": ("id_token", "access_token_jwt", "access_token_opaque", "logout_token"),
        "status": (
            "valid", "expired", "not_yet_valid", "bad_signature", "bad_issuer", "bad_audience", "malformed",
            "unknown_key", "inactive", "error",
        ),
    },
    "bff_redis_operations_total": {
        "operation": (
            "get", "set", "delete", "set_if_absent", "compare_and_set", "batch", "index_count",
            "index_range", "publish", "subscribe", "ping", "log_append", "log_open", "log_take", "log_acknowledge",
            "log_trim", "log_length", "window_hit",
        ),
        "status": ("ok", "error", "timeout", "busy", "full", "read_only"),
    },
    "bff_idp_requests_total": {
        "endpoint": ("discovery", "jwks", "authorization_par", "token", "userinfo", "introspection", "revocation"),
        "status": "the three-digit status code, or `timeout`, `connection`, `circuit_open`, `busy`, `bad_response`",
    },
    "bff_csrf_violations_total": {
        "reason": (
            "missing_cookie", "missing_header", "mismatch", "bad_signature", "foreign_origin", "cross_site",
            "same_site",
        ),
    },
    "bff_security_events_total": {
        "event_type": (
            "login_succeeded", "login_failed", "logout", "logout_everywhere", "session_binding", "csrf_violation",
            "return_url_refused", "login_state_reused", "refresh_rejected", "id_token_rejected", "backchannel_logout",
            "frontchannel_logout", "logout_token_rejected", "rate_limited", "session_revoked",
        ),
        "severity": ("info", "warning", "critical"),
    },
    "circuit_breaker_status": {"service": "as in `circuit_breaks_total`"},
    "bff_token_refresh_success_total": {"user_id": "a keyed pseudonym bucket such as `u3f2`"},
    "bff_token_refresh_failed_total": {
        "reason": (
            "invalid_grant", "refused", "timeout", "connection", "server_error", "circuit_open", "busy", "bad_response",
            "lock_timeout",
        ),
    },
    "bff_token_refresh_total": {
        "service": _TOKENS, "status": ("success", "failed", "reused"),
    },
    "bff_token_expiry_total": {"service": _TOKENS},
    "bff_authz_requests_total": {
        "resource": "as the route map names it, else `other`",
        "action": "as the route map names it, else `other`",
        "decision": ("allow", "deny", "no_mapping", "error"),
    },
    "bff_authz_latency_seconds": {"resource": "as the route map names it, else `other`"},
    "bff_authz_cache_total": {"result": ("hit", "miss")},
    "bff_upstream_requests_total": {
        "service": "a service of `config/routes.yaml`",
        "status": "the three-digit status code, or `timeout`, `connection`, `circuit_open`, `cancelled`",
    },
    "bff_bulkhead_rejections_total": {
        "service": "a service of `config/routes.yaml`, `idp_` and a provider's alias, or `pdp`"
    },
    "bff_upstream_latency_seconds": {"service": "a service of `config/routes.yaml`"},
    "bff_kafka_messages_total": {
        "topic": "`KAFKA_TOPIC_PREFIX` with `.audit`, `.auth`, `.sessions` or `.security`",
        "status": ("queued", "delivered", "retried", "failed"),
    },
    "bff_events_lost_total": {"reason": (
        "outbox_full", "too_old", "buffer_full", "stopped", "refused",
    )},
    "bff_events_sampled_out_total": {"reason": ("rate", "full", "too_old", "stopped")},
    "bff_sealed_elsewhere_total": {"kind": metrics.SEALED_KINDS},
    "bff_event_faults_total": {"fault": ("unserialisable", "too_long", "missing", "undeclared")},
    "bff_worker_restarts_total": {"reason": ("max_requests", "stopped", "timeout", "killed")},
    "bff_telemetry_dropped_total": {"signal": ("spans", "metrics")},
    "bff_config_info": {"hash": "a keyed digest of all settings, policies and secrets"},
    "bff_build_info": {"version": "`BFF_VERSION`", "python": "the interpreter's version"},
    "bff_background_tasks_total": {
        "task_type": "`session_touch`, `session_sweep`, `token_save`, `token_refresh`, `token_revocation`,"
        " `event_flush`, `event_delivery`, `secrets`, `task_records`, `provider_` with each provider's alias, and"
        " `health_` with the name of each health check",
        "status": ("success", "failed", "skipped"),
    },
    "bff_rate_limit_violations_total": {
        "client_id": "a pseudonym bucket such as `u3f2`; see `METRICS_USER_LABEL`",
    },
    "bff_rate_limit_hits_total": {
        "limit": "the names in `RATE_LIMITS`, or `route:` with the id of a route of `config/routes.yaml`",
    },
    "bff_public_metrics_total": {"event": "the names in `PUBLIC_METRICS_EVENTS`, else `other`"},
    "bff_public_web_vitals": {"name": labels.WEB_VITALS},
    "bff_public_metrics_rejected_total": {
        "reason": ("too_large", "bad_json", "schema", "secret", "personal_data", "rate_limited", "unknown_event"),
    },
    "circuit_breaks_total": {
        "service": "`redis`, `idp_` with the provider's alias and the endpoint, `pdp_` with `evaluation`,"
        " `evaluations` or `metadata`, `upstream_` with the service",
    },
}  # fmt: skip
# These take the values of their counterpart.
_SAME_AS = {
    "bff_redis_latency_seconds": "bff_redis_operations_total",
    "bff_idp_latency_seconds": "bff_idp_requests_total",
    "bff_background_task_duration_seconds": "bff_background_tasks_total",
}


@dataclass(frozen=True)
class DeclaredMetric:
    """One metric as a scrape shows it."""

    name: str
    type: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]
    meaning: str

    def values(self, label: str) -> Values:
        """Raises KeyError for a label without declared values."""
        return LABEL_VALUES[_SAME_AS.get(self.name, self.name)][label]


def declared() -> Iterator[DeclaredMetric]:
    """Every metric of bff.observability.metrics, in its order, then those that a scrape computes."""
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            yield _declared(metric)
    yield DeclaredMetric(metrics.ACTIVE_SESSIONS_NAME, "untyped", (), (), metrics.ACTIVE_SESSIONS_HELP)
    for name, typ, label_names, meaning in (*process_metrics.FACTS, *reloads.FACTS):
        yield DeclaredMetric(name, typ, label_names, (), meaning)


def _declared(metric: MetricWrapperBase) -> DeclaredMetric:
    description = next(iter(metric.describe()))
    suffix = "_total" if description.type == "counter" else ""
    # prometheus_client has no public names for these two.
    bounds = metric._upper_bounds[:-1] if isinstance(metric, Histogram) else ()
    return DeclaredMetric(
        description.name + suffix,
        description.type,
        tuple(metric._labelnames),
        tuple(bounds),
        description.documentation,
    )


def table() -> str:
    lines = ["| metric | type | labels and their values | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *map(_row, declared())])


def _row(metric: DeclaredMetric) -> str:
    values = "<br>".join(f"`{label}`: {_text(metric.values(label))}" for label in metric.labels)
    buckets = f" Buckets: {' '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
    return f"| `{metric.name}` | {metric.type} | {values} | {metric.meaning}{buckets} |"


def _text(values: Values) -> str:
    return values if isinstance(values, str) else ", ".join(f"`{value}`" for value in values)


def with_table(text: str) -> str:
    """The document with its table written anew."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


def main(path: str) -> None:
    document = Path(path)
    document.write_text(with_table(document.read_text()))


if __name__ == "__main__":
    main(sys.argv[1])
