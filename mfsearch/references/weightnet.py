"""ShuffleNetV2 with convolutions predicted from the image: WeightNet (arXiv:2007.11823), at four times the weights.

Written from the paper and its release (megvii-model/WeightNet), whose widths are slightly below those of ShuffleNetV2.
One image at a time, as deployed: each image has convolution weights of its own.
Shapes: B images (1), C channels, H height, W width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

SHUFFLE_WIDTHS = {"1.0": (112, 224, 448), "1.5": (176, 352, 704), "2.0": (248, 496, 992)}
TIMES = 4  # M / G: weights of a prediction per weight of the convolution
# G, groups of a prediction per output. The release has 2; the printed 9.6 M parameters of 1.5 are those of 1
GROUPS = {"1.0": 2, "1.5": 1, "2.0": 2}
REPEATS = (4, 8, 4)
STEM, LAST = 24, 1024


def weightnet(size: str, classes: int = 1000) -> nn.Sequential:
    """ShuffleNetV2 1.0, 1.5 or 2.0 with predicted weights: images [B, 3, H, W] to logits [B, classes].

    Each image has its own weights, so a batch is a convolution with B times as many groups.
    """
    layers: list[nn.Module] = [nn.Conv2d(3, STEM, 3, 2, 1), nn.BatchNorm2d(STEM), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    width, groups = STEM, GROUPS[size]
    for out, repeats in zip(SHUFFLE_WIDTHS[size], REPEATS, strict=True):
        layers += [_DownBlock(width, out, groups), *(_ShuffleBlock(out, groups) for _ in range(repeats - 1))]
        width = out
    layers += [nn.Conv2d(width, LAST, 1), nn.BatchNorm2d(LAST), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(LAST, classes))


class _PredictedConv(nn.Module):
    """A convolution and its BatchNorm; the weights are two small layers' output for the image's mean."""

    def __init__(
        self,
        channels: int,
        out: int,
        mean: int,
        groups: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        inputs = 1 if depthwise else channels
        groups = out if depthwise else groups * out
        hidden = groups * TIMES
        self.attend = nn.Conv2d(mean, hidden, 1)
        self.predict = nn.Conv2d(hidden, out * inputs * kernel**2, 1, groups=groups, bias=False)
        # A predicted weight is first about half the sum of four of these; larger ones saturate the sigmoids.
        nn.init.normal_(self.predict.weight, std=1 / math.sqrt(inputs * kernel**2))
        self.norm = nn.BatchNorm2d(out)
        self.shape = (out, inputs, kernel, kernel)
        self.stride, self.groups = stride, out if depthwise else 1

    def forward(self, x_BCHW: Tensor, mean_BC11: Tensor) -> Tensor:
        batch, _, height, width = x_BCHW.shape
        weight = self.predict(torch.sigmoid(self.attend(mean_BC11))).reshape(batch * self.shape[0], *self.shape[1:])
        if batch > 1:
            x_BCHW = x_BCHW.reshape(1, -1, height, width)
        y_BCHW = conv2d(x_BCHW, weight, None, self.stride, self.shape[2] // 2, 1, batch * self.groups)
        if batch > 1:
            y_BCHW = y_BCHW.reshape(batch, self.shape[0], *y_BCHW.shape[2:])
        out_BCHW: Tensor = self.norm(y_BCHW)
        return out_BCHW


class _Branch(nn.Module):
    """Convolve, depthwise, convolve; with the reduced mean that all three read."""

    def __init__(self, channels: int, out: int, hidden: int, groups: int, stride: int) -> None:
        super().__init__()
        mean = max(16, channels // 16)
        self.reduce = nn.Conv2d(channels, mean, 1)
        self.first = _PredictedConv(channels, hidden, mean, groups)
        self.depthwise = _PredictedConv(hidden, hidden, mean, groups, kernel=3, stride=stride, depthwise=True)
        self.last = _PredictedConv(hidden, out, mean, groups)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        mean_BC11 = self.reduce(x_BCHW.mean((2, 3), keepdim=True))
        hidden_BCHW = self.depthwise(torch.relu(self.first(x_BCHW, mean_BC11)), mean_BC11)
        return torch.relu(self.last(hidden_BCHW, mean_BC11)), mean_BC11


class _ShuffleBlock(nn.Module):
    """Every other channel goes through the branch, the rest is kept."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.branch = _Branch(channels // 2, channels // 2, channels // 2, groups, stride=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        batch, channels, height, width = x_BCHW.shape
        pairs = x_BCHW.reshape(batch, channels // 2, 2, height, width)
        out_BCHW, _ = self.branch(pairs[:, :, 1])
        return torch.cat([pairs[:, :, 0], out_BCHW], 1)


class _DownBlock(nn.Module):
    """Halves the sides: a branch, and beside it a depthwise and a 1x1 convolution of the input."""

    def __init__(self, channels: int, out: int, groups: int) -> None:
        super().__init__()
        mean = max(16, channels // 16)
        self.branch = _Branch(channels, out - channels, out // 2, groups, stride=2)
        self.depthwise = _PredictedConv(channels, channels, mean, groups, kernel=3, stride=2, depthwise=True)
        self.project = _PredictedConv(channels, channels, mean, groups)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out_BCHW, mean_BC11 = self.branch(x_BCHW)
        beside_BCHW = self.project(self.depthwise(x_BCHW, mean_BC11), mean_BC11)
        return torch.cat([torch.relu(beside_BCHW), out_BCHW], 1)
