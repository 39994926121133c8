import numpy as np
import pytest

from mfsearch.analysis.front.cut import (
    OBJECTIVES,
    knee,
    measured_objectives,
    minimised,
    pareto_front,
    within,
)
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import failed, row, study

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
    assert knee(front) is None


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


def test_knee_is_where_top1_stops_to_be_cheap() -> None:
    # Scaled to 0..1: (0, 1), (0.2, 0.2), (0.6, 0.1), (1, 0). The second lies furthest below the line x + y = 1.
    front = study_frame([row(0, 0.50, 100), row(1, 0.58, 120), row(2, 0.59, 160), row(3, 0.60, 200)])
    assert knee(front) == 1


def test_knee_of_one_and_of_two_is_the_one_with_fewer_madds() -> None:
    assert knee(study_frame([row(7)])) == 7
    assert knee(study_frame([row(3, 0.6, 200), row(4, 0.5, 100)])) == 4
