"""Common to all figures: colours, look, hover, and how a figure becomes a page. Only this folder knows plotly."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from mfsearch.analysis.front.confidence import shown_length, shown_probability, shown_ties, shown_training
from mfsearch.analysis.metrics import METRICS, RankedTrial, shown, shown_top1
from mfsearch.proxy.rungs import CUT
from mfsearch.study.trial import Trial

# Okabe and Ito's palette, told apart with any colour vision; without its black and yellow, which vanish on one ground.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
GREY = "#808080"  # read on white and on near black alike
GRID = "rgba(128, 128, 128, 0.22)"
OPACITY = 0.85
SEARCHED = {"color": SKY, "size": 8, "opacity": OPACITY, "line": {"color": BLUE, "width": 1}}
PUBLISHED = {"color": GREEN, "size": 10, "symbol": "diamond"}
CONFIG = {"showSendToCloud": False, "displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d"]}


def hover_html(ranked: RankedTrial, knobs: Sequence[str]) -> str:
    """The text of a trial's hover as HTML, escaped: number, origin, metrics, how sure it is, knobs."""
    trial = ranked.trial
    origin = escape(trial.origin, quote=False)
    lines = [f"<b>trial {trial.number}</b> · {origin}" if trial.number >= 0 else f"<b>{origin}</b>"]
    for name in METRICS:
        value = trial.metric(name)
        if np.isnan(value):
            continue
        if name == "top1":
            lines.append(_hover_top1(ranked))
            continue
        low, high = (trial.metric(f"latency_{side}_ms") for side in ("low", "high"))
        interval = f" ({low:.2f} to {high:.2f})" if name == "latency_ms" and low <= high else ""
        lines.append(f"{METRICS[name].title} {shown(name, value)}{interval}")
    settings = [f"{name} = {trial.params[name]}" for name in knobs if trial.params.get(name) is not None]
    lines += [f"<i>{escape(setting[:60], quote=False)}</i>" for setting in settings]
    return "<br>".join(lines)


def _hover_top1(ranked: RankedTrial) -> str:
    """Top1 with its error, how long it was trained for, the short top1, and its place on the front, where known."""
    trial = ranked.trial
    text = shown_top1(trial.metric("top1"), ranked.top1_error)
    if trial.outcome == "stopped":
        return f"Top-1 half way {text}"
    if trial.rung > 0:
        first = "as it was cut" if shown_length(trial, 0) == CUT else "after the short training"
        text += f" ({shown_training(trial)}; {shown('top1', trial.metric('top1_short'))} {first})"
    if not np.isnan(ranked.front_probability):
        text += f"<br>Probability of being on the front {escape(shown_probability(ranked.front_probability))}"
    if ranked.tied_with:
        text += f"<br>Tied with {shown_ties(ranked.tied_with)}"
    return f"Top-1 {text}"


def is_published(some: pd.DataFrame) -> "pd.Series[bool]":
    origins = some["origin"]
    return origins.isin([origin for origin in origins.unique() if str(origin).startswith(("preset", "fitted"))])


def published_name(trial: Trial) -> str:
    """ "mf-96m" of origin "preset mf-96m", "mf-96m fitted" of "fitted mf-96m", "parent NAME" as it is, else ""."""
    kind, _, name = trial.origin.partition(" ")
    return {"preset": name, "fitted": f"{name} fitted", "parent": trial.origin}.get(kind, "")


def number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def staircase(corners: Sequence[tuple[float, float]], name: str, rank: int, colour: str) -> go.Scatter:
    x, y = zip(*corners, strict=True)
    line = {"color": colour, "shape": "hv"}
    return go.Scatter(x=x, y=y, mode="lines", hoverinfo="skip", line=line, name=name, legendrank=rank)


AXES = {"gridcolor": GRID, "zeroline": False, "linecolor": GREY, "title_standoff": 14, "automargin": True}
# A template, not the layout: a page with a theme of its own, such as the explorer, may put it in its place.
TEMPLATE = go.layout.Template(plotly.io.templates["plotly"]).update(
    layout={
        "font": {"color": GREY, "size": 13, "family": "system-ui, sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
)
LAYOUT = {
    "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom", "yref": "container"},
    "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
    "hoverlabel": {"align": "left", "font": {"size": 12}},
    "dragmode": False,  # on a phone it would hold the page fast; zooming has its button
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
    "template": TEMPLATE,
}


def finish(figure: go.Figure, height: int) -> go.Figure:
    """The look that all figures share: no ground of their own, so that they read on a light page and on a dark one."""
    figure.update_xaxes(**AXES)
    figure.update_yaxes(**AXES)
    return figure.update_layout(LAYOUT, height=height)


def write_figure(figure: go.Figure, path: Path) -> None:
    """The figure as a page of its own that loads nothing from anywhere."""
    path.write_text(to_html(figure, config=CONFIG, include_plotlyjs=True), encoding="utf-8")


def figure_html(figure: go.Figure, name: str) -> str:
    """The figure as an HTML element with the id `name`, for a page that holds `plotly_script` once."""
    return str(to_html(figure, config=CONFIG, include_plotlyjs=False, full_html=False, div_id=name))


def plotly_script() -> str:
    """plotly.js in full, so that a page needs no network."""
    return f"<script>{get_plotlyjs()}</script>"
