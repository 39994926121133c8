"""Which knobs matter: how much of each objective, and of reaching the front, goes with a knob's value.

Each share is for one knob alone, over the trials in which it has a say; interactions are ignored. Trials chosen by a
search are not a random sample: the values that it liked occur together.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mfsearch.analysis.front.cut import minimised, within
from mfsearch.analysis.front.summary import counted
from mfsearch.analysis.knobs.variance import Codes, Floats, Share, judge_shares, value_key
from mfsearch.analysis.metrics import knob_names, short_top1
from mfsearch.pareto import nondominated_ranks
from mfsearch.space import SearchSpace, find_space
from mfsearch.space.active import active_knobs
from mfsearch.study.frame import KNOB
from mfsearch.study.manifest import Manifest

REACH = "front"  # the measure of being among the best by non-dominated rank
MEASURES = ("top1", "madds", "latency_ms", "num_params", REACH)
QUARTER = 0.25
INITIAL = ("random", "spread", "preset", "fitted")  # origins that do not depend on earlier results
NAMED = 5  # most knobs named in a sentence
ENOUGH = 16  # fewest trained networks in a selection
FEWEST = 20  # trials from which shares are shown: of fewer, chance alone makes large ones


class Coding(NamedTuple):
    """The knobs of N trials. codes: for each knob [N], the index of its value in `values`; -1 if it has no say."""

    names: list[str]
    values: list[list[object]]
    codes: list[Codes]

    def of(self, name: str) -> tuple[list[object], Codes]:
        at = self.names.index(name)
        return self.values[at], self.codes[at]


class KnobShare(NamedTuple):
    """A knob and the share of a measure's variance that goes with it."""

    knob: str
    share: Share


def study_space(manifest: Manifest) -> SearchSpace | None:
    """The search space of a study, where it is one that comes with mfsearch and has not changed since."""
    name = manifest.space.name
    try:
        space = find_space(name).deployed(manifest.resolution, manifest.classes) if name.isidentifier() else None
    except ValueError:
        return None
    return space if space and space.digest == manifest.space.digest else None


def code_knobs(frame: pd.DataFrame, manifest: Manifest) -> Coding:
    """Every knob's values in order, and which of them each trial has where the knob has a say in its network.

    Knobs and values stand in the order of the study's space; what else the params have, such as the share of the budget
    that a proposal aimed at, is left out. Values that the space does not list follow, by size or the alphabet.
    """
    space = study_space(manifest)
    choices = manifest.space.knobs
    names = [name for name in knob_names(frame) if name in choices]
    columns = [frame[KNOB + name].tolist() for name in names]
    params = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns, strict=True)
    ]
    active = [active_knobs(each, space) for each in params]
    coded = Coding(names, [], [])
    for name, column in zip(names, columns, strict=True):
        there = {value_key(value): value for value in column if value is not None}
        keys = [key for key in map(value_key, choices[name]) if key in there]
        keys += sorted((key for key in there if key not in keys), key=_order)
        place = {key: k for k, key in enumerate(keys)}
        codes = [place[value_key(value)] if name in acts else -1 for value, acts in zip(column, active, strict=True)]
        coded.values.append([there[key] for key in keys])
        coded.codes.append(np.array(codes, dtype=np.int64))
    return coded


def measure_values(
    frame: pd.DataFrame, measure: str, objectives: Sequence[str], limits: Mapping[str, float] | None = None
) -> Floats:
    """The measure of each trial; NaN if unknown.

    top1 is that of the short training, for trained trials only. `front` is 1 for the best quarter by non-dominated rank
    of the trials within `limits` (upper ones, in base units by column), 0 for the rest. Costs are also known for trials
    that were counted or timed but not trained.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    if measure == REACH:
        return best_quarter(frame, objectives, limits)
    column = short_top1(frame) if measure == "top1" else frame[measure]
    values: Floats = np.array(column, dtype=np.float64)
    if measure == "top1":
        values[(frame["outcome"] != "trained").to_numpy()] = np.nan
    return values


def best_quarter(frame: pd.DataFrame, objectives: Sequence[str], limits: Mapping[str, float] | None = None) -> Floats:
    """1 for trained trials of the best ranks, 0 for the others, by the top1 of the short training. NaN for trials that
    lack an objective or exceed an upper limit, because they could not be on the front.

    Whole ranks are taken, at least one, as many as come nearest to a quarter of the trials; all NaN if that is all.
    """
    short = frame.assign(top1=short_top1(frame))
    values = minimised(short, objectives)
    kept = frame.index.isin(within(frame, limits or {}).index)
    there = (frame["outcome"] == "trained").to_numpy() & ~np.isnan(values).any(axis=1) & kept
    found = np.full(len(frame), np.nan)
    if not there.any():
        return found
    ranks = np.array(nondominated_ranks(values[there]))
    reached = np.cumsum(np.bincount(ranks)) / len(ranks)
    last = int(np.abs(reached - QUARTER).argmin())
    if reached[last] < 1:
        found[there] = (ranks <= last).astype(np.float64)
    return found


def knob_shares(
    frame: pd.DataFrame,
    coded: Coding,
    measure: str,
    objectives: Sequence[str],
    *,
    limits: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[KnobShare]:
    """For each knob with several values, the share of the measure's variance between them, the largest first.

    For `front` this is PED-ANOVA (arXiv:2304.10255) with plain frequencies instead of kernels: quarter^2 times the
    Pearson divergence between a knob's values among the best and among all is the variance, between those values, of
    the chance to be among the best. That is divided by the total variance of being among the best, and adjusted like
    all shares. Knobs with an undefined share are left out.
    """
    values = measure_values(frame, measure, objectives, limits)
    shares = judge_shares(values, coded.codes, seed=seed)
    found = [KnobShare(name, share) for name, share in zip(coded.names, shares, strict=True)]
    return sorted((each for each in found if not math.isnan(each.share.value)), key=lambda each: -each.share.value)


def in_band(frame: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """The trials inside the budget's band: a published network far below it says nothing of knobs at that budget."""
    kept: pd.DataFrame = frame[~(frame["madds"] < manifest.budget.low)]
    return kept


def is_initial(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """True for trials proposed without looking at results: random ones and the start of a search."""
    found: NDArray[np.bool_] = frame["origin"].map(lambda origin: str(origin).split(" ")[0] in INITIAL).to_numpy(bool)
    return found


def can_choose_initial(frame: pd.DataFrame) -> bool:
    """Whether some proposals are not initial, and enough of the initial ones are trained to show them alone."""
    initial = is_initial(frame)
    return not initial.all() and int((initial & (frame["outcome"] == "trained").to_numpy()).sum()) >= ENOUGH


def above_chance(shares: Sequence[KnobShare]) -> list[str]:
    """The knobs whose share exceeds what chance gives in 95 % of permutations."""
    return [each.knob for each in shares if each.share.above_chance]


def sampling_note(frame: pd.DataFrame) -> str:
    """A sentence that says what kind of sample the trials are."""
    initial = int(is_initial(frame).sum())
    if initial == len(frame):
        return "All proposals were random or the search's starting points: no result had a part in them."
    return (
        f"{len(frame) - initial:,} of {len(frame):,} proposals were chosen by what earlier ones reached, so this is no "
        "random sample: a value that the search liked was tried more often, and in company that it liked."
    )


def width_note(frame: pd.DataFrame) -> str | None:
    """A sentence on what solved widths hold; None where the widths were not solved or no costs are known."""
    widths = {trial.width for trial in frame["trial"] if trial.width is not None}
    madds = frame["madds"].dropna() / 1e6
    if len(widths) < 2 or madds.empty:
        return None
    return (
        f"Widths were solved to land in the budget, so multiply-adds are held between {madds.min():.1f} and "
        f"{madds.max():.1f} M: a value that costs more makes its network narrower, and top1 compares values at about "
        "equal multiply-adds."
    )


def shares_note(shares: Sequence[KnobShare], name: str) -> str:
    """The shares in one sentence. name: the measure in words."""
    if not shares:
        return f"No knob has two values with enough trials to say anything of {name}."
    found = above_chance(shares)
    by_chance = 0.05 * len(shares)
    trials = max(each.share.n for each in shares)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    said = f"above what chance gives: {', '.join(found[:NAMED])}{more}" if found else "none is above what chance gives"
    return (
        f"{name.capitalize()}, {counted(trials, 'trial')}, {counted(len(shares), 'knob')}: {said}. "
        f"Were all idle, {by_chance:.1f} of them would still "
        "lie above, as chance stays under its mark in 95 of 100 cases."
    )


def _order(key: tuple[str, object]) -> tuple[str, float, str]:
    kind, value = key
    return kind, float(value) if isinstance(value, int | float) else 0.0, str(value)
