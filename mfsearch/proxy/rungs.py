"""How long the networks of a search are trained, in multiples of the short training. Free of numpy."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

# How a point of a curve is read, more is better; losses as the geometric mean of the right class's probability.
READINGS: dict[str, Callable[[Row], float]] = {
    "val_loss": lambda log: math.exp(-log["val_loss"]),
    "loss": lambda log: math.exp(-log["loss"]),
    "top1": lambda log: float(log["top1"]),
}


@dataclass(frozen=True)
class Rungs:
    """How long networks are trained, in multiples of the recipe's epochs.

    factors: rising, the first is 1. keep: of those with k results at a rung, k / keep go on to the next. finalists: at
    the end that many, and all of the front, are trained at the last rung, `seeds` times each with seeds of their own.
    rank_by: what networks are compared by, one of READINGS; the front is drawn with top1 whatever it says.
    """

    factors: tuple[float, ...] = (1.0, 3.0, 9.0)
    keep: float = 3.0
    finalists: int = 5
    seeds: int = 2
    rank_by: str = "val_loss"

    def __post_init__(self) -> None:
        factors = tuple(float(factor) for factor in self.factors)
        object.__setattr__(self, "factors", factors)
        if not factors or factors[0] != 1 or not all(a < b for a, b in itertools.pairwise(factors)):
            raise ValueError(f"rungs must begin with 1 and rise, like 1,3,9, got {','.join(f'{f:g}' for f in factors)}")
        if factors[-1] > 1000:
            raise ValueError(f"rungs must be at most 1000 short trainings long, got {factors[-1]:g}")
        if not self.keep > 1:
            raise ValueError(f"rungs keep one in more than 1, got {self.keep:g}")
        if not 0 <= self.finalists <= 100:
            raise ValueError(f"finalists must be 0 to 100, got {self.finalists}")
        if not 1 <= self.seeds <= 10:
            raise ValueError(f"finalists are trained with 1 to 10 seeds, got {self.seeds}")
        if self.rank_by not in READINGS:
            raise ValueError(f"networks are ranked by {', '.join(READINGS)}, got {self.rank_by!r}")

    @property
    def last(self) -> int:
        return len(self.factors) - 1

    def short_trainings(self, networks: int) -> float:
        """How long the trainings of a search take in all, in short trainings, where none is stopped half way."""
        total, left = float(networks), float(networks)
        for before, factor in itertools.pairwise(self.factors[:-1]):
            left /= self.keep
            total += left * (factor - before)
        if self.last:
            places = min(self.finalists, math.ceil(networks / self.keep))
            total += places * (self.seeds * self.factors[-1] - self.factors[-2])
        return total

    def as_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "factors": list(self.factors)}
