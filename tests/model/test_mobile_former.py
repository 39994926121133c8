"""The whole network: the order of its parts, its first weights, gradients, sizes and modes."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mfsearch.config import (
    BlockConfig,
    BridgeConfig,
    DyReLUConfig,
    MobileFormerConfig,
    TokenConfig,
)
from mfsearch.model import MobileFormer
from mfsearch.model.mobile_former import Block
from mfsearch.presets import MF_26M, MF_52M, PRESETS
from tests.random_configs import SMALL, random_config


def images(count: int = 2, side: int = 32, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(7)).to(dtype)


def lively(config: MobileFormerConfig) -> MobileFormer:
    """In double and eval mode, with weights and running statistics large enough to show every part."""
    model = MobileFormer(config).double().eval()
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.normal_(0.1, 0.3, generator=generator)
                if name.endswith("running_var"):
                    value.abs_().add_(0.5)
    return model


# --- the order of the parts


@torch.no_grad()
def test_the_rows_are_walked_as_the_paper_says() -> None:
    """Tokens: Mobile->Former reads the row's input, then Former; Mobile reads these tokens; then Former->Mobile."""
    model = lively(SMALL)
    x = images()
    assert model.tokens is not None
    z = torch.stack([model.tokens] * len(x))
    y = model.lite(model.stem(x))
    for block in model.blocks:
        assert isinstance(block, Block)
        assert block.to_former is not None
        assert block.former is not None
        assert block.to_mobile is not None
        z = block.former(block.to_former(y, z)[0])
        y = block.to_mobile(block.mobile(y, z, None), z)
    assert model.final is not None
    z = model.final(y, z)[0]
    torch.testing.assert_close(model(x), model.head(y, z))


@torch.no_grad()
@pytest.mark.parametrize("groups", [1, 2])
def test_the_head_pools_before_h_swish_and_joins_the_first_token(groups: int) -> None:
    config = dataclasses.replace(SMALL, groups=groups)
    head = lively(config).head
    x = torch.randn(2, 12, 3, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    z = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(10), dtype=torch.float64)

    def h_swish(v: Tensor) -> Tensor:
        return v * (v + 3).clamp(0, 6) / 6

    def normalise(norm: Any, v: Tensor) -> Tensor:
        y: Tensor = (v - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
        return y

    if groups == 2:  # 12 channels of two groups interleaved before the grouped 1x1
        x_in = x[:, [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]]
        half = [x_in[:, :6], x_in[:, 6:]]
        weight = head.conv.conv.weight.flatten(1)
        y = torch.cat(
            [torch.einsum("oc,bchw->bohw", w, part) for w, part in zip(weight.chunk(2), half, strict=True)], 1
        )
    else:
        y = torch.einsum("oc,bchw->bohw", head.conv.conv.weight.flatten(1), x)
    y = normalise(head.conv.norm, y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).clamp(0, 6)
    joined = torch.cat([h_swish(y.sum((2, 3)) / 9), z[:, 0]], 1)
    hidden = h_swish(normalise(head.norm, joined @ head.hidden.weight.T + head.hidden.bias))
    torch.testing.assert_close(head(x, z), hidden @ head.classifier.weight.T + head.classifier.bias)


def test_dropout_stands_before_the_last_linear_alone() -> None:
    model = MobileFormer(SMALL, dropout=0.3)
    dropouts = [(name, module.p) for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [("head.dropout", 0.3)]
    seen: list[Tensor] = []
    model.head.dropout.register_forward_hook(lambda _m, _i, output: seen.append(output))
    model.head.classifier.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    model(images(dtype=torch.float32))
    assert seen[0] is seen[1]


@torch.no_grad()
@pytest.mark.parametrize("side", [32, 33])
def test_spatial_shares_of_the_tokens_sum_to_one_at_every_place_the_activations_see(side: int) -> None:
    model = lively(dataclasses.replace(SMALL, dyrelu=DyReLUConfig("spatial")))
    seen: list[tuple[Tensor, Tensor]] = []
    scores: list[Tensor] = []
    for block in model.blocks:
        assert isinstance(block, Block)
        assert block.to_former is not None
        block.to_former.register_forward_hook(lambda _m, _i, output: scores.append(output[1]))
        for act in (block.mobile.act1, block.mobile.act2):
            assert act is not None
            act.register_forward_pre_hook(lambda _m, inputs: seen.append((inputs[0], inputs[2])))
    model(images(side=side))
    assert len(seen) == 6
    for x, mix in seen:
        assert mix.shape == (2, 3, *x.shape[2:])
        assert bool((mix > 0).all())
        torch.testing.assert_close(mix.sum(1), torch.ones_like(mix[:, 0]))
    # stride 1: softmax over the tokens of the attention scores, the heads averaged
    shares = scores[0].mean(1).exp()
    torch.testing.assert_close(seen[0][1], shares / shares.sum(1, keepdim=True))
    # stride 2: one place below sees the average of the up to four above it
    corner = scores[1].mean(1)[:, :, :2, :2].mean((2, 3)).exp()
    torch.testing.assert_close(seen[2][1][:, :, 0, 0], corner / corner.sum(1, keepdim=True))
    last = scores[1].mean(1)[:, :, 2 * (side // 4) :, 2 * (side // 4) :]
    if side == 33:  # 17 places to 9: the last sees one alone
        assert last.shape[2:] == (1, 1)
        torch.testing.assert_close(seen[2][1][:, :, -1, -1], last[:, :, 0, 0].softmax(1))


def test_a_row_holds_what_its_config_says_and_nothing_else() -> None:
    rows = (
        BlockConfig(16, 8, bridge="to_former", former=False),
        BlockConfig(16, 8, bridge="to_mobile"),
        BlockConfig(16, 8, bridge="none", former=False),
    )
    model = MobileFormer(dataclasses.replace(SMALL, blocks=rows, bridges=BridgeConfig(final=False)))
    held = [(b.to_former is not None, b.former is not None, b.to_mobile is not None) for b in model.blocks]
    assert held == [(True, False, False), (False, True, True), (False, False, False)]
    assert model.final is None


# --- first weights


@torch.no_grad()
def test_convolutions_start_with_fan_out_over_all_output_channels() -> None:
    """std sqrt(2 / (k k out)), also where groups divide the inputs; 5 standard errors of a sample's deviation."""
    checked = 0
    for name, module in MobileFormer(MF_26M).named_modules():
        if isinstance(module, nn.Conv2d):
            weight, k = module.weight, module.kernel_size[0]
            std = (2 / (k * k * weight.shape[0])) ** 0.5
            tolerance = 5 / (2 * weight.numel()) ** 0.5
            assert float(weight.std() / std) == pytest.approx(1, abs=tolerance), name
            assert abs(float(weight.mean())) < 5 * std / weight.numel() ** 0.5, name
            checked += 1
    assert checked > 30


@torch.no_grad()
def test_linears_start_at_one_hundredth_and_biases_at_zero() -> None:
    for name, module in MobileFormer(MF_52M).named_modules():
        if isinstance(module, nn.Linear):
            tolerance = 5 / (2 * module.weight.numel()) ** 0.5
            assert float(module.weight.std() / 0.01) == pytest.approx(1, abs=tolerance), name
            assert not module.bias.any(), name
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            assert bool((module.weight == 1).all()), name
            assert not module.bias.any(), name
            if not isinstance(module, nn.LayerNorm):
                assert not module.running_mean.any(), name  # type: ignore[union-attr]
                assert bool((module.running_var == 1).all()), name  # type: ignore[union-attr]
                assert int(module.num_batches_tracked) == 0, name  # type: ignore[arg-type]


@torch.no_grad()
@pytest.mark.parametrize("init_std", [1.0, 0.02])
def test_tokens_start_with_the_configs_scale(init_std: float) -> None:
    tokens = MobileFormer(dataclasses.replace(SMALL, tokens=TokenConfig(12, 384, init_std))).tokens
    assert tokens is not None
    assert tokens.shape == (12, 384)
    assert float(tokens.std()) == pytest.approx(init_std, rel=0.06)
    assert abs(float(tokens.mean())) < 0.08 * init_std


def test_one_seed_gives_one_network_and_another_seed_another() -> None:
    one, again, other = MobileFormer(SMALL, seed=3), MobileFormer(SMALL, seed=3), MobileFormer(SMALL, seed=4)
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    drawn = [name for name, p in one.named_parameters() if p.ndim > 1]
    assert not any(torch.equal(one.state_dict()[name], other.state_dict()[name]) for name in drawn)


def test_networks_share_the_first_weights_of_the_layers_they_share() -> None:
    """Common random numbers: between two networks only what differs differs."""
    one = MobileFormer(SMALL).state_dict()
    ffn = dataclasses.replace(SMALL, former=dataclasses.replace(SMALL.former, ffn=4), classes=7)
    longer = dataclasses.replace(SMALL, blocks=(*SMALL.blocks, BlockConfig(48, 12)))
    for config in (ffn, longer):
        other = MobileFormer(config).state_dict()
        shared = [name for name in one if name in other and one[name].shape == other[name].shape]
        assert len(shared) > 80
        assert all(torch.equal(one[name], other[name]) for name in shared)


def test_no_two_layers_of_a_network_start_alike() -> None:
    weights = [p.flatten()[:16] for p in MobileFormer(MF_52M).parameters() if p.ndim > 1]
    assert len({tuple(weight.tolist()) for weight in weights}) == len(weights)


def test_building_leaves_torchs_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    MobileFormer(SMALL, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_state_is_on_the_cpu_and_in_float() -> None:
    for config in (SMALL, random_config(0), random_config(1)):
        for name, value in MobileFormer(config).state_dict().items():
            assert value.device.type == "cpu", name
            assert value.dtype == (torch.int64 if name.endswith("num_batches_tracked") else torch.float32), name


# --- gradients, sizes, modes


@pytest.mark.parametrize("chunk", range(5))
def test_every_parameter_gets_a_finite_gradient(chunk: int) -> None:
    for seed in range(400 + chunk * 8, 408 + chunk * 8):
        config = random_config(seed)
        model = MobileFormer(config).train()
        model(images(2, config.resolution, torch.float32)).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, (name, config)
            assert bool(torch.isfinite(parameter.grad).all()), (name, config)


@pytest.mark.parametrize("source", ["first_token", "mean_token", "spatial", "pooled"])
def test_no_gradient_is_zero_where_every_part_has_work(source: str) -> None:
    config = dataclasses.replace(
        SMALL,
        dyrelu=DyReLUConfig(source, intercepts=True, slopes=3, reduction=2),
        bridges=BridgeConfig(projections="full"),
        former=dataclasses.replace(SMALL.former, projections="full"),
    )
    model = lively(config).train()
    model(images(4)).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@torch.no_grad()
@pytest.mark.parametrize("seed", range(12))
def test_any_side_works_and_images_of_a_batch_do_not_touch_in_eval_mode(seed: int) -> None:
    config = random_config(seed)
    model = lively(config)
    for side in (16, 32, 33, 64):
        x = images(3, side)
        y = model(x)
        assert y.shape == (3, config.classes)
        for i in range(3):
            torch.testing.assert_close(y[i : i + 1], model(x[i : i + 1]))


@torch.no_grad()
@pytest.mark.parametrize("seed", range(12))
def test_train_mode_is_the_same_function_where_batchnorm_keeps_still(seed: int) -> None:
    model = lively(random_config(seed))
    x = images(2, 32)
    expected = model(x)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
    torch.testing.assert_close(model(x), expected)


@torch.no_grad()
def test_channels_last_images_give_the_same_logits() -> None:
    for seed in range(6):
        model = lively(random_config(seed))
        x = images()
        expected = model(x)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        torch.testing.assert_close(model(x.contiguous(memory_format=torch.channels_last)), expected)


@torch.no_grad()
@pytest.mark.parametrize("name", PRESETS)
def test_presets_run_in_train_mode_on_the_smallest_batch_and_image(name: str) -> None:
    y = MobileFormer(PRESETS[name]).train()(images(2, 32, torch.float32))
    assert y.shape == (2, 1000)
    assert bool(torch.isfinite(y).all())
