"""What a search did with its time: hypervolume beside a control, what was rejected and why, and how fast it trained."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from mfsearch.analysis.figures.style import BLUE, ORANGE, RED, SKY, finish
from mfsearch.analysis.frame import METRICS, label
from mfsearch.analysis.history import History
from mfsearch.analysis.outcomes import Proposer, Reason, Spent

# What hypervolume may be drawn against, with the title of the axis.
AXES = {
    "trainings": "short trainings (number)",
    "core_seconds": "short trainings (core-seconds)",
    "trials": "trials (number)",
}
LOOKS = {"trained": (BLUE, ""), "stopped": (SKY, "/"), "rejected": (ORANGE, "x"), "failed": (RED, ".")}  # by outcome
LETTERS = 52  # of a reason beside its bar


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


def history_line(history: History, axis: str) -> HistoryLine:
    """The staircase of a study; only its corners, so that ten thousand trials stay a light line."""
    x, share = _along(history, axis), history.share * 100
    if not len(x):
        return HistoryLine(history.name, [0.0], [0.0])
    turns = np.flatnonzero(np.diff(share, prepend=0.0) > 0)
    places = np.unique(np.append(turns, len(x) - 1))
    return HistoryLine(history.name, [0.0, *x[places].tolist()], [0.0, *share[places].tolist()])


def median_line(histories: Sequence[History], axis: str) -> HistoryLine:
    """The median staircase of several studies, as far as all of them reach."""
    lines = [history_line(history, axis) for history in histories]
    end = min(line.x[-1] for line in lines)
    grid = sorted({x for line in lines for x in line.x if x <= end} | {end})
    heights = [[line.share[int(np.searchsorted(line.x, x, side="right")) - 1] for line in lines] for x in grid]
    return HistoryLine(f"median of {len(lines)}", grid, np.median(heights, axis=1).tolist())


def draw_history(own: HistoryLine, others: Sequence[HistoryLine], median: HistoryLine | None, axis: str) -> go.Figure:
    """Hypervolume of a study beside others; several are thin, their median is thick."""
    figure = go.Figure()
    for at, line in enumerate(others):
        style = {"color": ORANGE, "width": 1 if median else 2.5, "dash": "dot" if median else "dash"}
        figure.add_trace(_stairs(line, style, 2 + at, opacity=0.7 if median else 1.0))
    if median is not None:
        figure.add_trace(_stairs(median, {"color": ORANGE, "width": 3, "dash": "dash"}, 1 + len(others) + 1))
    figure.add_trace(_stairs(own, {"color": BLUE, "width": 3}, 1))
    figure.update_xaxes(title=AXES[axis], rangemode="tozero")
    figure.update_yaxes(title="hypervolume (% of the box)", rangemode="tozero")
    return finish(figure, height=400)


def draw_reasons(reasons: Sequence[Reason]) -> go.Figure:
    """How many trials were stopped, rejected or failed for each reason; a bar a reason, a pattern an outcome."""
    figure = go.Figure()
    for outcome in dict.fromkeys(reason.outcome for reason in reasons):
        own = [reason for reason in reasons if reason.outcome == outcome]
        colour, pattern = LOOKS[outcome]
        hovers = [f"{len(one.numbers):,} {outcome}<br>{_wrapped(one.text)}" for one in own]
        bar = go.Bar(x=[len(one.numbers) for one in own], y=[_short(one.text) for one in own], orientation="h")
        bar.update(name=outcome, marker=_look(colour, pattern), hovertext=hovers)
        figure.add_trace(bar.update(hoverinfo="text", texttemplate="%{x}", textposition="auto"))
    figure.update_xaxes(title="trials (number)", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return _bars(finish(figure, height=130 + 36 * len(reasons)))


def draw_proposers(found: Sequence[Proposer]) -> go.Figure:
    """What became of each proposer's networks, and how many of them are on the front (in the name of the bar)."""
    figure = go.Figure()
    names = [f"{escape(one.name[:40], quote=False)} · {one.front} on the front" for one in found]
    for outcome, (colour, pattern) in LOOKS.items():
        counts = [one.counts[outcome] for one in found]
        if any(counts):
            bar = go.Bar(x=counts, y=names, orientation="h", name=outcome, hovertemplate=f"%{{x}} {outcome}")
            figure.add_trace(bar.update(marker=_look(colour, pattern)))
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="trials (number)", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return _bars(finish(figure, height=130 + 36 * len(found)))


def draw_spent(spent: Sequence[Spent]) -> go.Figure:
    """Core-seconds by length of training."""
    names = [f"{one.what} · {one.trainings:,}" for one in spent]
    bar = go.Bar(x=[one.core_seconds for one in spent], y=names, orientation="h", marker={"color": BLUE})
    figure = go.Figure(bar.update(hovertemplate="%{y}: %{x:,.0f} core-seconds<extra></extra>"))
    figure.update_xaxes(title="training (core-seconds)", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return _bars(finish(figure, height=84 + 36 * len(spent)))


def speed_points(frame: pd.DataFrame) -> list[Speed]:
    """Images per second of the short trainings whose speed was recorded."""
    if "images_per_second" not in frame:
        return []
    some = frame[frame["images_per_second"].notna() & frame["madds"].notna()]
    return [
        Speed(
            int(row["number"]),
            row["madds"] * METRICS["madds"].scale,
            float(row["images_per_second"]),
            f"trial {row['number']} · {escape(str(row['origin']), quote=False)}<br>"
            f"{row['images_per_second']:,.0f} images per second<br>{row['madds'] / 1e6:.1f} M multiply-adds deployed",
        )
        for row in some.to_dict("records")
    ]


def draw_speed(points: Sequence[Speed]) -> go.Figure:
    """Images per second of training against multiply-adds: costs to train are not costs to run."""
    kind = go.Scattergl if len(points) > 2000 else go.Scatter
    trace = kind(x=[one.madds for one in points], y=[one.images_per_second for one in points], mode="markers")
    trace.update(customdata=[one.number for one in points], hovertext=[one.hover for one in points], hoverinfo="text")
    figure = go.Figure(trace.update(marker={"color": SKY, "size": 8, "line": {"color": BLUE, "width": 1}}))
    figure.update_xaxes(title=label("madds"))
    figure.update_yaxes(title="training (images/s)", rangemode="tozero")
    return finish(figure, height=320)


def _along(history: History, axis: str) -> NDArray[np.float64]:
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


def _look(colour: str, pattern: str) -> dict[str, object]:
    return {"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "solidity": 0.2, "size": 7}}


def _bars(figure: go.Figure) -> go.Figure:
    return figure.update_layout(bargap=0.35, margin={"l": 16}, legend={"traceorder": "normal"})


def _short(text: str) -> str:
    return escape(text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…", quote=False)


def _wrapped(text: str) -> str:
    """HTML of a long text in lines of about 60 letters."""
    lines = [""]
    for word in text[:600].split():
        if len(lines[-1]) + len(word) > 60:
            lines.append("")
        lines[-1] += f"{word} "
    return "<br>".join(escape(line.strip(), quote=False) for line in lines)
