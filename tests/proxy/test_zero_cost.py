"""Scores without training: hand-worked small nets, what the papers promise, and one contract for all scores."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from mfsearch.config import DyReLUConfig, MobileFormerConfig, TokenConfig
from mfsearch.model import MobileFormer
from mfsearch.model.mobile import ConvNorm
from mfsearch.proxy.short_train import DeviceData
from mfsearch.proxy.zero_cost import ZERO_COST, gaussian_complexity, naswot, same_side, synaptic_flow, synflow, zen
from tests.random_configs import random_config


def images(config: MobileFormerConfig, count: int = 6) -> torch.Tensor:
    side = config.resolution
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", ZERO_COST)
@pytest.mark.parametrize("seed", range(6))
def test_every_score_is_finite_and_depends_on_the_seed_alone(name: str, seed: int) -> None:
    config = random_config(seed)
    batch = images(config)
    kept = batch.clone()
    torch.manual_seed(1)
    one = ZERO_COST[name](config, batch, 3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert ZERO_COST[name](config, batch, 3) == one
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(batch, kept)
    assert math.isfinite(one)
    assert ZERO_COST[name](config, batch, 4) != one


@pytest.mark.parametrize("source", ["first_token", "mean_token", "pooled", "spatial", "none", "hswish"])
@pytest.mark.parametrize("name", ZERO_COST)
def test_every_score_knows_every_activation(name: str, source: str, tiny: MobileFormerConfig) -> None:
    config = dataclasses.replace(tiny, resolution=32, dyrelu=DyReLUConfig(source, intercepts=source == "pooled"))
    assert math.isfinite(ZERO_COST[name](config, images(config), 0))


def test_scores_work_on_real_images(tiny: MobileFormerConfig, digits: DeviceData) -> None:
    batch = digits.normalized(digits.train_images[:16])
    for score in ZERO_COST.values():
        assert math.isfinite(score(tiny, batch, 0))


def chain(*weights: float) -> nn.Sequential:
    """1x1 convolutions of one channel, each with BatchNorm."""
    model = nn.Sequential(*(ConvNorm(1, 1) for _ in weights))
    for layer, weight in zip(model, weights, strict=True):
        assert isinstance(layer, ConvNorm)
        nn.init.constant_(layer.conv.weight, weight)
    return model


def test_a_scored_model_is_left_as_it_was() -> None:
    model = chain(2.0, -3.0)
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(4, 1, 3, 3)
    synaptic_flow(model, x[:1])
    gaussian_complexity(model, model[-1], x, torch.randn(4, 1, 3, 3))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_synaptic_flow_by_hand() -> None:
    """R = 1 x 2 x 3 a pixel: w dR/dw is 6 for either weight, at four pixels, whatever the signs."""
    first, second = (nn.Conv2d(1, 1, 1, bias=False) for _ in range(2))
    model = nn.Sequential(first, nn.ReLU6(), second)
    nn.init.constant_(first.weight, -2.0)
    nn.init.constant_(second.weight, 3.0)
    image = torch.ones(1, 1, 2, 2)
    assert synaptic_flow(model, image) == pytest.approx(math.log(4 * (6 + 6)))
    nn.init.constant_(first.weight, 2.0**30)  # clipped at 6 were it not for the small image
    assert synaptic_flow(model, image) == pytest.approx(math.log(4 * 2 * 3 * 2**30))
    assert synaptic_flow(chain(-2.0, 3.0), image) == pytest.approx(math.log(4 * (6 + 6)))  # norms do not show


def test_synaptic_flow_passes_the_classifier_whole_and_the_stem_where_there_are_no_tokens(
    tiny: MobileFormerConfig,
) -> None:
    """A layer that every path passes scales the whole flow."""
    plain = dataclasses.replace(
        tiny,
        tokens=TokenConfig(0, 0),
        bridges=dataclasses.replace(tiny.bridges, final=False),
        blocks=tuple(dataclasses.replace(row, bridge="none", former=False) for row in tiny.blocks),
        dyrelu=DyReLUConfig("none"),
    )
    image = torch.ones(1, 3, 32, 32)
    for config, has_tokens in ((plain, False), (tiny, True)):
        model = MobileFormer(config, seed=0)
        flow = synaptic_flow(model, image)
        model.head.classifier.weight.data.mul_(-16)
        assert synaptic_flow(model, image) == pytest.approx(flow + math.log(16), abs=1e-12)
        model.head.classifier.weight.data.div_(-16)
        model.stem.conv.conv.weight.data.mul_(16)
        gain = synaptic_flow(model, image) - flow
        assert 0 < gain < math.log(16) if has_tokens else gain == pytest.approx(math.log(16), abs=1e-12)


def test_synflow_counts_the_tokens(tiny: MobileFormerConfig) -> None:
    strong = dataclasses.replace(tiny, tokens=dataclasses.replace(tiny.tokens, init_std=10.0))
    assert synflow(strong, torch.zeros(1, 3, 32, 32), 0) > synflow(tiny, torch.zeros(1, 3, 32, 32), 0)


def test_synflow_needs_no_images(tiny: MobileFormerConfig) -> None:
    assert synflow(tiny, torch.zeros(2, 3, 32, 32), 0) == synflow(tiny, torch.full((5, 3, 32, 32), 9.0), 0)


def test_the_same_side_is_counted_by_hand() -> None:
    values = torch.tensor([[1.0, -2.0, 3.0], [-1.0, -2.0, 5.0]])
    assert same_side(values).tolist() == [[3.0, 2.0], [2.0, 3.0]]  # |K| = 9 - 4
    assert same_side(torch.tensor([[0.0], [-1.0], [1.0]])).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_naswot_of_two_images_is_the_determinant_of_their_counts(tiny: MobileFormerConfig) -> None:
    """|K| = A^2 - S^2 with A activations: at 32 px the stem has 8 x 16^2, the lite 16 x 8^2, and so on."""
    batch = images(dataclasses.replace(tiny, resolution=32), 2)
    total = 8 * 16**2 + 16 * 8**2  # stem, lite (stride 2)
    total += (24 + 4 * 12) * 4**2 + 2 * 36 * 4**2 + (36 + 4 * 16) * 2**2 + 64 * 2**2  # blocks, head
    score = naswot(tiny, batch, 0)
    same = math.sqrt(total**2 - math.exp(score))
    assert same == pytest.approx(round(same), abs=1e-3)
    assert 0 < round(same) < total


def test_images_that_cannot_be_told_apart_have_no_naswot(tiny: MobileFormerConfig) -> None:
    with pytest.raises(ValueError, match="two of the 3 images have equal activations"):
        naswot(tiny, torch.ones(3, 3, 32, 32), 0)


def test_zen_gives_back_the_scale_that_the_norms_take_out() -> None:
    """A chain of scalars is f(x) = w1 w2 x: the log of how far 0.01 noise moves it grows by log 2 for a doubled w."""
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(64, 1, 8, 8, generator=generator) for _ in range(2))
    one = gaussian_complexity(*with_last(chain(1.0, 1.0)), x, noise)
    assert gaussian_complexity(*with_last(chain(2.0, 1.0)), x, noise) == pytest.approx(one + math.log(2), abs=1e-3)
    assert gaussian_complexity(*with_last(chain(1.0, -8.0)), x, noise) == pytest.approx(one + math.log(8), abs=1e-3)
    # without norms it would move by 0.01 |noise|; the two batches' own means and variances cost 1 % of it
    assert one == pytest.approx(math.log(0.01 * float(noise.flatten(1).norm(dim=1).mean())), abs=0.02)


def with_last(model: nn.Sequential) -> tuple[nn.Module, nn.Module]:
    return model, model[-1]


def test_zen_grows_with_width(tiny: MobileFormerConfig) -> None:
    wide = dataclasses.replace(tiny, blocks=tuple(dataclasses.replace(row, exp=4 * row.exp) for row in tiny.blocks))
    batch = torch.zeros(8, 3, 32, 32)
    assert min(zen(wide, batch, seed) for seed in range(3)) > max(zen(tiny, batch, seed) for seed in range(3))
