"""Paired effects: by hand, and on planted truths: intervals hold them as often as they say."""

import dataclasses
import math
import random
import statistics

import pytest

from mfsearch.analysis.knobs.twin_pairs import expected_by_chance, holm, paired_effect
from mfsearch.commands.twins import compare, meaning, table
from mfsearch.presets import PRESETS
from mfsearch.proxy.recipe import default_recipe
from mfsearch.search.twin_networks import make_twins, twin_tasks
from mfsearch.study.manifest import DataFacts
from mfsearch.study.task_file import TaskRecord
from mfsearch.study.twins_file import CONFIDENCE, Effect, TwinReport

PARENT = PRESETS["mf-26m"]
SEEDS = [0, 1, 2]


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (7, 2.365), (30, 2.042), (61, 2.000)]
)
def test_an_interval_reaches_as_far_as_the_tables_of_student_t_say(freedom: int, t: float) -> None:
    differences = [float(seed) for seed in range(freedom + 1)]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    effect = paired_effect(dict.fromkeys(range(freedom + 1), 0.0), dict(enumerate(differences)))
    assert effect.mean is not None
    assert effect.high is not None
    assert (effect.high - effect.mean) / error == pytest.approx(t, abs=6e-4)
    edge = paired_effect(dict.fromkeys(range(freedom + 1), effect.low or 0.0), dict(enumerate(differences)))
    assert edge.low == pytest.approx(0.0, abs=1e-12)  # moved until the interval ends at 0
    assert edge.p == pytest.approx(0.05)


def test_an_effect_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), reach 4.3027 / sqrt(3), p of t = 3.4641 by 2 is 0.0742."""
    effect = paired_effect({0: 10.0, 1: 20.0, 2: 30.0, 9: 5.0}, {2: 33.0, 0: 11.0, 1: 22.0, 7: 1.0})
    assert effect.pairs == 3
    assert effect.mean == pytest.approx(2)
    assert effect.low == pytest.approx(2 - 2.4841, abs=1e-4)
    assert effect.high == pytest.approx(2 + 2.4841, abs=1e-4)
    assert effect.p == pytest.approx(0.0742, abs=1e-4)
    assert not effect.shown


def test_too_few_pairs_have_no_interval() -> None:
    assert paired_effect({}, {}) == paired_effect({0: 0.5}, {1: 0.5}) == Effect(0)
    assert paired_effect({0: 0.5}, {0: 0.75}) == Effect(1, 0.25)
    assert not Effect(1, 0.25).shown


def test_pairs_that_agree_to_one_image_are_not_certain() -> None:
    """Two seeds that both say one image of 100 more: standard error 0.01 / sqrt(6) / sqrt(2), times 12.706."""
    effect = paired_effect({0: 0.5, 1: 0.6}, {0: 0.51, 1: 0.61}, step=0.01)
    assert effect.high is not None
    assert effect.high - 0.01 == pytest.approx(12.706 * 0.01 / 12**0.5, rel=1e-3)
    same = paired_effect({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6})
    assert (same.low, same.high, same.p, same.shown) == (0, 0, 1, False)


def test_holm_by_hand() -> None:
    """Sorted 0.01 x 3, 0.03 x 2, 0.04 x 1, never falling."""
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_planted_effects_lie_in_their_intervals_as_often_as_they_say() -> None:
    """Twins with known effects, seeds that all share and noise of each training's own, 250 times over: 95 % of the
    intervals hold the truth, 95 % of those of knobs without effect show none, and large effects are recovered."""
    rng = random.Random(0)
    twins = make_twins(PARENT, "tokens.count,former.ffn,bridges.blocks")
    # the last two are one network: without Mobile->Former the tokens are constants
    planted = dict(zip([twin.name for twin in twins], [0.0, -0.08, 0.0, 0.01, 0.03, 0.03], strict=True))
    arch = {twin.config.arch_id: planted[twin.name] for twin in twins if twin.config is not None}
    tasks = twin_tasks(PARENT, twins, SEEDS)
    held = dict.fromkeys(planted, 0)
    shown = dict.fromkeys(planted, 0)
    false = 0
    repeats = 250
    for _ in range(repeats):
        shared = {seed: rng.gauss(0, 0.05) for seed in SEEDS}
        records: dict[str, TaskRecord] = {
            task.key: dataclasses.replace(
                task.record,
                top1=0.6 + shared[task.seed] + arch.get(task.config.arch_id, 0.0) + rng.gauss(0, 0.01),
            )
            for task in tasks
        }
        _, rows = compare("mf-26m", PARENT, twins, SEEDS, records, step=1 / 5000)
        for row in rows:
            assert row.effect.low is not None
            assert row.effect.high is not None
            held[row.name] += row.effect.low <= planted[row.name] <= row.effect.high
            shown[row.name] += row.effect.shown
        false += any(row.holds for row in rows if planted[row.name] == 0)
    # 250 draws at 95 %: a standard deviation of 1.4 %
    for name, effect in planted.items():
        assert 0.908 <= held[name] / repeats <= 0.992, name
        if effect == 0:
            assert shown[name] / repeats <= 0.092, name
    assert shown["tokens.count=6"] / repeats > 0.95  # -8 points beside a spread of 1.4
    assert false / repeats <= 0.092


def test_the_table_and_its_sentences_say_what_is_shown_and_what_is_not() -> None:
    twins = make_twins(PARENT, "former.ffn,former.projections,former.heads=4")
    top1 = {"network": (0.6, 0.62, 0.61), "former.ffn": (0.5, 0.52, 0.512), "former.projections": (0.61, 0.6, 0.62)}
    configs = {twin.knob: twin.config for twin in twins} | {"network": PARENT}
    records: dict[str, TaskRecord] = {}
    for name, values in top1.items():
        config = configs[name]
        assert config is not None
        for seed, value in enumerate(values):
            key = f"{config.arch_id}-{seed}"
            records[key] = TaskRecord(key, config.arch_id, seed, top1=value)
    key = f"{PARENT.arch_id}-3"
    records[key] = TaskRecord(key, PARENT.arch_id, 3, outcome="failed", reason="diverged")
    seeds = (*SEEDS, 3)
    parent, rows = compare("mf-26m", PARENT, twins, seeds, records, step=0.001)
    report = TwinReport(
        folder="",
        network=PARENT.arch_id,
        data=DataFacts("digits", "", 10, 797, val_images=1000),
        recipe=default_recipe("digits"),
        seed=0,
        device="cpu",
        knobs="",
        parent=parent,
        seeds=seeds,
        twins=tuple(rows),
        confidence=CONFIDENCE,
        shown_by_chance=expected_by_chance([row.effect for row in rows]),
        versions={},
    )
    lines = table(report).splitlines()
    assert max(map(len, lines)) <= 100
    # differences -0.100, -0.100, -0.098: mean -9.93 points, standard deviation 0.115, reach 4.303 x 0.115 / sqrt(3)
    assert "former.ffn 2 -> 0" in lines[3]
    assert lines[3].endswith("-9.93 -10.22..-9.65 **")
    assert "  former.heads 4 -> 4: the network already has this value" in lines
    assert "  mf-26m, seed 3: diverged" in lines
    said = meaning(report)
    assert "former.ffn 2 -> 0 loses 9.93 points, also after the correction for all of them." in said
    assert "No effect shown (the interval holds 0): former.projections tied -> full." in said
    assert "0.1 would by chance" in said


def test_chance_counts_the_intervals_there_are() -> None:
    assert expected_by_chance([Effect(3, 0, -1, 1, 1)] * 20 + [Effect(1, 0.5)]) == pytest.approx(1.0)
