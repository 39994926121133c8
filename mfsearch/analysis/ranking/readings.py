"""The ways to read a short training's curve that a calibration compares."""

from collections.abc import Callable, Sequence

from mfsearch.proxy.curve import EpochLog

TARGETS = {"band": 0.45, "across": 0.75}  # Kendall's tau that a proxy should reach, by group of networks
NAMES = {
    "top1": "accuracy",
    "val_loss": "validation loss",
    "loss": "training loss",
    "mean_loss": "mean training loss",
    "mean_rank": "mean rank",
    "madds": "MAdds",
    "params": "params",
}


def at_epochs(curve: Sequence[EpochLog], epochs: float) -> EpochLog:
    """The nearest point of a curve: points fall on whole steps, so two of a very short training may be one."""
    return min(curve, key=lambda log: abs(log.epoch - epochs))


def _mean_loss(curve: Sequence[EpochLog], epochs: float) -> float:
    """Mean training loss from the first step on (TSE of arXiv:2006.04492)."""
    end = at_epochs(curve, epochs).epoch
    before, total = 0.0, 0.0
    for log in curve:
        if log.epoch <= end:
            total += log.loss * (log.epoch - before)
            before = log.epoch
    return total / before


# how to read a curve at a number of epochs; more is better
READINGS: dict[str, Callable[[Sequence[EpochLog], float], float]] = {
    "top1": lambda curve, epochs: at_epochs(curve, epochs).top1,
    "val_loss": lambda curve, epochs: -at_epochs(curve, epochs).val_loss,
    "loss": lambda curve, epochs: -at_epochs(curve, epochs).loss,
    "mean_loss": lambda curve, epochs: -_mean_loss(curve, epochs),
}
