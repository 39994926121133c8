"""A study as one table, read once: a row is a trial, every later analysis starts here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from mfsearch.analysis.front.confidence import confidence, shown_noise
from mfsearch.analysis.knobs.variance import group_codes, shares_between
from mfsearch.proxy.rungs import CUT
from mfsearch.study.frame import KNOB
from mfsearch.study.trial import Trial


@dataclass(frozen=True)
class RankedTrial:
    """A trial with its place: the probability of being on the front, NaN where unknown, and its ties, "" for none.

    top1_error: the standard error of its top1, a fraction; NaN where unknown.
    """

    trial: Trial
    front_probability: float
    tied_with: str
    top1_error: float = np.nan


class Metric(NamedTuple):
    """How people read a number: times `scale`, rounded to `digits` places, then the unit. title: its name on screen."""

    title: str
    unit: str
    scale: float
    digits: int


METRICS = {
    "top1": Metric("Top-1", "%", 100.0, 1),
    "madds": Metric("Multiply-adds", "M", 1e-6, 1),
    "macs": Metric("MACs", "M", 1e-6, 1),
    "latency_ms": Metric("Latency", "ms", 1.0, 2),
    "num_params": Metric("Parameters", "M", 1e-6, 2),
    "activation_bytes": Metric("Peak memory", "MB", 1e-6, 2),
    "onnx_bytes": Metric("ONNX file", "MB", 1e-6, 2),
    "train_seconds": Metric("Short training", "s", 1.0, 0),
}


def with_confidence(frame: pd.DataFrame, objectives: Sequence[str], images: int | None = None) -> pd.DataFrame:
    """The frame of a study with `front_probability` and `tied_with` ("8, 12"; "" for none) filled in, and a new column
    `top1_error`, the standard error of top1, a fraction. images: to validate with.

    The probability stays missing if no network was trained with two seeds, and all three do if `images` is unknown too.
    Only members of the front have tied_with.
    """
    found = confidence(frame["trial"].tolist(), objectives, images)
    if not found:
        return frame
    known = [found.get(int(number)) for number in frame["number"]]
    shares = [np.nan if one is None or one.front_probability is None else one.front_probability for one in known]
    errors = [np.nan if one is None else one.top1_error for one in known]
    tied = [None if one is None else ", ".join(map(str, one.tied_with)) for one in known]
    return frame.assign(
        front_probability=pd.Series(shares, index=frame.index, dtype="float64"),
        tied_with=pd.Series(tied, index=frame.index, dtype="object"),
        top1_error=pd.Series(errors, index=frame.index, dtype="float64"),
    )


def ranked_trials(frame: pd.DataFrame) -> list[RankedTrial]:
    """The trials of some rows with their places, as `with_confidence` left them."""
    error = "top1_error" if "top1_error" in frame else "top1_std"
    columns = (frame[name].tolist() for name in ("trial", "front_probability", "tied_with", error))
    return [RankedTrial(trial, share, tied or "", each) for trial, share, tied, each in zip(*columns, strict=True)]


def training_lengths(frame: pd.DataFrame) -> list[str]:
    """Each trial's length of training, in multiples of the short one: "1x", "3x", or "rung 1" if that is unknown; as
    `shown_training`, without seeds."""
    trained, short = frame["epochs_trained"], frame["epochs"]
    multiples = (trained / short).where((trained > 0) & (short > 0)).where(trained != 0, 0.0).tolist()
    return [_length(rung, multiple) for rung, multiple in zip(frame["rung"].tolist(), multiples, strict=True)]


def _length(rung: float, multiple: float) -> str:
    if not rung > 0:
        return CUT if multiple == 0 else "1x"
    return f"rung {rung:g}" if np.isnan(multiple) else f"{round(multiple, 1):g}x"


def noise_sentence(frame: pd.DataFrame, images: int | None = None) -> str | None:
    """Sentences on the differences that top1 can show, from `shown_noise`."""
    telling = frame[(frame["seeds"] > 1) | ~frame["rung"].duplicated()]  # of each rung one will do, and all with seeds
    best = frame[(frame["outcome"] == "trained") & (frame["top1"] == frame["top1"].max())]
    return shown_noise(pd.concat([telling, best.drop(telling.index, errors="ignore")])["trial"].tolist(), images)


def short_top1(frame: pd.DataFrame) -> "pd.Series[float]":
    """Top1 at the first rung, which all trained trials had: to compare them whoever was trained longer."""
    return frame["top1_short"].fillna(frame["top1"])


def first_length(frame: pd.DataFrame) -> str:
    """When `short_top1` was taken: "after the short training", or "as cut" where that came first."""
    first = next((trial.short.epochs for trial in frame["trial"] if trial.short is not None), None)
    return "as cut" if first == 0 else "after the short training"


def trained_longer(frame: pd.DataFrame) -> bool:
    """Whether any trial was trained longer than the short training, or not at all."""
    return bool(((frame["rung"] > 0) | (frame["epochs_trained"] == 0)).any())


def knob_names(frame: pd.DataFrame) -> list[str]:
    """The names of the study's knobs, without the prefix, in the order in which they first appear."""
    return [str(column).removeprefix(KNOB) for column in frame.columns if str(column).startswith(KNOB)]


def telling_knobs(frame: pd.DataFrame, count: int) -> list[str]:
    """The `count` knobs whose values go with the largest differences in top1 among trained trials, most telling first.

    Top1 is that of the short training. Ranked by the share of its variance that lies between a knob's values (the
    correlation ratio), adjusted for how many values there are. It serves to choose what a small table shows:
    interactions and confounding are ignored.
    """
    trained = frame[(frame["outcome"] == "trained") & frame["top1"].notna()]
    codes = {name: group_codes(trained[KNOB + name].tolist()) for name in knob_names(frame)}
    codes = {name: groups for name, groups in codes.items() if groups.max(initial=0) > 0}
    found = shares_between(np.array(short_top1(trained), dtype=np.float64), list(codes.values()))
    shares = {name: -np.inf if np.isnan(share) else share for name, share in zip(codes, found, strict=True)}
    return sorted(shares, key=lambda name: -shares[name])[:count]


def label(name: str) -> str:
    """A metric's title with its unit, for axes, sliders and table heads: "Top-1 (%)", "Multiply-adds (M)"."""
    return f"{METRICS[name].title} ({METRICS[name].unit})"


def shown(name: str, value: float) -> str:
    """A metric's value as people read it, with its unit: "61.3 %", "149.8 M", "7.91 ms"; "not measured" for NaN."""
    metric = METRICS[name]
    return "not measured" if np.isnan(value) else f"{value * metric.scale:,.{metric.digits}f} {metric.unit}"


def shown_top1(top1: float, error: float) -> str:
    """Top1 with its standard error, NaN if that is not known: "61.3 ± 0.4 %", "61.3 %"."""
    return shown("top1", top1) if np.isnan(error) else f"{100 * top1:.1f} ± {100 * error:.1f} %"


def shown_limit(name: str, value: float) -> str:
    """A limit on a metric as people set it: "150 M", "8 ms", "7.25 ms"."""
    metric = METRICS[name]
    return f"{value * metric.scale:g} {metric.unit}"
