"""MobileNetV3-Large 1.0, the reference network: every latency is a ratio to its time.

It is written out here so that no release of another package can change it.
Shapes: B images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

REFERENCE_VERSION = "mobilenet_v3_large-1.0-224"
REFERENCE_RESOLUTION = 224

# Table 1 of arXiv:1905.02244
# kernel, exp, out, squeeze-excite, h-swish, stride
MOBILENET_V3_LARGE: tuple[tuple[int, int, int, bool, bool, int], ...] = (
    (3,  16,  16, False, False, 1),
    (3,  64,  24, False, False, 2),
    (3,  72,  24, False, False, 1),
    (5,  72,  40, True,  False, 2),
    (5, 120,  40, True,  False, 1),
    (5, 120,  40, True,  False, 1),
    (3, 240,  80, False, True,  2),
    (3, 200,  80, False, True,  1),
    (3, 184,  80, False, True,  1),
    (3, 184,  80, False, True,  1),
    (3, 480, 112, True,  True,  1),
    (3, 672, 112, True,  True,  1),
    (5, 672, 160, True,  True,  2),
    (5, 960, 160, True,  True,  1),
    (5, 960, 160, True,  True,  1),
)  # fmt: skip


def mobilenet_v3_large(classes: int = 1000) -> nn.Sequential:
    """Return MobileNetV3-Large 1.0 with fresh weights: images [B, 3, H, W] to logits [B, classes].

    With 1000 classes it has 5,483,032 parameters, and 216,589,760 multiply-adds at 224 px in convolutions and linears.
    """
    if classes < 1:
        raise ValueError(f"classes must be at least 1, got {classes}")
    layers: list[nn.Module] = [_conv_norm(3, 16, kernel=3, stride=2), nn.Hardswish()]
    width = 16
    for kernel, exp, out, squeeze, hswish, stride in MOBILENET_V3_LARGE:
        layers.append(_Block(width, exp, out, kernel=kernel, stride=stride, squeeze=squeeze, hswish=hswish))
        width = out
    layers += [_conv_norm(160, 960, kernel=1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [nn.Linear(960, 1280), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1280, classes)]
    return nn.Sequential(*layers)


def _conv_norm(channels: int, out: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out, eps=1e-3, momentum=0.01))


class _SqueezeExcite(nn.Module):
    """Scales each channel by a gate in 0..1, learned from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels / 4
        squeezed = max(8, int(quarter + 4) // 8 * 8)  # the nearest multiple of 8, but at least nine tenths
        squeezed += 8 if squeezed < 0.9 * quarter else 0
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mean_BC11 = x_BCHW.mean((2, 3), keepdim=True)
        gate_BC11 = nn.functional.hardsigmoid(self.expand(torch.relu(self.reduce(mean_BC11))))
        return x_BCHW * gate_BC11


class _Block(nn.Module):
    """Expand, depthwise, squeeze-excite, project; with a shortcut if input and output have the same shape."""

    def __init__(
        self, channels: int, exp: int, out: int, *, kernel: int, stride: int, squeeze: bool, hswish: bool
    ) -> None:
        super().__init__()
        act = nn.Hardswish if hswish else nn.ReLU
        layers: list[nn.Module] = []
        if exp != channels:
            layers += [_conv_norm(channels, exp, kernel=1), act()]
        layers += [_conv_norm(exp, exp, kernel=kernel, stride=stride, groups=exp), act()]
        if squeeze:
            layers.append(_SqueezeExcite(exp))
        layers.append(_conv_norm(exp, out, kernel=1))
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and channels == out

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out_BCHW: Tensor = self.layers(x_BCHW)
        return x_BCHW + out_BCHW if self.shortcut else out_BCHW
