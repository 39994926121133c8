"""Skips candidates that are predicted to be too slow; the predictions are learned from the search's own latencies."""

from collections.abc import Sequence

import numpy as np

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import (
    MIN_MEASURED,
    WITHIN,
    Array,
    Prediction,
    Rates,
    count_work,
    fit_rates,
    leave_one_out,
    unmeasured,
)
from mfsearch.study.trial import Trial

FITTED = 300  # rates are fitted to this many measured networks, the latest: more take longer and add little
LATEST = 50  # the closing line's error is over this many measured networks, the latest


class LatencyScreen:
    """Predicts latency from the reference network's time on the device and the latest measured trials of this search.

    Without a limit it predicts nothing and rejects nothing; without the reference's time, as in studies begun earlier,
    neither before MIN_MEASURED networks are measured.
    """

    def __init__(self, limit_ms: float | None, reference_ms: float | None = None) -> None:
        self.limit_ms, self.reference_ms = limit_ms, reference_ms
        self.work: list[Array] = []
        self.latency_ms: list[float] = []
        self._rates: Rates | None = None

    def learn(self, trial: Trial) -> None:
        """Add a finished trial with the search's latency; a trial without one is ignored."""
        if self.limit_ms is None or trial.measured is None:
            return
        self.work.append(count_work(trial.config))
        self.latency_ms.append(trial.measured.ms)
        self._rates = None

    def predict(self, config: MobileFormerConfig) -> Prediction | None:
        if self.limit_ms is None or (self.reference_ms is None and len(self.work) < MIN_MEASURED):
            return None
        if self._rates is None:
            self._rates = unmeasured(self.reference_ms)
            if self.work:
                latency_ms = np.array(self.latency_ms[-FITTED:])
                self._rates = fit_rates(np.stack(self.work[-FITTED:]), latency_ms, self._rates)
        return self._rates.predict(count_work(config)[None])[0]

    def is_too_slow(self, expected: Prediction | None) -> bool:
        """Whether even the lower end of the interval is above the limit."""
        return self.limit_ms is not None and expected is not None and expected.low_ms > self.limit_ms


def screen_line(trials: Sequence[Trial], limit_ms: float | None) -> str | None:
    """The number of draws rejected without a measurement, and the error of predictions; None without any.

    The same network may be drawn more than once.
    """
    screen = LatencyScreen(limit_ms)
    for trial in trials:
        screen.learn(trial)
    if len(screen.work) <= MIN_MEASURED or all(trial.turned_down is None for trial in trials):
        return None
    turned_down = sum(trial.turned_down or 0 for trial in trials)
    accuracy = leave_one_out(np.stack(screen.work[-LATEST:]), np.array(screen.latency_ms[-LATEST:]), unmeasured())
    return (
        f"predicted latency rejected {turned_down} draws without a measurement; predicting each of "
        f"{accuracy.networks} measured networks from the others: {accuracy.within:.0%} within {WITHIN:.0%}, median "
        f"error {accuracy.median_error:.1%}, {accuracy.covered:.0%} in their 95 % interval"
    )
