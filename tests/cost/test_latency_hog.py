"""What the benchmark of false differences counts; it is run by hand."""

import dataclasses

from benchmarks.latency_hog import report_of
from mfsearch.cost.meter import Latency, Round, summarise
from tests.cost.test_meter import PASSPORT


def measured(ratio: float, low: float, high: float, *, disturbed: bool = False) -> Latency:
    made = summarise([Round((1.0, 1.0), (1.0, 1.0))] * 6, baseline_ms=1.0, target=0.01, passport=PASSPORT)
    return dataclasses.replace(made, ratio=ratio, ratio_low=low, ratio_high=high, disturbed=disturbed)


def test_pairs_are_counted_as_by_hand() -> None:
    one = measured(1.00, 0.98, 1.02)
    pairs = [
        (one, measured(1.01, 0.99, 1.03)),
        (one, measured(1.03, 1.01, 1.05)),  # intervals overlap, medians lie outside
        (measured(1.04, 1.03, 1.05, disturbed=True), one),  # apart
    ]
    found = report_of(pairs, [measured(1.10, 1.0, 1.2, disturbed=True), one], seconds=1.0)
    assert (found.pairs, found.false_differences, found.outside_both) == (3, 1, 2)
    assert round(found.largest, 9) == 0.04
    assert (found.flagged, found.hogs, found.hogs_flagged) == (1, 2, 1)
