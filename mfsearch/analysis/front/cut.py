"""Which networks are worth having: the front of a frame, and its knee. Arrays are minimised."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mfsearch.pareto import pareto_mask

OBJECTIVES = ("top1", "madds", "latency_ms", "num_params")  # what a study may optimise


def minimised(frame: pd.DataFrame, objectives: Sequence[str]) -> NDArray[np.float64]:
    """The objectives as an array [N, K] in which less is always better: what is maximised changes its sign."""
    unknown = [name for name in objectives if name not in OBJECTIVES]
    if unknown or not objectives:
        raise ValueError(f"objectives must be one or more of {', '.join(OBJECTIVES)}, got {list(objectives)}")
    signs = [-1.0 if name == "top1" else 1.0 for name in objectives]
    values: NDArray[np.float64] = frame[list(objectives)].to_numpy(dtype=np.float64) * np.array(signs)
    return values


def within(frame: pd.DataFrame, limits: Mapping[str, float]) -> pd.DataFrame:
    """The rows that keep every upper limit, in base units; rows with no value in a limited column are dropped.

    A latency is over its limit where its whole interval is, as at the end of a search.
    """
    return frame[keeps(frame, limits)]


def keeps(frame: pd.DataFrame, limits: Mapping[str, float]) -> NDArray[np.bool_]:
    """Which rows `within` gives."""
    keep = np.ones(len(frame), dtype=np.bool_)
    for name, limit in limits.items():
        values = frame[name].to_numpy(dtype=np.float64)
        if name == "latency_ms":
            values = np.fmin(values, frame["latency_low_ms"].to_numpy(dtype=np.float64))
        keep &= values <= limit
    return keep


def pareto_front(frame: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """The trained trials that no other one beats, by rising madds; those lacking an objective are left out."""
    values = minimised(frame, objectives)
    values[frame["outcome"].to_numpy() != "trained"] = np.nan
    return frame[pareto_mask(values)].sort_values(["madds", "number"])


def measured_objectives(frame: pd.DataFrame, objectives: Sequence[str]) -> list[str]:
    """The objectives without the costs that no trained trial has: latency drops out of a study that never timed it."""
    trained = frame[frame["outcome"] == "trained"]
    return [name for name in objectives if name == "top1" or trained[name].notna().any()]


def knee(front: pd.DataFrame, objectives: Sequence[str] = ("top1", "madds")) -> int | None:
    """The number of the front's most balanced trial: beyond it, more top1 costs a lot. None for an empty front.

    With every objective scaled to 0..1 over the front, it is the point furthest below the plane through the extremes
    (sum of coordinates = 1). Of equals, such as the two ends of a front of two, the one with the fewest madds.
    """
    if front.empty:
        return None
    by_madds = front.sort_values(["madds", "number"])
    values = minimised(by_madds, objectives)
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    scaled = (values - low) / np.where(span > 0, span, 1.0)
    return int(by_madds["number"].iloc[int(np.round(scaled.sum(axis=1), 12).argmin())])  # 12 places: ties are ties
