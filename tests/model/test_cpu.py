"""The faster forms for training on a CPU against the plain forms: outputs, gradients, and where they are taken."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mfsearch.config import DYNAMIC_SOURCES, BridgeConfig, DyReLUConfig, FormerConfig
from mfsearch.model import MobileFormer, cpu
from mfsearch.model.bridge import ToFormer, ToMobile
from mfsearch.model.dyrelu import DyReLU
from mfsearch.model.former import Former
from mfsearch.model.mobile import ConvNorm
from tests.random_configs import SMALL, random_config

B, C, M, D = 2, 12, 3, 8
both_modes = pytest.mark.parametrize("training", [True, False])


def lively(module: nn.Module) -> nn.Module:
    """In double, with parameters that are all their own."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5 + 0.1)
    return module.double()


def inputs(side: int = 3) -> list[Tensor]:
    """A feature map, tokens, and the tokens' shares at each position."""
    generator = torch.Generator().manual_seed(8)
    shapes = ((B, C, side, side), (B, M, D), (B, M, side, side))
    x, z, mix = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return [x, z, mix.softmax(1)]


def outcome(module: nn.Module, tensors: list[Tensor]) -> list[Tensor | None]:
    """The output of a module, and its gradients for inputs and parameters."""
    tensors = [tensor.clone(memory_format=torch.preserve_format).requires_grad_() for tensor in tensors]
    module.zero_grad()
    y = module(*tensors)
    y = y[0] if isinstance(y, tuple) else y
    y.square().sum().backward()
    return [y.detach(), *(leaf.grad for leaf in (*tensors, *module.parameters()))]


def check_same(monkeypatch: pytest.MonkeyPatch, module: nn.Module, tensors: list[Tensor], *, exact: bool) -> None:
    """Chosen forms against plain ones in the module's own mode; exact: the same bits, as the chosen ones are plain."""
    state = {name: value.clone() for name, value in module.state_dict().items()}
    chosen = outcome(module, tensors)
    module.load_state_dict(state)  # running means and variances
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "applies", lambda _module, _x: False)
        plain = outcome(module, tensors)
    tolerance = 0.0 if exact else 1e-9
    torch.testing.assert_close(chosen, plain, rtol=tolerance, atol=tolerance)


@both_modes
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("source", "slopes", "intercepts"), list(itertools.product(DYNAMIC_SOURCES, (2, 3), (False, True)))
)
def test_dyrelu_has_the_outputs_and_gradients_of_its_plain_form(
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    slopes: int,
    intercepts: bool,
    memory_format: torch.memory_format,
    training: bool,
) -> None:
    config = DyReLUConfig(source, slopes=slopes, intercepts=intercepts, reduction=2)
    module = lively(DyReLU(config, C, C if source == "pooled" else D)).train(training)
    x, z, mix = inputs()
    check_same(monkeypatch, module, [x.contiguous(memory_format=memory_format), z, mix], exact=not training)


@both_modes
@pytest.mark.parametrize("side", [1, 2, 3])  # one position, few, more than a few
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("projections", ["published", "full"])
@pytest.mark.parametrize("kind", [ToFormer, ToMobile, Former])
def test_attention_has_the_outputs_and_gradients_of_its_plain_form(
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[..., nn.Module],
    projections: str,
    heads: int,
    side: int,
    training: bool,
) -> None:
    x, z, _ = inputs(side)
    if kind is Former:
        module = Former(FormerConfig(heads, projections="full" if projections == "full" else "tied"), D)
        check_same(monkeypatch, lively(module).train(training), [z], exact=not training)
        return
    bridge = lively(kind(BridgeConfig(heads, projections=projections), C, D)).train(training)
    for tensor in (x, x.contiguous(memory_format=torch.channels_last)):
        bridge.needs_scores = False  # type: ignore[assignment]
        check_same(monkeypatch, bridge, [tensor, z], exact=not training)


@both_modes
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("inp", "out", "kernel", "stride", "groups"),
    [
        *((12, 8, 1, 1, 1), (12, 8, 1, 1, 4)),
        *((12, 12, 3, 1, 12), (12, 24, 3, 1, 12), (12, 36, 3, 2, 12), (12, 12, 5, 1, 12), (12, 24, 5, 2, 12)),
        *((1, 4, 3, 1, 1), (3, 8, 3, 2, 1)),
    ],
)
def test_a_convolution_has_the_outputs_and_gradients_of_its_plain_form(
    monkeypatch: pytest.MonkeyPatch,
    inp: int,
    out: int,
    kernel: int,
    stride: int,
    groups: int,
    side: int,
    training: bool,
) -> None:
    """On maps smaller and larger than the kernel, in both memory formats."""
    module = lively(ConvNorm(inp, out, kernel, stride, groups=groups)).train(training)
    x = torch.randn(B, inp, side, side, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        check_same(monkeypatch, module, [x.contiguous(memory_format=memory_format)], exact=not training)


@both_modes
@pytest.mark.parametrize("seed", range(8))
def test_a_network_has_the_outputs_and_gradients_of_its_plain_form(
    monkeypatch: pytest.MonkeyPatch, seed: int, training: bool
) -> None:
    model = MobileFormer(random_config(seed)).double().train(training)
    image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    check_same(monkeypatch, model, [image], exact=not training)


def test_forms_are_taken_in_training_on_a_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each form answers there, and none is asked in eval mode, which is what exports and counts see."""
    image = torch.zeros(2, 3, 32, 32)
    model = MobileFormer(SMALL)
    assert cpu.applies(model.train(), image)
    assert not cpu.applies(model, image.to("meta"))
    assert not cpu.applies(model.eval(), image)
    operators: dict[bool, set[str]] = {}
    for training in (True, False):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            model.train(training)(image)
        operators[training] = {event.key for event in profile.key_averages()}
    own = {"_Attention", "_LargerOfTwo", "aten::scaled_dot_product_attention"}
    assert own <= operators[True]
    assert not own & operators[False]
