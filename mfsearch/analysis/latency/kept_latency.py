"""Measured latency that was kept, one JSON object a line, and read again by device.

`mfsearch latency --breakdown` and `--resolutions` append what they measured to RESULTS/latency/. A figure belongs to
the passport beside it, and figures of two passports are never put side by side.
"""

import json
import math
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from mfsearch.cost.madds import PART_NAMES
from mfsearch.plain_files import parse_json, read_bytes

FOLDER = "latency"  # under the results folder
BREAKDOWN, BY_SIZE = "breakdown.jsonl", "by-size.jsonl"
PARTS = PART_NAMES
MAX_BYTES = 1 << 26
REST = "rest"  # what is left of a run: what the runtime does between operators

Passport = Mapping[str, object]


class KeptRow(NamedTuple):
    """One network measured at one image size. arch_id and madds: None of MobileNetV3-Large. parts_ms: by part, empty
    where it was measured whole; whole_ms: a run of it beside the profiled ones, None likewise. threads: None where a
    user's program decided. measured: when, UTC."""

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
    """What was read: rows in the order of the files' lines, and how many lines were none of ours."""

    rows: list[KeptRow]
    unread: int


# --- writing -------------------------------------------------------------------------------------------------------


def kept_line(
    name: str, resolution: int, measured: Mapping[str, Any], passport: Passport, threads: int | None
) -> dict[str, object]:
    """A measurement as it is kept. measured: a row of `mfsearch latency --json`, where it has a breakdown with that."""
    parts = measured.get("breakdown") or {}
    columns = ("arch_id", "madds", "batch", "latency_ms", "latency_low_ms", "latency_high_ms", "ratio", "disturbed")
    return {
        "name": name,
        "resolution": resolution,
        **{column: measured.get(column) for column in columns},
        "threads": threads,
        **{column: parts[column] for column in ("parts_ms", "sum_ms", "whole_ms", "nodes") if column in parts},
        "passport": dict(passport),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def append_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """Append whole lines in one write, after a line that a kill cut short; OSError where the file takes none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            text = ("" if file.read(1) == b"\n" else "\n") + text
        file.write(text.encode())


# --- reading -------------------------------------------------------------------------------------------------------


def kept_folders(results: Path, study: Path) -> list[Path]:
    """Where a study's explorer finds kept figures: `latency/` of the results folder and of its `reference/`, and
    `latency/` beside the study where it lies elsewhere; those that are there, each once."""
    places = [results / FOLDER, results / "reference" / FOLDER, study.parent / FOLDER]
    return list({place.resolve(): place for place in places if place.is_dir()}.values())


def read_kept(paths: Sequence[Path]) -> LatencyFiles:
    """The lines of these files; a file that is not there has none. A last line that was cut short is passed over, as
    its writer may be at it; any other that is none of ours counts as unread."""
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
    """The rows of each device, the one measured last first."""
    groups: dict[str, list[KeptRow]] = {}
    for row in rows:
        groups.setdefault(json.dumps(row.passport, sort_keys=True), []).append(row)
    ordered = sorted(groups.values(), key=lambda group: max(row.measured for row in group), reverse=True)
    return [(group[0].passport, group) for group in ordered]


def latest(rows: Sequence[KeptRow]) -> list[KeptRow]:
    """Of each network at each size and batch the measurement that was made last, in the order of the first ones."""
    found: dict[tuple[object, ...], KeptRow] = {}
    for row in rows:
        key = (row.arch_id or row.name, row.resolution, row.batch)
        if key not in found or row.measured >= found[key].measured:
            found[key] = row
    return list(found.values())


def profiled_ms(row: KeptRow) -> float:
    """A run of a network while it was profiled: as it was timed beside, or the sum of its parts where that is more."""
    return max(row.whole_ms or 0.0, sum(row.parts_ms.values()))


def parts_of(row: KeptRow) -> dict[str, float]:
    """latency_ms by part of a network that has a breakdown, in the order of PARTS, then the rest of a run: what the
    runtime needs between operators.

    A breakdown gives shares: it is taken from typical runs in a row, which on a busy machine take longer than those
    that latency_ms is measured by, in turns with a reference. So parts are scaled to latency_ms, and sum to it.
    """
    run = profiled_ms(row)
    scale = row.latency_ms / run if run > 0 and row.latency_ms > 0 else 1.0
    parts = {part: row.parts_ms.get(part, 0.0) for part in PARTS}
    scaled = {part: ms * scale for part, ms in parts.items()}
    return scaled | {REST: max(0.0, run - sum(parts.values())) * scale}


def scaled_in_words(row: KeptRow) -> str:
    """What the milliseconds of `parts_of` are."""
    return (
        f"Shares of a typical profiled run ({profiled_ms(row):.1f} ms), scaled to the measured latency of "
        f"{row.latency_ms:.1f} ms."
    )


def setting_in_words(rows: Sequence[KeptRow]) -> str:
    """What figures were measured with: "1 image per batch, 1 thread"; threads are left out where a program decided."""
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
    """Eight hex digits that stand for a device, such as in an address."""
    return f"{zlib.crc32(json.dumps(passport, sort_keys=True).encode()):08x}"


def passport_differences(passport: Passport, other: Passport, names: tuple[str, str]) -> list[str]:
    """What two devices differ in: "runtime_version: 1.32.0 in the study, 1.31.0 in these figures"."""
    fields = dict.fromkeys([*passport, *other])
    return [
        f"{field}: {passport.get(field, 'not recorded')} {names[0]}, {other.get(field, 'not recorded')} {names[1]}"
        for field in fields
        if passport.get(field) != other.get(field)
    ]
