"""What readers make of a study, a calibration or twins, as plain data: to hold one version of mfsearch to another.

Functions are found by their names, wherever a version has them; wording is left out, as it may change.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mfsearch

Study = getattr(mfsearch, "Study", None)
ROOMS = ("analysis", "search", "study")
SHOWN = 12  # numbers that are kept beside their hash

# How a study is read, here alone: earlier code has functions and mappings where there are types now.


def manifest_of(folder: Path) -> Any:
    return Study.open(folder).manifest if Study else find("read_manifest")(folder)


def trials_of(folder: Path) -> list[dict[str, Any]]:
    """Each trial as plain data, with its longer trainings and its latencies."""
    if Study:
        return [trial.to_row() for trial in Study.open(folder).trials]
    rows: list[dict[str, Any]] = find("read_trials")(folder)
    return rows


def frame_of(folder: Path) -> pd.DataFrame:
    """With how sure the front is."""
    frame = Study.open(folder).frame() if Study else find("study_frame")(trials_of(folder))
    objectives = find("measured_objectives")(frame, objectives_of(manifest_of(folder)))
    sure: pd.DataFrame = find("with_confidence")(frame, objectives)
    return sure


# Published networks that the earlier code did not know.
PUBLISHED_SINCE = {
    *("LeViT 128", "MobileNetV4 Conv-Medium", "RepViT M0.9", "RepViT M1.0", "FastViT T8", "EfficientViT B0"),
    *("EfficientViT B1", "EdgeNeXt XX-Small", "HGNetV2 B0", "CPUBone Nano", "CPUBone B0"),
}


def objectives_of(manifest: Any) -> Any:
    return manifest.objectives if Study else find("study_objectives")(manifest)


def limits_of(manifest: Any) -> Any:
    return manifest.limits if Study else find("study_limits")(manifest)


@cache
def find(name: str, rooms: tuple[str, ...] = ROOMS) -> Callable[..., Any]:
    """The one function or class of this name in the rooms; KeyError where there is none or more than one."""
    root = Path(str(mfsearch.__file__)).parent
    defined = re.compile(rf"^(def|class) {name}\b", re.MULTILINE)
    paths = [path for room in rooms for path in (root / room).rglob("*.py") if defined.search(path.read_text("utf-8"))]
    if len(paths) != 1:
        raise KeyError(f"{name} is defined in {paths}")
    module = ".".join(paths[0].relative_to(root.parent).with_suffix("").parts)
    only: Callable[..., Any] = getattr(import_module(module), name)
    return only


def study_view(folder: Path) -> dict[str, Any]:
    """All that is drawn or told of a study."""
    manifest, frame = manifest_of(folder), frame_of(folder)
    return {
        "show": _shown(folder),
        "frame": _columns(frame, trials_of(folder)),
        "exported": {str(number): _exported(folder, number) for number in _telling_trials(folder)},
        **_front_views(frame, manifest),
        **_knob_views(frame, manifest),
        **_course_views(frame, manifest),
        "report": _report(frame, manifest),
    }


def _columns(frame: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The table a column each, with all that a row has: there is now a trial in the place of what is no number.

    onnx_bytes joined since: only studies that limit or optimise it have it."""
    joined = [
        name for name in ("trial", "onnx_bytes") if name == "trial" or frame.get(name, frame["madds"]).isna().all()
    ]
    columns = {str(name): frame[name].tolist() for name in frame if name not in joined}
    dtypes = {name: str(frame[name].dtype) for name in columns}
    others = {"config", "curve", *(name for row in rows for name in row)} - {*columns, "params"}
    columns |= {name: [row.get(name) for row in rows] for name in others}
    return {
        "dtypes": dict.fromkeys(others, "object") | dtypes,
        **{name: exact(values) for name, values in columns.items() if not name.startswith("knob:")},
        "knobs": exact([values for name, values in columns.items() if name.startswith("knob:")]),
    }


def _telling_trials(folder: Path) -> list[int]:
    """One trial of each outcome, and the one that was trained the longest."""
    rows = trials_of(folder)
    first = {row["outcome"]: row["number"] for row in reversed(rows)}
    return sorted({*first.values(), max(rows, key=lambda row: len(row.get("stages", ())))["number"]})


def _exported(folder: Path, number: int) -> dict[str, Any]:
    """What a bundle's metrics.json and manifest.json say of a trial."""
    origin = find("of_trial", ("export",))(folder, number)
    told = {"study": origin.study, "latency": origin.latency, "proxy": origin.proxy}
    if Study:
        metrics = find("BundleMetrics", ("export",))("", None, None, None, latency=origin.latency, proxy=origin.proxy)
        study = dataclasses.asdict(origin.study)
        if study.get("parent", "") is None:  # a file has it only in a search inside a parent
            del study["parent"]
        told = {"study": study, **{name: metrics.to_dict()[name] for name in [*told][1:]}}
    told["latency"] = {key: value for key, value in (told["latency"] or {}).items() if key != "protocol"}
    told["config"] = origin.config.to_dict()
    return {key: exact(value) for key, value in told.items()}


def _shown(folder: Path) -> dict[str, Any]:
    """What `show --all --json` prints, a column each."""
    from mfsearch.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["show", str(folder), "--all", "--json"]) == 0
    printed = json.loads(said.getvalue())
    del printed["folder"]  # it differs
    trials = printed.pop("trials")
    names = sorted({name for row in trials for name in row})
    return {
        "front": [row["number"] for row in printed["front"]],
        "front rows": exact(printed.pop("front")),
        "manifest": {key: exact(value) for key, value in printed.pop("manifest").items()},
        **printed,
        "trials": {name: exact([row.get(name) for row in trials]) for name in names},
    }


def _front_views(frame: pd.DataFrame, manifest: Any) -> dict[str, Any]:
    objectives = find("measured_objectives")(frame, objectives_of(manifest))
    front, limits = find("study_front")(frame, manifest), limits_of(manifest)
    views: dict[str, Any] = {
        "study front": front["number"].tolist(),
        "best": find("best_number")(front),
        "limits": limits,
        "curves": numbers(find("curve_lines")(front)),
        "progress": numbers(_progress(frame, limits)),
        "csv": numbers(pd.read_csv(io.StringIO(find("trials_csv")(frame)))),
    }
    for cost in ("madds", "num_params", *(["latency_ms"] if frame["latency_ms"].notna().any() else [])):
        points = find("tradeoff_points")(frame, cost, objectives, limits)
        if getattr(points, "parent", "") is None:  # a figure has it only in a search inside a parent
            known = [mark for mark in points.elsewhere if mark.name not in PUBLISHED_SINCE]
            points = points._replace(elsewhere=known)[: points._fields.index("parent")]
        views[f"tradeoff, {cost}"] = numbers(points)
    return views


def _progress(frame: pd.DataFrame, limits: Any) -> Any:
    """The earlier code said whether there are longer trainings; now the words that follow from it are there."""
    points = find("progress_points")(frame, limits)
    return [*points[:-1], bool(points.after)] if hasattr(points, "after") else points


def _knob_views(frame: pd.DataFrame, manifest: Any) -> dict[str, Any]:
    objectives = find("measured_objectives")(frame, objectives_of(manifest))
    limits = limits_of(manifest)
    inside = find("in_band")(frame, manifest)
    coded = find("code_knobs")(inside, manifest)
    views: dict[str, Any] = {
        "telling knobs": find("telling_knobs")(frame, 5),
        "inside the band": inside["number"].tolist(),
        "coded knobs": list(coded.names),
        "parallel": numbers(
            find("parallel_lines")(inside, coded, coded.names[:4], ["top1", "madds"], "top1", objectives, limits=limits)
        ),
    }
    for measure in ("top1", "madds"):
        shares = find("knob_shares")(inside, coded, measure, objectives, limits=limits)
        views[f"shares, {measure}"] = numbers(shares)
        views[f"shares, {measure}, knobs"] = [share.knob for share in shares]
    for knob in coded.names[:3]:
        views[f"slices, {knob}"] = numbers(find("slice_groups")(inside, coded, knob, "top1"))
    return views


def _course_views(frame: pd.DataFrame, manifest: Any) -> dict[str, Any]:
    """How the search went, and what its latencies say."""
    front = find("study_front")(frame, manifest)["number"].tolist()
    trials = find("timed_trials")(frame)
    views = {
        "proposers": numbers(find("proposers")(frame, front)),
        "reasons": numbers(find("grouped_reasons")(frame)),
        "spent": numbers(find("spent_on_training")(frame, manifest)),
        "speed": numbers(find("speed_points")(frame)),
        "timed": numbers([_interval(value) for trial in trials for value in trial]),
        "turned down": find("turned_down")(frame),
        "accuracy": numbers(find("prediction_accuracy")(trials)),
    }
    left = [find("without_top1_below_band")(frame, manifest)]
    objectives = find("shared_objectives")(left, objectives_of(manifest))
    box = find("shared_box")(left, objectives)
    if box is not None and len(objectives) > 1:
        history = find("study_history")("s", left[0], objectives, box)
        views["history"] = numbers(history)
        views["history line"] = numbers(find("history_line")(history, "trainings"))
    return views


def _interval(value: Any) -> Any:
    """A latency by its median, its interval and whether it was disturbed, as all code has it."""
    return [value.ms, value.low_ms, value.high_ms, value.disturbed] if hasattr(value, "ms") else value


def _report(frame: pd.DataFrame, manifest: Any) -> dict[str, Any]:
    """The numbers in the cells of the report's table of the front."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        find("write_report")(frame, manifest, path)
        page = path.read_text(encoding="utf-8")
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", page)]
    return numbers([[float(text) for text in re.findall(r"-?\d+\.?\d*", cell)] for cell in cells])


def calibration_view(results: Path, studies: Iterable[Path]) -> dict[str, Any]:
    """Every calibration under the folder, and which of them fits each study."""
    kept, unread = find("read_calibrations")([results])
    views: dict[str, Any] = {"unread": len(unread)}
    for one in kept:
        views[one.path.name] = view = {"figures": exact(one.figures)}
        for group in ("band", "across"):
            found = one.figures.groups[group]
            view[f"forest, {group}"] = numbers(find("forest")(found))
            for reading in find("readings")(one.figures, group):
                short_long = find("short_long")(found, reading, one.figures.long_noise)
                view[f"{group}, {reading.name} {reading.epochs}"] = numbers(short_long)
        view["trainings"] = _trainings(one.path / "trainings.jsonl")
    for folder in studies:
        manifest = manifest_of(folder)
        fits = find("fitting_calibration")([results], manifest)
        reading = None if fits is None else find("study_reading")(fits, manifest)
        views[f"for {folder.name}"] = None if reading is None else [reading.name, reading.epochs]
    return views


def twins_view(results: Path) -> dict[str, Any]:
    views = {}
    for folder in sorted(find("twin_folders")([results])):
        report = find("read_twins")(folder)
        views[folder.name] = {
            "report": numbers(_told_of_twins(report)),
            "dots": numbers(find("twin_dots")(report)),
            "trainings": _trainings(folder / "trainings.jsonl"),
        }
    return views


def _told_of_twins(report: Any) -> list[Any]:
    """The report in the order in which the earlier code held it."""
    parent, data, rows = report.parent, report.data, []
    for twin in report.twins:
        ms = twin.latency
        apart = [None] * 3 if ms is None else [ms.difference_ms, ms.difference_low_ms, ms.difference_high_ms]
        rows.append([twin.effect, twin.p_holm, *apart, ms is not None and ms.disturbed])
    head = [parent.madds, len(report.seeds), data.val_images, data, report.recipe]
    return [*head, parent.latency_ms, parent.passport, rows]


def latency_view(results: Path) -> dict[str, Any]:
    """The measurements that `latency` keeps, and the lines and bars that are drawn of them."""
    views = {}
    for path in sorted(results.glob("reference/latency/*.jsonl")):
        kept = find("read_kept")([path])
        newest = find("latest")(kept.rows)
        views[path.name] = {
            "rows": numbers(kept.rows),
            "names": [row.name for row in kept.rows],
            "unread": kept.unread,
            "devices": len(find("by_passport")(kept.rows)),
            "latest": numbers(newest),
            "lines": numbers(
                find("resolution_lines")([find("SizePoint")(r.name, r.resolution, *r[6:9]) for r in newest])
            ),
            "parts": numbers([find("parts_of")(row) for row in newest]),
        }
    return views


def _trainings(path: Path) -> dict[str, Any]:
    identity, records = find("read_trainings")(path)
    return {"identity": exact(identity), "keys": exact(list(records)), "records": exact(list(records.values()))}


def exact(value: Any) -> Any:
    """Plain data by its hash, with what is short beside it."""
    text = json.dumps(_plain(value), sort_keys=True)
    shown = text if len(text) <= 60 else f"{text[:40]} ... {text[-10:]}"
    return [shown, hashlib.sha256(text.encode()).hexdigest()[:12]]


def _plain(value: Any) -> Any:
    """As JSON takes it: whether a version holds a list, a tuple or a record of named fields makes no difference."""
    if hasattr(value, "to_dict") and not isinstance(value, pd.DataFrame | pd.Series):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else float(f"{value:.9g}")
    return value.item() if isinstance(value, np.generic) else value


def numbers(value: Any) -> dict[str, Any]:
    """The numbers anywhere inside, in their order, to six digits; texts are left out."""
    found = [f"{number:.6g}" for number in _numbers(value)]
    shown = found if len(found) <= SHOWN else [*found[:6], "...", *found[-3:]]
    return {
        "count": len(found),
        "shown": " ".join(shown),
        "hash": hashlib.sha256(" ".join(found).encode()).hexdigest()[:12],
    }


def _numbers(value: Any) -> Iterable[float]:
    if value is None:
        yield math.nan
    elif isinstance(value, bool | int | float | np.generic) and not isinstance(value, np.str_):
        yield float(value)
    elif isinstance(value, pd.DataFrame):
        for name in value:
            yield from _numbers(value[name].tolist())
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, np.ndarray):
        yield from _numbers(value.tolist())
    elif isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        for each in value:
            yield from _numbers(each)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _numbers(getattr(value, name))
