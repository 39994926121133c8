"""Parts that pages share: the choice of a trial, its pin and note, its card."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import streamlit as st

from mfsearch.analysis.front.confidence import shown_probability, shown_ties, shown_training
from mfsearch.analysis.front.cut import best_number
from mfsearch.analysis.front.summary import study_front
from mfsearch.analysis.metrics import (
    METRICS,
    RankedTrial,
    noise_sentence,
    ranked_trials,
    shown,
    shown_top1,
    trained_longer,
)
from mfsearch.study.trial import OUTCOMES, Trial

if TYPE_CHECKING:
    from app import load, state
else:
    import load
    import state

OFFERED = 300  # trials in a list to choose from

T = TypeVar("T")


def ask_trial(frame: pd.DataFrame, number: int) -> None:
    """A list of trials to choose from, at which `number` stands: the pinned ones first, then the best."""
    pins = state.pins(set(frame["number"].tolist()))
    listed = listed_trials(frame, [*pins, number])
    trials = {trial.number: trial for trial in frame.loc[frame["number"].isin(listed), "trial"]}
    st.session_state["trial"] = number

    def described(number: int) -> str:
        return ("pinned " if number in pins else "") + describe_trial(trials[number])

    title = "Trial" if len(listed) == len(frame) else f"Trial (best {len(listed)} of {len(frame):,})"
    st.selectbox(title, listed, format_func=described, key="trial", on_change=partial(state.keep_widget, "trial"))
    if len(listed) < len(frame):
        text = st.text_input("Trial number", key="by-number", on_change=_choose_by_number).strip()
        if text and _number(text) not in set(frame["number"].tolist()):
            st.text(f"There is no trial {text!r} in this study.")


def _choose_by_number() -> None:
    asked = _number(st.session_state["by-number"].strip())
    if asked is not None:
        state.choose(asked)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None


def ask_one(
    text: str,
    options: Sequence[T],
    start: T,
    key: str,
    *,
    told: Callable[[T], str] = str,
    linked: Callable[[T], str] = str,
    widget: Callable[..., object] = st.selectbox,
) -> T:
    """A list from which to choose one of `options`, by default `start`; the address keeps the choice under `key`.

    told, linked: the option's text in the list and in the address; a second option with the same text gets "~2".
    """
    names, shown = (_distinct([words(option) for option in options]) for words in (linked, told))
    asked = st.query_params.get(key)
    chosen = options[names.index(asked)] if asked in names else start
    st.session_state[key] = chosen
    widget(
        text,
        options,
        format_func=lambda one: shown[options.index(one)],
        key=key,
        on_change=partial(_keep_one, key, options, names),
    )
    return chosen


def _distinct(names: Sequence[str]) -> list[str]:
    """Streamlit takes two options of one name for one."""
    counts = [names[:at].count(name) + 1 for at, name in enumerate(names)]
    return [name if count == 1 else f"{name}~{count}" for name, count in zip(names, counts, strict=True)]


def _keep_one(key: str, options: Sequence[Any], names: Sequence[str]) -> None:
    state.put(key, names[options.index(st.session_state[key])])


def listed_trials(frame: pd.DataFrame, first: Sequence[int]) -> list[int]:
    """At most OFFERED trials by number, those of `first` before all: trained ones by falling top1, then the others."""
    order = frame["outcome"].map({outcome: k for k, outcome in enumerate(OUTCOMES)})
    ranked = frame.assign(order=order).sort_values(["order", "top1", "number"], ascending=[True, False, True])
    return list(dict.fromkeys([*first, *ranked["number"].astype(int).tolist()]))[:OFFERED]


def describe_trial(trial: Trial) -> str:
    """A trial in a line: number, top1 or what became of it, costs, origin."""
    words = [shown("top1", trial.metric("top1")) if trial.outcome == "trained" else trial.outcome]
    words += [shown(name, trial.metric(name)) for name in ("madds", "latency_ms") if not np.isnan(trial.metric(name))]
    return f"{trial.number}: {', '.join(words)}, {trial.origin}"


def best_trial(study: "load.PageStudy") -> int | None:
    """The chosen trial; else the best on the front, else the first; None without any."""
    numbers = study.frame["number"].tolist()
    asked = state.trial(set(numbers))
    if asked is not None or not numbers:
        return asked
    best = best_number(study_front(study.frame, study.manifest))
    return int(numbers[0]) if best is None else best


def ranked_trial(frame: pd.DataFrame, number: int) -> RankedTrial:
    """The trial with this number, which the frame holds, and its place."""
    return ranked_trials(frame[frame["number"] == number])[0]


def trial_top1(one: RankedTrial) -> str:
    """ "61.3 ± 0.4 %"."""
    return shown_top1(one.trial.metric("top1"), one.top1_error)


def trial_of(frame: pd.DataFrame, number: int) -> Trial:
    """The trial with this number, which the frame holds."""
    trial: Trial = frame.loc[frame["number"] == number, "trial"].iloc[0]
    return trial


def pin_and_note(number: int, numbers: Sequence[int]) -> None:
    """Pin a trial or take its pin away, and what a person writes on it. numbers: the study's."""
    pins = state.pins(set(numbers))
    pinned = number in pins
    changed = [pin for pin in pins if pin != number] if pinned else [*pins, number]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button("Unpin" if pinned else "Pin", key="pin", on_click=partial(state.set_pins, changed))
        key = f"note-{number}"
        st.text_input(
            "Note",
            value=state.note(number),
            key=key,
            max_chars=500,
            on_change=partial(_keep_note, number, numbers),
            help="Pins and notes are part of this page's link. Adding a note pins the trial.",
        )


def _keep_note(number: int, numbers: Sequence[int]) -> None:
    text = st.session_state[f"note-{number}"]
    pins = state.pins(set(numbers))
    if text and number not in pins:
        state.set_pins([*pins, number])
    state.set_note(number, text)


def trial_card(study: "load.PageStudy", number: int) -> None:
    """The metrics of a trial with their intervals, how sure they are, and what is missing of it and why."""
    ranked = ranked_trial(study.frame, number)
    trial, latency = ranked.trial, ranked.trial.latency
    with st.container(horizontal=True):
        if not np.isnan(trial.metric("top1")):
            title = "Top-1 half way" if trial.outcome == "stopped" else "Top-1"
            st.metric(title, trial_top1(ranked), width="content")
        if trial.outcome == "trained" and trained_longer(study.frame):
            st.metric("Trained", shown_training(trial), width="content")
        if not np.isnan(ranked.front_probability):
            st.metric("On the front", shown_probability(ranked.front_probability), width="content")
        if ranked.tied_with:
            st.metric("Tied with", shown_ties(ranked.tied_with), width="content")
        for name in ("madds", "latency_ms", "num_params", "activation_bytes", "train_seconds"):
            value, interval = trial.metric(name), None
            if np.isnan(value) and name != "latency_ms":
                continue
            if name == "latency_ms" and latency is not None and latency.has_interval:
                interval = f"{latency.low_ms:.2f} to {latency.high_ms:.2f}"
            title = METRICS[name].title
            if name == "train_seconds" and study.manifest.rungs.starts_cut:
                title = "Cut and evaluated"
            st.metric(title, shown(name, value), delta=interval, delta_color="off", delta_arrow="off", width="content")
        seconds = [each.train_seconds for each in trial.longest if trial.rung and each.train_seconds is not None]
        if seconds:
            st.metric("Longest training", shown("train_seconds", sum(seconds) / len(seconds)), width="content")
    for sentence in _remarks(study, trial):
        st.text(sentence)


def _remarks(study: "load.PageStudy", trial: Trial) -> list[str]:
    ends = {
        "stopped": "Training stopped half way, so its top-1 is not comparable with others",
        "rejected": "It was never trained, so it has no top-1 and no training curve",
        "failed": "Its evaluation failed, so later results are missing",
    }
    found = []
    if trial.outcome in ends:
        reason = f" ({trial.reason})" if trial.reason else ""
        found.append(f"{trial.outcome.capitalize()}{reason}. {ends[trial.outcome]}.")
    elif np.isnan(trial.metric("top1")):
        found.append("No top-1 was recorded for this trial.")
    if trial.outcome == "trained":
        noise = noise_sentence(study.frame, study.manifest.data.val_images)
        found += [] if noise is None else [noise]
    if trial.latency is not None and trial.latency.disturbed is True:
        found.append("Other work disturbed its latency measurement, which may be off by a few percent.")
    return found
