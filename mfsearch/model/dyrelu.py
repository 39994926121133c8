"""DyReLU: max_k(a_k x + b_k) with coefficients from tokens or pooled features (arXiv:2003.10027, arXiv:2108.05895).

Shapes: B images, C channels, H x W positions, M tokens, D token width, K slopes.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import DyReLUConfig
from mfsearch.model import cpu

INTERCEPT_SCALE = 0.5  # lambda_b of arXiv:2003.10027, section 3.2; lambda_a is 1


class Static(nn.Module):
    """ReLU or h-swish, called like DyReLU."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.act: nn.Module = nn.Hardswish() if source == "hswish" else nn.ReLU()

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None, mix_BMHW: Tensor | None) -> Tensor:
        return self.act(x_BCHW)  # type: ignore[no-any-return]


class DyReLU(nn.Module):
    """max_k(a_k x + b_k) per channel. Training starts near a = (1, 0, ...), b = 0, which is ReLU.

    theta = Linear(width, width / reduction) -> ReLU -> Linear(-> coefficients * C), clamped to [-1, 1]; a is
    theta + (1, 0, ...). `width` is the token dim, or C if the source is `pooled`.
    """

    def __init__(self, config: DyReLUConfig, channels: int, width: int) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        hidden = config.hidden(width)
        self.squeeze = nn.Linear(width, hidden)
        self.expand = nn.Linear(hidden, config.coefficients * channels)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None, mix_BMHW: Tensor | None) -> Tensor:
        K = self.config.slopes
        theta = self._offsets(x_BCHW, z_BMD, mix_BMHW).unbind(1)
        slopes = [theta[0] + 1, *theta[1:K]]
        return self._largest_line(x_BCHW, slopes, [INTERCEPT_SCALE * b for b in theta[K:]])

    @cpu.in_training(cpu.largest_line)
    def _largest_line(self, x: Tensor, a: list[Tensor], b: list[Tensor]) -> Tensor:
        if not b:
            return functools.reduce(torch.maximum, [slope * x for slope in a])
        # max(a0 x + b0, a1 x + b1) = a1 x + b1 + relu((a0 - a1) x + (b0 - b1)): up to 2.6 times as fast to train
        y = a[1] * x + b[1] + F.relu((a[0] - a[1]) * x + (b[0] - b[1]))
        return torch.maximum(y, a[2] * x + b[2]) if len(a) == 3 else y

    def _offsets(self, x: Tensor, z: Tensor | None, mix: Tensor | None) -> Tensor:
        """theta as [B, coefficients, C, 1, 1], or [B, coefficients, C, H, W] if each position mixes the tokens."""
        N, C = self.config.coefficients, self.channels
        if self.config.source != "spatial":
            return self.theta(self._source(x, z)).view(-1, N, C, 1, 1)
        assert z is not None
        assert mix is not None
        theta_BRM = self.theta(z).transpose(1, 2)
        return (theta_BRM @ mix.flatten(2)).view(-1, N, C, *mix.shape[2:])

    def _source(self, x: Tensor, z: Tensor | None) -> Tensor:
        """The input [B, width] of the coefficients."""
        if self.config.source == "pooled":
            return F.adaptive_avg_pool2d(x, 1).flatten(1)
        assert z is not None
        return z[:, 0] if self.config.source == "first_token" else z.mean(1)

    def theta(self, source: Tensor) -> Tensor:
        """2 hard_sigmoid(t) - 1 of the two linear layers: [..., coefficients * C]."""
        return F.hardtanh(self.expand(F.relu(self.squeeze(source))) / 3)  # clamp's backward is three times as slow


class StaticSlopes(DyReLU):
    """The same maximum with learned coefficients that no image changes: what DyReLU computes from constant tokens."""

    def __init__(self, config: DyReLUConfig, channels: int) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.channels = channels
        self.coefficients = nn.Parameter(torch.empty(config.coefficients * channels))  # one axis: no weight decay

    def _offsets(self, x: Tensor, z: Tensor | None, mix: Tensor | None) -> Tensor:
        return F.hardtanh(self.coefficients / 3).view(1, -1, self.channels, 1, 1)


def activation(config: DyReLUConfig, which: str, channels: int, token_dim: int) -> Static | DyReLU:
    """The `first` or `second` activation of a block, over `channels`."""
    source = config.at(which)
    if source in ("none", "hswish"):
        return Static(source)
    if source == "static":
        return StaticSlopes(config, channels)
    return DyReLU(config, channels, channels if source == "pooled" else token_dim)
