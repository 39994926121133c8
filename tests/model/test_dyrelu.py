"""DyReLU against max_k(a_k x + b_k) written out, for every source, slopes and intercepts, in both modes."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from mfsearch.config import DYNAMIC_SOURCES, DyReLUConfig
from mfsearch.model.dyrelu import DyReLU, Static, activation

VARIANTS = list(itertools.product(DYNAMIC_SOURCES, (2, 3), (False, True)))
B, C, H, W, M, D = 2, 6, 3, 4, 3, 8

every_variant = pytest.mark.parametrize(("source", "slopes", "intercepts"), VARIANTS)


def make(source: str, slopes: int, intercepts: bool, std: float = 0.7) -> DyReLU:
    config = DyReLUConfig(source, slopes=slopes, intercepts=intercepts, reduction=2)
    module = activation(config, "first", C, D)
    assert isinstance(module, DyReLU)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, std, generator=generator)
    return module.double()


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x_BCHW = torch.randn(B, C, H, W, generator=generator, dtype=torch.float64)
    z_BMD = torch.randn(B, M, D, generator=generator, dtype=torch.float64)
    mix_BMHW = torch.rand(B, M, H, W, generator=generator, dtype=torch.float64)
    return x_BCHW, z_BMD, mix_BMHW / mix_BMHW.sum(1, keepdim=True)


def hard_sigmoid(t: float) -> float:
    return min(max(t / 6 + 0.5, 0.0), 1.0)


def coefficients(module: DyReLU, source: list[float]) -> list[float]:
    """Linear -> ReLU -> Linear -> 2 (hard sigmoid - 1/2), one number at a time."""
    w1, b1 = module.squeeze.weight.tolist(), module.squeeze.bias.tolist()
    w2, b2 = module.expand.weight.tolist(), module.expand.bias.tolist()
    hidden = [max(0.0, b + sum(w * s for w, s in zip(row, source, strict=True))) for row, b in zip(w1, b1, strict=True)]
    out = [b + sum(w * h for w, h in zip(row, hidden, strict=True)) for row, b in zip(w2, b2, strict=True)]
    return [2 * (hard_sigmoid(t) - 0.5) for t in out]


def naive(module: DyReLU, source: str, slopes: int, intercepts: bool) -> Tensor:
    x, z, mix = inputs()
    y = torch.empty_like(x)
    for b, c, h, w in itertools.product(range(B), range(C), range(H), range(W)):
        tokens = [z[b, m].tolist() for m in range(M)]
        if source == "first_token":
            theta = coefficients(module, tokens[0])
        elif source == "mean_token":
            theta = coefficients(module, [sum(values) / M for values in zip(*tokens, strict=True)])
        elif source == "pooled":
            theta = coefficients(module, [float(x[b, i].sum()) / (H * W) for i in range(C)])
        else:
            each = [coefficients(module, token) for token in tokens]
            theta = [sum(float(mix[b, m, h, w]) * each[m][i] for m in range(M)) for i in range(len(each[0]))]
        lines = []
        for k in range(slopes):
            a = theta[k * C + c] + (1 if k == 0 else 0)
            shift = 0.5 * theta[(slopes + k) * C + c] if intercepts else 0.0  # lambda_b of DyReLU's own paper
            lines.append(a * float(x[b, c, h, w]) + shift)
        y[b, c, h, w] = max(lines)
    return y


@every_variant
@pytest.mark.parametrize("training", [False, True])
def test_dyrelu_is_the_largest_of_its_lines(source: str, slopes: int, intercepts: bool, training: bool) -> None:
    module = make(source, slopes, intercepts).train(training)
    with torch.no_grad():
        torch.testing.assert_close(module(*inputs()), naive(module, source, slopes, intercepts))


@every_variant
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_agree_with_the_plain_formula(
    source: str, slopes: int, intercepts: bool, memory_format: torch.memory_format
) -> None:
    """Train mode may have a backward of its own: its gradients must be those of the plain formula, of eval mode."""
    module = make(source, slopes, intercepts)
    grads = []
    for training in (True, False):
        x, z, mix = (tensor.requires_grad_() for tensor in inputs())
        y = module.train(training)(x.contiguous(memory_format=memory_format), z, mix)
        y.square().sum().backward()
        grads.append([x.grad, z.grad, mix.grad, *(parameter.grad for parameter in module.parameters())])
        module.zero_grad()
    torch.testing.assert_close(grads[0], grads[1])


@every_variant
def test_gradients_agree_with_finite_differences(source: str, slopes: int, intercepts: bool) -> None:
    module = make(source, slopes, intercepts).train()
    names = [name for name, _ in module.named_parameters()]

    def call(*tensors: Tensor) -> Tensor:
        weights = dict(zip(names, tensors[3:], strict=True))
        return torch.func.functional_call(module, weights, tensors[:3])  # type: ignore[no-any-return]

    tensors = [*inputs(), *(parameter.detach() for parameter in module.parameters())]
    assert torch.autograd.gradcheck(call, [tensor.requires_grad_() for tensor in tensors])


def test_gradients_where_slopes_are_zero_or_equal() -> None:
    """Degenerate slopes, (1, 0), (0, 0) and (1, 1), by hand: a slope gets the sum of x on its side."""
    module = make("first_token", 2, False).train()
    x, z, mix = inputs()
    for first, second in ((0.0, 0.0), (-1.0, 0.0), (0.0, 1.0)):
        nn.init.zeros_(module.expand.weight)
        with torch.no_grad():
            module.expand.bias[:C] = 2.999999 * first  # just inside the clamp, where the derivative is 1/3
            module.expand.bias[C:] = 2.999999 * second
        module.zero_grad()
        own = x.clone().requires_grad_()
        module(own, z, mix).sum().backward()
        assert own.grad is not None
        a, b = 1 + 0.999999666 * first, 0.999999666 * second
        slope = torch.where(x > 0, max(a, b), min(a, b)).double()
        torch.testing.assert_close(own.grad, slope, rtol=1e-5, atol=1e-5)
        above, below = ((x * side).sum((0, 2, 3)) / 3 for side in (x > 0, x <= 0))
        assert module.expand.bias.grad is not None
        by_first, by_second = module.expand.bias.grad[:C], module.expand.bias.grad[C:]
        torch.testing.assert_close(by_first + by_second, above + below)
        if (first, second) == (0.0, 0.0):
            torch.testing.assert_close(by_first, above)


@every_variant
@pytest.mark.parametrize("training", [False, True])
def test_dyrelu_with_silent_coefficients_is_relu_to_the_bit(
    source: str, slopes: int, intercepts: bool, training: bool
) -> None:
    module = make(source, slopes, intercepts).train(training)
    nn.init.zeros_(module.expand.weight)
    nn.init.zeros_(module.expand.bias)
    x, z, mix = inputs()
    assert torch.equal(module(x, z, mix), x.relu())


@every_variant
def test_dyrelu_at_the_published_initialisation_is_relu_within_two_percent_of_x(
    source: str, slopes: int, intercepts: bool
) -> None:
    """Linears N(0, 0.01) with bias 0: slopes stay within 0.02 of (1, 0, ...), intercepts within 0.01 of 0."""
    module = make(source, slopes, intercepts, std=0.01)
    nn.init.zeros_(module.squeeze.bias)
    nn.init.zeros_(module.expand.bias)
    x, z, mix = inputs()
    distance = (module(x, z, mix) - x.relu()).abs()
    assert bool((distance <= 0.02 * x.abs() + (0.01 if intercepts else 0)).all())
    assert not torch.equal(module(x, z, mix), x.relu())


def test_coefficients_are_offsets_from_minus_1_to_1_whatever_the_source() -> None:
    module = make("first_token", 2, False)
    z = 1e4 * inputs()[1]
    theta = module.theta(z)
    assert theta.min() == -1
    assert theta.max() == 1


def test_each_image_and_token_source_has_its_own_coefficients() -> None:
    x, z, mix = inputs()
    same = x[:1].expand(B, -1, -1, -1)
    for source in ("first_token", "mean_token", "spatial"):
        y = make(source, 2, False)(same, z, mix)
        assert not torch.allclose(y[0], y[1])
    first = make("first_token", 2, False)
    other = z.clone()
    other[:, 1:] += 1
    assert torch.equal(first(x, z, mix), first(x, other, mix))


def test_static_activations_ignore_the_tokens() -> None:
    x, z, mix = inputs()
    assert torch.equal(Static("none")(x, z, mix), torch.where(x > 0, x, torch.zeros_like(x)))
    torch.testing.assert_close(Static("hswish")(x, None, None), x * ((x + 3).clamp(0, 6) / 6))


@pytest.mark.parametrize(("position", "kinds"), [("both", (1, 1)), ("first", (1, 0)), ("second", (0, 1))])
@pytest.mark.parametrize("source", [*DYNAMIC_SOURCES, "hswish"])
def test_position_says_which_activation_is_dynamic_and_the_other_is_relu(
    source: str, position: str, kinds: tuple[int, int]
) -> None:
    config = DyReLUConfig(source, position)
    for which, chosen in zip(("first", "second"), kinds, strict=True):
        module = activation(config, which, C, D)
        if not chosen:
            assert isinstance(module, Static)
            assert isinstance(module.act, nn.ReLU)
        elif source == "hswish":
            assert isinstance(module, Static)
            assert isinstance(module.act, nn.Hardswish)
        else:
            assert isinstance(module, DyReLU)
            assert module.squeeze.in_features == (C if source == "pooled" else D)


@pytest.mark.parametrize(("width", "reduction", "hidden"), [(192, 4, 48), (33, 4, 8), (8, 8, 1), (4, 32, 1), (1, 1, 1)])
def test_hidden_width_is_width_over_reduction_and_at_least_1(width: int, reduction: int, hidden: int) -> None:
    module = DyReLU(DyReLUConfig(reduction=reduction), C, width)
    assert module.squeeze.out_features == module.expand.in_features == hidden
    assert module.expand.out_features == 2 * C
