"""Figures with their intervals as dots on lines, one line a name."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go


class Dot(NamedTuple):
    """A figure on the line `name`, its interval in the same unit, NaN where it has none, and its hover text."""

    name: str
    value: float
    low: float
    high: float
    hover: str  # HTML
    key: str = ""  # customdata: what a click on it chooses


def interval_dots(dots: Sequence[Dot], name: str, colour: str, symbol: str) -> go.Scatter:
    """The dots as one trace of the legend; an open symbol is drawn thick enough to be told from a full one."""
    x, y, hovers, keys = ([getattr(dot, field) for dot in dots] for field in ("value", "name", "hover", "key"))
    more = [None if np.isnan(dot.high) else dot.high - dot.value for dot in dots]
    less = [None if np.isnan(dot.low) else dot.value - dot.low for dot in dots]
    trace = go.Scatter(x=x, y=y, mode="markers", hovertext=hovers, hoverinfo="text", customdata=keys, name=name)
    marker = {"color": colour, "size": 10, "symbol": symbol, "line": {"width": 2, "color": colour}}
    bars = {"array": more, "arrayminus": less, "color": colour, "thickness": 1.5, "width": 3}
    return trace.update(marker=marker, error_x=bars)


def one_line_each(figure: go.Figure, names: Sequence[str], row: int | None = None) -> None:
    """The names from top to bottom on the y axis, whatever the traces hold."""
    where = {} if row is None else {"row": row, "col": 1}
    upwards = list(names)[::-1]
    span = [-0.6, len(upwards) - 0.4]
    figure.update_yaxes(categoryorder="array", categoryarray=upwards, range=span, automargin=True, **where)
