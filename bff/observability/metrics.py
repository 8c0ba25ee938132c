"""Declarations: every Prometheus metric, each with the small function that records it.

The names, labels and closed label values are a contract with dashboards; `docs/metrics.md` explains them. This is the
only module-level state in the project, because prometheus_client keeps its registry that way.
"""

import functools
from collections.abc import Callable, Collection, Mapping

from prometheus_client import Gauge

from bff.observability import labels
from bff.observability.fast_metrics import Counter, Histogram, record_all
from bff.observability.multiprocess import values
from bff.observability.traces import exemplar

Exemplar = dict[str, str] | None
values.install()  # before the first metric is declared, because each metric allocates its storage then

HTTP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
VERIFY_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
FLOW_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
REDIS_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
IDP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SCRAPE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
AUTHZ_BUCKETS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
VITAL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 0.8, 1.2, 1.8, 2.5, 3, 4, 6, 10, 30)
TASK_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)

HTTP_REQUESTS = Counter("http_requests_total", "Requests answered, verify included.", ["method", "endpoint", "status"])
HTTP_DURATION = Histogram(
    "http_request_duration_seconds",
    "Seconds from a request's arrival to the start of its answer.",
    ["method", "endpoint", "status"],
    buckets=HTTP_BUCKETS,
)
SESSIONS_CREATED = Counter("bff_sessions_created_total", "Sessions created.")
SESSIONS_DESTROYED = Counter(
    "bff_sessions_destroyed_total", "Sessions ended, each exactly once in the fleet, by cause.", ["reason"]
)
STORE_RESETS = Counter("bff_store_resets_total", "Times the store had lost its data, each once in the fleet.")
SESSION_CACHE = Counter(
    "bff_session_cache_total",
    "Look-ups in the worker's session cache (`grace`: of a session known before, while the store was away), and entries"
    " invalidated.",
    ["result"],
)
VERIFY_DURATION = Histogram(
    "bff_verify_duration_seconds", "Seconds one verify took, by outcome.", ["status"], buckets=VERIFY_BUCKETS
)
SESSION_VALIDATION = Histogram(
    "bff_session_validation_duration_seconds",
    "Seconds until a request was matched to a live session, or to none.",
    buckets=VERIFY_BUCKETS,
)
OAUTH_FLOW_DURATION = Histogram(
    "bff_oauth_flow_duration_seconds", "Seconds one OAuth flow took.", ["flow_type"], buckets=FLOW_BUCKETS
)
LOGINS = Counter("bff_logins_total", "Login attempts: started, success, or the failure by name.", ["result"])
BINDING_FAILURES = Counter(
    "bff_session_binding_failures_total", "Requests from another client than the session's.", ["reason"]
)
TOKEN_EXCHANGE = Counter(
    "bff_token_exchange_total", "Calls to the token endpoint, by grant and outcome.", ["grant_type", "status"]
)
TOKEN_RESPONSE_FAULTS = Counter(
    "bff_token_response_faults_total",
    "Malformed responses of a token endpoint, by fault.",
    ["grant_type", "fault"],
)
TOKEN_VALIDATION = Counter("bff_token_validation_total", "Tokens checked, by outcome.", ["token_type", "status"])
REDIS_OPERATIONS = Counter("bff_redis_operations_total", "Operations on Redis.", ["operation", "status"])
REDIS_LATENCY = Histogram(
    "bff_redis_latency_seconds", "Seconds one Redis operation took.", ["operation"], buckets=REDIS_BUCKETS
)
IDP_REQUESTS = Counter("bff_idp_requests_total", "Requests to an OpenID Provider.", ["endpoint", "status"])
IDP_LATENCY = Histogram(
    "bff_idp_latency_seconds", "Seconds one request to an OpenID Provider took.", ["endpoint"], buckets=IDP_BUCKETS
)
CSRF_VIOLATIONS = Counter(
    "bff_csrf_violations_total", "Requests of other pages, and unsafe ones without a valid CSRF proof.", ["reason"]
)
SECURITY_EVENTS = Counter("bff_security_events_total", "Security events, by type.", ["event_type", "severity"])
BACKGROUND_TASKS = Counter("bff_background_tasks_total", "Runs of periodic jobs.", ["task_type", "status"])
BACKGROUND_DURATION = Histogram(
    "bff_background_task_duration_seconds", "Seconds one periodic job ran.", ["task_type"], buckets=TASK_BUCKETS
)
BULKHEAD_REJECTED = Counter(
    "bff_bulkhead_rejections_total",
    "Requests refused as busy, because the worker had reached its limit of concurrent calls to the service.",
    ["service"],
)
BREAKER_OPENED = Counter("circuit_breaks_total", "Times a circuit breaker opened.", ["service"])
BREAKER_STATUS = Gauge(
    "circuit_breaker_status",
    "State of a circuit breaker in the worst live worker: 0 closed, 1 half-open, 2 open.",
    ["service"],
    multiprocess_mode="livemax",
)
REFRESH_SUCCESS = Counter(
    "bff_token_refresh_success_total", "Tokens refreshed, by the user's pseudonym bucket.", ["user_id"]
)
REFRESH_FAILED = Counter("bff_token_refresh_failed_total", "Refreshes that failed, by cause.", ["reason"])
REFRESHES = Counter(
    "bff_token_refresh_total", "Refreshes wanted, by the service of the token and outcome.", ["service", "status"]
)
TOKEN_EXPIRED = Counter("bff_token_expiry_total", "Tokens found expired when they were needed.", ["service"])
AUTHZ_REQUESTS = Counter(
    "bff_authz_requests_total",
    "Policy decisions, by the route map's resource and action.",
    ["resource", "action", "decision"],
)
AUTHZ_LATENCY = Histogram(
    "bff_authz_latency_seconds",
    "Seconds to a decision, cache hits included.",
    ["resource"],
    buckets=AUTHZ_BUCKETS,
)
AUTHZ_CACHE = Counter("bff_authz_cache_total", "Look-ups in the decision cache.", ["result"])
UPSTREAM_REQUESTS = Counter("bff_upstream_requests_total", "Proxied API calls.", ["service", "status"])
UPSTREAM_LATENCY = Histogram(
    "bff_upstream_latency_seconds", "Seconds one proxied API call took.", ["service"], buckets=HTTP_BUCKETS
)
KAFKA_MESSAGES = Counter("bff_kafka_messages_total", "Events on their way to Kafka.", ["topic", "status"])
OUTBOX_DEPTH = Gauge("bff_outbox_depth", "Events kept, not yet delivered.", multiprocess_mode="livemax")
OUTBOX_SEALED_OUT = Gauge(
    "bff_outbox_sealed_out",
    "Events in the outbox that no key of the delivering worker opens; they stay.",
    multiprocess_mode="livemax",
)
EVENTS_LATE = Counter(
    "bff_events_late_total", "Durable events whose response did not wait for the store, because that was away."
)
EVENTS_LOST = Counter("bff_events_lost_total", "Events that were lost before delivery, by cause.", ["reason"])
EVENTS_SAMPLED_OUT = Counter(
    "bff_events_sampled_out_total", "Events of anonymous clients beyond the few that are kept, by cause.", ["reason"]
)
SEALED_ELSEWHERE = Counter(
    "bff_sealed_elsewhere_total",
    "Data that this instance could not open or verify, because only another one of the fleet has the key.",
    ["kind"],
)
SEALED_KINDS = ("session-hot", "session-cold", "login-attempt", "end-session", "csrf")
for _kind in SEALED_KINDS:
    SEALED_ELSEWHERE.labels(_kind)  # an alert sees no first increment of a series that was not there
EVENT_FAULTS = Counter("bff_event_faults_total", "Fields of events that had to be replaced or cut.", ["fault"])
RATE_LIMIT_VIOLATIONS = Counter(
    "bff_rate_limit_violations_total", "Requests over a limit, by the client's pseudonym bucket.", ["client_id"]
)
RATE_LIMIT_HITS = Counter("bff_rate_limit_hits_total", "Requests over a limit, by limit.", ["limit"])
PUBLIC_EVENTS = Counter(
    "bff_public_metrics_total", "Events that browsers reported, by name where it is declared.", ["event"]
)
PUBLIC_VITALS = Histogram(
    "bff_public_web_vitals",
    "Web vitals as browsers measured them: seconds, but CLS has no unit.",
    ["name"],
    buckets=VITAL_BUCKETS,
)
PUBLIC_REJECTED = Counter(
    "bff_public_metrics_rejected_total",
    "Reports of browsers that were refused, and events with an undeclared name, which are counted all the same.",
    ["reason"],
)
WORKERS = Gauge("bff_workers", "Live gunicorn workers.", multiprocess_mode="livesum")
WORKER_RESTARTS = Counter("bff_worker_restarts_total", "Workers that ended, by cause.", ["reason"])
FILES_QUARANTINED = Counter("bff_metrics_files_quarantined_total", "Broken metric files that were set aside.")
TELEMETRY_DROPPED = Counter(
    "bff_telemetry_dropped_total",
    "Spans, and points of metrics, that OpenTelemetry's collector did not get.",
    ["signal"],
)
SCRAPE_DURATION = Histogram(
    "bff_metrics_scrape_duration_seconds", "Seconds it took to put the metrics page together.", buckets=SCRAPE_BUCKETS
)
UNTRUSTED_FORWARDING = Counter(
    "bff_untrusted_forwarding_total",
    "Requests with forwarding fields from a peer that TRUSTED_PROXIES does not name.",
)
ACTIVE_SESSIONS_NAME = "bff_active_sessions_total"
ACTIVE_SESSIONS_HELP = "Sessions alive in the store now. Fleet-wide: aggregate with max, never with sum."

# OAuth error codes with a label value of their own: RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 9449 section 5.
OAUTH_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "invalid_dpop_proof",
        "use_dpop_nonce",
    }
)


def http_request(method: str, endpoint: str | None, status: int, seconds: float) -> None:
    http_recorder(method, endpoint, status)(seconds, exemplar())


def http_recorder(method: str, endpoint: str | None, status: int) -> Callable[[float, Exemplar], None]:
    """A recorder of such requests' seconds. A hot path keeps it, so that it resolves the labels only once."""
    values = labels.method(method), labels.endpoint(endpoint), str(status)
    return record_all(HTTP_REQUESTS.labels(*values), HTTP_DURATION.labels(*values))


def verify_recorder(method: str, endpoint: str | None, status: int, outcome: str) -> Callable[[float, Exemplar], None]:
    """The same for a verify. outcome: `status` of bff_verify_duration_seconds."""
    values = labels.method(method), labels.endpoint(endpoint), str(status)
    return record_all(HTTP_REQUESTS.labels(*values), HTTP_DURATION.labels(*values), VERIFY_DURATION.labels(outcome))


def session_created() -> None:
    SESSIONS_CREATED.inc()


def session_destroyed(reason: str, sessions: int = 1) -> None:
    SESSIONS_DESTROYED.labels(reason).inc(sessions)


def store_reset() -> None:
    STORE_RESETS.inc()


def binding_failure(reason: str) -> None:
    BINDING_FAILURES.labels(reason).inc()


def login(result: str) -> None:
    LOGINS.labels(result).inc()


def oauth_flow(flow_type: str, seconds: float) -> None:
    OAUTH_FLOW_DURATION.labels(flow_type).observe(seconds, exemplar())


def token_exchange(grant_type: str, status: str) -> None:
    """status: `success`, or the OAuth error code as received; an unregistered one counts as `error`."""
    TOKEN_EXCHANGE.labels(grant_type, labels.one_of(status, OAUTH_ERRORS | {"success"}, "error")).inc()


def token_response_fault(grant_type: str, fault: str) -> None:
    TOKEN_RESPONSE_FAULTS.labels(grant_type, fault).inc()


def token_validation(token_type: str, status: str) -> None:
    token_validation_recorder(token_type, status)()


@functools.cache
def token_validation_recorder(token_type: str, status: str) -> Callable[[], None]:
    """A counter of such tokens, with its labels resolved once."""
    return TOKEN_VALIDATION.labels(token_type, status).inc


def redis_operation(operation: str, status: str, seconds: float) -> None:
    REDIS_OPERATIONS.labels(operation, status).inc()
    REDIS_LATENCY.labels(operation).observe(seconds)


def idp_request(endpoint: str, status: str, seconds: float) -> None:
    IDP_REQUESTS.labels(endpoint, status).inc()
    IDP_LATENCY.labels(endpoint).observe(seconds)


def csrf_violation(reason: str) -> None:
    CSRF_VIOLATIONS.labels(reason).inc()


def security_event(event_type: str, severity: str) -> None:
    SECURITY_EVENTS.labels(event_type, severity).inc()


def bulkhead_declared(service: str) -> None:
    """Create the series at zero, before the first request is refused."""
    BULKHEAD_REJECTED.labels(service)


def bulkhead_rejected(service: str) -> None:
    BULKHEAD_REJECTED.labels(service).inc()


def breaker_opened(service: str) -> None:
    BREAKER_OPENED.labels(service).inc()


def breaker_status(service: str, status: int) -> None:
    """status: 0 closed, 1 half-open, 2 open."""
    BREAKER_STATUS.labels(service).set(status)


def token_refreshed(service: str, status: str, user_bucket: str | None) -> None:
    """status: success, or reused when another worker had just refreshed. user_bucket: see labels; None for a token
    of no user."""
    REFRESHES.labels(service, status).inc()
    if status == "success" and user_bucket is not None:
        REFRESH_SUCCESS.labels(user_bucket).inc()


def token_refresh_failed(service: str, reason: str) -> None:
    REFRESHES.labels(service, "failed").inc()
    REFRESH_FAILED.labels(reason).inc()


def token_expired(service: str) -> None:
    TOKEN_EXPIRED.labels(service).inc()


def authz_recorder(resource: str, action: str, decision: str) -> Callable[[float, Exemplar], None]:
    """A recorder of such decisions' seconds; resource and action from a closed set."""
    return record_all(AUTHZ_REQUESTS.labels(resource, action, decision), AUTHZ_LATENCY.labels(resource))


def upstream_call(service: str, status: str, seconds: float) -> None:
    UPSTREAM_REQUESTS.labels(service, status).inc()
    UPSTREAM_LATENCY.labels(service).observe(seconds)


def kafka_message(topic: str, status: str) -> None:
    KAFKA_MESSAGES.labels(topic, status).inc()


def outbox_depth(events: int) -> None:
    OUTBOX_DEPTH.set(events)


def outbox_sealed_out(events: int) -> None:
    OUTBOX_SEALED_OUT.set(events)


def event_late(events: int) -> None:
    EVENTS_LATE.inc(events)


def sealed_elsewhere(kind: str) -> None:
    SEALED_ELSEWHERE.labels(kind).inc()


def event_lost(reason: str, events: int) -> None:
    EVENTS_LOST.labels(reason).inc(events)


def events_sampled_out(reason: str, events: int = 1) -> None:
    EVENTS_SAMPLED_OUT.labels(reason).inc(events)


def event_fault(fault: str) -> None:
    EVENT_FAULTS.labels(fault).inc()


def rate_limited(limit: str, client_bucket: str) -> None:
    """client_bucket: see labels.Pseudonyms."""
    RATE_LIMIT_HITS.labels(limit).inc()
    RATE_LIMIT_VIOLATIONS.labels(client_bucket).inc()


def public_event_recorders(names: Collection[str]) -> Mapping[str, Callable[[], None]]:
    """Counters of browsers' events by name; every undeclared name counts as `other`."""
    return {name: PUBLIC_EVENTS.labels(name).inc for name in (*names, labels.OTHER)}


def web_vital_recorders() -> Mapping[str, Callable[[float], None]]:
    """Recorders of browsers' measurements, by the vital's name."""
    return {name: PUBLIC_VITALS.labels(name).observe for name in labels.WEB_VITALS}


def public_rejected(reason: str) -> None:
    PUBLIC_REJECTED.labels(reason).inc()


def worker_started() -> None:
    WORKERS.set(1)


def worker_left(reason: str) -> None:
    """reason: max_requests, stopped (asked to), timeout or killed."""
    WORKER_RESTARTS.labels(reason).inc()


def file_quarantined(_name: str) -> None:
    FILES_QUARANTINED.inc()


def telemetry_dropped(signal: str, amount: int) -> None:
    """signal: spans or metrics."""
    TELEMETRY_DROPPED.labels(signal).inc(amount)


def untrusted_forwarding() -> None:
    UNTRUSTED_FORWARDING.inc()


def scrape(seconds: float) -> None:
    SCRAPE_DURATION.observe(seconds)


def background_task(task_type: str, status: str, seconds: float | None = None) -> None:
    """One turn of a periodic job: success, failed, or skipped because another worker has the fleet's turn. seconds: how
    long it ran, None when it did not."""
    BACKGROUND_TASKS.labels(task_type, status).inc()
    if seconds is not None:
        BACKGROUND_DURATION.labels(task_type).observe(seconds)
