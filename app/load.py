"""Reads studies for the pages: the only caches of the explorer, and nothing here writes."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import streamlit as st

from mfsearch.analysis.frame import study_frame, with_confidence
from mfsearch.analysis.pareto import measured_objectives
from mfsearch.analysis.summary import counted, study_objectives

POLL_S = 5.0  # how often a page asks whether a search has finished more trials


class Study(NamedTuple):
    """What a page needs of a study. command: how a command line names it; results: the folder of studies."""

    name: str
    command: str
    path: Path
    results: Path
    frame: pd.DataFrame
    manifest: dict[str, object]


def study_paths(results: Path, given: str | None) -> dict[str, Path]:
    """The studies to choose from, by name: the one given first, then those in the results folder, the newest first.

    ValueError if there is no study of the given name or path.
    """
    from mfsearch.search.study import find_study, list_studies

    first = {} if given is None else {(path := find_study(given, results)).resolve().name: path}
    return first | {name: results / name for name in list_studies(results) if name not in first}


def load_study(path: Path, results: Path) -> Study:
    """The study as it was when this visitor first asked or last took new trials in; ValueError if it cannot be read."""
    seen = st.session_state.setdefault("seen", {})
    stamp = seen.setdefault(str(path), _stamp(path))
    frame, manifest = _read(path, stamp)
    name = str(manifest.get("study", path.name))
    return Study(name, path.name if path.parent == Path("results") else str(path), path, results, frame, manifest)


@st.fragment(run_every=POLL_S)
def offer_new_trials(study: Study) -> None:
    """A button where a search has finished trials since the study was read: the page moves only when it is pressed."""
    stamp = _stamp(study.path)
    if stamp == st.session_state["seen"][str(study.path)]:
        return
    frame, _ = _read(study.path, stamp)
    new = len(frame) - len(study.frame)
    text = f"{counted(new, 'new trial')}" if new > 0 else "The study has changed"
    if st.button(f"{text}: show", key="take-in", type="primary"):
        st.session_state["seen"][str(study.path)] = stamp
        st.rerun()


@st.cache_data(max_entries=8, show_spinner="Reading the study")
def _read(path: Path, stamp_ns: int) -> tuple[pd.DataFrame, dict[str, object]]:  # the stamp is a part of the key
    from mfsearch.search.study import read_manifest, read_trials

    manifest = read_manifest(path)
    frame = study_frame(read_trials(path))
    return with_confidence(frame, measured_objectives(frame, study_objectives(manifest))), manifest


def _stamp(path: Path) -> int:
    """When the study last changed, in ns: the newest of its manifest and ledger."""
    stamps = [0]
    for part in (path / "manifest.json", path / "journal.log"):
        with suppress(FileNotFoundError):
            stamps.append(part.stat().st_mtime_ns)
    return max(stamps)
