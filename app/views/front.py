"""What can I get for my budget?"""

import re
from collections.abc import Hashable, Mapping
from functools import partial
from math import ceil
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

if TYPE_CHECKING:
    from app import load
else:
    import load
from mfsearch.analysis.confidence import shown_noise, shown_probability, shown_training
from mfsearch.analysis.figures.style import CONFIG
from mfsearch.analysis.figures.tradeoff import draw_tradeoff, tradeoff_points
from mfsearch.analysis.figures.training import curve_lines, draw_curves
from mfsearch.analysis.frame import KNOB, METRICS, knob_names, label, shown, shown_top1, telling_knobs, trained_longer
from mfsearch.analysis.pareto import measured_objectives, pareto_front, within
from mfsearch.analysis.summary import (
    compared,
    confidence_columns,
    second_cost,
    study_limits,
    study_objectives,
    summary,
    why_no_figure,
    why_no_front,
)

LIMITED = ("madds", "latency_ms")
CHOSEN = ("trial", *LIMITED)  # names in the address and in the session state


def show(study: load.Study) -> None:
    """The page."""
    frame, manifest = study.frame, study.manifest
    st.text(summary(frame, manifest))
    trained = compared(frame, "madds").sort_values(["top1", "number"], ascending=[False, True])
    if trained.empty:
        st.container(border=True).text(why_no_front(frame))
        return

    given = study_limits(manifest)
    limits: dict[str, float] = {}
    for column, name in zip(st.columns(2), LIMITED, strict=True):
        with column:
            limit = _ask_limit(trained[name].dropna(), name, given.get(name))
        limits |= {} if limit is None else {name: limit}

    objectives = measured_objectives(frame, study_objectives(manifest))
    front = pareto_front(within(frame, limits), objectives)
    if front.empty:
        st.container(border=True).text(why_no_front(frame))
    else:
        st.markdown(_answer(front, within(trained, limits)))
    number = _chosen(trained, front)

    if missing := why_no_figure(frame):
        st.container(border=True).text(missing)
    else:
        for column, cost in zip(st.columns(2), ("madds", second_cost(frame)), strict=True):
            figure = draw_tradeoff(tradeoff_points(frame, cost, objectives, limits), number)
            key = f"figure-{cost}"
            choose = partial(_choose_point, key)
            column.plotly_chart(figure, config=CONFIG, key=key, selection_mode="points", on_select=choose)
    if len(front):
        _show_table(front, frame)
    _show_trial(
        study.command,
        trained,
        number,
        longer=trained_longer(frame),
        in_limits=number in within(trained, limits)["number"].tolist(),
    )


def _ask_limit(values: pd.Series, name: str, given: float | None) -> float | None:
    """A slider from the cheapest trained network to the dearest; the limit in base units, None where all are let in."""
    scale = METRICS[name].scale
    costs = [*(values * scale).tolist(), *([] if given is None else [given * scale])]
    if values.empty:
        return given
    per_unit = 1 if max(costs) - min(costs) > 20 else 10 if max(costs) - min(costs) > 2 else 100  # steps
    # The lower end lets the cheapest in and the upper end all of them.
    low, high = ceil(min(costs) * per_unit) / per_unit, ceil(max(costs) * per_unit) / per_unit
    if low >= high:
        return given
    # Set only where it must be: the page would take a slider that is being dragged back to where the last run saw it.
    if not low <= st.session_state.get(name, np.nan) <= high:
        try:
            start = float(st.query_params[name])
        except (KeyError, ValueError):
            start = high if given is None else given * scale
        st.session_state[name] = min(high, max(low, start))  # in this order NaN gives low
    limit = st.slider(
        f"At most, {label(name)}", low, high, step=1 / per_unit, key=name, format="%g", on_change=partial(_keep, name)
    )
    return None if given is None and limit >= high else round(limit / scale, 6)


def _keep(name: str) -> None:
    """Puts what a widget was set to into the address: a link opens the same page."""
    st.query_params[name] = str(st.session_state[name])


def _answer(front: pd.DataFrame, inside: pd.DataFrame) -> str:
    best = front.sort_values("top1").iloc[-1]
    costs = [shown(name, best[name]) for name in LIMITED if not np.isnan(best[name])]
    answer = f"**{_top1(best)} top1** for {' and '.join(costs)}"
    found = f"{answer}: trial {best['number']}, {_plain(best['origin'])}."
    published = inside[inside["origin"].astype(str).str.startswith(("preset", "fitted"))]
    if len(published) and best["number"] != published["number"].iloc[0]:
        rival = published.iloc[0]
        found += f" The best of the published networks, {_plain(rival['origin'])}, has {_top1(rival)}."
    if best["tied_with"]:
        found += f" No dearer, and top1 cannot tell it apart: {best['tied_with']}."
    return found


def _chosen(trained: pd.DataFrame, front: pd.DataFrame) -> int:
    """The number of the trial to show: the one in the address if there is one, else the best within the limits."""
    numbers = trained["number"].tolist()
    asked = st.query_params.get("trial", "")
    if asked.isdecimal() and int(asked) in numbers:
        return int(asked)
    best = front.sort_values("top1")["number"].tolist()
    return int(best[-1] if best else numbers[0])


def _choose(number: int) -> None:
    st.query_params["trial"] = str(number)


def _choose_point(key: str) -> None:
    """The trial of the point that was clicked: by its customdata, as the order of points is the drawing's."""
    points = st.session_state[key]["selection"]["points"]
    if points:
        numbers = np.ravel(points[0]["customdata"])
        _choose(int(numbers[0]))


def _choose_row(front: pd.DataFrame) -> None:
    rows = st.session_state["front"]["selection"]["rows"]
    if rows:
        _choose(int(front["number"].iloc[rows[0]]))


def _show_table(front: pd.DataFrame, frame: pd.DataFrame) -> None:
    st.subheader("The front")
    if noise := shown_noise(frame.to_dict("records")):
        st.text(noise)
    metrics = [name for name in ("top1", "madds", "latency_ms", "num_params") if front[name].notna().any()]
    table = front[["number", "origin"]].rename(columns={"number": "trial"})
    table = table.assign(**{label("top1"): front["top1"] * METRICS["top1"].scale})
    if front["top1_std"].notna().any():
        table = table.assign(**{"± over seeds": front["top1_std"] * METRICS["top1"].scale})
    table = table.assign(**confidence_columns(front, frame))
    table = table.assign(**{label(name): front[name] * METRICS[name].scale for name in metrics})
    table = table.assign(**{name: front[KNOB + name].map(str) for name in telling_knobs(frame, 3)})
    formats = {label(name): st.column_config.NumberColumn(format=f"%.{METRICS[name].digits}f") for name in metrics}
    formats["± over seeds"] = st.column_config.NumberColumn(format=f"%.{METRICS['top1'].digits}f")
    st.dataframe(
        table,
        key="front",
        hide_index=True,
        height="content" if len(table) <= 15 else "auto",
        column_config=formats,
        selection_mode="single-row",
        on_select=lambda: _choose_row(front),
    )


def _show_trial(study: str, trained: pd.DataFrame, number: int, longer: bool, in_limits: bool) -> None:
    """The card of one trial: metrics, how sure they are, knobs, training curve, and how to take the network out."""
    rows = {int(row["number"]): row for row in trained.to_dict("records")}

    def described(number: int) -> str:
        row = rows[number]
        costs = [shown(name, row[name]) for name in LIMITED if not np.isnan(row[name])]
        return f"{number}: {_top1(row)}, {', '.join(costs)}, {row['origin']}"

    st.session_state["trial"] = number
    st.subheader("One trial")
    st.selectbox("Trial", list(rows), format_func=described, key="trial", on_change=partial(_keep, "trial"))
    row = rows[number]
    if not in_limits:
        st.text("Over the limits set above.")
    with st.container(horizontal=True):
        st.metric("top1", _top1(row), width="content")
        if longer:
            st.metric("trained", shown_training(row), width="content")
        if not np.isnan(row["front_probability"]):
            st.metric("on the front", shown_probability(row["front_probability"]), width="content")
        if row["tied_with"]:
            st.metric("tied with", row["tied_with"], width="content")
        for name in ("madds", "latency_ms", "num_params", "activation_bytes", "train_seconds"):
            st.metric(name, shown(name, row[name]), width="content")
    left, right = st.columns(2)
    settings = {name: row[KNOB + name] for name in knob_names(trained) if row[KNOB + name] is not None}
    left.dataframe(
        pd.DataFrame({"knob": list(settings), "value": [str(value) for value in settings.values()]}), hide_index=True
    )
    if lines := curve_lines(trained[trained["number"] == number]):
        right.plotly_chart(draw_curves(lines), config=CONFIG, key="curve")
    else:
        right.text("No training curve was recorded.")
    st.text("Take this network out, ready for a full training:")
    target = f"{study.rpartition('/')[2]}-{number}"
    st.code(f"mfsearch export {quote(study)} --trial {number} --to {quote(target)}", language="bash", wrap_lines=True)


def _top1(row: Mapping[Hashable, Any] | pd.Series) -> str:
    return shown_top1(row["top1"], row["top1_std"])


def _plain(text: object) -> str:
    """A text from the study so that it stays text where Markdown is read."""
    return re.sub(r"([^\w\s])", r"\\\1", str(text))
