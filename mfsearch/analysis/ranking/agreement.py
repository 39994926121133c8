"""How well two rankings of networks agree, and how well they could agree at best.

More is better throughout, so callers negate a loss. Each array has one entry per network.
"""

import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
RISE = (0.55, 0.70)  # the taus of two readings whose difference a calibration should show
CORRELATION = 0.55  # of the errors of two readings' taus over the same networks; 0.3 to 0.9 in the kept calibration
WANTED = 0.8  # the chance with which a calibration should show RISE


class Estimate(NamedTuple):
    """A figure over n networks with its percentile bootstrap interval; NaN where undefined."""

    value: float
    low: float
    high: float
    n: int


def kendall_tau(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's tau-b of two rankings, -1 to 1; NaN if all networks are equal in one of them."""
    from scipy.stats import kendalltau  # takes 1.5 s, which a reader of finished calibrations does not need

    x_N, y_N = _paired(x, y)
    return float(kendalltau(x_N, y_N).statistic) if len(x_N) > 1 else math.nan


def bootstrap_tau(x: ArrayLike, y: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """Kendall's tau-b with a bootstrap interval; a network drawn twice is tied in both rankings, and tau-b skips it."""
    x_N, y_N = _paired(x, y)
    taus_R = _weighted_tau(_order(x_N), _order(y_N), _resampled(len(x_N), seed, resamples))
    return Estimate(kendall_tau(x_N, y_N), *_interval(taus_R), len(x_N))


def bootstrap_gain(x: ArrayLike, base: ArrayLike, y: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """tau(x, y) minus tau(base, y), both from the same draws of networks."""
    x_N, y_N = _paired(x, y)
    base_N, _ = _paired(base, y)
    counts_RN = _resampled(len(x_N), seed, resamples)
    gains_R = _weighted_tau(_order(x_N), _order(y_N), counts_RN) - _weighted_tau(_order(base_N), _order(y_N), counts_RN)
    return Estimate(kendall_tau(x_N, y_N) - kendall_tau(base_N, y_N), *_interval(gains_R), len(x_N))


def mean_rank(*metrics: ArrayLike) -> Values:
    """The mean of each network's ranks in several metrics, 0 the worst; equal values share their mean rank."""
    return np.asarray(np.mean([pd.Series(np.asarray(metric)).rank() - 1 for metric in metrics], axis=0))


def top_recall(x: ArrayLike, y: ArrayLike, k: int = 5) -> float:
    """The share of y's k best networks that are among x's k best, averaged over ways to break ties; chance is k / n."""
    x_N, y_N = _paired(x, y)
    if not 1 <= k <= len(x_N):
        raise ValueError(f"k must be 1 to the number of networks, {len(x_N)}, got {k}")
    return float((_share_of_top(x_N, k) * _share_of_top(y_N, k)).sum() / k)


def retest_noise(first: ArrayLike, second: ArrayLike) -> float:
    """Standard deviation over seeds of one measurement, from two seeds of every network; N - 1 degrees of freedom.

    A shift that is the same for all networks does not change their ranking and is not counted.
    """
    x_N, y_N = _paired(first, second)
    if len(x_N) < 2:
        raise ValueError(f"noise needs two networks or more, got {len(x_N)}")
    return float(np.std(x_N - y_N, ddof=1) / math.sqrt(2))


def spread_between(values: Sequence[float] | Values, noise: float) -> float:
    """Standard deviation between networks without seed noise: sqrt(observed variance - noise^2), at least 0."""
    if len(values) < 2:
        raise ValueError(f"a spread needs two networks or more, got {len(values)}")
    return math.sqrt(max(0.0, float(np.var(np.asarray(values), ddof=1)) - noise**2))


def noise_ceiling(noise_x: float, spread_x: float, noise_y: float, spread_y: float) -> float:
    """The expected tau between two measurements of the same true values if seed noise is their only error.

    Assumes normal values and noise: their correlation is rho = 1 / sqrt((1 + (noise_x / spread_x)^2) (1 + (noise_y /
    spread_y)^2)) and tau = 2 / pi arcsin(rho). Noise of half the spread gives 0.59 if both have it, 0.70 if one does;
    noise that explains the whole spread gives 0.
    """
    if min(noise_x, noise_y, spread_x, spread_y) < 0:
        raise ValueError(f"noise and spread must be 0 or more, got {(noise_x, spread_x, noise_y, spread_y)}")
    if (noise_x and not spread_x) or (noise_y and not spread_y):
        return 0.0
    share_x = noise_x / spread_x if noise_x else 0.0
    share_y = noise_y / spread_y if noise_y else 0.0
    rho = 1 / math.sqrt((1 + share_x**2) * (1 + share_y**2))
    return 2 / math.pi * math.asin(rho)


def chance_to_show(networks: int) -> float:
    """The chance that a reading with the higher tau of RISE is shown to rank better than one with the lower.

    Over n networks atanh(tau) is about normal with variance 0.437 / (n - 4) (Fieller, Hartley and Pearson 1957,
    doi:10.1093/biomet/44.3-4.470). The two readings are of the same networks; the interval is two-sided.
    """
    if networks <= 4:
        return 0.0
    spread = math.sqrt(0.437 / (networks - 4) * 2 * (1 - CORRELATION))
    normal, (low, high) = NormalDist(), map(math.atanh, RISE)
    return normal.cdf((high - low) / spread - normal.inv_cdf((1 + LEVEL) / 2))


def chance_sentence(networks: int) -> str:
    """What so many networks can show, and how many it takes."""
    wanted = next(n for n in itertools.count(5) if chance_to_show(n) >= WANTED)
    low, high = RISE
    more = f"; {100 * WANTED:.0f} % takes {wanted}" if networks < wanted else ""
    return (
        f"With {networks} networks, the chance to show a rise of tau from {low:.2f} to {high:.2f} is "
        f"{100 * chance_to_show(networks):.0f} %{more}."
    )


def _paired(x: ArrayLike, y: ArrayLike) -> tuple[Values, Values]:
    x_N, y_N = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x_N.ndim != 1 or x_N.shape != y_N.shape or not len(x_N):
        raise ValueError(f"two rankings must be lists of one length, got shapes {x_N.shape} and {y_N.shape}")
    if not (np.isfinite(x_N).all() and np.isfinite(y_N).all()):
        raise ValueError("a ranking must be finite")
    return x_N, y_N


def _order(x_N: Values) -> Values:
    """1 if the row's network is above the column's, -1 if below, 0 if equal."""
    return np.sign(x_N[:, None] - x_N[None, :])


def _weighted_tau(x_NN: Values, y_NN: Values, counts_RN: Values) -> Values:
    """tau-b of R samples with network i counts[r, i] times: (concordant - discordant) / sqrt(untied in x * in y)."""

    def pairs(table_NN: Values) -> Values:
        return np.asarray(((counts_RN @ table_NN) * counts_RN).sum(1))

    scale_R = np.sqrt(pairs(np.abs(x_NN)) * pairs(np.abs(y_NN)))
    tau_R = np.full(len(counts_RN), np.nan)
    np.divide(pairs(x_NN * y_NN), scale_R, out=tau_R, where=scale_R > 0)
    return tau_R


def _resampled(n: int, seed: int, resamples: int) -> Values:
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def _interval(samples_R: Values) -> tuple[float, float]:
    whole = samples_R[np.isfinite(samples_R)]
    if not len(whole):
        return math.nan, math.nan
    low, high = np.quantile(whole, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _share_of_top(x_N: Values, k: int) -> Values:
    """1 for networks certainly among the k best, a share for those tied at the k-th place, 0 for the others."""
    kth = np.sort(x_N)[-k]
    above, tied = x_N > kth, x_N == kth
    return np.asarray(above + tied * ((k - above.sum()) / tied.sum()))
