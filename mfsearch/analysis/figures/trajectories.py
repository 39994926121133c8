"""How a search used its time: hypervolume beside a control, rejections with reasons, and training speed."""

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from mfsearch.analysis.figures.style import BLUE, ORANGE, RED, SKY, finish
from mfsearch.analysis.front.outcomes import OriginOutcomes, Reason, TrainingTime
from mfsearch.analysis.front.trajectory import Trajectory
from mfsearch.analysis.metrics import METRICS, label
from mfsearch.study.trial import Trial
from mfsearch.units import counted

# What hypervolume may be drawn against, with the title of the axis, which the page's address holds.
AXES = {
    "trainings": "Short trainings",
    "core_seconds": "Short trainings (core-seconds)",
    "trials": "Trials",
}
LOOKS = {"trained": (BLUE, ""), "stopped": (SKY, "/"), "rejected": (ORANGE, "x"), "failed": (RED, ".")}  # by outcome
LINE, LINES = 24, 3  # letters and lines of a name beside its bar: on a phone the bars need their room


class HistoryLine(NamedTuple):
    """The corners of a staircase: hypervolume in percent of the box against one of AXES, from nothing at 0 on."""

    name: str
    x: list[float]
    share: list[float]


class Speed(NamedTuple):
    """A short training: its trial, M multiply-adds, images per second, and the hover as HTML."""

    number: int
    madds: float
    images_per_second: float
    hover: str


def history_line(history: Trajectory, axis: str) -> HistoryLine:
    """The staircase of a study; only its corners, so that ten thousand trials stay a light line."""
    x, share = _along(history, axis), history.share * 100
    if not len(x):
        return HistoryLine(history.name, [0.0], [0.0])
    places = np.unique(np.append(np.flatnonzero(np.diff(share, prepend=0.0) > 0), len(x) - 1))
    return HistoryLine(history.name, [0.0, *x[places].tolist()], [0.0, *share[places].tolist()])


def median_line(histories: Sequence[Trajectory], axis: str) -> HistoryLine:
    """The median staircase of several studies, as far as all of them reach."""
    lines = [history_line(history, axis) for history in histories]
    end = min(line.x[-1] for line in lines)
    grid = sorted({x for line in lines for x in line.x if x <= end} | {end})
    heights = [[line.share[int(np.searchsorted(line.x, x, side="right")) - 1] for line in lines] for x in grid]
    return HistoryLine(f"median of {len(lines)}", grid, np.median(heights, axis=1).tolist())


def draw_history(own: HistoryLine, others: Sequence[HistoryLine], median: HistoryLine | None, axis: str) -> go.Figure:
    """Hypervolume of a study, alone or beside others; several are thin, their median is thick."""
    figure = go.Figure()
    for at, line in enumerate(others):
        style = {"color": ORANGE, "width": 1 if median else 2.5, "dash": "dot" if median else "dash"}
        figure.add_trace(_stairs(line, style, 2 + at, opacity=0.7 if median else 1.0))
    if median is not None:
        figure.add_trace(_stairs(median, {"color": ORANGE, "width": 3, "dash": "dash"}, 1 + len(others) + 1))
    figure.add_trace(_stairs(own, {"color": BLUE, "width": 3}, 1))
    figure.update_xaxes(title=AXES[axis], rangemode="tozero")
    figure.update_yaxes(title="Hypervolume (% of the box)", rangemode="tozero")
    return finish(figure, height=400).update_layout(showlegend=True)  # one line, too, has its name


def draw_reasons(reasons: Sequence[Reason]) -> go.Figure:
    """The number of trials stopped, rejected or failed for each reason: one bar per reason, one pattern per outcome."""
    figure = go.Figure()
    for outcome in dict.fromkeys(reason.outcome for reason in reasons):
        places = [at for at, reason in enumerate(reasons) if reason.outcome == outcome]
        counts = [len(reasons[at].numbers) for at in places]
        hovers = [f"{len(reasons[at].numbers):,} {outcome}<br>{_wrapped(reasons[at].text)}" for at in places]
        bar = go.Bar(x=counts, y=places, orientation="h", name=outcome, marker=_look(outcome), hovertext=hovers)
        figure.add_trace(bar.update(hoverinfo="text", texttemplate="%{x}", textposition="outside", cliponaxis=False))
    return _bars(figure, [_name(one.text) for one in reasons], "Trials", 50)


def draw_proposers(found: Sequence[OriginOutcomes]) -> go.Figure:
    """The outcomes of each proposer's networks; the bar's name says how many are on the front."""
    figure = go.Figure()
    for outcome in LOOKS:
        counts = [one.counts[outcome] for one in found]
        if any(counts):
            bar = go.Bar(x=counts, y=list(range(len(found))), orientation="h", name=outcome, marker=_look(outcome))
            figure.add_trace(bar.update(hovertemplate=f"%{{x}} {outcome}<extra></extra>"))
    names = [f"{_name(one.name)}<br>{one.front} on the front" for one in found]
    return _bars(figure.update_layout(barmode="stack"), names, "Trials", 40)


def draw_spent(spent: Sequence[TrainingTime]) -> go.Figure:
    """Core-seconds by length of training."""
    bar = go.Bar(x=[one.core_seconds for one in spent], y=list(range(len(spent))), orientation="h")
    figure = go.Figure(bar.update(marker={"color": BLUE}, hovertemplate="%{x:,.0f} core-seconds<extra></extra>"))
    names = [f"{_name(one.what)}<br>{counted(one.trainings, 'training')}" for one in spent]
    return _bars(figure, names, "Training (core-seconds)", 44)


def speed_points(frame: pd.DataFrame) -> list[Speed]:
    """Images per second of the short trainings whose speed was recorded."""
    trials: list[Trial] = frame["trial"].tolist()
    return [
        Speed(
            trial.number,
            trial.madds * METRICS["madds"].scale,
            speed,
            f"trial {trial.number} · {escape(trial.origin, quote=False)}<br>"
            f"{speed:,.0f} images per second<br>{trial.madds / 1e6:.1f} M multiply-adds at deployment",
        )
        for trial in trials
        if trial.madds is not None and (speed := None if trial.short is None else trial.short.images_per_second)
    ]


def draw_speed(points: Sequence[Speed]) -> go.Figure:
    """Images per second of training against multiply-adds: costs to train are not costs to run."""
    kind = go.Scattergl if len(points) > 2000 else go.Scatter
    trace = kind(x=[one.madds for one in points], y=[one.images_per_second for one in points], mode="markers")
    trace.update(customdata=[one.number for one in points], hovertext=[one.hover for one in points], hoverinfo="text")
    figure = go.Figure(trace.update(marker={"color": SKY, "size": 8, "line": {"color": BLUE, "width": 1}}))
    figure.update_xaxes(title=label("madds"))
    figure.update_yaxes(title="Training speed (images/s)", rangemode="tozero")
    return finish(figure, height=320)


def _along(history: Trajectory, axis: str) -> NDArray[np.float64]:
    along: Mapping[str, NDArray[np.float64]] = {
        "trainings": history.trainings.astype(np.float64),
        "core_seconds": history.core_seconds,
        "trials": np.arange(1.0, len(history.share) + 1),
    }
    return along[axis]


def _stairs(line: HistoryLine, style: Mapping[str, object], rank: int, opacity: float = 1.0) -> go.Scatter:
    name = escape(line.name, quote=False)
    trace = go.Scatter(x=line.x, y=line.share, mode="lines", line={**style, "shape": "hv"}, name=name, legendrank=rank)
    return trace.update(opacity=opacity, hovertemplate=f"{name}<br>%{{x:,.0f}}: %{{y:.1f}} %<extra></extra>")


def _look(outcome: str) -> dict[str, object]:
    colour, pattern = LOOKS[outcome]
    return {"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "solidity": 0.2, "size": 7}}


def _bars(figure: go.Figure, names: Sequence[str], title: str, each: int) -> go.Figure:
    """Lying bars at 0, 1, ... from above, `each` pixels apart; two of one name are two bars."""
    figure.update_xaxes(title=title, rangemode="tozero")
    ticks = {"tickvals": list(range(len(names))), "ticktext": list(names), "range": [len(names) - 0.5, -0.5]}
    figure.update_yaxes(automargin=True, showgrid=False, **ticks)  # a line would run through the numbers
    legend = {"traceorder": "normal"}
    return finish(figure, height=130 + each * len(names)).update_layout(bargap=0.35, margin={"l": 16}, legend=legend)


def _name(text: str) -> str:
    """The text beside a bar, as HTML: a few short lines, cut if longer."""
    lines = wrap(text, LINE)
    cut = [*lines[: LINES - 1], f"{lines[LINES - 1][: LINE - 1]}…"] if len(lines) > LINES else lines
    return "<br>".join(escape(line, quote=False) for line in cut)


def _wrapped(text: str) -> str:
    """HTML of a long text in lines of 60 letters."""
    return "<br>".join(escape(line, quote=False) for line in wrap(text[:600], 60))
