"""Candidates that are predicted to be too slow are not measured: learned from the latencies of the search itself."""

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

FITTED = 300  # latest measured networks that rates are fitted to: more take longer and add little
LATEST = 50  # measured networks that the closing line's error is taken over


class LatencyScreen:
    """Predicts latency from the latest trials that were measured, in their order, and from nothing else.

    Without a limit, or before MIN_MEASURED networks are measured, it predicts nothing and turns nothing down.
    """

    def __init__(self, limit_ms: float | None) -> None:
        self.limit_ms = limit_ms
        self.work: list[Array] = []
        self.latency_ms: list[float] = []
        self._rates: Rates | None = None

    def learn(self, trial: Trial) -> None:
        """Take in a finished trial, with the search's latency; one without it says nothing."""
        if self.limit_ms is None or trial.measured is None:
            return
        self.work.append(count_work(trial.config))
        self.latency_ms.append(trial.measured.ms)
        self._rates = None

    def predict(self, config: MobileFormerConfig) -> Prediction | None:
        if len(self.work) < MIN_MEASURED:
            return None
        if self._rates is None:
            self._rates = fit_rates(np.stack(self.work[-FITTED:]), np.array(self.latency_ms[-FITTED:]), unmeasured())
        return self._rates.predict(count_work(config)[None])[0]

    def is_too_slow(self, expected: Prediction | None) -> bool:
        """Whether even the lower end of the interval is above the limit."""
        return self.limit_ms is not None and expected is not None and expected.low_ms > self.limit_ms


def screen_line(trials: Sequence[Trial], limit_ms: float | None) -> str | None:
    """How many draws were turned down unmeasured, and how far predictions can be trusted; None without any.

    A network may be drawn more than once.
    """
    screen = LatencyScreen(limit_ms)
    for trial in trials:
        screen.learn(trial)
    if len(screen.work) <= MIN_MEASURED or all(trial.turned_down is None for trial in trials):
        return None
    turned_down = sum(trial.turned_down or 0 for trial in trials)
    found = leave_one_out(np.stack(screen.work[-LATEST:]), np.array(screen.latency_ms[-LATEST:]), unmeasured())
    return (
        f"predicted latency turned down {turned_down} draws unmeasured; each of {found.networks} measured "
        f"networks predicted from the others: {found.within:.0%} within {WITHIN:.0%}, median error "
        f"{found.median_error:.1%}, {found.covered:.0%} in their 95 % interval"
    )
