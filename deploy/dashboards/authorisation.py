"""Authorisation dashboard: the policy's decisions, their speed, and requests without one."""

from deploy.dashboards.panel import Dashboard, Panel, Query, Row, quantile, quantiles, rate, share

REQUESTS = "bff_authz_requests_total"
ALLOWED = (
    'sum(rate(bff_authz_requests_total{decision="allow"}[5m])) by (resource)'
    " / sum(rate(bff_authz_requests_total[5m])) by (resource)"
)

DASHBOARD = Dashboard(
    "authorisation",
    "BFF / Authorisation",
    "Decisions of the policy: allowed, denied, not covered, not possible.",
    [
        Row(
            "Outcomes",
            [
                Panel(
                    "Share allowed, by resource",
                    "Over all jobs. A step down right after a change of policies or of the application is that change.",
                    "percentunit",
                    [Query(ALLOWED, "{{resource}}")],
                ),
                Panel(
                    "Decisions",
                    "All questions, by outcome. `deny` is the policy's decision, `error` is none: see below.",
                    "ops",
                    [Query(rate(REQUESTS, "decision"), "{{decision}}")],
                    stacked=True,
                ),
                Panel(
                    "Denied, by action",
                    "Denials of the policy. `python -m bff.routes` shows the question to the policy for a path.",
                    "ops",
                    [Query(rate(REQUESTS, "resource, action", decision="deny"), "{{action}} {{resource}}")],
                ),
                Panel(
                    "No mapping",
                    "Requests about which no policy question is declared; each was denied. Give the route an"
                    " `authz_map`.",
                    "ops",
                    [Query(rate(REQUESTS, "resource", decision="no_mapping"), "{{resource}}")],
                ),
                Panel(
                    "No decision",
                    "The policy could not be asked, or had no answer. Denied, unless the route has `on_error: allow`."
                    " The log's `access_undecided` has the reason.",
                    "ops",
                    [Query(rate(REQUESTS, "resource, action", decision="error"), "{{action}} {{resource}}")],
                ),
            ],
        ),
        Row(
            "Speed",
            [
                Panel(
                    "Time to a decision",
                    "Decisions that are remembered included. In process well below a millisecond; with a service of its"
                    " own the network's time on top.",
                    "s",
                    quantiles("bff_authz_latency_seconds"),
                ),
                Panel(
                    "Time to a decision, p95 by resource",
                    "A resource that is slower than the others has larger questions, or is remembered less.",
                    "s",
                    [Query(quantile(0.95, "bff_authz_latency_seconds", "resource"), "{{resource}}")],
                ),
                Panel(
                    "Decisions remembered",
                    "Share of look-ups that found one. Low is fine where each question is new.",
                    "percentunit",
                    [
                        Query(
                            share(rate("bff_authz_cache_total", result="hit"), rate("bff_authz_cache_total")),
                            "remembered",
                        )
                    ],
                ),
            ],
        ),
    ],
)
