"""A study as one table, read once: a row is a trial, every later analysis starts here."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mfsearch.analysis.front.confidence import confidence, longest, shown_noise
from mfsearch.analysis.knobs.variance import group_codes, shares_between

OUTCOMES = ("trained", "stopped", "rejected", "failed")
KNOB = "knob:"  # the prefix that keeps a knob's name from meeting a metric's

# Counts are float64: exact up to 2**53, and a trial that failed early may lack them.
COLUMNS = {
    "number": "int64",
    "outcome": "object",
    "reason": "object",
    "origin": "object",
    "arch_id": "object",
    "madds": "float64",
    "macs": "float64",
    "num_params": "float64",
    "activation_bytes": "float64",
    "latency_ms": "float64",
    "latency_low_ms": "float64",
    "latency_high_ms": "float64",
    "top1": "float64",
    "top1_std": "float64",
    "top1_short": "float64",
    "rung": "float64",
    "seeds": "float64",
    "epochs": "float64",
    "epochs_trained": "float64",
    "front_probability": "float64",
    "tied_with": "object",
    "train_seconds": "float64",
    "seed": "float64",
    "resolution": "float64",
    "config": "object",
    "curve": "object",
}


class Metric(NamedTuple):
    """How a number is shown: it is multiplied by `scale` and rounded to `digits` places, then the unit follows."""

    unit: str
    scale: float
    digits: int


METRICS = {
    "top1": Metric("%", 100.0, 1),
    "madds": Metric("M", 1e-6, 1),
    "macs": Metric("M", 1e-6, 1),
    "latency_ms": Metric("ms", 1.0, 2),
    "num_params": Metric("M", 1e-6, 2),
    "activation_bytes": Metric("MB", 1e-6, 2),
    "train_seconds": Metric("s", 1.0, 0),
}


def study_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """One row per trial, by number, with the same columns and dtypes whether the study holds none or ten thousand.

    Knobs are columns "knob:NAME" of any value; a trial without the knob holds None. What a row has beyond `COLUMNS` is
    kept as an object column. Missing numbers are NaN, missing texts None; only `number` and `outcome` must be there.
    Of trained trials `rung`, `seeds` and `epochs_trained` are those of the longest training, the one that top1 is of;
    `epochs` are those of the short one. `with_confidence` fills `front_probability` and `tied_with`.
    """
    for row in rows:
        if "number" not in row or row.get("outcome") not in OUTCOMES:
            raise ValueError(f"a trial needs a number and an outcome out of {', '.join(OUTCOMES)}, got {dict(row)}")
    ordered = [{**row, **_longest(row)} for row in sorted(rows, key=lambda row: int(str(row["number"])))]
    settings = [params if isinstance(params := row.get("params"), Mapping) else {} for row in ordered]
    others = dict.fromkeys(key for row in ordered for key in row if key not in COLUMNS and key != "params")
    knobs = dict.fromkeys(name for params in settings for name in params)

    columns = _columns(ordered, COLUMNS | dict.fromkeys(others, "object"))
    columns |= {KNOB + str(name): knob for name, knob in _columns(settings, dict.fromkeys(knobs, "object")).items()}
    return pd.DataFrame(columns)


def _columns(rows: Sequence[Mapping[str, object]], dtypes: Mapping[str, str]) -> dict[str, "pd.Series[Any]"]:
    """One column a name; row by row, which with ten thousand of them is twice as fast as column by column."""
    cells = zip(*[[row.get(name) for name in dtypes] for row in rows], strict=True) if rows else [()] * len(dtypes)
    return {
        name: pd.Series(list(column), dtype=dtype) for (name, dtype), column in zip(dtypes.items(), cells, strict=True)
    }


def _longest(row: Mapping[str, object]) -> dict[str, object]:
    if row["outcome"] != "trained":
        return {}
    found = longest(row)
    return {"rung": found.rung, "seeds": found.seeds, "epochs_trained": found.epochs}


def with_confidence(frame: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """The frame of a study with `front_probability` and `tied_with` ("8, 12"; "" for none) filled in.

    Both stay missing where no network was trained with two seeds; tied_with is for members of the front.
    """
    found = confidence(confidence_rows(frame, objectives), objectives)
    if not found:
        return frame
    known = [found.get(int(number)) for number in frame["number"]]
    shares = [np.nan if one is None else one.front_probability for one in known]
    tied = [None if one is None else ", ".join(map(str, one.tied_with)) for one in known]
    return frame.assign(
        front_probability=pd.Series(shares, index=frame.index, dtype="float64"),
        tied_with=pd.Series(tied, index=frame.index, dtype="object"),
    )


def confidence_rows(frame: pd.DataFrame, objectives: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What `analysis.confidence` reads of a study, a dict a trial: a tenth of the columns, in a tenth of the time."""
    read = ["number", "outcome", "latency_low_ms", "latency_high_ms", "epochs", "curve", "stages", "top1", *objectives]
    names = [name for name in dict.fromkeys(read) if name in frame]
    cells = zip(*(frame[name].tolist() for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in cells]


def training_lengths(frame: pd.DataFrame) -> list[str]:
    """How long each trial was trained, against the short training: "1x", "3x"; as `shown_training`, without seeds."""
    longer = (frame["epochs_trained"] / frame["epochs"]).where((frame["rung"] > 0) & (frame["epochs_trained"] > 0))
    lengths = longer.where(frame["epochs"] > 0).fillna(1.0).tolist()
    names = {length: f"{round(length, 1):g}x" for length in set(lengths)}
    return [names[length] for length in lengths]


def noise_sentence(frame: pd.DataFrame) -> str | None:
    """A sentence on what a training of the study varies by between seeds, as `shown_noise`; None if all were short."""
    telling = frame[(frame["seeds"] > 1) | ~frame["rung"].duplicated()]  # of each rung one will do, and all with seeds
    return shown_noise(telling.to_dict("records"))


def short_top1(frame: pd.DataFrame) -> "pd.Series[float]":
    """Top1 of the short training, which all trained trials had: to compare them whoever was trained longer."""
    return frame["top1_short"].fillna(frame["top1"])


def trained_longer(frame: pd.DataFrame) -> bool:
    """Whether any trial was trained longer than the short training."""
    return bool((frame["rung"] > 0).any())


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
    """A metric's name with its unit, for axes and table heads: "top1 (%)", "madds (M)", "latency_ms"."""
    unit = METRICS[name].unit
    return name if name.endswith(f"_{unit}") else f"{name} ({unit})"


def shown(name: str, value: float) -> str:
    """A metric's value as people read it, with its unit: "61.3 %", "149.8 M", "7.91 ms"; "not measured" for NaN."""
    metric = METRICS[name]
    return "not measured" if np.isnan(value) else f"{value * metric.scale:,.{metric.digits}f} {metric.unit}"


def shown_top1(top1: float, top1_std: float) -> str:
    """Top1 with its standard deviation over seeds, NaN if there was one seed: "61.3 ± 0.4 %", "61.3 %"."""
    return shown("top1", top1) if np.isnan(top1_std) else f"{100 * top1:.1f} ± {100 * top1_std:.1f} %"


def shown_limit(name: str, value: float) -> str:
    """A limit on a metric as people set it: "150 M", "8 ms", "7.25 ms"."""
    metric = METRICS[name]
    return f"{value * metric.scale:g} {metric.unit}"
