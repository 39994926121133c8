import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from onnx import NodeProto, TensorProto, helper

from mfsearch.cost.breakdown import PARTS, assign_parts, measure_breakdown
from mfsearch.cost.onnx_export import export_onnx, trace_onnx
from mfsearch.cost.onnx_graph import write_onnx
from mfsearch.model import MobileFormer
from tests.random_configs import SMALL, random_config


def test_layout_changes_belong_to_who_asked_and_merged_linears_are_shared_out() -> None:
    def node(kind: str, name: str, inputs: list[str], output: str) -> NodeProto:
        return helper.make_node(kind, inputs, [output], name=name)

    graph = helper.make_graph(
        [
            node("Conv", "blocks.0/mobile/Conv_1_nchwc", ["image"], "a"),
            node("ReorderOutput", "ReorderOutput_token_3", ["a"], "b"),
            node("Mul", "blocks.0/dyrelu/Mul_2", ["b"], "c"),
            node("ReorderInput", "ReorderInput", ["c"], "d"),
            node("Conv", "blocks.0/mobile/Conv_3", ["d"], "e"),
            node("HardSigmoid", "HardSigmoid_7", ["e"], "f"),
            node("Gemm", "linears/Gemm_4/MatMulAddFusion/", ["f"], "g"),
            node("Gemm", "linears/Gemm_40", ["g"], "logits"),
        ],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1])],
    )
    shares = {
        "linears/Gemm_4": {"blocks.0/to_mobile": 0.5, "blocks.0/dyrelu": 0.25, "blocks.1/dyrelu": 0.25},
        "linears/Gemm_40": {"final/to_former": 1.0},
    }
    parts = assign_parts(graph, shares)
    assert parts["ReorderOutput_token_3"] == {"dyrelu": 1.0}
    assert parts["ReorderInput"] == {"dyrelu": 1.0}
    assert parts["HardSigmoid_7"] == {"mobile": 1.0}
    assert parts["linears/Gemm_4/MatMulAddFusion/"] == {"to_mobile": 0.5, "dyrelu": 0.5}
    assert parts["linears/Gemm_40"] == {"to_former": 1.0}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("seed", [0, 3, 5, 11])
def test_every_part_of_a_network_gets_its_time_and_no_other(seed: int, batch: int, tmp_path: Path) -> None:
    config = SMALL if seed == 0 else random_config(seed)
    export_onnx(MobileFormer(config), config.resolution, tmp_path / "net.onnx", batch=batch)
    found = measure_breakdown(tmp_path / "net.onnx", runs=12)
    there = {"mobile", "head"} | ({"dyrelu"} if config.dyrelu.source not in ("none", "hswish") else set())
    there |= {"former"} if any(row.former for row in config.blocks) else set()
    there |= {"to_former"} if config.bridges.final or any(row.to_former for row in config.blocks) else set()
    there |= {"to_mobile"} if any(row.to_mobile for row in config.blocks) else set()
    assert list(found.parts_ms) == list(PARTS)
    assert {part for part, ms in found.parts_ms.items() if ms > 0} == there
    assert found.whole_ms > 0


@pytest.mark.parametrize("batch", [1, 2])
def test_the_runtime_keeps_the_names_of_merged_linears(batch: int, tmp_path: Path) -> None:
    """After its own fusions every one is found, and the widths of what reads the tokens are the shares."""
    model, optimised = write_onnx(MobileFormer(SMALL), 32, batch=batch), tmp_path / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(str(optimised)).graph
    for k, node in enumerate(graph.node):
        node.name = node.name or f"unnamed_{k}"
    shares = json.loads({one.key: one.value for one in model.metadata_props}["shares"])
    parts = assign_parts(graph, shares)
    merged = [parts[node.name] for node in graph.node if node.name.startswith("linears/")]
    assert merged
    # two squeezes of 8, keys and values of 8 channels, the next query and gate of 8
    assert {
        "to_mobile": pytest.approx(1 / 3),
        "dyrelu": pytest.approx(1 / 3),
        "to_former": pytest.approx(1 / 3),
    } in merged


def test_a_graph_that_does_not_name_its_parts_is_refused(tmp_path: Path) -> None:
    trace_onnx(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)), torch.zeros(1, 3, 2, 2), tmp_path / "a")
    with pytest.raises(ValueError, match="every node must name its part, as export_onnx.. does, got "):
        measure_breakdown(tmp_path / "a", runs=4)
