"""Where one network's costs lie: by part, and block by block."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mfsearch.analysis.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, finish
from mfsearch.analysis.latency.by_part import PARTS
from mfsearch.analysis.metrics import METRICS, label
from mfsearch.cost.latency_model import Prediction

PREDICTED = "predicted_ms"
BAR_METRICS = ("madds", "num_params", PREDICTED)
LOOKS = {  # colour and pattern, so that no part depends on its colour alone
    "mobile": (BLUE, ""),
    "dyrelu": (ORANGE, "/"),
    "to_former": (GREEN, "x"),
    "former": (RED, "."),
    "to_mobile": (PURPLE, "\\"),
    "head": (SKY, "-"),
    "run": (GREY, "+"),
}


class CostBar(NamedTuple):
    """One part: its cost at each place and in all, in the units of the axis; low and high: of the sum, NaN if exact."""

    part: str
    values: list[float]
    total: float
    low: float
    high: float


class PartBars(NamedTuple):
    """The content of `draw_parts`: places in the order of the forward pass, parts in the order of PARTS."""

    axis: str
    unit: str
    places: list[str]
    parts: list[CostBar]


def part_bars(costs: pd.DataFrame, metric: str, predicted: dict[str, Prediction] | None = None) -> PartBars:
    """The costs of `part_costs` in one of BAR_METRICS, without parts and places that take none of it.

    predicted: intervals of the parts' sums, for PREDICTED.
    """
    if metric not in BAR_METRICS:
        raise ValueError(f"metric must be one of {', '.join(BAR_METRICS)}, got {metric!r}")
    axis, unit, scale = "Predicted latency (ms)", "ms", 1.0
    if metric != PREDICTED:
        axis, unit, scale = label(metric), METRICS[metric].unit, METRICS[metric].scale
    taken = costs[costs[metric] > 0]
    taken = taken.assign(cost=taken[metric].astype("float64") * scale)
    table = taken.pivot_table(index="place", columns="part", values="cost", aggfunc="sum", fill_value=0.0)
    places = [place for place in dict.fromkeys(costs["place"]) if place in table.index]
    parts = []
    for part in (part for part in PARTS if part in table.columns):
        values = [float(value) for value in table.loc[places, part]]
        ends = (np.nan, np.nan)
        if metric == PREDICTED and predicted is not None:
            ends = (predicted[part].low_ms, predicted[part].high_ms)
        parts.append(CostBar(part, values, sum(values), *ends))
    return PartBars(axis, unit, places, parts)


def draw_parts(bars: PartBars) -> go.Figure:
    """A bar for each part in all, with its share and interval, above one for each place, stacked by part."""
    rows = (len(bars.parts), len(bars.places))
    figure = make_subplots(rows=2, cols=1, row_heights=list(rows), vertical_spacing=90 / (24 * sum(rows) + 190))
    total = sum(bar.total for bar in bars.parts)
    for bar in bars.parts:
        colour, pattern = LOOKS[bar.part]
        name = PARTS[bar.part]
        hatch = {"shape": pattern, "fillmode": "overlay", "fgcolor": "white", "solidity": 0.2, "size": 7}
        look = {
            "name": name,
            "legendgroup": bar.part,
            "orientation": "h",
            "marker": {"color": colour, "pattern": hatch},
            "hovertemplate": f"{name}, %{{y}}: %{{x:.4~g}} {bars.unit}<extra></extra>",
        }
        share = bar.total / total
        text = f"{bar.total:.3g} {bars.unit}, " + (f"{100 * share:.0f} %" if share >= 0.01 else "&lt; 1 %")
        summed = go.Bar(x=[bar.total], y=[name], showlegend=False, **look)
        if not np.isnan(bar.low):
            ends = {"type": "data", "symmetric": False, "thickness": 1.5, "width": 4, "color": GREY}
            summed.update(error_x=ends | {"array": [bar.high - bar.total], "arrayminus": [bar.total - bar.low]})
        figure.add_trace(summed, row=1, col=1)
        beside = {"text": text, "showarrow": False, "xanchor": "left", "xshift": 6}
        figure.add_annotation(x=np.fmax(bar.total, bar.high), y=name, row=1, col=1, **beside)
        figure.add_trace(go.Bar(x=bar.values, y=bars.places, **look), row=2, col=1)
    figure.update_yaxes(autorange="reversed", type="category")
    widest = max((float(np.fmax(bar.total, bar.high)) for bar in bars.parts), default=1.0)
    figure.update_xaxes(title=f"{bars.axis} by part", range=[0, 1.2 * widest], row=1, col=1)
    figure.update_xaxes(title=f"{bars.axis} by block", rangemode="tozero", row=2, col=1)
    figure = finish(figure, height=24 * sum(rows) + 190).update_yaxes(showgrid=False)
    return figure.update_layout(barmode="stack", bargap=0.25, margin={"l": 110, "r": 90, "b": 90})
