"""The smoke test: sound networks pass, and each kind of broken one is named."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mfsearch.config import DyReLUConfig, FormerConfig, MobileFormerConfig, TokenConfig
from mfsearch.model import MobileFormer
from mfsearch.model.dyrelu import DyReLU
from mfsearch.presets import MF_26M, MF_52M
from mfsearch.proxy.short_train import DeviceData, build_proxy
from mfsearch.proxy.smoke_test import SmokeTestError, smoke_test
from tests.random_configs import random_config


def broken(monkeypatch: pytest.MonkeyPatch, breaks: Callable[[MobileFormer], object]) -> None:
    """Let the smoke test build its network and then break it."""

    def build(config: MobileFormerConfig, data: object, seed: int) -> nn.Module:
        model = build_proxy(config, data, seed)  # type: ignore[arg-type]
        assert isinstance(model, MobileFormer)
        with torch.no_grad():
            breaks(model)
        return model

    monkeypatch.setattr("mfsearch.proxy.smoke_test.build_proxy", build)


def second_dyrelu(model: MobileFormer) -> DyReLU:
    module = model.get_submodule("blocks.1.mobile.act1")
    assert isinstance(module, DyReLU)
    return module


@pytest.mark.parametrize("config", [MF_26M, MF_52M], ids=["mf-26m", "mf-52m"])
def test_published_networks_pass_and_torchs_generator_stays(config: MobileFormerConfig, digits: DeviceData) -> None:
    state = torch.get_rng_state()
    smoke_test(config, digits, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_knob_passes(digits: DeviceData) -> None:
    for seed in range(30):
        smoke_test(random_config(seed), digits, seed=seed)


def test_a_narrow_coefficient_mlp_that_is_silent_by_chance_passes(tiny: MobileFormerConfig, digits: DeviceData) -> None:
    """One hidden unit: about half of the six are silenced by their ReLU for the present token, which will move."""
    config = dataclasses.replace(tiny, dyrelu=DyReLUConfig(reduction=32))
    for seed in range(5):
        smoke_test(config, digits, seed=seed)


@pytest.mark.parametrize("layer", ["squeeze", "expand"])
def test_a_dyrelu_without_weights_is_dead(
    tiny: MobileFormerConfig, digits: DeviceData, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    broken(monkeypatch, lambda model: getattr(second_dyrelu(model), layer).weight.zero_())
    with pytest.raises(SmokeTestError, match=r"DyReLU blocks\.1\.mobile\.act1 is dead: .* the same for every source"):
        smoke_test(tiny, digits, seed=0)


def test_a_saturated_dyrelu_is_dead(
    tiny: MobileFormerConfig, digits: DeviceData, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, lambda model: second_dyrelu(model).expand.bias.fill_(50))
    with pytest.raises(
        SmokeTestError, match=r"DyReLU blocks\.1\.mobile\.act1 is dead: its coefficients get no gradient"
    ):
        smoke_test(tiny, digits, seed=0)


def test_a_frozen_dyrelu_is_named(
    tiny: MobileFormerConfig, digits: DeviceData, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, lambda model: second_dyrelu(model).requires_grad_(False))
    with pytest.raises(SmokeTestError, match=r"no gradient reaches blocks\.1\.mobile\.act1\.squeeze\.weight"):
        smoke_test(tiny, digits, seed=0)


@pytest.mark.parametrize(
    ("source", "why"), [("first_token", "feeds DyReLU"), ("spatial", "feeds DyReLU"), ("pooled", "reads the image")]
)
def test_two_tokens_that_coincide_are_found(
    tiny: MobileFormerConfig, digits: DeviceData, monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    def twins(model: MobileFormer) -> None:
        assert model.tokens is not None
        model.tokens[1] = model.tokens[0]

    broken(monkeypatch, twins)
    config = dataclasses.replace(tiny, tokens=TokenConfig(3, 32), dyrelu=DyReLUConfig(source))
    with pytest.raises(SmokeTestError, match=f"two of the 3 tokens are equal where the last block {why}"):
        smoke_test(config, digits, seed=0)


@pytest.mark.parametrize("init_std", [1e-3, 10])
def test_tokens_of_any_scale_are_told_apart(tiny: MobileFormerConfig, digits: DeviceData, init_std: float) -> None:
    """Also where no Former and no norm spreads them: what counts is their distance beside their length."""
    rows = tuple(dataclasses.replace(row, bridge="to_mobile", former=False) for row in tiny.blocks)
    bare = dataclasses.replace(tiny, blocks=rows, bridges=dataclasses.replace(tiny.bridges, final=False))
    for config in (tiny, bare, dataclasses.replace(tiny, former=FormerConfig(ffn=0))):
        smoke_test(dataclasses.replace(config, tokens=TokenConfig(12, 32, init_std)), digits, seed=0)


def test_one_token_and_no_token_pass(tiny: MobileFormerConfig, digits: DeviceData) -> None:
    smoke_test(dataclasses.replace(tiny, tokens=TokenConfig(1, 32)), digits, seed=0)
    rows = tuple(dataclasses.replace(row, bridge="none", former=False) for row in tiny.blocks)
    bridges = dataclasses.replace(tiny.bridges, final=False)
    none = dataclasses.replace(
        tiny, tokens=TokenConfig(0, 0), blocks=rows, bridges=bridges, dyrelu=DyReLUConfig("hswish")
    )
    smoke_test(none, digits, seed=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["stem.conv.conv.weight", "head.classifier.weight"])
def test_weights_that_are_not_finite_show_in_the_loss(
    tiny: MobileFormerConfig, digits: DeviceData, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    broken(monkeypatch, lambda model: model.get_parameter(name)[0].fill_(value))
    with pytest.raises(SmokeTestError, match=r"the loss before training must be finite, got (nan|inf)"):
        smoke_test(tiny, digits, seed=0)


def test_a_gradient_that_is_not_finite_is_named(
    tiny: MobileFormerConfig, digits: DeviceData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(model: MobileFormer) -> None:
        model.head.hidden.weight.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]

    broken(monkeypatch, breaks)
    with pytest.raises(SmokeTestError, match=r"the gradient of head\.hidden\.weight is not finite"):
        smoke_test(tiny, digits, seed=0)
