"""Latency against the size of the image."""

import itertools
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from mfsearch.analysis.figures.style import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, finish, number


class ResolutionLine(NamedTuple):
    """A network's milliseconds at rising sides of the image in pixels; NaN as bounds where no interval is known."""

    name: str
    sides: list[int]
    ms: list[float]
    low_ms: list[float]
    high_ms: list[float]


def resolution_lines(rows: Sequence[Mapping[str, object]]) -> list[ResolutionLine]:
    """One line a network, by rising side; rows with name, resolution and latency_*_ms, interval or none."""
    names = dict.fromkeys(str(row["name"]) for row in rows)
    lines = []
    for name in names:
        own = sorted((row for row in rows if row["name"] == name), key=lambda row: number(row["resolution"]))
        ms, low, high = ([number(row[f"latency_{which}ms"]) for row in own] for which in ("", "low_", "high_"))
        lines.append(ResolutionLine(name, [int(number(row["resolution"])) for row in own], ms, low, high))
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
    return finish(figure, 490).update_layout(title=head, margin={"t": 46})
