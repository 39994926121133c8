"""Former and both bridges against attention written out per image, head, token and position."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from mfsearch.config import BridgeConfig, FormerConfig
from mfsearch.model.bridge import ToFormer, ToMobile
from mfsearch.model.former import Former

B, C, H, W, M, D = 2, 12, 2, 3, 3, 8
Matrix = list[list[float]]  # rows are tokens or positions


def randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.1, 0.6, generator=generator)
    return module.double()


def inputs(tokens: int = M) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    x_BCHW = torch.randn(B, C, H, W, generator=generator, dtype=torch.float64)
    return x_BCHW, torch.randn(B, tokens, D, generator=generator, dtype=torch.float64)


def linear(layer: nn.Module | None, rows: Matrix) -> Matrix:
    """W v + b for each row v; a 1x1 convolution is a linear without bias; no layer is the identity."""
    if layer is None:
        return rows
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    weight: Matrix = layer.weight.flatten(1).tolist()
    bias: list[float] = [0.0] * len(weight) if layer.bias is None else layer.bias.tolist()
    return [
        [b + sum(w * v for w, v in zip(out, row, strict=True)) for out, b in zip(weight, bias, strict=True)]
        for row in rows
    ]


def attend(queries: Matrix, keys: Matrix, values: Matrix, heads: int) -> Matrix:
    """softmax(q k / sqrt(c)) v in each head of c channels, the heads side by side."""
    width = len(queries[0]) // heads
    result = []
    for q in queries:
        row: list[float] = []
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            scores = [sum(a * b for a, b in zip(q[part], k[part], strict=True)) / math.sqrt(width) for k in keys]
            shares = [math.exp(score - max(scores)) for score in scores]
            total = sum(shares)
            for channel in zip(*(v[part] for v in values), strict=True):
                row += [sum(share / total * v for share, v in zip(shares, channel, strict=True))]
        result.append(row)
    return result


def layer_norm(layer: nn.Module, rows: Matrix) -> Matrix:
    assert isinstance(layer, nn.LayerNorm)
    result = []
    for row in rows:
        mean = sum(row) / len(row)
        variance = sum((v - mean) ** 2 for v in row) / len(row)
        scaled = [(v - mean) / math.sqrt(variance + 1e-5) for v in row]
        affine = zip(scaled, layer.weight.tolist(), layer.bias.tolist(), strict=True)
        result.append([v * w + b for v, w, b in affine])
    return result


def add(left: Matrix, right: Matrix) -> Matrix:
    return [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(left, right, strict=True)]


def gelu(v: float) -> float:
    return v * 0.5 * (1 + math.erf(v / math.sqrt(2)))


def positions(x_CHW: Tensor) -> Matrix:
    return [[float(x_CHW[c, h, w]) for c in range(C)] for h, w in itertools.product(range(H), range(W))]


@pytest.mark.parametrize("projections", ["tied", "full"])
@pytest.mark.parametrize("ffn", [0, 1, 2, 4])
@pytest.mark.parametrize("heads", [1, 4])
def test_former_is_attention_and_ffn_with_a_norm_after_each(heads: int, ffn: int, projections: str) -> None:
    module = randomised(Former(FormerConfig(heads, ffn, projections), D))
    assert isinstance(module, Former)
    assert (module.key is None) == (module.value is None) == (projections == "tied")
    z_BMD = inputs()[1]
    expected = []
    for b in range(B):
        z: Matrix = z_BMD[b].tolist()
        gathered = attend(linear(module.query, z), linear(module.key, z), linear(module.value, z), heads)
        z = layer_norm(module.norm1, add(z, linear(module.output, gathered)))
        if ffn:
            assert module.ffn1 is not None
            assert module.ffn2 is not None
            assert module.norm2 is not None
            assert module.ffn1.out_features == ffn * D
            hidden = [[gelu(v) for v in row] for row in linear(module.ffn1, z)]
            z = layer_norm(module.norm2, add(z, linear(module.ffn2, hidden)))
        expected.append(z)
    for training in (True, False):
        found = module.train(training)(z_BMD)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("projections", ["published", "full"])
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_mobile_to_former_gathers_gates_projects_and_normalises(heads: int, gate: bool, projections: str) -> None:
    module = randomised(ToFormer(BridgeConfig(heads, gate, projections), C, D))
    assert isinstance(module, ToFormer)
    assert (module.gate is not None) == gate
    x_BCHW, z_BMD = inputs()
    expected = []
    for b in range(B):
        x, z = positions(x_BCHW[b]), z_BMD[b].tolist()
        gathered = attend(linear(module.query, z), linear(module.key, x), linear(module.value, x), heads)
        if gate:
            open_ = [[2 * min(max(v / 6 + 0.5, 0), 1) for v in row] for row in linear(module.gate, z)]
            gathered = [
                [v * g for v, g in zip(y, gates, strict=True)] for y, gates in zip(gathered, open_, strict=True)
            ]
        expected.append(layer_norm(module.norm, add(z, linear(module.output, gathered))))
    for training, needs_scores in ((True, False), (True, True), (False, True)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            x_BCHW = x_BCHW.contiguous(memory_format=memory_format)
            module.needs_scores = needs_scores
            found = module.train(training)(x_BCHW, z_BMD)[0]
            torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("projections", ["published", "full"])
def test_mobile_to_former_returns_its_scores_by_head_token_and_place(projections: str) -> None:
    module = randomised(ToFormer(BridgeConfig(2, True, projections), C, D))
    assert isinstance(module, ToFormer)
    x_BCHW, z_BMD = inputs()
    scores_BhMHW = module(x_BCHW, z_BMD)[1].detach()
    assert scores_BhMHW.shape == (B, 2, M, H, W)
    for b, h, m, i, j in itertools.product(range(B), range(2), range(M), range(H), range(W)):
        q = linear(module.query, z_BMD[b].tolist())[m][h * 6 : h * 6 + 6]
        k = linear(module.key, [x_BCHW[b, :, i, j].tolist()])[0][h * 6 : h * 6 + 6]
        score = sum(a * c for a, c in zip(q, k, strict=True)) / math.sqrt(6)
        assert float(scores_BhMHW[b, h, m, i, j]) == pytest.approx(score)


@pytest.mark.parametrize("projections", ["published", "full"])
@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("tokens", [1, 3])
def test_former_to_mobile_adds_a_mix_of_values_at_each_position(tokens: int, heads: int, projections: str) -> None:
    module = randomised(ToMobile(BridgeConfig(heads, projections=projections), C, D))
    assert isinstance(module, ToMobile)
    assert (module.query is None) == (module.output is None) == (projections == "published")
    x_BCHW, z_BMD = inputs(tokens)
    y_BCHW = module(x_BCHW, z_BMD)
    for b in range(B):
        x, z = positions(x_BCHW[b]), z_BMD[b].tolist()
        mixed = attend(linear(module.query, x), linear(module.key, z), linear(module.value, z), heads)
        expected = add(x, linear(module.output, mixed))
        torch.testing.assert_close(y_BCHW[b].flatten(1).T, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("which", ["to_former", "to_former full", "to_mobile", "to_mobile full", "tied", "full"])
def test_training_has_the_gradients_of_the_plain_form(which: str, channels_last: bool, side: int) -> None:
    """Eval mode is the plain form: for inputs and weights, in maps of one position, of few and of more than a few."""
    projections = "full" if "full" in which else "published"
    kinds = {"to_former": ToFormer, "to_mobile": ToMobile}
    kind = kinds.get(which.split()[0])
    if kind is None:
        module = randomised(Former(FormerConfig(projections=which), D))
    else:
        module = randomised(kind(BridgeConfig(projections=projections), C, D))
    found = []
    for training in (True, False):
        module.train(training)
        generator = torch.Generator().manual_seed(5)
        x = torch.randn(B, C, side, side, generator=generator, dtype=torch.float64)
        x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
        x, z = x.requires_grad_(), inputs()[1].requires_grad_()
        if isinstance(module, ToFormer):
            module.needs_scores = False
            y = module(x, z)[0]
        else:
            y = module(x, z) if isinstance(module, ToMobile) else module(z)
        y.square().sum().backward()
        found.append([y.detach(), x.grad, z.grad, *(parameter.grad for parameter in module.parameters())])
        module.zero_grad()
    torch.testing.assert_close(*found)


def test_attention_of_the_former_agrees_with_finite_differences() -> None:
    module = randomised(Former(FormerConfig(projections="full"), D))
    assert torch.autograd.gradcheck(module, inputs()[1].requires_grad_())


def test_former_trains_under_autocast() -> None:
    module = Former(FormerConfig(), D)
    z_BMD = inputs()[1].float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_BMD = module(z_BMD)
    y_BMD.float().sum().backward()
    assert z_BMD.grad is not None
    assert bool(torch.isfinite(z_BMD.grad).all())


def test_a_gate_without_weights_lets_everything_through() -> None:
    """2 hard_sigmoid(0) = 1: at the start the gate changes nothing."""
    gated, plain = ToFormer(BridgeConfig(gate=True), C, D).double(), ToFormer(BridgeConfig(gate=False), C, D).double()
    assert gated.gate is not None
    nn.init.zeros_(gated.gate.weight)
    nn.init.zeros_(gated.gate.bias)
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("gate")})
    assert torch.equal(gated(*inputs())[0], plain(*inputs())[0])


def test_attention_does_not_overflow_on_large_features() -> None:
    x_BCHW, z_BMD = inputs()
    z, _ = ToFormer(BridgeConfig(), C, D).double()(1e6 * x_BCHW, z_BMD)
    y = ToMobile(BridgeConfig(), C, D).double()(1e6 * x_BCHW, z_BMD)
    assert bool(torch.isfinite(z).all() and torch.isfinite(y).all())
