import numpy as np
import pytest

from mfsearch.analysis.front.cut import (
    OBJECTIVES,
    best_number,
    measured_objectives,
    minimised,
    pareto_front,
    within,
)
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import failed, longer, row, stage, study

NAN = np.nan


def test_front_has_trained_trials_with_all_objectives_by_madds() -> None:
    rows = [
        row(0, 0.60, 150),
        row(1, 0.50, 100),
        row(2, 0.49, 120),  # dominated by 1
        row(3, 0.90, 10, outcome="failed"),
        row(4, None, 5),
        row(5, 0.50, 100),  # equal to 1
    ]
    assert pareto_front(study_frame(rows), ["top1", "madds"])["number"].tolist() == [1, 5, 0]
    assert pareto_front(study_frame(rows), ["top1", "madds", "latency_ms"]).empty


@pytest.mark.parametrize("rows", [[], failed(3)])
def test_front_of_nothing_trained_is_empty_with_its_columns(rows: list[Trial]) -> None:
    front = pareto_front(study_frame(rows), ["top1", "madds"])
    assert front.empty
    assert "top1" in front.columns
    assert best_number(front) is None


@pytest.mark.parametrize("objectives", [[], ["top1", "speed"]])
def test_an_unknown_objective_is_an_error_that_lists_the_known(objectives: list[str]) -> None:
    with pytest.raises(ValueError, match=", ".join(OBJECTIVES)):
        pareto_front(study_frame([row(0)]), objectives)


def test_minimised_turns_top1_around() -> None:
    assert minimised(study_frame([row(0, 0.25, 100)]), ["madds", "top1"]).tolist() == [[100.0, -0.25]]


def test_within_keeps_the_limit_itself_and_drops_what_was_not_measured() -> None:
    frame = study_frame([row(0, madds=100, latency_ms=5.0), row(1, madds=101, latency_ms=5.0), row(2, madds=99)])
    assert within(frame, {"madds": 100})["number"].tolist() == [0, 2]
    assert within(frame, {"madds": 100, "latency_ms": 6})["number"].tolist() == [0]
    assert within(frame, {})["number"].tolist() == [0, 1, 2]


def test_measured_objectives_drops_latency_where_it_was_not_timed() -> None:
    wanted = ["top1", "madds", "latency_ms"]
    assert measured_objectives(study_frame(study(latency=False)), wanted) == ["top1", "madds"]
    assert measured_objectives(study_frame(study()), wanted) == wanted
    assert measured_objectives(study_frame([]), wanted) == ["top1"]


def test_the_best_has_the_highest_top1_then_the_fewest_madds_then_the_lowest_number() -> None:
    rows = [row(0, 0.50, 100), row(1, 0.60, 200), row(2, 0.60, 120), row(3, 0.60, 120)]
    assert best_number(study_frame(rows)) == 2
    rows[0] = longer(rows[0], [stage(1, 0, 0.7)])  # its longest training is what it has shown
    assert best_number(study_frame(rows)) == 0


def test_front_of_rows_compares_them_after_the_longest_training_both_had() -> None:
    rows = [longer(row(0, 0.50, 100), [stage(1, 0, 0.70)]), row(1, 0.52, 110), row(2, 0.49, 120)]
    assert pareto_front(study_frame(rows), ["top1", "madds"])["number"].tolist() == [0, 1]
