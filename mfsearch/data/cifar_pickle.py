"""Reads CIFAR's Python releases without trusting pickle: only the few names those files need, replaced by stand-ins."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mfsearch.data.image_data import DataError


class _Array:
    """Stands in for numpy.ndarray: reads the pickled shape and bytes without numpy's own unpickling."""

    array: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, raw = state
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("an array without a type")
        data = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 wrote its bytes as str
        self.array = np.frombuffer(data, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _Dtype:
    """Stands in for numpy.dtype; accepts only uint8."""

    def __init__(self, code: str, *_align_and_copy: object) -> None:
        if code not in ("u1", "|u1"):
            raise pickle.UnpicklingError(f"arrays must hold bytes (u1), got {code!r}")

    def __setstate__(self, state: object) -> None:
        pass  # byte order and alignment do not matter for bytes


def _reconstruct(*_type_shape_code: object) -> _Array:
    return _Array()


ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,  # written by numpy 2
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): lambda text, _encoding=None: text.encode(
        "latin1"
    ),  # Python 3 writes bytes for Python 2 in this form
}


class _CifarUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file needs; it is not run")
        return ALLOWED[module, name]


def read_pickle(path: Path) -> dict[str, Any]:
    """The dict in a CIFAR pickle, with uint8 arrays; DataError for anything else, whose code is never run."""
    with path.open("rb") as file:
        try:
            content = _CifarUnpickler(file, encoding="latin1").load()
        except Exception as error:  # a damaged pickle can raise anything
            raise DataError(f"{path}: not a CIFAR file ({path.stat().st_size} bytes): {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a dict, got a {type(content).__name__}")
    return {str(key): value.array if isinstance(value, _Array) else value for key, value in content.items()}
