"""The expected growth of the area under the front, with one objective known exactly."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mfsearch.pareto import pareto_mask

Array = NDArray[np.float64]


def expected_improvement(mean: Array, spread: Array, level: Array) -> Array:
    """E max(0, y - level) for y ~ N(mean, spread^2), spread > 0."""
    z = (mean - level) / spread
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    result: Array = spread * (z * ndtr(z) + density)
    return np.maximum(result, 0.0)


def expected_area(cost: Array, mean: Array, spread: Array, front: Array, reference: tuple[float, float]) -> Array:
    """Expected growth of the area under the front [M], for candidates of known cost [M] and top1 ~ N(mean, spread^2).

    front: [F, 2] of (cost, top1) of all evaluated networks; cost is minimised, top1 maximised. reference: the cost at
    which the area ends and the top1 from which it counts. A candidate covers the costs from its own to the reference;
    over each step of the front in that range it gains its height above the step. Its expected gain is therefore the
    sum of step lengths times expected improvements over the steps.
    """
    end, floor = reference
    above = front[front[:, 1] > floor]
    steps = np.unique(above[pareto_mask(above * [1.0, -1.0])], axis=0)  # by rising cost, hence rising top1
    starts, levels = np.append(-math.inf, steps[:, 0]), np.append(floor, steps[:, 1])
    ends = np.minimum(np.append(steps[:, 0], math.inf), end)
    lengths = np.maximum(ends[None, :] - np.maximum(starts[None, :], cost[:, None]), 0.0)  # [M, steps]
    gains = expected_improvement(mean[:, None], spread[:, None], levels[None, :])
    result: Array = (lengths * gains).sum(1)
    return result
