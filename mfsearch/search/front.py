"""The front of a study's rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
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


def front_in_search(rows: Sequence[dict[str, Any]], objectives: Sequence[str]) -> list[int]:
    """The front by the latencies of the search, whatever was measured at its end."""
    searched = [{**row, **row.get("latency_search", {}), "latency_final": None} for row in rows]
    return front_numbers(searched, objectives)


def contenders(rows: Sequence[dict[str, Any]], objectives: Sequence[str]) -> set[int]:
    """Numbers of the trials whose weights are kept: the front and, where it is measured again at the end, the search's
    own front and the front of the rest, who come on for those that turn out slower."""
    front = set(front_numbers(rows, objectives))
    if "latency_ms" not in objectives:
        return front
    front.update(front_in_search(rows, objectives))
    rest = [row for row in rows if row["number"] not in front and not over_limit(row)]
    return front | set(front_in_search(rest, objectives))


def without_weights(rows: Sequence[dict[str, Any]], objectives: Sequence[str], weights: Path) -> list[int]:
    """Members of the front that have no file in the folder of weights: dropped before they came on, or not written.

    None where there is no folder: a study that was copied without.
    """
    if not weights.is_dir():
        return []
    arch_ids = {row["number"]: row["arch_id"] for row in rows}
    front = front_numbers(rows, objectives)
    return [number for number in front if not (weights / f"{arch_ids[number]}.safetensors").is_file()]


def over_limit(row: Mapping[Any, Any]) -> bool:
    """Whether a trial kept the latency limit in the search and missed it when it was measured again."""
    return bool((row.get("latency_final") or {}).get("over_limit"))
