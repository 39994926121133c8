"""DyReLU, max_k(a_k x + b_k), coefficients from tokens or pooled features (arXiv:2003.10027, arXiv:2108.05895).

Shapes: B images, C channels, H x W positions, M tokens, D token width, K slopes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import DyReLUConfig

INTERCEPT_SCALE = 0.5  # lambda_b of arXiv:2003.10027, section 3.2; lambda_a is 1


class Static(nn.Module):
    """ReLU or h-swish with the call of a dynamic activation."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.act: nn.Module = nn.Hardswish() if source == "hswish" else nn.ReLU()

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None, mix_BMHW: Tensor | None) -> Tensor:
        return self.act(x_BCHW)  # type: ignore[no-any-return]


class DyReLU(nn.Module):
    """max_k(a_k x + b_k) per channel; at the start a = (1, 0, ...), b = 0, which is ReLU.

    theta = Linear(source, source / reduction) -> ReLU -> Linear(-> coefficients * C), read as offsets in [-1, 1] from
    (1, 0, ...). `width` is the source's: token dim, or C for `pooled`.
    """

    def __init__(self, config: DyReLUConfig, channels: int, width: int) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        hidden = config.hidden(width)
        self.squeeze = nn.Linear(width, hidden)
        self.expand = nn.Linear(hidden, config.coefficients * channels)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None, mix_BMHW: Tensor | None) -> Tensor:
        offsets = self._offsets(x_BCHW, z_BMD, mix_BMHW)
        K = self.config.slopes
        slopes = list(offsets[:, :K].unbind(1))
        slopes[0] = slopes[0] + 1
        if self.config.intercepts:
            intercepts = [b * INTERCEPT_SCALE for b in offsets[:, K:].unbind(1)]
            return self._with_intercepts(x_BCHW, slopes, intercepts)
        if K == 2 and self.training:
            # the same function in fewer passes to differentiate: n x + (p - n) relu(x), p the larger slope
            p, n = torch.maximum(*slopes), torch.minimum(*slopes)
            return n * x_BCHW + (p - n) * F.relu(x_BCHW)
        y = torch.maximum(slopes[0] * x_BCHW, slopes[1] * x_BCHW)
        return torch.maximum(y, slopes[2] * x_BCHW) if K == 3 else y

    def _with_intercepts(self, x: Tensor, a: list[Tensor], b: list[Tensor]) -> Tensor:
        # max(a0 x + b0, a1 x + b1) = a1 x + b1 + relu((a0 - a1) x + (b0 - b1))
        y = a[1] * x + b[1] + F.relu((a[0] - a[1]) * x + (b[0] - b[1]))
        return torch.maximum(y, a[2] * x + b[2]) if len(a) == 3 else y

    def _offsets(self, x: Tensor, z: Tensor | None, mix: Tensor | None) -> Tensor:
        """[B, coefficients, C, 1, 1], or [B, coefficients, C, H, W] where tokens are mixed per pixel."""
        N, C, source = self.config.coefficients, self.channels, self.config.source
        if source == "pooled":
            return self.theta(F.adaptive_avg_pool2d(x, 1).flatten(1)).view(-1, N, C, 1, 1)
        assert z is not None
        if source == "first_token":
            return self.theta(z[:, 0]).view(-1, N, C, 1, 1)
        if source == "mean_token":
            return self.theta(z.mean(1)).view(-1, N, C, 1, 1)
        assert mix is not None
        theta_BRM = self.theta(z).transpose(1, 2)
        return (theta_BRM @ mix.flatten(2)).view(-1, N, C, *mix.shape[2:])

    def theta(self, source: Tensor) -> Tensor:
        """The coefficients [..., coefficients * C] that a source vector asks for, as 2 hard_sigmoid(t) - 1."""
        return torch.clamp(self.expand(F.relu(self.squeeze(source))) / 3, -1, 1)


def activation(config: DyReLUConfig, which: str, channels: int, token_dim: int) -> Static | DyReLU:
    """The block's `first` or `second` activation over `channels`."""
    source = config.at(which)
    if source in ("none", "hswish"):
        return Static(source)
    return DyReLU(config, channels, channels if source == "pooled" else token_dim)
