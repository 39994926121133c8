"""What a short training reports on its way, and how a point of it is read as a score. Free of torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochLog:
    """One point of a training's curve.

    epoch: passes over the samples so far. loss: mean training loss since the point before. top1 and val_loss: of the
    averaged weights on the validation split, a fraction and the mean cross-entropy; val_loss is NaN in studies from
    before it was kept. seconds: of training until here.
    """

    epoch: float
    loss: float
    top1: float
    val_loss: float
    seconds: float

    @classmethod
    def from_dict(cls, point: Mapping[str, Any]) -> "EpochLog":
        """The point that `to_dict` wrote; ValueError where a figure is missing or no number."""
        try:
            val_loss = point.get("val_loss")
            return cls(
                float(point["epoch"]),
                float(point["loss"]),
                float(point["top1"]),
                math.nan if val_loss is None else float(val_loss),
                float(point["seconds"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError(
                f"a point of a curve needs epoch, loss, top1 and seconds, got {str(point)[:200]}"
            ) from None

    def to_dict(self) -> dict[str, float]:
        """The point as JSON takes it."""
        return {name: value for name, value in vars(self).items() if name != "val_loss" or not math.isnan(value)}


# How a point is read as a score, more is better; losses as the geometric mean of the right class's probability.
SCORES: dict[str, Callable[[EpochLog], float]] = {
    "val_loss": lambda log: math.exp(-log.val_loss),
    "loss": lambda log: math.exp(-log.loss),
    "top1": lambda log: log.top1,
}
