"""Stochastic depth (arXiv:1603.09382): while training, the branch of a residual is left out for some images."""

from torch import Tensor


def dropped(branch: Tensor, rate: float, training: bool) -> Tensor:
    """While training: `branch` [B, ...] with whole images set to 0 at `rate`, the others scaled by 1 / (1 - rate)."""
    if rate == 0 or not training:
        return branch
    shape = (branch.shape[0], *[1] * (branch.ndim - 1))
    return branch * branch.new_empty(shape).bernoulli_(1 - rate).div_(1 - rate)
