"""The curve of a short training: what is written of it at each point. Free of torch, so that studies read it fast."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochLog:
    """One point of the curve. epoch: passes over the samples so far; loss: mean training loss since the previous point;
    top1 (a fraction) and val_loss (mean cross-entropy): of the averaged weights on the validation split; seconds: of
    training until here."""

    epoch: float
    loss: float
    top1: float
    val_loss: float
    seconds: float
