"""Parts that pages share: the choice of a trial, its pin and note, its card."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import streamlit as st

from mfsearch.analysis.frame import OUTCOMES, noise_sentence, shown, shown_top1, trained_longer
from mfsearch.analysis.front.confidence import shown_probability, shown_ties, shown_training

if TYPE_CHECKING:
    from app import load, state
else:
    import load
    import state

OFFERED = 300  # trials in a list to choose from

Row = Mapping[Hashable, Any]  # of a study's frame
T = TypeVar("T")


def ask_trial(frame: pd.DataFrame, number: int) -> None:
    """A list of trials to choose from, at which `number` stands: the pinned ones first, then the best."""
    pins = state.pins(set(frame["number"].tolist()))
    listed = listed_trials(frame, [*pins, number])
    rows = {int(row["number"]): row for row in frame[frame["number"].isin(listed)].to_dict("records")}
    st.session_state["trial"] = number

    def described(number: int) -> str:
        return ("pinned " if number in pins else "") + describe_trial(rows[number])

    title = "Trial" if len(listed) == len(frame) else f"Trial, the {len(listed)} best of {len(frame):,}"
    st.selectbox(title, listed, format_func=described, key="trial", on_change=partial(state.keep_widget, "trial"))
    if len(listed) < len(frame):
        text = st.text_input("Another trial by its number", key="by-number", on_change=_choose_by_number).strip()
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
) -> T:
    """A list to choose one of `options` from, at first `start`; the choice is in the address under `key`.

    told, linked: an option as the list shows it, and as the address holds it; a second one of the same name has "~2".
    """
    names, shown = (_distinct([words(option) for option in options]) for words in (linked, told))
    asked = st.query_params.get(key)
    chosen = options[names.index(asked)] if asked in names else start
    st.session_state[key] = chosen
    st.selectbox(
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


def describe_trial(row: Row) -> str:
    """A trial in a line: number, top1 or what became of it, costs, origin."""
    found = [shown_top1(row["top1"], row["top1_std"]) if row["outcome"] == "trained" else str(row["outcome"])]
    found += [shown(name, row[name]) for name in ("madds", "latency_ms") if not np.isnan(row[name])]
    return f"{row['number']}: {', '.join(found)}, {row['origin']}"


def pin_and_note(number: int, numbers: Sequence[int]) -> None:
    """Pin a trial or take its pin away, and what a person writes on it. numbers: the study's."""
    pins = state.pins(set(numbers))
    pinned = number in pins
    changed = [pin for pin in pins if pin != number] if pinned else [*pins, number]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button("Unpin" if pinned else "Pin", key="pin", on_click=partial(state.set_pins, changed))
        key = f"note-{number}"
        st.text_input(
            "Note", value=state.note(number), key=key, max_chars=500, on_change=partial(_keep_note, number, numbers)
        )
    st.caption("Pins and notes are kept in the address of this page: the link holds them. A note pins its trial.")


def _keep_note(number: int, numbers: Sequence[int]) -> None:
    text = st.session_state[f"note-{number}"]
    pins = state.pins(set(numbers))
    if text and number not in pins:
        state.set_pins([*pins, number])
    state.set_note(number, text)


def trial_card(study: "load.Study", row: Row) -> None:
    """The metrics of a trial with their intervals, how sure they are, and what is missing of it and why."""
    outcome = row["outcome"]
    with st.container(horizontal=True):
        if not np.isnan(row["top1"]):
            name = "top1 half way" if outcome == "stopped" else "top1"
            st.metric(name, shown_top1(row["top1"], row["top1_std"]), width="content")
        if outcome == "trained" and trained_longer(study.frame):
            st.metric("trained", shown_training(row), width="content")
        if not np.isnan(row["front_probability"]):
            st.metric("on the front", shown_probability(row["front_probability"]), width="content")
        if row["tied_with"]:
            st.metric("tied with", shown_ties(row["tied_with"]), width="content")
        for name in ("madds", "latency_ms", "num_params", "activation_bytes", "train_seconds"):
            if np.isnan(row[name]) and name != "latency_ms":
                continue
            interval = _interval(row) if name == "latency_ms" else None
            value = shown(name, row[name])
            st.metric(name, value, delta=interval, delta_color="off", delta_arrow="off", width="content")
    for sentence in _remarks(study, row):
        st.text(sentence)


def _interval(row: Row) -> str | None:
    low, high = row["latency_low_ms"], row["latency_high_ms"]
    return None if np.isnan(low) or np.isnan(high) else f"{low:.2f} to {high:.2f}"


def _remarks(study: "load.Study", row: Row) -> list[str]:
    ends = {
        "stopped": "It was given up half way through its training; its top1 is compared with no other",
        "rejected": "It was never trained, so it has no top1 and no training curve",
        "failed": "Its evaluation failed, so what came after is missing",
    }
    found = []
    if row["outcome"] in ends:
        reason = f" ({row['reason']})" if row["reason"] else ""
        found.append(f"{str(row['outcome']).capitalize()}{reason}. {ends[row['outcome']]}.")
    elif np.isnan(row["top1"]):
        found.append("No top1 was recorded for this trial.")
    if row["outcome"] == "trained":
        noise = noise_sentence(study.frame)
        found += [] if noise is None else [noise]
    if row.get("latency_disturbed") is True:
        found.append("The measurement of its latency was disturbed: it may be off by some percent.")
    return found
