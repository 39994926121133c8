"""The front of a study's rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mfsearch.pareto import pareto_mask


def front_numbers(rows: Sequence[dict[str, Any]], objectives: Sequence[str]) -> list[int]:
    """Numbers of the trained trials that no other one beats in all objectives, by rising multiply-adds."""
    trained = [row for row in rows if row["outcome"] == "trained"]
    if not trained:
        return []
    signs = [-1.0 if name == "top1" else 1.0 for name in objectives]
    values = np.array([[sign * row[name] for sign, name in zip(signs, objectives, strict=True)] for row in trained])
    kept = [row for row, on_front in zip(trained, pareto_mask(values), strict=True) if on_front]
    return [row["number"] for row in sorted(kept, key=lambda row: (row["madds"], row["number"]))]
