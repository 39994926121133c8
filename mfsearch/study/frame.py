"""A study as one table with a row per trial."""

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter

import pandas as pd

from mfsearch.study.trial import Trial

KNOB = "knob:"  # prefix, so that a knob cannot have a metric's name

# Counts are float64, because a trial that failed early may lack them; exact up to 2**53.
_TYPES = {"number": "int64"} | dict.fromkeys(("outcome", "reason", "origin", "arch_id", "tied_with"), "object")
_READ: dict[str, Callable[[Trial], object]] = {  # all other columns are fields and properties of a trial
    "top1_short": lambda trial: trial.top1_short if trial.rung else None,
    "rung": lambda trial: trial.rung if trial.outcome == "trained" else None,
    "seeds": lambda trial: max(1, len(trial.longest)) if trial.outcome == "trained" else None,
    "epochs_trained": lambda trial: trial.longest[0].epochs if trial.outcome == "trained" and trial.longest else None,
    **dict.fromkeys(("front_probability", "tied_with"), lambda trial: None),
}
COLUMNS: dict[str, tuple[str, Callable[[Trial], object]]] = {
    name: (_TYPES.get(name, "float64"), _READ.get(name, attrgetter(name)))
    for name in (
        *("number", "outcome", "reason", "origin", "arch_id"),
        *("madds", "macs", "num_params", "activation_bytes", "onnx_bytes"),
        *("latency_ms", "latency_low_ms", "latency_high_ms", "top1", "top1_std", "top1_short", "rung", "seeds"),
        *("epochs", "epochs_trained", "front_probability", "tied_with", "train_seconds", "seed", "resolution"),
    )
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
