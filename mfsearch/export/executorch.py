"""Exports a network for ExecuTorch (PyTorch's runtime for phones) with XNNPACK, and compares it with torch.

Only this file imports executorch, inside its functions, because the import takes seconds and the package is optional.
"""

import copy
import importlib.metadata
import importlib.util
import warnings
from pathlib import Path

import torch
from torch import Tensor

from mfsearch.cost.onnx_export import TOLERANCE, ExportError
from mfsearch.export.bundle_metrics import PteFile
from mfsearch.model import MobileFormer

IMAGES = 2  # to compare a program on


def check_installed() -> None:
    """Raise ValueError with the install command if executorch is missing."""
    if importlib.util.find_spec("executorch") is None:
        raise ValueError("model.pte needs executorch: pip install 'mfsearch[executorch]'")


def write_pte(model: MobileFormer, path: Path) -> PteFile:
    """Write a network as an ExecuTorch file for batch 1 and compare it with torch; takes minutes.

    Raises ValueError if executorch is not installed, ExportError if the deviation is above TOLERANCE.
    """
    check_installed()
    copied = copy.deepcopy(model).eval()
    side = model.config.resolution
    images = torch.randn(IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's warnings about executorch's calls
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(copied, (images[:1],))
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
        path.write_bytes(program.buffer)
        expected = copied(images)
    deviation = float((run_pte(path, images) - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
    if not deviation <= TOLERANCE:
        raise ExportError(f"{path.name} differs from torch by {deviation:.1e} of the largest logit")
    version = importlib.metadata.version("executorch")
    return PteFile(version, backend="XNNPACK", batch=1, images=IMAGES, largest_deviation=deviation)


def run_pte(path: Path, images_BCHW: Tensor) -> Tensor:
    """The logits [B, K] by ExecuTorch, one image at a time; ValueError if it is not installed."""
    check_installed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(path)
        method = program.load_method("forward")
        return torch.cat([method.execute([image_CHW[None]])[0] for image_CHW in images_BCHW])
