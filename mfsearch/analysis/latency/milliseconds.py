"""The latencies of a study: predicted and measured, in the search and at its end, against multiply-adds."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from mfsearch.analysis.front.confidence import Z_95
from mfsearch.analysis.metrics import METRICS
from mfsearch.cost.latency_model import WITHIN, Accuracy, Prediction, accuracy
from mfsearch.study.trial import Trial, TrialLatency
from mfsearch.units import counted


class TimedTrial(NamedTuple):
    """A trial with a latency from the search, and one from the end of the run if it was measured again. predicted: the
    prediction before the search's measurement, None without one."""

    number: int
    outcome: str
    origin: str
    madds: float
    search: TrialLatency
    final: TrialLatency | None
    predicted: Prediction | None


class Correlation(NamedTuple):
    """Spearman's rank correlation of n pairs with a 95 % interval; NaN if undefined."""

    value: float
    low: float
    high: float
    n: int


def timed_trials(frame: pd.DataFrame) -> list[TimedTrial]:
    """The trials with a measured latency, by number, with any outcome."""
    trials: list[Trial] = frame["trial"].tolist()
    return [
        TimedTrial(
            number=trial.number,
            outcome=trial.outcome,
            origin=trial.origin,
            madds=trial.metric("madds"),
            search=trial.measured,
            final=None if trial.final is None else trial.final.latency,
            predicted=trial.predicted,
        )
        for trial in trials
        if trial.measured is not None
    ]


def turned_down(frame: pd.DataFrame) -> int | None:
    """The number of draws that were predicted to be too slow and not measured; None if nothing was predicted."""
    counts = [trial.turned_down for trial in frame["trial"] if trial.turned_down is not None]
    return sum(counts) if counts else None


def prediction_accuracy(trials: Sequence[TimedTrial]) -> Accuracy | None:
    """The error of the search's predictions against its own measurements; None without any."""
    pairs = [(one.predicted, one.search.ms) for one in trials if one.predicted is not None]
    if not pairs:
        return None
    return accuracy([predicted for predicted, _ in pairs], np.array([ms for _, ms in pairs]))


def screen_in_words(draws: int | None, found: Accuracy | None) -> str:
    """The number of draws that the latency prediction rejected, and its accuracy."""
    if draws is None or found is None:
        return "No latency was predicted in this study: it had no latency limit, or measured fewer than eight networks."
    return (
        f"{counted(draws, 'draw')} predicted to be too slow {'was' if draws == 1 else 'were'} turned down without a "
        f"measurement (one network may be drawn twice). Of {counted(found.networks, 'network')} predicted and then "
        f"measured, {100 * found.within:.0f} % were within {100 * WITHIN:.0f} % and "
        f"{100 * found.covered:.0f} % lay in the 95 % interval; the median error is {100 * found.median_error:.1f} %. "
        "Networks turned down were not measured, so their true latency is unknown."
    )


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Spearman's rho; equal values share their mean rank, and pairs with a NaN are left out.

    The interval is Fisher's, with the variance 1.06 / (n - 3) of Fieller, Hartley and Pearson (Biometrika 1957).
    """
    pairs = pd.DataFrame({"x": x, "y": y}, dtype="float64").dropna()
    n = len(pairs)
    if n < 2 or pairs["x"].nunique() < 2 or pairs["y"].nunique() < 2:
        return Correlation(math.nan, math.nan, math.nan, n)
    rho = float(pairs.corr("spearman").to_numpy()[0, 1])
    if n < 4 or abs(rho) > 1 - 1e-12:
        return Correlation(rho, math.nan, math.nan, n)
    half = Z_95 * math.sqrt(1.06 / (n - 3))
    return Correlation(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half), n)


def correlation_in_words(trials: Sequence[TimedTrial], limits: Mapping[str, float]) -> str:
    """How far multiply-adds predict latency here. limits: of the study, because a budget narrows the range."""
    found = rank_correlation([one.madds for one in trials], [(one.final or one.search).ms for one in trials])
    if math.isnan(found.value):
        return "The rank correlation of latency with multiply-adds needs two networks that differ in both."
    size = abs(found.value)
    strength = "no" if size < 0.1 else "a weak" if size < 0.4 else "a moderate" if size < 0.7 else "a strong"
    interval = "" if math.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]"
    words = (
        f"Spearman's rank correlation of latency with multiply-adds is {found.value:.2f}{interval} over "
        f"{counted(found.n, 'network')}: {strength} relation."
    )
    if "madds" in limits:
        words += " All were built for one budget; over a wider range the relation is stronger."
    return words


def disturbed_in_words(trials: Sequence[TimedTrial]) -> str:
    """The number of shown measurements that were disturbed by other work."""
    shown = [one.final or one.search for one in trials]
    known = [one for one in shown if one.disturbed is not None]
    if not known:
        return "This device does not report disturbed measurements." if shown else ""
    count = sum(bool(one.disturbed) for one in known)
    if not count:
        return f"None of {counted(len(known), 'measurement')} was disturbed."
    of = counted(len(known), "measurement")
    return f"{count:,} of {of} disturbed by other work; these may be off by a few percent."


def twice_in_words(trials: Sequence[TimedTrial]) -> str | None:
    """How the latencies from the end of the run compare with the search's; None without any."""
    ratios = [one.final.ms / one.search.ms - 1 for one in trials if one.final is not None and one.search.ms > 0]
    if not ratios:
        return None
    middle, farthest = float(np.median(ratios)), max(ratios, key=abs)
    return (
        f"{counted(len(ratios), 'network')} measured again when the run ended, with no training running: compared with "
        f"the search, the median changed by {_signed(middle)} and the most by {_signed(farthest)}."
    )


def hover_text(one: TimedTrial) -> str:
    """A measured trial as lines of plain text."""
    ms = METRICS["latency_ms"].digits
    lines = [f"trial {one.number} · {one.origin}", f"{one.madds / 1e6:.1f} M multiply-adds, {one.outcome}"]
    for name, found in (("During the search", one.search), ("At the end", one.final)):
        if found is not None:
            interval = f" ({found.low_ms:.{ms}f} to {found.high_ms:.{ms}f})" if found.has_interval else ""
            lines.append(f"{name} {found.ms:.{ms}f} ms{interval}{', disturbed' if found.disturbed else ''}")
    if one.predicted is not None:
        low, high = one.predicted.low_ms, one.predicted.high_ms
        lines.append(f"Predicted {one.predicted.latency_ms:.{ms}f} ms ({low:.{ms}f} to {high:.{ms}f})")
    return "\n".join(lines)


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"
