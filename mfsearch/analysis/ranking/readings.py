"""How a calibration reads the curve of a short training."""

import math
from collections.abc import Callable, Sequence

from mfsearch.proxy.curve import EpochLog

TARGETS = {"band": 0.45, "across": 0.75}  # Kendall's tau that a proxy should reach, by group of networks


def at_epochs(curve: Sequence[EpochLog], epochs: float) -> EpochLog:
    """The nearest point of a curve. Points fall on whole steps, so in a very short training two may coincide."""
    return min(curve, key=lambda log: abs(log.epoch - epochs))


def _mean_loss(curve: Sequence[EpochLog], epochs: float) -> float:
    """Mean training loss since the first step (TSE of arXiv:2006.04492)."""
    end = at_epochs(curve, epochs).epoch
    before, total = 0.0, 0.0
    for log in curve:
        if 0 < log.epoch <= end:
            total += log.loss * (log.epoch - before)
            before = log.epoch
    return total / before if before else math.nan


# How a curve is read at a number of epochs; more is better.
CURVE_READINGS: dict[str, Callable[[Sequence[EpochLog], float], float]] = {
    "top1": lambda curve, epochs: at_epochs(curve, epochs).top1,
    "val_loss": lambda curve, epochs: -at_epochs(curve, epochs).val_loss,
    "loss": lambda curve, epochs: -at_epochs(curve, epochs).loss,
    "mean_loss": lambda curve, epochs: -_mean_loss(curve, epochs),
}
