"""Where do the milliseconds go?"""

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING

import streamlit as st

from mfsearch.analysis.figures.latency_bars import (
    SizePoint,
    draw_against_madds,
    draw_parts,
    draw_predictions,
    draw_resolutions,
    draw_twice,
    part_bar,
    resolution_lines,
)
from mfsearch.analysis.figures.style import CONFIG
from mfsearch.analysis.figures.tradeoff import draw_published, measured_marks
from mfsearch.analysis.front.summary import why_no_front
from mfsearch.analysis.latency.kept_latency import (
    BREAKDOWN,
    BY_SIZE,
    KeptRow,
    Passport,
    by_passport,
    kept_folders,
    latest,
    passport_differences,
    passport_id,
    passport_text,
    read_kept,
    setting_in_words,
)
from mfsearch.analysis.latency.milliseconds import (
    TimedTrial,
    correlation_in_words,
    disturbed_in_words,
    prediction_accuracy,
    screen_in_words,
    timed_trials,
    turned_down,
    twice_in_words,
)
from mfsearch.analysis.latency.reference_figures import kept_references
from mfsearch.units import counted

if TYPE_CHECKING:
    from app import load, parts, state
else:
    import load
    import parts
    import state

OPEN = "Open marks: the machine was busy during the measurement."


def show(study: load.PageStudy) -> None:
    """The page."""
    passport = _passport(study)
    st.text(f"Latencies were measured on {passport_text(passport)}." if passport else "This study measured no latency.")
    trials = timed_trials(study.frame)
    if trials:
        st.text(disturbed_in_words(trials))
    chosen = _ask_trial(study)
    folders = kept_folders(study.results, study.path)
    by_part, by_size = (read_kept([folder / name for folder in folders]) for name in (BREAKDOWN, BY_SIZE))
    if unread := by_part.unread + by_size.unread:
        st.text(f"{counted(unread, 'line')} of saved measurements could not be read.")
    _show_parts(study, by_part.rows, chosen)
    _show_sizes(study, by_size.rows, chosen)
    _show_trials(study, trials, chosen)
    _show_references(study)


def _ask_trial(study: load.PageStudy) -> int | None:
    """The trial whose milliseconds are asked for: the chosen one, else the best of the front; None without any."""
    start = parts.best_trial(study)
    if start is None:
        st.container(border=True).text(why_no_front(study.frame))
    else:
        parts.ask_trial(study.frame, start)
    return start


def _show_parts(study: load.PageStudy, rows: Sequence[KeptRow], chosen: int | None) -> None:
    st.subheader("By part")
    with_parts = [row for row in rows if row.parts_ms]
    arch_ids = {} if chosen is None else dict(zip(study.frame["number"], study.frame["arch_id"], strict=True))
    own = _ask_device(study, with_parts, "parts")
    found = {row.arch_id: row for row in latest(own) if row.batch == 1}  # of two sizes of a network the ids differ
    picked = [] if chosen is None else [chosen, *(pin for pin in state.pins(set(arch_ids)) if pin != chosen)]
    first = {arch_ids[number]: f"trial {number}" for number in picked if arch_ids[number] in found}
    names = first | {row.arch_id: _name(row, arch_ids) for row in found.values() if row.arch_id not in first}
    rest = sorted((row for row in found.values() if row.arch_id not in first), key=lambda row: row.latency_ms)
    bars = [part_bar(row, names[row.arch_id]) for row in [*(found[arch_id] for arch_id in first), *rest]]
    if bars:
        st.plotly_chart(draw_parts(bars), config=CONFIG, key="parts")
        st.caption(
            f"Each bar is the measured latency ({setting_in_words(list(found.values()))}), divided by the "
            "parts' shares of a typical run profiled by ONNX Runtime. The rest is time between operators. A star marks "
            "measurements on a busy machine."
        )
    else:
        st.text("No network was measured by part yet.")
    if chosen is not None and arch_ids[chosen] not in found:
        st.text(f"Trial {chosen} was not measured by part on this device. To measure it and save the result here:")
        st.code(_latency_command(study, chosen, "--breakdown"), language="bash", wrap_lines=True)


def _show_sizes(study: load.PageStudy, rows: Sequence[KeptRow], chosen: int | None) -> None:
    st.subheader("By image size")
    own = _ask_device(study, rows, "sizes")
    batches = sorted({row.batch for row in own})
    if not batches:
        st.text("No network was measured at several sizes yet. This command compares one with MobileNetV3-Large:")
        st.code(_latency_command(study, chosen, "--resolutions 160..768"), language="bash", wrap_lines=True)
        return
    batch = batches[0] if len(batches) == 1 else parts.ask_one("Images per batch", batches, batches[0], "batch")
    shown = [row for row in latest(_by_name(own)) if row.batch == batch]
    points = [SizePoint(r.name, r.resolution, r.latency_ms, r.latency_low_ms, r.latency_high_ms) for r in shown]
    st.plotly_chart(draw_resolutions(resolution_lines(points), setting_in_words(shown)), config=CONFIG, key="sizes")
    if disturbed := sum(bool(row.disturbed) for row in shown):
        st.caption(f"{disturbed} of {counted(len(shown), 'measurement')} disturbed by other work.")


def _show_trials(study: load.PageStudy, trials: Sequence[TimedTrial], chosen: int | None) -> None:
    """The study's own measurements: against predictions, against multiply-adds, at the end of the run."""
    limits = study.manifest.limits
    left, right = st.columns(2)
    with left:
        st.subheader("Was the prediction right?")
        st.text(screen_in_words(turned_down(study.frame), prediction_accuracy(trials)))
        if any(one.predicted is not None for one in trials):
            st.plotly_chart(draw_predictions(trials, limits.get("latency_ms")), config=CONFIG, key="predictions")
            st.caption(OPEN)
    with right:
        st.subheader("Do multiply-adds tell latency?")
        st.text(correlation_in_words(trials, limits))
        if len(trials) > 1:
            st.plotly_chart(draw_against_madds(trials, chosen), config=CONFIG, key="against-madds")
            st.caption(OPEN)
    if words := twice_in_words(trials):
        st.subheader("Was it the same at the end?")
        st.text(words)
        st.plotly_chart(draw_twice(trials), config=CONFIG, key="twice")
        st.caption(OPEN)


def _show_references(study: load.PageStudy) -> None:
    """Published systems: milliseconds measured here, accuracy published elsewhere."""
    st.subheader("Where do published systems stand?")
    marks = measured_marks(_ask_device(study, kept_references(study.results), "references"))
    if not marks:
        st.text("None was measured at its published size yet. This command builds and measures them:")
        results = "" if str(study.results) == "results" else f" --results {quote(str(study.results))}"
        st.code(f"mfsearch references --measure{results}", language="bash", wrap_lines=True)
        return
    st.plotly_chart(draw_published(marks, "latency_ms"), config=CONFIG, key="references")
    st.caption("Milliseconds measured here; accuracy on ImageNet as published, after a full training elsewhere.")


def _ask_device(study: load.PageStudy, rows: Sequence[KeptRow], key: str) -> list[KeptRow]:
    """The rows of one device: the study's if it has any, another on demand, with a sentence on how that differs."""
    devices = by_passport(rows)
    if not devices:
        return []
    passport = _passport(study)
    at = next((at for at, (device, _) in enumerate(devices) if device == passport), 0)
    if len(devices) > 1:
        at = parts.ask_one(
            "Device",
            range(len(devices)),
            at,
            f"device-{key}",
            told=lambda at: passport_text(devices[at][0]),
            linked=lambda at: passport_id(devices[at][0]),
        )
    device, found = devices[at]
    if passport and (differing := passport_differences(passport, device, ("in the study", "here"))):
        st.text(f"This is not the device of the study's latencies: {'; '.join(differing)}.")
    else:
        st.text(f"Measured on {'the device of this study' if passport else passport_text(device)}.")
    return found


def _by_name(rows: Sequence[KeptRow]) -> list[KeptRow]:
    """The rows with one name for one network at one size, the last it was measured under."""
    names = {(row.arch_id, row.resolution): row.name for row in rows}
    return [row._replace(name=names[row.arch_id, row.resolution]) for row in rows]


def _name(row: KeptRow, arch_ids: Mapping[int, str]) -> str:
    """A bar's name: the trial of this study with that network, else the name under which it was measured."""
    number = next((number for number, arch_id in arch_ids.items() if arch_id == row.arch_id), None)
    name = row.name.rpartition("/")[2] if number is None or ":" not in row.name else f"trial {number}"
    return name if row.resolution == 224 else f"{name}, {row.resolution} px"


def _latency_command(study: load.PageStudy, number: int | None, option: str) -> str:
    """The command for a trial of the study, or for a published network if it has none."""
    results = "" if str(study.results) == "results" else f" --results {quote(str(study.results))}"
    return f"mfsearch latency {'mf-151m' if number is None else quote(f'{study.command}:{number}')} {option}{results}"


def _passport(study: load.PageStudy) -> Passport | None:
    return None if study.manifest.passport is None else dict(study.manifest.passport)
