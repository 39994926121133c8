"""A cut is exact where it can be: at full size, and where the parts that leave had no effect."""

import copy
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.inside_parent import by_taylor
from mfsearch.config import DYNAMIC_SOURCES, SOURCES, BlockConfig, HeadConfig, LiteConfig, MobileFormerConfig
from mfsearch.model import MobileFormer
from mfsearch.model.dyrelu import DyReLU, StaticSlopes
from mfsearch.model.mobile import LiteBottleneck, MobileDown, shuffle
from mfsearch.presets import MF_26M, MF_151M
from mfsearch.proxy.batch_norm import restate_batch_norm
from mfsearch.proxy.cutting import by_weight, cut, mean_coefficients
from mfsearch.space.channels import Demand, fitting_multipliers, fitting_widths, shuffled
from mfsearch.space.nested import find_streams, nested_space, parent_values, stream_width
from mfsearch.space.solve import fit
from tests.random_configs import SMALL, random_config, random_v4_config

GROUPED = dataclasses.replace(MF_26M, resolution=32, classes=10)
SEEDS = (1, 3, 5, 7, 9, 11, 13, 15, 19, 21, 23, 25, 27, 29, 31, 35, 37, 39, 41, 43, 47, 51, 53)
V4_PARENTS = [random_v4_config(seed) for seed in (*range(1, 25, 2), 31)]
PARENTS = [GROUPED] + [random_config(seed) for seed in SEEDS]


def lively(config: MobileFormerConfig, seed: int = 0) -> MobileFormer:
    """The network with random weights and statistics everywhere, in float64 and eval mode."""
    generator = torch.Generator().manual_seed(seed)
    model = MobileFormer(config).double().eval()
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.is_floating_point():
            fan = tensor[0].numel() if tensor.ndim > 1 else 4
            tensor.normal_(0, fan**-0.5, generator=generator)
            if "norm" in name and name.endswith("weight"):
                tensor.add_(1)
    return model


def layer(model: nn.Module, name: str) -> Any:
    """A part of a network by its name."""
    return model.get_submodule(name)


def images(config: MobileFormerConfig, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, config.resolution, config.resolution, generator=generator, dtype=torch.float64)


def assert_same_logits(a: nn.Module, b: nn.Module, x_BCHW: Tensor, tolerance: float = 1e-9) -> None:
    with torch.no_grad():
        expected_BK, logits_BK = a(x_BCHW), b(x_BCHW)
    assert float((logits_BK - expected_BK).abs().max()) <= tolerance * max(1.0, float(expected_BK.abs().max()))


def narrowed(config: MobileFormerConfig, seed: int) -> MobileFormerConfig:
    """The config with random fractions of its widths; everything else as it is."""
    space, rng = nested_space(config), random.Random(seed)
    full = {name: values[0] for name, values in parent_values(config).items()}
    while True:
        params = {k.name: rng.choice(k.choices) if 0.5 in k.choices else full[k.name] for k in space.knobs}
        if "former.ffn" in params:
            params["former.ffn"] = rng.choice([ffn for ffn in (1, 2, 4) if ffn <= config.former.ffn] or [0])
        try:
            return space.resolve(params)
        except ValueError:  # a width that would make a skip
            continue


def left_out(whole_C: Tensor, part_C: Tensor) -> list[int]:
    """The indices of the parent's vector, all of whose values differ, that are not in the cut's."""
    kept = (whole_C[None] - part_C[:, None]).abs().argmin(1).tolist()
    assert len(set(kept)) == len(part_C)
    return [k for k in range(len(whole_C)) if k not in kept]


@torch.no_grad()
def silence(model: MobileFormer, part: MobileFormer) -> None:
    """Take the effect of every channel of the model that its cut lacks, by weights that become zero."""

    def zero_norm(name: str) -> Tensor:
        """Channels before a shuffle, by the statistics; returns the positions after it."""
        norm = layer(model, f"{name}.norm")
        gone = left_out(norm.running_mean, layer(part, f"{name}.norm").running_mean)
        zero_rows(norm, gone)
        silent_C = torch.zeros(norm.running_mean.shape)
        silent_C[gone] = 1
        groups = getattr(layer(model, name), "shuffle", 1)
        return shuffle(silent_C.view(1, -1, 1, 1), groups).flatten().nonzero().flatten()

    def zero_rows(module: Any, gone: Sequence[int] | Tensor) -> None:
        for parameter in module.parameters():
            parameter[gone] = 0

    def zero_columns(module: Any, gone: Sequence[int] | Tensor) -> None:
        module.weight[:, gone] = 0

    def zero_intercepts(name: str, gone: Tensor) -> None:
        act, ours = layer(model, name), layer(part, name)
        if not isinstance(act, DyReLU):
            return
        rows = [n * act.channels + int(c) for n in range(act.config.slopes, act.config.coefficients) for c in gone]
        zero_rows(act if isinstance(act, StaticSlopes) else act.expand, rows)
        if not isinstance(act, StaticSlopes) and act.config.source == "pooled":
            zero_columns(act.expand, left_out(act.squeeze.bias, ours.squeeze.bias))

    def zero_to_former(name: str) -> None:
        bridge, ours = layer(model, name), layer(part, name)
        if bridge.key is None:
            return
        factor = (ours.query.out_features / bridge.query.out_features) ** 0.5
        zero_rows(bridge.query, left_out(bridge.query.bias, ours.query.bias / factor))
        zero_columns(bridge.output, left_out(bridge.output.weight[0], ours.output.weight[0]))

    zero_norm("stem.conv")
    zero_norm("lite.depthwise" if isinstance(model.lite, LiteBottleneck) else "lite.expand")
    zero_norm("lite.project")
    for k in range(len(model.blocks)):
        at, mobile = f"blocks.{k}", f"blocks.{k}.mobile"
        block, twin = layer(model, at), layer(part, at)
        if isinstance(block.mobile, MobileDown):
            zero_intercepts(f"{mobile}.act1", zero_norm(f"{mobile}.depthwise1"))
            zero_norm(f"{mobile}.project1")
            zero_intercepts(f"{mobile}.act2", zero_norm(f"{mobile}.depthwise2"))
            gone = zero_norm(f"{mobile}.project2")
        else:
            if block.mobile.before is not None:
                zero_norm(f"{mobile}.before")
            inner = zero_norm(f"{mobile}.expand")
            zero_intercepts(f"{mobile}.act1", inner)
            if block.mobile.depthwise is not None:
                zero_norm(f"{mobile}.depthwise")
            gone = zero_norm(f"{mobile}.project")
            if block.mobile.act2 is not None:
                zero_intercepts(f"{mobile}.act2", gone if block.mobile.depthwise is None else inner)
        if block.to_former is not None:
            zero_to_former(f"{at}.to_former")
        to_mobile, ours = block.to_mobile, twin.to_mobile
        if to_mobile is not None and to_mobile.output is None:
            zero_rows(to_mobile.value, gone)
        elif to_mobile is not None:
            factor = (ours.key.out_features / to_mobile.key.out_features) ** 0.5
            zero_rows(to_mobile.key, left_out(to_mobile.key.bias, ours.key.bias / factor))
            zero_columns(to_mobile.output, left_out(to_mobile.value.bias, ours.value.bias))
            zero_rows(to_mobile.output, gone)
        if block.former is not None and block.former.ffn1 is not None:
            zero_columns(block.former.ffn2, left_out(block.former.ffn1.bias, twin.former.ffn1.bias))
    if model.final is not None:
        zero_to_former("final")
    zero_norm("head.conv")
    zero_norm("head")


def test_the_parents_have_every_part() -> None:
    assert len(PARENTS) > 20
    assert {config.dyrelu.source for config in PARENTS} == set(SOURCES)
    assert {1, 2, 4} <= {config.groups for config in PARENTS}
    assert {config.bridges.projections for config in PARENTS if config.bridges.final} == {"published", "full"}
    assert {config.former.projections for config in PARENTS} == {"tied", "full"}
    assert {row.kernel for config in PARENTS for row in config.blocks} == {3, 5}
    assert {1, 2, 3} < {config.tokens.count for config in PARENTS}
    assert {(config.groups > 1, row.stride) for config in PARENTS for row in config.blocks} == {
        (grouped, stride) for grouped in (False, True) for stride in (1, 2)
    }


@pytest.mark.parametrize("config", [*PARENTS, *V4_PARENTS])
def test_at_full_size_the_cut_is_the_parent(config: MobileFormerConfig) -> None:
    parent = lively(config)
    same = cut(parent, config)
    assert not same.training
    expected, state = parent.state_dict(), same.state_dict()
    assert expected.keys() == state.keys()
    assert [name for name in expected if not torch.equal(expected[name], state[name])] == []
    assert_same_logits(parent, same, images(config), tolerance=0)


@pytest.mark.parametrize("config", [*PARENTS, *V4_PARENTS])
def test_channels_without_effect_can_leave(config: MobileFormerConfig) -> None:
    for seed in range(2):
        narrow = narrowed(config, seed)
        parent = lively(config, seed)
        silence(parent, cut(parent, narrow))
        assert_same_logits(parent, cut(parent, narrow), images(config))


def test_the_parents_on_mobilenetv4_have_every_row() -> None:
    rows = [row for config in V4_PARENTS for row in config.blocks]
    assert {row.operator.split(" ")[0] for row in rows} == {"block", "extra", "ib", "convnext", "ffn", "fused", "conv"}
    assert {config.lite.mobile for config in V4_PARENTS} == {"lite", "fused", "conv_pair"}
    assert len({config.groups for config in V4_PARENTS}) > 1
    assert len({config.dyrelu.source for config in V4_PARENTS}) > 4


def test_groups_heads_and_every_width_are_cut_above() -> None:
    """Else the test above would say nothing."""
    cuts = [(config, narrowed(config, seed)) for config in PARENTS for seed in range(2)]
    for grouped in (False, True):
        pairs = [
            (stream_width(config, a), stream_width(narrow, b))
            for config, narrow in cuts
            if (config.groups > 1) == grouped
            for a, b in zip(find_streams(config), find_streams(narrow), strict=True)
        ]
        assert sum(part < whole for whole, part in pairs) >= 8
    assert sum(narrow.blocks[k].tail < row.tail for config, narrow in cuts for k, row in enumerate(config.blocks)) > 3


@pytest.mark.parametrize("seed", range(4))
def test_both_scores_drop_the_channels_without_effect(seed: int) -> None:
    x_BCHW, labels_B = images(SMALL, 8), torch.arange(8) % 4
    parent, narrow = lively(SMALL, seed), narrowed(SMALL, seed)
    for name in ("stem.conv", "lite.depthwise", "head.conv"):  # ReLU6 clips nothing: what it clips has no gradient
        layer(parent, f"{name}.norm").weight.data *= 0.1
        layer(parent, f"{name}.norm").bias.data.fill_(2)
    silence(parent, cut(parent, narrow))
    for score in (by_weight(parent), by_taylor(parent, x_BCHW, labels_B)):
        assert_same_logits(parent, cut(parent, narrow, score=score), x_BCHW)


def test_equal_scores_keep_the_first_channels() -> None:
    model = lively(SMALL)
    part = cut(model, narrowed(SMALL, 0), score=lambda channels: torch.zeros(channels.whole_width))
    ours, theirs = (layer(each, "head.norm").running_mean for each in (part, model))
    assert len(ours) < len(theirs)
    assert torch.equal(ours, theirs[: len(ours)])


def test_each_head_and_each_input_of_a_depthwise_keeps_its_own() -> None:
    """By hand. 8 channels in 2 heads; a stride-2 block makes 3 of each, e = 3 a + i, and 2 of each stay."""
    config = dataclasses.replace(SMALL, blocks=SMALL.blocks[:2])  # exp 24 from 8 channels
    narrow = dataclasses.replace(
        config,
        lite=LiteConfig(8, 4, 2),
        blocks=(BlockConfig(8, 4), dataclasses.replace(config.blocks[1], exp=8)),
    )
    parent = lively(dataclasses.replace(config, lite=LiteConfig(8, 8, 2)))
    stream = [layer(parent, "lite.project.norm"), layer(parent, "blocks.0.mobile.project.norm")]
    down = layer(parent, "blocks.1.mobile")
    wide = down.depthwise1.norm
    with torch.no_grad():
        for norm in stream:
            norm.weight.copy_(torch.tensor([8, 7, 6, 5, 1, 4, 2, 3]))
        wide.weight.copy_(torch.tensor([1, 2, 3] + [3, 1, 2] + [9, 9, 9] * 3 + [2, 3, 1] + [9] * 3 + [3, 2, 1]))
        for conv in (layer(parent, "blocks.0.mobile.expand.conv"), down.depthwise1.conv, down.project1.conv):
            conv.weight.fill_(1)
        for norm in (*stream, wide):
            norm.running_mean.copy_(torch.arange(len(norm.running_mean)))
    part = cut(parent, narrow)
    assert layer(part, "lite.project.norm").running_mean.tolist() == [0, 1, 5, 7]  # the best two of each head
    # of inputs 0, 1, 5 and 7: the best two of e = 0..2, 3..5, 15..17 and 21..23
    assert layer(part, "blocks.1.mobile.depthwise1.norm").running_mean.tolist() == [1, 2, 3, 5, 15, 16, 21, 22]


def test_places_of_groups_and_shuffles_by_hand() -> None:
    assert shuffled(6, 2) == [0, 3, 1, 4, 2, 5]
    assert shuffle(torch.arange(6.0).view(1, 6, 1, 1), 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    # written by 2 groups and shuffled, read by 2 groups: one of each pair
    assert Demand(2, interleaved=True).places(4) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    # of 12 in 4 groups, 8 would need two channels of group 2 and 3 in block 1, which has 3, 0 and 1
    assert fitting_widths(Demand(4, interleaved=True), 12) == (4, 12)
    assert fitting_widths(Demand(heads=2), 12) == (4, 8, 12)
    # 6 outputs of each input in 4 groups: in the first block they go to groups 0 0 1 2 2 3, in the second to
    # 0 0 1 2 2 3, in the others to 0 1 1 2 3 3; 5 would need 0 1 1 2 3 in the second
    assert fitting_multipliers(6, 4) == (1, 2, 3, 4, 6)
    assert fitting_multipliers(6, 1) == (1, 2, 3, 4, 5, 6)


ROW = BlockConfig(24, 12, bridge="none", former=False)
DEEP = dataclasses.replace(SMALL, blocks=(*SMALL.blocks, ROW, dataclasses.replace(ROW, exp=36)))


@pytest.mark.parametrize("rows", [(0, 1, 2, 4), (0, 1, 2, 3)])
def test_a_block_whose_branch_is_zero_can_leave(rows: tuple[int, ...]) -> None:
    parent = lively(DEEP)
    gone = ({3, 4} - set(rows)).pop()
    for parameter in layer(parent, f"blocks.{gone}.mobile.project.norm").parameters():
        nn.init.zeros_(parameter)
    config = dataclasses.replace(DEEP, blocks=tuple(DEEP.blocks[k] for k in rows))
    assert_same_logits(parent, cut(parent, config, rows=rows), images(DEEP))


def test_without_rows_the_first_blocks_of_a_stream_stay() -> None:
    parent = lively(DEEP)
    part = cut(parent, dataclasses.replace(DEEP, blocks=DEEP.blocks[:4]))
    ours, theirs = (layer(model, "blocks.3.mobile.expand.conv") for model in (part, parent))
    assert torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize("projections", ["published", "full"])
def test_a_bridge_that_adds_nothing_can_leave(projections: str) -> None:
    config = dataclasses.replace(SMALL, bridges=dataclasses.replace(SMALL.bridges, projections=projections))
    parent = lively(config)
    bridge = layer(parent, "blocks.2.to_mobile")
    for parameter in (bridge.output or bridge.value).parameters():
        nn.init.zeros_(parameter)
    rows = (*config.blocks[:2], dataclasses.replace(config.blocks[2], bridge="to_former"))
    assert_same_logits(parent, cut(parent, dataclasses.replace(config, blocks=rows)), images(config))


@pytest.mark.parametrize("source", DYNAMIC_SOURCES)
def test_tokens_that_repeat_the_first_ones_can_leave(source: str) -> None:
    """Every mean and softmax over tokens a, b, a, b is that over a, b."""
    config = dataclasses.replace(
        SMALL,
        tokens=dataclasses.replace(SMALL.tokens, count=4),
        dyrelu=dataclasses.replace(SMALL.dyrelu, source=source),
    )
    parent = lively(config)
    assert parent.tokens is not None
    parent.tokens.data[2:] = parent.tokens.data[:2]
    two = dataclasses.replace(config, tokens=dataclasses.replace(config.tokens, count=2))
    assert_same_logits(parent, cut(parent, two), images(config))


def test_a_kernel_keeps_its_centre() -> None:
    wide = tuple(dataclasses.replace(row, kernel=5) for row in SMALL.blocks)
    parent = lively(dataclasses.replace(SMALL, blocks=wide))
    for name, parameter in parent.named_parameters():
        if "depthwise" in name and parameter.shape[2:] == (5, 5):
            centre = parameter.data[:, :, 1:4, 1:4].clone()
            parameter.data.zero_()[:, :, 1:4, 1:4] = centre
    assert_same_logits(parent, cut(parent, SMALL), images(SMALL))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("intercepts", [False, True])
@pytest.mark.parametrize("source", DYNAMIC_SOURCES)
def test_coefficients_that_no_image_changes_can_freeze(source: str, intercepts: bool, whole: bool) -> None:
    dyrelu = dataclasses.replace(SMALL.dyrelu, source=source, intercepts=intercepts)
    config = dataclasses.replace(SMALL, dyrelu=dyrelu)
    parent = lively(config)
    for module in parent.modules():
        if isinstance(module, DyReLU):
            nn.init.zeros_(module.expand.weight)
    if whole:
        frozen = dataclasses.replace(config, dyrelu=dataclasses.replace(dyrelu, source="static"))
    else:
        rows = (dataclasses.replace(config.blocks[0], static=True), *config.blocks[1:])
        frozen = dataclasses.replace(config, blocks=rows)
    x_BCHW = images(config)
    part = cut(parent, frozen, coefficients=mean_coefficients(parent, x_BCHW))
    assert sum(isinstance(module, StaticSlopes) for module in part.modules()) == (6 if whole else 2)
    assert_same_logits(parent, part, x_BCHW)


def test_frozen_coefficients_are_the_mean_over_the_images() -> None:
    parent = lively(SMALL)
    x_BCHW = images(SMALL, 6)
    one_by_one = [mean_coefficients(parent, x_BCHW[k : k + 1]) for k in range(6)]
    for name, mean in mean_coefficients(parent, x_BCHW).items():
        torch.testing.assert_close(mean, torch.stack([each[name] for each in one_by_one]).mean(0))
    static = dataclasses.replace(SMALL, dyrelu=dataclasses.replace(SMALL.dyrelu, source="static"))
    with pytest.raises(ValueError, match="becomes static: give the parent's mean_coefficients"):
        cut(parent, static)


def test_the_classes_are_the_parents_and_the_parent_stays_as_it_is() -> None:
    parent = lively(SMALL).train()
    before = copy.deepcopy(parent.state_dict())
    part = cut(parent, dataclasses.replace(narrowed(SMALL, 1), classes=1000, resolution=224))
    assert part.config.classes == SMALL.classes
    assert part.config.resolution == 224
    assert part.training
    assert all(torch.equal(before[name], tensor) for name, tensor in parent.state_dict().items())


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (dataclasses.replace(SMALL, head=HeadConfig(28, 16)), "head.conv must be at most 24"),
        (dataclasses.replace(SMALL, tokens=dataclasses.replace(SMALL.tokens, count=4)), "tokens.count must be at most"),
        (dataclasses.replace(SMALL, tokens=dataclasses.replace(SMALL.tokens, dim=64)), "tokens.dim must be 32"),
        (dataclasses.replace(SMALL, former=dataclasses.replace(SMALL.former, ffn=4)), "former.ffn must be at most 2"),
        (dataclasses.replace(SMALL, blocks=(*SMALL.blocks, BlockConfig(24, 12))), "must be among the parent's"),
        (dataclasses.replace(SMALL, blocks=SMALL.blocks[:1]), "must keep its 3 widths"),
        (dataclasses.replace(SMALL, dyrelu=dataclasses.replace(SMALL.dyrelu, source="none")), "dyrelu.source must be"),
    ],
)
def test_a_network_outside_the_parent_is_refused(config: MobileFormerConfig, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        cut(MobileFormer(SMALL), config)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [60_000_000, 100_000_000])
def test_draws_inside_mf_151m_are_cut_and_run(budget: int) -> None:
    space, rng = nested_space(MF_151M), random.Random(budget)
    parent = MobileFormer(MF_151M).eval()
    x_BCHW = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    means = mean_coefficients(parent, x_BCHW)
    score = by_weight(parent)
    drawn = [fit(space, space.draw(rng), 0.85 * budget, budget) for _ in range(200)]
    inside = [sized.config for sized in drawn if sized is not None]
    assert len(inside) > 40
    for config in inside[:20]:
        logits_BK = cut(parent, config, score=score, coefficients=means)(x_BCHW)
        assert bool(logits_BK.isfinite().all())


def test_restated_statistics_are_the_mean_over_the_batches() -> None:
    model = lively(SMALL)
    x_BCHW = images(SMALL, 4)
    restate_batch_norm(model, [x_BCHW[:2], x_BCHW[2:]])
    assert not model.training
    stem = layer(model, "stem.conv")
    assert stem.norm.momentum == 0.1
    y_BCHW = stem.conv(x_BCHW)
    torch.testing.assert_close(stem.norm.running_mean, y_BCHW.mean((0, 2, 3)))
    halves = torch.stack([half.var((0, 2, 3)) for half in y_BCHW.split(2)])
    torch.testing.assert_close(stem.norm.running_var, halves.mean(0))
