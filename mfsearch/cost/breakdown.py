"""Which parts of a network take its milliseconds: ONNX Runtime's profile of each node, summed by part.

The profiler makes each node look one to three microseconds slower than it is. We measure that excess at the same time,
on a chain of operators that do almost nothing, and subtract it from every node.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mfsearch.cost.madds import PART_NAMES
from mfsearch.cost.meter import open_session, pinned
from mfsearch.cost.onnx_writer import OnnxWriter

PARTS = PART_NAMES
RUNS = 60
CHAIN = 200  # operators


@dataclass(frozen=True)
class Breakdown:
    """parts_ms: milliseconds by part, in the order of PARTS; whole_ms: one run without the profiler, for comparison."""

    parts_ms: dict[str, float]
    whole_ms: float
    nodes: int  # in the runtime's graph, after its own fusions

    @property
    def sum_ms(self) -> float:
        return sum(self.parts_ms.values())

    def as_dict(self) -> dict[str, Any]:
        return {"parts_ms": self.parts_ms, "sum_ms": self.sum_ms, "whole_ms": self.whole_ms, "nodes": self.nodes}


def measure_breakdown(path: Path, *, runs: int = RUNS) -> Breakdown:
    """Return the time of each part of a network written by export_onnx(): one thread, pinned to a core if possible.

    Raises ValueError if the file's nodes do not name their part.
    """
    model = onnx.load(str(path))
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder, pinned(1):
        optimised = Path(folder) / "optimised.onnx"
        network = _Profiler(model.SerializeToString(), Path(folder) / "network", keep=optimised)
        chain = _Profiler(_chain().SerializeToString(), Path(folder) / "chain")
        plain = [open_session(one.onnx, 1) for one in (network, chain)]
        seconds: list[list[float]] = [[], []]
        for _ in range(runs):
            for k, profiled in enumerate((network, chain)):
                profiled.run()
                plain[k]()
                start = time.thread_time()
                plain[k]()
                seconds[k].append(time.thread_time() - start)
        network_us, chain_us = network.end(), chain.end()
        graph = onnx.load(str(optimised), load_external_data=False).graph
        _name_as_profiled(graph, network_us)
        parts = assign_parts(graph, _shares(model))
    whole_ms, chain_ms = (_middle_mean(one) * 1e3 for one in seconds)
    over_us = max(0.0, (sum(chain_us.values()) - chain_ms * 1e3) / len(chain_us))
    parts_ms = dict.fromkeys(PARTS, 0.0)
    for node, us in network_us.items():
        for part, share in parts[node].items():
            parts_ms[part] += share * max(0.0, us - over_us) / 1e3
    return Breakdown(parts_ms=parts_ms, whole_ms=whole_ms, nodes=len(network_us))


def assign_parts(graph: onnx.GraphProto, shares: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the parts of each node of an optimised graph, with shares that sum to 1.

    Our node names survive the runtime's fusions: blocks.3/former/Gemm_27. Nodes that the runtime adds to change a
    layout take the part of a neighbour: the reader's if they leave the blocked layout, the writer's if they enter it.
    """
    parts: dict[str, dict[str, float]] = {}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    writers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
        for name in node.output:
            writers[name] = node
        shared = [share for merged, share in shares.items() if (node.name + "/").startswith(merged + "/")]
        words = node.name.split("/")
        if shared:
            parts[node.name] = {place.split("/")[-1]: 0.0 for place in shared[0]}
            for place, share in shared[0].items():
                parts[node.name][place.split("/")[-1]] += share
        elif len(words) > 2 and words[1] in PARTS:
            parts[node.name] = {words[1]: 1.0}
        elif words[0] == "linears":
            raise ValueError(f"a merged linear must be listed under 'shares' in the metadata, got {node.name!r}")
    left = [node for node in graph.node if node.name not in parts]
    while left:
        for node in left:
            before = [writers[name] for name in node.input if name in writers]
            after = [reader for name in node.output for reader in readers[name]]
            for near in [*after, *before] if node.op_type == "ReorderOutput" else [*before, *after]:
                if near.name in parts:
                    parts[node.name] = parts[near.name]
                    break
        if all(node.name not in parts for node in left):
            raise ValueError(f"every node must name its part, as export_onnx() does, got {left[0].name!r}")
        left = [node for node in left if node.name not in parts]
    return parts


def _name_as_profiled(graph: onnx.GraphProto, profiled: Collection[str]) -> None:
    """Name the unnamed nodes as the profile does: the operator and a number, in the graph's order."""
    known = {node.name for node in graph.node}
    numbered: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(profiled) - known, key=lambda name: int(name.rpartition("_")[2])):
        numbered[name.rpartition("_")[0]].append(name)
    for node in graph.node:
        if not node.name:
            node.name = numbered[node.op_type].pop(0)


class _Profiler:
    """A session that writes a profile; `keep` is the path for the runtime's optimised graph."""

    def __init__(self, onnx: bytes, prefix: Path, keep: Path | None = None) -> None:
        self.onnx = onnx
        self.session, self.run = _open(onnx, prefix, keep)

    def end(self) -> dict[str, float]:
        """Microseconds of each node, by name."""
        events = json.loads(Path(self.session.end_profiling()).read_text())
        durations: dict[str, list[float]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                durations[event["name"].removesuffix("_kernel_time")].append(event["dur"])
        return {node: _middle_mean(values) for node, values in durations.items()}


def _open(onnx: bytes, profile: Path, keep: Path | None) -> tuple[Any, Callable[[], Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(profile)
    if keep is not None:
        options.optimized_model_filepath = str(keep)
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    feed = {image.name: np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)}
    return session, lambda: session.run(None, feed)


def _chain() -> onnx.ModelProto:
    """A chain of operators on 16 numbers, with two inputs each and names as long as a network's."""
    writer = OnnxWriter()
    name, one = "image", writer.constant(np.ones((1, 16), np.float32))
    with writer.at("blocks.0/to_former"):
        for k in range(CHAIN):
            name = writer.op("Max" if k % 2 else "Mul", name, one)
    return writer.model([1, 16], [1, 16], {})


def _shares(model: onnx.ModelProto) -> dict[str, dict[str, float]]:
    shares: dict[str, dict[str, float]] = json.loads(
        next((one.value for one in model.metadata_props if one.key == "shares"), "{}")
    )
    return shares


def _middle_mean(values: list[float]) -> float:
    """The mean of the middle half: it ignores runs that had to wait, and averages out whole microseconds."""
    return statistics.fmean(sorted(values)[len(values) // 4 : len(values) - len(values) // 4])
