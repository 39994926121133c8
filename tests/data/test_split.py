"""The splits hold what a search relies on: every class, no image twice, the seed and nothing else."""

import numpy as np
import pytest

from mfsearch.data.split import class_shares, stratified_split, stratified_subset


def shares(sizes: list[int], count: int) -> list[int]:
    return [int(share) for share in class_shares(np.array(sizes), count)]


def test_equal_classes_share_equally() -> None:
    assert shares([5000] * 10, 45_000) == [4500] * 10


def test_shares_follow_the_class_sizes_by_largest_remainder() -> None:
    # one each leaves 7 for spares 10, 20, 40: 1, 2, 4
    assert shares([11, 21, 41], 10) == [2, 3, 5]
    # one each leaves 2 for spares 3, 3, 2: 6/8, 6/8, 4/8, so the two largest remainders get one
    assert shares([4, 4, 3], 5) == [2, 2, 1]


def test_a_rare_class_keeps_one() -> None:
    assert shares([1, 1_000_000], 3) == [1, 2]


def test_ties_go_to_the_lower_class() -> None:
    assert shares([9, 9, 9], 4) == [2, 1, 1]
    # one each leaves 15 for spares 2 and 4 of 120 in all: 0.25 and 0.5, so the first 15 of the larger classes get one
    assert shares([3, 5] * 20, 55) == [1, 2] * 15 + [1, 1] * 5


@pytest.mark.parametrize("sizes", [[1], [1, 1], [3, 1, 7, 2], [50, 2, 2]])
def test_every_count_from_one_of_each_to_all_is_met_exactly(sizes: list[int]) -> None:
    for count in range(len(sizes), sum(sizes) + 1):
        found = shares(sizes, count)
        assert sum(found) == count
        assert all(1 <= share <= size for share, size in zip(found, sizes, strict=True))


def test_a_subset_takes_the_shares_and_nothing_twice() -> None:
    labels = np.array([0, 1, 1, 0, 2, 1, 2, 1])
    subset = stratified_subset(labels, np.array([1, 3, 2]), seed=0)
    assert np.bincount(labels[subset]).tolist() == [1, 3, 2]
    assert len(set(subset.tolist())) == 6


def test_a_larger_subset_holds_the_smaller_one() -> None:
    labels = np.arange(90) % 3
    small = stratified_subset(labels, np.array([5, 5, 5]), seed=4)
    large = stratified_subset(labels, np.array([9, 9, 9]), seed=4)
    assert set(small.tolist()) < set(large.tolist())


@pytest.mark.parametrize("sizes", [[2, 2], [2, 100], [3, 3, 3], [40, 60]])
@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.999])
def test_both_parts_of_a_split_hold_every_class_and_cover_all_once(sizes: list[int], fraction: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    part, rest = stratified_split(labels, fraction, seed=1)
    assert sorted([*part.tolist(), *rest.tolist()]) == list(range(len(labels)))
    for indices in (part, rest):
        assert (np.bincount(labels[indices], minlength=len(sizes)) >= 1).all()


def test_a_split_of_a_tenth_takes_a_tenth_of_each_class() -> None:
    labels = np.arange(1000) % 10
    part, rest = stratified_split(labels, 0.1, seed=0)
    assert np.bincount(labels[part]).tolist() == [10] * 10
    assert np.bincount(labels[rest]).tolist() == [90] * 10


def test_the_seed_decides_the_split() -> None:
    labels = np.arange(1000) % 10
    first, again, other = (stratified_split(labels, 0.1, seed)[0] for seed in (3, 3, 4))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
