"""Statistics of rankings, against values worked out by hand and against simulation."""

import itertools
import math

import numpy as np
import pytest

from mfsearch.analysis.ranking.agreement import (
    bootstrap_gain,
    bootstrap_tau,
    chance_sentence,
    chance_to_show,
    kendall_tau,
    mean_rank,
    noise_ceiling,
    retest_noise,
    spread_between,
    top_recall,
)


@pytest.mark.parametrize(
    ("x", "y", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),  # 5 pairs agree, 1 does not
        ([1, 2, 3, 4], [2, 1, 4, 3], 2 / 6),
        ([1, 1, 2], [1, 2, 3], 2 / math.sqrt(2 * 3)),  # one pair tied in x
        ([1, 1, 2], [1, 1, 2], 1.0),
        ([1, 1, 2, 2], [1, 2, 2, 1], 0.0),  # two pairs are tied in neither: 1 agrees, 1 does not
        ([0.1, 0.2], [5.0, 7.0], 1.0),
    ],
)
def test_kendall_tau_by_hand(x: list[float], y: list[float], tau: float) -> None:
    assert kendall_tau(x, y) == pytest.approx(tau, abs=1e-12)
    assert kendall_tau(y, x) == pytest.approx(tau, abs=1e-12)
    assert kendall_tau([-value for value in x], y) == pytest.approx(-tau, abs=1e-12)


@pytest.mark.parametrize(("x", "y"), [([1, 1, 1], [1, 2, 3]), ([1], [1])])
def test_a_ranking_of_equals_has_no_tau(x: list[float], y: list[float]) -> None:
    assert math.isnan(kendall_tau(x, y))
    found = bootstrap_tau(x, y, seed=0)
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert found.n == len(x)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [([1, 2], [1, 2, 3], "one length"), ([], [], "one length"), ([1, math.nan], [1, 2], "finite")],
)
def test_what_is_no_pair_of_rankings_is_refused(x: list[float], y: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kendall_tau(x, y)


def test_the_bootstrap_is_that_of_networks_drawn_with_replacement() -> None:
    """Three networks have 27 equally likely resamples: all of them, one by one, against the interval."""
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    exact = []
    for draw in itertools.product(range(3), repeat=3):
        tau = kendall_tau(x[list(draw)], y[list(draw)])
        if not math.isnan(tau):
            exact.append(tau)
    # 18 draws hold two networks: 12 agree (1), 6 do not (-1); 6 hold all three (1/3); 3 hold one and have no tau
    assert sorted(set(np.round(exact, 6))) == [-1.0, 0.333333, 1.0]
    found = bootstrap_tau(x, y, seed=0, resamples=20_000)
    assert found.value == pytest.approx(1 / 3)
    assert (found.low, found.high) == (-1.0, 1.0)
    assert np.quantile(exact, [0.025, 0.975]) == pytest.approx([found.low, found.high], abs=1e-12)


def test_the_interval_shrinks_with_networks_and_depends_on_the_seed_alone() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (10, 24, 100):
        x = rng.normal(size=n)
        y = x + rng.normal(size=n) * 0.5
        one, two = bootstrap_tau(x, y, seed=1), bootstrap_tau(x, y, seed=1)
        assert one == two
        assert one.low < one.value < one.high
        widths.append(one.high - one.low)
    assert widths[0] > widths[1] > widths[2]


def test_a_gain_is_the_difference_of_two_taus_over_the_same_draws() -> None:
    y = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    base = [2.0, 1.0, 4.0, 3.0, 6.0, 5.0]  # 12 pairs agree, 3 do not: 0.6
    gain = bootstrap_gain(y, base, y, seed=0)
    assert gain.value == pytest.approx(0.4)
    assert 0 <= gain.low <= gain.value <= gain.high
    same = bootstrap_gain(base, base, y, seed=0)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)  # unpaired draws would spread it


def test_mean_rank_counts_from_the_worst_and_shares_ties() -> None:
    assert mean_rank([0.3, 0.1, 0.2]).tolist() == [2.0, 0.0, 1.0]
    assert mean_rank([5, 5, 7, 1]).tolist() == [1.5, 1.5, 3.0, 0.0]
    assert mean_rank([0.3, 0.1, 0.2], [10, 30, 20]).tolist() == [1.0, 1.0, 1.0]


def test_top_recall_by_hand() -> None:
    truth = [10, 9, 8, 7, 6, 5, 4, 3]
    assert top_recall(truth, truth, k=5) == 1.0
    assert top_recall([3, 4, 5, 6, 7, 8, 9, 10], truth, k=4) == 0.0
    assert top_recall([10, 1, 9, 8, 2, 7, 6, 3], truth, k=4) == pytest.approx(0.75)
    assert top_recall([1] * 8, truth, k=5) == pytest.approx(5 / 8)  # no order at all is chance
    assert top_recall([9, 8, 8, 1, 1, 1, 1, 1], truth, k=2) == pytest.approx((1 + 0.5) / 2)
    with pytest.raises(ValueError, match="k must be 1 to the number of networks, 8, got 9"):
        top_recall(truth, truth, k=9)


def test_noise_from_two_seeds_leaves_out_what_they_do_to_all() -> None:
    first = [1.0, 2.0, 3.0, 4.0]
    assert retest_noise(first, [value + 7 for value in first]) == 0.0
    # differences 1, -1, 1, -1: their variance is 4 / 3, a single measurement's half of it
    assert retest_noise(first, [0.0, 3.0, 2.0, 5.0]) == pytest.approx(math.sqrt(4 / 3 / 2))


def test_the_spread_between_networks_is_what_noise_leaves() -> None:
    values = [0.0, 3.0, 6.0]  # variance 9
    assert spread_between(values, 0.0) == 3.0
    assert spread_between(values, math.sqrt(5)) == pytest.approx(2.0)
    assert spread_between(values, 4.0) == 0.0


def test_the_ceiling_has_its_known_values() -> None:
    assert noise_ceiling(0.0, 1.0, 0.0, 1.0) == pytest.approx(1.0)
    assert noise_ceiling(0.5, 1.0, 0.5, 1.0) == pytest.approx(0.5903, abs=1e-4)  # rho 0.8
    assert noise_ceiling(0.5, 1.0, 0.0, 3.0) == pytest.approx(0.7048, abs=1e-4)  # rho 0.8944
    assert noise_ceiling(1.0, 1.0, 1.0, 1.0) == pytest.approx(1 / 3)  # rho 1/2: arcsin is 30 degrees
    assert noise_ceiling(0.1, 0.0, 0.0, 1.0) == 0.0
    assert noise_ceiling(0.0, 0.0, 0.0, 0.0) == pytest.approx(1.0)


def test_the_ceiling_is_what_a_simulation_finds() -> None:
    rng = np.random.default_rng(0)
    taus = []
    for _ in range(3000):
        true = rng.normal(size=16)
        x, y = 2 * true + 0.6 * rng.normal(size=16), true + 0.5 * rng.normal(size=16)
        taus.append(kendall_tau(x, y))
    assert np.mean(taus) == pytest.approx(noise_ceiling(0.6, 2.0, 0.5, 1.0), abs=0.01)


@pytest.mark.parametrize(("networks", "chance"), [(4, 0.0), (16, 0.23), (32, 0.51), (48, 0.74), (64, 0.91)])
def test_the_chance_to_show_a_rise_is_near_what_was_simulated(networks: int, chance: float) -> None:
    assert chance_to_show(networks) == pytest.approx(chance, abs=0.05)


def test_the_chance_to_show_a_rise_is_how_often_the_paired_bootstrap_shows_it() -> None:
    """Two readings of a judge, with taus 0.55 and 0.70 and half of the rest in common."""
    rng, networks, shown = np.random.default_rng(0), 48, 0
    rho = [math.sin(math.pi / 2 * tau) for tau in (0.55, 0.70)]
    for seed in range(100):
        judge, common, own = rng.normal(size=(3, networks))
        base = rho[0] * judge + math.sqrt(1 - rho[0] ** 2) * common
        better = rho[1] * judge + math.sqrt(1 - rho[1] ** 2) * (common + math.sqrt(3) * own) / 2
        shown += bootstrap_gain(better, base, judge, seed=seed, resamples=200).low > 0
    assert shown / 100 == pytest.approx(chance_to_show(networks), abs=0.1)


def test_the_sentence_names_the_networks_it_takes_only_with_fewer() -> None:
    assert chance_sentence(3).endswith("from 0.55 to 0.70 is 0 %; 80 % takes 54.")
    assert chance_sentence(54).endswith(" is 80 %.")
