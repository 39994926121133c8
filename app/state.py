"""The visitor's choices: kept in the page's address alone, so a link opens the page in the same state."""

from collections.abc import Collection

import streamlit as st

LIMITED = ("madds", "latency_ms", "num_params", "activation_bytes")  # metrics with a slider, names in the address
OF_A_STUDY = ("trial", "pins", "compare", "brush", "beside")  # of no use to another study, nor are notes
NOTE = "note."


def trial(numbers: Collection[int]) -> int | None:
    """The number of the chosen trial; None if none of `numbers` is in the address."""
    asked = _number(st.query_params.get("trial", ""))
    return asked if asked in numbers else None


def choose(number: int) -> None:
    """Make a trial the chosen one."""
    st.query_params["trial"] = str(number)


def pins(numbers: Collection[int]) -> list[int]:
    """The pinned trials that are among `numbers`, in the order in which they were pinned."""
    asked = dict.fromkeys(_number(text) for text in st.query_params.get("pins", "").split(","))
    return [number for number in asked if number is not None and number in numbers]


def set_pins(numbers: Collection[int]) -> None:
    """Pin exactly these trials; notes of others go."""
    put("pins", ",".join(str(number) for number in numbers))
    for name in list(st.query_params):
        if name.startswith(NOTE) and name not in [f"{NOTE}{number}" for number in numbers]:
            del st.query_params[name]


def note(number: int) -> str:
    """The note on a pinned trial, "" if there is none."""
    return st.query_params.get(f"{NOTE}{number}", "")


def set_note(number: int, text: str) -> None:
    """Write a note on a trial; "" deletes it."""
    put(f"{NOTE}{number}", text[:500])


def keep_widget(key: str) -> None:
    """Callback of a widget: its value goes into the address under its key."""
    put(key, str(st.session_state[key]))


def change_study(left: str) -> None:
    """Store the choices made in the study that is left, and restore those of the study that is opened."""
    kept = st.session_state.setdefault("left", {})
    chosen = {name: st.query_params[name] for name in st.query_params if name in OF_A_STUDY or name.startswith(NOTE)}
    kept[left] = chosen
    for name in chosen:
        del st.query_params[name]
    for name in OF_A_STUDY:
        st.session_state.pop(name, None)
    for name, value in kept.get(st.session_state["study"], {}).items():
        st.query_params[name] = value


def put(name: str, value: str) -> None:
    """Put something into the address; "" takes it out."""
    if value:
        st.query_params[name] = value
    else:
        st.query_params.pop(name, None)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None
