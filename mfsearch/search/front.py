"""The front of a study's rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mfsearch.pareto import pareto_mask


def front_numbers(rows: Sequence[dict[str, Any]], objectives: Sequence[str]) -> list[int]:
    """Numbers of the trained trials that no other one beats in all objectives, by rising multiply-adds.

    Those over the latency limit when they were measured again are left out.
    """
    trained = [row for row in rows if row["outcome"] == "trained" and not over_limit(row)]
    if not trained:
        return []
    signs = [-1.0 if name == "top1" else 1.0 for name in objectives]
    values = np.array([[sign * row[name] for sign, name in zip(signs, objectives, strict=True)] for row in trained])
    kept = [row for row, on_front in zip(trained, pareto_mask(values), strict=True) if on_front]
    return [row["number"] for row in sorted(kept, key=lambda row: (row["madds"], row["number"]))]


def over_limit(row: Mapping[Any, Any]) -> bool:
    """Whether a trial kept the latency limit in the search and missed it when it was measured again."""
    return bool((row.get("latency_final") or {}).get("over_limit"))
