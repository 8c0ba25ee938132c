"""Dependencies dashboard: Redis, the services behind the BFF, Kafka, and open circuit breakers."""

from deploy.dashboards.panel import JOB, RATE, Dashboard, Panel, Query, Row, quantile, quantiles, rate, share

REDIS = "bff_redis_operations_total"
UPSTREAM = "bff_upstream_requests_total"

DASHBOARD = Dashboard(
    "dependencies",
    "BFF / Dependencies",
    "Redis, upstream services, circuit breakers, Kafka and the outbox.",
    [
        Row(
            "Redis",
            [
                Panel(
                    "Operations",
                    "By kind. Empty with the embedded store. Many more `get` than usual: the session cache is"
                    " bypassed.",
                    "ops",
                    [Query(rate(REDIS, "operation"), "{{operation}}")],
                    stacked=True,
                ),
                Panel(
                    "Operations that failed",
                    "Errors and timeouts. Sessions in a worker's memory still pass, others get 503 and keep their"
                    " cookie.",
                    "percentunit",
                    [
                        Query(share(rate(REDIS, status="error|timeout"), rate(REDIS)), "failed"),
                        Query(share(rate(REDIS, status="full|read_only"), rate(REDIS)), "refused"),
                    ],
                    limit=0.05,
                ),
                Panel(
                    "Latency of Redis",
                    "Seen from the workers, the network included. Above a few milliseconds auth checks will"
                    " miss their objective.",
                    "s",
                    quantiles("bff_redis_latency_seconds"),
                    limit=0.01,
                ),
            ],
        ),
        Row(
            "Services behind the API proxy",
            [
                Panel(
                    "Calls",
                    "By service and answer. `cancelled` is a client that went away.",
                    "reqps",
                    [Query(rate(UPSTREAM, "service, status"), "{{service}} {{status}}")],
                    stacked=True,
                ),
                Panel(
                    "Calls that failed",
                    "5xx, timeouts and refused connections, by service. Ask the service's operator.",
                    "percentunit",
                    [
                        Query(
                            share(
                                rate(UPSTREAM, "service", status="5..|timeout|connection|circuit_open"),
                                rate(UPSTREAM, "service"),
                            ),
                            "{{service}}",
                        )
                    ],
                    limit=0.05,
                ),
                Panel(
                    "Latency of services, p95",
                    "From the call to the service's first byte.",
                    "s",
                    [Query(quantile(0.95, "bff_upstream_latency_seconds", "service"), "{{service}}")],
                ),
                Panel(
                    "Refused as busy",
                    "A service is so slow, or asked so much, that it has its whole share of the workers (503 `busy`)."
                    " Others are not affected. Look at its latency, then at `max_concurrent` in config/routes.yaml.",
                    "reqps",
                    [Query(rate("bff_bulkhead_rejections_total", "service"), "{{service}}")],
                ),
            ],
        ),
        Row(
            "Circuit breakers",
            [
                Panel(
                    "State",
                    "In the worst live worker: 0 closed, 1 half open, 2 open. It closes by itself when the service"
                    " answers.",
                    "short",
                    [Query(f"max by (service) (circuit_breaker_status{{{JOB}}})", "{{service}}")],
                    limit=1,
                ),
                Panel(
                    "Times opened",
                    "Many in a row: the service answers now and then. One: it was restarted.",
                    "short",
                    [Query(f"sum by (service) (increase(circuit_breaks_total{{{JOB}}}{RATE}))", "{{service}}")],
                ),
            ],
        ),
        Row(
            "Kafka and the outbox",
            [
                Panel(
                    "Messages",
                    "`queued` and `delivered` should run together. `retried` is a broker that is slow or away.",
                    "ops",
                    [Query(rate("bff_kafka_messages_total", "status"), "{{status}}")],
                ),
                Panel(
                    "Delivered, by topic",
                    "docs/events.md lists the topic of each event.",
                    "ops",
                    [Query(rate("bff_kafka_messages_total", "topic", status="delivered"), "{{topic}}")],
                ),
                Panel(
                    "Outbox",
                    "Events kept, not yet delivered; the same number in every pod. A line that only rises is a broker"
                    " that is away: at its bound events are lost, and counted.",
                    "short",
                    [
                        Query(f"max(bff_outbox_depth{{{JOB}}})", "events"),
                        Query(f"max(bff_outbox_sealed_out{{{JOB}}})", "without a key"),
                    ],
                    limit=1000,
                ),
                Panel(
                    "Keys that are elsewhere",
                    "What a pod could not open, since only another one has the key. Above zero for a moment while"
                    " BFF_SECRETS are rotated; else a pod was left behind.",
                    "ops",
                    [Query(rate("bff_sealed_elsewhere_total", "kind"), "{{kind}}")],
                ),
                Panel(
                    "Events late, lost or incomplete",
                    "Should be zero. Lost events are never delivered; docs/events.md explains each cause.",
                    "ops",
                    [
                        Query(rate("bff_events_late_total"), "late"),
                        Query(f"{rate('bff_events_lost_total', 'reason')} or vector(0)", "lost {{reason}}"),
                        Query(f"{rate('bff_event_faults_total', 'fault')} or vector(0)", "incomplete {{fault}}"),
                    ],
                ),
                Panel(
                    "Events of anonymous clients, beyond the sample",
                    "A client repeats a request very often. `rate` is as intended; bff_security_events_total has all.",
                    "ops",
                    [Query(f"{rate('bff_events_sampled_out_total', 'reason')} or vector(0)", "{{reason}}")],
                ),
            ],
        ),
    ],
)
