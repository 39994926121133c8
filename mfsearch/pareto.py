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
    whole = np.flatnonzero(~np.isnan(values).any(axis=1))
    if not len(whole):
        return on_front
    # Each distinct row once, in lexicographic order: none dominates an earlier one. Twice as fast as np.unique.
    order = whole[np.lexsort(values[whole].T[::-1])]
    ordered = values[order]
    first = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    rows = ordered[first]
    if rows.shape[1] == 2:  # rows rise in the first column: one is kept if it lies below all before it in the second
        kept = np.append(True, rows[1:, 1] < np.minimum.accumulate(rows[:-1, 1]))
    else:
        kept = _undominated(rows)
    on_front[order] = kept[np.cumsum(first) - 1]
    return on_front


def _undominated(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """As pareto_mask, for distinct rows in lexicographic order."""
    kept = np.zeros(len(rows), dtype=np.bool_)
    for start in range(0, len(rows), 256):  # by blocks: fast in numpy, and the table of pairs stays small
        block = rows[start : start + 256]
        rivals = np.concatenate([rows[:start][kept[:start]], block])
        nowhere_worse = np.logical_and.reduce([rivals[:, k, None] <= block[:, k] for k in range(rows.shape[1])])
        kept[start : start + 256] = nowhere_worse.sum(axis=0) == 1  # than itself
    return kept
