"""The folder of a training; every file in it is written completely or not at all."""

import contextlib
import csv
import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from mfsearch.study.files import LOCK, DiskError, held

CHECKPOINT, BEST, LAST = "checkpoint.pt", "best.safetensors", "last.safetensors"
SUMMARY, RESULT, BOARD = "summary.csv", "result.json", "tensorboard"
FILES = {CHECKPOINT, BEST, LAST, SUMMARY, RESULT, LOCK, BOARD}
PART = ".part"  # suffix of a file that is being written


@dataclasses.dataclass(frozen=True)
class EpochRow:
    """One line of summary.csv.

    epoch: from 1; 0 is a fine-tuning before its first step. train_loss: mean over the steps, None without any.
    val_loss, top1, top5: mean cross-entropy and fractions correct on the validation images, with the weights that are
    written. lr: of the last step. seconds: including the evaluation.
    """

    epoch: int
    train_loss: float | None
    val_loss: float
    top1: float
    top5: float
    lr: float
    seconds: float


def locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Lock the folder for writing; RuntimeError at once if another process has the lock."""
    return held(folder, RuntimeError(f"{folder} is being written by another training; wait for it or stop it"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all, and flush it to disk; raises DiskError."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise DiskError(f"cannot write {path}: {error.strerror}; the same command goes on from what was kept") from None


def write_json(path: Path, data: Any) -> None:
    write_bytes(path, (json.dumps(data, indent=1) + "\n").encode())


def write_weights(path: Path, state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors as safetensors; each fact is JSON in the header under its name."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    write_bytes(path, save(tensors, {name: json.dumps(value) for name, value in facts.items()}))


def weights_facts(path: Path) -> dict[str, Any]:
    """The facts that `write_weights` put into the header; {} for other files."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        return {name: json.loads(text) for name, text in header.items()}
    except Exception:  # not safetensors, or a foreign header
        return {}


def write_summary(path: Path, rows: Sequence[EpochRow]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(EpochRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in dataclasses.asdict(row).items()})
    write_bytes(path, text.getvalue().encode())


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_bytes(path, buffer.getvalue())


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The checkpoint of this training, None without one; ValueError names a setting in which another one differs."""
    state = stored_checkpoint(path)
    if state is None:
        return None
    kept = state["identity"]
    for name in (*identity, *kept):
        if kept.get(name) != identity.get(name):
            raise ValueError(
                f"{path} belongs to another training: its {name} is {kept.get(name)!r:.200}, here "
                f"{identity.get(name)!r:.200}; "
                "go on with its settings, or say --to another folder"
            )
    return state


def stored_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint of any training, with its identity; None without one."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        dict(state["identity"])
    except Exception as error:  # cut short or not ours: torch's readers raise whatever their parsers do
        raise ValueError(
            f"{path}: not a checkpoint of a training ({type(error).__name__}); delete it to begin anew, or say --to"
        ) from None
    return state
