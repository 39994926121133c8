"""Top1 over trials, and over the epochs of a training."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mfsearch.analysis.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    PUBLISHED,
    PURPLE,
    RED,
    SEARCHED,
    SKY,
    finish,
    hover_html,
    is_published,
    published_name,
    staircase,
)
from mfsearch.analysis.front.cut import within
from mfsearch.analysis.metrics import first_length, label, ranked_trials, short_top1, telling_knobs, trained_longer
from mfsearch.study.trial import Trial


class ProgressPoints(NamedTuple):
    """Trials over time: top1 in percent of each trained one at the first rung, and the best so far."""

    found: list[tuple[int, float, str]]  # number, top1, hover
    published: list[tuple[int, float, str]]
    best: list[tuple[int, float]]
    after: str  # the length of training at which top1 was taken, "" if all had one length


class CurveLine(NamedTuple):
    """One trial's training: its epochs, top1 in percent and loss in nats after each (NaN where it was not taken)."""

    number: int
    name: str
    epochs: list[float]
    top1: list[float]
    loss: list[float]


def progress_points(frame: pd.DataFrame, limits: Mapping[str, float] | None = None) -> ProgressPoints:
    """Top1 of the trained trials that keep the upper `limits`, by number, and the best one so far after each.

    Top1 is that of the first rung; the hover names longer trainings.
    """
    trained = within(frame[(frame["outcome"] == "trained") & frame["top1"].notna()], limits or {})
    knobs = telling_knobs(frame, 8)
    published = is_published(trained)
    short = short_top1(trained) * 100

    def gather(some: pd.DataFrame) -> list[tuple[int, float, str]]:
        rows = zip(ranked_trials(some), short[some.index], strict=True)
        return [(ranked.trial.number, top1, hover_html(ranked, knobs)) for ranked, top1 in rows]

    best = np.maximum.accumulate(short.to_numpy(dtype=np.float64))
    return ProgressPoints(
        found=gather(trained[~published]),
        published=gather(trained[published]),
        best=list(zip(trained["number"].astype(int).tolist(), best.tolist(), strict=True)),
        after=f" {first_length(frame)}" if trained_longer(frame) else "",
    )


def draw_progress(progress: ProgressPoints) -> go.Figure:
    """Top1 against the trial's number: does the search still gain?"""
    figure = go.Figure()
    if progress.best:
        figure.add_trace(staircase(progress.best, "best so far", 3, RED))
    looks = (
        (progress.found, "searched", SEARCHED),
        (progress.published, "published", PUBLISHED),
    )
    for points, name, style in looks:
        if points:
            numbers, top1, hovers = zip(*points, strict=True)
            trace = go.Scatter(x=numbers, y=top1, customdata=numbers, hovertext=hovers, hoverinfo="text")
            figure.add_trace(trace.update(mode="markers", name=name, marker=style))
    figure.update_xaxes(title="Trial number")
    figure.update_yaxes(title=label("top1") + progress.after)
    return finish(figure, height=360)


def curve_lines(front: pd.DataFrame) -> list[CurveLine]:
    """The curves of each row's longest training, of its first seed, in the order of the rows that have one."""
    lines: list[CurveLine] = []
    trials: list[Trial] = front["trial"].tolist()
    for trial in trials:
        if curve := trial.longest[0].curve if trial.longest else ():
            epochs, top1, loss = zip(*((log.epoch, log.top1 * 100, log.loss) for log in curve), strict=True)
            lines.append(CurveLine(trial.number, published_name(trial), [*epochs], [*top1], [*loss]))
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
    figure.update_yaxes(title="Training loss (nats)", row=2, col=1)
    figure.update_xaxes(title="Epoch", row=2, col=1)
    return finish(figure, height=480).update_layout(showlegend=len(lines) > 1)
