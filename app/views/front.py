"""What can I get for my budget?"""

import re
from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from mfsearch.analysis.figures.style import CONFIG, is_published
from mfsearch.analysis.figures.tradeoff import (
    Brush,
    TradeoffPoints,
    draw_published,
    draw_space,
    draw_tradeoff,
    measured_marks,
    tradeoff_points,
    trained_marks,
)
from mfsearch.analysis.front.confidence import Noise, marks, shown_lengths, shown_ties, shown_wiring, training_noise
from mfsearch.analysis.front.cut import best_number, measured_objectives, pareto_front, within
from mfsearch.analysis.front.region import brush_text, parse_brush, search_command
from mfsearch.analysis.front.summary import (
    compared,
    confidence_columns,
    parent_sentence,
    second_cost,
    summary,
    why_no_figure,
    why_no_front,
)
from mfsearch.analysis.latency.reference_figures import kept_references
from mfsearch.analysis.metrics import METRICS, knob_names, label, noise_sentence, ranked_trials, shown, telling_knobs
from mfsearch.space.knobs import knob_title, shown_value
from mfsearch.study.frame import KNOB
from mfsearch.study.manifest import Manifest
from mfsearch.study.task_file import TaskRecord
from mfsearch.study.trained_references import kept_trainings

if TYPE_CHECKING:
    from app import load, parts, state
else:
    import load
    import parts
    import state

SHOWN = {
    "dominated": "dominated",
    "beyond": "over a limit",
    "untrained": "rejected and stopped",
    "elsewhere": "published systems (ImageNet)",
    "space": "3D",
}
BRUSHED = CONFIG | {"modeBarButtonsToRemove": ["lasso2d"]}  # box select marks a region


class FrontBasis(NamedTuple):
    """Everything that does not depend on the limits, made once for all visitors; the frames (telling knobs only;
    `trained` by falling top1) are read-only."""

    frame: pd.DataFrame
    trained: pd.DataFrame
    objectives: list[str]
    summary: str
    why_no_figure: str | None
    noise: Mapping[int, Noise]


def show(study: load.PageStudy) -> None:
    """The page."""
    fixed = load.once(study, ("what no limit changes",), lambda: _fixed(study))
    frame, trained, objectives = fixed.frame, fixed.trained, fixed.objectives
    study, manifest = study._replace(frame=frame), study.manifest
    if trained.empty:
        st.text(fixed.summary)
        st.container(border=True).text(why_no_front(frame))
        return

    answer = st.container()
    given = manifest.limits
    limits: dict[str, float] = {}
    for column, name in zip(st.columns(len(state.LIMITED)), state.LIMITED, strict=True):
        with column:
            limit = _ask_limit(trained[name].dropna(), name, given.get(name))
        limits |= {} if limit is None else {name: limit}

    inside = within(trained, limits)
    front = pareto_front(inside, objectives)
    if front.empty:
        answer.container(border=True).text(why_no_front(frame))
    else:
        answer.markdown(_answer(front, inside))
    number = _chosen(trained, front)
    if fixed.why_no_figure is not None:
        st.container(border=True).text(fixed.why_no_figure)
    else:
        _show_figures(study, limits, objectives, front, number)
    st.text(fixed.summary)
    if study.parent is not None:
        st.text(parent_sentence(study.parent))
    for caveat in _caveats(front, limits, manifest) if len(front) else ():
        st.caption(caveat)
    if len(front):
        _show_table(front, study, fixed.noise)
    _show_chosen(study, trained, number, in_limits=number in inside["number"].tolist())


def _fixed(study: load.PageStudy) -> FrontBasis:
    telling = _knobs(study)
    # Rows are copied with all their columns, and texts are compared one by one: with 10,000 trials both cost.
    dropped = [KNOB + name for name in knob_names(study.frame) if name not in telling]
    frame = study.frame.drop(columns=dropped).astype({"outcome": "category"})
    trained = compared(frame, "madds").sort_values(["top1", "number"], ascending=[False, True])
    objectives = measured_objectives(frame, study.manifest.objectives)
    noise = training_noise(frame["trial"].tolist())
    return FrontBasis(frame, trained, objectives, summary(frame, study.manifest), why_no_figure(frame), noise)


def _ask_limit(values: "pd.Series[float]", name: str, given: float | None) -> float | None:
    """A slider from the cheapest trained network to the dearest; the limit in base units, None if it excludes
    nothing."""
    scale = METRICS[name].scale
    if values.empty:
        return given
    costs = [float(values.min()) * scale, float(values.max()) * scale, *([] if given is None else [given * scale])]
    per_unit = 1 if max(costs) - min(costs) > 20 else 10 if max(costs) - min(costs) > 2 else 100  # steps
    # The lower end lets the cheapest in and the upper end all of them.
    low, high = ceil(min(costs) * per_unit) / per_unit, ceil(max(costs) * per_unit) / per_unit
    if low >= high:
        return given
    start = high if given is None else min(high, max(low, given * scale))
    # A slider that nobody moved follows its upper end when new trials, or another study, move that.
    starts = st.session_state.setdefault("starts", {})
    if starts.get(name, start) != start and st.session_state.get(name) == starts[name]:
        st.session_state[name] = start
    starts[name] = start
    slider = partial(st.slider, key=name, format="%g", bind="query-params", help=f"`{name}`")
    limit = slider(f"{label(name)}, at most", low, high, start, step=1 / per_unit)
    return None if given is None and limit >= high else round(limit / scale, 6)


def _answer(front: pd.DataFrame, inside: pd.DataFrame) -> str:
    best = front[front["number"] == best_number(front)].iloc[0]
    costs = [f"{shown('madds', best['madds'])} multiply-adds"]
    costs += [] if np.isnan(best["latency_ms"]) else [shown("latency_ms", best["latency_ms"])]
    answer = f"**{parts.trial_top1(parts.ranked_trial(front, best['number']))} top-1** at {' and '.join(costs)}"
    found = f"{answer}: trial {best['number']}, {_plain(best['origin'])}."
    published = inside[is_published(inside)]
    if len(published) and best["number"] != published["number"].iloc[0]:
        rival = published.iloc[0]
        reached = parts.trial_top1(parts.ranked_trial(published, rival["number"]))
        found += f" The best published network, {_plain(rival['origin'])}, reaches {reached}."
    if best["tied_with"]:
        found += f" These cost no more and have the same top-1 within the noise: {shown_ties(best['tied_with'])}."
    return found


def _caveats(front: pd.DataFrame, limits: Mapping[str, float], manifest: Manifest) -> list[str]:
    """Limits of the answer."""
    found = []
    least = manifest.least_madds
    if limits.get("madds", np.inf) < least:
        found.append(f"The search built no network below {shown('madds', least)}; only published ones are this small.")
    if front["front_probability"].isna().all():
        found.append("Each network was trained with one seed, so the variation of top-1 between seeds is unknown.")
    trials = front["trial"].tolist()
    found += filter(None, [shown_lengths(trials), shown_wiring(trials)])
    return found


def _chosen(trained: pd.DataFrame, front: pd.DataFrame) -> int:
    """The number of the trial to show: the one in the address if there is one, else the best within the limits."""
    numbers = trained["number"].tolist()
    asked = state.trial(set(numbers))
    best = best_number(front)
    return asked if asked is not None else int(numbers[0]) if best is None else best


def _show_figures(
    study: load.PageStudy, limits: Mapping[str, float], objectives: list[str], front: pd.DataFrame, number: int
) -> None:
    """Both figures side by side, or one in three dimensions; what is chosen or marked in one shows in the other."""
    frame = study.frame
    costs = ("madds", second_cost(frame))
    figures = st.container()  # above its controls, to be seen without scrolling
    left, right = st.columns([3, 1])
    options = [name for name in SHOWN if name != "space" or costs[1] == "latency_ms"]
    on = left.pills(
        "Show",
        options,
        selection_mode="multi",
        format_func=SHOWN.__getitem__,
        default=["dominated", "beyond"],
        wrap=True,
        key="show",
        bind="query-params",
    )
    colours = ["the other cost", *[name for name in METRICS if name != "macs" and frame[name].notna().any()]]
    with right:
        colour = parts.ask_one("Colour of the front", colours, colours[0], "colour", told=_colour_name)
    pins = state.pins(set(frame["number"].tolist()))
    knobs = _knobs(study)
    points: list[TradeoffPoints] = []
    for cost, other in (costs, costs[::-1]):
        of = (other if other == "madds" or costs[1] == "latency_ms" else None) if colour == colours[0] else colour
        drawn = tradeoff_points(
            *(frame, cost, objectives, limits),
            front=front,
            colour=of,
            pins=pins,
            knobs=knobs,
            parent=study.parent,
        )
        points.append(drawn)
    if "space" in on:
        figures.plotly_chart(draw_space(points[0], points[1], number), config=CONFIG, key="figure-space")
        return
    brush = parse_brush(st.query_params.get("brush", ""))
    switches = {name: name in on for name in ("dominated", "beyond", "untrained")}
    trained: Mapping[str, TaskRecord] = {}
    try:
        trained = kept_trainings(study.results, study.manifest)
    except ValueError as error:
        st.caption(f"Trainings of other families cannot be read: {error}")
    measured = kept_references(study.results) if trained or "elsewhere" in on else []
    of_device = [row for row in measured if row.passport == dict(study.manifest.passport or {})]
    for column, drawn in zip(figures.columns(2), points, strict=True):
        others = trained_marks(trained, of_device, drawn.cost)
        figure = draw_tradeoff(drawn, number, brush=brush, others=others, **switches)
        key = f"figure-{drawn.cost}"
        choose = partial(_choose_in_figure, key, drawn.cost)
        with column:
            st.plotly_chart(figure, config=BRUSHED, key=key, selection_mode=("points", "box"), on_select=choose)
    if trained:
        st.caption(
            "Other families had this study's short training, with its images, seed and recipe. It favours some: "
            "what converges fast leads, attention without convolutions trails."
        )
    if "elsewhere" in on:
        st.plotly_chart(draw_published(points[0].elsewhere), config=CONFIG, key="elsewhere")
        st.caption(
            "Published results on ImageNet, after a full training. They do not compare with the top-1 of this "
            "study's short trainings, so they have a figure of their own. Hover over a mark for its name and source."
        )
        if timed := measured_marks(of_device):
            st.plotly_chart(draw_published(timed, "latency_ms"), config=CONFIG, key="elsewhere-ms")
            st.caption("The same accuracies against milliseconds measured on the device of this study.")
    region = st.expander("Search further in this region", expanded=brush is not None, key="region", on_change="rerun")
    if not region.open:  # a command's highlighter is more than the rest of the page
        return
    with region:
        marked = (
            "Region: the limits above." if brush is None else f"Marked region: {_region(brush)}, within the limits."
        )
        st.text(f"{marked} A figure's box tool marks another. To search there, starting from the best trials:")
        st.code(search_command(study.manifest, study.command, brush, limits), language="bash", wrap_lines=True)
        if brush is not None:
            st.button("Clear region", key="unmark", on_click=partial(state.put, "brush", ""))


def _colour_name(name: str) -> str:
    return METRICS[name].title if name in METRICS else name.capitalize()


def _region(brush: Brush) -> str:
    return (
        f"{METRICS[brush.cost].title.lower()} {brush.low:.4g} to {brush.high:.4g} {METRICS[brush.cost].unit}, "
        f"top-1 {brush.top1_low:.1f} to {brush.top1_high:.1f} %"
    )


def _choose_in_figure(key: str, cost: str) -> None:
    """The point that was clicked, by its customdata, as the order of points is the drawing's; or the box."""
    selection = st.session_state[key]["selection"]
    if boxes := selection.get("box"):
        x, y = sorted(boxes[0]["x"]), sorted(boxes[0]["y"])
        if x[0] < x[1] and y[0] < y[1]:
            state.put("brush", brush_text(Brush(cost, x[0], x[1], y[0], y[1])))
            return
    # Published systems stand in the figure too, and are no trials.
    if points := [point for point in selection["points"] if point.get("customdata") is not None]:
        told = points[0]["customdata"]  # of thousands of trials a number and metrics, which come back by index
        state.choose(int(told["0"] if isinstance(told, dict) else np.ravel(told)[0]))


def _knobs(study: load.PageStudy) -> list[str]:
    return load.once(study, ("telling knobs",), lambda: telling_knobs(study.frame, 8))


def _show_table(front: pd.DataFrame, study: load.PageStudy, noise: Mapping[int, Noise]) -> None:
    st.subheader("The front")
    images = study.manifest.data.val_images
    if told := noise_sentence(study.frame, images):
        st.text(told)
    wanted = dict.fromkeys(("top1", "madds", "latency_ms", "num_params", *study.manifest.objectives))
    metrics = [name for name in wanted if front[name].notna().any()]
    table = front[["number", "origin"]].rename(columns={"number": "trial"})
    marked = marks(front["trial"].tolist(), noise, images)
    table = table.assign(mark=[marked[number] for number in front["number"]])
    table = table.assign(**{label("top1"): front["top1"] * METRICS["top1"].scale})
    errors = [one.top1_error * METRICS["top1"].scale for one in ranked_trials(front)]
    table = table.assign(**{"±": ["" if np.isnan(each) else f"{each:.1f}" for each in errors]})
    table = table.assign(**confidence_columns(front, study.frame))
    table = table.assign(**{label(name): front[name] * METRICS[name].scale for name in metrics})
    table = table.assign(**{knob_title(name): front[KNOB + name].map(shown_value) for name in _knobs(study)[:3]})
    column = st.column_config.NumberColumn
    formats = {label(name): column(format=f"%.{METRICS[name].digits}f", help=name) for name in metrics}
    st.dataframe(
        table,
        key="front",
        hide_index=True,
        height="content" if len(table) <= 15 else "auto",
        column_config=formats,
        selection_mode="single-row",
        on_select=partial(_choose_row, front["number"].tolist()),
    )


def _choose_row(numbers: list[int]) -> None:
    if rows := st.session_state["front"]["selection"]["rows"]:
        state.choose(int(numbers[rows[0]]))


def _show_chosen(study: load.PageStudy, trained: pd.DataFrame, number: int, in_limits: bool) -> None:
    """The chosen trial in a line, and the way to its page."""
    one = parts.ranked_trial(trained, number)
    trial = one.trial
    st.subheader(f"Trial {number}")
    if not in_limits:
        st.text("This trial is over the limits set above.")
    with st.container(horizontal=True):
        st.metric("Top-1", parts.trial_top1(one), width="content")
        for name in ("madds", "latency_ms", "num_params", "activation_bytes"):
            st.metric(METRICS[name].title, shown(name, trial.metric(name)), width="content")
    pins = state.pins(set(study.frame["number"].tolist()))
    with st.container(horizontal=True):
        st.button("Look closer", key="closer", on_click=partial(_look_closer, number), type="primary")
        if number in pins:
            st.button("Unpin", key="pin", on_click=partial(state.set_pins, [pin for pin in pins if pin != number]))
        else:
            st.button("Pin", key="pin", on_click=partial(state.set_pins, [*pins, number]))


def _look_closer(number: int) -> None:
    state.choose(number)
    st.session_state["page"] = "network"


def _plain(text: object) -> str:
    """A text from the study so that it stays text where Markdown is read."""
    return re.sub(r"([^\w\s])", r"\\\1", str(text))
