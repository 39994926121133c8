"""What a change buys: paired differences over seeds with t-intervals, corrected for how many are looked at."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CONFIDENCE = 0.95


class Effect(NamedTuple):
    """The mean paired difference, second less first, with its 95 % interval; None where there are too few pairs.

    p: two-sided, of a mean of 0, by the same t-distribution; below 0.05 exactly where the interval leaves 0 out.
    """

    pairs: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def paired_effect(first: Mapping[int, float], second: Mapping[int, float], *, step: float = 0.0) -> Effect:
    """The effect over the seeds that both have. step: the unit in which the values move, such as one image of top1.

    Values are rounded to the step, so pairs that agree to the step are not certain: the spread is taken to be at least
    that of two roundings. Assumes that the seeds' differences are drawn independently, about normally.
    """
    differences = [second[seed] - first[seed] for seed in first if seed in second]
    if not differences:
        return Effect(0)
    n, mean = len(differences), statistics.fmean(differences)
    if n == 1:
        return Effect(1, mean)
    error = max(statistics.stdev(differences), step / math.sqrt(6)) / math.sqrt(n)
    if error == 0:
        return Effect(n, mean, mean, mean, 1.0 if mean == 0 else 0.0)
    reach = t_quantile(n - 1) * error
    return Effect(n, mean, mean - reach, mean + reach, 1 - t_inside(abs(mean) / error, n - 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values (1979): below 0.05 keeps the chance of any false finding among them all under 5 %."""
    known = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, k) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[k] = highest
    return adjusted


def expected_by_chance(effects: Sequence[Effect]) -> float:
    """How many of the intervals would leave out 0 if no change had any effect."""
    return (1 - CONFIDENCE) * sum(effect.low is not None for effect in effects)


def t_inside(t: float, freedom: int) -> float:
    """P(|T| <= t) of Student's t with a whole number of degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    if freedom < 1 or t < 0:
        raise ValueError(f"t must be 0 or more and freedom 1 or more, got {t} and {freedom}")
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def t_quantile(freedom: int, inside: float = CONFIDENCE) -> float:
    """The t within which Student's distribution has the share `inside`: 4.303 for 2 degrees of freedom and 95 %."""
    low, high = 0.0, 1.0
    while t_inside(high, freedom) < inside:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_inside(middle, freedom) < inside else (low, middle)
    return (low + high) / 2
