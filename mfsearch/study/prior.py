"""What the tables that come with mfsearch say of a network that was never trained: a ridge regression on what is built.

All columns but one are relative to the network's size, so that what was learned at one budget ranks at others
(docs/tables.md).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_costs

if TYPE_CHECKING:
    from mfsearch.study.table_file import Table

STRIDES = (4, 8, 16, 32)
COLUMNS = ("stem", *(f"width_{stride}" for stride in STRIDES), "head", "params", "madds", "to_former")
RESOLUTION, CLASSES = 224, 1000  # that costs are counted for, whatever the deployment
LEARNED_FROM = ("cifar10-30M", "cifar10-50M")  # tables that ship; others under results/tables/ are their maker's
PENALTY = 10.0  # of the ridge, for columns and values of unit spread


def widths_by_stride(config: MobileFormerConfig) -> dict[int, int]:
    """The last width at each of STRIDES."""
    side, at = 2 * config.lite.stride, dict.fromkeys(STRIDES, config.lite.out)
    for row in config.blocks:
        side *= row.stride
        at |= {stride: row.out for stride in STRIDES if stride >= side}
    return at


def prior_columns(config: MobileFormerConfig) -> list[float]:
    """COLUMNS: logarithms of widths over the square root of the multiply-adds, of parameters over multiply-adds, and of
    the multiply-adds; the number of Mobile->Former bridges in blocks."""
    costs = count_costs(dataclasses.replace(config, resolution=RESOLUTION, classes=CLASSES))
    widths = (config.stem, *widths_by_stride(config).values(), config.head.hidden)
    return [
        *(math.log(width / math.sqrt(costs.madds)) for width in widths),
        math.log(costs.num_params / costs.madds),
        math.log(costs.madds),
        float(sum(row.to_former for row in config.blocks)),
    ]


@dataclass(frozen=True)
class Prior:
    """A linear score of what is built, more is better, in no unit. tables: that it was learned from. weights: by the
    name of a column; they stand in a study's manifest, so that a resumed study has the prior it began with."""

    tables: tuple[str, ...]
    weights: dict[str, float]

    def __post_init__(self) -> None:
        if set(self.weights) != set(COLUMNS) or not all(map(math.isfinite, self.weights.values())):
            raise ValueError(f"weights must be a number for each of {', '.join(COLUMNS)}, got {self.weights!s:.200}")

    def score(self, config: MobileFormerConfig) -> float:
        columns = prior_columns(config)
        return sum(self.weights[name] * column for name, column in zip(COLUMNS, columns, strict=True))


def fit_prior(tables: "Sequence[Table]") -> Prior:
    """The prior of some tables: each has its own mean and unit spread, because recipes and budgets differ."""
    x, y = [], []
    for table in tables:
        columns = np.array([prior_columns(row.config) for row in table.rows])
        scores = np.array([row.score for row in table.rows])
        x.append(columns - columns.mean(0))
        y.append((scores - scores.mean()) / scores.std())
    x_ND, y_N = np.concatenate(x), np.concatenate(y)
    scale_D = np.maximum(x_ND.std(0), 1e-9)
    z_ND = x_ND / scale_D
    weights_D = np.linalg.solve(z_ND.T @ z_ND + PENALTY * np.eye(len(COLUMNS)), z_ND.T @ y_N) / scale_D
    return Prior(tuple(table.name for table in tables), dict(zip(COLUMNS, weights_D.tolist(), strict=True)))


def without_outliers(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values [N] with a floor: a training that diverged must not stretch the scale of the others."""
    low, middle, high = np.quantile(y, [0.25, 0.5, 0.75])
    floored: NDArray[np.float64] = np.maximum(y, middle - 3.0 * max(high - low, 1e-3))
    return floored


def prior_slope(known: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The slope of values y [N] over what a prior says [N]; 0 unless it is positive and predicts each value from the
    others better than their mean does."""
    x, n = known - known.mean(), len(y)
    total = float(x @ x)
    if total < 1e-12:
        return 0.0
    rest = y - y.mean()
    slope = float(x @ rest) / total
    own = 1 - 1 / n - x * x / total
    if own.min() < 1e-6:  # one value decides the slope alone, so it cannot be left out
        return 0.0
    left_out = (rest - slope * x) / own
    return slope if slope > 0 and left_out @ left_out < rest @ rest / (1 - 1 / n) ** 2 else 0.0
