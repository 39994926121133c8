"""The Mobile path: stem, lite bottleneck, two inverted bottlenecks and their MobileNetV4 forms.

arXiv:2108.05895, section 3.3; arXiv:2404.10518, section 3.

Shapes: B images, C channels, H x W positions, M tokens, D token width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import BlockConfig, DyReLUConfig, LiteConfig
from mfsearch.model import cpu
from mfsearch.model.drop_path import dropped
from mfsearch.model.dyrelu import activation


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm, then a channel shuffle if `shuffle` (its groups) is above 1."""

    def __init__(self, inp: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, shuffle: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out)
        self.shuffle = shuffle

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.norm(self._convolve(x_BCHW))
        return shuffle(x_BCHW, self.shuffle) if self.shuffle > 1 else x_BCHW

    @cpu.in_training(cpu.convolve)
    def _convolve(self, x_BCHW: Tensor) -> Tensor:
        if self.conv.kernel_size[0] == 2:  # keeps the size: one more row and column at the end
            x_BCHW = F.pad(x_BCHW, (0, 1, 0, 1))
        return self.conv(x_BCHW)  # type: ignore[no-any-return]


def shuffle(x_BCHW: Tensor, groups: int) -> Tensor:
    """Interleaves the channels of the groups (arXiv:1707.01083). Every exporter knows these views."""
    B, C, H, W = x_BCHW.shape
    return x_BCHW.reshape(B, groups, C // groups, H, W).transpose(1, 2).reshape(B, C, H, W)


def depthwise(inp: int, out: int, kernel: int, stride: int, groups: int) -> ConvNorm:
    """Depthwise convolution, which may multiply channels. The shuffle lets a grouped 1x1 after it see all inputs."""
    shuffle = inp if groups > 1 and out > inp else 1
    return ConvNorm(inp, out, kernel, stride, groups=inp, shuffle=shuffle)


class Stem(nn.Module):
    """3x3 stride 2, BatchNorm, ReLU6; `plain`: ReLU."""

    def __init__(self, out: int, plain: bool = False) -> None:
        super().__init__()
        self.plain = plain
        self.conv = ConvNorm(3, out, 3, 2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.conv(x_BCHW)
        return F.relu(x_BCHW) if self.plain else F.relu6(x_BCHW)


class LiteBottleneck(nn.Module):
    """Depthwise in -> exp, ReLU6, 1x1 -> out; with a skip if the shapes are equal."""

    def __init__(self, config: LiteConfig, inp: int, groups: int) -> None:
        super().__init__()
        self.drop_path = 0.0
        self.skip = config.stride == 1 and inp == config.out
        self.depthwise = depthwise(inp, config.exp, 3, config.stride, groups)
        self.project = ConvNorm(config.exp, config.out, groups=groups)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.project(F.relu6(self.depthwise(x_BCHW)))
        return x_BCHW + dropped(y_BCHW, self.drop_path, self.training) if self.skip else y_BCHW


class Mobile(nn.Module):
    """1x1 -> act -> depthwise -> act -> 1x1; with a skip if the shapes are equal.

    A universal row may have a depthwise convolution first and none later; a fused row has one dense convolution up to
    the first activation, and a conv_pair its second activation at the end.
    """

    def __init__(self, row: BlockConfig, inp: int, groups: int, dyrelu: DyReLUConfig, token_dim: int) -> None:
        super().__init__()
        self.drop_path = 0.0
        self.skip = row.stride == 1 and inp == row.out
        self.halves_between = row.stride == 2 and not row.halves_first
        first = row.stride if row.halves_first else 1
        self.before = ConvNorm(inp, inp, row.before, first, groups=inp) if row.before else None
        if row.fused:
            self.expand = ConvNorm(inp, row.exp, row.kernel, first)
        else:
            self.expand = ConvNorm(inp, row.exp, groups=groups, shuffle=groups)
        self.act1 = activation(dyrelu, "first", row.exp, token_dim)
        between = row.stride if self.halves_between else 1
        self.depthwise = ConvNorm(row.exp, row.exp, row.inside, between, groups=row.exp) if row.inside else None
        self.act2 = activation(dyrelu, "second", row.activated[1], token_dim) if len(row.activated) == 2 else None
        self.project = ConvNorm(row.exp, row.out, groups=groups, shuffle=groups)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None = None, mix_BMHW: Tensor | None = None) -> Tensor:
        y_BCHW: Tensor = x_BCHW if self.before is None else self.before(x_BCHW)
        y_BCHW = self.act1(self.expand(y_BCHW), z_BMD, mix_BMHW)
        if self.depthwise is None:
            y_BCHW = self.project(y_BCHW)
            y_BCHW = y_BCHW if self.act2 is None else self.act2(y_BCHW, z_BMD, mix_BMHW)
        else:
            assert self.act2 is not None
            if self.halves_between and mix_BMHW is not None:
                mix_BMHW = F.avg_pool2d(mix_BMHW, 2, ceil_mode=True)
            y_BCHW = self.project(self.act2(self.depthwise(y_BCHW), z_BMD, mix_BMHW))
        return x_BCHW + dropped(y_BCHW, self.drop_path, self.training) if self.skip else y_BCHW


class MobileDown(nn.Module):
    """An inverted bottleneck of stride 2, in two halves.

    Depthwise in -> exp -> act -> 1x1 -> out, then depthwise out -> tail * out -> act -> 1x1 -> out.
    """

    def __init__(self, row: BlockConfig, inp: int, groups: int, dyrelu: DyReLUConfig, token_dim: int) -> None:
        super().__init__()
        self.drop_path = 0.0
        wide = row.tail * row.out
        self.depthwise1 = depthwise(inp, row.exp, row.kernel, 2, groups)
        self.act1 = activation(dyrelu, "first", row.exp, token_dim)
        self.project1 = ConvNorm(row.exp, row.out, groups=groups)
        self.depthwise2 = depthwise(row.out, wide, row.kernel, 1, groups)
        self.act2 = activation(dyrelu, "second", wide, token_dim)
        self.project2 = ConvNorm(wide, row.out, groups=groups)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None, mix_BMHW: Tensor | None) -> Tensor:
        x_BCHW = self.project1(self.act1(self.depthwise1(x_BCHW), z_BMD, mix_BMHW))
        y_BCHW: Tensor = self.project2(self.act2(self.depthwise2(x_BCHW), z_BMD, mix_BMHW))
        return x_BCHW + dropped(y_BCHW, self.drop_path, self.training)
