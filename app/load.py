"""Reads studies for the pages: the only caches of the explorer, and nothing here writes."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import streamlit as st

from mfsearch.analysis.frame import study_frame, with_confidence
from mfsearch.analysis.pareto import measured_objectives
from mfsearch.analysis.summary import study_objectives


class Study(NamedTuple):
    """What a page needs of a study."""

    name: str
    frame: pd.DataFrame
    manifest: dict[str, object]


def study_paths(results: Path, given: str | None) -> dict[str, Path]:
    """The studies to choose from, by name: the one given first, then those in the results folder, the newest first.

    ValueError if there is no study of the given name or path.
    """
    from mfsearch.search.study import find_study, list_studies

    first = {} if given is None else {(path := find_study(given, results)).resolve().name: path}
    return first | {name: results / name for name in list_studies(results) if name not in first}


def load_study(path: Path) -> Study:
    """The study as it is now, read again only when a file of it has changed; ValueError if it cannot be read."""
    return _read(path, _stamp(path))


@st.cache_data(max_entries=8, ttl=60, show_spinner="Reading the study")  # ttl: a ledger in a database changes no file
def _read(path: Path, stamp_ns: int) -> Study:  # the stamp is a part of the cache's key
    from mfsearch.search.study import read_manifest, read_trials

    manifest = read_manifest(path)
    frame = study_frame(read_trials(path))
    frame = with_confidence(frame, measured_objectives(frame, study_objectives(manifest)))
    return Study(str(manifest.get("study", path.name)), frame, manifest)


def _stamp(path: Path) -> int:
    """When the study last changed, in ns: the newest of its folder and the files directly in it."""
    stamps = [0]
    for part in [path, *path.iterdir()]:
        with suppress(FileNotFoundError):  # a running study replaces files
            stamps.append(part.stat().st_mtime_ns)
    return max(stamps)
