"""MobileNetV4's rows: the published networks are timm's, and any mixture of rows computes, counts and exports alike."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mfsearch.analysis.front.side_by_side import block_table
from mfsearch.config import BlockConfig, BridgeConfig, DyReLUConfig, LiteConfig, MobileFormerConfig, TokenConfig
from mfsearch.cost.judge import judge_madds
from mfsearch.cost.latency_model import count_work, split_work
from mfsearch.cost.madds import count_costs
from mfsearch.cost.memory import peak_activation_bytes
from mfsearch.living import living
from mfsearch.model import MobileFormer
from mfsearch.model.mobile import Mobile
from mfsearch.presets import PRESETS, V4_PRESETS, preset
from mfsearch.proxy.short_train import zero_residuals
from mfsearch.search.twin_networks import make_twins
from mfsearch.space import find_space
from mfsearch.space.nested import nested_space
from tests.cost.test_madds import check_costs
from tests.cost.test_onnx_graph import deviation, lived
from tests.export.test_standalone import check_same
from tests.random_configs import SMALL, random_v4_config
from tests.test_living import draws

PLAIN = {"mnv4-s": "mobilenetv4_conv_small", "mnv4-m": "mobilenetv4_conv_medium"}


def timms(name: str) -> nn.Module:
    from mfsearch.references.libraries import import_torchvision

    import_torchvision()  # before timm, which fails if its build is not torch's
    timm = pytest.importorskip("timm")
    model: nn.Module = timm.create_model(PLAIN[name])
    return model


def layers(model: nn.Module) -> list[tuple[object, ...]]:
    """Shape, stride, padding and groups of each convolution and linear layer; a linear is a 1x1 convolution."""
    found: list[tuple[object, ...]] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            found.append((*module.weight.shape, module.stride, module.padding, module.groups))
        elif isinstance(module, nn.Linear):
            found.append((*module.weight.shape, 1, 1, (1, 1), (0, 0), 1))
    return found


@pytest.mark.parametrize("name", PLAIN)
def test_without_a_former_they_are_timms_networks_layer_by_layer(name: str) -> None:
    ours, theirs = MobileFormer(preset(name)), timms(name)
    assert layers(ours) == layers(theirs)
    costs, judged = count_costs(preset(name)), judge_madds(theirs, 224)
    assert costs.madds == judged.madds
    extra = preset(name).head.hidden  # the bias of the head's first linear, which timm leaves to the norm
    assert costs.num_params == sum(p.numel() for p in theirs.parameters()) + extra


@pytest.mark.parametrize("name", PLAIN)
def test_with_timms_weights_they_compute_what_timm_computes(name: str) -> None:
    ours, theirs = MobileFormer(preset(name)).eval(), timms(name).eval()
    with torch.no_grad():
        for value in theirs.state_dict().values():
            if value.is_floating_point():
                value.add_(0.05 * torch.rand(value.shape, generator=torch.Generator().manual_seed(1)))
        given = [value for value in theirs.state_dict().values() if value.ndim]
        state = ours.state_dict()
        kept = [key for key, value in state.items() if value.ndim and key != "head.hidden.bias"]
        ours.load_state_dict(
            {key: value.reshape(state[key].shape) for key, value in zip(kept, given, strict=True)}, strict=False
        )
        image = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mf4-s", "mf4-m"])
def test_with_a_former_all_parts_are_alive_and_the_mobile_side_is_the_same(name: str) -> None:
    config = preset(name)
    plain = V4_PRESETS[name.replace("mf4", "mnv4")]
    assert living(config) is config
    mobile = [count_costs(one).by_part()["mobile"] for one in (config, plain)]
    assert mobile[0] == mobile[1]
    assert count_costs(config).madds < 1.06 * count_costs(plain).madds


def check_network(config: MobileFormerConfig, seed: int) -> None:
    """Costs, files, ONNX graph, model.py, predicted work and a training step."""
    check_costs(config)
    assert MobileFormerConfig.from_dict(config.to_dict()) == config
    model = lived(MobileFormer(config), seed)
    assert deviation(model, config.resolution, 1 + 2 * (seed % 2)) < 1e-4, config
    check_same(config, seed, min(config.resolution, 48))
    assert np.array_equal(np.sum(list(split_work(config).values()), 0), count_work(config))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    images = torch.randn(2, 3, config.resolution, config.resolution, generator=torch.Generator().manual_seed(seed))
    loss = model.train()(images).square().mean()
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    for block in model.blocks:
        for name, weight in block.get_submodule("mobile").named_parameters():
            if name.endswith("conv.weight"):
                assert weight.grad is not None, name


@pytest.mark.parametrize("seed", range(8))
def test_any_mixture_of_rows_counts_computes_exports_and_trains(seed: int) -> None:
    check_network(random_v4_config(seed), seed)


def test_draws_of_the_space_do_so_too() -> None:
    for seed, config in enumerate(draws("mobile_former_v4", 2)):
        check_network(config, seed)


V4 = dataclasses.replace(
    SMALL,
    lite=LiteConfig(8, 8, 1, "fused"),
    blocks=(
        BlockConfig(16, 12, 2, mobile="fused"),
        BlockConfig(24, 12, kernel=5, before=3, mobile="universal"),
        BlockConfig(24, 12, kernel=0, mobile="universal"),
    ),
)


def with_row(**fields: object) -> MobileFormerConfig:
    rows = (dataclasses.replace(V4.blocks[1], **fields), *V4.blocks[1:])  # type: ignore[arg-type]
    return dataclasses.replace(V4, blocks=rows)


def test_rows_by_hand() -> None:
    """8 -> 24 -> 12, 5x5 before and 3x3 inside with stride 2, from 16x16 to 8x8 positions."""
    row = next(
        p for p in count_costs(with_row(before=5, kernel=3, stride=2)).parts if (p.where, p.part) == ("0", "mobile")
    )
    assert row.macs == (8 * 25 + 8 * 24) * 256 + (24 * 9 + 24 * 12) * 64
    assert row.other == 2 * (8 + 24) * 256 + 2 * (24 + 12) * 64
    assert row.num_params == 8 * 25 + 8 * 24 + 24 * 9 + 24 * 12 + 2 * (8 + 24 + 24 + 12)
    fused = next(p for p in count_costs(V4).parts if (p.where, p.part) == ("0", "mobile"))
    assert fused.macs == (8 * 16 * 9 + 16 * 12) * 64


def test_memory_by_hand() -> None:
    """mnv4-m: the stem's 32 channels at 112 x 112 and the fused row's 128 at 56 x 56. A wide row: its halving."""
    assert peak_activation_bytes(preset("mnv4-m")) == 4 * (32 * 112**2 + 128 * 56**2)
    wide = with_row(exp=64, before=5, kernel=3, stride=2)
    assert peak_activation_bytes(wide) == 4 * (64 * 16**2 + 64 * 8**2 + 3 * 32)
    spatial = dataclasses.replace(wide, dyrelu=DyReLUConfig("spatial"))
    assert peak_activation_bytes(spatial) == 4 * (64 * 16**2 * 3 + 3 * 16**2 + 3 * 32)


def test_settings_that_build_the_same_have_one_arch_id() -> None:
    classic = dataclasses.replace(V4, blocks=(BlockConfig(16, 8), *V4.blocks[1:]))
    same = dataclasses.replace(V4, blocks=(BlockConfig(16, 8, mobile="universal"), *V4.blocks[1:]))
    assert classic.arch_id == same.arch_id
    assert with_row(tail=2).arch_id == with_row(tail=4).arch_id
    others = [V4, with_row(before=5), with_row(kernel=3), with_row(before=0), with_row(mobile="conv_pair", before=0)]
    others += [dataclasses.replace(V4, lite=LiteConfig(8, 8, 1, kind)) for kind in ("lite", "conv_pair")]
    assert len({one.arch_id for one in others}) == len(others)


def test_the_only_activation_of_a_row_is_dynamic_wherever_the_others_are() -> None:
    rows = tuple(dataclasses.replace(row, kernel=0, mobile="universal", stride=1) for row in V4.blocks)
    second, first = (
        dataclasses.replace(V4, blocks=rows, dyrelu=DyReLUConfig(position=at)) for at in ("second", "first")
    )
    assert second.arch_id == first.arch_id
    assert count_costs(second).by_part()["dyrelu"] == count_costs(first).by_part()["dyrelu"]
    assert "blocks.0.mobile.act1.expand.weight" in MobileFormer(second).state_dict()


def test_the_space_holds_the_small_networks_and_earlier_spaces_keep_their_digest() -> None:
    space = find_space("mobile_former_v4")
    for name in ("mnv4-s", "mf4-s"):
        params = space.find_params(preset(name))
        assert params is not None
        assert space.resolve(params) == preset(name)
    assert space.find_params(PRESETS["mf-151m"]) is None
    digests = {"mobile_former": "cb5a8cbc12b3", "mobile_former_small": "5e570318b3fc", "paper": "4c6260c5c908"}
    assert {name: find_space(name).digest for name in digests} == digests
    assert nested_space(PRESETS["mf-151m"]).digest == "8e2dd0803298"


def test_a_twin_keeps_the_rows_of_its_parent() -> None:
    (twin,) = make_twins(preset("mf4-s"), "tokens.count=3")
    assert twin.config is not None
    assert [row.operator for row in twin.config.blocks] == [row.operator for row in preset("mf4-s").blocks]
    assert abs(count_costs(twin.config).madds / count_costs(preset("mf4-s")).madds - 1) < 0.01


def test_networks_side_by_side_name_the_form_of_a_row() -> None:
    table = block_table({"classic": PRESETS["mf-151m"], "v4": preset("mf4-s")}).set_index("row")
    assert "extra dw 5x5 5x5" in str(table.loc["s4_down", "v4"])
    assert "conv pair 3x3" in str(table.loc["lite", "v4"])
    assert "operator" in str(table.loc["s4_down", "differs"])


def test_earlier_configs_are_written_as_before() -> None:
    for config in (*PRESETS.values(), SMALL):
        assert set(config.to_dict()["lite"]) == {"exp", "out", "stride"}
        assert not {"mobile", "before"} & {key for row in config.to_dict()["blocks"] for key in row}
    assert PRESETS["mf-151m"].arch_id == "3378c3395e8d"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"mobile": "universal", "kernel": 4}, "block.kernel must be 0, 2, 3 or 5, got 4"),
        (
            {"mobile": "universal", "kernel": 0, "stride": 2},
            "block.kernel must be 2, 3 or 5 where stride is 2 and before",
        ),
        ({"before": 3}, "block.before must be 0 for mobile inverted_bottleneck, got 3"),
        ({"mobile": "fused", "kernel": 0}, "block.kernel must be 2, 3 or 5, got 0"),
        ({"kernel": 2}, "block.kernel must be 3 or 5, got 2"),
        ({"mobile": "uib"}, "block.mobile must be inverted_bottleneck, universal, fused or conv_pair, got 'uib'"),
    ],
)
def test_rows_that_cannot_be_built_are_refused(fields: dict[str, object], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        BlockConfig(16, 8, **fields)  # type: ignore[arg-type]


def test_a_branch_that_ends_in_an_activation_learns_though_residuals_begin_at_zero() -> None:
    row = BlockConfig(16, 8, bridge="none", former=False, mobile="conv_pair")
    config = dataclasses.replace(
        V4, tokens=TokenConfig(0, 0), blocks=(row,), bridges=BridgeConfig(final=False), dyrelu=DyReLUConfig("none")
    )
    model = MobileFormer(config)
    zero_residuals(model)
    mobile = model.blocks[0].mobile
    assert isinstance(mobile, Mobile)
    mobile(torch.randn(2, 8, 9, 9), None, None).square().sum().backward()
    assert mobile.expand.conv.weight.grad is not None
    assert mobile.expand.conv.weight.grad.abs().max() > 0


def test_tables_name_the_form_of_each_row() -> None:
    table = preset("mf4-m").table()
    for operator in ("fused 3x3", "extra dw 3x3 5x5", "convnext 3x3", "ffn", "extra dw 5x5 5x5"):
        assert f"  {operator}" in table
    assert "conv pair 3x3" in preset("mnv4-s").table()
    assert "ib 3x3" in preset("mnv4-s").table()


def test_2x2_kernels_keep_the_size() -> None:
    for stride, side in ((1, 7), (2, 7), (2, 8)):
        row = BlockConfig(16, 8, stride, 2, "none", False, mobile="universal", before=2)
        config = dataclasses.replace(
            V4, tokens=TokenConfig(0, 0), blocks=(row,), bridges=BridgeConfig(final=False), dyrelu=DyReLUConfig("none")
        )
        y: Tensor = MobileFormer(config).blocks[0](torch.zeros(1, 8, side, side), None)[0]
        assert y.shape[2:] == (-(-side // stride),) * 2
