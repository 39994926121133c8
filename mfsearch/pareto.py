"""Which points no other one beats."""

import numpy as np
from numpy.typing import NDArray


def pareto_mask(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True for the rows of `values` [N, K], minimised, that no other row dominates.

    A row dominates another if it is nowhere worse and somewhere better: of exact duplicates all are kept. A row that
    holds a NaN is never on the front and dominates nothing.
    """
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"values must be an array [N, K] with one objective or more, got shape {values.shape}")
    on_front = np.zeros(len(values), dtype=np.bool_)
    whole = ~np.isnan(values).any(axis=1)
    # Each distinct row once, in lexicographic order: none dominates an earlier one. + 0.0 turns -0.0 into 0.0.
    rows, place = np.unique(values[whole] + 0.0, axis=0, return_inverse=True)
    kept = np.zeros(len(rows), dtype=np.bool_)
    for start in range(0, len(rows), 256):  # by blocks: fast in numpy, and the table of pairs stays small
        block = rows[start : start + 256]
        rivals = np.concatenate([rows[:start][kept[:start]], block])
        nowhere_worse = np.logical_and.reduce([rivals[:, k, None] <= block[:, k] for k in range(values.shape[1])])
        kept[start : start + 256] = nowhere_worse.sum(axis=0) == 1  # than itself
    on_front[whole] = kept[np.ravel(place)]
    return on_front
