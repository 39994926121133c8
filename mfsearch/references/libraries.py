"""timm and torchvision, which are optional."""

import importlib
import importlib.util
import sys
from typing import Any


def import_library(module: str, purpose: str = "building these networks", extra: str = "references") -> Any:
    """A module of timm or torchvision; ValueError with the purpose and the install command if it is missing."""
    try:
        import_torchvision()
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{_needs(purpose, extra)} ({error})") from None


def check_libraries(purpose: str, extra: str) -> None:
    """The same error, at once and without importing them."""
    if missing := [name for name in ("timm", "torchvision") if importlib.util.find_spec(name) is None]:
        raise ValueError(f"{_needs(purpose, extra)} (no {' and no '.join(missing)} here)")


def _needs(purpose: str, extra: str) -> str:
    install = f"pip install 'mfsearch[{extra}]', in a checkout pip install -c constraints.txt '.[{extra}]'"
    return f"{purpose} needs timm and torchvision: {install}"


def import_torchvision() -> None:
    """Import torchvision, which timm imports, even if its build does not match torch's.

    Beside a CPU build of torch, torchvision for CUDA cannot load its operators, and fails when it describes them. No
    training and no network here calls them, so declaring them is enough.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float limit) -> Tensor")
        importlib.import_module("torchvision")
