import dataclasses

import pytest
import torch
from torch import nn

from mfsearch.config import SOURCES, BlockConfig, BridgeConfig, DyReLUConfig, MobileFormerConfig, TokenConfig
from mfsearch.cost.judge import CountError, judge_madds
from mfsearch.cost.madds import PARTS, count_as_published, count_costs, count_madds
from mfsearch.cost.memory import peak_activation_bytes
from mfsearch.model import MobileFormer
from mfsearch.presets import MF_52M, MF_294M, PRESETS
from tests.random_configs import random_config

# arXiv:2108.05895: parameters of the rebuilt networks in millions, published multiply-adds in millions
PUBLISHED = {
    "mf-26m": ("3.233", 26),
    "mf-52m": ("3.469", 52),
    "mf-96m": ("4.585", 96),
    "mf-151m": ("7.596", 151),
    "mf-214m": ("9.426", 214),
    "mf-294m": ("11.423", 294),
    "mf-508m": ("13.977", 508),
}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_published_parameters_to_the_digit_and_madds_within_one_percent(name: str) -> None:
    params, madds = PUBLISHED[name]
    costs = count_costs(PRESETS[name])
    model = MobileFormer(PRESETS[name])
    assert f"{costs.num_params / 1e6:.3f}" == params
    assert parameters(model) == costs.num_params
    assert abs(costs.madds / (madds * 1e6) - 1) < 0.01
    judged = judge_madds(model, 224)
    assert (judged.madds, judged.macs) == (costs.madds, costs.macs)


def mobile_only(config: MobileFormerConfig) -> MobileFormerConfig:
    rows = tuple(dataclasses.replace(row, bridge="none", former=False) for row in config.blocks)
    return dataclasses.replace(
        config,
        blocks=rows,
        tokens=TokenConfig(0, 0),
        bridges=BridgeConfig(final=False),
        dyrelu=DyReLUConfig(source="none"),
    )


def test_component_rows_of_the_paper() -> None:
    """Ablation of the 294M network: Mobile with ReLU, + Former and bridges, + DyReLU."""
    relu = dataclasses.replace(MF_294M, dyrelu=DyReLUConfig(source="none"))
    rows = ((mobile_only(MF_294M), "6.1", 257.1), (relu, "10.1", 289.7), (MF_294M, "11.4", 293.8))
    for config, params, madds in rows:
        costs = count_costs(config)
        assert f"{costs.num_params / 1e6:.1f}" == params
        assert abs(costs.madds / (madds * 1e6) - 1) < 0.02
        assert parameters(MobileFormer(config)) == costs.num_params


@pytest.mark.parametrize(("count", "madds"), [(1, 267.0), (3, 277.7), (6, 293.8), (9, 310.0)])
def test_token_count_rows_of_the_paper(count: int, madds: float) -> None:
    costs = count_costs(dataclasses.replace(MF_294M, tokens=TokenConfig(count, 192)))
    assert abs(costs.madds / (madds * 1e6) - 1) < 0.02


@pytest.mark.parametrize(
    ("dim", "params", "madds"),
    [(64, "7.33", 275.1), (128, "9.09", 282.8), (192, "11.42", 293.8), (256, "14.35", 308.1), (320, "17.85", 325.7)],
)
def test_token_dim_rows_of_the_paper(dim: int, params: str, madds: float) -> None:
    costs = count_costs(dataclasses.replace(MF_294M, tokens=TokenConfig(6, dim)))
    assert f"{costs.num_params / 1e6:.2f}" == params
    assert abs(costs.madds / (madds * 1e6) - 1) < 0.02


@pytest.mark.parametrize("chunk", range(15))
def test_closed_form_equals_fvcore_and_the_module_on_random_configs(chunk: int) -> None:
    """315 networks over all knobs: in total, by part and by block."""
    for seed in range(chunk * 21, chunk * 21 + 21):
        check_costs(random_config(seed))


def check_costs(config: MobileFormerConfig) -> None:
    """The closed form equals fvcore and the module: in total, by part and by block."""
    costs = count_costs(config)
    model = MobileFormer(config)
    judged = judge_madds(model, config.resolution)
    assert judged.madds == costs.madds == count_madds(config), config
    assert judged.macs == costs.macs, config
    assert parameters(model) == costs.num_params, config
    places = costs.by_place()
    for i, block in enumerate(model.blocks):
        at = f"blocks.{i}"
        assert judged.by_module.get(at, 0) == places[str(i)]["madds"], (i, config)
        assert parameters(block) == places[str(i)]["num_params"], (i, config)
        rows = {row.part: row.madds for row in costs.parts if row.where == str(i)}
        for part in ("to_former", "former", "to_mobile"):
            assert judged.by_module.get(f"{at}.{part}", 0) == rows.get(part, 0), (i, part, config)
        acts = sum(judged.by_module.get(f"{at}.mobile.act{k}", 0) for k in (1, 2))
        assert judged.by_module[f"{at}.mobile"] - acts == rows["mobile"], (i, config)
    for place in ("stem", "lite", "head"):
        assert judged.by_module[place] == places[place]["madds"]
    assert sum(part["madds"] for part in costs.by_part().values()) == costs.madds
    assert set(costs.by_part()) == set(PARTS)


def test_random_configs_reach_every_choice() -> None:
    configs = [random_config(seed) for seed in range(315)]
    assert {c.dyrelu.source for c in configs} == set(SOURCES)
    assert {row.bridge for c in configs for row in c.blocks} == {"both", "to_former", "to_mobile", "none"}
    assert {c.former.ffn for c in configs} == {0, 1, 2, 4}
    assert {c.groups for c in configs} == {1, 2, 4}
    assert {c.tokens.count for c in configs} >= {0, 1, 12}


def test_an_operator_that_fvcore_cannot_count_is_refused() -> None:
    class Sneaky(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = x.flatten(2)
            return nn.functional.scaled_dot_product_attention(q, q, q)

    with pytest.raises(CountError, match="scaled_dot_product_attention"):
        judge_madds(Sneaky(), 8)


def test_judge_keeps_the_mode() -> None:
    model = MobileFormer(random_config(0))
    model.train()
    judge_madds(model, 32)
    assert model.training


def test_madds_follow_resolution_and_classes() -> None:
    small = dataclasses.replace(MF_52M, resolution=160)
    assert count_costs(small).madds == judge_madds(MobileFormer(small), 160).madds < count_madds(MF_52M)
    ten = dataclasses.replace(MF_52M, classes=10)
    assert count_madds(MF_52M) - count_madds(ten) == 1024 * 990
    assert count_costs(MF_52M).num_params - count_costs(ten).num_params == 1025 * 990


def test_peak_memory_by_hand() -> None:
    """52M: its first block at 56x56 holds the skip (12 channels), both sides of the depthwise (36) and 3x128 tokens."""
    assert peak_activation_bytes(MF_52M) == 4 * (3136 * (12 + 36 + 36) + 3 * 128)


def test_peak_memory_of_a_wide_lite_bottleneck_by_hand() -> None:
    """96M: lite at 112x112 from 12 to 24 channels with the skip of 12: project holds 12 + 24 + 12."""
    assert peak_activation_bytes(PRESETS["mf-96m"]) == 4 * 112 * 112 * (12 + 24 + 12)


def test_peak_memory_counts_coefficients_per_pixel() -> None:
    spatial = dataclasses.replace(MF_294M, dyrelu=DyReLUConfig(source="spatial"))
    assert peak_activation_bytes(spatial) > peak_activation_bytes(MF_294M)


def test_a_stride_1_row_by_hand() -> None:
    """8 -> 16 -> 8 at 4x4: 1x1 8*16*16, 3x3 16*9*16, 1x1 16*8*16; norms 2*(16+16+8)*16."""
    config = MobileFormerConfig(
        tokens=TokenConfig(0, 0),
        stem=8,
        lite=dataclasses.replace(MF_52M.lite, exp=8, out=8, stride=2),
        blocks=(BlockConfig(16, 8, bridge="none", former=False),),
        head=dataclasses.replace(MF_52M.head, conv=8, hidden=8),
        bridges=BridgeConfig(final=False),
        dyrelu=DyReLUConfig(source="none"),
        resolution=16,
        classes=2,
    )
    row = next(part for part in count_costs(config).parts if part.where == "0")
    assert row.macs == 8 * 16 * 16 + 16 * 9 * 16 + 16 * 8 * 16
    assert row.other == 2 * (16 + 16 + 8) * 16
    assert row.num_params == 8 * 16 + 16 * 9 + 16 * 8 + 2 * (16 + 16 + 8)


def test_the_papers_rule_gives_its_figures() -> None:
    """Products, 1 per BatchNorm element, 1 per DyReLU element: as counted on the published code."""
    counted = [round(count_as_published(config) / 1e6, 1) for config in PRESETS.values()]
    assert counted == [25.6, 51.3, 95.3, 150.8, 214.0, 293.8, 508.4]
