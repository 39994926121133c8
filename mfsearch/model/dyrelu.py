"""DyReLU, max_k(a_k x + b_k), coefficients from tokens or pooled features (arXiv:2003.10027, arXiv:2108.05895).

Shapes: B images, C channels, H x W positions, M tokens, D token width, K slopes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
        K, spatial = self.config.slopes, self.config.source == "spatial"
        on_cpu = x_BCHW.device.type == "cpu"  # where it was measured
        if self.training and on_cpu and K == 2 and not self.config.intercepts and not spatial:
            theta_BR = self.theta(self._source(x_BCHW, z_BMD)).to(x_BCHW.dtype)
            return _LargerOfTwo.apply(x_BCHW, theta_BR)  # type: ignore[no-any-return, no-untyped-call]
        offsets = self._offsets(x_BCHW, z_BMD, mix_BMHW)
        slopes = list(offsets[:, :K].unbind(1))
        slopes[0] = slopes[0] + 1
        if self.config.intercepts:
            intercepts = [b * INTERCEPT_SCALE for b in offsets[:, K:].unbind(1)]
            return self._with_intercepts(x_BCHW, slopes, intercepts)
        y = torch.maximum(slopes[0] * x_BCHW, slopes[1] * x_BCHW)
        return torch.maximum(y, slopes[2] * x_BCHW) if K == 3 else y

    def _with_intercepts(self, x: Tensor, a: list[Tensor], b: list[Tensor]) -> Tensor:
        # max(a0 x + b0, a1 x + b1) = a1 x + b1 + relu((a0 - a1) x + (b0 - b1))
        y = a[1] * x + b[1] + F.relu((a[0] - a[1]) * x + (b[0] - b[1]))
        return torch.maximum(y, a[2] * x + b[2]) if len(a) == 3 else y

    def _offsets(self, x: Tensor, z: Tensor | None, mix: Tensor | None) -> Tensor:
        """[B, coefficients, C, 1, 1], or [B, coefficients, C, H, W] where tokens are mixed per pixel."""
        N, C = self.config.coefficients, self.channels
        if self.config.source != "spatial":
            return self.theta(self._source(x, z)).view(-1, N, C, 1, 1)
        assert z is not None
        assert mix is not None
        theta_BRM = self.theta(z).transpose(1, 2)
        return (theta_BRM @ mix.flatten(2)).view(-1, N, C, *mix.shape[2:])

    def _source(self, x: Tensor, z: Tensor | None) -> Tensor:
        """The vector [B, width] that an image's coefficients come from."""
        if self.config.source == "pooled":
            return F.adaptive_avg_pool2d(x, 1).flatten(1)
        assert z is not None
        return z[:, 0] if self.config.source == "first_token" else z.mean(1)

    def theta(self, source: Tensor) -> Tensor:
        """The coefficients [..., coefficients * C] that a source vector asks for, as 2 hard_sigmoid(t) - 1."""
        return F.hardtanh(self.expand(F.relu(self.squeeze(source))) / 3)  # clamp's backward costs three times as much


class _LargerOfTwo(torch.autograd.Function):
    """max(a x, b x) with a = 1 + theta[:, :C] and b = theta[:, C:], by fewer passes and with less kept than autograd.

    It is n x + |a - b| relu(x), n the smaller slope. Along the larger slope the derivative is the sum of g x where x is
    above 0, along the smaller one where it is not; where x is 0 or the slopes are equal, one of the possible ones.
    """

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, theta_BR: Tensor) -> Tensor:
        a, b = _two_slopes(theta_BR)
        ctx.save_for_backward(x_BCHW, theta_BR)
        return x_BCHW.clamp_min(0).mul_((a - b).abs_()).addcmul_(x_BCHW, torch.minimum(a, b))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        x_BCHW, theta_BR = ctx.saved_tensors
        a, b = _two_slopes(theta_BR)
        above_BCHW = torch.ops.aten.threshold_backward(g_BCHW, x_BCHW, 0)  # g where x > 0
        larger_BC = (above_BCHW * x_BCHW).sum((2, 3))
        smaller_BC = (g_BCHW * x_BCHW).sum((2, 3)) - larger_BC
        first = (a >= b).flatten(1)
        theta_grad = torch.cat(
            [torch.where(first, larger_BC, smaller_BC), torch.where(first, smaller_BC, larger_BC)], dim=1
        )
        return above_BCHW.mul_((a - b).abs_()).addcmul_(g_BCHW, torch.minimum(a, b)), theta_grad


def _two_slopes(theta_BR: Tensor) -> tuple[Tensor, Tensor]:
    a_BC, b_BC = theta_BR.chunk(2, 1)
    return (a_BC + 1)[..., None, None], b_BC[..., None, None]


def activation(config: DyReLUConfig, which: str, channels: int, token_dim: int) -> Static | DyReLU:
    """The block's `first` or `second` activation over `channels`."""
    source = config.at(which)
    if source in ("none", "hswish"):
        return Static(source)
    return DyReLU(config, channels, channels if source == "pooled" else token_dim)
