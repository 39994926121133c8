"""int8 by ONNX Runtime's static quantisation, and its deviation from fp32. Nothing is trained for int8.

Shapes: N images, C channels, H x W positions, K classes.
"""

from __future__ import annotations

import logging
import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Scheme(NamedTuple):
    """The int8 number formats of a network; with 7 weight bits, weights use half of int8's range."""

    activations: str = "uint8"
    weights: str = "int8"
    weight_bits: int = 8
    per_channel: bool = True

    def __str__(self) -> str:
        bits = f"{self.weight_bits} bits per {'channel' if self.per_channel else 'tensor'}"
        return f"weights {self.weights} with {bits}, activations {self.activations}"


# Chosen by benchmarks/int8.py. x86 without VNNI adds two products of uint8 and int8 in 16 bits. That overflows with
# 8-bit weights but not with 7 bits: 2 x 255 x 64 = 32,640. VNNI and ARM add in 32 bits; there 7 bits only round weights
# more coarsely, and keep the fast kernel, which AVX-512 VNNI lacks for uint8 weights (ONNX Runtime's mlas).
CHOSEN = Scheme(weight_bits=7)


class Agreement(NamedTuple):
    """same_top1: share of images for which both predict the same class; largest_deviation: largest difference of a
    logit, as a fraction of the largest absolute logit in fp32."""

    images: int
    same_top1: float
    largest_deviation: float


def write_int8(fp32: Path, int8: Path, images_NCHW: Array, scheme: Scheme = CHOSEN) -> None:
    """Write a network in int8, QDQ format; the range of each activation is calibrated on the images.

    The images must be normalised. They run in batches of the fp32 file's batch size; an incomplete last batch is not
    used. Raises ValueError without a full batch.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    image: Any = onnx.load(str(fp32), load_external_data=False).graph.input[0]
    name, batch = str(image.name), int(image.type.tensor_type.shape.dim[0].dim_value)
    if len(images_NCHW) < batch:
        raise ValueError(f"int8 calibration needs at least {batch} images, one batch, got {len(images_NCHW)}")

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.begins = iter(range(0, len(images_NCHW) - batch + 1, batch))

        def get_next(self) -> dict[str, Array] | None:
            begin = next(self.begins, None)
            return None if begin is None else {name: images_NCHW[begin : begin + batch]}

    types = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    package = Path(quantization.__file__).parent
    # The quantiser logs advice on the root logger; logging.warning would also leave a handler there.
    root = logging.getLogger()
    stand_in = None if root.handlers else logging.lastResort

    def no_advice(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or package not in Path(record.pathname).parents

    root.addFilter(no_advice)
    if stand_in is not None:
        root.addHandler(stand_in)
    try:
        with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                int8,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=scheme.per_channel,
                reduce_range=scheme.weight_bits == 7,
                activation_type=types[scheme.activations],
                weight_type=types[scheme.weights],
            )
    finally:
        root.removeFilter(no_advice)
        if stand_in is not None:
            root.removeHandler(stand_in)


def logits_of(path: Path, images_NCHW: Array) -> Array:
    """Logits [N, K] of the network in an ONNX file for batch 1."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image_CHW[None]})[0] for image_CHW in images_NCHW])


def agreement(fp32_NK: Array, int8_NK: Array) -> Agreement:
    """Compare the logits of int8 with those of fp32."""
    same = float((fp32_NK.argmax(axis=1) == int8_NK.argmax(axis=1)).mean())
    largest, difference = float(np.abs(fp32_NK).max()), float(np.abs(int8_NK - fp32_NK).max())
    return Agreement(len(fp32_NK), same, difference / largest if largest else math.inf if difference else 0.0)
