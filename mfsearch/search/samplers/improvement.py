"""How much a network may be worth: expected growth of the area under the front, where one objective is known."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def expected_improvement(mean: Array, spread: Array, level: Array) -> Array:
    """E max(0, y - level) for y ~ N(mean, spread^2), spread > 0."""
    z = (mean - level) / spread
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    result: Array = spread * (z * 0.5 * (1.0 + _erf(z / math.sqrt(2.0))) + density)
    return np.maximum(result, 0.0)


def expected_area(cost: Array, mean: Array, spread: Array, front: Array, reference: tuple[float, float]) -> Array:
    """Expected growth of the area under the front [M], for candidates of known cost [M] and top1 ~ N(mean, spread^2).

    front: [F, 2] of (cost, top1) of anything evaluated: cost is minimised, top1 maximised. reference: the cost at
    which the area ends and the top1 from which it counts. A candidate covers the costs from its own to the reference;
    over each step of the front between them it gains by how much it lies above that step, so its expected gain is the
    sum of step lengths times expected improvements over the steps.
    """
    end, floor = reference
    order = np.lexsort((-front[:, 1], front[:, 0])) if len(front) else np.array([], dtype=np.intp)
    edges, levels = [-math.inf], [floor]
    for x, y in front[order].tolist():
        if y > levels[-1]:
            edges.append(x)
            levels.append(y)
    starts = np.array(edges)
    ends = np.minimum(np.array([*edges[1:], math.inf]), end)
    lengths = np.maximum(ends[None, :] - np.maximum(starts[None, :], cost[:, None]), 0.0)  # [M, steps]
    gains = expected_improvement(mean[:, None], spread[:, None], np.array(levels)[None, :])
    result: Array = (lengths * gains).sum(1)
    return result
