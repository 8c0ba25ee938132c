"""The processes themselves, their background jobs, and what it costs to watch them."""

from deploy.dashboards.panel import RATE, Dashboard, Panel, Query, Row, quantile, quantiles, rate, selected

DASHBOARD = Dashboard(
    "workers",
    "BFF / Workers and scrape",
    "Workers, their resources and jobs, and the scrape itself.",
    [
        Row(
            "Workers",
            [
                Panel(
                    "Live workers",
                    "In each pod. Below WEB_CONCURRENCY for more than seconds: workers cannot start; read the log.",
                    "short",
                    [Query(f"bff_workers{selected()}", "{{instance}}")],
                ),
                Panel(
                    "Workers that ended",
                    "`max_requests` and `stopped` are meant. `killed` is the kernel, mostly for memory; `timeout` is a"
                    " worker that hung.",
                    "short",
                    [
                        Query(
                            f"sum by (reason) (increase(bff_worker_restarts_total{selected()}{RATE}))",
                            "{{reason}}",
                        )
                    ],
                ),
                Panel(
                    "Running versions",
                    "Two lines are a roll-out under way, or one that stopped half-way.",
                    "short",
                    [
                        Query(
                            f"count by (version, python) (bff_build_info{selected()})",
                            "{{version}} on Python {{python}}",
                        )
                    ],
                ),
                Panel(
                    "Which configuration",
                    "Several lines for longer than a roll-out takes: a pod has read other files, or refused a reload.",
                    "short",
                    [Query(f"count by (hash) (bff_config_info{selected()})", "{{hash}}")],
                ),
                Panel(
                    "Age of the configuration",
                    "Since a start or a reload put it into effect. 0 is drawn for a pod whose last reload was refused.",
                    "s",
                    [
                        Query(
                            f"(time() - bff_config_last_reload_success_timestamp_seconds{selected()})"
                            f" * bff_config_last_reload_successful{selected()}",
                            "{{instance}}",
                        )
                    ],
                ),
                Panel(
                    "CPU",
                    "Processors in use, of all processes of a pod. At WEB_CONCURRENCY it is full: add pods.",
                    "short",
                    [Query(f"rate(process_cpu_seconds_total{selected()}{RATE})", "{{instance}}")],
                ),
                Panel(
                    "Resident memory",
                    "Of the live processes of a pod, shared pages counted once for each. It should level off.",
                    "bytes",
                    [Query(f"process_resident_memory_bytes{selected()}", "{{instance}}")],
                ),
                Panel(
                    "Open files, share of the limit",
                    "Connections included. Near 1 new connections fail.",
                    "percentunit",
                    [Query(f"process_open_fds{selected()} / process_max_fds{selected()}", "{{instance}}")],
                    limit=0.8,
                ),
                Panel(
                    "Up since",
                    "When the oldest process of a pod was started; its counters began at zero then.",
                    "dateTimeFromNow",
                    [Query(f"process_start_time_seconds{selected()} * 1000", "{{instance}}")],
                    single=True,
                ),
            ],
        ),
        Row(
            "Background jobs",
            [
                Panel(
                    "Runs",
                    "`skipped` is normal for a job of the whole fleet: another worker had the turn. `failed` is not:"
                    " the log's `task_failed` has the trace.",
                    "ops",
                    [Query(rate("bff_background_tasks_total", "status"), "{{status}}")],
                ),
                Panel(
                    "Failed, by job",
                    "`health_*` fail while what they check is away.",
                    "ops",
                    [
                        Query(
                            f"{rate('bff_background_tasks_total', 'task_type', status='failed')} or vector(0)",
                            "{{task_type}}",
                        )
                    ],
                ),
                Panel(
                    "How long a run takes, p95",
                    "A job that takes longer than its period skips turns.",
                    "s",
                    [Query(quantile(0.95, "bff_background_task_duration_seconds", "task_type"), "{{task_type}}")],
                ),
            ],
        ),
        Row(
            "The scrape",
            [
                Panel(
                    "Target up",
                    "0: Prometheus cannot read the page, so no other panel can be trusted.",
                    "short",
                    [Query(f"up{selected()}", "{{instance}}")],
                ),
                Panel(
                    "Time to write the page",
                    "In the worker that was asked. Above half a second BffScrapeSlow fires; METRICS_BIND moves it to a"
                    " process of its own.",
                    "s",
                    quantiles("bff_metrics_scrape_duration_seconds"),
                    limit=0.5,
                ),
                Panel(
                    "Samples in a scrape",
                    "Closed label values keep this flat. Steady growth is a bug worth a report.",
                    "short",
                    [Query(f"scrape_samples_scraped{selected()}", "{{instance}}")],
                ),
                Panel(
                    "Value files",
                    "Which a scrape reads; those of ended workers are merged, so it follows the number of workers.",
                    "short",
                    [Query(f"bff_metrics_files{selected()}", "{{instance}}")],
                ),
                Panel(
                    "Not told",
                    "Spans and points that the OpenTelemetry collector did not get, and broken value files set aside."
                    " Should be zero.",
                    "short",
                    [
                        Query(
                            f"sum by (signal) (increase(bff_telemetry_dropped_total{selected()}{RATE})) or vector(0)",
                            "dropped {{signal}}",
                        ),
                        Query(f"sum(increase(bff_metrics_files_quarantined_total{selected()}{RATE}))", "files"),
                    ],
                ),
            ],
        ),
    ],
)
