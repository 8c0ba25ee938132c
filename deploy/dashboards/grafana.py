"""Renders a dashboard as Grafana's JSON, by Grafana's own library.

Each dashboard takes its data source and its job from a variable.
"""

import json
from itertools import count

from grafana_foundation_sdk.builders import common, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

from deploy.dashboards.panel import Dashboard, Panel

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, HEIGHT = 24, 8
PER_LINE = 3
TAG = "bff"


def text(dashboard: Dashboard) -> str:
    return json.dumps(_dashboard(dashboard).build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _dashboard(dashboard: Dashboard) -> builder.Dashboard:
    board = (
        builder.Dashboard(dashboard.title)
        .uid(f"bff-{dashboard.name}")
        .description(dashboard.meaning)
        .tags([TAG])
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            builder.DashboardLink("BFF")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
        )
        .with_variable(builder.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            builder.QueryVariable("job")
            .label("Job")
            .datasource(SOURCE)
            .query("label_values(bff_build_info, job)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
    )
    numbers = count(1)
    for row in dashboard.rows:
        board = board.with_row(builder.Row(row.title).id(next(numbers)))
        width = WIDTH // min(PER_LINE, len(row.panels))
        for panel in row.panels:
            board = board.with_panel(_panel(panel, width).id(next(numbers)))
    return board


def _panel(panel: Panel, width: int) -> "stat.Panel | timeseries.Panel":
    made = _digits() if panel.single else _graph(panel)
    made = (
        made.title(panel.title)
        .description(panel.meaning)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(width)
        .height(HEIGHT)
        .thresholds(_thresholds(panel))
    )
    if panel.promise is not None:
        made = made.decimals(3)
    for number, query in enumerate(panel.queries):
        made = made.with_target(
            Dataquery()
            .expr(query.expression)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + number))
            .datasource(SOURCE)
            .exemplar("histogram_quantile" in query.expression)
            .range()
        )
    return made


def _digits() -> stat.Panel:
    return stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _graph(panel: Panel) -> timeseries.Panel:
    graph = (
        timeseries.Panel()
        .fill_opacity(30 if panel.stacked else 10)
        .min(0)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
    )
    if panel.stacked:
        graph = graph.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if panel.limit is not None:
        graph = graph.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    return graph


def _thresholds(panel: Panel) -> builder.ThresholdsConfig:
    if panel.promise is not None:
        steps = [Threshold(value=None, color="red"), Threshold(value=panel.promise, color="green")]
    else:
        steps = [Threshold(value=None, color="green")]
    if panel.limit is not None:
        steps.append(Threshold(value=panel.limit, color="red"))
    return builder.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
