"""Browser dashboard: reported events, web vitals, and refused reports."""

from deploy.dashboards.panel import Dashboard, Panel, Query, Row, quantile, rate

VITALS = "bff_public_web_vitals"


def vital(names: str) -> list[Query]:
    return [Query(quantile(0.75, VITALS, "name", name=names), "{{name}}")]


DASHBOARD = Dashboard(
    "spa",
    "BFF / Single-page application",
    "The application as its users' browsers see it, by the beacon.",
    [
        Row(
            "Web vitals, p75",
            [
                Panel(
                    "LCP",
                    "When the largest part of a page was painted. Good up to 2.5 s, poor above 4 s.",
                    "s",
                    vital("LCP"),
                    limit=4,
                ),
                Panel(
                    "INP",
                    "How long the page takes to answer a click. Good up to 0.2 s, poor above 0.5 s.",
                    "s",
                    vital("INP"),
                    limit=0.5,
                ),
                Panel(
                    "CLS",
                    "How much the page jumps while it loads; no unit. Good up to 0.1, poor above 0.25.",
                    "short",
                    vital("CLS"),
                    limit=0.25,
                ),
                Panel(
                    "First byte and first paint",
                    "TTFB is network and server: good up to 0.8 s. FCP is when anything was painted: good up to 1.8 s.",
                    "s",
                    vital("TTFB|FCP"),
                ),
                Panel(
                    "Measurements",
                    "How many browsers reported each. Quantiles of a handful mean little.",
                    "ops",
                    [Query(rate(f"{VITALS}_count", "name"), "{{name}}")],
                ),
            ],
        ),
        Row(
            "Events",
            [
                Panel(
                    "Reported",
                    "By name, where PUBLIC_METRICS_EVENTS declares it. A jump of `spa_error` after a release is that"
                    " release.",
                    "ops",
                    [Query(rate("bff_public_metrics_total", "event"), "{{event}}")],
                ),
                Panel(
                    "Refused",
                    "`secret` and `personal_data`: the application reports what it must not; find the field in the"
                    " answer to the browser. `unknown_event` is counted as `other` all the same.",
                    "ops",
                    [Query(rate("bff_public_metrics_rejected_total", "reason"), "{{reason}}")],
                ),
            ],
        ),
    ],
)
