import math

import numpy as np
import pytest

from mfsearch.analysis.figures.latency_bars import draw_against_madds, draw_predictions, draw_twice
from mfsearch.analysis.latency.milliseconds import (
    TimedTrial,
    correlation_in_words,
    disturbed_in_words,
    prediction_accuracy,
    rank_correlation,
    screen_in_words,
    timed_trials,
    turned_down,
    twice_in_words,
)
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import MARKUP, changed, failed, measured_again, row, study


def timed(number: int, ms: float, **more: object) -> Trial:
    ends: dict[str, object] = {"latency_low_ms": ms - 0.1, "latency_high_ms": ms + 0.1, "latency_disturbed": False}
    return changed(row(number), latency_ms=ms, **{**ends, **more})


def predicted(number: int, ms: float, expected: float, **more: object) -> Trial:
    ends: dict[str, object] = {
        "predicted_low_ms": expected * 0.95,
        "predicted_high_ms": expected * 1.05,
        "turned_down": number,
    }
    return timed(number, ms, predicted_latency_ms=expected, **{**ends, **more})


def again(one: Trial, ms: float, disturbed: bool = False) -> Trial:
    low, high = ms - 0.05, ms + 0.05
    return measured_again(one, ms, latency_low_ms=low, latency_high_ms=high, latency_disturbed=disturbed, window="w")


def trials(*rows: Trial) -> list[TimedTrial]:
    return timed_trials(study_frame(rows))


@pytest.mark.parametrize("rows", [[], failed(2), [row(0)]], ids=["empty", "failed", "not measured"])
def test_without_latency_there_is_a_sentence(rows: list[Trial]) -> None:
    frame = study_frame(rows)
    found = timed_trials(frame)
    assert found == []
    assert prediction_accuracy(found) is None
    assert "No latency was predicted" in screen_in_words(turned_down(frame), None)
    assert "needs two networks" in correlation_in_words(found, {})
    assert disturbed_in_words(found) == ""
    assert twice_in_words(found) is None


def test_the_search_s_figures_and_those_of_the_end_are_told_apart() -> None:
    first, second = trials(again(predicted(0, 5.0, 5.2), 4.8, disturbed=True), timed(1, 6.0, outcome="rejected"))
    assert (first.search.ms, first.search.disturbed) == (5.0, False)
    assert first.final is not None
    assert (first.final.ms, first.final.disturbed) == (4.8, True)
    assert first.predicted is not None
    assert first.predicted.latency_ms == 5.2
    assert (second.final, second.predicted, second.outcome) == (None, None, "rejected")


def test_predictions_are_judged_by_the_search_s_own_measurements() -> None:
    """4 % off and inside its interval; 8 % off and outside; 25 % off: two of three within 10 %, one of three inside."""
    rows = [again(predicted(0, 5.0, 5.2), 9.0), predicted(1, 5.0, 5.4), predicted(2, 4.0, 5.0), timed(3, 7.0)]
    found = prediction_accuracy(trials(*rows))
    assert found is not None
    assert found.networks == 3
    assert [found.within, found.covered] == pytest.approx([2 / 3, 1 / 3])
    assert found.median_error == pytest.approx(0.08)
    words = screen_in_words(turned_down(study_frame(rows)), found)
    assert words.startswith("3 draws predicted to be too slow were turned down without a measurement")
    assert "Of 3 networks predicted and then measured, 67 % were within 10 % and 33 % lay in the 95 %" in words
    assert "the median error is 8.0 %" in words


def test_a_study_without_predictions_turned_nothing_down() -> None:
    assert turned_down(study_frame(study())) is None
    assert turned_down(study_frame([predicted(0, 1.0, 1.0), row(1)])) == 0


def test_rank_correlation_by_hand() -> None:
    """Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15) = 0.8; a tie shares its mean rank."""
    assert rank_correlation([1, 2, 3, 4], [10, 30, 20, 40]).value == pytest.approx(0.8)
    assert rank_correlation([1, 2, 3], [3, 2, 1]).value == pytest.approx(-1.0)
    assert rank_correlation([1, 1, 2], [1, 2, 3]).value == pytest.approx(math.sqrt(3) / 2)
    assert rank_correlation([1, 2, math.nan], [1, 2, 0]).n == 2


def test_the_interval_is_fisher_s_with_fieller_s_variance() -> None:
    """rho 0 over 103 networks: tanh(1.96 sqrt(1.06 / 100)) = 0.199."""
    x = np.arange(103.0)
    y = np.abs(x - 51)  # symmetric: no rank correlation at all
    found = rank_correlation(x.tolist(), y.tolist())
    assert found.value == pytest.approx(0.0, abs=1e-12)
    assert [found.low, found.high] == pytest.approx([-0.199, 0.199], abs=1e-3)


@pytest.mark.parametrize("pairs", [[], [(1, 1)], [(1, 1), (1, 2)], [(1, 2), (2, 2)]])
def test_where_it_is_not_defined_it_is_nan(pairs: list[tuple[float, float]]) -> None:
    assert math.isnan(rank_correlation([x for x, _ in pairs], [y for _, y in pairs]).value)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([0, 1, 2, 3, 4], "1.00 over 5 networks: a strong"),
        ([4, 0, 3, 1, 2], "-0.30 [-0.94, 0.81] over 5 networks: a weak"),
    ],
)
def test_the_correlation_is_said_in_words(order: list[int], words: str) -> None:
    found = trials(*(timed(k, 5.0 + ms, madds=100_000_000 + k) for k, ms in enumerate(order)))
    assert words in correlation_in_words(found, {})
    assert "built for one budget" in correlation_in_words(found, {"madds": 150e6})


def test_disturbed_measurements_are_counted_by_the_figure_that_is_shown() -> None:
    calm, shaken = timed(0, 5.0), timed(1, 5.0, latency_disturbed=True)
    assert disturbed_in_words(trials(calm)) == "None of 1 measurement was disturbed."
    assert disturbed_in_words(trials(calm, shaken)).startswith("1 of 2 measurements disturbed")
    assert disturbed_in_words(trials(again(shaken, 5.0))) == "None of 1 measurement was disturbed."
    assert "does not report disturbed" in disturbed_in_words(trials(timed(0, 5.0, latency_disturbed=None)))


def test_the_end_is_compared_with_the_search() -> None:
    found = trials(again(timed(0, 5.0), 4.5), again(timed(1, 4.0), 4.0), again(timed(2, 4.0), 4.1), timed(3, 9.0))
    words = twice_in_words(found)
    assert words is not None
    assert words.startswith("3 networks measured again")
    assert "the median changed by +0.0 %" in words
    assert "the most by -10.0 %" in words


def test_figures_have_all_points_and_no_markup() -> None:
    rows = [
        again(predicted(0, 5.0, 5.2, origin=MARKUP), 4.8),
        predicted(1, 6.0, 5.8, outcome="rejected"),
        timed(2, 5.0),
    ]
    rows.append(timed(3, 5.0, latency_low_ms=None, latency_high_ms=None, outcome="failed", latency_disturbed=True))
    found = trials(*rows)
    predictions, against, twice = draw_predictions(found, 5.5), draw_against_madds(found, 0), draw_twice(found)
    assert sorted(int(n) for trace in predictions.data[2:] for n in trace.customdata) == [0, 1]
    assert sorted(int(n) for trace in against.data[:3] for n in trace.customdata) == [0, 1, 2, 3]
    assert against.data[2].marker.symbol == ("x-open",)
    assert [trace.x[0] for trace in twice.data] == [5.0, 4.8]
    for figure in (predictions, against, twice):
        assert "<img" not in figure.to_json()
    for figure in (draw_predictions([], None), draw_against_madds([], None), draw_twice([])):
        assert figure.layout.xaxis.title.text
