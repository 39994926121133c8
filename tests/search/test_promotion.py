"""Who is trained longer: worked out by hand on a few networks, and held to its rules on random streams of results."""

import dataclasses
import math
import random
from typing import Any

import numpy as np
import pytest

from mfsearch.pareto import nondominated_ranks
from mfsearch.proxy.curve import SCORES, EpochLog
from mfsearch.proxy.rungs import INSIDE_FACTORS, Rungs, default_rungs
from mfsearch.search.promotion import (
    MIN_RANKED,
    Promotion,
    Standing,
    Stop,
    finalists,
    least_explored,
    next_final,
    next_promotion,
    quota,
    ranking,
    standing,
    stop_rule,
    stopped_count,
)
from mfsearch.search.samplers.history import History
from mfsearch.study.study import front_trials
from mfsearch.study.trial import Trial
from tests import trials
from tests.trials import numbers, training

TWO = ["top1", "madds"]
THREE = ["top1", "madds", "latency_ms"]
BY_TOP1 = Rungs(rank_by="top1")


def trial(number: int, top1: float, madds: int = 100, outcome: str = "trained", **more: Any) -> Trial:
    curve = [{"epoch": 0.5, "top1": top1 - 0.1}, {"epoch": 1.0, "top1": top1}]
    return trials.trial(number, outcome, **{"top1": top1, "score": top1, "madds": madds, "curve": curve, **more})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"factors": ()}, "rungs must begin with 1 and rise, like 1,3,9, got "),
        ({"factors": (3, 9)}, "must begin with 1 and rise, like 1,3,9, got 3,9"),
        ({"factors": (1, 3, 3)}, "must begin with 1 and rise, like 1,3,9, got 1,3,3"),
        ({"factors": (1, 9, 3)}, "must begin with 1 and rise"),
        ({"factors": (1, float("nan"))}, "must begin with 1 and rise"),
        ({"factors": (0,)}, "must begin with 1 and rise, like 1,3,9, got 0 .inside a parent a 0 may come first"),
        ({"factors": (0, 3)}, "must begin with 1 and rise, like 1,3,9, got 0,3"),
        ({"factors": (0, 0, 1)}, "must begin with 1 and rise, like 1,3,9, got 0,0,1"),
        ({"factors": (-1, 1)}, "must begin with 1 and rise, like 1,3,9, got -1,1"),
        ({"factors": (0, 1), "rank_by": "loss"}, "rank_by must be val_loss or top1 with rungs from 0"),
        ({"factors": (1, 1001)}, "at most 1000 short trainings, got 1001"),
        ({"keep": 1}, "must be above 1, got 1"),
        ({"keep": float("nan")}, "must be above 1, got nan"),
        ({"finalists": -1}, "finalists must be 0 to 100, got -1"),
        ({"finalists": 101}, "finalists must be 0 to 100, got 101"),
        ({"seeds": 0}, "seeds of a finalist must be 1 to 10, got 0"),
        ({"seeds": 11}, "seeds of a finalist must be 1 to 10, got 11"),
        ({"rank_by": "madds"}, "rank_by must be one of val_loss, loss, top1, got 'madds'"),
    ],
)
def test_rungs_that_make_no_sense_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Rungs(**wrong)


def test_rungs_are_plain_data() -> None:
    plain = {"factors": [1.0, 3.0], "keep": 3.0, "finalists": 5, "seeds": 2, "rank_by": "val_loss"}
    assert Rungs((1, 3)).to_dict() == plain
    assert Rungs.from_dict(plain) == Rungs((1, 3))
    assert Rungs((1,)).last == 0
    assert Rungs((1, 3, 9)).last == 2
    assert Rungs((0, 1, 4)).starts_cut
    assert not Rungs().starts_cut
    assert (default_rungs(inside=False), default_rungs(inside=True).factors) == (Rungs(), INSIDE_FACTORS)
    assert [quota(count, Rungs()) for count in (0, 2, 3, 5, 6, 30)] == [0, 0, 1, 1, 2, 10]


def test_a_cut_without_training_costs_nothing_and_is_promoted_like_a_short_training() -> None:
    """Nine networks: three are trained short, one of them goes on to four times that and is trained so once more."""
    rungs = Rungs((0, 1, 4), finalists=1, seeds=2)
    assert rungs.short_trainings(9) == 3 * 1 + (2 * 4 - 1)
    assert Rungs((0, 1), finalists=2, seeds=1).short_trainings(9) == 2
    curve = [{"epoch": 0.0, "top1": 0.5}]
    rows = [trial(number, 0.5 + number / 100, curve=curve, epochs=0.0) for number in range(9)]
    assert promotion(rows, rungs) == Promotion(8, 1, 0)
    assert stop_rule(rows, TWO, rungs) is None  # nothing to stop half way


def test_the_score_at_a_rung_is_the_mean_over_its_seeds() -> None:
    longer = [training(1, 0.6), training(2, 0.7), training(2, 0.9, seed=1), training(2, None, seed=2)]
    one = trial(0, 0.5, longer=longer)
    assert one.score(0) == 0.5
    assert one.score(1) == 0.6
    assert one.score(2) == pytest.approx(0.8)
    assert trial(0, 0.5).score(1) is None
    assert trial(0, 0.5, outcome="stopped").score(0) is None
    assert trial(0, 0.5, longer=[training(1, None)]).score(1) is None


def test_inside_one_size_the_ranking_is_by_accuracy() -> None:
    rows = [trial(k, top1) for k, top1 in enumerate((0.3, 0.5, 0.4, 0.5))]
    assert numbers(ranking(rows, TWO, 0)) == [1, 3, 2, 0]
    assert ranking([], TWO, 0) == []
    assert ranking([trial(0, 0.5, outcome="failed")], TWO, 0) == []


def test_inside_a_rank_each_next_one_adds_the_most() -> None:
    """A front of madds 100, 110 and 200 with top1 0.4, 0.42 and 0.6; the worst of all has 0.2. The area goes up to 400.

    Alone: ln 4 * 0.2 = 0.277, ln (400/110) * 0.22 = 0.284, ln 2 * 0.4 = 0.277 (0.27726 and 0.27726: equal, but the
    middle one is above both). Beside the middle one the large adds ln 2 * (0.6 - 0.42) = 0.125 and the small
    ln 1.1 * 0.2 = 0.019. The trial with 0.2 is beaten by all: last, though nobody is as small in top1 as it.
    """
    rows = [trial(0, 0.4, 100), trial(1, 0.42, 110), trial(2, 0.6, 200), trial(3, 0.2, 210)]
    assert numbers(ranking(rows, TWO, 0)) == [1, 2, 0, 3]


def test_a_network_on_the_front_of_latency_alone_comes_last_of_its_rank() -> None:
    """Trial 1 is worse in accuracy and larger than trial 0, but faster: the same rank, and it adds no area."""
    rows = [trial(0, 0.5, 100, latency_ms=9.0), trial(1, 0.4, 110, latency_ms=3.0), trial(2, 0.4, 120, latency_ms=4.0)]
    assert numbers(ranking(rows, THREE, 0)) == [0, 1, 2]
    assert nondominated_ranks(np.array([[-0.5, 100, 9], [-0.4, 110, 3], [-0.4, 120, 4]])) == [0, 0, 1]


def area(rows: list[Trial], worst: float, end: float) -> float:
    """Hypervolume in log madds x top1, the slow way: over each strip between two sizes the best top1 so far."""
    total, sizes = 0.0, sorted({row.metric("madds") for row in rows})
    for size, following in zip(sizes, [*sizes[1:], end], strict=True):
        best = max(row.metric("top1") for row in rows if row.metric("madds") <= size)
        total += (np.log(following) - np.log(size)) * max(0.0, best - worst)
    return total


@pytest.mark.parametrize("seed", range(20))
def test_the_order_inside_a_rank_is_the_greedy_one(seed: int) -> None:
    rng = random.Random(seed)
    rows = [
        trial(k, round(rng.random(), 3), rng.randint(50, 150), latency_ms=rng.choice([1.0, 2.0, 3.0]))
        for k in range(25)
    ]
    ordered = ranking(rows, THREE, 0)
    ranks = nondominated_ranks(
        np.array([[-row.metric("top1"), row.metric("madds"), row.metric("latency_ms")] for row in rows])
    )
    assert [ranks[row.number] for row in ordered] == sorted(ranks)
    worst = min(row.metric("top1") for row in rows)
    for rank in range(max(ranks) + 1):
        left = [row for row in ordered if ranks[row.number] == rank]
        chosen: list[Trial] = []
        end = 2 * max(row.metric("madds") for row in left)
        while left:
            areas = [area([*chosen, row], worst, end) for row in left]
            assert areas[0] == pytest.approx(max(areas))
            chosen.append(left.pop(0))


def test_the_ranking_does_not_depend_on_the_order_of_the_rows() -> None:
    rng = random.Random(0)
    rows = [trial(k, rng.choice([0.3, 0.4, 0.5]), rng.choice([90, 100, 110])) for k in range(30)]
    expected = numbers(ranking(rows, TWO, 0))
    for _ in range(5):
        rng.shuffle(rows)
        assert numbers(ranking(rows, TWO, 0)) == expected


def promotion(rows: list[Trial], rungs: Rungs, running: list[Promotion] = []) -> Promotion | None:  # noqa: B006
    return next_promotion(standing(rows, TWO, rungs), rungs, running, seed=0)


def test_the_first_promotion_waits_for_six_and_takes_the_best_third() -> None:
    rungs = Rungs((1, 3, 9))
    rows = [trial(k, 0.1 * k) for k in range(1, 7)]
    assert promotion(rows[:5], rungs) is None
    assert promotion(rows, rungs) == Promotion(6, 1, 0)
    assert promotion(rows, rungs, [Promotion(6, 1, 0)]) == Promotion(5, 1, 0)
    assert promotion(rows, rungs, [Promotion(6, 1, 0), Promotion(5, 1, 0)]) is None  # two of six
    rows[5] = rows[5].with_training(training(1, 0.9))
    rows[4] = rows[4].with_training(training(1, None))  # failed: it had its turn
    assert promotion(rows, rungs) is None


def test_promotions_wait_until_half_of_what_can_be_afforded_is_explored() -> None:
    rungs = Rungs((1, 3, 9))
    assert [least_explored(networks) for networks in (None, 8, 30, 31)] == [MIN_RANKED, MIN_RANKED, 15, 16]
    rows = [trial(k, 0.05 * k) for k in range(1, 16)]
    at, fewer = standing(rows, TWO, rungs), standing(rows[:14], TWO, rungs)
    assert next_promotion(fewer, rungs, [], seed=0, explored=least_explored(30)) is None
    assert next_promotion(at, rungs, [], seed=0, explored=least_explored(30)) == Promotion(15, 1, 0)


def test_stopped_trainings_count_as_judged() -> None:
    """Four trained and two given up: six judged, so two places."""
    rows = [trial(k, 0.1 * k) for k in range(1, 5)] + [trial(k, 0.05, outcome="stopped") for k in (5, 6)]
    assert stopped_count(rows) == 2
    assert promotion(rows, Rungs((1, 3, 9))) == Promotion(4, 1, 0)
    assert promotion(rows[:5], Rungs((1, 3, 9))) is None


def test_the_last_rung_is_for_the_final() -> None:
    rows = [trial(k, 0.1 * k) for k in range(1, 10)]
    assert promotion(rows, Rungs((1, 3))) is None
    assert promotion(rows, Rungs((1,))) is None
    assert promotion(rows, Rungs((1, 2, 4, 8))) == Promotion(9, 1, 0)


def test_higher_rungs_come_first() -> None:
    """18 at the first rung, six places, all six trained to the second: of these the best two go to the third."""
    rungs = Rungs((1, 2, 4, 8))
    rows = [trial(k, 0.01 * k) for k in range(1, 19)]
    for k in range(12, 18):
        rows[k] = rows[k].with_training(training(1, 0.5 - 0.01 * k))  # in the opposite order
    assert promotion(rows, rungs) == Promotion(13, 2, 0)
    rows += [trial(k, 0.9) for k in (19, 20, 21)]
    assert promotion(rows, rungs) == Promotion(13, 2, 0)
    rows[12] = rows[12].with_training(training(2, 0.6))
    assert promotion(rows, rungs) == Promotion(14, 2, 0)
    assert promotion(rows, rungs, [Promotion(14, 2, 0)]) == Promotion(19, 1, 0)


def test_finalists_come_from_the_rung_before_the_last_and_then_from_below() -> None:
    rungs = Rungs((1, 3, 9), finalists=3)
    rows = [trial(k, 0.1 * k) for k in range(1, 10)]
    rows[2] = rows[2].with_training(training(1, 0.8))
    rows[3] = rows[3].with_training(training(1, 0.95))
    assert numbers(finalists(standing(rows, TWO, rungs), rungs)) == [4, 3, 9]
    assert numbers(finalists(standing(rows[:4], TWO, rungs), rungs)) == [4, 3]  # at most one in three, rounded up
    assert numbers(finalists(standing(rows[:1], TWO, rungs), rungs)) == [1]
    assert finalists(standing([], TWO, rungs), rungs) == []
    for none in (Rungs((1,)), Rungs((1, 3), finalists=0)):
        assert finalists(standing(rows, TWO, none), none) == []
        assert next_final(standing(rows, TWO, none), none, [], 0) is None
    assert finalists(Standing(), rungs) == []


def test_the_final_gives_each_finalist_the_first_seed_and_then_the_next() -> None:
    rungs = Rungs((1, 3), finalists=2, seeds=2)
    rows = [trial(k, 0.1 * k) for k in range(1, 7)]
    order: list[Promotion] = []
    while (coming := next_final(standing(rows, TWO, rungs), rungs, [], seed=7)) is not None:
        order.append(coming)
        place = coming.number - 1
        done = training(coming.rung, 0.1 if coming.seed == 7 else None, coming.seed)
        rows[place] = rows[place].with_training(done)
    assert order == [Promotion(6, 1, 7), Promotion(5, 1, 7), Promotion(6, 1, 8), Promotion(5, 1, 8)]
    fresh = [trial(k, 0.1 * k) for k in range(1, 7)]
    assert next_final(standing(fresh, TWO, rungs), rungs, order[:1], 7) == order[1]
    assert next_final(standing(fresh, TWO, rungs), rungs, order[:2], 7) == order[2]
    assert next_final(standing(fresh, TWO, rungs), rungs, order, 7) is None


def test_the_stop_rule_by_hand() -> None:
    """Eight finished: each gained 0.1 in its second half, without spread: 0.1 is the bound. Nine judged with the one
    asked about, so three go on: with 0.1 to come it must not lie behind three."""
    rows = [trial(k, 0.1 * k) for k in range(1, 9)]
    assert stop_rule(rows[:7], TWO, BY_TOP1) is None
    assert stop_rule(rows, TWO, Rungs((1,))) is None
    rule = stop_rule(rows, TWO, BY_TOP1)
    assert rule is not None
    assert rule.gain == pytest.approx(0.1)
    assert rule.place == 3
    assert sorted(rule.rivals) == [(row.top1, 100.0) for row in rows]
    assert rule.hopeless(0.45, [100.0])  # 0.55: behind 0.6, 0.7 and 0.8
    assert not rule.hopeless(0.55, [100.0])  # 0.65: behind two
    assert not rule.hopeless(0.0, [99.0])  # smaller than all others: on the front
    assert rule.hopeless(0.0, [101.0])


def test_the_bound_on_the_gain_is_the_mean_and_three_standard_deviations_of_a_further_one() -> None:
    """Gains 0, 0, 0, 0, 0.2, 0.2, 0.2, 0.2: mean 0.1, sample variance 8 * 0.01 / 7, times 1 + 1/8."""
    rows = [trial(k, 0.5, curve=[{"top1": 0.5 if k < 4 else 0.3}, {"top1": 0.5}]) for k in range(8)]
    rule = stop_rule(rows, TWO, BY_TOP1)
    assert rule is not None
    assert rule.gain == pytest.approx(0.1 + 3 * (0.08 / 7 * 9 / 8) ** 0.5)


def test_the_stop_rule_counts_curves_of_two_points_and_what_was_stopped() -> None:
    rows = [trial(1, 0.1, curve=[{"top1": 0.1}]), *(trial(k, 0.1 * k) for k in range(2, 9))]
    assert stop_rule(rows, TWO, BY_TOP1) is None
    rows += [trial(9, 0.9)] + [trial(10 + k, 0.01, outcome="stopped") for k in range(5)]
    rule = stop_rule(rows, TWO, BY_TOP1)
    assert rule is not None
    assert rule.place == 5  # of 9 + 5 + 1
    assert len(rule.rivals) == 9


def test_hopeless_reads_all_costs() -> None:
    rule = Stop(gain=0.0, rivals=((0.5, 100.0, 5.0),), place=1)
    assert rule.hopeless(0.4, [110.0, 6.0])
    assert not rule.hopeless(0.4, [110.0, 4.0])


def test_a_trial_says_its_longest_training_and_goes_back_to_its_short_one() -> None:
    short = trial(3, 0.5)
    assert short.as_searched() is short
    longer = [training(1, 0.6), training(2, 0.7), training(2, 0.8, seed=1)]
    whole = trial(3, 0.5, longer=longer)
    assert whole.top1 == pytest.approx(0.75)
    assert whole.top1_short == 0.5
    assert whole.top1_std == pytest.approx(0.05 * 2**0.5)
    assert whole.rung == 2
    assert whole.longer == tuple(longer)
    assert whole.as_searched() == short
    assert trial(3, 0.5, longer=longer[:1]).top1_std is None
    row = whole.to_row()
    assert [row[name] for name in ("top1", "top1_short", "top1_std", "rung")] == [
        *(whole.top1, whole.top1_short, whole.top1_std, whole.rung)
    ]
    assert row["stages"] == [one.to_dict() for one in longer]


def test_failed_longer_trainings_change_no_top1() -> None:
    short, none = trial(3, 0.5), training(1, None)
    failed = trial(3, 0.5, longer=[none])
    assert failed.to_row() == short.to_row() | {"stages": [none.to_dict()]}
    assert (failed.top1, failed.rung) == (0.5, 0)
    assert failed.as_searched() == short
    assert trial(3, 0.5, longer=[training(1, 0.6), training(2, None)]).rung == 1


@pytest.mark.parametrize("factors", [(1, 3), (1, 3, 9), (1, 2, 4, 8), (0, 1, 4)])
@pytest.mark.parametrize("seed", range(5))
def test_on_a_random_stream_none_is_promoted_twice_and_none_from_outside_the_better_part(
    factors: tuple[float, ...], seed: int
) -> None:
    """Up to three workers, results in any order, ties, failures, stops: the rules hold at every moment."""
    rng = random.Random(seed)
    rungs = Rungs(factors, keep=rng.choice([2.0, 3.0]), finalists=4, seeds=2)
    objectives = rng.choice([TWO, THREE])
    rows: list[Trial] = []
    running: list[Promotion] = []
    begun: list[Promotion] = []
    while len(rows) < 60 or running:
        at = standing(rows, objectives, rungs)
        coming = next_promotion(at, rungs, running, seed=0)
        if coming is not None and len(running) < 3:
            assert coming not in begun
            assert coming.number not in {other.number for other in running}
            assert 0 < coming.rung < rungs.last
            ranked = numbers(ranking(rows, objectives, coming.rung - 1))
            judged = len(ranked) + (stopped_count(rows) if coming.rung == 1 else 0)
            assert judged >= 6
            assert ranked.index(coming.number) < judged / rungs.keep
            running.append(coming)
            begun.append(coming)
        elif running and (rng.random() < 0.5 or len(rows) >= 60):
            done = running.pop(rng.randrange(len(running)))
            row = rows[done.number]
            top1 = None if rng.random() < 0.1 else round(min(1.0, (row.score() or 0) + 0.1 * rng.random()), 2)
            rows[done.number] = row.with_training(training(done.rung, top1))
        else:
            outcome = rng.choices(["trained", "stopped", "rejected", "failed"], [7, 1, 1, 1])[0]
            more = {"latency_ms": float(rng.randint(1, 5))}
            rows.append(trial(len(rows), round(rng.random(), 2), rng.randint(85, 100), outcome, **more))
    assert len(begun) == len({(p.number, p.rung) for p in begun})
    if rungs.last > 1:
        assert len(begun) > 10
    chosen = finalists(standing(rows, objectives, rungs), rungs)
    finals: list[Promotion] = []
    while (coming := next_final(standing(rows, objectives, rungs), rungs, finals, seed=0)) is not None:
        finals.append(coming)
    assert len(finals) == len(set(finals)) == len(chosen) * rungs.seeds
    assert {p.rung for p in finals} == {rungs.last}


def test_readings_are_better_when_higher() -> None:
    """A network that is certain and right has loss 0, the probability 1; one that guesses among 10 has a tenth."""
    log = EpochLog(epoch=1.0, val_loss=math.log(10), loss=0.0, top1=0.3, seconds=1.0)
    assert {name: read(log) for name, read in SCORES.items()} == {
        "val_loss": pytest.approx(0.1),
        "loss": 1.0,
        "top1": 0.3,
    }


def test_networks_are_ranked_by_score_and_samplers_are_told_it() -> None:
    rows = [trial(0, 0.5, score=0.1), trial(1, 0.4, score=0.2)]
    assert numbers(ranking(rows, TWO, 0)) == [1, 0]
    history = History(TWO)
    for one in (rows[0].with_training(training(1, 0.9)), trials.trial(2, "failed", madds=100)):
        history.learn(one)
    (told,) = history.trials
    assert (told.top1, told.madds) == (0.1, 100)


def test_who_was_trained_longer_changes_neither_the_rank_at_a_rung_nor_what_a_sampler_sees() -> None:
    short = [trial(0, 0.50, 100), trial(1, 0.52, 110), trial(2, 0.49, 120)]
    mixed = [dataclasses.replace(short[0], longer=(training(1, 0.70),)), *short[1:]]
    assert numbers(ranking(mixed, TWO, 0)) == numbers(ranking(short, TWO, 0))
    histories = [History(TWO), History(TWO)]
    for history, seen in zip(histories, (short, mixed), strict=True):
        for one in seen:
            history.learn(one)
    assert histories[0].trials == histories[1].trials
    assert numbers(front_trials(mixed, TWO)) == [0, 1]  # the front follows the same rule
