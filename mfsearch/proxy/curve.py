"""The learning curve of a short training, and the scores read from its points. Free of torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochLog:
    """One point of a training's curve.

    epoch: passes over the samples so far. loss: mean training loss since the last point, NaN before the first step.
    top1 (a fraction) and val_loss (mean cross-entropy) are of the averaged weights on the validation split; val_loss is
    NaN in studies that are older than the field. seconds: training time so far.
    """

    epoch: float
    loss: float
    top1: float
    val_loss: float
    seconds: float

    @classmethod
    def from_dict(cls, point: Mapping[str, Any]) -> "EpochLog":
        """The point that `to_dict` wrote; ValueError if a figure is missing or not a number."""
        try:
            val_loss, epoch = point.get("val_loss"), float(point["epoch"])
            return cls(
                epoch,
                float(point["loss"]) if epoch else math.nan,
                float(point["top1"]),
                math.nan if val_loss is None else float(val_loss),
                float(point["seconds"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError(
                f"a point of a curve must have numbers for epoch, loss, top1 and seconds, got {str(point)[:200]}"
            ) from None

    def to_dict(self) -> dict[str, float]:
        """The point, ready for JSON."""
        return {name: value for name, value in vars(self).items() if "loss" not in name or not math.isnan(value)}


# Scores of a point, more is better. A loss becomes the geometric mean of the right class's probability.
SCORES: dict[str, Callable[[EpochLog], float]] = {
    "val_loss": lambda log: math.exp(-log.val_loss),
    "loss": lambda log: math.exp(-log.loss),
    "top1": lambda log: log.top1,
}
