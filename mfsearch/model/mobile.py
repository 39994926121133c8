"""The Mobile path: stem, lite bottleneck, and the two inverted bottlenecks of arXiv:2108.05895, section 3.3.

Shapes: B images, C channels, H x W positions, M tokens, D token width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import BlockConfig, DyReLUConfig, LiteConfig
from mfsearch.model.drop_path import dropped
from mfsearch.model.dyrelu import activation

SMALL_MAP = 16  # positions


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm, then a channel shuffle over `shuffle` groups where that is above 1."""

    def __init__(self, inp: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, shuffle: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out)
        self.shuffle = shuffle

    def forward(self, x_BCHW: Tensor) -> Tensor:
        trains_on_cpu = self.training and x_BCHW.device.type == "cpu"
        x_BCHW = self.norm(convolve(self.conv, x_BCHW) if trains_on_cpu else self.conv(x_BCHW))
        return shuffle(x_BCHW, self.shuffle) if self.shuffle > 1 else x_BCHW


def convolve(conv: nn.Conv2d, x_BCHW: Tensor) -> Tensor:
    """conv(x) without bias, in the form with the cheapest backward on a CPU; factors are those of torch 2.13."""
    B, C, H, W = x_BCHW.shape
    (kernel, _), stride, weight = conv.kernel_size, conv.stride, conv.weight
    if kernel == 1 and conv.groups == 1 and H * W <= SMALL_MAP:  # a matrix product: up to 2.4 times as fast
        return F.linear(x_BCHW.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)
    if kernel == 1 or conv.groups < C:
        return F.conv2d(x_BCHW, weight, None, stride, conv.padding, groups=conv.groups)
    times = conv.out_channels // C
    if times > 1 and stride == (1, 1):  # channels repeated first, then plainly depthwise: 1.4 to 2.8 times as fast
        x_BHWCt = x_BCHW.permute(0, 2, 3, 1)[..., None].expand(B, H, W, C, times)
        x_BCHW, C = x_BHWCt.reshape(B, H, W, C * times).permute(0, 3, 1, 2), C * times
    if min(H, W) >= kernel:
        return F.conv2d(x_BCHW, weight, None, stride, conv.padding, groups=C)
    p = kernel // 2  # a kernel wider than its map: without room for it the backward takes 3 to 5 times as long
    return F.conv2d(F.pad(x_BCHW, (p, p, p, p)), weight, None, stride, groups=C)


def shuffle(x_BCHW: Tensor, groups: int) -> Tensor:
    """Channels of all groups interleaved (arXiv:1707.01083), as views that every exporter knows."""
    B, C, H, W = x_BCHW.shape
    return x_BCHW.reshape(B, groups, C // groups, H, W).transpose(1, 2).reshape(B, C, H, W)


def depthwise(inp: int, out: int, kernel: int, stride: int, groups: int) -> ConvNorm:
    """Depthwise convolution that may multiply channels; shuffled so that the grouped 1x1 behind it sees all inputs."""
    shuffle = inp if groups > 1 and out > inp else 1
    return ConvNorm(inp, out, kernel, stride, groups=inp, shuffle=shuffle)


class Stem(nn.Module):
    """3x3 stride 2, BatchNorm, ReLU6."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.conv = ConvNorm(3, out, 3, 2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu6(self.conv(x_BCHW))


class LiteBottleneck(nn.Module):
    """Depthwise in -> exp, ReLU6, 1x1 -> out, with a skip where shapes allow."""

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
    """Stride 1: 1x1 -> act -> depthwise -> act -> 1x1, with a skip where widths are equal."""

    def __init__(self, row: BlockConfig, inp: int, groups: int, dyrelu: DyReLUConfig, token_dim: int) -> None:
        super().__init__()
        self.drop_path = 0.0
        self.skip = inp == row.out
        self.expand = ConvNorm(inp, row.exp, groups=groups, shuffle=groups)
        self.act1 = activation(dyrelu, "first", row.exp, token_dim)
        self.depthwise = ConvNorm(row.exp, row.exp, row.kernel, groups=row.exp)
        self.act2 = activation(dyrelu, "second", row.exp, token_dim)
        self.project = ConvNorm(row.exp, row.out, groups=groups, shuffle=groups)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None, mix_BMHW: Tensor | None) -> Tensor:
        y_BCHW: Tensor = self.act1(self.expand(x_BCHW), z_BMD, mix_BMHW)
        y_BCHW = self.act2(self.depthwise(y_BCHW), z_BMD, mix_BMHW)
        y_BCHW = self.project(y_BCHW)
        return x_BCHW + dropped(y_BCHW, self.drop_path, self.training) if self.skip else y_BCHW


class MobileDown(nn.Module):
    """Stride 2: depthwise in -> exp -> act -> 1x1 -> out, then depthwise out -> tail * out -> act -> 1x1 -> out."""

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
