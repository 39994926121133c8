"""Which knobs matter: the share of each objective's variance, and of reaching the front, between a knob's values.

Each share is of one knob alone, over the trials in which it has an effect; interactions are ignored. The trials of a
search are no random sample: the values that it prefers occur together.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mfsearch.analysis.front.cut import minimised, within
from mfsearch.analysis.knobs.variance import Codes, Floats, Share, judge_shares, value_key
from mfsearch.analysis.metrics import knob_names, short_top1
from mfsearch.pareto import nondominated_ranks
from mfsearch.space import SearchSpace, find_space
from mfsearch.space.active import active_knobs
from mfsearch.space.knobs import knob_title
from mfsearch.space.nested import parse_nested
from mfsearch.study.frame import KNOB
from mfsearch.study.kept_parent import KeptParent
from mfsearch.study.manifest import Manifest
from mfsearch.units import counted

REACH = "front"  # the measure for being among the best by non-dominated rank
MEASURES = ("top1", "madds", "latency_ms", "num_params", REACH)
QUARTER = 0.25
INITIAL = ("random", "spread", "preset", "fitted")  # origins that do not depend on earlier results
NAMED = 5  # most knobs named in a sentence
ENOUGH = 16  # fewest trained networks in a selection
FEWEST = 20  # least trials to show shares: with fewer, chance alone makes large ones


class Coding(NamedTuple):
    """The knobs of N trials. codes: for each knob [N], the index of its value in `values`; -1 if it has no effect."""

    names: list[str]
    values: list[list[object]]
    codes: list[Codes]

    def of(self, name: str) -> tuple[list[object], Codes]:
        at = self.names.index(name)
        return self.values[at], self.codes[at]


class KnobShare(NamedTuple):
    """A knob and its share of a measure's variance."""

    knob: str
    share: Share


def study_space(manifest: Manifest) -> SearchSpace | None:
    """The study's search space; None unless it comes with mfsearch and has not changed since."""
    name = manifest.space.name
    try:
        space = find_space(name).deployed(manifest.resolution, manifest.classes) if name.isidentifier() else None
    except ValueError:
        return None
    return space if space and space.digest == manifest.space.digest else None


def code_knobs(frame: pd.DataFrame, manifest: Manifest, parent: KeptParent | None = None) -> Coding:
    """The values of every knob, and the value of each trial in which the knob has an effect.

    Knobs and values are in the order of the study's space, then values that it does not list, by size or alphabet.
    Params that are no knobs, such as a proposal's multiply-add target, are left out. In an earlier study inside a
    parent, without `parent`, every knob counts in every trial.
    """
    space = study_space(manifest)
    choices = manifest.space.knobs
    names = [name for name in knob_names(frame) if name in choices]
    columns = [frame[KNOB + name].tolist() for name in names]
    params = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns, strict=True)
    ]
    if manifest.parent is None:
        active = [active_knobs(each, space) for each in params]
    else:
        inside = None if parent is None else parse_nested(parent.space, parent.network.config)
        active = [{name for name in each if inside is None or inside.shows(name, each)} for each in params]
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

    top1: after the short training, for trained trials only. `front`: see `best_quarter`. Costs are also known for
    trials that were not trained.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    if measure == REACH:
        return best_quarter(frame, objectives, limits)
    values: Floats = np.array(short_top1(frame) if measure == "top1" else frame[measure], dtype=np.float64)
    if measure == "top1":
        values[(frame["outcome"] != "trained").to_numpy()] = np.nan
    return values


def best_quarter(frame: pd.DataFrame, objectives: Sequence[str], limits: Mapping[str, float] | None = None) -> Floats:
    """1 for the trained trials of the best non-dominated ranks, with the top1 of the short training, 0 for the others.

    Takes as many whole ranks, at least one, as come nearest to a quarter of the trials; all NaN if that is every trial.
    NaN for trials that lack an objective or exceed one of the upper `limits` (in base units by column).
    """
    values = minimised(frame.assign(top1=short_top1(frame)), objectives)
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
) -> list[KnobShare]:
    """For each knob, the share of the measure's variance between its values, the largest first; undefined ones are left
    out.

    For `front` this is PED-ANOVA (arXiv:2304.10255) with frequencies instead of kernels: the variance, between a knob's
    values, of the chance to be among the best equals quarter^2 times the Pearson divergence of its values among the
    best from those among all.
    """
    shares = judge_shares(measure_values(frame, measure, objectives, limits), coded.codes, seed=0)
    found = [KnobShare(name, share) for name, share in zip(coded.names, shares, strict=True)]
    return sorted((each for each in found if not math.isnan(each.share.value)), key=lambda each: -each.share.value)


def in_band(frame: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """The trials inside the budget's band: a published network far below it says nothing about knobs at that budget."""
    kept: pd.DataFrame = frame[~(frame["madds"] < manifest.least_madds)]
    return kept


def is_initial(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """True for trials that were proposed without regard to results: random ones and the start of a search."""
    found: NDArray[np.bool_] = frame["origin"].map(lambda origin: str(origin).split(" ")[0] in INITIAL).to_numpy(bool)
    return found


def can_choose_initial(frame: pd.DataFrame) -> bool:
    """Whether initial proposals can be shown alone: enough of them are trained, and there are others."""
    initial = is_initial(frame)
    return not initial.all() and int((initial & (frame["outcome"] == "trained").to_numpy()).sum()) >= ENOUGH


def above_chance(shares: Sequence[KnobShare]) -> list[str]:
    """The knobs whose share exceeds what chance gives in 95 % of permutations."""
    return [each.knob for each in shares if each.share.above_chance]


def sampling_note(frame: pd.DataFrame) -> str:
    """A sentence on how the trials were sampled."""
    initial = int(is_initial(frame).sum())
    if initial == len(frame):
        return "All proposals were random or starting points of the search, so no result influenced them."
    return (
        f"{len(frame) - initial:,} of {len(frame):,} proposals depend on earlier results, so this is no random sample: "
        "values that the search prefers were tried more often, and together."
    )


def width_note(frame: pd.DataFrame) -> str | None:
    """A sentence on solved widths; None if widths were not solved or no costs are known."""
    widths = {trial.width for trial in frame["trial"] if trial.width is not None}
    madds = frame["madds"].dropna() / 1e6
    if len(widths) < 2 or madds.empty:
        return None
    return (
        f"Widths were solved to fit the budget, so multiply-adds are held between {madds.min():.1f} and "
        f"{madds.max():.1f} M. A more expensive value makes its network narrower, so top-1 compares values at similar "
        "multiply-adds."
    )


def shares_note(shares: Sequence[KnobShare], name: str) -> str:
    """The shares in one sentence. name: the measure in words."""
    if not shares:
        return f"No knob has two values with enough trials to judge {name}."
    found = [knob_title(name) for name in above_chance(shares)]
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
