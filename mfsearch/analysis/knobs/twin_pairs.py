"""The effect of a change: paired differences over seeds, with t-intervals and a correction for many comparisons."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mfsearch.study.twins_file import CONFIDENCE, FOLDER, REPORT, Effect, TwinReport
from mfsearch.units import counted


def paired_effect(first: Mapping[int, float], second: Mapping[int, float], *, step: float = 0.0) -> Effect:
    """The effect over the seeds that both have, assuming independent and roughly normal differences.

    step: the resolution of the values, such as one image for top1. Equal values may hide a difference below the step,
    so the spread is at least that of two roundings.
    """
    from scipy.special import stdtr, stdtrit  # takes 0.2 s, which a reader of finished twins does not need

    differences = [second[seed] - first[seed] for seed in first if seed in second]
    if not differences:
        return Effect(0)
    n, mean = len(differences), statistics.fmean(differences)
    if n == 1:
        return Effect(1, mean)
    error = max(statistics.stdev(differences), step / math.sqrt(6)) / math.sqrt(n)
    if error == 0:
        return Effect(n, mean, mean, mean, 1.0 if mean == 0 else 0.0)
    reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    return Effect(n, mean, mean - reach, mean + reach, 2 * float(stdtr(n - 1, -abs(mean) / error)))


def mean_effect(values: Mapping[int, float], *, step: float = 0.0) -> Effect:
    """The mean over the seeds with its t-interval, as the effect beside 0."""
    return paired_effect(dict.fromkeys(values, 0.0), values, step=step)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values (1979): with a limit of 0.05, the chance of any false finding is under 5 %."""
    known = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, k) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[k] = highest
    return adjusted


def expected_by_chance(effects: Sequence[Effect]) -> float:
    """The expected number of intervals that exclude 0 if no change has any effect."""
    return (1 - CONFIDENCE) * sum(effect.low is not None for effect in effects)


def twin_folders(places: Iterable[Path]) -> list[Path]:
    """The folders with a twins report under the given results folders, each once, sorted by name."""
    found = {path.parent.resolve(): path.parent for place in places for path in place.glob(f"{FOLDER}/*/{REPORT}")}
    return sorted(found.values(), key=lambda path: path.name)


def twins_note(report: TwinReport) -> str:
    """The report in sentences: the comparison, the effects shown, and how many chance alone would show."""
    compared = [twin for twin in report.twins if twin.effect.low is not None]
    shown = [twin for twin in compared if twin.effect.shown]
    strict = sum(twin.holds for twin in shown)
    chance = expected_by_chance([twin.effect for twin in report.twins])
    said = f"{len(shown)} of {len(compared)} intervals leave out 0, {chance:.1f} would if nothing had any effect"
    words = f"{said}; after Holm's correction for all of them {strict or 'none'}."
    if compared and not shown:
        words = f"No effect on top1 is shown: all {len(compared)} intervals hold 0."
    parent = report.parent
    return (
        f"{parent.name} ({parent.madds / 1e6:.1f} M multiply-adds) beside twins that differ in one knob and have its "
        f"multiply-adds to 2 %, {counted(len(report.seeds), 'seed')}, "
        f"the same {report.data.val_images:,} validation images. "
        f"{words} No effect shown is not no effect: read how wide the interval is."
    )
