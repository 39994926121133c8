"""Reads studies for the pages: the only caches of the explorer, and nothing here writes."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import pandas as pd
import streamlit as st

from mfsearch.analysis.front import compare
from mfsearch.analysis.front.compare import CheaperTrial
from mfsearch.analysis.front.cut import measured_objectives
from mfsearch.analysis.latency.by_part import StudyRates, fit_study
from mfsearch.analysis.metrics import with_confidence
from mfsearch.commands import explore
from mfsearch.study import files
from mfsearch.study.files import find_study, list_studies
from mfsearch.study.frame import study_frame
from mfsearch.study.kept_parent import KeptParent
from mfsearch.study.manifest import Manifest
from mfsearch.study.reader import Position, StudyReader
from mfsearch.units import counted

T = TypeVar("T")
POLL_S = 5.0  # how often a page asks whether a search has finished more trials
KEPT = 8  # studies, and states of studies that some visitor looks at


class PageStudy(NamedTuple):
    """The data of a study that a page needs. command: how a command line names it; results: the folder of studies; at:
    how far it had come, which with the path is the key of whatever is cached."""

    name: str
    command: str
    path: Path
    results: Path
    frame: pd.DataFrame
    manifest: Manifest
    at: Position
    parent: KeptParent | None = None


def study_paths(results: Path, given: str | None) -> dict[str, Path]:
    """The studies to choose from, by name: the one given first, then those in the results folder, the newest first,
    then those that come with mfsearch.

    ValueError if there is no study of the given name or path.
    """
    found = {} if given is None else {(path := find_study(given, results)).resolve().name: path}
    found |= {name: results / name for name in list_studies(results) if name not in found}
    committed = explore.committed_results()
    if committed is not None:
        manifests = {name: Manifest.read(committed / name) for name in sorted(list_studies(committed))}
        by_date = sorted(manifests, key=lambda name: str(manifests[name].created), reverse=True)
        in_order = sorted(by_date, key=lambda name: manifests[name].sampler == "random")  # controls last
        found |= {name: committed / name for name in in_order if name not in found}
    return found


def load_study(path: Path, results: Path) -> PageStudy:
    """The study as it was when this visitor first asked or last took new trials in; ValueError if it cannot be read."""
    seen = st.session_state.setdefault("seen", {})
    if str(path) not in seen:
        seen[str(path)] = _look(path)
    study = _study(path, results, seen[str(path)])
    try:
        return study._replace(parent=KeptParent.read(path, study.manifest.parent))
    except ValueError as error:
        st.text(str(error))
        return study


def load_newest(path: Path, results: Path) -> PageStudy:
    """The study as it is now, such as one to compare with; ValueError if it cannot be read."""
    return _study(path, results, _look(path))


def _study(path: Path, results: Path, at: Position) -> PageStudy:
    frame, manifest = _read(path, at)
    command = path.name if path.parent == Path("results") else str(path)
    # A shallow copy: what one visitor's page assigns to the frame, no other sees.
    return PageStudy(manifest.study, command, path, results, frame.copy(deep=False), manifest, at)


def places(study: PageStudy) -> list[Path]:
    """Folders of results whose calibrations and twins may be of use to a study, the nearest first."""
    near = [study.results, study.path.parent]
    near += [place.resolve().parent for place in near if place.resolve().name == "reference"]
    return list({place.resolve(): place for place in near}.values())


def nearest_cheaper(study: PageStudy, number: int) -> CheaperTrial | None:
    """The nearest trial that costs less: see `mfsearch.analysis.front.compare`."""
    return _cheaper(study.path, study.at, number)


def is_being_written(study: PageStudy) -> bool | None:
    """Whether a search on this machine is writing the study now; None if unknown."""
    return files.is_being_written(study.path)


def prepare(path: Path) -> None:
    """Read a study before anybody asks for it; ValueError if it cannot be read."""
    _read(path, _look(path))


@st.fragment(run_every=POLL_S)
def offer_new_trials(study: PageStudy) -> None:
    """A button where a search has finished trials since the study was read: the page moves only when it is pressed."""
    seen = st.session_state["seen"][str(study.path)]
    try:
        now = _look(study.path)
    except ValueError as error:
        st.text(f"The study can no longer be read; this page shows its last state. {error}")
        return
    if now == seen:
        return
    new = now.trials - seen.trials if now.trials is not None and seen.trials is not None else 0
    text = f"{counted(new, 'new trial')}" if new > 0 else "The study has changed"
    if st.button(f"{text}: show", key="take-in", type="primary"):
        st.session_state["seen"][str(study.path)] = now
        st.rerun()


class _SharedReader(NamedTuple):
    """A study that some visitor looks at: its reader, which one thread at a time may use."""

    reader: StudyReader
    lock: Lock


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _watch(path: Path) -> _SharedReader:
    return _SharedReader(StudyReader(path), Lock())


def _look(path: Path) -> Position:
    """The study's latest position; reads the lines appended since the last call. ValueError if it cannot be read."""
    watched = _watch(path)
    with watched.lock, _uncollected():
        return watched.reader.look()


@st.cache_resource(max_entries=KEPT, show_spinner="Reading the study")  # cache_data would copy 10,000 trials a rerun
def _read(path: Path, at: Position) -> tuple[pd.DataFrame, Manifest]:
    watched = _watch(path)
    with watched.lock, _uncollected():
        trials, manifest = watched.reader.trials(at), watched.reader.manifest
    with _uncollected():
        frame = study_frame(trials)
        frame = with_confidence(frame, measured_objectives(frame, manifest.objectives), manifest.data.val_images)
    if len(frame) > 1000:
        gc.collect()  # what is garbage by now would be frozen, too
        gc.freeze()  # in no later interaction it goes through the trials
    return frame, manifest


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pauses the garbage collector, which would scan millions of lasting objects again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@st.cache_resource(max_entries=KEPT, show_spinner="Fitting the study's latencies")
def latency_rates(path: Path, at: Position) -> StudyRates | None:
    """Rates fitted to the latencies that the study measured; None if too few were."""
    return fit_study(_read(path, at)[0])


def once(study: PageStudy, asked: tuple[object, ...], work: Callable[[], T]) -> T:
    """The result of `work`, done once for the study as read. asked: the work's name and everything that it depends
    on."""
    kept: dict[tuple[object, ...], T] = _kept(study.path, study.at)
    if asked not in kept:
        kept[asked] = work()
    return kept[asked]


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _kept(path: Path, at: Position) -> dict[tuple[object, ...], Any]:
    return {}


@st.cache_resource(max_entries=64, show_spinner=False)  # reading 500 configs takes a quarter of a second
def _cheaper(path: Path, at: Position, number: int) -> CheaperTrial | None:
    return compare.nearest_cheaper(_read(path, at)[0], number)
