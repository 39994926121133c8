"""Tensors from a file that a user hands in, without running pickled code."""

import argparse
import errno
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from mfsearch.export.bundle_manifest import MAX_FILE_BYTES
from mfsearch.plain_files import open_regular

NESTED = ("state_dict_ema", "state_dict", "model")  # where training scripts put weights; as in timm, the average first
WRAPPED = "module."  # that DataParallel puts in front of each name


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from safetensors or torch.save, without running pickled code; ValueError names the file.

    Of a training script's checkpoint it takes the first of `NESTED`. The names lose a `module.` that all of them have.
    """
    if not path.exists():
        raise ValueError(f"weights {path}: no such file")
    try:
        with open_regular(path) as file:
            _check_size(file)
            state = load(file.read()) if path.suffix == ".safetensors" else _load_torch(file)
    except (SafetensorError, OSError, RuntimeError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"weights {path}: cannot be read: {reason!s:.300}") from None
    except Exception as error:  # torch's reader can raise anything
        raise ValueError(f"weights {path}: not a file of weights alone: {type(error).__name__}") from None
    if isinstance(state, dict):
        state = next((state[name] for name in NESTED if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not state or not all(isinstance(one, Tensor) for one in state.values()):
        raise ValueError(f"weights {path}: holds no tensors by name")
    if all(str(name).startswith(WRAPPED) for name in state):
        return {name.removeprefix(WRAPPED): value for name, value in state.items()}
    return {str(name): value for name, value in state.items()}


def _load_torch(file: BinaryIO) -> Any:
    with torch.serialization.safe_globals([argparse.Namespace]):  # the script's options, which timm's checkpoints hold
        return torch.load(file, map_location="cpu", weights_only=True)


def _check_size(file: BinaryIO) -> None:
    """OSError if the file is larger than any weights here, or an archive that unpacks to more."""
    size = os.fstat(file.fileno()).st_size
    if size <= MAX_FILE_BYTES and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            size = sum(one.file_size for one in archive.infolist())
    file.seek(0)
    if size > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"larger than {MAX_FILE_BYTES >> 20} MB")
