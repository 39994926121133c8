"""Was the search any good? Hypervolume over its trainings, beside studies that differ in the sampler alone.

Every network counts with the top1 of its first rung, which all had, so that who was trained longer changes nothing.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mfsearch.analysis.front.cut import measured_objectives, minimised
from mfsearch.analysis.metrics import short_top1
from mfsearch.pareto import hypervolume_history
from mfsearch.study.manifest import Manifest
from mfsearch.study.settings import MODELLED
from mfsearch.units import format_madds

Array = NDArray[np.float64]

MARGIN = 0.1  # by which the reference point lies beyond the worst trained networks, as a share of their range
TRAINED = ("trained", "stopped")  # outcomes that took a short training
CONTROL = "random"  # the sampler of a control
# What has to be equal before only the sampler is left to explain a difference, in the words of a sentence.
SETTINGS = {
    "budget": "budget",
    "limits": "limits",
    "objectives": "objectives",
    "latency_limit_ms": "latency limit",
    "latency_cmd": "program that measures latency",
    "space": "space",
    "data": "data",
    "recipe": "recipe",
    "rungs": "rungs",
    "deployment": "deployment",
    "device": "training device",
    "passport": "device of the latencies",
}
ALWAYS = ("factors", "rank_by")  # of the rungs; the rest matters only where there is more than one
INDIFFERENT = ("stated", "knobs")  # of budget and space: how the band was written; the digest stands for the knobs
SHOWN_DIFFERENCES = 40  # characters of a value


class Box(NamedTuple):
    """The room in which hypervolume is counted, minimised [K]: from the best of every objective to the reference."""

    ideal: Array
    reference: Array


class Trajectory(NamedTuple):
    """A study after each of its trials, [N]. trainings: short ones so far, those given up half way included;
    core_seconds: of these trainings; share: of the box that the front dominates, 0 to 1; top1: the best so far, a
    fraction, NaN before there is one."""

    name: str
    trainings: NDArray[np.int64]
    core_seconds: Array
    share: Array
    top1: Array


def without_top1_below_band(frame: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """The study with the figures of networks below the budget's band taken out; their trainings still count.

    A search begins with the published networks, small ones as they are: none of the draws could be one of them, and a
    network of a fifth of the budget would cover most of any box.
    """
    low = manifest.least_madds
    return frame.assign(**{name: frame[name].where(frame["madds"] >= low) for name in ("top1", "top1_short")})


def shared_objectives(frames: Sequence[pd.DataFrame], objectives: Sequence[str]) -> list[str]:
    """The objectives that some trained network of every study has; a study that trained none has no say."""
    told = [frame for frame in frames if (frame["outcome"] == "trained").any()]
    return [name for name in objectives if all(name in measured_objectives(frame, objectives) for frame in told)]


def shared_box(frames: Sequence[pd.DataFrame], objectives: Sequence[str]) -> Box | None:
    """The box in which all of these studies are compared; None if no trained network has every objective.

    The reference is the worst value of each objective over the trained networks of all studies, moved out by a tenth of
    their range: the same for all, within reach of all, and no network on the edge of the budget counts for nothing.
    Hence a share of the box compares these studies with each other, and not with shares of another box.
    """
    values = np.concatenate([_values(frame, objectives) for frame in frames]) if frames else np.empty((0, 1))
    whole = values[~np.isnan(values).any(axis=1)]
    if not len(whole):
        return None
    ideal, worst = whole.min(axis=0), whole.max(axis=0)
    spread = np.where(worst > ideal, worst - ideal, np.maximum(np.abs(worst), 1e-9))
    return Box(ideal, worst + MARGIN * spread)


def study_history(name: str, frame: pd.DataFrame, objectives: Sequence[str], box: Box) -> Trajectory:
    """The study in the order in which its trials finished; its hypervolume as a share of the box."""
    values = _values(frame, objectives)
    trained = frame["outcome"].isin(TRAINED).to_numpy(dtype=np.bool_)
    seconds = np.where(trained, frame["train_seconds"].to_numpy(dtype=np.float64), 0.0)
    top1 = np.where(frame["outcome"] == "trained", short_top1(frame).to_numpy(dtype=np.float64), np.nan)
    room = float(np.prod(box.reference - box.ideal))
    return Trajectory(
        name=name,
        trainings=np.cumsum(trained),
        core_seconds=np.cumsum(np.nan_to_num(seconds)),
        share=hypervolume_history(values, box.reference) / room,
        top1=np.fmax.accumulate(top1),
    )


def _values(frame: pd.DataFrame, objectives: Sequence[str]) -> Array:
    """The objectives of each trial, minimised, with the top1 of the short training; NaN where it counts for nothing:
    not trained, or over the latency limit when it was measured again."""
    values = minimised(frame.assign(top1=short_top1(frame)), objectives)
    values[(frame["outcome"] != "trained").to_numpy(dtype=np.bool_)] = np.nan
    values[[trial.over_limit for trial in frame["trial"]]] = np.nan
    return values


# --- the studies to compare with -----------------------------------------------------------------------------------


def differences(manifest: Manifest, other: Manifest) -> list[str]:
    """Settings in which another study differs, apart from sampler and seed: "budget: 152.1M here, 150M there".

    Only what changes which networks are compared, or how: finalists and their seeds are left out where there is one
    rung, as nothing was trained longer.
    """
    found: list[str] = []
    for name, words in SETTINGS.items():
        ours, theirs = _setting(manifest, name), _setting(other, name)
        if ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            keys = [key for key in dict.fromkeys([*ours, *theirs]) if ours.get(key) != theirs.get(key)]
            pairs = [(f"{words}, {key}", ours.get(key), theirs.get(key)) for key in keys]
        else:
            pairs = [(words, ours, theirs)]
        found += [f"{what}: {_shown(what, here)} here, {_shown(what, there)} there" for what, here, there in pairs]
    if manifest.sampler in MODELLED and other.sampler in MODELLED:  # a control has none
        ours, theirs = (", ".join(one.prior_fit.tables) if one.prior_fit else "none" for one in (manifest, other))
        if ours != theirs:
            found.append(f"prior: {ours} here, {theirs} there")
    return found


def is_control(manifest: Manifest, other: Manifest) -> bool:
    """Whether another study is a random control of this one: random draws, and no setting that differs."""
    return manifest.sampler != CONTROL == other.sampler and not differences(manifest, other)


def _setting(manifest: Manifest, name: str) -> object:
    """A setting without what makes no difference; studies from before there were rungs had one."""
    value = manifest.cost_limits.given if name == "limits" else manifest.kept.get(name)
    if name == "rungs" and value is None:
        value = {"factors": [1.0]}
    if not isinstance(value, Mapping):
        return value
    kept = {str(key): one for key, one in value.items() if key not in INDIFFERENT}
    factors = kept.get("factors")
    if name == "rungs" and isinstance(factors, list) and len(factors) == 1:
        kept = {key: one for key, one in kept.items() if key in ALWAYS}
    return kept


def _shown(what: str, value: object) -> str:
    if value is None:
        return "nothing"
    if what.startswith("budget") and isinstance(value, int | float):
        return format_madds(int(value))
    if what == "latency limit" and isinstance(value, int | float):
        return f"{value:g} ms"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= SHOWN_DIFFERENCES else f"{text[: SHOWN_DIFFERENCES - 1]}…"


# --- in words ------------------------------------------------------------------------------------------------------


def comparison(own: Trajectory, others: Sequence[Trajectory]) -> str:
    """How much better a study is than others after equally many trainings (the median, if there are several others)."""
    there = [other for other in others if len(other.trainings) and other.trainings[-1]]
    if not there or not len(own.trainings) or not own.trainings[-1]:
        return "There is nothing to compare yet: one of the studies has no trainings."
    count = int(min(own.trainings[-1], *(other.trainings[-1] for other in there)))
    ours, theirs = share_after(own, count), statistics.median(share_after(other, count) for other in there)
    whose = there[0].name if len(there) == 1 else f"the median of {len(there)} other studies"
    trainings = "1 training" if count == 1 else f"{count:,} trainings"
    covered = f"After {trainings} each, {own.name} covers {percent(ours)} of the box and {whose} {percent(theirs)}"
    if theirs > 0:
        covered += f": {ours / theirs:.2f} times as much"
    best = _after(own, own.top1, count), statistics.median(_after(other, other.top1, count) for other in there)
    sentences = [f"{covered}."]
    if not np.isnan(best).any():
        sentences.append(
            f"The best top-1 after a short training is then {percent(best[0])} against {percent(best[1])}."
        )
    level = statistics.median(float(other.share[-1]) for other in there)
    reached = np.flatnonzero(own.share >= level)
    ends = "its" if len(there) == 1 else "their"
    if len(reached) and level > 0:
        needed = int(own.trainings[reached[0]])
        end = int(statistics.median(int(other.trainings[-1]) for other in there))
        sentences.append(f"{own.name} covered after {needed:,} what {whose} covered at {ends} end, after {end:,}.")
    elif level > 0:
        sentences.append(f"{own.name} has not yet covered what {whose} covered at {ends} end.")
    if len(there) == 1:
        sentences.append("This compares one run of each, so another seed may reverse the difference.")
    else:
        least, most = (f(share_after(other, count) for other in there) for f in (min, max))
        sentences.append(f"The others range from {percent(least)} to {percent(most)}; {own.name} is a single run.")
    return " ".join(sentences)


def share_after(history: Trajectory, trainings: int) -> float:
    """The share of the box that a study covers once it has had so many trainings."""
    return _after(history, history.share, trainings)


def percent(share: float) -> str:
    """ "41.3 %"."""
    return f"{100 * share:.1f} %"


def _after(history: Trajectory, values: Array, trainings: int) -> float:
    """The value after the training of that number, whatever was rejected after it."""
    return float(values[int(np.searchsorted(history.trainings, trainings))])
