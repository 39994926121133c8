"""Dominance, ranks and hypervolume: by hand, and against their definitions written out pair by pair."""

import itertools
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from mfsearch.pareto import fair_mask, fronts, hypervolume, hypervolume_history, nondominated_ranks, pareto_mask

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


def test_nondominated_ranks_by_hand() -> None:
    """(1, 4), (2, 2), (4, 1) are the front; (2, 4) is beaten by two of them, (3, 3) by one; (4, 4) by these two."""
    values = np.array([[4, 4], [1, 4], [3, 3], [2, 2], [2, 4], [4, 1], [2, 2]], dtype=np.float64)
    assert nondominated_ranks(values) == [2, 0, 1, 0, 1, 0, 0]
    assert nondominated_ranks(np.array([[3.0], [1.0], [2.0], [1.0]])) == [2, 0, 1, 0]
    assert nondominated_ranks(np.array([[0.0, 5.0]])) == [0]
    assert nondominated_ranks(np.array([[-0.0, 1.0], [0.0, 1.0]])) == [0, 0]
    assert nondominated_ranks(np.array([[np.nan, 0.0], [5.0, 0.0]])) == [1, 0]


@pytest.mark.parametrize("seed", range(20))
def test_nondominated_ranks_are_one_more_than_the_worst_rank_that_beats_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, (40, 1 + seed % 3)).astype(np.float64)
    ranks = nondominated_ranks(values)
    for own, rank in zip(values, ranks, strict=True):
        beating = [r for other, r in zip(values, ranks, strict=True) if (other <= own).all() and (other < own).any()]
        assert rank == 1 + max(beating, default=-1)


def test_two_dimensions_by_hand() -> None:
    """Up to (4, 4): (2, 2) covers 4; (3, 3) nothing more; (1, 3) adds 1x1; (0, 0) all 16 in the end."""
    values = np.array([[2.0, 2.0], [3.0, 3.0], [1.0, 3.0], [5.0, 0.0], [np.nan, 0.0], [0.0, 0.0]])
    found = hypervolume_history(values, np.array([4.0, 4.0]))
    assert found.tolist() == [4.0, 4.0, 5.0, 5.0, 5.0, 16.0]


def test_three_dimensions_by_hand() -> None:
    """Up to (2, 2, 2): a unit cube in one corner, then one that shares half of its volume with it."""
    values = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.5]])
    assert hypervolume_history(values, np.full(3, 2.0)).tolist() == [1.0, 1.5]


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_every_step_equals_the_hypervolume_of_the_trials_so_far(K: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((120, K)) - np.linspace(0, 0.5, 120)[:, None] * rng.random(K)
    values[rng.random(values.shape) < 0.02] = np.nan
    values = np.round(values, 2 if seed % 2 else 9)  # ties in some
    reference = np.full(K, 0.8)
    expected = [hypervolume(values[: k + 1], reference) for k in range(len(values))]
    assert hypervolume_history(values, reference) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("K", [2, 3])
def test_no_trials_have_no_history(K: int) -> None:
    assert len(hypervolume_history(np.empty((0, K)), np.ones(K))) == 0


def test_ten_thousand_trials_of_three_objectives_are_quick() -> None:
    """0.05 s on an idle core; the bound is for a busy one."""
    values = np.random.default_rng(0).random((10_000, 3))
    start = time.process_time()
    hypervolume_history(values, np.ones(3))
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_fronts_peel_off_rank_by_rank_and_leave_out_what_has_a_nan(objectives: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 8, (60, objectives)).astype(np.float64)
    ranks = np.array(nondominated_ranks(values))
    assert [front.tolist() for front in fronts(values)] == [
        np.flatnonzero(ranks == rank).tolist() for rank in np.unique(ranks)
    ]
    values[::7] = NAN
    assert sorted(np.concatenate(list(fronts(values))).tolist()) == [k for k in range(60) if k % 7]
    assert list(fronts(values[:0])) == list(fronts(values[:1])) == []


def fair(*rows: tuple[float, ...]) -> list[int]:
    """The front of rows of a cost and top1 after 1x, 3x, ...: NaN where not trained so long."""
    width = max(map(len, rows))
    table = np.array([[*each, *[NAN] * (width - len(each))] for each in rows])
    return np.flatnonzero(fair_mask(table[:, :1], -table[:, 1:])).tolist()


def test_a_longer_training_alone_pushes_nothing_off_the_front() -> None:
    # After 1x the dearer one was better, so 0.70 after 3x does not beat it; the third was worse after 1x, too.
    assert fair((100, 0.50, 0.70), (110, 0.52), (120, 0.49)) == [0, 1]
    # Trained 3x itself it is compared there, and beaten.
    assert fair((100, 0.50, 0.70), (110, 0.52, 0.69), (120, 0.49)) == [0]
    assert fair((100, 0.50), (110, 0.40, 0.70)) == [0]  # a longer training does not save what was beaten before


def test_what_is_beaten_off_the_front_still_beats_and_a_length_that_was_left_out_does_not_count() -> None:
    # 0 beats 1 after 3x, 1 beats 2 after 1x, but 0 does not beat 2 after 1x: 2 is beaten by what is off the front.
    assert fair((100, 0.50, 0.70), (110, 0.60, 0.65), (120, 0.55)) == [0]
    # 9x without a record of 3x is compared with 3x after 1x; two that share no length leave each other alone.
    assert fair((100, 0.50, NAN, 0.90), (110, 0.52, 0.60)) == [0, 1]
    assert fair((100, 0.90, NAN), (110, NAN, 0.10)) == [0, 1]


def test_networks_of_one_cost_do_not_beat_one_another_in_a_circle() -> None:
    # 0 beats 1 after 3x, 1 beats 2 after 1x, 2 would beat 0 after 1x: the shorter one does not beat its equal in cost.
    assert fair((100, 0.50, 0.70), (100, 0.60, 0.65), (100, 0.55)) == [0]
    assert fair((100, 0.50, 0.70), (100, 0.50, 0.70)) == [0, 1]


def test_fair_rows_with_a_nan_cost_or_no_training_count_for_nothing() -> None:
    assert fair((NAN, 0.9, 0.9), (100, 0.5), (90, NAN)) == [1]
    assert not fair_mask(np.empty((0, 1)), np.empty((0, 2))).any()
    losses = -np.array([[0.5, 0.7], [0.6, NAN], [0.4, 0.8]])
    assert fair_mask(np.empty((3, 0)), losses).tolist() == [False, True, True]


@pytest.mark.parametrize("count", [1, 30, 300])
@pytest.mark.parametrize("seed", range(3))
def test_the_fair_front_is_that_of_all_pairs(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 8 if count < 100 else 400, (count, 2)).astype(np.float64)
    losses = np.round(costs.sum(axis=1, keepdims=True) / -50 + rng.random((count, 3)) * (0.5, 0.4, 0.3), 1)
    losses[rng.random((count, 3)) < 0.4] = NAN
    costs[rng.random(count) < 0.05, 0] = NAN

    def beats(a: int, b: int) -> bool:
        both = np.flatnonzero(~np.isnan(losses[a] + losses[b]))
        if not len(both) or not (costs[a] <= costs[b]).all():
            return False
        lead = losses[b, both[-1]] - losses[a, both[-1]]
        longest = [np.flatnonzero(~np.isnan(losses[row])).max() for row in (a, b)]
        cheaper = (costs[a] < costs[b]).any()
        return bool(lead >= 0 and (cheaper or (lead > 0 and longest[0] >= longest[1])))

    able = np.flatnonzero(~np.isnan(costs).any(axis=1) & ~np.isnan(losses).all(axis=1)).tolist()
    wanted = [b for b in able if not any(beats(a, b) for a in able)]
    assert np.flatnonzero(fair_mask(costs, losses)).tolist() == wanted
    assert wanted or not able


@pytest.mark.parametrize(("count", "seconds"), [(10_000, 0.5), (100_000, 3.0)])
def test_the_fair_front_of_many_trials_is_quick(count: int, seconds: float) -> None:
    """0.03 and 0.3 s on an idle core; the bounds are for a busy one."""
    rng = np.random.default_rng(0)
    losses = rng.random((count, 3))
    losses[count // 3 :, 1:] = NAN
    losses[count // 9 :, 2] = NAN
    costs = rng.random((count, 2))
    start = time.process_time()
    assert fair_mask(costs, losses).any()
    assert time.process_time() - start < seconds
