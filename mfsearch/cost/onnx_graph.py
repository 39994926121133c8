"""Writes a Mobile-Former as an ONNX graph: the function of the torch modules in fewer and larger operators.

Shapes: B images, C channels, H x W positions, N = H W, M tokens, D token width, h heads, K slopes. Tokens are rows
[M, D] and meet maps as [C, N]; with more than one image both start with B.

Why it is faster than a trace of the modules (figures in benchmarks/graph.py):

- Linears that read the same tokens become one Gemm: a block's keys and values, the next block's query and gate, both
  squeezes of DyReLU. BatchNorms are folded into their convolution or linear, as are scales and hard sigmoids.
- Heads are not split. The rows of a query are repeated for each head and are zero outside the head's channels, so
  attention over all heads is one plain product in the layout of the map.
- The softmax over the tokens of a position is exp and a product, on scores with their mean subtracted.
- A depthwise convolution that multiplies channels becomes one plain depthwise convolution per multiple, because
  runtimes have no fast kernel for it. Later operators take the channels in the resulting order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from torch import Tensor, nn

from mfsearch.cost.onnx_writer import Array, OnnxWriter
from mfsearch.model.bridge import ToFormer, ToMobile
from mfsearch.model.dyrelu import INTERCEPT_SCALE, DyReLU, Static, StaticSlopes
from mfsearch.model.former import Former
from mfsearch.model.mobile import ConvNorm, LiteBottleneck, Mobile, MobileDown
from mfsearch.model.mobile_former import Block, Head, MobileFormer

# Largest |score - mean over the tokens|, so that exp stays finite in fp32; larger scores are clipped to it.
EXP_LIMIT = 80.0


def write_onnx(
    model: MobileFormer, resolution: int, *, batch: int | None = 1, metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Return the network in eval mode as an ONNX model: "image" [B, 3, R, R] to "logits" [B, classes].

    batch None allows any number of images. The metadata entry "shares" gives the parts of each merged linear as
    {node: {part: share}}; `metadata` is added beside it.
    """
    first = _Writer(batch, [])
    first.network(model, resolution)
    writer = _Writer(batch, first.asked)  # the second pass knows which linears read the same tokens
    writer.network(model, resolution)
    images = "batch" if batch is None else batch
    own = {"shares": json.dumps(writer.shares)}
    return writer.model(
        [images, 3, resolution, resolution], [images, model.config.classes], {**(metadata or {}), **own}
    )


class _Map(NamedTuple):
    """A feature map [B, *size]; `order` gives the module's channel for each channel, None if they are the same."""

    name: str
    C: int
    H: int
    W: int
    order: list[int] | None = None


class _Linear(NamedTuple):
    """A linear that reads the tokens, y = scale (W z + b) + offset; it is merged with others that read them."""

    module: nn.Linear
    scale: float
    offset: float
    part: str

    @property
    def weight(self) -> Array:
        return _array(self.module.weight) * self.scale

    @property
    def bias(self) -> Array:
        return _array(self.module.bias) * self.scale + self.offset


class _Writer(OnnxWriter):
    def __init__(self, batch: int | None, plan: list[list[_Linear]]) -> None:
        super().__init__()
        self.batch = -1 if batch is None else batch  # in the form that Reshape expects
        self.lead = [] if batch == 1 else [self.batch]
        self.plan = plan  # linears to write at each update of the tokens
        self.asked: list[list[_Linear]] = []
        self.ready: dict[nn.Linear, str] = {}
        self.shares: dict[str, dict[str, float]] = {}

    # Linears that read the tokens

    def updated(self, z: str) -> str:
        """Call when the tokens have changed: writes all linears that will read them as one."""
        linears = self.plan[len(self.asked)] if self.plan else []
        self.asked.append([])
        if linears:
            weight, bias = (
                np.concatenate([one.weight for one in linears]),
                np.concatenate([one.bias for one in linears]),
            )
            if z in self.values:  # the learned tokens
                y = self.constant(self.values[z] @ weight.T + bias)
            else:
                share: dict[str, float] = {}
                for one in linears:
                    share[one.part] = share.get(one.part, 0.0) + one.module.out_features / len(bias)
                before = len(self.nodes)
                with self.at("linears"):
                    y = self.linear(z, weight, bias)
                self.shares |= {node.name: share for node in self.nodes[before:]}
            parts = self.split(y, [one.module.out_features for one in linears], -1)
            self.ready = {one.module: part for one, part in zip(linears, parts, strict=True)}
        return z

    def read(self, linear: nn.Linear, scale: float = 1.0, offset: float = 0.0) -> str:
        """scale (W z + b) + offset of the current tokens."""
        self.asked[-1].append(_Linear(linear, scale, offset, self.place))
        return self.ready[linear] if self.plan else ""

    def linear(self, x: str, weight: Array, bias: Array, *, rows: bool = False) -> str:
        """x W^T + b; set `rows` if x is [B, ...] for any batch, leave it for tokens."""
        if self.lead and not rows:
            return self.op("Add", self.op("MatMul", x, self.constant(weight.T)), self.constant(bias))
        return self.op("Gemm", x, self.constant(weight.T), self.constant(bias))

    def project(self, x: str, linear: nn.Linear) -> str:
        return self.linear(x, _array(linear.weight), _array(linear.bias))

    def add_norm(self, z: str, update: str, norm: nn.LayerNorm) -> str:
        weight, bias = self.constant(_array(norm.weight)), self.constant(_array(norm.bias))
        return self.op("LayerNormalization", self.op("Add", z, update), weight, bias, epsilon=norm.eps, axis=-1)

    # Heads are rows that are zero outside the head's channels

    def spread(self, y: str, heads: int, M: int, C: int) -> str:
        """[M, C] to [h M, C]."""
        if heads == 1:
            return y
        mask = _head_mask(heads, M, C)
        if y in self.values:
            return self.constant(np.concatenate([self.values[y]] * heads, -2) * mask)
        return self.op("Mul", self.op("Concat", *[y] * heads, axis=-2), self.constant(mask))

    def collect(self, y: str, heads: int, M: int, C: int) -> str:
        """[h M, C] to [M, C], each channel from the rows of its head."""
        if heads == 1:
            return y
        y = self.op("Mul", y, self.constant(_head_mask(heads, M, C)))
        return self.op("MatMul", self.constant(np.tile(np.eye(M, dtype=np.float32), heads)), y)

    def transpose(self, y: str) -> str:
        return self.op("Transpose", y, perm=[0, 2, 1] if self.lead else [1, 0])

    def flat(self, x: _Map) -> str:
        return self.reshape(x.name, *self.lead, x.C, x.H * x.W)

    # Former

    def to_former(self, part: ToFormer, x: _Map, z: str, M: int) -> tuple[str, str]:
        """The new tokens, and the scores [h M, N]."""
        query = self.spread(self.read(part.query, part.scale), part.heads, M, x.C)
        key = value = self.flat(x)
        if part.key is not None:
            key = value = self.flat(self.pointwise(part.key, x))
        if part.value is not None:
            value = self.flat(self.pointwise(part.value, x))
        scores = self.op("MatMul", query, key)
        y = self.op("MatMul", self.op("Softmax", scores, axis=-1), self.transpose(value))
        y = self.collect(y, part.heads, M, x.C)
        if part.gate is not None:  # 2 hard_sigmoid(g) = clip(g / 3 + 1, 0, 2)
            y = self.op("Mul", y, self.clip(self.read(part.gate, 1 / 3, 1.0), 0, 2))
        return self.add_norm(z, self.project(y, part.output), part.norm), scores

    def former(self, part: Former, z: str, M: int, D: int) -> str:
        query = self.spread(self.read(part.query, part.scale), part.heads, M, D)
        key = z if part.key is None else self.read(part.key)
        value = z if part.value is None else self.read(part.value)
        shares = self.op("Softmax", self.op("MatMul", query, self.transpose(key)), axis=-1)
        y = self.collect(self.op("MatMul", shares, value), part.heads, M, D)
        z = self.add_norm(z, self.project(y, part.output), part.norm1)
        if part.ffn1 is not None and part.ffn2 is not None and part.norm2 is not None:
            y = self.op("Gelu", self.project(z, part.ffn1))
            z = self.add_norm(z, self.project(y, part.ffn2), part.norm2)
        return z

    def to_mobile(self, part: ToMobile, x: _Map, M: int) -> _Map:
        h = part.heads
        # subtracting a common value does not change a softmax, so the keys' mean over the tokens is subtracted
        centred = np.tile(np.eye(M, dtype=np.float32) - np.float32(1 / M), (h, 1))
        key = self.op("MatMul", self.constant(centred), self.read(part.key, part.scale))
        key = self.op("Mul", key, self.constant(_head_mask(h, M, x.C))) if h > 1 else key
        value = self.spread(self.read(part.value), h, M, x.C)
        query = x if part.query is None else self.pointwise(part.query, x)
        scores = self.op("MatMul", key, self.flat(query))
        shares = self.op("Exp", self.clip(scores, -EXP_LIMIT, EXP_LIMIT))
        sums = np.kron(np.eye(h, dtype=np.float32), np.ones((M, M), np.float32))
        shares = self.op("Div", shares, self.op("MatMul", self.constant(sums), shares))
        y = self.op("MatMul", self.transpose(value), shares)
        if part.output is not None:
            y = self.flat(self.pointwise(part.output, x._replace(name=self.reshape(y, self.batch, x.C, x.H, x.W))))
        return x._replace(name=self.reshape(self.op("Add", self.flat(x), y), self.batch, x.C, x.H, x.W))

    def mixed(self, scores: str, part: ToFormer, x: _Map, M: int, *, down: bool) -> str:
        """Shares of the tokens at each position of the activations: [M, N]."""
        y = self.op("MatMul", self.constant(np.tile(np.eye(M, dtype=np.float32) / part.heads, part.heads)), scores)
        return self.op("Softmax", self.halved(y, x, M) if down else y, axis=-2)

    def halved(self, y: str, x: _Map, M: int) -> str:
        """Values [M, N] at the positions of a map, averaged over those of the halved map."""
        y = self.reshape(y, self.batch, M, x.H, x.W)
        y = self.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        return self.reshape(y, *self.lead, M, -(-x.H // 2) * -(-x.W // 2))

    # Mobile

    def limited(self, x: str, plain: bool) -> str:
        """ReLU6, or ReLU if plain."""
        return self.op("Relu", x) if plain else self.clip(x, 0, 6)

    def pointwise(self, conv: nn.Conv2d, x: _Map) -> _Map:
        return x._replace(name=self.conv(x.name, _array(conv.weight), None))

    def conv_norm(self, part: ConvNorm, x: _Map) -> _Map:
        parts = self.multiples(part, x)
        if parts:
            order = None if part.shuffle > 1 else [c for one in parts for c in one.order or []]
            joined = self.op("Concat", *[one.name for one in parts], axis=1)
            return parts[0]._replace(name=joined, C=part.conv.out_channels, order=order)
        weight, bias = _folded(part)
        if x.order is not None:
            weight = weight[:, x.order]
        conv, stride = part.conv, part.conv.stride[0]
        y = self.conv(x.name, weight, bias, stride=stride, groups=conv.groups)
        return self.shuffled(_Map(y, conv.out_channels, -(-x.H // stride), -(-x.W // stride)), part.shuffle)

    def multiples(self, part: ConvNorm, x: _Map) -> list[_Map]:
        """A depthwise convolution that multiplies channels, as one convolution per multiple; empty for any other.

        A channel shuffle after it gives exactly the order of the concatenated parts.
        """
        conv, stride = part.conv, part.conv.stride[0]
        times = conv.out_channels // conv.in_channels
        if conv.kernel_size[0] == 1 or conv.groups < conv.in_channels or times < 2:
            return []
        weight, bias = _folded(part)
        maps = []
        for k in range(times):
            y = self.conv(x.name, weight[k::times], bias[k::times], stride=stride, groups=x.C)
            maps.append(_Map(y, x.C, -(-x.H // stride), -(-x.W // stride), list(range(k, conv.out_channels, times))))
        return maps

    def shuffled(self, x: _Map, groups: int) -> _Map:
        if groups == 1:
            return x
        y = self.reshape(x.name, self.batch, groups, x.C // groups, x.H * x.W)
        y = self.op("Transpose", y, perm=[0, 2, 1, 3])
        return x._replace(name=self.reshape(y, self.batch, x.C, x.H, x.W))

    def coefficients(self, act: DyReLU, x: _Map) -> str:
        """act.theta in the order of the map's channels, with slopes and intercepts ready for use."""
        config, N = act.config, act.config.coefficients
        order = list(range(x.C)) if x.order is None else x.order
        if config.source == "pooled":
            pooled = self.reshape(self.op("GlobalAveragePool", x.name), self.batch, x.C)
            y = self.linear(pooled, _array(act.squeeze.weight)[:, order], _array(act.squeeze.bias), rows=True)
        else:
            y = self.read(act.squeeze)
            if config.source == "first_token":
                y = self.first(y, act.squeeze.out_features)
            elif config.source == "mean_token":
                y = self.op("ReduceMean", y, self.ints(-2), keepdims=0 if self.lead else 1)
        weight = _array(act.expand.weight).reshape(N, x.C, -1)[:, order].reshape(N * x.C, -1)
        bias = _array(act.expand.bias).reshape(N, x.C)[:, order].reshape(-1)
        y = self.linear(
            self.op("Relu", y), weight / np.float32(3), bias / np.float32(3), rows=config.source != "spatial"
        )
        y = self.clip(y, -1, 1)  # 2 hard_sigmoid(t) - 1 = clip(t / 3, -1, 1)
        factor = np.repeat(np.array([1.0] * config.slopes + [INTERCEPT_SCALE] * (N - config.slopes), np.float32), x.C)
        y = self.op("Mul", y, self.constant(factor)) if config.intercepts else y
        return self.op("Add", y, self.constant(np.repeat(np.eye(1, N, dtype=np.float32), x.C, 1)[0]))

    def learned(self, act: StaticSlopes, x: _Map) -> str:
        """The slopes and intercepts of a DyReLU that no image changes, as a constant [N C]."""
        K, order = act.config.slopes, slice(None) if x.order is None else x.order
        theta = np.clip(
            _array(act.coefficients).reshape(-1, x.C)[:, order] / np.float32(3), np.float32(-1), np.float32(1)
        )
        theta[0] += 1
        theta[K:] *= np.float32(INTERCEPT_SCALE)
        return self.constant(theta.reshape(1, -1, 1, 1))

    def first(self, z: str, width: int) -> str:
        """The first token: [B, width]."""
        y = self.op("Slice", z, self.ints(0), self.ints(1), self.ints(-2))
        return self.reshape(y, self.batch, width) if self.lead else y

    def act(self, act: Static | DyReLU, x: _Map, mix: str) -> _Map:
        if isinstance(act, Static):
            return x._replace(name=self.op("Relu" if isinstance(act.act, nn.ReLU) else "HardSwish", x.name))
        N, K = act.config.coefficients, act.config.slopes
        y = self.learned(act, x) if isinstance(act, StaticSlopes) else self.coefficients(act, x)
        if act.config.source == "spatial":  # the shares of a position sum to 1, so the starting slopes pass through
            y = self.reshape(self.op("MatMul", self.transpose(y), mix), self.batch, N * x.C, x.H, x.W)
        elif y not in self.values:
            y = self.reshape(y, self.batch, N * x.C, 1, 1)
        parts = self.split(y, [x.C] * N, 1)
        lines = [self.op("Mul", x.name, slope) for slope in parts[:K]]
        if act.config.intercepts:
            lines = [self.op("Add", line, b) for line, b in zip(lines, parts[K:], strict=True)]
        return x._replace(name=self.op("Max", *lines))

    def lite(self, part: LiteBottleneck, x: _Map) -> _Map:
        parts = self.multiples(part.depthwise, x) if part.project.conv.groups == 1 else []
        if parts:  # the runtime fuses the sum over the multiples into its convolutions
            weight, bias = _folded(part.project)
            name = self.conv(self.clip(parts[0].name, 0, 6), weight[:, parts[0].order], bias)
            for one in parts[1:]:
                name = self.op("Add", name, self.conv(self.clip(one.name, 0, 6), weight[:, one.order], None))
            y = parts[0]._replace(name=name, C=len(weight), order=None)
        else:
            y = self.conv_norm(part.depthwise, x)
            y = self.conv_norm(part.project, y._replace(name=self.clip(y.name, 0, 6)))
        return y._replace(name=self.op("Add", x.name, y.name)) if part.skip else y

    def mobile(self, part: MobileDown | Mobile, x: _Map, mix: str, place: str, M: int) -> _Map:
        def through(*steps: ConvNorm | Static | DyReLU | None, x: _Map) -> _Map:
            for step in steps:
                if step is None:
                    continue
                with self.at(f"{place}/{'mobile' if isinstance(step, ConvNorm | Static) else 'dyrelu'}"):
                    x = self.conv_norm(step, x) if isinstance(step, ConvNorm) else self.act(step, x, mix)
            return x

        if isinstance(part, MobileDown):
            x = through(part.depthwise1, part.act1, part.project1, x=x)
            y = through(part.depthwise2, part.act2, part.project2, x=x)
        else:
            y = through(part.before, part.expand, part.act1, x=x)
            if part.depthwise is None:
                y = through(part.project, part.act2, x=y)
            else:
                if mix and part.halves_between:
                    with self.at(f"{place}/to_former"):
                        mix = self.halved(mix, x, M)
                y = through(part.depthwise, part.act2, part.project, x=y)
        if isinstance(part, MobileDown) or part.skip:
            with self.at(f"{place}/mobile"):
                y = y._replace(name=self.op("Add", x.name, y.name))
        return y

    def block(self, block: Block, x: _Map, z: str, M: int, D: int, place: str) -> tuple[_Map, str]:
        mobile, mix = block.mobile, ""
        if z and block.to_former is not None:
            with self.at(f"{place}/to_former"):
                z, scores = self.to_former(block.to_former, x, z, M)
                if block.mixes:
                    mix = self.mixed(scores, block.to_former, x, M, down=block.halves_first)
            z = self.updated(z)
        if z and block.former is not None:
            with self.at(f"{place}/former"):
                z = self.former(block.former, z, M, D)
            z = self.updated(z)

        assert isinstance(mobile, MobileDown | Mobile)
        y = self.mobile(mobile, x, mix, place, M)
        if z and block.to_mobile is not None:
            with self.at(f"{place}/to_mobile"):
                y = self.to_mobile(block.to_mobile, y, M)
        return y, z

    def head(self, part: Head, x: _Map, z: str, D: int) -> None:
        x = self.conv_norm(part.conv, self.shuffled(x, part.groups))
        y = self.op("GlobalAveragePool", self.limited(x.name, part.plain))
        y = self.reshape(y, self.batch, x.C)
        y = y if part.plain else self.op("HardSwish", y)
        if z:
            first = self.first(z, D)
            if self.batch == -1:  # tokens that no bridge has updated do not depend on the image: repeat their one row
                images = self.op("Shape", y, start=0, end=1)
                first = self.op("Expand", first, self.op("Concat", images, self.ints(D), axis=0))
            y = self.op("Concat", y, first, axis=1)
        norm = part.norm
        scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + np.float32(norm.eps))
        bias = (_array(part.hidden.bias) - _array(norm.running_mean)) * scale + _array(norm.bias)
        y = self.linear(y, _array(part.hidden.weight) * scale[:, None], bias, rows=True)
        y = self.op("Relu" if part.plain else "HardSwish", y)
        self.linear(y, _array(part.classifier.weight), _array(part.classifier.bias), rows=True)

    def network(self, model: MobileFormer, resolution: int) -> None:
        M, D = model.config.tokens.count, model.config.tokens.dim
        with self.at("stem/mobile"):
            x = self.conv_norm(model.stem.conv, _Map("image", 3, resolution, resolution))
            x = x._replace(name=self.limited(x.name, model.stem.plain))
        if isinstance(model.lite, Mobile):
            x = self.mobile(model.lite, x, "", "lite", M)
        else:
            with self.at("lite/mobile"):
                x = self.lite(model.lite, x)
        z = ""
        if model.tokens is not None:
            lead = [1] if self.batch == -1 else self.lead
            z = self.updated(self.constant(np.broadcast_to(_array(model.tokens), (*lead, M, D))))
        for k, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            x, z = self.block(block, x, z, M, D, f"blocks.{k}")
        if z and model.final is not None:
            with self.at("final/to_former"):
                z, _ = self.to_former(model.final, x, z, M)
        with self.at("head/head"):
            self.head(model.head, x, z, D)


def _array(tensor: Tensor | None) -> Array:
    assert tensor is not None
    value: Array = tensor.detach().cpu().float().numpy()
    return value


def _folded(part: ConvNorm) -> tuple[Array, Array]:
    """Kernel and bias of a convolution with its BatchNorm folded in."""
    norm = part.norm
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + np.float32(norm.eps))
    return _array(part.conv.weight) * scale[:, None, None, None], _array(norm.bias) - _array(norm.running_mean) * scale


def _head_mask(heads: int, M: int, C: int) -> Array:
    """Mask [h M, C] that is 1 in the channels of the row's head."""
    return np.repeat(np.kron(np.eye(heads, dtype=np.float32), np.ones((1, C // heads), np.float32)), M, 0)
