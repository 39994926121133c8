"""The share of a value's variance between groups of trials, with its interval and the share that chance gives.

A grouping puts each of N trials into one group, or leaves it out. The share is the correlation ratio, adjusted for the
number of groups: 1 - (variance inside, over N - groups) / (variance, over N - 1). It is 1 if the groups explain all,
about 0 (or below) if they explain nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

DRAWS = (200, 1000)  # fewest and most resamples and permutations
CELLS = 2_000_000  # of their table: many draws for few trials, few for many
LEVEL = 0.95


class Share(NamedTuple):
    """An adjusted share with its 95 % bootstrap interval; NaN if undefined. chance: 95 % of permutations stay below it.

    n: trials in a group and with a known value; groups: those that are not empty.
    """

    value: float
    low: float
    high: float
    chance: float
    n: int
    groups: int

    @property
    def above_chance(self) -> bool:
        """Whether the share is above 95 % of permutations; False if undefined."""
        return self.value > self.chance


def shares_between(values: Floats, codes: Sequence[Codes]) -> list[float]:
    """The adjusted share for each grouping; NaN if it cannot be computed.

    values: [N], NaN if unknown. codes: for each grouping [N] group numbers from 0, -1 for trials left out.
    """
    if not codes:
        return []
    table = _Table.of(values, codes)
    return [float(share) for share in table.shares(np.ones((1, len(table.values))))[0]]


def group_codes(values: Sequence[object]) -> Codes:
    """The number of each value's group. True is not 1; values without a hash are compared by their text."""
    numbers: dict[object, int] = {}
    kinds = {type(value) for value in values}
    plain = kinds <= {bool} or kinds <= {int, float} or kinds <= {str}  # the usual case, a hundred times a page
    keys = values if plain else [value_key(value) for value in values]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def value_key(value: object) -> tuple[str, object]:
    """A key by which values are compared: kind and value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return type(value).__name__, repr(value)
    return ("text" if isinstance(value, str) else "number"), value


def judge_shares(values: Floats, codes: Sequence[Codes], *, seed: int) -> list[Share]:
    """The adjusted share for each grouping with interval and chance level.

    Permutations stay among the trials in a group, because the others, such as networks without the knob, may differ in
    value. In the bootstrap the sample's means are the true ones, so its shares vary around the sample's unadjusted
    share; these deviations give the interval around the adjusted share.
    """
    if not codes:
        return []
    table = _Table.of(values, codes)
    n = len(table.values)
    draws = int(np.clip(CELLS // max(1, n), *DRAWS))
    generator = np.random.default_rng(seed)
    found = table.shares(np.ones((1, n)))[0]
    if n < 3:
        return [Share(np.nan, np.nan, np.nan, np.nan, int(k), int(g)) for k, g in zip(*table.sizes(), strict=True)]
    picked = generator.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
    counts = np.bincount(picked.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
    spread = table.shares(counts) - table.plain_shares()
    chance = table.permuted_shares(draws, generator)
    low, high = _quantiles(spread, (1 - LEVEL) / 2), _quantiles(spread, (1 + LEVEL) / 2)
    level = np.where(np.isnan(found), np.nan, _quantiles(chance, LEVEL))
    return [
        Share(float(found[k]), float(found[k] + low[k]), float(min(1.0, found[k] + high[k])), float(level[k]), *size)
        for k, size in enumerate((int(n), int(groups)) for n, groups in zip(*table.sizes(), strict=True))
    ]


class _Table(NamedTuple):
    """Centred values of the trials, and their membership [N, all groups of all groupings], 1 or 0."""

    values: Floats
    member: Floats
    starts: NDArray[np.int64]  # the first column of each grouping

    @classmethod
    def of(cls, values: Floats, codes: Sequence[Codes]) -> "_Table":
        finite = np.isfinite(values)
        y = values[finite] - (values[finite].mean() if finite.any() else 0.0)
        widths = [max(1, int(code.max(initial=-1)) + 1) for code in codes]
        starts = np.concatenate([[0], np.cumsum(widths)[:-1]]).astype(np.int64)
        member = np.zeros((len(y), sum(widths)))
        for start, code in zip(starts, codes, strict=True):
            there = code[finite]
            inside = np.flatnonzero(there >= 0)
            member[inside, start + there[inside]] = 1.0
        return cls(y, member, starts)

    def sizes(self) -> tuple[Floats, Floats]:
        """Trials and groups of each grouping."""
        counts = self.member.sum(axis=0)
        return self._gather(counts), self._gather((counts > 0).astype(np.float64))

    def shares(self, weights: Floats) -> Floats:
        """[R, groupings] with trial i counted weights[r, i] times."""
        weighted = weights * self.values
        return self._adjusted(
            weights @ self.member, weighted @ self.member, self._gather((weighted * self.values) @ self.member)
        )

    def permuted_shares(self, draws: int, generator: np.random.Generator) -> Floats:
        """[draws, groupings] with the values of each grouping's trials permuted among them.

        All groupings use the same permutations, without the trials they leave out. Each group takes the next values in
        a permuted row, as many as it has trials.
        """
        n = len(self.values)
        order = generator.permuted(np.broadcast_to(np.arange(n), (draws, n)), axis=1)
        values = self.values[order]
        counts = self.member.sum(axis=0)
        sums = np.zeros((draws, len(counts)))
        for columns in np.split(np.arange(len(counts)), self.starts[1:]):
            filled = columns[counts[columns] > 0]
            if len(filled):
                held: NDArray[np.bool_] = self.member[:, filled].sum(axis=1) > 0
                own = values if held.all() else values[held[order]].reshape(draws, -1)
                ends = np.cumsum(counts[filled]).astype(np.int64)
                sums[:, filled] = np.add.reduceat(own, np.append(0, ends[:-1]), axis=1)
        squares = self._gather((self.values**2) @ self.member)
        return self._adjusted(
            np.broadcast_to(counts, sums.shape), sums, np.broadcast_to(squares, (draws, len(squares)))
        )

    def plain_shares(self) -> Floats:
        """The unadjusted share of each grouping."""
        counts, sums = self.member.sum(axis=0), self.values @ self.member
        n, total = self._gather(counts), self._gather(sums)
        squares = self._gather((self.values**2) @ self.member)
        between = self._gather(sums**2 / np.maximum(counts, 1.0)) - total**2 / np.maximum(n, 1.0)
        whole = squares - total**2 / np.maximum(n, 1.0)
        shares: Floats = np.full(len(n), np.nan)
        np.divide(between, whole, out=shares, where=whole > 1e-12 * squares)
        return shares

    def _adjusted(self, counts: Floats, sums: Floats, squares: Floats) -> Floats:
        n, total = self._gather(counts), self._gather(sums)
        groups = self._gather((counts > 0).astype(np.float64))
        inside = squares - self._gather(sums**2 / np.maximum(counts, 1.0))
        whole = squares - total**2 / np.maximum(n, 1.0)
        spare = n - groups
        defined = (groups > 1) & (spare > 0) & (whole > 1e-12 * squares)
        ratio = np.full(n.shape, np.nan)
        np.divide(np.maximum(inside, 0.0) * (n - 1), whole * spare, out=ratio, where=defined)
        return 1.0 - ratio

    def _gather(self, columns: Floats) -> Floats:
        """Sums over the groups of each grouping, along the last axis."""
        summed: Floats = np.add.reduceat(columns, self.starts, axis=-1)
        return summed


def _quantiles(samples: Floats, share: float) -> Floats:
    """The quantile of each column over its defined values; NaN without any."""
    empty = np.isnan(samples).all(axis=0)
    found: Floats = np.nanquantile(np.where(empty, 0.0, samples), share, axis=0)
    return np.where(empty, np.nan, found)
