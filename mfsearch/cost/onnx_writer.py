"""Writes nodes and constants of an ONNX graph one by one; their names state their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[np.float32]

OPSET = 20  # the first with Gelu as one operator
IR_VERSION = 9


class OnnxWriter:
    """Each method writes a node and returns the name of its output; split() and clip() of a constant give constants.

    Inside at("blocks.3/former") nodes have names like blocks.3/former/Gemm_27.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.values: dict[str, NDArray[np.generic]] = {}  # constants by name
        self.small: dict[bytes, str] = {}
        self.place = ""

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        before, self.place = self.place, place
        yield
        self.place = before

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Write a node with several outputs."""
        name = f"{self.place}/{kind}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}.{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names

    def constant(self, value: NDArray[np.generic]) -> str:
        """A constant; equal small constants are stored once."""
        value = np.ascontiguousarray(value)
        key = f"{value.dtype}{value.shape}".encode() + value.tobytes() if value.size <= 4096 else b""
        name = self.small.get(key)
        if name is None:
            name = f"constant_{len(self.values)}"
            self.values[name] = value
            if key:
                self.small[key] = name
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.ints(*shape))

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        if len(sizes) == 1:
            return [x]
        if x in self.values:
            return [self.constant(part) for part in np.split(self.values[x], np.cumsum(sizes[:-1]), axis)]
        return self.ops("Split", len(sizes), x, self.ints(*sizes), axis=axis)

    def clip(self, x: str, low: float, high: float) -> str:
        """Values limited to low..high; of a constant, a constant."""
        if x in self.values:
            return self.constant(np.clip(self.values[x], np.float32(low), np.float32(high)))
        return self.op("Clip", x, self.constant(np.array(low, np.float32)), self.constant(np.array(high, np.float32)))

    def conv(self, x: str, weight: Array, bias: Array | None, *, stride: int = 1, groups: int = 1) -> str:
        """A convolution that keeps the size (at stride 2, half of it); weight is [out, in / groups, k, k]."""
        inputs = [x, self.constant(weight)] + ([] if bias is None else [self.constant(bias)])
        kernel, k = list(weight.shape[2:]), weight.shape[2]
        pads = [(k - 1) // 2] * 2 + [k // 2] * 2  # before and after
        return self.op("Conv", *inputs, kernel_shape=kernel, strides=[stride] * 2, pads=pads, group=groups)

    def model(
        self, image: Sequence[int | str], logits: Sequence[int | str], metadata: dict[str, str]
    ) -> onnx.ModelProto:
        """The finished model from "image" to "logits"; the last node's output is the logits."""
        self.nodes[-1].output[0] = "logits"
        used = {name for node in self.nodes for name in node.input}
        graph = helper.make_graph(
            self.nodes,
            "mobile_former",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, list(image))],
            [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, list(logits))],
            [numpy_helper.from_array(value, name) for name, value in self.values.items() if name in used],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        helper.set_model_props(model, metadata)
        return model
