"""Who comes, who leaves and why; and how far logins get."""

from deploy.dashboards.panel import JOB, Dashboard, Panel, Query, Row, quantile, quantiles, rate, share

STARTED = rate("bff_logins_total", result="started")

DASHBOARD = Dashboard(
    "sessions",
    "BFF / Sessions and logins",
    "Sessions as they begin, live and end, and the funnel of logins.",
    [
        Row(
            "Sessions",
            [
                Panel(
                    "Active sessions",
                    "Read from the store, and the same number in every pod, so never add pods up. Missing while the"
                    " store is away.",
                    "short",
                    [Query(f"max(bff_active_sessions_total{{{JOB}}})", "sessions")],
                ),
                Panel(
                    "Created",
                    "Sessions created, one for each login that succeeded. It follows your users' day.",
                    "ops",
                    [Query(rate("bff_sessions_created_total"), "created")],
                ),
                Panel(
                    "Ended, by cause",
                    "`refresh_rejected` is a provider that takes grants back; a wave of `backchannel` is a"
                    " provider that logs people out; `store_reset`: the store had lost its data.",
                    "ops",
                    [
                        Query(rate("bff_sessions_destroyed_total", "reason"), "{{reason}}"),
                        Query(f"{rate('bff_store_resets_total')} or vector(0)", "resets of the store"),
                    ],
                    stacked=True,
                ),
                Panel(
                    "Session cache, share of hits",
                    "Look-ups answered from the worker's memory. Low with many users and few requests each; suddenly"
                    " low means the invalidation listener lost Redis (`bypass`).",
                    "percentunit",
                    [
                        Query(
                            share(
                                rate("bff_session_cache_total", result="hit"),
                                rate("bff_session_cache_total", result="hit|miss|bypass|grace"),
                            ),
                            "hits",
                        )
                    ],
                ),
                Panel(
                    "Requests bound to another client",
                    "The session's cookie came from another network or browser. A few are phones that change networks;"
                    " many from one address are stolen cookies: look for `security.session.binding` in the log.",
                    "ops",
                    [Query(rate("bff_session_binding_failures_total", "reason"), "{{reason}}")],
                ),
                Panel(
                    "Session validation",
                    "Time to decide whether a request belongs to a live session: the store's part of each verify.",
                    "s",
                    quantiles("bff_session_validation_duration_seconds"),
                ),
            ],
        ),
        Row(
            "Logins",
            [
                Panel(
                    "The funnel",
                    "Logins that were started, and those that led to a session. The gap is people who gave up or"
                    " failed.",
                    "ops",
                    [
                        Query(STARTED, "started"),
                        Query(rate("bff_logins_total", result="success"), "success"),
                    ],
                ),
                Panel(
                    "Logins that failed, by cause",
                    "`state_*` are stale tabs and double clicks, or forged callbacks when they come in numbers;"
                    " `idp_error` and `token_endpoint` are the provider; `cancelled` is a person's choice; `loop` is a"
                    " page that sends its visitors to log in for ever; `store` is Redis.",
                    "ops",
                    [
                        Query(
                            rate(
                                "bff_logins_total",
                                "result",
                                result="cancelled|idp_error|state_.*|nonce|id_token|token_endpoint|store|loop",
                            ),
                            "{{result}}",
                        )
                    ],
                ),
                Panel(
                    "Logins completed",
                    "Success as a share of those started. People who abandon the provider's form count against it, so"
                    " compare it with last week rather than with 100 %.",
                    "percentunit",
                    [Query(share(rate("bff_logins_total", result="success"), STARTED), "completed")],
                ),
                Panel(
                    "How long a login takes a person",
                    "From the redirect to the provider until the session exists, passwords included.",
                    "s",
                    quantiles("bff_oauth_flow_duration_seconds", flow_type="login"),
                ),
                Panel(
                    "Time of each flow, p95",
                    "`authorization_code` is the callback's own work, mostly the provider's token endpoint.",
                    "s",
                    [
                        Query(
                            quantile(0.95, "bff_oauth_flow_duration_seconds", "flow_type", flow_type="[^l].*|logout"),
                            "{{flow_type}}",
                        )
                    ],
                ),
                Panel(
                    "Forgery and excess",
                    "Unsafe requests without a valid CSRF proof, requests over a limit, and requests from a proxy that"
                    " TRUSTED_PROXIES does not name: if that is all of them, add it. After a release of your"
                    " application CSRF violations are usually a page that forgot the header.",
                    "ops",
                    [
                        Query(rate("bff_csrf_violations_total", "reason"), "csrf {{reason}}"),
                        Query(rate("bff_rate_limit_hits_total", "limit"), "limit {{limit}}"),
                        Query(rate("bff_untrusted_forwarding_total"), "untrusted forwarding"),
                    ],
                ),
                Panel(
                    "Over a limit, the busiest clients",
                    "Each line is one bucket of clients, so one line alone is one client, or few. Security events tell"
                    " which limit was hit.",
                    "ops",
                    [Query(f"topk(5, {rate('bff_rate_limit_violations_total', 'client_id')})", "{{client_id}}")],
                ),
            ],
        ),
    ],
)
