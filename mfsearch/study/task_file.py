"""A file of trainings, one JSON line each; a line is appended when a training finishes, so the same call can resume.

The first line holds the settings that all trainings share; every other line is one finished training. One process
writes, with the lock of the file's folder; any number may read.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfsearch.plain_files import parse_json, read_bytes
from mfsearch.proxy.curve import EpochLog
from mfsearch.study.files import DiskError, differences, now, versions

TRAININGS = "trainings.jsonl"  # file name in the folder of a calibration, twins or ablations
SCHEMA = 1
MAX_BYTES = 1 << 28  # a line has 1 kB
FACTS = ("key", "arch_id", "seed", "points")  # fields known before the training


@dataclass(frozen=True)
class ZeroCostScore:
    """A score of an untrained network with its cost in core-seconds, or the reason why there is none."""

    score: float | None
    core_seconds: float | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in dataclasses.asdict(self).items() if name == "score" or value is not None}


@dataclass(frozen=True)
class TaskRecord:
    """One training of a file; fields have the names of its JSON line and are None if they were not recorded.

    outcome: `trained`, with top1 and its curve, or `failed`, with the reason. retry: whether the next call tries again.
    points: the epochs at which it was evaluated. device: `cpu` or `cuda`. finished: ISO 8601.
    """

    key: str
    arch_id: str
    seed: int
    points: tuple[float, ...] | None = None
    outcome: str = "trained"
    reason: str | None = None
    retry: bool = False
    zero_cost: Mapping[str, ZeroCostScore] = dataclasses.field(default_factory=dict)
    top1: float | None = None
    curve: tuple[EpochLog, ...] = ()
    train_seconds: float | None = None
    images_per_second: float | None = None
    core_seconds: float | None = None
    device: str | None = None
    finished: str | None = None

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "TaskRecord":
        """The record of a line; TypeError for an unknown or missing field."""
        parsed = {
            "points": None if row.get("points") is None else tuple(row["points"]),
            "curve": tuple(map(EpochLog.from_dict, row.get("curve", ()))),
            "zero_cost": {name: ZeroCostScore(**score) for name, score in row.get("zero_cost", {}).items()},
        }
        return cls(**{**row, **parsed})

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data, without fields that were not recorded."""
        row = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        row["points"] = None if self.points is None else list(self.points)
        row["curve"] = [log.to_dict() for log in self.curve]
        row["zero_cost"] = {name: score.to_dict() for name, score in self.zero_cost.items()}
        always = (*FACTS, "outcome", "reason")
        return {name: value for name, value in row.items() if name in always or value or type(value) is float}


class TaskFile:
    """The file, open for writing by the process that holds the folder's lock. records: by key."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Open or create the file; ValueError if `identity`, plain data that all trainings share, differs."""
        self.path = path
        wanted = json.loads(json.dumps(dict(identity)))  # as it will be read back: tuples become lists
        try:
            kept, self.records, whole = _read(path) if path.exists() else ({}, {}, 0)
            if path.exists():
                os.truncate(path, whole)  # removes the incomplete line that a kill leaves
            if whole == 0:
                self._append({"schema": SCHEMA, "identity": wanted, "created": now(), "versions": versions()})
                return
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror}") from None
        if lines := "".join(f"  {line}\n" for line in differences("", kept, wanted, "the file")):
            raise ValueError(
                f"{path} was started with other settings:\n{lines}repeat its settings or choose another name"
            )

    def check(self, record: TaskRecord) -> None:
        """Raise ValueError if the record's key already names another training."""
        theirs = self.records.get(record.key, record).to_dict()
        for name, ours in record.to_dict().items():
            if name in FACTS and theirs[name] != ours:
                raise ValueError(f"{self.path}: training {record.key} has {name} {theirs[name]}, this run says {ours}")

    def add(self, record: TaskRecord) -> TaskRecord:
        """Write the record and return it with its time; raises DiskError."""
        record = dataclasses.replace(record, finished=now())
        self._append(record.to_dict())
        self.records[record.key] = record
        return record

    def _append(self, line: dict[str, Any]) -> None:
        """Append one line to disk, completely or not at all; raises DiskError."""
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab") as file:
                file.write((json.dumps(line) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, size)
            raise DiskError(f"cannot write {self.path}: {error.strerror}") from None


def read_trainings(path: Path) -> tuple[dict[str, Any], dict[str, TaskRecord]]:
    """Identity and records by key, also while the file is being written: an incomplete last line is ignored."""
    identity, records, _ = _read(path)
    return identity, records


def _read(path: Path) -> tuple[dict[str, Any], dict[str, TaskRecord], int]:
    """Identity, records by key (the last line of a key counts), and the number of bytes in complete lines."""
    try:
        content = read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    whole = content.rfind(b"\n") + 1
    identity: dict[str, Any] = {}
    records = {}
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number} is not JSON: {error}") from None
        try:
            if number > 1:
                records[row["key"]] = TaskRecord.from_dict(row)
                continue
            identity, schema = row["identity"], row.get("schema")
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}:{number} must be a training's line: {error}") from None
        if schema != SCHEMA:
            raise ValueError(f"{path}: schema must be {SCHEMA}, got {schema!r:.200}: another version wrote it")
    return identity, records, whole
