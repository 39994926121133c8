"""Take it with me: files, commands and a link of the chosen networks."""

import math
import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import streamlit as st

from mfsearch.analysis.front.cut import best_number
from mfsearch.analysis.front.summary import compared, study_front, why_no_front
from mfsearch.analysis.front.table import trials_csv
from mfsearch.analysis.metrics import RankedTrial, shown
from mfsearch.units import counted

if TYPE_CHECKING:
    from app import load, parts, state
else:
    import load
    import parts
    import state


def show(study: load.PageStudy) -> None:
    """The page."""
    frame = study.frame
    trained = compared(frame, "madds")
    if trained.empty:
        st.container(border=True).text(why_no_front(frame))
        return
    front = study_front(frame, study.manifest)
    known = set(trained["number"].tolist())
    pins, asked = state.pins(known), state.trial(known)
    best = best_number(front if len(front) else trained)
    numbers = pins or [number for number in (best if asked is None else asked,) if number is not None]

    which = "pinned" if pins else "chosen" if asked is not None else "best on the front; pin others on page Network"
    st.text(f"{counted(len(numbers), 'network')}, {which}.")
    for number in numbers:
        _show_network(study, parts.ranked_trial(trained, number))

    st.subheader("Tables")
    notes = {number: note for number in numbers if (note := state.note(number))}
    with st.container(horizontal=True):
        _csv("The front", trials_csv(front), f"{study.name}-front.csv")
        _csv("These networks and notes", trials_csv(frame, notes, numbers), f"{study.name}-chosen.csv")
        _csv("All trials", partial(trials_csv, frame), f"{study.name}.csv")

    st.subheader("Reproduce the study")
    revision = study.manifest.git_revision
    seeds = f"Seed {study.manifest.seed}" + (f", revision {revision}" if revision else "")
    st.text(
        f"{seeds}. With one worker, --trials and the same version of mfsearch the same command finds the same "
        "networks, unless measured latencies differ; with --time the machine's speed decides how many."
    )
    st.code(study.manifest.command or "not recorded", language="bash", wrap_lines=True)

    st.subheader("Link to this page")
    base = str(st.context.url or "http://127.0.0.1:8501/").partition("?")[0].rstrip("/") + "/"
    st.code(
        f"{base}?{urlencode({'study': study.path.resolve().name} | dict(st.query_params.items()))}",
        language=None,
        wrap_lines=True,
    )
    st.text("It opens this page with its pins and notes in any explorer that has this study.")


def _show_network(study: load.PageStudy, one: RankedTrial) -> None:
    trial, number = one.trial, one.trial.number
    with st.container(border=True):
        costs = [shown(name, value) for name in ("madds", "latency_ms") if not math.isnan(value := trial.metric(name))]
        st.text(f"Trial {number}: {parts.trial_top1(one)}, {', '.join(costs)}, {trial.origin}")
        if note := state.note(number):
            st.text(f"Note: {note}")
        try:
            config = trial.config
        except ValueError as error:
            st.text(f"The config cannot be read: {error}")
            return
        name = f"{study.name}-{number}"
        with st.container(horizontal=True):
            _file("Config", config.to_yaml, f"{name}.yaml", f"config-{number}")
            _file("ONNX", partial(_bundled, study, number, onnx=True), f"{name}.onnx", f"onnx-{number}")
            _file("Bundle", partial(_bundled, study, number), f"{name}.zip", f"bundle-{number}")
        classes, options = _of_data(study)
        folder = shlex.quote(name)
        commands = [
            f"mfsearch export {shlex.quote(study.command)} --trial {number}{classes} --to {folder}",
            f"mfsearch verify {folder}",
            f"mfsearch train {folder} {options}",
        ]
        st.code("\n".join(commands), language="bash", wrap_lines=True)


def _file(label: str, data: Callable[[], str | bytes], name: str, key: str) -> None:
    """A button; its file is made only when it is pressed."""
    st.download_button(label, data, name, "application/octet-stream", key=key, on_click="ignore")


def _bundled(study: load.PageStudy, number: int, *, onnx: bool = False) -> bytes:
    """All that `mfsearch export` writes as a zip archive, or its ONNX file alone."""
    from mfsearch.export.bundle import trial_onnx, trial_zip

    data_dir = os.environ.get("MFSEARCH_DATA")
    return (trial_onnx if onnx else trial_zip)(study.path, number, Path(data_dir) if data_dir else None)


def _csv(label: str, data: str | Callable[[], str], name: str) -> None:
    st.download_button(label, data, name, "text/csv", key=name, on_click="ignore")


def _of_data(study: load.PageStudy) -> tuple[str, str]:
    """The options with which `export` fits the classes of the search's images, and `train` finds those images."""
    manifest, asked = study.manifest, study.manifest.options()
    options = f"--data {shlex.quote(asked['data'])}"
    if "data-dir" in asked or asked["data"].startswith("cifar"):
        options += f" --data-dir {shlex.quote(asked.get('data-dir', 'DIR'))}"
    if "skip-damaged" in asked:
        options += " --skip-damaged"
    classes = manifest.data.classes
    return (f" --classes {classes}" if classes != manifest.classes else ""), options
