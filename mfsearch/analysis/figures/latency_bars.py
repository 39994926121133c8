"""Milliseconds: by part, against the size of the image, predicted and measured, against multiply-adds."""

import itertools
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from mfsearch.analysis.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    finish,
    number,
)
from mfsearch.analysis.latency.kept_latency import PARTS, REST, KeptRow, parts_of, scaled_in_words
from mfsearch.analysis.latency.milliseconds import TimedTrial, hover_text
from mfsearch.analysis.metrics import label
from mfsearch.cost.latency_model import WITHIN
from mfsearch.study.trial import TrialLatency

# Colour and pattern of each part, so that neither is needed alone; in the order of PARTS.
PART_LOOKS = {
    "mobile": (BLUE, ""),
    "dyrelu": (ORANGE, "/"),
    "to_former": (GREEN, ""),
    "former": (PURPLE, "."),
    "to_mobile": (SKY, "\\"),
    "head": (RED, ""),
    REST: (GREY, "x"),
}
NAME = 24  # letters of a network's name beside its bar


class ResolutionLine(NamedTuple):
    """A network's milliseconds at rising sides of the image in pixels; NaN as bounds where no interval is known."""

    name: str
    sides: list[int]
    ms: list[float]
    low_ms: list[float]
    high_ms: list[float]


class SizePoint(NamedTuple):
    """A network's milliseconds at one side of the image in pixels; None as bounds where no interval is known."""

    name: str
    side: int
    ms: float
    low_ms: float | None
    high_ms: float | None


def resolution_lines(points: Sequence[SizePoint]) -> list[ResolutionLine]:
    """One line a network, by rising side."""
    lines = []
    for name in dict.fromkeys(point.name for point in points):
        own = sorted((point for point in points if point.name == name), key=lambda point: point.side)
        low, high = ([number(ms) for ms in ends] for ends in zip(*((p.low_ms, p.high_ms) for p in own), strict=True))
        lines.append(ResolutionLine(name, [p.side for p in own], [p.ms for p in own], low, high))
    return lines


class LatencyBar(NamedTuple):
    """A network's milliseconds by part, with the name of its bar and what hovering tells, plain text."""

    name: str
    parts_ms: dict[str, float]
    note: str


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
    figure.update_xaxes(title="Image side (px)", type="log", tickvals=sides)
    ticks = [digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5)]
    figure.update_yaxes(title=label("latency_ms"), type="log", tickvals=ticks)
    head = {"text": escape(title, quote=False), "font": {"size": 14}}
    return finish(figure, 490).update_layout(title=head, margin={"t": 46})


def part_bar(row: KeptRow, name: str) -> LatencyBar:
    """The bar of a kept breakdown; a star after the name where its measurement was disturbed."""
    low, high = row.latency_low_ms, row.latency_high_ms
    interval = f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    facts = [
        f"{name}, {row.resolution} px, batch {row.batch}",
        scaled_in_words(row),
        f"Latency {row.latency_ms:.2f} ms{interval}{', machine busy' if row.disturbed else ''}",
        f"Measured {row.measured[:10]}",
    ]
    return LatencyBar(name[:NAME] + (" *" if row.disturbed else ""), parts_of(row), "\n".join(facts))


def draw_parts(bars: Sequence[LatencyBar]) -> go.Figure:
    """Milliseconds by part, a bar a network, in the order given from above."""
    figure = go.Figure()
    for part, (colour, pattern) in PART_LOOKS.items():
        ms = [bar.parts_ms[part] for bar in bars]
        shares = [one / (sum(bar.parts_ms.values()) or 1.0) for one, bar in zip(ms, bars, strict=True)]
        word = escape(PARTS.get(part, "Between operators"), quote=False)
        hovers = [
            f"<b>{word} {one:.2f} ms</b>, {100 * share:.0f} %<br>{_html(bar.note)}"
            for one, share, bar in zip(ms, shares, bars, strict=True)
        ]
        trace = go.Bar(x=ms, y=list(range(len(bars))), orientation="h", name=word, hovertext=hovers, hoverinfo="text")
        look = {"shape": pattern, "fillmode": "overlay", "solidity": 0.2, "size": 7}
        figure.add_trace(trace.update(marker={"color": colour, "pattern": look}))
    figure.update_layout(barmode="stack", bargap=0.35)
    figure.update_xaxes(title="Latency by part (ms)", rangemode="tozero")
    names = [escape(bar.name, quote=False) for bar in bars]
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "range": [len(names) - 0.5, -0.5]}
    figure.update_yaxes(automargin=True, **ticks)
    return finish(figure, 170 + 44 * len(bars)).update_layout(margin={"l": 16}, legend={"traceorder": "normal"})


def draw_predictions(trials: Sequence[TimedTrial], limit_ms: float | None) -> go.Figure:
    """Measured against predicted latency of the trials that were predicted, with the line of equals and the band of
    10 %; a diamond was rejected."""
    told = [one for one in trials if one.predicted is not None]
    figure = go.Figure()
    ends = [ms for one in told if one.predicted is not None for ms in (one.predicted.latency_ms, one.search.ms)]
    low, high = (min(ends) * 0.95, max(ends) * 1.05) if ends else (0.0, 1.0)
    band = go.Scatter(
        x=[low, high, high, low],
        y=[low * (1 - WITHIN), high * (1 - WITHIN), high * (1 + WITHIN), low * (1 + WITHIN)],
        fill="toself",
        fillcolor="rgba(128, 128, 128, 0.18)",
        line={"width": 0},
    )
    figure.add_trace(band.update(mode="lines", name=f"within {100 * WITHIN:.0f} %", hoverinfo="skip", legendrank=4))
    equal = go.Scatter(x=[low, high], y=[low, high], mode="lines", line={"color": GREY, "width": 1.5, "dash": "dash"})
    figure.add_trace(equal.update(name="equal", hoverinfo="skip", legendrank=5))
    for name, some, colour, symbol in (
        ("kept the limit", [one for one in told if one.outcome != "rejected"], BLUE, "circle"),
        ("rejected", [one for one in told if one.outcome == "rejected"], ORANGE, "diamond"),
    ):
        if some:
            x = [one.predicted.latency_ms for one in some if one.predicted is not None]
            trace = _measurements(some, x, [one.search for one in some], name, colour, symbol)
            figure.add_trace(trace)
    if limit_ms is not None:
        figure.add_hline(limit_ms, line={"color": GREY, "dash": "dot", "width": 1.5}, annotation_text="limit")
    figure.update_xaxes(title="Predicted latency (ms)")
    figure.update_yaxes(title="Latency measured during the search (ms)")
    return finish(figure, 430)


def draw_against_madds(trials: Sequence[TimedTrial], chosen: int | None) -> go.Figure:
    """Measured latency against multiply-adds of every trial that was measured, whatever became of it."""
    figure = go.Figure()
    for name, some, colour, symbol in (
        ("trained", [one for one in trials if one.outcome in ("trained", "stopped")], BLUE, "circle"),
        ("rejected", [one for one in trials if one.outcome == "rejected"], ORANGE, "diamond"),
        ("failed", [one for one in trials if one.outcome == "failed"], RED, "x"),
    ):
        if some:
            x = [one.madds / 1e6 for one in some]
            figure.add_trace(_measurements(some, x, [one.final or one.search for one in some], name, colour, symbol))
    if picked := [one for one in trials if one.number == chosen]:
        style = {"color": PURPLE, "size": 20, "symbol": "circle-open", "line": {"width": 3}}
        trace = go.Scatter(x=[picked[0].madds / 1e6], y=[(picked[0].final or picked[0].search).ms], mode="markers")
        figure.add_trace(trace.update(marker=style, name=f"trial {chosen}", hoverinfo="skip"))
    figure.update_xaxes(title=label("madds"))
    figure.update_yaxes(title=label("latency_ms"))
    return finish(figure, 430)


def draw_twice(trials: Sequence[TimedTrial]) -> go.Figure:
    """Latency in the search and at the end of the run, of the trials that were measured twice, with their intervals."""
    both = sorted((one for one in trials if one.final is not None), key=lambda one: (one.final or one.search).ms)
    names = [f"trial {one.number}" for one in both]
    figure = go.Figure()
    for name, found, colour, symbol in (
        ("During the search", [one.search for one in both], ORANGE, "square"),
        ("At the end", [one.final or one.search for one in both], BLUE, "circle"),
    ):
        trace = go.Scatter(x=[one.ms for one in found], y=names, mode="markers", name=name)
        trace.update(error_x=_interval(found, colour), hovertext=[_html(hover_text(one)) for one in both])
        marks = [_disturbed_symbol(symbol) if one.disturbed else symbol for one in found]
        style = {"color": colour, "size": 10, "symbol": marks, "line": {"width": 2, "color": colour}}
        figure.add_trace(trace.update(marker=style, hoverinfo="text", customdata=[one.number for one in both]))
    figure.update_xaxes(title=label("latency_ms"))
    figure.update_yaxes(automargin=True)
    return finish(figure, 140 + 28 * len(both)).update_layout(margin={"l": 16})


def _measurements(
    trials: Sequence[TimedTrial], x: Sequence[float], found: Sequence[TrialLatency], name: str, colour: str, symbol: str
) -> go.Scatter:
    """Points with their intervals; the open symbol was disturbed."""
    marks = [_disturbed_symbol(symbol) if one.disturbed else symbol for one in found]
    kind = go.Scattergl if len(trials) > 2000 else go.Scatter
    trace = kind(x=x, y=[one.ms for one in found], mode="markers", name=name)
    if len(trials) <= 200:  # of more the bars hide the points
        trace.update(error_y=_interval(found, colour))
    style = {"color": colour, "size": 9, "symbol": marks, "line": {"width": 1.5, "color": colour}}
    hovers = [_html(hover_text(one)) for one in trials]
    return trace.update(marker=style, hovertext=hovers, hoverinfo="text", customdata=[one.number for one in trials])


def _disturbed_symbol(symbol: str) -> str:
    return symbol if symbol.endswith("-open") else f"{symbol}-open"


def _interval(found: Sequence[TrialLatency], colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if one.high_ms is None else max(0.0, one.high_ms - one.ms) for one in found],
        "arrayminus": [0.0 if one.low_ms is None else max(0.0, one.ms - one.low_ms) for one in found],
        "thickness": 1,
        "width": 3,
        "color": colour,
    }


def _html(text: str) -> str:
    return escape(text, quote=False).replace("\n", "<br>")
