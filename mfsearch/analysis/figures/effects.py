"""Figures about knobs: shares of variance, slices of one knob, parallel coordinates, and twins."""

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb
from plotly.subplots import make_subplots

from mfsearch.analysis.figures.dots import Dot, interval_dots, one_line_each
from mfsearch.analysis.figures.style import BLUE, GREEN, GREY, GRID, ORANGE, RED, SKY, finish, hover_html
from mfsearch.analysis.front.cut import pareto_front, within
from mfsearch.analysis.knobs.importance import Coding, KnobShare
from mfsearch.analysis.metrics import METRICS, label, ranked_trials, short_top1, shown
from mfsearch.space.knobs import knob_title, shown_value
from mfsearch.study.twins_file import TwinParent, TwinReport
from mfsearch.units import counted

if TYPE_CHECKING:
    from mfsearch.search.ablations import AblationRow  # needs torch, which a reader of studies does not

NOT_USED = "not used"
MOST_LINES = 400
SPREAD = 0.06  # share of a knob value's room that its lines take, to each side
BESIDE = 0.34  # share of the distance of two axes over which lines run straight past a knob's values
BINS = 12  # shades of a coloured metric
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class ShareDots(NamedTuple):
    """Shares of a measure in percent, the largest first: knobs above chance, the others, and for each knob the upper
    limit of chance."""

    above: list[Dot]
    others: list[Dot]
    chance: list[tuple[str, float]]


class SliceGroup(NamedTuple):
    """The trials with one value of a knob: their numbers, and the metric of each in the unit of its axis."""

    value: str
    numbers: list[int]
    metric: list[float]
    hovers: list[str]


class Axis(NamedTuple):
    """An axis of parallel coordinates: its places from 0 to 1 and their labels."""

    name: str
    places: list[float]
    texts: list[str]


class TrialLine(NamedTuple):
    """A trial across all axes. places: from 0 to 1, one for each axis; shade: of its colour, 0 to 1."""

    number: int
    places: list[float]
    shade: float
    on_front: bool
    hover: str


class ParallelLines(NamedTuple):
    """Parallel coordinates. of: how many trials there are to draw; colour: the metric, low and high: its ends."""

    axes: list[Axis]
    lines: list[TrialLine]
    of: int
    colour: str
    low: float
    high: float


def share_dots(shares: Sequence[KnobShare], most: int = 16) -> ShareDots:
    """The `most` largest shares."""
    dots = ShareDots([], [], [])
    for knob, share in shares[:most]:
        value, low, high, chance = (100 * number for number in share[:4])
        interval = "" if np.isnan(low) else f" ({low:.0f} to {high:.0f})"
        hover = (
            f"<b>{escape(knob, quote=False)}</b><br>Share {value:.0f} %{interval}<br>"
            f"Chance alone: at most {chance:.0f} % in 95 of 100 cases<br>"
            f"{counted(share.groups, 'value')}, {counted(share.n, 'trial')}"
        )
        name = _short(knob)
        (dots.above if share.above_chance else dots.others).append(Dot(name, value, low, high, hover, knob))
        dots.chance.append((name, chance))
    return dots


def draw_shares(dots: ShareDots, of: str) -> go.Figure:
    """Shares with their intervals, one line for each knob; the bar shows chance. customdata: the knob's name."""
    figure = go.Figure()
    names = [name for name, _ in dots.chance]
    bar = go.Bar(x=[max(0.0, chance) for _, chance in dots.chance], y=names, orientation="h", name="Chance (95 %)")
    figure.add_trace(bar.update(marker={"color": GREY, "opacity": 0.3}, hoverinfo="skip", width=0.7))
    if dots.above:
        figure.add_trace(interval_dots(dots.above, "Above chance", BLUE, "circle"))
    if dots.others:
        figure.add_trace(interval_dots(dots.others, "Not above chance", GREY, "circle-open"))
    lows = [end for dot in (*dots.above, *dots.others) for end in (dot.value, dot.low) if not np.isnan(end)]
    figure.update_xaxes(title=f"Share of {of} (%)", range=[max(-25.0, min([*lows, 0.0]) - 2), 102])
    figure = finish(figure, height=110 + 26 * len(names))
    one_line_each(figure, names)
    return figure.update_layout(margin={"l": 8, "r": 16, "t": 8, "b": 78})


def slice_groups(frame: pd.DataFrame, coded: Coding, knob: str, metric: str) -> list[SliceGroup]:
    """The trials grouped by their value of a knob, those in which it has no say last; top1 of the short training."""
    values, codes = coded.of(knob)
    found = (short_top1(frame) if metric == "top1" else frame[metric]).to_numpy(dtype=np.float64)
    known = ~np.isnan(found)
    if metric == "top1":
        known &= (frame["outcome"] == "trained").to_numpy()
    numbers, scale = frame["number"].to_numpy(), METRICS[metric].scale
    groups = []
    for code, text in [*enumerate(map(shown_value, values)), (-1, NOT_USED)]:
        there = np.flatnonzero(known & (codes == code))
        if len(there):
            hovers = [f"<b>trial {numbers[k]}</b><br>{METRICS[metric].title} {shown(metric, found[k])}" for k in there]
            groups.append(SliceGroup(text, [int(n) for n in numbers[there]], list(found[there] * scale), hovers))
    return groups


def draw_slices(slices: Mapping[str, Sequence[SliceGroup]], knob: str) -> go.Figure:
    """One panel for each metric, one place for each value: single trials if there are few, quartiles from five on.

    customdata: numbers of trials.
    """
    shown_metrics = [name for name, groups in slices.items() if groups]
    texts = list(dict.fromkeys(group.value for name in shown_metrics for group in slices[name]))
    texts = [text for text in texts if text != NOT_USED] + ([NOT_USED] if NOT_USED in texts else [])
    figure = make_subplots(rows=max(1, len(shown_metrics)), cols=1, shared_xaxes=True, vertical_spacing=0.09)
    rng = np.random.default_rng(0)
    for at, name in enumerate(shown_metrics, start=1):
        every = sum(len(group.metric) for group in slices[name])
        for group in slices[name]:
            place = texts.index(group.value)
            if len(group.metric) >= 5:
                box = go.Box(y=group.metric, x=[place] * len(group.metric), boxpoints=False, width=0.6, hoverinfo="y")
                style = {"line": {"color": GREY, "width": 1.5}, "fillcolor": GRID, "showlegend": False}
                figure.add_trace(box.update(style), row=at, col=1)
            if every <= 1000 or len(group.metric) < 5:
                spread = place + rng.uniform(-0.18, 0.18, len(group.metric))
                points = go.Scatter(x=spread, y=group.metric, mode="markers", customdata=group.numbers)
                points.update(hovertext=group.hovers, hoverinfo="text", showlegend=False)
                marker = {"color": SKY, "size": 6, "opacity": 0.8, "line": {"color": BLUE, "width": 1}}
                figure.add_trace(points.update(marker=marker), row=at, col=1)
        figure.update_yaxes(title=label(name), row=at, col=1)
        counts = {group.value: len(group.metric) for group in slices[name]}
        ticks = [f"{_narrow(text)}<br><i>n = {counts.get(text, 0):,}</i>" for text in texts]
        figure.update_xaxes(tickvals=list(range(len(texts))), ticktext=ticks, tickangle=0, row=at, col=1)
        figure.update_xaxes(showticklabels=True, row=at, col=1)
        figure.update_xaxes(range=[-0.5, len(texts) - 0.5], row=at, col=1)
    if shown_metrics:
        figure.update_xaxes(title=_short(knob), row=len(shown_metrics), col=1)
    return finish(figure, height=80 + 250 * max(1, len(shown_metrics)))


def parallel_lines(
    frame: pd.DataFrame,
    coded: Coding,
    knobs: Sequence[str],
    metrics: Sequence[str],
    colour: str,
    objectives: Sequence[str],
    *,
    limits: Mapping[str, float] | None = None,
    front: Collection[int] | None = None,
    most: int = MOST_LINES,
    seed: int = 0,
) -> ParallelLines:
    """Lines across the knobs and metrics, for trained trials that have all `metrics` and the `colour`.

    At most `most` lines: the front within `limits` (upper ones, in base units by column), and a sample of the rest
    drawn with `seed`. `front`: the trials on it, needed if `frame` holds only some of the trials that they beat. top1
    is after the longest training. Lines through the same value of a knob lie close together, side by side.
    """
    wanted = list(dict.fromkeys(["top1", colour, *metrics]))
    keep = (frame["outcome"] == "trained").to_numpy() & frame[wanted].notna().all(axis=1).to_numpy()
    there = np.flatnonzero(keep)
    numbers = frame["number"].to_numpy()
    best = pareto_front(within(frame[keep], limits or {}), objectives)["number"] if front is None else front
    front = set(best) & set(numbers[there].tolist())
    others = np.array([k for k in there if numbers[k] not in front], dtype=np.int64)
    room = max(0, most - len(front))
    rng = np.random.default_rng(seed)
    drawn = others if len(others) <= room else np.sort(rng.choice(others, room, replace=False))
    rows = [*drawn.tolist(), *(k for k in there.tolist() if numbers[k] in front)]

    axes: list[Axis] = []
    places = np.empty((len(rows), len(knobs) + len(metrics)))
    for at, knob in enumerate(knobs):
        values, codes = coded.of(knob)
        texts = [shown_value(value) for value in values]
        unused = bool((codes[there] < 0).any())
        steps = len(texts) + unused
        middles = [(k + 0.5) / max(1, steps) for k in range(steps)]
        axes.append(Axis(knob, middles, [*texts, *([NOT_USED] if unused else [])]))
        code = codes[rows]
        middle = np.array(middles)[np.where(code < 0, steps - 1, code)] if steps else np.zeros(len(rows))
        places[:, at] = middle + rng.uniform(-SPREAD, SPREAD, len(rows)) / max(1, steps)
    for at, metric in enumerate(metrics, start=len(knobs)):
        found = frame[metric].to_numpy(dtype=np.float64)
        low, high = _ends(found[there])
        places[:, at] = _scaled(found[rows], low, high)
        axes.append(Axis(metric, [0.0, 0.5, 1.0], [shown(metric, end) for end in (low, (low + high) / 2, high)]))
    shades = frame[colour].to_numpy(dtype=np.float64)
    low, high = _ends(shades[there])
    lines = [
        TrialLine(
            number=ranked.trial.number,
            places=[float(place) for place in places[at]],
            shade=float(_scaled(shades[rows[at]], low, high)),
            on_front=ranked.trial.number in front,
            hover=hover_html(ranked, knobs),
        )
        for at, ranked in enumerate(ranked_trials(frame.iloc[rows]))
    ]
    return ParallelLines(axes, lines, len(there), colour, low, high)


def draw_parallel(points: ParallelLines) -> go.Figure:
    """Axes from top to bottom, to fit a phone, and one line for each trial; the front is on top, with markers.

    Names stand at the left, for metrics with the ends of the axis; a knob's value stands beside the lines through it.
    customdata: trial numbers, on the markers of the front.
    """
    figure = go.Figure()
    depth = len(points.axes)
    heights = [height for at in range(depth) for height in (-at, -at - (points.axes[at].name not in METRICS) * BESIDE)]
    titles = []
    for at, axis in enumerate(points.axes):
        rail = go.Scatter(x=[0, 1], y=[-at, -at], mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip")
        figure.add_trace(rail.update(showlegend=False))
        if axis.name in METRICS:
            titles.append(f"<b>{METRICS[axis.name].title}</b><br>{axis.texts[0]} to {axis.texts[-1]}")
            continue
        titles.append(f"<b>{_short(axis.name)}</b>")
        for place, text in zip(axis.places, axis.texts, strict=True):
            look = {
                "showarrow": False,
                "xanchor": "left",
                "xshift": 2,
                "yanchor": "top",
                "align": "left",
                "font": {"size": 11},
            }
            figure.add_annotation(x=place + SPREAD / len(axis.places), y=-at, text=_narrow(text), **look)
    rest = [line for line in points.lines if not line.on_front]
    for shade in range(BINS):
        some = [line for line in rest if min(BINS - 1, int(line.shade * BINS)) == shade]
        if some:
            x = [place for line in some for place in (*_twice(line.places), None)]
            trace = go.Scatter(x=x, y=[*heights, None] * len(some), mode="lines", hoverinfo="skip", showlegend=False)
            style = {"color": _colour((shade + 0.5) / BINS), "width": 1}
            figure.add_trace(trace.update(line=style, opacity=0.75 if len(rest) < 100 else 0.45))
    front = [line for line in points.lines if line.on_front]
    for at, line in enumerate(front):
        colour = _colour(line.shade)
        trace = go.Scatter(x=_twice(line.places), y=heights, mode="lines+markers", name="front", legendgroup="front")
        trace.update(hovertext=[line.hover] * 2 * depth, hoverinfo="text", customdata=[line.number] * 2 * depth)
        marker: dict[str, object] = {
            "size": [9, 0] * depth,
            "color": colour,
            "line": {"color": RED, "width": [2, 0] * depth},
        }
        figure.add_trace(trace.update(line={"color": colour, "width": 3}, marker=marker, showlegend=at == 0))
    scale = METRICS[points.colour].scale
    ends = [points.low * scale, points.high * scale]
    bar = {"title": {"text": label(points.colour), "side": "top"}, "orientation": "h", "thickness": 10, "len": 0.5}
    bar |= {"x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "nticks": 4, "outlinewidth": 0}
    marker = {"color": ends, "colorscale": [[0, _colour(0)], [1, _colour(1)]], "showscale": True, "colorbar": bar}
    key = go.Scatter(x=[None, None], y=[None, None], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
    figure.add_trace(key)
    figure.update_xaxes(visible=False, range=[-0.02, 1.02])
    figure.update_yaxes(tickvals=[-at for at in range(depth)], ticktext=titles, range=[0.45 - depth, 0.3])
    figure = finish(figure, height=120 + 72 * depth).update_yaxes(showgrid=False, showline=False)
    return figure.update_layout(margin={"l": 8, "r": 28, "t": 64, "b": 32})


class TwinDots(NamedTuple):
    """Twin minus network with 95 % intervals: top1 in points, shown or not; ms on a quiet or a disturbed machine."""

    changes: list[str]  # as HTML, from top to bottom
    shown: list[Dot]
    unshown: list[Dot]
    quiet: list[Dot]
    disturbed: list[Dot]


def twin_dots(report: TwinReport) -> TwinDots:
    """The dots of all changes that could be compared."""
    dots = TwinDots([], [], [], [], [])
    for row in report.twins:
        if row.effect.mean is None:
            continue
        name = escape(row.change, quote=False)
        dots.changes.append(name)
        mean, low, high = (np.nan if value is None else 100 * value for value in row.effect[1:4])
        p_holm = "no p-value" if row.p_holm is None else f"p {row.p_holm:.2g} after Holm's correction"
        hover = f"<b>{name}</b><br>Top-1 {mean:+.2f} points{_between(low, high)}"
        hover += f"<br>{counted(row.effect.pairs, 'pair')}, {p_holm}<br>{escape(row.verdict, quote=False)}"
        (dots.shown if row.effect.shown else dots.unshown).append(Dot(name, mean, low, high, hover))
        if (ms := row.latency) is not None:
            low, high = ms.difference_low_ms, ms.difference_high_ms
            hover = f"<b>{name}</b><br>{ms.difference_ms:+.2f} ms{_between(low, high)}"
            hover += "<br>The machine was busy, so the error may be larger" if ms.disturbed else ""
            (dots.disturbed if ms.disturbed else dots.quiet).append(Dot(name, ms.difference_ms, low, high, hover))
    return dots


def draw_twins(dots: TwinDots) -> go.Figure:
    """Paired differences in top1, and below in milliseconds if measured, each with its 95 % interval."""
    looks = [
        (1, dots.shown, "Top-1, interval excludes 0", BLUE, "circle"),
        (1, dots.unshown, "Top-1, no effect shown", GREY, "circle-open"),
        (2, dots.quiet, "Latency", GREEN, "diamond"),
        (2, dots.disturbed, "Latency, machine busy", GREEN, "diamond-open"),
    ]
    titles = ["Change of top-1 (points)", "Change of latency (ms)"]
    panels = 2 if dots.quiet or dots.disturbed else 1
    figure = make_subplots(rows=panels, cols=1, vertical_spacing=0.2)
    for panel, some, name, colour, symbol in looks:
        if some:
            figure.add_trace(interval_dots(some, name, colour, symbol), row=panel, col=1)
    for panel in range(1, panels + 1):
        figure.add_vline(0, line={"color": GREY, "width": 1.5}, row=panel, col=1)
        figure.update_xaxes(title=titles[panel - 1], row=panel, col=1)
        one_line_each(figure, dots.changes, panel)
    figure = finish(figure, height=panels * (80 + 30 * len(dots.changes)) + 60)
    return figure.update_layout(margin={"l": 8, "r": 16, "t": 8, "b": 100})


class AblationDots(NamedTuple):
    """Rows against their network with 95 % intervals: top1 in points by widths, the paper's beside, and costs.

    names: as HTML, from top to bottom, each question's before its rows. cost: of the rows at their own widths, ms if
    timed, else percent of the multiply-adds; unit says which.
    """

    names: list[str]
    own: list[Dot]
    scaled: list[Dot]
    paper: list[Dot]
    cost: list[Dot]
    unit: str


def ablation_dots(network: TwinParent, rows: "Sequence[AblationRow]") -> AblationDots:
    """The dots of all rows that are networks of their own. The paper's points are its own differences to the row of the
    same question that leaves this network unchanged."""
    unchanged = {row.question: row.paper for row in rows if row.paper and row.twin.config == network.config}
    timed = any(row.twin.latency for row in rows)
    dots = AblationDots([], [], [], [], [], "ms" if timed else "%")
    for row in rows:
        twin, change = row.twin, row.change
        name, heading = escape(change.label, quote=False), f"<b>{row.question}</b>"
        mean, low, high = (np.nan if value is None else 100 * value for value in twin.effect[1:4])
        if twin.config is None or row.same_as is not None or np.isnan(mean):
            continue
        dots.names.extend(each for each in (heading, name) if each not in dots.names)
        hover = f"<b>{name}</b><br>Top-1 {mean:+.2f} points{_between(low, high)}<br>{escape(twin.verdict, quote=False)}"
        (dots.own if row.widths == "own" else dots.scaled).append(Dot(name, mean, low, high, hover))
        if row.widths != "own":
            continue
        if row.paper is not None and (paper := unchanged.get(row.question)) is not None:
            points = 100 * (row.paper - paper)
            hover = f"<b>{name}</b><br>mf-294m on ImageNet: {points:+.1f} points" + ", unverified" * (
                not change.verified
            )
            dots.paper.append(Dot(name, points, np.nan, np.nan, hover))
        if (ms := twin.latency) is not None:
            cost = Dot(name, ms.difference_ms, ms.difference_low_ms, ms.difference_high_ms, name)
            dots.cost.append(
                cost._replace(hover=f"<b>{name}</b><br>{cost.value:+.2f} ms{_between(cost.low, cost.high)}")
            )
        elif not timed and twin.madds is not None:
            percent = 100 * (twin.madds / network.madds - 1)
            dots.cost.append(Dot(name, percent, np.nan, np.nan, f"<b>{name}</b><br>{percent:+.1f} % multiply-adds"))
    return dots


def draw_ablation(dots: AblationDots) -> go.Figure:
    """Changes of top1 at own widths, with the paper's, and at equal multiply-adds, and costs, side by side."""
    cost = "Change of latency (ms)" if dots.unit == "ms" else "Change of multiply-adds (%)"
    top1 = "Change of top-1 (points)"
    panels = [("Own widths", top1, [(dots.own, "This training", BLUE, "circle")])] if dots.own else []
    if dots.own:
        panels[0][2].append((dots.paper, "Paper: mf-294m on ImageNet, mostly unverified", ORANGE, "diamond-open"))
    if dots.scaled:
        panels.append(("Equal multiply-adds", top1, [(dots.scaled, "Scaled", SKY, "circle")]))
    if dots.cost:
        panels.append(("Own widths", cost, [(dots.cost, "Cost", GREEN, "square")]))
    titles = [title for title, _, _ in panels]
    figure = make_subplots(1, len(panels), shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=titles)
    for col, (_, axis, traces) in enumerate(panels, start=1):
        for some, name, colour, symbol in traces:
            if some:
                figure.add_trace(interval_dots(some, name, colour, symbol), row=1, col=col)
        figure.add_vline(0, line={"color": GREY, "width": 1.5}, row=1, col=col)
        figure.update_xaxes(title=axis, matches="x" if axis == top1 else None, row=1, col=col)
    one_line_each(figure, dots.names)
    figure = finish(figure, height=150 + 20 * len(dots.names))
    return figure.update_layout(margin={"l": 8, "r": 16, "t": 56, "b": 90})


def _twice(places: Sequence[float]) -> list[float]:
    """Each place at both heights of its axis."""
    return [place for place in places for _ in range(2)]


def _narrow(value: str) -> str:
    """A knob's value as HTML; two words take two lines, because neighbours are close on a phone."""
    return escape(value, quote=False).replace("_", "_<br>", 1)


def _short(name: str) -> str:
    return escape(knob_title(name), quote=False)


def _between(low: float, high: float) -> str:
    return "" if np.isnan(low) else f" ({low:+.2f} to {high:+.2f})"


def _ends(values: Floats) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)


def _scaled(values: Floats, low: float, high: float) -> Floats:
    return (values - low) / (high - low) if high > low else np.full(np.shape(values), 0.5)


def _colour(shade: float) -> str:
    """From sky blue to orange: everyone can tell the two apart, and both are readable on white and on black."""
    low, high = hex_to_rgb(SKY), hex_to_rgb(ORANGE)
    mixed = [round(one + shade * (other - one)) for one, other in zip(low, high, strict=True)]
    return f"rgb({', '.join(map(str, mixed))})"
