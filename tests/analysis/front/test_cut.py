import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from mfsearch.analysis.front.cut import (
    OBJECTIVES,
    hypervolume,
    knee,
    measured_objectives,
    minimised,
    pareto_front,
    within,
)
from mfsearch.pareto import pareto_mask
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import failed, row, study

NAN = np.nan


def brute_force_mask(values: NDArray[np.float64]) -> list[bool]:
    """The definition, pair by pair."""

    def dominates(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
        return not np.isnan(a).any() and bool((a <= b).all() and (a < b).any())

    return [not np.isnan(b).any() and not any(dominates(a, b) for a in values) for b in values]


def brute_force_volume(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Cells of the grid through all coordinates: a cell counts if some point dominates its upper corner."""
    inside = [point for point in values if (point < reference).all()]
    grids = [sorted({float(point[k]) for point in inside} | {float(reference[k])}) for k in range(len(reference))]
    total = 0.0
    for cell in itertools.product(*(itertools.pairwise(grid) for grid in grids)):
        lower = np.array([low for low, _ in cell])
        if any((point <= lower).all() for point in inside):
            total += float(np.prod([high - low for low, high in cell]))
    return total


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_mask_of_nothing_is_empty(objectives: int) -> None:
    assert pareto_mask(np.empty((0, objectives))).tolist() == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1, 2]], [True]),
        ([[1, 2], [1, 2], [1, 2]], [True, True, True]),  # duplicates are all kept
        ([[1, 2], [2, 1], [2, 2], [1, 2]], [True, True, False, True]),
        ([[1, 2], [1, 3]], [True, False]),  # equal in one, worse in the other
        ([[NAN, 0], [1, 1]], [False, True]),  # NaN neither stands nor dominates
        ([[NAN, NAN]], [False]),
        ([[NAN, 1], [NAN, 1]], [False, False]),
        ([[np.inf, 0], [0, np.inf], [np.inf, np.inf]], [True, True, False]),
        ([[3], [1], [1], [2]], [False, True, True, False]),
        ([[0.0, 1], [-0.0, 1]], [True, True]),
    ],
)
def test_mask_of_hand_worked_sets(values: list[list[float]], expected: list[bool]) -> None:
    assert pareto_mask(np.array(values, dtype=np.float64)).tolist() == expected


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(10))
def test_mask_agrees_with_brute_force(objectives: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 30, size=(600, objectives)).astype(np.float64)  # few levels: many ties
    values[generator.random(values.shape) < 0.03] = NAN
    assert pareto_mask(values).tolist() == brute_force_mask(values)


def test_mask_does_not_change_what_it_is_given() -> None:
    values = np.array([[2.0, 1.0], [1.0, 2.0], [3.0, 3.0]])
    before = values.copy()
    pareto_mask(values)
    assert (values == before).all()


def test_mask_keeps_ten_thousand_points_that_are_all_on_the_front() -> None:
    sphere = np.abs(np.random.default_rng(0).normal(size=(10_000, 3)))
    sphere /= -np.linalg.norm(sphere, axis=1, keepdims=True)
    assert pareto_mask(sphere).all()


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((3, 0))])
def test_mask_wants_rows_and_objectives(values: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"\[N, K\]"):
        pareto_mask(values)


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


@pytest.mark.parametrize("objectives", [2, 3])
def test_hypervolume_of_nothing_is_zero(objectives: int) -> None:
    reference = np.ones(objectives)
    assert hypervolume(np.empty((0, objectives)), reference) == 0
    assert hypervolume(np.full((2, objectives), NAN), reference) == 0
    assert hypervolume(np.ones((2, objectives)), reference) == 0  # on the reference: nothing is gained


@pytest.mark.parametrize(
    ("values", "reference", "expected"),
    [
        ([[1, 1]], [3, 4], 6),
        ([[1, 2], [2, 1]], [3, 3], 3),  # two rectangles of 2 that share 1
        ([[1, 2], [2, 1], [2, 2], [1, 2]], [3, 3], 3),  # dominated ones and duplicates add nothing
        ([[1, 2], [2, 1], [9, 0]], [3, 3], 3),  # beyond the reference
        ([[1, 1, 1]], [2, 3, 4], 6),
        ([[0, 0, 1], [1, 1, 0]], [2, 2, 2], 5),  # 2 * 2 * 1 + 1 * 1 * 2 - 1 * 1 * 1
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], [2, 2, 2], 4),  # three of 2, less three shared 1s, plus the 1 of all
    ],
)
def test_hypervolume_of_hand_worked_sets(values: list[list[float]], reference: list[float], expected: float) -> None:
    assert hypervolume(np.array(values, dtype=np.float64), np.array(reference, dtype=np.float64)) == expected


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_hypervolume_agrees_with_counted_cells(objectives: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 9, size=(12, objectives)).astype(np.float64)
    reference = np.full(objectives, 7.0)
    assert hypervolume(values, reference) == pytest.approx(brute_force_volume(values, reference))


def test_hypervolume_of_other_sizes_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\[N, 2\] or \[N, 3\]"):
        hypervolume(np.zeros((3, 4)), np.ones(4))
