"""Saved latency measurements: one JSON object per line, read again by device.

`mfsearch latency --breakdown` and `--resolutions` append their measurements to RESULTS/latency/. Each belongs to the
passport in its line; measurements with different passports are never compared.
"""

import json
import math
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mfsearch.cost.madds import PART_NAMES
from mfsearch.plain_files import parse_json, read_bytes
from mfsearch.study.files import now

FOLDER = "latency"  # under the results folder
BREAKDOWN, BY_SIZE = "breakdown.jsonl", "by-size.jsonl"
PARTS = PART_NAMES
MAX_BYTES = 1 << 26
REST = "rest"  # the rest of a run: the runtime's work between operators

Passport = Mapping[str, object]


class KeptRow(NamedTuple):
    """One network measured at one image size. arch_id, madds: None for MobileNetV3-Large. parts_ms: by part, empty if
    only the whole was measured; whole_ms: a run without the profiler, None likewise. threads: None if a user's program
    measured. measured: time in UTC."""

    name: str
    arch_id: str | None
    madds: int | None
    resolution: int
    batch: int
    threads: int | None
    latency_ms: float
    latency_low_ms: float | None
    latency_high_ms: float | None
    disturbed: bool | None
    parts_ms: dict[str, float]
    whole_ms: float | None
    passport: dict[str, object]
    measured: str


class LatencyFiles(NamedTuple):
    """The rows in the order of the files' lines, and the number of lines that could not be read."""

    rows: list[KeptRow]
    unread: int


# --- writing -------------------------------------------------------------------------------------------------------


def kept_line(
    name: str, resolution: int, measured: Mapping[str, Any], passport: Passport, threads: int | None
) -> dict[str, object]:
    """A measurement in the form of the file. measured: a row of `mfsearch latency --json`, with any breakdown."""
    parts = measured.get("breakdown") or {}
    columns = ("arch_id", "madds", "batch", "latency_ms", "latency_low_ms", "latency_high_ms", "ratio", "disturbed")
    return {
        "name": name,
        "resolution": resolution,
        **{column: measured.get(column) for column in columns},
        "threads": threads,
        **{column: parts[column] for column in ("parts_ms", "sum_ms", "whole_ms", "nodes") if column in parts},
        "passport": dict(passport),
        "measured": now(),
    }


def append_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """Append complete lines in one write, also after a line that a kill cut short; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            text = ("" if file.read(1) == b"\n" else "\n") + text
        file.write(text.encode())


# --- reading -------------------------------------------------------------------------------------------------------


def kept_folders(results: Path, study: Path) -> list[Path]:
    """The existing folders with measurements for a study's explorer, each once: `latency/` in the results folder, in
    its `reference/`, and beside the study."""
    places = [results / FOLDER, results / "reference" / FOLDER, study.parent / FOLDER]
    return list({place.resolve(): place for place in places if place.is_dir()}.values())


def read_kept(paths: Sequence[Path]) -> LatencyFiles:
    """The lines of these files; a missing file has none. An incomplete last line is ignored, because it may still be
    being written; any other invalid line counts as unread."""
    rows: list[KeptRow] = []
    unread = 0
    for path in paths:
        try:
            text = read_bytes(path, MAX_BYTES).decode("utf-8", errors="replace")
        except OSError:
            unread += path.exists()
            continue
        for line in text.split("\n")[:-1]:  # what follows the last line's end is empty, or cut
            row = _row(line)
            if row is not None:
                rows.append(row)
            elif line.strip():
                unread += 1
    return LatencyFiles(rows, unread)


def _row(line: str) -> KeptRow | None:
    try:
        values = parse_json(line.encode())
        parts = {part: float(ms) for part, ms in (values.get("parts_ms") or {}).items()}
        if not isinstance(values["passport"], dict) or not set(parts) <= set(PARTS):
            return None
        if not all(map(math.isfinite, [float(values["latency_ms"]), *parts.values()])):
            return None
        return KeptRow(
            name=str(values["name"]),
            arch_id=_maybe(str, values.get("arch_id")),
            madds=_maybe(int, values.get("madds")),
            resolution=int(values["resolution"]),
            batch=int(values["batch"]),
            threads=_maybe(int, values.get("threads")),
            latency_ms=float(values["latency_ms"]),
            latency_low_ms=_maybe(float, values.get("latency_low_ms")),
            latency_high_ms=_maybe(float, values.get("latency_high_ms")),
            disturbed=_maybe(bool, values.get("disturbed")),
            parts_ms=parts,
            whole_ms=_maybe(float, values.get("whole_ms")),
            passport=values["passport"],
            measured=str(values["measured"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _maybe(kind: Any, value: Any) -> Any:
    return None if value is None else kind(value)


def by_passport(rows: Sequence[KeptRow]) -> list[tuple[Passport, list[KeptRow]]]:
    """The rows by device, the most recently measured device first."""
    groups: dict[str, list[KeptRow]] = {}
    for row in rows:
        groups.setdefault(json.dumps(row.passport, sort_keys=True), []).append(row)
    ordered = sorted(groups.values(), key=lambda group: max(row.measured for row in group), reverse=True)
    return [(group[0].passport, group) for group in ordered]


def latest(rows: Sequence[KeptRow]) -> list[KeptRow]:
    """The last measurement of each network at each size and batch, in the order of their first ones."""
    found: dict[tuple[object, ...], KeptRow] = {}
    for row in rows:
        key = (row.arch_id or row.name, row.resolution, row.batch)
        if key not in found or row.measured >= found[key].measured:
            found[key] = row
    return list(found.values())


def profiled_ms(row: KeptRow) -> float:
    """Milliseconds of a profiled run: the run timed without the profiler, or the sum of the parts if that is larger."""
    return max(row.whole_ms or 0.0, sum(row.parts_ms.values()))


def parts_of(row: KeptRow) -> dict[str, float]:
    """latency_ms split into the parts of a breakdown, in the order of PARTS, and the rest between operators.

    A breakdown comes from typical runs in a row, which on a busy machine take longer than the runs that give
    latency_ms. So its parts are scaled to sum to latency_ms.
    """
    run = profiled_ms(row)
    scale = row.latency_ms / run if run > 0 and row.latency_ms > 0 else 1.0
    parts = {part: row.parts_ms.get(part, 0.0) for part in PARTS}
    return {part: ms * scale for part, ms in parts.items()} | {REST: max(0.0, run - sum(parts.values())) * scale}


def scaled_in_words(row: KeptRow) -> str:
    """A sentence on the meaning of `parts_of`."""
    return (
        f"Shares of a typical profiled run ({profiled_ms(row):.1f} ms), scaled to the measured latency of "
        f"{row.latency_ms:.1f} ms."
    )


def setting_in_words(rows: Sequence[KeptRow]) -> str:
    """The measurement's setting: "1 image per batch, 1 thread"; without threads if a user's program measured."""
    found = []
    for word, values in (("image", {row.batch for row in rows}), ("thread", {row.threads for row in rows})):
        counts = sorted(value for value in values if value is not None)
        if counts:
            plural = "" if counts == [1] else "s"
            found.append(f"{' or '.join(map(str, counts))} {word}{plural}{' per batch' if word == 'image' else ''}")
    return ", ".join(found)


# --- passports -----------------------------------------------------------------------------------------------------


def passport_text(passport: Passport | None) -> str:
    """A device in one line: "AMD EPYC, 2 cores, governor unknown, 1 thread, onnxruntime 1.32.0, ..."."""
    if not passport:
        return "an unrecorded device"
    if "cpu" not in passport:
        return ", ".join(str(value) for value in passport.values() if value) or "a device without a name"
    threads = passport.get("threads")
    facts = [
        passport["cpu"],
        f"{passport.get('cores', '?')} cores",
        f"governor {passport.get('governor', 'unknown')}",
        f"{threads} thread{'' if threads == 1 else 's'}",
        f"{passport.get('runtime', 'runtime')} {passport.get('runtime_version', 'unknown')}",
        passport.get("provider"),
        passport.get("system"),
    ]
    return ", ".join(str(fact) for fact in facts if fact)


def passport_id(passport: Passport) -> str:
    """Eight hex digits that identify a device, for a page's address."""
    return f"{zlib.crc32(json.dumps(passport, sort_keys=True).encode()):08x}"


def passport_differences(passport: Passport, other: Passport, names: tuple[str, str]) -> list[str]:
    """The differences of two devices: "runtime_version: 1.32.0 in the study, 1.31.0 in these figures"."""
    fields = dict.fromkeys([*passport, *other])
    return [
        f"{field}: {passport.get(field, 'not recorded')} {names[0]}, {other.get(field, 'not recorded')} {names[1]}"
        for field in fields
        if passport.get(field) != other.get(field)
    ]
