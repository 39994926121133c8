import dataclasses
import json
import math
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

from mfsearch.config import BlockConfig, LiteConfig, MobileFormerConfig
from mfsearch.cost.madds import count_costs
from mfsearch.cost.onnx_export import count_nodes, export_onnx, trace_onnx
from mfsearch.cost.onnx_graph import write_onnx
from mfsearch.model import MobileFormer
from mfsearch.model.bridge import ToMobile
from mfsearch.presets import PRESETS
from tests.random_configs import SMALL, random_config


@torch.no_grad()
def lived(model: MobileFormer, seed: int = 0) -> MobileFormer:
    """The network with weights and statistics as after a training: no zeros and ones that hide a mistake."""
    generator = torch.Generator().manual_seed(seed)

    def noise(value: torch.Tensor, scale: float) -> torch.Tensor:
        return scale * torch.randn(value.shape, generator=generator)

    for name, value in model.named_parameters():
        if value.ndim == 1 or ".expand.weight" in name:
            value.add_(noise(value, 0.2))
        elif value.ndim == 2:
            value.add_(noise(value, value.shape[1] ** -0.5))
    for name, kept in model.named_buffers():
        if name.endswith("running_mean"):
            kept.add_(noise(kept, 0.2))
        elif name.endswith("running_var"):
            kept.mul_(1 + torch.rand(kept.shape, generator=generator))
    return model.eval()


def run(model: onnx.ModelProto, image_BCHW: torch.Tensor) -> torch.Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (logits_BK,) = session.run(["logits"], {"image": image_BCHW.numpy()})
    return torch.from_numpy(logits_BK)


def deviation(model: MobileFormer, resolution: int, batch: int) -> float:
    image_BCHW = torch.randn(batch, 3, resolution, resolution, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected_BK = model(image_BCHW)
    logits_BK = run(write_onnx(model, resolution, batch=batch), image_BCHW)
    return float((logits_BK - expected_BK).abs().max() / expected_BK.abs().max())


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seed", range(40))
def test_any_network_computes_what_torch_does(seed: int, batch: int) -> None:
    config = random_config(seed)
    assert deviation(lived(MobileFormer(config), seed), config.resolution, batch) < 1e-4


@pytest.mark.parametrize("seed", range(40))
def test_one_file_takes_any_number_of_images(seed: int, tmp_path: Path) -> None:
    config, path = random_config(seed), tmp_path / "net.onnx"
    metadata = {"arch_id": config.arch_id}
    model = lived(MobileFormer(config), seed)
    assert export_onnx(model, config.resolution, path, batch=None, metadata=metadata) < 1e-4
    assert {one.key: one.value for one in onnx.load(path).metadata_props}["arch_id"] == config.arch_id
    for batch in (1, 2, 5):
        image_BCHW = torch.randn(batch, 3, config.resolution, config.resolution)
        with torch.no_grad():
            expected_BK = model(image_BCHW)
        difference = (run(onnx.load(path), image_BCHW) - expected_BK).abs().max()
        assert float(difference / expected_BK.abs().max()) < 1e-4


@pytest.mark.parametrize("name", PRESETS)
def test_the_published_networks_compute_what_torch_does_in_about_half_of_the_nodes(name: str, tmp_path: Path) -> None:
    model = lived(MobileFormer(PRESETS[name]))
    assert export_onnx(model, 96, tmp_path / "written.onnx") < 1e-4
    trace_onnx(model, torch.zeros(1, 3, 96, 96), tmp_path / "traced.onnx")
    written, traced = (sum(count_nodes(tmp_path / f"{way}.onnx").values()) for way in ("written", "traced"))
    assert written < 0.55 * traced


def test_a_grouped_layer_with_one_input_channel_a_group_is_no_depthwise_one() -> None:
    config = dataclasses.replace(SMALL, stem=4, lite=LiteConfig(4, 16, 1), blocks=(BlockConfig(32, 16),), groups=4)
    assert deviation(lived(MobileFormer(config)), 32, 1) < 1e-4


def test_scores_of_any_size_give_a_softmax() -> None:
    model = lived(MobileFormer(SMALL))
    keys = [module.key for module in model.modules() if isinstance(module, ToMobile)]
    with torch.no_grad():
        for key in keys:
            key.bias.add_(3000)  # what all tokens have in common
    assert deviation(model, 32, 1) < 1e-4
    with torch.no_grad():
        for key in keys:
            key.weight.mul_(30)
    assert deviation(model, 32, 1) < 1e-4
    with torch.no_grad():
        for key in keys:
            key.weight.mul_(1000)  # beyond the limit: tokens may tie that do not, but nothing overflows
    assert math.isfinite(deviation(model, 32, 1))


def test_nothing_is_computed_that_does_not_depend_on_the_image() -> None:
    graph = write_onnx(MobileFormer(SMALL), 32).graph
    constants = {one.name for one in graph.initializer}
    assert [node.name for node in graph.node if set(node.input) <= constants] == []
    assert constants == {name for node in graph.node for name in node.input} & constants


def test_batch_norms_and_merged_linears_are_gone_and_say_whose_they_were() -> None:
    model = write_onnx(MobileFormer(SMALL), 32)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    shares = json.loads({one.key: one.value for one in model.metadata_props}["shares"])
    nodes = {node.name for node in model.graph.node}
    assert shares
    assert set(shares) <= nodes
    for parts in shares.values():
        assert sum(parts.values()) == pytest.approx(1)
    # after the first block's Former: its keys and values, two squeezes, the next block's query and gate
    D, C = 32, 8
    widths = {"blocks.0/to_mobile": 2 * C, "blocks.0/dyrelu": 2 * D // 4, "blocks.1/to_former": 2 * C}
    expected = {part: pytest.approx(width / sum(widths.values())) for part, width in widths.items()}
    assert expected in list(shares.values())


def test_writing_leaves_the_network_alone() -> None:
    model = lived(MobileFormer(SMALL)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    write_onnx(model, 32)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_of_half_precision_are_written_in_full() -> None:
    model = write_onnx(MobileFormer(SMALL).half(), 32)
    kinds = {one.data_type for one in model.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    assert torch.isfinite(run(model, torch.zeros(1, 3, 32, 32))).all()


# Nearly all of its parameters are in DyReLUs with intercepts, whose factors and offsets are constants beside them.
OFFSETS = dataclasses.replace(
    PRESETS["mf-151m"],
    dyrelu=dataclasses.replace(PRESETS["mf-151m"].dyrelu, intercepts=True, reduction=8, position="both"),
    classes=10,
)


@pytest.mark.parametrize("batch", [1, None])
@pytest.mark.parametrize(
    "config", [PRESETS["mf-26m"], OFFSETS, *map(random_config, range(40, 48))], ids=lambda c: c.arch_id
)
def test_a_file_has_at_most_the_bytes_that_are_counted(config: MobileFormerConfig, batch: int | None) -> None:
    """With the metadata of a bundle, after a training: equal initial weights would be stored once."""
    told = {"class_names": json.dumps(["x" * 28] * config.classes), "normalisation": "y" * 1_500}
    written = write_onnx(lived(MobileFormer(config)), config.resolution, batch=batch, metadata=told).ByteSize()
    most = count_costs(config).onnx_bytes
    assert written <= most
    assert most <= 1.012 * written or config != PRESETS["mf-26m"]  # what is folded counts for more in odd networks
