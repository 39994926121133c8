"""Export a network as one ONNX file, and check that ONNX Runtime and torch compute the same logits."""

from __future__ import annotations

import copy
import math
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mfsearch.cost.onnx_graph import write_onnx
from mfsearch.model import MobileFormer

# For traced networks. 17 is the oldest opset with LayerNormalization as one operator, and the newest whose ReduceMean
# has its axes as an attribute (later ones add a Constant node each). The opset does not change latency:
# MobileNetV3-Large takes 6.3 to 6.5 ms from opset 11 to opset 20.
TRACE_OPSET = 17
TOLERANCE = 1e-4


class ExportError(RuntimeError):
    """The exported network and the torch network give different logits."""


def export_onnx(
    model: nn.Module,
    resolution: int,
    path: Path,
    *,
    batch: int | None = 1,
    metadata: Mapping[str, str] | None = None,
    check: bool = True,
) -> float:
    """Write the network as one ONNX file of static shape [batch, 3, resolution, resolution] and return its deviation.

    The deviation is the largest absolute difference between the logits of torch and ONNX Runtime on seeded random
    images, as a fraction of the largest absolute logit; NaN if `check` is False. The input is "image", the output
    "logits". The export is of a copy in eval mode, so `model` stays as it is.
    A Mobile-Former is written by mfsearch.cost.onnx_graph; it may have `metadata`, and batch None allows any number of
    images. Any other network is traced.
    Raises ExportError if the deviation exceeds 1e-4 or a logit is not finite; `path` is then left alone.
    """
    if resolution < 1:
        raise ValueError(f"resolution must be at least 1 pixel, got {resolution}")
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1 image, got {batch}")
    if (batch is None or metadata) and not isinstance(model, MobileFormer):
        raise ValueError(f"batch None and metadata need a MobileFormer, got {type(model).__name__}")
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"path must lie in an existing folder, got {path}")
    copied = copy.deepcopy(model).cpu().float().eval()
    shape = (3 if batch is None else batch, 3, resolution, resolution)
    image_BCHW = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    # A temporary folder on the same disk, so that the final move is atomic.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder) / path.name
        if isinstance(copied, MobileFormer):
            written.write_bytes(write_onnx(copied, resolution, batch=batch, metadata=metadata).SerializeToString())
        else:
            trace_onnx(copied, image_BCHW, written)
        batches = [image_BCHW] if batch is not None else [image_BCHW, image_BCHW[:1]]
        deviation = max(_deviation(copied, written, images) for images in batches) if check else math.nan
        if check and not deviation <= TOLERANCE:
            raise ExportError(
                f"ONNX Runtime must agree with torch within {TOLERANCE:g} of the largest logit, got {deviation:.3g} "
                f"for {type(model).__name__} at {resolution} px"
            )
        os.replace(written, path)  # noqa: PTH105, os.replace is what makes it atomic
    return deviation


def trace_onnx(model: nn.Module, image_BCHW: Tensor, path: Path) -> None:
    """Trace the network with one run of torch and write the graph; nothing is checked."""
    with torch.no_grad(), warnings.catch_warnings():
        # The old exporter announces its end, and warns of shapes traced as constants, which we want.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # ONNX Runtime folds what torch leaves
        torch.onnx.export(
            model,
            (image_BCHW,),
            str(path),
            dynamo=False,  # 0.5 s for MobileNetV3-Large; the newer exporter takes over 13 s
            opset_version=TRACE_OPSET,
            input_names=["image"],
            output_names=["logits"],
        )


def count_nodes(path: Path) -> dict[str, int]:
    """Return the number of nodes of each operator in an ONNX file, most frequent first; subgraphs are not counted."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return dict(Counter(node.op_type for node in graph.node).most_common())


def _deviation(model: nn.Module, path: Path, image_BCHW: Tensor) -> float:
    """The largest difference of the logits as a fraction of the largest logit; infinite if either is not finite."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # because a worker may be running on every core
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected_BK: Tensor = model(image_BCHW)
    (logits_BK,) = session.run(["logits"], {"image": image_BCHW.numpy()})
    difference = float((torch.from_numpy(logits_BK) - expected_BK).abs().max())
    largest = float(expected_BK.abs().max())
    if not math.isfinite(difference) or not math.isfinite(largest):
        return math.inf
    return difference / largest if difference else 0.0
