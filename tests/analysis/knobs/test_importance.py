"""Shares of variance by hand, chance held against idle knobs, and the front's quarter as PED-ANOVA has it."""

import dataclasses
import math
import time

import numpy as np
import pandas as pd
import pytest

from mfsearch.analysis.knobs.importance import (
    MEASURES,
    above_chance,
    best_quarter,
    can_choose_initial,
    code_knobs,
    in_band,
    is_initial,
    knob_shares,
    measure_values,
    sampling_note,
    shares_note,
    study_space,
    width_note,
)
from mfsearch.analysis.knobs.variance import group_codes, judge_shares, shares_between
from mfsearch.space import find_space
from mfsearch.space.nested import parse_nested
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import MANIFEST, failed, kept_parent, longer_study, manifest, row, study, with_knobs
from tests.random_configs import SMALL

OBJECTIVES = ["top1", "madds"]
FIFTY = with_knobs(*(f"knob{j:02}" for j in range(50)))


def simulated(count: int = 2000, seed: int = 0) -> pd.DataFrame:
    """3 knobs that move top1 and 47 that do nothing, by a seeded simulator."""
    rng = np.random.default_rng(seed)
    choices = rng.integers(2, 7, size=50)
    picks = np.stack([rng.integers(choice, size=count) for choice in choices], axis=1)
    top1 = 0.5 + 0.02 * picks[:, 0] + 0.03 * (picks[:, 1] == 1) - 0.015 * picks[:, 2] + rng.normal(0, 0.04, count)
    madds = rng.uniform(130e6, 150e6, count)
    rows = [
        row(k, float(top1[k]), int(madds[k]), params={f"knob{j:02}": int(picks[k, j]) for j in range(50)})
        for k in range(count)
    ]
    return study_frame(rows)


def test_the_share_by_hand() -> None:
    """1 2 3 | 5 6 7: inside 4 over 4, whole 28 over 5, so 1 - 1 / 5.6."""
    values, codes = np.array([1.0, 2.0, 3.0, 5.0, 6.0, 7.0]), np.array([0, 0, 0, 1, 1, 1])
    assert shares_between(values, [codes]) == pytest.approx([1 - 1 / 5.6])
    left_out = np.array([0, 0, 0, 1, 1, -1])  # 1 2 3 | 5 6: 2.5 over 3, whole 17.2 over 4
    missing = np.array([1.0, 2.0, 3.0, 5.0, 6.0, np.nan])
    assert shares_between(values, [left_out]) == pytest.approx([1 - (2.5 / 3) / (17.2 / 4)])
    assert shares_between(missing, [codes, left_out]) == pytest.approx([1 - (2.5 / 3) / (17.2 / 4)] * 2)
    assert shares_between(values + 1e6, [codes]) == pytest.approx([1 - 1 / 5.6])


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([], []),
        ([1.0], [0]),
        ([1.0, 2.0], [0, 1]),
        ([1.0, 1.0, 1.0], [0, 0, 1]),
        ([1.0, 2.0, 4.0], [0, 0, 0]),
        ([1.0, 2.0, 4.0], [-1, -1, -1]),
        ([np.nan, np.nan, np.nan], [0, 1, 1]),
    ],
    ids=["empty", "one", "each alone", "all alike", "one value", "never used", "NaN"],
)
def test_a_share_that_means_nothing_is_nan_and_above_no_chance(values: list[float], codes: list[int]) -> None:
    given, groups = np.array(values, dtype=np.float64), np.array(codes, dtype=np.int64)
    assert math.isnan(shares_between(given, [groups])[0])
    share = judge_shares(given, [groups], seed=0)[0]
    assert math.isnan(share.value)
    assert math.isnan(share.chance)
    assert not share.above_chance
    assert judge_shares(given, [], seed=0) == []


def test_groups_tell_true_from_1_and_hold_what_cannot_be_hashed() -> None:
    assert group_codes([True, 1, 1.0, [1], "1", None, [1], False]).tolist() == [0, 1, 1, 2, 3, 4, 2, 5]


def test_intervals_hold_the_true_share() -> None:
    """Four groups with known means and unit noise; 60 samples of 60: at least 85 % of the intervals hold the truth."""
    means = np.array([0.0, 0.5, 1.0, -0.5])
    truth = means.var() / (means.var() + 1)
    rng, held = np.random.default_rng(0), 0
    for seed in range(60):
        codes = rng.integers(4, size=60)
        share = judge_shares(rng.normal(size=60) + means[codes], [codes], seed=seed)[0]
        held += share.low <= truth <= share.high
    assert held >= 51


def test_planted_knobs_come_out_and_few_idle_ones_do() -> None:
    idle = 0
    for seed in range(6):
        frame = simulated(seed=seed)
        shares = knob_shares(frame, code_knobs(frame, FIFTY), "top1", OBJECTIVES)
        assert {each.knob for each in shares[:3]} == {"knob00", "knob01", "knob02"}
        found = above_chance(shares)
        assert {"knob00", "knob01", "knob02"} <= set(found)
        idle += len(found) - 3
    assert idle / (6 * 47) <= 0.08  # 5 % and its own spread


def test_a_knob_that_never_helps_the_front_is_not_above_chance_and_one_that_does_is() -> None:
    frame = simulated()
    shares = {each.knob: each.share for each in knob_shares(frame, code_knobs(frame, FIFTY), "front", OBJECTIVES)}
    assert shares["knob00"].above_chance
    assert sum(share.above_chance for share in shares.values()) <= 3 + 6
    madds = knob_shares(frame, code_knobs(frame, FIFTY), "madds", OBJECTIVES)
    assert len(above_chance(madds)) <= 7  # none has a say in it


def test_reaching_the_front_is_ped_anova_over_the_whole_variance() -> None:
    """quarter^2 * sum(all * (best / all - 1)^2) over quarter * (1 - quarter), then adjusted for groups."""
    frame = simulated(400)
    coded = code_knobs(frame, FIFTY)
    best = best_quarter(frame, OBJECTIVES)
    _, codes = coded.of("knob00")
    of_all = np.bincount(codes) / len(codes)
    of_best = np.bincount(codes[best == 1], minlength=len(of_all)) / (best == 1).sum()
    quarter = best.mean()
    divergence = float((of_all * (of_best / of_all - 1) ** 2).sum())
    plain = quarter**2 * divergence / (quarter * (1 - quarter))
    groups = len(of_all)
    adjusted = 1 - (1 - plain) * (len(codes) - 1) / (len(codes) - groups)
    found = {each.knob: each.share.value for each in knob_shares(frame, coded, "front", OBJECTIVES)}
    assert found["knob00"] == pytest.approx(adjusted)


def test_the_best_quarter_takes_ranks_whole() -> None:
    tops, madds = [0.9, 0.5, 0.8, 0.4, 0.7, 0.3, 0.6, 0.2], [200, 100] * 4  # four ranks of two
    rows = [row(k, top1, million * 1_000_000) for k, (top1, million) in enumerate(zip(tops, madds, strict=True))]
    frame = study_frame([*rows, row(8, None, outcome="failed"), row(9, None)])
    assert best_quarter(frame, OBJECTIVES)[:8].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert np.isnan(best_quarter(frame, OBJECTIVES)[8:]).all()
    assert np.isnan(best_quarter(study_frame(rows[:2]), OBJECTIVES)).all()  # all on the front: nothing beside it


def test_top1_is_of_the_short_training_and_costs_are_of_all_trials() -> None:
    frame = study_frame(longer_study())
    assert measure_values(frame, "top1", OBJECTIVES)[:6] == pytest.approx([0.4 + 0.01 * k for k in range(6)])
    assert np.isnan(measure_values(frame, "top1", OBJECTIVES)[6])  # given up half way
    assert not np.isnan(measure_values(frame, "madds", OBJECTIVES)).any()
    with pytest.raises(ValueError, match="measure must be one of top1, madds"):
        measure_values(frame, "top5", OBJECTIVES)


def test_a_knob_without_a_say_is_left_out_of_its_trials() -> None:
    space = find_space("mobile_former")
    knobs = {knob.name: list(knob.choices) for knob in space.knobs}
    own = {"name": space.name, "digest": space.digest, "knobs": knobs}
    params = {knob.name: knob.choices[0] for knob in space.knobs} | {"blocks.s2.repeat": 1, "madds_target": 0.97}
    rows = [row(0, params=params), row(1, params=params | {"blocks.s2.repeat": 0}), row(2, params={})]
    assert study_space(manifest(space=own)) == space
    coded = code_knobs(study_frame(rows), manifest(space=own))
    assert coded.of("blocks.s2.kernel")[1].tolist() == [0, -1, -1]
    assert coded.of("blocks.s2.repeat")[0] == [0, 1]
    assert coded.of("blocks.s2.repeat")[1].tolist() == [1, 0, -1]
    assert "madds_target" not in coded.names
    assert study_space(manifest(space=own, deployment={"resolution": 160, "classes": 9})) is None
    for name in ("made_up", "../../etc/passwd"):
        assert study_space(manifest(space={**own, "name": name})) is None
    assert study_space(manifest(space={**own, "digest": ""})) is None


def test_values_stand_in_order() -> None:
    values = [16, 4, "b", "a", True, False, None, 8]
    frame = study_frame([row(k, params={"x": value}) for k, value in enumerate(values)])
    assert code_knobs(frame, with_knobs("x")).of("x")[0] == [False, True, 4, 8, 16, "a", "b"]
    listed = {"name": "made_up", "digest": "0", "knobs": {"x": ["b", "a", 16]}}
    assert code_knobs(frame, manifest(space=listed)).of("x")[0][:3] == ["b", "a", 16]


@pytest.mark.parametrize(
    "rows",
    [[], [row(0)], failed(3), [row(0, None), row(1, float("nan")), row(2, 0.5)], study()],
    ids=["empty", "one", "failed", "NaN", "small"],
)
def test_any_study_has_shares_and_sentences(rows: list[Trial]) -> None:
    frame = study_frame(rows)
    coded = code_knobs(frame, MANIFEST)
    for measure in MEASURES:
        shares = knob_shares(frame, coded, measure, OBJECTIVES)
        assert shares_note(shares, measure)
    assert sampling_note(frame)
    assert width_note(frame) is None
    assert not can_choose_initial(frame)


def test_initial_proposals_and_the_band() -> None:
    origins = ["random"] * 14 + ["spread", "preset mf-26m", "from other:3", "gp", "tpe"]
    rows = [
        row(k, madds=(26 if "26m" in origin else 149) * 1_000_000, origin=origin) for k, origin in enumerate(origins)
    ]
    frame = study_frame(rows)
    assert is_initial(frame).sum() == 16
    assert can_choose_initial(frame)
    assert not can_choose_initial(frame[frame["origin"] != "spread"])
    assert not can_choose_initial(frame[is_initial(frame)])
    assert "3 of 19 proposals depend on earlier results" in sampling_note(frame)
    assert "no result influenced them" in sampling_note(frame[is_initial(frame)])
    for low, kept in ((130_000_000, 18), (20_000_000, 19)):
        band = manifest(budget={"low": low, "high": 150_000_000, "stated": False})
        assert len(in_band(frame, band)) == kept


def test_solved_widths_are_said_to_hold_multiply_adds() -> None:
    frame = study_frame([row(0, madds=140_000_000, width=1.0), row(1, madds=149_000_000, width=1.2)])
    assert "held between 140.0 and 149.0 M" in str(width_note(frame))


def test_chance_permutes_what_a_grouping_holds_and_nothing_else() -> None:
    """0 0 0 1 in two groups of two are always 0 0 | 0 1: inside 0.5 over 2, whole 0.75 over 3, so the share is 0."""
    held, left_out = [0.0, 0.0, 0.0, 1.0], [50.0, -3.0, 7.0, 900.0]
    codes = np.array([0, -1, 0, -1, 1, -1, 1, -1])
    values = np.array([one for pair in zip(held, left_out, strict=True) for one in pair])
    whole = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    share, _ = judge_shares(values, [codes, whole], seed=0)
    assert (share.value, share.chance) == pytest.approx((0.0, 0.0))
    gap = np.array([0, -1, 0, -1, 3, -1, 3, -1])  # groups 1 and 2 hold none
    assert judge_shares(values, [whole, gap], seed=0)[1].chance == pytest.approx(0.0)


def test_of_idle_knobs_with_a_say_in_a_part_of_the_trials_one_in_twenty_is_above_chance() -> None:
    """300 samples of 120: 30 values of 1 or -1 in the knob's two unequal groups, 90 heavy-tailed ones left out.

    Of 300 at 5 % between 6 and 24 are in 99 of 100 cases; with values permuted among all 120 none would be.
    """
    rng, above = np.random.default_rng(1), 0
    codes = np.concatenate([np.repeat([0, 1], [27, 3]), np.full(90, -1)])
    for seed in range(300):
        values = np.concatenate([np.sign(rng.normal(size=30)), rng.normal(size=90) ** 5])
        above += judge_shares(values, [codes], seed=seed)[0].above_chance
    assert 6 <= above <= 24


def test_what_is_over_a_limit_is_not_among_the_best_nor_beside_them() -> None:
    tops = [0.9, 0.5, 0.8, 0.4, 0.7, 0.3, 0.6, 0.2]
    rows = [row(k, top1, (200 if k % 2 == 0 else 100) * 10**6, latency_ms=5.0) for k, top1 in enumerate(tops)]
    over = [row(8, 0.95, 90_000_000, latency_ms=9.0), row(9, 0.96, 80_000_000)]  # over it, and never timed
    frame = study_frame([*over, *rows])
    kept = best_quarter(frame, OBJECTIVES, {"latency_ms": 7.0})
    assert kept[:8].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert np.isnan(kept[8:]).all()
    assert best_quarter(frame, OBJECTIVES).tolist() == [0] * 8 + [1, 1]  # without a limit these two hide the rest
    coded = code_knobs(frame, MANIFEST)
    (share, *_) = knob_shares(frame, coded, "front", OBJECTIVES, limits={"latency_ms": 7.0})
    assert share.share.n == 8


def test_ten_thousand_trials_of_fifty_knobs_take_about_a_second() -> None:
    rng = np.random.default_rng(0)
    codes = [rng.integers(-1, 5, size=10_000) for _ in range(50)]
    values = rng.normal(size=10_000)
    start = time.process_time()
    judge_shares(values, codes, seed=0)
    assert time.process_time() - start < 2.5  # 0.6 s where 50 knobs leave out 11 different sets of trials


def test_inside_a_parent_a_knob_of_what_is_left_out_has_no_say() -> None:
    kept = kept_parent()
    space = parse_nested(kept.space, SMALL)
    own = {"name": "inside", "digest": space.digest, "knobs": {knob.name: list(knob.choices) for knob in space.knobs}}
    about = manifest(space=own, parent=dataclasses.asdict(kept.facts))
    full = {knob.name: knob.choices[-1] for knob in space.knobs}
    bridges = {name: "none" for name in full if name.startswith("bridges.s")}
    rows = [row(0, params=full), row(1, params=full | bridges | {"bridges.final": False}), row(2, params={})]
    coded = code_knobs(study_frame(rows), about, kept)
    assert [code >= 0 for code in coded.of("tokens.count")[1]] == [True, False, False]
    assert [code >= 0 for code in coded.of("former.s2")[1]] == [True, False, False]
    assert [code >= 0 for code in coded.of("bridges.s2")[1]] == [True, True, False]
    earlier = code_knobs(study_frame(rows), about)
    assert [code >= 0 for code in earlier.of("tokens.count")[1]] == [True, True, False]
