"""The lengths of training in a search, in multiples of the short training; 0 is the network as it was cut."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mfsearch.proxy.curve import SCORES

INSIDE_FACTORS = (0.0, 1.0, 4.0)  # the default of a search inside a parent
CUT = "cut, no training"  # the length of a network at rung 0 of such a search


@dataclass(frozen=True)
class Rungs:
    """The lengths of training, and the rules that promote networks.

    factors: rising, the first is 1; inside a parent a 0 may come before it, for networks as they are cut. keep: of k
    networks with a result at a rung, k / keep are promoted. finalists: at the end this many networks, and all of the
    front, train to the last rung, `seeds` times each. rank_by: the score that ranks networks, one of SCORES; the front
    is always by top1.
    """

    factors: tuple[float, ...] = (1.0, 3.0, 9.0)
    keep: float = 3.0
    finalists: int = 5
    seeds: int = 2
    rank_by: str = "val_loss"

    def __post_init__(self) -> None:
        factors = tuple(float(factor) for factor in self.factors)
        object.__setattr__(self, "factors", factors)
        trained = factors[1:] if factors[:1] == (0,) else factors
        if not trained or trained[0] != 1 or not all(a < b for a, b in itertools.pairwise(factors)):
            raise ValueError(
                f"rungs must begin with 1 and rise, like 1,3,9, got {','.join(f'{f:g}' for f in factors)} "
                "(inside a parent a 0 may come first, like 0,1,4)"
            )
        if factors[-1] > 1000:
            raise ValueError(f"rungs must be at most 1000 short trainings, got {factors[-1]:g}")
        if not self.keep > 1:
            raise ValueError(f"rungs.keep (keep one in ...) must be above 1, got {self.keep:g}")
        if not 0 <= self.finalists <= 100:
            raise ValueError(f"finalists must be 0 to 100, got {self.finalists}")
        if not 1 <= self.seeds <= 10:
            raise ValueError(f"seeds of a finalist must be 1 to 10, got {self.seeds}")
        if self.rank_by not in SCORES:
            raise ValueError(f"rank_by must be one of {', '.join(SCORES)}, got {self.rank_by!r:.200}")
        if self.starts_cut and self.rank_by == "loss":
            raise ValueError("rank_by must be val_loss or top1 with rungs from 0: a cut network has no training loss")

    @property
    def last(self) -> int:
        return len(self.factors) - 1

    @property
    def starts_cut(self) -> bool:
        """Whether networks are first ranked as they are cut from the parent, without a step."""
        return self.factors[0] == 0

    def short_trainings(self, networks: int) -> float:
        """The cost of a search of this many networks, in short trainings, if no training is stopped early."""
        total, left = networks * self.factors[0], float(networks)
        for before, factor in itertools.pairwise(self.factors[:-1]):
            left /= self.keep
            total += left * (factor - before)
        if self.last:
            places = min(self.finalists, math.ceil(networks / self.keep))
            total += places * (self.seeds * self.factors[-1] - self.factors[-2])
        return total

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Rungs":
        """The rungs that `to_dict` wrote; ValueError for any other form."""
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"rungs must have {', '.join(vars(cls()))}, got {str(values)[:200]}") from error

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "factors": list(self.factors)}


def default_rungs(*, inside: bool) -> Rungs:
    """The default lengths; inside: for a search in a parent."""
    return Rungs(INSIDE_FACTORS) if inside else Rungs()
