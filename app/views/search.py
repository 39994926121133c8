"""Was the search any good?"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mfsearch.analysis.figures.style import CONFIG
from mfsearch.analysis.figures.trajectories import (
    AXES,
    draw_history,
    draw_proposers,
    draw_reasons,
    draw_speed,
    draw_spent,
    history_line,
    median_line,
    speed_points,
)
from mfsearch.analysis.front.outcomes import (
    clock,
    grouped_reasons,
    prior_worth,
    proposers,
    spent_on_training,
    time_in_words,
)
from mfsearch.analysis.front.summary import study_front, why_no_front
from mfsearch.analysis.front.trajectory import (
    CONTROL,
    TRAINED,
    comparison,
    differences,
    is_control,
    shared_box,
    shared_objectives,
    study_history,
    without_top1_below_band,
)
from mfsearch.analysis.latency.milliseconds import prediction_accuracy, screen_in_words, timed_trials, turned_down
from mfsearch.analysis.metrics import METRICS
from mfsearch.study.files import list_studies
from mfsearch.study.manifest import Manifest
from mfsearch.units import counted, format_seconds

if TYPE_CHECKING:
    from app import load, state
else:
    import load
    import state

WRITING = {True: "A search is writing this study.", False: "No search on this machine is writing it.", None: ""}
NONE = "-"  # in the address, as no study's name: a person wants none beside this one
HOW = (
    "Hypervolume is the region that the front dominates, up to a reference point: the worst value of each objective, "
    "moved out by a tenth of its range. The box reaches from there to the best value of each objective and is the same "
    "for all studies shown. Every network counts with the top-1 of its short training, or as cut where that came first."
)


def show(study: load.PageStudy) -> None:
    """The page."""
    _show_status(study)
    if study.frame.empty:
        st.container(border=True).text(why_no_front(study.frame))
        return
    _show_history(study)
    if worth := prior_worth(study.frame["trial"], study.manifest.prior_fit):
        st.subheader("What was known before?")
        st.text(f"{worth[0].upper()}{worth[1:]}.")
    _show_outcomes(study)
    _show_time(study)
    st.subheader("Was predicted latency right?")
    st.text(screen_in_words(turned_down(study.frame), prediction_accuracy(timed_trials(study.frame))))


@st.fragment(run_every=load.POLL_S)
def _show_status(study: load.PageStudy) -> None:
    """Whether a search is at work, and how far it is: of the trials that the page shows, as the rest of it."""
    frame, request = study.frame, study.manifest.request
    trained = int(frame["outcome"].isin(TRAINED).sum())
    writing = load.is_being_written(study)
    if not writing and study.manifest.storage:
        writing = None  # another machine may write into the database
    words = [WRITING[writing]]
    asked = None if request is None else request.trials
    of = "" if asked is None else f" of {asked:,} requested when the study began"
    done = "evaluated" if study.manifest.rungs.starts_cut else "trained"  # some are only cut from the parent
    words.append(f"{counted(len(frame), 'trial')}, {counted(trained, 'network')} {done}{of}.")
    if (taken := clock(frame, study.manifest)) is not None:
        ago = format_seconds(max(0.0, (datetime.now(UTC) - taken.last).total_seconds()))
        words.append(f"Last result {ago} ago, {taken.last.astimezone(UTC):%Y-%m-%d %H:%M} UTC.")
    st.text(" ".join(word for word in words if word))


def _show_history(study: load.PageStudy) -> None:
    st.subheader("Better than chance?")
    manifests = _other_manifests(study)
    random = study.manifest.sampler == CONTROL
    fits = [
        name
        for name, (_, other) in manifests.items()
        if (is_control(other, study.manifest) if random else is_control(study.manifest, other))
    ]
    if not fits:
        st.text(
            "This study is a random search; no study beside it differs only in the sampler."
            if random
            else "This study has no random control: a study with the same settings and --sampler random."
        )
    chosen: list[str] = []
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    if manifests:
        link = st.query_params.get("beside", "")
        asked = [name for name in link.split(",") if name in manifests]
        chosen = left.multiselect(
            "Compare with",
            list(manifests),
            default=asked or ([] if link == NONE else fits),
            key="beside",
            on_change=partial(_keep_chosen, "beside"),
            placeholder="another study",
        )
    axis = right.selectbox("Against", list(AXES), format_func=AXES.__getitem__, key="against", bind="query-params")
    others = _read_others(study, [manifests[name][0] for name in chosen])

    frames = [without_top1_below_band(one.frame, study.manifest) for one in (study, *others)]
    objectives = shared_objectives(frames, study.manifest.objectives)[:3]  # a hypervolume has three dimensions at most
    box = shared_box(frames, objectives)
    if box is None or len(objectives) < 2:
        st.container(border=True).text(why_no_front(study.frame))
        return
    left_out = int((study.frame["top1"].notna() & frames[0]["top1"].isna()).sum())
    named = zip((study, *others), frames, strict=True)
    own, *theirs = (study_history(one.name, frame, objectives, box) for one, frame in named)
    if others:
        st.text(comparison(own, theirs))
    line = history_line(own, axis)
    median = median_line(theirs, axis) if len(theirs) > 1 else None
    figure = draw_history(line, [history_line(one, axis) for one in theirs], median, axis)
    st.plotly_chart(figure, config=CONFIG, key="history")
    for other in others:
        found = differences(study.manifest, other.manifest)
        sampler = f"{other.name}: sampler {other.manifest.sampler}, here {study.manifest.sampler}"
        st.text(
            f"{sampler}; " + ("; ".join(found) if found else "all other settings agree, except perhaps the seed") + "."
        )
    small = f" {counted(left_out, 'network')} below the budget's band left out: no draw could be there."
    titles = ", ".join(METRICS[name].title.lower() for name in objectives)
    st.caption(f"{HOW} Objectives: {titles}.{small if left_out else ''}")


def _read_others(study: load.PageStudy, paths: Sequence[Path]) -> list[load.PageStudy]:
    """The studies to compare with as they are now; a sentence names any that cannot be read."""
    found = []
    for path in paths:
        try:
            found.append(load.load_newest(path, study.results))
        except ValueError as error:
            st.text(f"{path.name} is not compared: {error}")
    return found


def _show_outcomes(study: load.PageStudy) -> None:
    frame = study.frame
    st.subheader("Outcomes of the trials")
    reasons = grouped_reasons(frame)
    front = study_front(frame, study.manifest)["number"].tolist()
    left, right = st.columns(2)
    left.text("By proposer")
    left.plotly_chart(draw_proposers(proposers(frame, front)), config=CONFIG, key="proposers")
    right.text("Why trials were rejected, stopped or failed")
    if reasons:
        right.plotly_chart(draw_reasons(reasons), config=CONFIG, key="reasons")
        lost = frame.loc[frame["outcome"] != "trained", ["number", "outcome", "origin", "reason"]]
        with st.expander(f"All {len(lost):,} with their reasons"):
            st.dataframe(lost.rename(columns={"number": "trial"}), hide_index=True, key="reasons-list")
    else:
        right.text("None was.")


def _show_time(study: load.PageStudy) -> None:
    st.subheader("Where the time went")
    spent = spent_on_training(study.frame, study.manifest)
    st.text(time_in_words(spent, clock(study.frame, study.manifest)))
    if not spent:
        return
    left, right = st.columns(2)
    if len(spent) > 1:  # of one length the sentence says it all
        right.plotly_chart(draw_spent(spent), config=CONFIG, key="spent")
    if points := speed_points(study.frame):
        left.plotly_chart(draw_speed(points), config=CONFIG, key="speed")


def _other_manifests(study: load.PageStudy) -> Mapping[str, tuple[Path, Manifest]]:
    """The studies to compare with, by name: those of the results folder and those beside this one."""
    found: dict[str, tuple[Path, Manifest]] = {}
    for folder in dict.fromkeys([study.path.parent, study.results]):
        for name in list_studies(folder):
            if (folder / name).resolve() == study.path.resolve() or name in found:
                continue
            with suppress(ValueError):  # no manifest of ours: not a study
                found[name] = folder / name, Manifest.read(folder / name)
    return found


def _keep_chosen(key: str) -> None:
    names: Sequence[str] = st.session_state[key]
    state.put(key, ",".join(names) or NONE)
