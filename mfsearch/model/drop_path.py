"""Stochastic depth (arXiv:1603.09382): training skips a residual branch for some of the images."""

from torch import Tensor


def dropped(branch: Tensor, rate: float, training: bool) -> Tensor:
    """In training, sets images of `branch` [B, ...] to 0 at `rate` and scales the others by 1 / (1 - rate)."""
    if rate == 0 or not training:
        return branch
    shape = (branch.shape[0], *[1] * (branch.ndim - 1))
    return branch * branch.new_empty(shape).bernoulli_(1 - rate).div_(1 - rate)
