"""The figures of a study. One function gathers plain data, another draws it; nothing else imports plotly."""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.io import to_html
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from mfsearch.analysis.confidence import longest, shown_probability, shown_training
from mfsearch.analysis.frame import (
    KNOB,
    METRICS,
    label,
    short_top1,
    shown,
    shown_limit,
    shown_top1,
    telling_knobs,
    trained_longer,
)
from mfsearch.analysis.pareto import pareto_front, within

COSTS = ("madds", "latency_ms", "num_params")

# Okabe and Ito's palette, told apart with any colour vision; without its black and yellow, which vanish on one ground.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
GREY = "#808080"  # read on white and on near black alike
GRID = "rgba(128, 128, 128, 0.22)"
OPACITY = 0.85
SEARCHED = {"color": SKY, "size": 8, "opacity": OPACITY, "line": {"color": BLUE, "width": 1}}
PUBLISHED = {"color": GREEN, "size": 10, "symbol": "diamond"}
CONFIG = {"showSendToCloud": False, "displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d"]}


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


class Progress(NamedTuple):
    """Trials over time: top1 in percent of each trained one after the short training, and the best so far."""

    found: list[tuple[int, float, str]]  # number, top1, hover
    published: list[tuple[int, float, str]]
    best: list[tuple[int, float]]
    longer: bool  # whether some were trained longer after that


class CurveLine(NamedTuple):
    """One trial's training: its epochs, top1 in percent and loss in nats after each (NaN where it was not taken)."""

    number: int
    name: str
    epochs: list[float]
    top1: list[float]
    loss: list[float]


class ResolutionLine(NamedTuple):
    """A network's milliseconds at rising sides of the image in pixels; NaN as bounds where no interval is known."""

    name: str
    sides: list[int]
    ms: list[float]
    low_ms: list[float]
    high_ms: list[float]


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
    published = _is_published(trained)
    best = pareto_front(inside, ["top1", cost]).drop_duplicates(["top1", cost]).sort_values(cost)
    knobs = telling_knobs(frame, 8)
    scale = METRICS[cost].scale
    longer = trained_longer(frame)
    return TradeoffPoints(
        cost=cost,
        found=_points(inside[~_is_published(inside)].sort_values(["rung", "number"]), cost, knobs, longer),
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
        figure.add_trace(_line(ends, "best top1", 4, RED))
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
    return _finish(figure, height=430)


def progress_points(frame: pd.DataFrame, limits: Mapping[str, float] | None = None) -> Progress:
    """Top1 of the trained trials that keep the upper `limits`, by number, and the best one so far after each.

    Top1 is that of the short training: who was trained longer is told by the hover.
    """
    trained = within(frame[(frame["outcome"] == "trained") & frame["top1"].notna()], limits or {})
    knobs = telling_knobs(frame, 8)
    published = _is_published(trained)
    short = short_top1(trained) * 100

    def gather(some: pd.DataFrame) -> list[tuple[int, float, str]]:
        rows = zip(some.to_dict("records"), short[some.index], strict=True)
        return [(int(row["number"]), top1, hover_html(row, knobs)) for row, top1 in rows]

    best = np.maximum.accumulate(short.to_numpy(dtype=np.float64))
    return Progress(
        found=gather(trained[~published]),
        published=gather(trained[published]),
        best=list(zip(trained["number"].astype(int).tolist(), best.tolist(), strict=True)),
        longer=trained_longer(frame),
    )


def draw_progress(progress: Progress) -> go.Figure:
    """Top1 against the trial's number: does the search still gain?"""
    figure = go.Figure()
    if progress.best:
        figure.add_trace(_line(progress.best, "best so far", 3, RED))
    looks = (
        (progress.found, "searched", SEARCHED),
        (progress.published, "published", PUBLISHED),
    )
    for points, name, style in looks:
        if points:
            numbers, top1, hovers = zip(*points, strict=True)
            trace = go.Scatter(x=numbers, y=top1, customdata=numbers, hovertext=hovers, hoverinfo="text")
            figure.add_trace(trace.update(mode="markers", name=name, marker=style))
    figure.update_xaxes(title="trial (number)")
    figure.update_yaxes(title=label("top1") + (" of the short training" if progress.longer else ""))
    return _finish(figure, height=360)


def curve_lines(front: pd.DataFrame) -> list[CurveLine]:
    """The curves of each row's longest training, of its first seed, in the order of the rows that have one."""
    lines: list[CurveLine] = []
    for row in front.to_dict("records"):
        if curve := longest(row).curve:
            taken = {key: [_number(entry.get(key)) for entry in curve] for key in ("epoch", "top1", "loss")}
            top1 = [value * 100 for value in taken["top1"]]
            lines.append(CurveLine(int(row["number"]), _name(row), taken["epoch"], top1, taken["loss"]))
    return lines


def draw_curves(lines: Sequence[CurveLine]) -> go.Figure:
    """Top1 above, training loss below, against the epoch: is a network still learning when its training ends?"""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    colours, dashes = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY), ("solid", "dash", "dot", "dashdot")
    for at, line in enumerate(lines):
        style = {"color": colours[at % len(colours)], "dash": dashes[at // len(colours) % len(dashes)], "width": 2}
        name = escape(f"trial {line.number}" + (f", {line.name}" if line.name else ""), quote=False)
        for row, values in ((1, line.top1), (2, line.loss)):
            taken = zip(line.epochs, values, strict=True)
            hovers = [f"{name}<br>epoch {epoch:g}: {value:.2f}" for epoch, value in taken]
            trace = go.Scatter(x=line.epochs, y=values, name=name, legendgroup=str(line.number), hovertext=hovers)
            trace.update(hoverinfo="text", mode="lines+markers", marker={"size": 4}, line=style, showlegend=row == 1)
            figure.add_trace(trace.update(customdata=[line.number] * len(values)), row=row, col=1)
    figure.update_yaxes(title=label("top1"), row=1, col=1)
    figure.update_yaxes(title="training loss (nats)", row=2, col=1)
    figure.update_xaxes(title="epoch (number)", row=2, col=1)
    return _finish(figure, height=480).update_layout(showlegend=len(lines) > 1)


def resolution_lines(rows: Sequence[Mapping[str, object]]) -> list[ResolutionLine]:
    """One line a network, by rising side; rows with name, resolution and latency_*_ms, interval or none."""
    names = dict.fromkeys(str(row["name"]) for row in rows)
    lines = []
    for name in names:
        own = sorted((row for row in rows if row["name"] == name), key=lambda row: _number(row["resolution"]))
        ms, low, high = ([_number(row[f"latency_{which}ms"]) for row in own] for which in ("", "low_", "high_"))
        lines.append(ResolutionLine(name, [int(_number(row["resolution"])) for row in own], ms, low, high))
    return lines


def draw_resolutions(lines: Sequence[ResolutionLine], title: str) -> go.Figure:
    """Latency against the side of the image, both on logarithmic scales: a slope of 2 is proportional to the pixels.

    title: the device and what else the milliseconds belong to.
    """
    figure = go.Figure()
    for line, colour in zip(lines, itertools.cycle((BLUE, ORANGE, GREEN, RED, SKY, PURPLE)), strict=False):
        above, below = (np.abs(np.subtract(ends, line.ms)) for ends in (line.high_ms, line.low_ms))
        bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1}
        trace = go.Scatter(x=line.sides, y=line.ms, name=line.name, mode="lines+markers", line={"color": colour})
        figure.add_trace(trace.update(error_y=bars, hovertemplate="%{x} px: %{y:.2f} ms"))
    sides = sorted({side for line in lines for side in line.sides})
    figure.update_xaxes(title="side of the image (px)", type="log", tickvals=sides)
    ticks = [digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5)]
    figure.update_yaxes(title="latency_ms", type="log", tickvals=ticks)
    head = {"text": escape(title, quote=False), "font": {"size": 14}}
    return _finish(figure, 490).update_layout(title=head, margin={"t": 46})


def write_figure(figure: go.Figure, path: Path) -> None:
    """The figure as a page of its own that loads nothing from anywhere."""
    path.write_text(to_html(figure, config=CONFIG, include_plotlyjs=True), encoding="utf-8")


def hover_html(row: Mapping[Hashable, object], knobs: Sequence[str]) -> str:
    """What hovering over a trial tells, as HTML, texts escaped: number, origin, metrics, how sure it is, knobs."""
    lines = [f"<b>trial {row['number']}</b> · {escape(str(row['origin']), quote=False)}"]
    for name in METRICS:
        value = _number(row[name])
        if np.isnan(value):
            continue
        if name == "top1":
            lines.append(_hover_top1(row))
            continue
        low, high = (_number(row.get(f"latency_{side}_ms")) for side in ("low", "high"))
        interval = f" ({low:.2f} to {high:.2f})" if name == "latency_ms" and low <= high else ""
        lines.append(f"{name} {shown(name, value)}{interval}")
    settings = [f"{name} = {row[KNOB + name]}" for name in knobs if row[KNOB + name] is not None]
    lines += [f"<i>{escape(setting[:60], quote=False)}</i>" for setting in settings]
    return "<br>".join(lines)


def _hover_top1(row: Mapping[Hashable, object]) -> str:
    """Top1 with its spread, how long it was trained for, the short top1, and its place on the front, where known."""
    text = shown_top1(_number(row["top1"]), _number(row["top1_std"]))
    if row["outcome"] == "stopped":
        return f"top1 half way {text}"
    if _number(row["rung"]) > 0:
        text += f" ({shown_training(row)}; {shown('top1', _number(row['top1_short']))} after the short training)"
    if not np.isnan(share := _number(row["front_probability"])):
        text += f"<br>on the front with probability {escape(shown_probability(share))}"
    if row["tied_with"]:
        text += f"<br>tied with {row['tied_with']}"
    return f"top1 {text}"


def figure_html(figure: go.Figure, name: str) -> str:
    """The figure as an HTML element with the id `name`, for a page that holds `plotly_script` once."""
    return str(to_html(figure, config=CONFIG, include_plotlyjs=False, full_html=False, div_id=name))


def plotly_script() -> str:
    """plotly.js in full, so that a page needs no network."""
    return f"<script>{get_plotlyjs()}</script>"


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
            name=_name(row),
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


def _is_published(some: pd.DataFrame) -> "pd.Series[bool]":
    return some["origin"].map(lambda origin: str(origin).startswith(("preset", "fitted"))).astype(bool)


def _name(row: Mapping[Hashable, object]) -> str:
    """ "mf-96m" for the origin "preset mf-96m", "mf-96m fitted" for "fitted mf-96m", else ""."""
    kind, _, name = str(row["origin"]).partition(" ")
    return {"preset": name, "fitted": f"{name} fitted"}.get(kind, "")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _markers(points: Sequence[Point], name: str, rank: int, style: Mapping[str, object]) -> go.Scatter:
    # SVG for a usual study; a canvas where thousands of elements would make the page slow
    kind = go.Scattergl if len(points) > 2000 else go.Scatter
    x, y, numbers, hovers = zip(*((p.cost, p.top1, p.number, p.hover) for p in points), strict=True)
    trace = kind(x=x, y=y, customdata=numbers, hovertext=hovers, hoverinfo="text")
    return trace.update(mode="markers", marker=style, name=name, legendrank=rank)


def _line(corners: Sequence[tuple[float, float]], name: str, rank: int, colour: str) -> go.Scatter:
    x, y = zip(*corners, strict=True)
    line = go.Scatter(x=x, y=y, mode="lines", hoverinfo="skip", line={"color": colour, "shape": "hv"})
    return line.update(name=name, legendrank=rank)


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


def _finish(figure: go.Figure, height: int) -> go.Figure:
    """The look that all figures share: no ground of their own, so that they read on a light page and on a dark one."""
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=GREY, title_standoff=8)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor=GREY, title_standoff=8)
    # A template, not the layout: a page with a theme of its own, such as the explorer, may put it in its place.
    look = {
        "font": {"color": GREY, "size": 13, "family": "system-ui, sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom", "yref": "container"}
    margin = {"l": 56, "r": 16, "t": 16, "b": 48}
    hover = {"align": "left", "font": {"size": 12}}
    # No drag: on a phone it would hold the page fast; zooming has its button.
    bars = {"dragmode": False, "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE}}
    return figure.update_layout(
        template={"layout": look}, height=height, legend=legend, margin=margin, hoverlabel=hover, **bars
    )
