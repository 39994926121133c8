"""Calibrations: how well each way to read a short training ranks, and short against long for one of them."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from mfsearch.analysis.figures.dots import Dot, interval_dots, one_line_each
from mfsearch.analysis.figures.style import BLUE, GREY, ORANGE, PURPLE, RED, SEARCHED, finish
from mfsearch.analysis.metrics import label
from mfsearch.analysis.ranking.agreement import mean_rank
from mfsearch.analysis.ranking.readings import CURVE_READINGS
from mfsearch.study.calibration_file import COSTS, NAMES, GroupFigures, RankedNetwork, Reading
from mfsearch.units import counted

TOP = 5
# The unit of what is read, what it is multiplied by, and whether less of it is better.
UNITS = {
    "top1": ("Top-1 (%)", 100.0, False),
    "val_loss": ("Validation loss (nats)", -1.0, True),
    "loss": ("Training loss (nats)", -1.0, True),
    "mean_loss": ("Mean training loss (nats)", -1.0, True),
    "mean_rank": ("Mean rank (0 = worst)", 1.0, False),
    "madds": (label("madds"), 1e-6, False),
    "params": (label("num_params"), 1e-6, False),
}


class Forest(NamedTuple):
    """Kendall's tau of every reading of a group with its 95 % interval. ceilings: what seed noise allows, by name."""

    names: list[str]  # as HTML, from top to bottom; the chosen one is bold
    trained: list[Dot]
    costs: list[Dot]
    zero_cost: list[Dot]
    ceilings: list[tuple[str, float]]
    target: float


class ShortLongPoint(NamedTuple):
    """A network read short and trained long: both in the units of the axes. best: among the five best after long."""

    short: float
    long: float
    best: bool
    hover: str


class ShortLong(NamedTuple):
    """Networks by one reading and by their long top1. noise: standard deviation of the long top1 in points, NaN if
    unknown. reversed: whether less is better; the axis is then reversed, so that better is to the right."""

    points: list[ShortLongPoint]
    axis: str
    noise: float
    reversed: bool


def forest(group: GroupFigures, chosen: Reading | None = None) -> Forest:
    """The readings of a calibration's group that have a tau."""
    found = Forest([], [], [], [], [], group.target)
    for row in group.proxies:
        if row.tau is None:
            continue
        text = escape(row.reading.words.replace(" after", ","), quote=False)
        name = f"<b>{text}</b>" if row.reading == chosen else text
        low, high = (np.nan if end is None else end for end in (row.low, row.high))
        interval = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
        hover = f"<b>{text}</b><br>tau {row.tau:.2f}{interval}, n = {row.n}"
        dots = found.costs if row.name in COSTS else found.trained if row.name in NAMES else found.zero_cost
        if row.ceiling is not None:
            hover += f"<br>seed noise allows about {row.ceiling:.2f}"
            if dots is found.trained:
                found.ceilings.append((name, row.ceiling))
        hover += f"<br>{row.core_seconds:.1f} core-seconds a network"
        dots.append(Dot(name, row.tau, low, high, hover))
        found.names.append(name)
    return found


def draw_forest(found: Forest) -> go.Figure:
    """Each score's tau with its interval; marks show the highest tau that seed noise allows, a line the target."""
    figure = go.Figure()
    looks = (
        (found.trained, "short training", BLUE, "circle"),
        (found.costs, "multiply-adds, parameters", ORANGE, "square"),
        (found.zero_cost, "zero-cost", PURPLE, "diamond-open"),
    )
    for dots, name, colour, symbol in looks:
        if dots:
            figure.add_trace(interval_dots(dots, name, colour, symbol))
    if found.ceilings:
        names, values = zip(*found.ceilings, strict=True)
        hovers = [f"seed noise allows about {value:.2f}" for value in values]
        mark = {"symbol": "line-ns-open", "size": 14, "color": GREY, "line": {"width": 3, "color": GREY}}
        trace = go.Scatter(x=values, y=names, mode="markers", marker=mark, hovertext=hovers, hoverinfo="text")
        figure.add_trace(trace.update(name="noise ceiling"))
    figure.add_vline(0, line={"color": GREY, "width": 1.5})
    style = {"color": GREY, "width": 1.5, "dash": "dash"}
    text = {"annotation_text": f"target {found.target:g}", "annotation_position": "top"}
    figure.add_vline(found.target, line=style, **text)
    figure.update_xaxes(title="Tau with the long training", range=[-1.02, 1.02])
    figure = finish(figure, height=150 + 24 * len(found.names))
    one_line_each(figure, found.names)
    return figure.update_layout(margin={"l": 8, "r": 16, "t": 28, "b": 96})


def short_long(group: GroupFigures, reading: Reading, long_noise: float | None) -> ShortLong:
    """Every network of a group that has the reading, and its long top1."""
    title, scale, less = UNITS.get(reading.name, (f"{reading.name} (score)", 1.0, False))
    values = _values(group.networks, reading)
    long = [network.long_top1 for network in group.networks]
    last = sorted(long, reverse=True)[:TOP][-1] if long else 0.0
    points = [
        ShortLongPoint(
            short=value * scale,
            long=100 * top1,
            best=top1 >= last,
            hover=f"<b>{network.arch_id}</b><br>Top-1 after the long training {100 * top1:.2f} %<br>"
            f"{escape(title)} {value * scale:.4g}<br>{network.madds / 1e6:.1f} M multiply-adds",
        )
        for network, value, top1 in zip(group.networks, values, long, strict=True)
        if not np.isnan(value)
    ]
    return ShortLong(points, title, np.nan if long_noise is None else 100 * long_noise, less)


def draw_short_long(found: ShortLong, epochs: float | None) -> go.Figure:
    """Long top1 against what was read, the better to the right; bars are the long training's own seed noise."""
    figure = go.Figure()
    best = {"color": RED, "size": 11, "symbol": "diamond"}
    for is_best, name, marker in ((False, "Others", SEARCHED), (True, "Five best after the long training", best)):
        some = [point for point in found.points if point.best == is_best]
        if some:
            trace = go.Scatter(x=[point.short for point in some], y=[point.long for point in some], mode="markers")
            trace.update(hovertext=[point.hover for point in some], hoverinfo="text", marker=marker, name=name)
            if not np.isnan(found.noise):
                bars = {"type": "constant", "value": found.noise, "color": GREY, "thickness": 1, "width": 2}
                trace.update(error_y=bars)
            figure.add_trace(trace)
    after = "" if epochs is None else f" after {counted(epochs, 'epoch')}"
    figure.update_xaxes(title=found.axis + after, autorange="reversed" if found.reversed else None)
    figure.update_yaxes(title="Top-1 after the long training (%)")
    return finish(figure, height=430).update_layout(margin={"l": 64, "r": 16, "t": 16, "b": 84})


def _values(networks: Sequence[RankedNetwork], reading: Reading) -> list[float]:
    """The reading of each network, more is better; NaN where it has none."""
    if reading.name in COSTS:
        return [float(network.madds if reading.name == "madds" else network.num_params) for network in networks]
    if reading.epochs is None:
        scores = [network.zero_cost.get(reading.name) for network in networks]
        return [np.nan if score is None or score.score is None else score.score for score in scores]
    curves = [network.short for network in networks]
    if reading.name == "mean_rank":
        top1, loss = ([CURVE_READINGS[name](curve, reading.epochs) for curve in curves] for name in ("top1", "loss"))
        return [float(rank) for rank in mean_rank(top1, loss)]
    return [CURVE_READINGS[reading.name](curve, reading.epochs) for curve in curves]
