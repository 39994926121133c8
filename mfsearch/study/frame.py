"""A study as one table with a row per trial."""

from collections.abc import Callable, Sequence
from itertools import chain

import pandas as pd

from mfsearch.study.trial import Trial

KNOB = "knob:"  # prefix, so that a knob cannot have a metric's name

# Counts are float64, because a trial that failed early may lack them; exact up to 2**53.
COLUMNS: dict[str, tuple[str, Callable[[Trial], object]]] = {
    "number": ("int64", lambda trial: trial.number),
    "outcome": ("object", lambda trial: trial.outcome),
    "reason": ("object", lambda trial: trial.reason),
    "origin": ("object", lambda trial: trial.origin),
    "arch_id": ("object", lambda trial: trial.arch_id),
    "madds": ("float64", lambda trial: trial.madds),
    "macs": ("float64", lambda trial: trial.macs),
    "num_params": ("float64", lambda trial: trial.num_params),
    "activation_bytes": ("float64", lambda trial: trial.activation_bytes),
    "latency_ms": ("float64", lambda trial: trial.latency_ms),
    "latency_low_ms": ("float64", lambda trial: trial.latency_low_ms),
    "latency_high_ms": ("float64", lambda trial: trial.latency_high_ms),
    "top1": ("float64", lambda trial: trial.top1),
    "top1_std": ("float64", lambda trial: trial.top1_std),
    "top1_short": ("float64", lambda trial: trial.top1_short if trial.rung else None),
    "rung": ("float64", lambda trial: trial.rung if trial.outcome == "trained" else None),
    "seeds": ("float64", lambda trial: max(1, len(trial.longest)) if trial.outcome == "trained" else None),
    "epochs": ("float64", lambda trial: trial.epochs),
    "epochs_trained": (
        "float64",
        lambda trial: trial.longest[0].epochs if trial.outcome == "trained" and trial.longest else None,
    ),
    "front_probability": ("float64", lambda trial: None),
    "tied_with": ("object", lambda trial: None),
    "train_seconds": ("float64", lambda trial: trial.train_seconds),
    "seed": ("float64", lambda trial: trial.seed),
    "resolution": ("float64", lambda trial: trial.resolution),
}


def study_frame(trials: Sequence[Trial]) -> pd.DataFrame:
    """One row per trial, by number; columns and dtypes are the same for any number of trials.

    Metrics are in base units. Knobs are columns "knob:NAME" of any value; None if a trial does not have the knob.
    `trial` holds the trial itself, with its config, trainings and curves. Missing numbers are NaN, missing texts None.
    rung, seeds and epochs_trained are of the longest training, like top1; epochs are of the short one.
    `with_confidence` fills front_probability and tied_with.
    """
    ordered = sorted(trials, key=lambda trial: trial.number)
    columns: dict[str, pd.Series] = {
        name: pd.Series([read(trial) for trial in ordered], dtype=dtype) for name, (dtype, read) in COLUMNS.items()
    }
    knobs = [*dict.fromkeys(chain.from_iterable(dict.fromkeys(tuple(trial.params) for trial in ordered)))]
    cells = zip(
        *([trial.params.get(name) for name in knobs] for trial in ordered), strict=True
    )  # by row: twice as fast
    columns |= {KNOB + name: pd.Series(values, dtype="object") for name, values in zip(knobs, cells, strict=True)}
    return pd.DataFrame({**columns, "trial": pd.Series(ordered, dtype="object")})
