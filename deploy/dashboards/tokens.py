"""Tokens: kept fresh, exchanged, checked; and the provider that all of it depends on."""

from deploy.dashboards.panel import Dashboard, Panel, Query, Row, quantile, quantiles, rate, share

FAILED = "rate(bff_token_refresh_failed_total[5m])"
REFRESHES = "bff_token_refresh_total"
IDP = "bff_idp_requests_total"

DASHBOARD = Dashboard(
    "tokens",
    "BFF / Tokens and provider",
    "Refreshes, exchanges, checks of tokens, and the OpenID Provider's answers.",
    [
        Row(
            "Refreshes",
            [
                Panel(
                    "Refreshes that failed, by cause",
                    "Each pod by itself, over all jobs. `invalid_grant` ends that session and is normal when people log"
                    " out at the provider; everything else leaves the session alone and is tried again.",
                    "ops",
                    [Query(FAILED, "{{reason}} at {{instance}}")],
                ),
                Panel(
                    "Refreshes, by outcome",
                    "`reused`: another worker or pod had just refreshed, so the provider was spared a call.",
                    "ops",
                    [Query(rate(REFRESHES, "service, status"), "{{service}} {{status}}")],
                ),
                Panel(
                    "Share that failed",
                    "Above a tenth for ten minutes BffTokenRefreshFailing fires: sessions will end as their tokens do.",
                    "percentunit",
                    [Query(share(rate(REFRESHES, status="failed"), rate(REFRESHES)), "failed")],
                    limit=0.1,
                ),
                Panel(
                    "How long a refresh takes",
                    "Mostly the provider's token endpoint. Requests wait for it only when a token has ended already.",
                    "s",
                    quantiles("bff_oauth_flow_duration_seconds", flow_type="refresh"),
                ),
                Panel(
                    "Found expired when needed",
                    "Tokens that no worker had refreshed in time. A few are browsers that wake up; many mean the"
                    " background job does not keep up, or the provider issues tokens that live for seconds.",
                    "ops",
                    [Query(rate("bff_token_expiry_total", "service"), "{{service}}")],
                ),
                Panel(
                    "Refreshed, the busiest users",
                    "Each line is one bucket of users. One line far above the others is a client that uses up tokens.",
                    "ops",
                    [Query(f"topk(5, {rate('bff_token_refresh_success_total', 'user_id')})", "{{user_id}}")],
                ),
            ],
        ),
        Row(
            "Other tokens",
            [
                Panel(
                    "Calls to the token endpoint",
                    "By grant and outcome. An `invalid_client` is a wrong secret: correct it before sessions end.",
                    "ops",
                    [Query(rate("bff_token_exchange_total", "grant_type, status"), "{{grant_type}} {{status}}")],
                ),
                Panel(
                    "Tokens checked",
                    "`bad_signature` and `unknown_key` after a change of the provider's keys should stop within a"
                    " minute; otherwise an attacker forges tokens.",
                    "ops",
                    [Query(rate("bff_token_validation_total", "token_type, status"), "{{token_type}} {{status}}")],
                ),
                Panel(
                    "Malformed responses",
                    "A token endpoint that leaves out or garbles something. Show the log's `token_response_fault` to"
                    " the provider's operator.",
                    "ops",
                    [Query(f"{rate('bff_token_response_faults_total', 'fault')} or vector(0)", "{{fault}}")],
                ),
            ],
        ),
        Row(
            "Provider",
            [
                Panel(
                    "Requests to the provider",
                    "By endpoint and answer. `timeout` and `connection` are the network; `circuit_open` was not sent.",
                    "reqps",
                    [Query(rate(IDP, "endpoint, status"), "{{endpoint}} {{status}}")],
                ),
                Panel(
                    "Share without a good answer",
                    "Of 5xx, timeouts and refused connections. Sessions go on meanwhile; logins do not.",
                    "percentunit",
                    [
                        Query(
                            share(
                                rate(IDP, "endpoint", status="5..|timeout|connection|circuit_open|bad_response"),
                                rate(IDP, "endpoint"),
                            ),
                            "{{endpoint}}",
                        )
                    ],
                    limit=0.05,
                ),
                Panel(
                    "Latency of the provider, p95",
                    "Logins and refreshes are as slow as this.",
                    "s",
                    [Query(quantile(0.95, "bff_idp_latency_seconds", "endpoint"), "{{endpoint}}")],
                ),
            ],
        ),
    ],
)
