"""Which networks are worth having: the front of a frame, and its best. Arrays are minimised."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mfsearch.study.settings import GOALS
from mfsearch.study.study import best_trial, front_mask

OBJECTIVES = tuple(GOALS.values())  # what a study may optimise


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

    A latency is over its limit if its whole interval is, as at the end of a search.
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
    """The trained trials that no other beats after the longest training that both had, by rising madds. Trials without
    an objective are left out."""
    values = minimised(frame, objectives)
    values[frame["outcome"].to_numpy() != "trained"] = np.nan
    return frame[front_mask(frame["trial"].tolist(), objectives, values)].sort_values(["madds", "number"])


def measured_objectives(frame: pd.DataFrame, objectives: Sequence[str]) -> list[str]:
    """The objectives without the costs that no trained trial has: latency drops out of a study that never timed it."""
    trained = frame[frame["outcome"] == "trained"]
    return [name for name in objectives if name == "top1" or trained[name].notna().any()]


def best_number(front: pd.DataFrame) -> int | None:
    """The number of the best network of a front by the rule of `best_trial`; None for an empty front."""
    best = best_trial(front["trial"].tolist())
    return None if best is None else best.number
