"""Which knobs matter?"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

if TYPE_CHECKING:
    from app import load, parts, state
else:
    import load
    import parts
    import state
from mfsearch.analysis.figures.effects import (
    draw_parallel,
    draw_shares,
    draw_slices,
    draw_twins,
    parallel_lines,
    share_dots,
    slice_groups,
    twin_dots,
)
from mfsearch.analysis.figures.style import CONFIG
from mfsearch.analysis.front.cut import measured_objectives
from mfsearch.analysis.front.summary import compared, study_front, why_no_front
from mfsearch.analysis.knobs.importance import (
    FEWEST,
    REACH,
    Coding,
    KnobShare,
    can_choose_initial,
    code_knobs,
    in_band,
    is_initial,
    knob_shares,
    sampling_note,
    shares_note,
    width_note,
)
from mfsearch.analysis.knobs.twin_pairs import twin_folders, twins_note
from mfsearch.analysis.latency.kept_latency import passport_differences, passport_text
from mfsearch.analysis.metrics import first_length, label
from mfsearch.analysis.ranking.trust import twins_command
from mfsearch.space.knobs import knob_title
from mfsearch.study.twins_file import TwinReport, read_twins
from mfsearch.units import counted

NAMES = {
    "top1": "top-1",
    "front": "reaching the front",
    "latency_ms": "latency",
    "num_params": "parameters",
    "madds": "multiply-adds",
}
COSTS = ("latency_ms", "madds", "num_params", "activation_bytes")
AXES, MOST_AXES = 6, 8  # knobs that the lines run through at first and at most


def show(study: load.PageStudy) -> None:
    """The page."""
    frame = in_band(study.frame, study.manifest)
    if compared(frame, "madds").empty:
        st.container(border=True).text(why_no_front(study.frame))
        _show_twins(study)
        return
    initial = can_choose_initial(frame) and st.toggle(
        "Random and initial proposals only", key="initial", bind="query-params"
    )
    if initial:
        frame = frame[is_initial(frame)]
    coded = load.once(study, ("coded knobs", initial), lambda: code_knobs(frame, study.manifest, study.parent))
    if not coded.names:
        st.text("The trials hold no knobs.")
        _show_twins(study)
        return
    st.text(" ".join(note for note in (sampling_note(frame), width_note(frame)) if note))
    if study.manifest.parent is not None:
        st.text("Widths and expansions are shares of the parent's.")
    if left_out := len(study.frame) - len(in_band(study.frame, study.manifest)):
        st.text(f"{counted(left_out, 'trial')} below the budget's band left out, such as small published networks.")

    objectives = measured_objectives(frame, study.manifest.objectives)
    _show_shares(study, frame, coded, objectives, initial)
    telling = _shares(study, frame, coded, "top1", objectives, initial)
    names = list(dict.fromkeys([*(each.knob for each in telling), *coded.names]))
    _show_slices(frame, coded, names)
    _show_lines(frame, coded, objectives, study_front(study.frame, study.manifest)["number"].tolist(), names)
    _show_twins(study)


def _shares(
    study: load.PageStudy, frame: pd.DataFrame, coded: Coding, measure: str, objectives: list[str], initial: bool
) -> list[KnobShare]:
    return load.once(
        study,
        ("knob shares", initial, measure),
        lambda: knob_shares(frame, coded, measure, objectives, limits=study.manifest.limits),
    )


@st.fragment
def _show_shares(
    study: load.PageStudy, frame: pd.DataFrame, coded: Coding, objectives: list[str], initial: bool
) -> None:
    """How much of the chosen measure goes with each knob."""
    names = NAMES | {"top1": f"top-1 {first_length(frame)}"}
    known = [name for name in names if name == REACH or frame[name].notna().any()]
    measure = st.segmented_control(
        "What varies with the knob?",
        known,
        format_func=lambda name: names[name].capitalize(),
        default=known[0],
        key="measure",
        bind="query-params",
        required=True,
        wrap=True,
    )
    chosen = measure or known[0]
    shares = _shares(study, frame, coded, chosen, objectives, initial)
    trials = max((each.share.n for each in shares), default=0)
    if shares and trials < FEWEST:
        st.text(
            f"{counted(trials, 'trial')} so far: too few to relate knobs to {names[chosen]}; below "
            f"{FEWEST}, chance alone makes knobs look important."
        )
    else:
        st.text(shares_note(shares, names[chosen]))
    if trials >= FEWEST:
        figure = draw_shares(share_dots(shares), names[chosen])
        st.plotly_chart(figure, config=CONFIG, key="shares", selection_mode="points", on_select=_choose_knob)
        st.caption(
            "Share of the variance explained by one knob at a time, adjusted for its number of values, with 95 % "
            "intervals from resampled trials. Shares above the grey bar exceed chance. Trials whose network does not "
            "use the knob are left out. Click a point to choose its knob."
        )
    if st.session_state.pop("knob-clicked", False):
        st.rerun()


def _choose_knob() -> None:
    """The knob of the point that was clicked."""
    points = st.session_state["shares"]["selection"]["points"]
    if points:
        state.put("knob", str(np.ravel(points[0]["customdata"])[0]))
        st.session_state["knob-clicked"] = True


@st.fragment
def _show_slices(frame: pd.DataFrame, coded: Coding, names: list[str]) -> None:
    st.subheader("One knob")
    knob = parts.ask_one("Knob", names, names[0], "knob", told=knob_title)
    slices = {name: slice_groups(frame, coded, knob, name) for name in ("top1", *COSTS[:2])}
    st.plotly_chart(draw_slices(slices, knob), config=CONFIG, key="slices")
    st.caption("Boxes show quartiles for values with at least five trials. Costs include trials that were not trained.")


@st.fragment
def _show_lines(
    frame: pd.DataFrame, coded: Coding, objectives: list[str], on_front: list[int], names: list[str]
) -> None:
    st.subheader("All knobs at once")
    metrics = ["top1", *(name for name in COSTS if name in objectives)]
    if not set(st.session_state.get("axes", [])) <= set(coded.names):  # of another study
        del st.session_state["axes"]
    left, right = st.columns([3, 1])
    knobs = left.multiselect(
        *("Knobs", coded.names),
        default=names[:AXES],
        format_func=knob_title,
        max_selections=MOST_AXES,
        key="axes",
        bind="query-params",
    )
    tints = [name for name in ("top1", *COSTS) if frame[name].notna().any()]
    with right:
        tint = parts.ask_one("Colour", tints, tints[0], "tint", told=label)
    points = parallel_lines(frame, coded, knobs, metrics, tint, objectives, front=on_front)
    st.plotly_chart(draw_parallel(points), config=CONFIG, key="lines")
    front = sum(line.on_front for line in points.lines)
    drawn = f"All {points.of:,} trained trials"
    if len(points.lines) < points.of:
        drawn = f"{len(points.lines):,} of {points.of:,} trained trials, sampled at random, with the whole front"
    hidden = len(on_front) - front
    left_out = f", {hidden:,} more not drawn" if hidden else ""
    st.caption(
        f"{drawn}; {front:,} on the front (thick lines with marks){left_out}. Top-1 is from the longest training."
    )


@st.fragment
def _show_twins(study: load.PageStudy) -> None:
    st.subheader("Twins: one knob changed, all else equal")
    reports, unread = _read_all(twin_folders(load.places(study)))
    for message in unread:
        st.text(message)
    if not reports:
        st.text("No twins were trained here. This command compares a network with twins that differ in one knob:")
        network = parts.best_trial(study)
        command = twins_command(study.manifest, "mf-151m" if network is None else f"{study.command}:{network}")
        st.code(command, language="bash", wrap_lines=True)
        return

    def apart(report: TwinReport) -> list[str]:
        return [
            f"other {name}" for name in ("data", "recipe") if getattr(report, name) != getattr(study.manifest, name)
        ]

    def rank(report: TwinReport) -> tuple[int, bool]:
        return len(apart(report)), report.parent.latency_ms is None

    by_name = {report.folder: report for report in sorted(reports, key=rank)}

    def described(name: str) -> str:
        words = ", ".join(apart(by_name[name])) or "this study's data and recipe"
        return f"{Path(name).name}: {by_name[name].parent.name}, {words}"

    names = list(by_name)
    chosen = by_name[
        parts.ask_one("Study of twins", names, names[0], "twins", told=described, linked=lambda name: Path(name).name)
    ]
    st.text(twins_note(chosen))
    dots = twin_dots(chosen)
    if dots.changes:
        st.plotly_chart(draw_twins(dots), config=CONFIG, key="twin-dots")
    timed = any(twin.latency for twin in chosen.twins)
    if timed:
        st.text(_device_of(chosen, study))
    rows = [
        {"Change": twin.change, "Top-1": twin.verdict, "p (Holm)": twin.p_holm}
        | ({label("latency_ms"): None if twin.latency is None else twin.latency.difference_ms} if timed else {})
        for twin in chosen.twins
    ]
    formats = {
        "p (Holm)": st.column_config.NumberColumn(format="%.2g"),
        label("latency_ms"): st.column_config.NumberColumn(format="%+.2f"),
    }
    st.dataframe(pd.DataFrame(rows), key="twin-rows", hide_index=True, height="content", column_config=formats)


def _device_of(report: TwinReport, study: load.PageStudy) -> str:
    """Whose the milliseconds of these twins are, and whether the study's were measured on the same device."""
    passport = study.manifest.passport
    told = f"Latency differences are twin minus network, measured on {passport_text(report.parent.passport)}."
    if not passport or not report.parent.passport:
        return told
    apart = passport_differences(passport, report.parent.passport, ("in the study", "here"))
    same = "This is the study's device." if not apart else f"It differs from the study's: {'; '.join(apart)}."
    return f"{told} {same}"


def _read_all(folders: list[Path]) -> tuple[list[TwinReport], list[str]]:
    """The reports, and why some could not be read."""
    reports, unread = [], []
    for folder in folders:
        try:
            reports.append(read_twins(folder))
        except ValueError as error:
            unread.append(str(error))
    return reports, unread
