"""Top1 against a cost: what does a budget buy?"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mfsearch.analysis.confidence import shown_training
from mfsearch.analysis.figures.style import (
    GREY,
    OPACITY,
    PUBLISHED,
    PURPLE,
    RED,
    SEARCHED,
    finish,
    hover_html,
    is_published,
    published_name,
    staircase,
)
from mfsearch.analysis.frame import METRICS, label, shown_limit, telling_knobs, trained_longer
from mfsearch.analysis.pareto import pareto_front, within

COSTS = ("madds", "latency_ms", "num_params")


class Point(NamedTuple):
    """A trained trial in the units of the axes: cost in M or ms, top1 and its standard deviation over seeds in percent
    (NaN with one seed), hover text as HTML. length: of its training, "" where all had the short one."""

    number: int
    cost: float
    cost_low: float
    cost_high: float
    top1: float
    top1_std: float
    length: str
    name: str  # of a published network; "" for what the search found
    hover: str


class TradeoffPoints(NamedTuple):
    """What a tradeoff figure shows; all in the units of the axes."""

    cost: str
    found: list[Point]  # by the search, within the limits
    published: list[Point]  # the paper's networks, as they are or fitted to the budget, the best first
    beyond: list[Point]  # found by the search, over a limit
    front: list[Point]  # on the front of all objectives, whoever found them
    rejected: list[tuple[int, float, str]]  # number, cost, hover: never trained, so without top1
    stopped: list[tuple[int, float, str]]  # given up half way: their top1 is of half a training, so not drawn
    step: list[tuple[float, float]]  # the best top1 for every cost, as the corners of a staircase
    limit: float | None


def tradeoff_points(
    frame: pd.DataFrame, cost: str, objectives: Sequence[str], limits: Mapping[str, float] | None = None
) -> TradeoffPoints:
    """Top1 against one cost: the trials, the front of all `objectives`, and the best top1 that each cost buys.

    `limits` are upper limits in base units by column. Both the front and the staircase are taken within all of them;
    the one on `cost` becomes a line. The staircase looks at this cost alone, so with three objectives a trial on the
    front may lie below it: it is there for its other cost.
    """
    if cost not in COSTS:
        raise ValueError(f"cost must be one of {', '.join(COSTS)}, got {cost!r}")
    limits = limits or {}
    trained = frame[(frame["outcome"] == "trained") & frame["top1"].notna() & frame[cost].notna()]
    inside = within(trained, limits)
    published = is_published(trained)
    best = pareto_front(inside, ["top1", cost]).drop_duplicates(["top1", cost]).sort_values(cost)
    knobs = telling_knobs(frame, 8)
    scale = METRICS[cost].scale
    longer = trained_longer(frame)
    return TradeoffPoints(
        cost=cost,
        found=_points(inside[~is_published(inside)].sort_values(["rung", "number"]), cost, knobs, longer),
        published=_points(trained[published].sort_values("top1", ascending=False), cost, knobs, longer),
        beyond=_points(trained[~published & ~trained.index.isin(inside.index)], cost, knobs, longer),
        front=_points(pareto_front(inside, objectives), cost, knobs, longer),
        rejected=_untrained(frame, "rejected", cost),
        stopped=_untrained(frame, "stopped", cost),
        step=[(row[cost] * scale, row["top1"] * 100) for row in best.to_dict("records")],
        limit=limits[cost] * scale if cost in limits else None,
    )


def draw_tradeoff(points: TradeoffPoints, chosen: int | None = None) -> go.Figure:
    """Top1 against a cost, with the trial `chosen` circled; customdata: numbers.

    Bars are the spread over seeds and the interval of latency. Rejected and stopped trials wait in the legend.
    """
    every = [*points.found, *points.published, *points.beyond]
    costs = [point.cost for point in every] + ([] if points.limit is None else [points.limit])
    left, right = (min(costs), max(costs)) if costs else (0.0, 1.0)
    pad = 0.06 * (right - left) or 0.05 * right or 1.0
    axis = label(points.cost)

    figure = go.Figure()
    if points.beyond:
        figure.add_trace(_markers(points.beyond, "over a limit", 5, {"color": GREY, "size": 7, "opacity": 0.6}))
    if points.step:
        ends = [*points.step, (right if points.limit is None else points.limit, points.step[-1][1])]
        figure.add_trace(staircase(ends, "best top1", 4, RED))
    lengths = list(dict.fromkeys(point.length for point in points.found))  # the shortest first
    for at, length in enumerate(lengths):
        some = [point for point in points.found if point.length == length]
        name = f"searched, {length}" if length else "searched"
        faded = {"opacity": OPACITY * (at + 1) / len(lengths)}  # what stands lower for being shorter recedes
        figure.add_trace(_markers(some, name, 1, SEARCHED | faded))
    if points.published:
        trace = _markers(points.published, "published", 2, PUBLISHED)
        names, sides = _place_names(points.published, left - pad, right + pad)
        figure.add_trace(trace.update(mode="markers+text", text=names, textposition=sides, textfont={"size": 11}))
    if points.front:
        style = {"color": RED, "size": 14, "symbol": "circle-open", "line": {"width": 2}}
        trace = _markers(points.front, "front", 3, style)
        if points.cost == "latency_ms":
            more = [point.cost_high - point.cost for point in points.front]
            less = [point.cost - point.cost_low for point in points.front]
            trace.update(error_x={"array": more, "arrayminus": less, "color": RED, "thickness": 1, "width": 3})
        if any(point.top1_std >= 0 for point in points.front):
            spread = [None if np.isnan(point.top1_std) else point.top1_std for point in points.front]
            trace.update(error_y={"array": spread, "color": RED, "thickness": 1, "width": 3})
        figure.add_trace(trace)
    if picked := [point for point in every if point.number == chosen]:
        style = {"color": PURPLE, "size": 22, "symbol": "circle-open", "line": {"width": 3}}
        figure.add_trace(_markers(picked[:1], f"trial {chosen}", 6, style))
    for name, untrained in (("rejected", points.rejected), ("stopped half way", points.stopped)):
        if untrained and every:
            numbers, x, hovers = zip(*untrained, strict=True)
            floor = min(point.top1 for point in every)
            style = {"color": GREY, "size": 10, "symbol": "line-ns-open"}
            rug = go.Scatter(x=x, y=[floor] * len(x), customdata=numbers, hovertext=hovers, marker=style)
            rug.update(name=name, legendrank=7, mode="markers", hoverinfo="text", visible="legendonly")
            figure.add_trace(rug)
    if points.limit is not None:
        text = f"limit {shown_limit(points.cost, points.limit / METRICS[points.cost].scale)}"
        style = {"color": GREY, "dash": "dash", "width": 1.5}
        figure.add_vline(points.limit, line=style, annotation_text=text, annotation_position="bottom left")
    figure.update_xaxes(title=axis, range=[left - pad, right + pad])
    figure.update_yaxes(title=label("top1"))
    return finish(figure, height=430)


def _points(some: pd.DataFrame, cost: str, knobs: Sequence[str], longer: bool) -> list[Point]:
    """longer: whether the study holds longer trainings, so that the length is worth a word."""
    scale = METRICS[cost].scale
    ends = ("latency_low_ms", "latency_high_ms") if cost == "latency_ms" else (cost, cost)
    return [
        Point(
            number=int(row["number"]),
            cost=row[cost] * scale,
            cost_low=(row[cost] if np.isnan(row[ends[0]]) else row[ends[0]]) * scale,
            cost_high=(row[cost] if np.isnan(row[ends[1]]) else row[ends[1]]) * scale,
            top1=row["top1"] * 100,
            top1_std=row["top1_std"] * 100,
            length=shown_training(row).partition(",")[0] if longer else "",
            name=published_name(row),
            hover=hover_html(row, knobs),
        )
        for row in some.to_dict("records")
    ]


def _untrained(frame: pd.DataFrame, outcome: str, cost: str) -> list[tuple[int, float, str]]:
    """Number, cost in the unit of the axis and hover of the trials with that outcome, whose cost is known."""
    lost = frame[(frame["outcome"] == outcome) & frame[cost].notna()]
    return [
        (
            int(row["number"]),
            row[cost] * METRICS[cost].scale,
            hover_html(row, []) + f"<br>{outcome}: {escape(str(row['reason']))}",
        )
        for row in lost.to_dict("records")
    ]


def _markers(points: Sequence[Point], name: str, rank: int, style: Mapping[str, object]) -> go.Scatter:
    # SVG for a usual study; a canvas where thousands of elements would make the page slow
    kind = go.Scattergl if len(points) > 2000 else go.Scatter
    x, y, numbers, hovers = zip(*((p.cost, p.top1, p.number, p.hover) for p in points), strict=True)
    trace = kind(x=x, y=y, customdata=numbers, hovertext=hovers, hoverinfo="text")
    return trace.update(mode="markers", marker=style, name=name, legendrank=rank)


def _place_names(points: Sequence[Point], left: float, right: float) -> tuple[list[str], list[str]]:
    """Each point's label and the side on which it stands; one that would lie on another is left to the hover."""
    span = max(point.top1 for point in points) - min(point.top1 for point in points) or 1.0
    reach = (right - left) / 3  # about the width of a name
    placed: list[Point] = []
    names, sides = [], []
    for point in points:
        near = [p for p in placed if abs(p.top1 - point.top1) < 0.06 * span and abs(p.cost - point.cost) < reach]
        names.append("" if near else escape(point.name, quote=False))
        sides.append("top left" if point.cost > (left + right) / 2 else "bottom right")  # clear of the front's line
        placed += [] if near else [point]
    return names, sides
