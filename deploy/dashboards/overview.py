"""Overview dashboard: the service level objectives, and one panel for each dependency or symptom.

The other dashboards have the details.
"""

from deploy.dashboards.panel import JOB, RATE, Dashboard, Panel, Query, Row, quantile, rate, selected, share

MONTH = "[30d]"
VERIFIED = "bff_verify_duration_seconds_count"
AVAILABILITY, LATENCY = 0.001, 0.01
"""Error budgets as shares of all auth checks: without a definite answer, and slower than 10 ms."""
P95 = "histogram_quantile(0.95, sum(rate(bff_verify_duration_seconds_bucket[5m])) by (le))"
ERRORS = selected(status="error")
WORSE = selected(severity="warning|critical")
IN_TIME = f'{{{JOB}, le="0.01"}}'
WINDOWS = ("5m", "1h", "6h", "3d")


def of_month(part: str) -> str:
    """The share of these auth checks in all of 30 days."""
    return share(f"sum(increase({part}{MONTH}))", f"sum(increase({VERIFIED}{selected()}{MONTH}))")


def burn(rule: str, budget: float) -> list[Query]:
    return [Query(f"job:bff_verify_{rule}:ratio_rate{each}{{{JOB}}} / {budget}", each) for each in WINDOWS]


BURN = (
    " 1 spends exactly the budget of 30 days. Above 14.4 over an hour the operator is paged, above 3 over a day a"
    " ticket is due; 5m shows whether it still goes on."
)

DASHBOARD = Dashboard(
    "overview",
    "BFF / Overview",
    "The service level objectives, and where to look when one is missed.",
    [
        Row(
            "Service level objectives",
            [
                Panel(
                    "Auth checks with a definite answer, 30 days",
                    "The objective is 99.9 %. All others were answered 503, since neither the session's store nor a"
                    " worker's memory had the session. Look at Dependencies.",
                    "percentunit",
                    [Query(f"1 - {of_month(f'{VERIFIED}{ERRORS}')}", "answered")],
                    promise=1 - AVAILABILITY,
                    single=True,
                ),
                Panel(
                    "Auth checks within 10 ms, 30 days",
                    "The objective is 99 %. When the share sinks, compare with the latency of Redis and the hits of the"
                    " session cache.",
                    "percentunit",
                    [Query(of_month(f"bff_verify_duration_seconds_bucket{IN_TIME}"), "in time")],
                    promise=1 - LATENCY,
                    single=True,
                ),
                Panel(
                    "Alerts firing",
                    "How many alerts of deploy/prometheus/rules fire now. Each links its runbook.",
                    "short",
                    [Query(f'count(ALERTS{{{JOB}, alertstate="firing"}}) or vector(0)', "alerts")],
                    limit=1,
                    single=True,
                ),
                Panel(
                    "Burn of the error budget: definite answer",
                    "How many times faster than allowed auth checks go without a definite answer." + BURN,
                    "short",
                    burn("errors", AVAILABILITY),
                    limit=14.4,
                ),
                Panel(
                    "Burn of the error budget: 10 ms",
                    "How many times faster than allowed auth checks are slow." + BURN,
                    "short",
                    burn("slow", LATENCY),
                    limit=14.4,
                ),
            ],
        ),
        Row(
            "Requests",
            [
                Panel(
                    "Auth checks by outcome",
                    "The answers to the reverse proxy. More `unauthenticated` is users that come back; `binding` is"
                    " cookies in another browser or network; `error` is the store.",
                    "reqps",
                    [Query(rate(VERIFIED, "status"), "{{status}}")],
                    stacked=True,
                ),
                Panel(
                    "Verify latency, p95",
                    "Over all jobs that this Prometheus knows. Usually well below a millisecond, since most sessions"
                    " are in the worker's memory. A dot is one request, and leads to its trace.",
                    "s",
                    [Query(P95, "p95")],
                    limit=0.01,
                ),
                Panel(
                    "Answers by status",
                    "All endpoints, verify and proxied calls included. Look for 5xx: 502 and 504 are a service behind"
                    " the BFF, 503 is one of its own dependencies, 500 is a bug worth a report.",
                    "reqps",
                    [Query(rate("http_requests_total", "status"), "{{status}}")],
                    stacked=True,
                ),
                Panel(
                    "Latency by endpoint, p95",
                    "Until an answer begins; proxied calls go by their route's id. A dot leads to one request's trace.",
                    "s",
                    [Query(quantile(0.95, "http_request_duration_seconds", "endpoint"), "{{endpoint}}")],
                ),
            ],
        ),
        Row(
            "The rest at a glance",
            [
                Panel(
                    "Active sessions",
                    "Read from the store, and the same number in every pod. A sudden drop is a store that lost its"
                    " data, or a provider that logged users out.",
                    "short",
                    [Query(f"max(bff_active_sessions_total{{{JOB}}})", "sessions")],
                ),
                Panel(
                    "Breakers that are not closed",
                    "2 is open: calls fail at once; 1 is half open: one call tries again. The name is the service.",
                    "short",
                    [Query(f"max by (service) (circuit_breaker_status{{{JOB}}})", "{{service}}")],
                    limit=1,
                ),
                Panel(
                    "Security events",
                    "Warnings and worse. Many at once, of one type, are an attack; docs/events.md names each.",
                    "short",
                    [
                        Query(
                            f"sum by (event_type) (increase(bff_security_events_total{WORSE}{RATE}))",
                            "{{event_type}}",
                        )
                    ],
                ),
            ],
        ),
    ],
)
