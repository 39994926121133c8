"""A network's costs by part and block: exact multiply-adds and parameters, and predicted milliseconds.

Milliseconds are predicted by rates fitted to the networks that the study measured as a whole. The split into parts is
inferred from differences between networks, so the intervals of parts are wide.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from mfsearch.analysis.front.compare import readable_networks, row_names
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import (
    MIN_MEASURED,
    WITHIN,
    Accuracy,
    Prediction,
    Rates,
    count_work,
    fit_rates,
    leave_one_out,
    split_work,
    unmeasured,
)
from mfsearch.cost.madds import PART_NAMES, count_costs
from mfsearch.search.screen import FITTED, LATEST

PARTS = PART_NAMES | {"run": "each run"}


class StudyRates(NamedTuple):
    """Rates fitted to `measured` networks of a study; accuracy: each of the latest predicted from the others."""

    rates: Rates
    measured: int
    accuracy: Accuracy

    def predict(self, config: MobileFormerConfig) -> Prediction:
        """The latency of a whole network."""
        return self.rates.predict(count_work(config)[None])[0]


def fit_study(frame: pd.DataFrame) -> StudyRates | None:
    """Rates from the latest trials that were measured; None below MIN_MEASURED. Up to a second."""
    timed = frame[frame["latency_ms"] > 0].tail(FITTED)
    networks = readable_networks(timed)
    if len(networks) < MIN_MEASURED:
        return None
    work = np.stack([count_work(config) for config in networks.values()])
    ms = timed.set_index("number").loc[list(networks), "latency_ms"].to_numpy(dtype=np.float64)
    found = leave_one_out(work[-LATEST:], ms[-LATEST:], unmeasured())
    return StudyRates(fit_rates(work, ms, unmeasured()), len(networks), found)


def rates_line(found: StudyRates | None, measured: int) -> str:
    """The basis of predicted milliseconds and their error, or why there are none. measured: trials with a latency."""
    if found is None:
        return (
            f"Latency by part is predicted from the networks that a study measured: {MIN_MEASURED} are needed, "
            f"this study has {measured}" + (", not all of them readable." if measured >= MIN_MEASURED else ".")
        )
    error = found.accuracy
    return (
        f"Predicted from {found.measured} networks that this study measured. Predicting each of {error.networks} from "
        f"the others gives a median error of {error.median_error:.1%}, with {error.within:.0%} within {WITHIN:.0%} of "
        f"the measurement. The fit uses whole networks, so parts are less certain than the total. "
        f"Whiskers are 95% intervals."
    ).replace("%", " %")


def part_costs(config: MobileFormerConfig, rates: Rates | None = None) -> pd.DataFrame:
    """Costs by place and part, in the order of the forward pass; each column sums to the whole network's cost.

    `place` is stem, lite, a name of `row_names`, final, head, tokens (their parameters) or run (the fixed cost of any
    run). predicted_ms is NaN without rates, or if a part takes no time.
    """
    names = {str(k): name for k, name in enumerate(row_names(config))}
    costs = {(row.where, row.part): row for row in count_costs(config).parts}
    work = split_work(config) if rates is not None else {}
    ms = [] if rates is None else rates.predict(np.stack(list(work.values())))
    predicted = {place: one.latency_ms for place, one in zip(work, ms, strict=True)}
    rows = [
        {
            "place": names.get(where, where),
            "part": part,
            "madds": costs[where, part].madds if (where, part) in costs else 0,
            "macs": costs[where, part].macs if (where, part) in costs else 0,
            "num_params": costs[where, part].num_params if (where, part) in costs else 0,
            "predicted_ms": predicted.get((where, part), np.nan),
        }
        for where, part in [*costs, *(place for place in work if place not in costs)]
    ]
    return pd.DataFrame(rows)


def predicted_parts(config: MobileFormerConfig, rates: Rates) -> dict[str, Prediction]:
    """Predicted milliseconds of each part summed over the network, with the interval of that sum."""
    work = split_work(config)
    parts = [part for part in PARTS if any(part == there for _, there in work)]
    sums = [np.sum([one for (_, there), one in work.items() if there == part], axis=0) for part in parts]
    return dict(zip(parts, rates.predict(np.stack(sums)), strict=True))
