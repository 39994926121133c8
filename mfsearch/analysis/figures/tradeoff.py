"""Top1 against what it costs: what does a budget buy?"""

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import hex_to_rgb, sample_colorscale

from mfsearch.analysis.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    finish,
    hover_html,
    is_published,
    published_name,
    staircase,
)
from mfsearch.analysis.front.confidence import shown_length
from mfsearch.analysis.front.cut import best_number, keeps, pareto_front
from mfsearch.analysis.front.summary import comparable
from mfsearch.analysis.latency.kept_latency import KeptRow, latest
from mfsearch.analysis.metrics import (
    METRICS,
    RankedTrial,
    label,
    ranked_trials,
    shown_limit,
    telling_knobs,
    trained_longer,
    training_lengths,
)
from mfsearch.proxy.rungs import CUT
from mfsearch.references import PUBLISHED, Reference
from mfsearch.references.counts import COUNTS
from mfsearch.study.kept_parent import KeptParent
from mfsearch.study.task_file import TaskRecord
from mfsearch.study.trial import Trial

COSTS = ("madds", "latency_ms", "num_params")
SYMBOLS = ("circle", "triangle-up", "square", "star")  # by length of training, the shortest first
DASHES = ("solid", "dash", "dot", "dashdot")  # by length, too
SCALE = sample_colorscale("Cividis", [0.3, 0.475, 0.65, 0.825, 1.0])  # its dark end is lost on a dark page
HOVERED = 1000  # points of one kind that are drawn and carry a text each; of more, their density, the hover metrics
CELLS = (200, 130)  # of a figure's density, across and up: about 3 by 3 pixels each on a laptop's screen
TIES = 100  # drawn at once; of more only those of the chosen trial
FARTHEST = 1.5  # times the dearest trial: the cost up to which other families are drawn
TOLD = ("madds", "latency_ms", "num_params")  # those metrics, beside top1


class Point(NamedTuple):
    """A trained trial in the units of the axes: cost in M or ms, top1 and its standard error in percent (NaN where
    unknown), hover text as HTML. length: of its training, "" where all had the short one."""

    number: int
    cost: float
    cost_low: float
    cost_high: float
    top1: float
    top1_error: float
    length: str
    name: str  # of a published network; "" for what the search found
    colour: float  # the metric that colours stand for, NaN where there is none
    hover: str


class Cloud(NamedTuple):
    """Many trained trials by column, in the units of the axes; hovers: None if there are too many for texts."""

    numbers: NDArray[np.int64]
    cost: NDArray[np.float32]
    top1: NDArray[np.float32]
    lengths: list[str]
    told: NDArray[np.float32]  # [N, 3]: TOLD
    hovers: list[str] | None


class Mark(NamedTuple):
    """A published system: M multiply-adds or milliseconds, ImageNet top1 in percent. unverified: quoted from memory, in
    a part."""

    name: str
    cost: float
    top1: float
    own: bool  # a Mobile-Former
    unverified: bool
    hover: str


class TradeoffPoints(NamedTuple):
    """The content of a tradeoff figure, in the units of the axes."""

    cost: str
    colour: str | None  # the metric of the front's colours
    front: list[Point]  # on the front of all objectives, whoever found them, the shortest training first
    dominated: Cloud  # within the limits, off the front
    beyond: Cloud  # over a limit
    published: list[Point]  # the paper's networks trained here, as they are or fitted to the budget, the best first
    pinned: list[Point]
    best: int | None  # number of the front's best trial
    ties: list[tuple[int, int]]  # member of the front, and one within the limits that top1 cannot tell from it
    rejected: list[tuple[int, float, str]]  # number, cost, hover: never trained, so without top1
    stopped: list[tuple[int, float, str]]  # given up half way: their top1 is of half a training, so not drawn
    steps: dict[str, list[tuple[float, float]]]  # by length of training: the best top1 for every cost, as corners
    limit: float | None
    elsewhere: list[Mark]  # published by others after a full training on ImageNet, by rising cost
    baseline: float | None  # milliseconds of MobileNetV3-Large here, where the cost is latency and it was the reference
    parent: Point | None = None  # the network that all were cut from, where this cost of it is known; not a trial


class Brush(NamedTuple):
    """A region that was marked in a figure: cost in the unit of its axis, top1 in percent."""

    cost: str
    low: float
    high: float
    top1_low: float
    top1_high: float


def tradeoff_points(
    frame: pd.DataFrame,
    cost: str,
    objectives: Sequence[str],
    limits: Mapping[str, float] | None = None,
    *,
    front: pd.DataFrame | None = None,
    colour: str | None = None,
    pins: Collection[int] = (),
    knobs: Sequence[str] | None = None,
    parent: KeptParent | None = None,
) -> TradeoffPoints:
    """Top1 against one cost: the trials, the front of all `objectives`, and the best top1 that each cost buys, by
    length of training.

    `limits` are upper limits in base units by column. Both the front and the staircase are taken within all of them;
    the one on `cost` becomes a line. A staircase looks at this cost alone, so with three objectives a trial on the
    front may lie below it: it is there for its other cost. `front`: that of the rows of `frame` within the limits, if
    the caller has it; if a member lacks this cost, the front of the trials that have it is used. `colour`: the metric
    shown by the front's colours. `knobs`: shown in a hover, by default the most telling. `parent`: of the study.
    """
    if cost not in COSTS:
        raise ValueError(f"cost must be one of {', '.join(COSTS)}, got {cost!r}")
    limits = limits or {}
    # Copying rows is slow at 100,000 trials, so select by mask and copy only what is drawn.
    trained = comparable(frame, cost).to_numpy()
    inside = trained & keeps(frame, limits)
    judged = frame[["number", "outcome", "trial", *{"top1", "madds", cost, *objectives}]][inside]
    best = pareto_front(judged, ["top1", cost]).drop_duplicates(["top1", cost]).sort_values(cost)
    if front is None or front[cost].isna().any():
        front = frame.loc[pareto_front(judged, objectives).index]
    off_front = ~frame.index.isin(front.index)
    knobs = telling_knobs(frame, 8) if knobs is None else knobs
    longer = trained_longer(frame)

    def points(some: pd.DataFrame) -> list[Point]:
        return _points(ranked_trials(some), cost, colour, knobs, longer)

    scale = METRICS[cost].scale
    published = frame[trained & is_published(frame).to_numpy()].sort_values("top1", ascending=False)
    numbers = set(judged["number"].tolist())
    steps: dict[str, list[tuple[float, float]]] = {}
    for trial in best["trial"]:
        corner = (trial.metric(cost) * scale, trial.metric("top1") * 100)
        steps.setdefault(_length(trial) if longer else "", []).append(corner)
    return TradeoffPoints(
        cost=cost,
        colour=colour,
        front=points(front.sort_values(["rung", "madds", "number"])),
        dominated=_cloud(frame, inside & off_front, cost, knobs, longer),
        beyond=_cloud(frame, trained & ~inside, cost, knobs, longer),
        published=points(published),
        pinned=points(frame[trained & frame["number"].isin(list(pins)).to_numpy()]),
        best=best_number(front) if len(front) > 1 else None,
        ties=[
            (int(number), other)
            for number, tied in zip(front["number"], front["tied_with"], strict=True)
            for other in _tied(tied)
            if other in numbers
        ],
        rejected=_untrained(frame, "rejected", cost),
        stopped=_untrained(frame, "stopped", cost),
        steps=steps,
        limit=limits[cost] * scale if cost in limits else None,
        elsewhere=sorted((_mark(each) for each in PUBLISHED), key=lambda mark: mark.cost) if cost == "madds" else [],
        baseline=_baseline_ms(frame, trained) if cost == "latency_ms" else None,
        parent=_parent_point(parent, cost),
    )


def draw_tradeoff(
    points: TradeoffPoints,
    chosen: int | None = None,
    *,
    dominated: bool = True,
    beyond: bool = True,
    untrained: bool = False,
    brush: Brush | None = None,
    others: Sequence[Mark] = (),
) -> go.Figure:
    """Top1 against a cost, with the trial `chosen` circled; customdata: numbers, in the first column.

    others: published networks of other families with the same short training; those far dearer are left out.

    Bars are the standard error of top1 and the interval of latency; dotted lines join what top1 cannot tell apart.
    Trials without a top1 stand at the foot of the figure if `untrained`, else a click in the legend shows them.
    """
    shown = [points.dominated] * dominated + [points.beyond] * beyond
    named = [*points.front, *points.published, *points.pinned]
    parent = [] if points.parent is None else [points.parent]
    costs = np.concatenate([[point.cost for point in (*named, *parent)], *(cloud.cost for cloud in shown)])
    costs = np.append(costs, [] if points.limit is None else [points.limit])
    tops = np.concatenate([[point.top1 for point in named], *(cloud.top1 for cloud in shown)])
    others = [mark for mark in others if len(costs) and mark.cost <= FARTHEST * costs.max()]
    costs = np.append(costs, [mark.cost for mark in others])
    left, right = (float(costs.min()), float(costs.max())) if len(costs) else (0.0, 1.0)
    pad = 0.06 * (right - left) or 0.05 * right or 1.0
    axis = label(points.cost)

    figure = go.Figure()
    if beyond and len(points.beyond.numbers):
        style = {"color": GREY, "size": 6, "symbol": "x-thin-open", "opacity": 0.6}
        figure.add_traces(_cloud_traces(points.beyond, "over a limit", 6, style))
    lengths = _in_order([*points.dominated.lengths, *(point.length for point in points.front), *points.steps])
    for length in _in_order([*points.steps]):
        step = points.steps[length]
        ends = [*step, (right if points.limit is None else points.limit, step[-1][1])]
        line = staircase(ends, _name("best top-1", length), 5, RED)
        figure.add_trace(line.update(line_dash=DASHES[lengths.index(length) % len(DASHES)]))
    if dominated:
        apart = points.dominated.hovers is not None
        for at, length in enumerate(lengths if apart else [""]):
            some = _of_length(points.dominated, length) if apart else points.dominated
            if len(some.numbers):
                symbol = SYMBOLS[at % len(SYMBOLS)] + "-open"
                style = {"color": GREY, "size": 7, "symbol": symbol, "opacity": 0.75}
                figure.add_traces(_cloud_traces(some, _name("dominated", length), 3, style))
    _add_ties(figure, points, chosen)
    _add_front(figure, points, lengths)
    if points.published:
        style = {"color": GREEN, "size": 15, "symbol": "diamond-open", "line": {"width": 2}}
        names = _clear_names([(point.cost, point.top1, point.name) for point in points.published])
        sides = ["top left" if point.cost > (left + right) / 2 else "bottom right" for point in points.published]
        named_here = {"mode": "markers+text", "text": names, "textposition": sides, "textfont": {"size": 11}}
        figure.add_trace(_markers(points.published, "published, trained here", 2, style, **named_here))
    if others:
        names = _clear_names([(mark.cost, mark.top1, mark.name) for mark in others])
        sides = ["middle left" if mark.cost > (left + right) / 2 else "middle right" for mark in others]
        told = {"text": names, "textposition": sides, "textfont": {"size": 11, "color": GREY}}
        x, y, hovers = zip(*((mark.cost, mark.top1, mark.hover) for mark in others), strict=True)
        style = {"color": BLUE, "size": 10, "symbol": "hexagon-open", "line": {"width": 2}}
        place = {"x": x, "y": y, "mode": "markers+text", "hovertext": hovers, "hoverinfo": "text"}
        figure.add_trace(go.Scatter(**place, **told, marker=style, name="other families, trained here", legendrank=2))
    if parent:
        figure.add_trace(
            _parent_mark(parent[0], "middle left" if parent[0].cost > (left + right) / 2 else "middle right")
        )
    for point in points.front:
        if point.number == points.best:
            note = {"x": point.cost, "y": point.top1, "text": "best", "ax": 0, "ay": -26, "arrowcolor": ORANGE}
            figure.add_annotation(**note, arrowhead=2, arrowwidth=1.5, font={"size": 12, "color": ORANGE})
    if points.pinned:
        style = {"color": ORANGE, "size": 19, "symbol": "square-open", "line": {"width": 2}}
        figure.add_trace(_markers(points.pinned, "pinned", 7, style))
    at_hand = {point.number: (point.cost, point.top1) for point in named}
    for cloud in shown if chosen not in at_hand else ():
        for row in np.flatnonzero(cloud.numbers == chosen):
            at_hand[int(cloud.numbers[row])] = (float(cloud.cost[row]), float(cloud.top1[row]))
    if chosen in at_hand:
        middle = at_hand[chosen]
        place = {"x": [middle[0]], "y": [middle[1]], "customdata": [chosen], "name": f"trial {chosen}"}
        style = {"color": PURPLE, "size": 24, "symbol": "circle-open", "line": {"width": 3}}
        figure.add_trace(go.Scatter(**place, mode="markers", marker=style, hoverinfo="skip", legendrank=8))
    for name, lost in (("rejected", points.rejected), ("stopped half way", points.stopped)):
        if lost and len(tops):
            numbers, x, hovers = zip(*lost, strict=True)
            style = {"color": GREY, "size": 10, "symbol": "line-ns-open"}
            rug = {"x": x, "y": [float(tops.min())] * len(x), "customdata": numbers, "mode": "markers", "marker": style}
            seen = {"name": name, "legendrank": 9, "visible": True if untrained else "legendonly"}
            figure.add_trace(go.Scatter(**rug, **seen, hovertext=hovers, hoverinfo="text"))
    if named:
        # Of what lies within 3 pixels plotly takes the smaller marker, not the upper one: these are as small as any.
        unseen = {"color": BLUE, "size": 6, "opacity": 0}
        figure.add_trace(_markers(named, "targets", 12, unseen, showlegend=False))
    if points.baseline is not None and points.baseline <= right + pad:
        style = {"color": BLUE, "dash": "dot", "width": 1}
        foot = {"annotation_position": "bottom left", "annotation_yshift": 14}  # above that of the limit
        figure.add_vline(points.baseline, line=style, annotation_text="MobileNetV3-Large, measured here", **foot)
    if points.limit is not None:
        text = f"limit {shown_limit(points.cost, points.limit / METRICS[points.cost].scale)}"
        style = {"color": GREY, "dash": "dash", "width": 1.5}
        figure.add_vline(points.limit, line=style, annotation_text=text, annotation_position="bottom left")
    if brush is not None and brush.cost == points.cost:
        corners = {"x0": brush.low, "x1": brush.high, "y0": brush.top1_low, "y1": brush.top1_high}
        figure.add_shape(type="rect", **corners, line={"color": PURPLE, "dash": "dot", "width": 2})
    figure.update_xaxes(title=axis, range=[left - pad, right + pad])
    figure.update_layout(yaxis_title=label("top1"))
    finish(figure, height=480)
    # Above a legend of several lines plotly measures it from the axis.
    figure.update_yaxes(title_standoff=8).update_xaxes(title_standoff=28)
    return figure.update_layout(margin={"t": 60 if points.colour is not None and points.front else 16})


def measured_marks(rows: Sequence[KeptRow]) -> list[Mark]:
    """The published systems that were measured on one device at their own size, with milliseconds as cost."""
    measured = {(row.name, row.resolution): row for row in latest(rows)}
    pairs = [(each, measured.get((each.name, each.resolution or 0))) for each in PUBLISHED]
    return [
        mark._replace(cost=row.latency_ms, hover=f"{mark.hover}<br>measured here: {row.latency_ms:.2f} ms")
        for mark, row in ((_mark(each), row) for each, row in pairs)
        if row is not None
    ]


def trained_marks(records: Mapping[str, TaskRecord], rows: Sequence[KeptRow], cost: str) -> list[Mark]:
    """Other families' networks with the short training of a study, by rising cost: M multiply-adds as built, or
    milliseconds as measured.

    records: their trainings by `arch_id`. rows: what was measured on the study's device.
    """
    measured = {(row.name, row.resolution): row.latency_ms for row in latest(rows)}
    marks = []
    for each in PUBLISHED:
        record = records.get(each.arch_id)
        if record is None or record.top1 is None or not each.built_elsewhere:
            continue
        at = COUNTS[each.name].madds / 1e6 if cost == "madds" else measured.get((each.name, each.resolution or 0))
        if at is not None:
            here = (
                f"top-1 {100 * record.top1:.1f} % after the short training of this study, costs at {each.resolution} px"
            )
            mark = _mark(each)
            marks.append(mark._replace(cost=at, top1=100 * record.top1, hover=f"{mark.hover}<br>{here}"))
    return sorted(marks, key=lambda mark: mark.cost)


def draw_published(marks: Sequence[Mark], cost: str = "madds") -> go.Figure:
    """Published systems in their own figure, because their top1 comes from other images and trainings.

    cost: of the marks, "madds" as published or "latency_ms" as measured here.
    """
    figure = go.Figure()
    middle = float(np.median([np.log10(mark.cost) for mark in marks]))
    own_first = sorted(marks, key=lambda mark: not mark.own)
    names = _clear_names([(np.log10(mark.cost), mark.top1, mark.name) for mark in own_first])
    for title, own in (("Mobile-Formers as published", True), ("other systems as published", False)):
        some = [(mark, name) for mark, name in zip(own_first, names, strict=True) if mark.own == own]
        if some:
            x, y, hovers, texts = zip(*((m.cost, m.top1, m.hover, name) for m, name in some), strict=True)
            style = {"color": GREEN if own else BLUE, "size": 9}
            style |= {"symbol": "diamond-tall-open" if own else "hexagon-open"}
            trace = {"x": x, "y": y, "name": title, "hovertext": hovers, "hoverinfo": "text"}
            # A name runs from its mark towards the middle, so that no edge cuts it.
            sides = ["middle right" if np.log10(cost) <= middle else "middle left" for cost in x]
            written = {"text": texts, "textposition": sides, "textfont": {"size": 11, "color": GREY}}
            figure.add_trace(go.Scatter(**trace, **written, mode="markers+text", marker=style))
    ticks = [digit * 10**power for power in range(5) for digit in (1, 2, 5)]
    figure.update_xaxes(title=label(cost), type="log", tickvals=ticks)
    figure.update_yaxes(title="ImageNet top-1 as published (%)")
    return finish(figure, height=420)


def draw_space(points: TradeoffPoints, other: TradeoffPoints, chosen: int | None = None) -> go.Figure:
    """Top1 against both costs at once, in three dimensions; the two hold the same trials, each by its cost."""
    figure = go.Figure()
    second = dict(zip(other.dominated.numbers.tolist(), other.dominated.cost.tolist(), strict=True))
    kept = [at for at, number in enumerate(points.dominated.numbers.tolist()) if number in second]
    y = [second[int(points.dominated.numbers[at])] for at in kept]
    cloud = {"x": points.dominated.cost[kept], "y": y, "z": points.dominated.top1[kept]}
    look = {"size": 4, "color": GREY, "opacity": 0.6}
    axes = f"{label(points.cost)} %{{x:.2f}}<br>{label(other.cost)} %{{y:.2f}}<br>{label('top1')} %{{z:.1f}}"
    hover = {"customdata": points.dominated.numbers[kept], "hovertemplate": f"trial %{{customdata}}<br>{axes}"}
    figure.add_trace(go.Scatter3d(**cloud, **hover, mode="markers", marker=look, name="dominated"))
    costs = {point.number: point.cost for point in other.front}
    front = [point for point in points.front if point.number in costs]
    for name, colour, some in (
        ("front", RED, front),
        (f"trial {chosen}", PURPLE, [point for point in front if point.number == chosen]),
    ):
        if some:
            x, z, numbers, texts = zip(*((p.cost, p.top1, p.number, p.hover) for p in some), strict=True)
            trace = go.Scatter3d(x=x, y=[costs[number] for number in numbers], z=z, customdata=numbers, name=name)
            symbol = "circle" if name == "front" else "diamond"
            style = {"size": 6 if name == "front" else 9, "color": colour, "symbol": symbol}
            figure.add_trace(trace.update(hovertext=texts, hoverinfo="text", mode="markers", marker=style))
    titles = {"x": label(points.cost), "y": label(other.cost), "z": label("top1")}
    finish(figure, height=620)
    scene = {
        f"{name}axis": {"title": {"text": text}, "gridcolor": GREY, "showbackground": False}
        for name, text in titles.items()
    }
    return figure.update_layout(scene=scene, dragmode="orbit")


def _parent_point(parent: KeptParent | None, cost: str) -> Point | None:
    if parent is None or np.isnan(parent.network.metric(cost)):
        return None
    return _points([RankedTrial(parent.network, np.nan, "")], cost, None, (), longer=False)[0]


def _parent_mark(point: Point, side: str) -> go.Scatter:
    """Without customdata, so that a click on it chooses nothing."""
    place = {"x": [point.cost], "y": [point.top1], "mode": "markers+text", "name": "parent", "legendrank": 2}
    told = {"text": [escape(point.name, quote=False)], "textposition": side, "textfont": {"size": 11}}
    style = {"color": BLUE, "size": 14, "symbol": "hexagram"}
    return go.Scatter(**place, **told, marker=style, hovertext=[point.hover], hoverinfo="text")


def _points(
    some: Sequence[RankedTrial], cost: str, colour: str | None, knobs: Sequence[str], longer: bool
) -> list[Point]:
    """longer: whether the study holds longer trainings, so that the length is worth a word."""
    scale = METRICS[cost].scale
    ends = ("latency_low_ms", "latency_high_ms") if cost == "latency_ms" else (cost, cost)
    points = []
    for ranked in some:
        trial = ranked.trial
        middle, (low, high) = trial.metric(cost), (trial.metric(end) for end in ends)
        points.append(
            Point(
                number=trial.number,
                cost=middle * scale,
                cost_low=(middle if np.isnan(low) else low) * scale,
                cost_high=(middle if np.isnan(high) else high) * scale,
                top1=trial.metric("top1") * 100,
                top1_error=ranked.top1_error * 100,
                length=_length(trial) if longer else "",
                name=published_name(trial),
                colour=np.nan if colour is None else trial.metric(colour) * METRICS[colour].scale,
                hover=hover_html(ranked, knobs),
            )
        )
    return points


def _cloud(frame: pd.DataFrame, rows: NDArray[np.bool_], cost: str, knobs: Sequence[str], longer: bool) -> Cloud:
    def shown_values(name: str) -> NDArray[np.float64]:
        return frame[name].to_numpy(dtype=np.float64)[rows] * METRICS[name].scale

    count = int(rows.sum())
    return Cloud(
        numbers=frame["number"].to_numpy(dtype=np.int64)[rows],
        cost=shown_values(cost).astype(np.float32),
        top1=shown_values("top1").astype(np.float32),
        lengths=training_lengths(frame[["epochs_trained", "epochs", "rung"]][rows]) if longer else [""] * count,
        told=np.column_stack([shown_values(name) for name in TOLD]).astype(np.float32),
        hovers=[hover_html(ranked, knobs) for ranked in ranked_trials(frame[rows])] if count <= HOVERED else None,
    )


def _length(trial: Trial) -> str:
    return shown_length(trial, trial.rung)


def _of_length(cloud: Cloud, length: str) -> Cloud:
    if set(cloud.lengths) <= {length}:
        return cloud
    kept = [at for at, each in enumerate(cloud.lengths) if each == length]
    return Cloud(
        cloud.numbers[kept],
        cloud.cost[kept],
        cloud.top1[kept],
        [length] * len(kept),
        cloud.told[kept],
        None if cloud.hovers is None else [cloud.hovers[at] for at in kept],
    )


def _in_order(lengths: Sequence[str]) -> list[str]:
    """Each length once, the shortest first: "cut, no training", "1x", "3x", "9x"."""

    def multiple(length: str) -> float:
        return 0.0 if length == CUT else float(length.removesuffix("x").removeprefix("rung ") or 0)

    return sorted(set(lengths), key=multiple)


def _name(kind: str, length: str) -> str:
    return f"{kind}, {length}" if length else kind


def _tied(text: object) -> list[int]:
    """The trials in a `tied_with` like "4, 7"."""
    return [int(number) for number in str(text).replace(",", " ").split() if number.isdecimal()] if text else []


def _untrained(frame: pd.DataFrame, outcome: str, cost: str) -> list[tuple[int, float, str]]:
    """Number, cost in the unit of the axis and hover of the trials with that outcome, whose cost is known."""
    lost = frame[(frame["outcome"] == outcome) & frame[cost].notna()]
    return [
        (
            ranked.trial.number,
            ranked.trial.metric(cost) * METRICS[cost].scale,
            hover_html(ranked, []) + f"<br>{outcome}: {escape(str(ranked.trial.reason))}",
        )
        for ranked in ranked_trials(lost.head(HOVERED))
    ]


def _baseline_ms(frame: pd.DataFrame, rows: NDArray[np.bool_]) -> float | None:
    """MobileNetV3-Large's latency, from the ratios of the measured trials; None if there are none."""
    latencies = [trial.latency for trial in frame["trial"].to_numpy()[rows] if trial.latency is not None]
    quotients = [latency.ms / latency.ratio for latency in latencies if latency.ratio]
    return float(np.median(quotients)) if quotients else None


def _mark(reference: Reference) -> Mark:
    unverified = not (reference.verified_top1 and reference.verified_madds)
    facts = [f"<b>{escape(reference.name, quote=False)}</b>, published elsewhere"]
    facts += [f"ImageNet top-1 {100 * reference.top1:.1f} %, {reference.madds / 1e6:,.0f} M multiply-adds"]
    facts += [escape(reference.note, quote=False)] * bool(reference.note)
    facts += ["Not verified: quoted from memory"] * unverified
    own = reference.preset is not None
    return Mark(reference.name, reference.madds / 1e6, 100 * reference.top1, own, unverified, "<br>".join(facts))


def _add_front(figure: go.Figure, points: TradeoffPoints, lengths: Sequence[str]) -> None:
    scaled = [point.colour for point in points.front if not np.isnan(point.colour)]
    for at, length in enumerate(lengths):
        some = [point for point in points.front if point.length == length]
        if not some:
            continue
        style = {"size": 12, "symbol": SYMBOLS[at % len(SYMBOLS)], "line": {"width": 1.5, "color": RED}}
        style |= {"color": SKY}
        if scaled and points.colour is not None:
            style |= {"color": [point.colour for point in some], "colorscale": SCALE}
            style |= {"cmin": min(scaled), "cmax": max(scaled), "showscale": length == some[0].length}
            head = {"text": label(points.colour), "side": "top", "font": {"size": 12}}
            bar = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "ypad": 2}
            style |= {"colorbar": {"title": head, "thickness": 8, "len": 0.5, "outlinewidth": 0, **bar}}
        bars: dict[str, object] = {}
        look = {"color": RED, "thickness": 1, "width": 3}
        if points.cost == "latency_ms":
            more = [point.cost_high - point.cost for point in some]
            less = [point.cost - point.cost_low for point in some]
            bars["error_x"] = look | {"array": more, "arrayminus": less}
        if any(point.top1_error >= 0 for point in some):
            spread = [None if np.isnan(point.top1_error) else point.top1_error for point in some]
            bars["error_y"] = look | {"array": spread}
        figure.add_trace(_markers(some, _name("front", length), 1, style, **bars))


def _add_ties(figure: go.Figure, points: TradeoffPoints, chosen: int | None) -> None:
    ties = points.ties if len(points.ties) <= TIES else [tie for tie in points.ties if chosen in tie]
    places = {point.number: (point.cost, point.top1) for point in points.front}
    cloud = points.dominated
    wanted = {other for _, other in ties} - set(places)
    for at in np.flatnonzero(np.isin(cloud.numbers, list(wanted))):
        places[int(cloud.numbers[at])] = (float(cloud.cost[at]), float(cloud.top1[at]))
    x: list[float | None] = []
    y: list[float | None] = []
    for one, other in ties:
        if one in places and other in places:
            x += [places[one][0], places[other][0], None]
            y += [places[one][1], places[other][1], None]
    if x:
        style = {"color": BLUE, "width": 1, "dash": "dot"}
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=style, hoverinfo="skip", name="tied", legendrank=4))


def _clear_names(places: Sequence[tuple[float, float, str]]) -> list[str]:
    """The names, escaped, at (x, y); "" for one that would lie on an earlier one, which the hover still tells."""
    spans = [float(np.ptp([place[axis] for place in places])) or 1.0 for axis in (0, 1)]
    placed: list[tuple[float, float]] = []
    names = []
    for x, y, name in places:
        near = any(abs(x - u) < spans[0] / 4 and abs(y - v) < 0.06 * spans[1] for u, v in placed)
        names.append("" if near else escape(name, quote=False))
        placed += [] if near else [(x, y)]
    return names


def _markers(
    points: Sequence[Point], name: str, rank: int, style: Mapping[str, object], **further: object
) -> go.Scatter:
    x, y, numbers, hovers = zip(*((p.cost, p.top1, p.number, p.hover) for p in points), strict=True)
    trace = {"x": x, "y": y, "customdata": numbers, "hovertext": hovers, "hoverinfo": "text", "mode": "markers"}
    return go.Scatter(**(trace | further), marker=style, name=name, legendrank=rank)


def _cloud_traces(cloud: Cloud, name: str, rank: int, style: Mapping[str, Any]) -> list[go.Scatter | go.Heatmap]:
    """The points; of thousands their density, and the points themselves unseen, there to be hovered over and clicked.
    The cells of a density stay what they are when one zooms in.

    A point that is drawn is an element of the page, and without a graphics card a canvas is slow, too: two figures of
    10,000 points took either way a second, with densities a fifth of it (docs/LOG.md, 2026-11-23).
    """
    points = {"x": cloud.cost, "y": cloud.top1, "mode": "markers", "name": name}
    if cloud.hovers is not None:
        told = {"customdata": cloud.numbers, "hovertext": cloud.hovers, "hoverinfo": "text"}
        return [go.Scatter(**points, **told, marker=style, legendrank=rank)]
    lines = [f"<b>trial %{{customdata[0]:d}}</b><br>{label('top1')} %{{y:.1f}}"]
    lines += [f"{label(each)} %{{customdata[{at}]:.2f}}" for at, each in enumerate(TOLD, start=1)]
    customdata = np.column_stack([cloud.numbers, cloud.told]).astype(np.float32)  # numbers are exact below 2**24
    told = {"customdata": customdata, "hovertemplate": "<br>".join(lines) + "<extra></extra>"}
    unseen = dict(style) | {"maxdisplayed": 1, "opacity": 0}  # one is the least that plotly draws
    together = {"legendgroup": name, "showlegend": False}
    return [_density(cloud, name, rank, style), go.Scatter(**points, **told, **together, marker=unseen)]


def _density(cloud: Cloud, name: str, rank: int, style: Mapping[str, Any]) -> go.Heatmap:
    """The number of points in each cell, shaded by its logarithm; empty cells stay clear."""
    finite = np.isfinite(cloud.cost) & np.isfinite(cloud.top1)
    cost, top1 = cloud.cost[finite].astype(np.float64), cloud.top1[finite].astype(np.float64)
    counts, x, y = np.histogram2d(cost, top1, bins=CELLS)
    shades = np.ceil(254.5 * np.log1p(counts) / np.log1p(max(counts.max(), 1.0))).T.astype(np.uint8)  # 0 to 255
    red, green, blue = hex_to_rgb(style["color"])
    clear, light, dark = (f"rgba({red}, {green}, {blue}, {style['opacity'] * share:.2f})" for share in (0, 0.5, 1))
    first = 0.5 / 255
    cells = {"x0": (x[0] + x[1]) / 2, "dx": x[1] - x[0], "y0": (y[0] + y[1]) / 2, "dy": y[1] - y[0], "z": shades}
    look = {"colorscale": [[0, clear], [first, clear], [first, light], [1, dark]], "zmin": 0, "zmax": 255}
    entry = {"name": name, "legendgroup": name, "legendrank": rank, "showlegend": True}
    return go.Heatmap(**cells, **look, **entry, showscale=False, hoverinfo="skip")
