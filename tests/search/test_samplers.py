import dataclasses
import json
import math
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mfsearch.analysis.ranking.agreement import kendall_tau
from mfsearch.cost.judge import judge_madds
from mfsearch.cost.madds import count_madds
from mfsearch.model import MobileFormer
from mfsearch.presets import MF_151M
from mfsearch.search.proposal import STARTS, Proposal, Proposer, spread_out
from mfsearch.search.samplers import SAMPLERS
from mfsearch.search.samplers.encode import Encoder, built
from mfsearch.search.samplers.gaussian import GaussianProcess, _loss, matern
from mfsearch.search.samplers.gp import Model
from mfsearch.search.samplers.ground import Ground
from mfsearch.search.samplers.history import History, Observation
from mfsearch.search.samplers.improvement import expected_area, expected_improvement
from mfsearch.search.samplers.tpe import tpe
from mfsearch.space import SearchSpace, Value, find_space, load_space
from mfsearch.space.solve import Sized
from mfsearch.study import settings
from mfsearch.study.prior import COLUMNS, Prior, fit_prior
from mfsearch.study.table_file import load_table
from mfsearch.study.trial import Training, Trial
from mfsearch.units import parse_budget
from tests.conftest import TINY_SPACE
from tests.trials import trial

BUDGET = parse_budget("0.5M")
TABLE = Path(__file__).parents[2] / "results/reference/cifar10-30M-table/table.jsonl"


def tiny() -> SearchSpace:
    return load_space(TINY_SPACE).deployed(resolution=32, classes=10)


def proposer(sampler: str, objectives: tuple[str, ...] = ("top1", "madds")) -> Proposer:
    return Proposer(tiny(), BUDGET, list(objectives), sampler, seed=0)


def finished(proposal: Proposal, outcome: str = "trained", **values: Any) -> Trial:
    """A finished trial as the run would write it."""
    known: dict[str, Any] = {"origin": proposal.origin, "params": proposal.params, "arch_id": proposal.arch_id}
    known |= {"config": proposal.config.to_dict(), "width": proposal.width}
    return trial(proposal.index, outcome, madds=proposal.costs.madds, **known, **values)


def mixed(proposal: Proposal, k: int) -> Trial:
    """Every fifth rejected, every seventh failed, every third stopped."""
    top1, latency_ms = (k * 7 % 16) / 16, 3.0 + k % 4
    if k % 5 == 4:
        return finished(proposal, "rejected", latency_ms=9.0, violation_ms=1.0)
    if k % 7 == 6:
        return finished(proposal, "failed")
    if k % 3 == 2:
        return finished(proposal, "stopped", top1=top1 / 2, latency_ms=latency_ms)
    return finished(proposal, top1=top1, latency_ms=latency_ms)


def ask(source: Proposer) -> Proposal:
    proposal = source.next()
    assert proposal is not None
    return proposal


def test_the_settings_name_every_sampler() -> None:
    assert tuple(SAMPLERS) == settings.SAMPLERS


# --- the contract of all samplers


@pytest.mark.parametrize("objectives", [("top1", "madds"), ("top1", "madds", "latency_ms")])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_are_inside_the_band_and_new_whatever_becomes_of_them(
    sampler: str, objectives: tuple[str, ...]
) -> None:
    source = proposer(sampler, objectives)
    seen = set()
    for k in range(32):
        proposal = ask(source)
        assert BUDGET.low <= proposal.costs.madds <= BUDGET.high
        assert set(proposal.params) == set(source.choices)
        assert all(value in source.choices[name] for name, value in proposal.params.items())
        assert proposal.arch_id not in seen
        seen.add(proposal.arch_id)
        source.learn(mixed(proposal, k))
    assert sampler in ("random", "auto") or any(sampler == o for o in origins(source, 3))


def origins(source: Proposer, count: int) -> list[str]:
    return [ask(source).origin for _ in range(count)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_are_inside_by_fvcore_too(sampler: str) -> None:
    source = proposer(sampler)
    for k in range(STARTS):
        source.learn(mixed(ask(source), k))
    proposal = ask(source)
    assert judge_madds(MobileFormer(proposal.config), 32).madds == proposal.costs.madds


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rebuilt_from_its_trials_it_goes_on_as_if_undisturbed(sampler: str) -> None:
    """Killed with a proposal pending that never finished, after 6 trials (among the starts) and after 20."""
    undisturbed = proposer(sampler)
    trials, proposals = [], []
    for k in range(24):
        proposals.append(ask(undisturbed))
        trials.append(mixed(proposals[-1], k))
        undisturbed.learn(trials[-1])
    for done in (6, 20):
        resumed = proposer(sampler)
        for one in trials[:done]:
            resumed.learn(one)
            resumed.index += 1
        for k in range(done, done + 4):
            proposal = ask(resumed)
            assert (proposal.index, proposal.origin, proposal.params) == (
                proposals[k].index,
                proposals[k].origin,
                proposals[k].params,
            )
            resumed.learn(trials[k])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_at_a_time_are_never_the_same(sampler: str) -> None:
    source = proposer(sampler)
    running: list[Proposal] = []
    ids = []
    for k in range(24):
        running.append(ask(source))
        ids.append(running[-1].arch_id)
        if len(running) == 3:
            source.learn(mixed(running.pop(k % 3), k))
    assert len(set(ids)) == len(ids)
    assert set(source.history.pending) == {proposal.arch_id for proposal in running}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_that_is_used_up_ends_with_none(sampler: str) -> None:
    """Three token counts that are read, each at a few widths."""
    space = tiny()
    fixed = tuple((knob.name, knob.choices[0]) for knob in space.knobs if knob.name != "tokens.count")
    knobs = tuple(knob for knob in space.knobs if knob.name == "tokens.count")
    few = dataclasses.replace(space, knobs=knobs, constants=space.constants + fixed)
    source = Proposer(few, parse_budget("0.3M..0.5M"), ["top1", "madds"], sampler, seed=0)
    found = 0
    while (proposal := source.next()) is not None:
        source.learn(mixed(proposal, found))
        found += 1
    assert 3 <= found <= 3 * 8


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_but_failures_is_coped_with(sampler: str) -> None:
    source = proposer(sampler)
    for _ in range(STARTS + 4):
        proposal = ask(source)
        source.learn(finished(proposal, "failed", latency_ms=3.0))
    assert ask(source).origin == "random"


# --- each by itself


def nearness(ground: Ground) -> Callable[[dict[str, Value]], float]:
    """A top1 that falls with the distance from one network of the space."""
    best = ground.drawn("", random.Random(9))
    assert best is not None
    encoder = Encoder(ground)
    goal = encoder.encode(best.params, best.madds)
    return lambda params: 1.0 - 0.05 * float(((encoder.encode(params) - goal) ** 2).sum())


def last_ten(sampler: str, seed: int) -> float:
    """Mean nearness of the last ten of 32 proposals."""
    source = Proposer(tiny(), BUDGET, ["top1", "madds"], sampler, seed)
    top1, found = nearness(Ground(tiny(), BUDGET)), []
    for _ in range(32):
        proposal = ask(source)
        found.append(top1(proposal.params))
        source.learn(finished(proposal, top1=found[-1], latency_ms=3.0))
    return float(np.mean(found[-10:]))


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ("random", "auto")])
def test_what_learns_finds_better_networks_than_the_control(sampler: str) -> None:
    assert np.mean([last_ten(sampler, s) for s in range(2)]) > np.mean([last_ten("random", s) for s in range(2)]) + 0.02


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_models_learn_which_networks_are_too_slow(sampler: str) -> None:
    """All networks with a 5x5 kernel are rejected as slow: later proposals have fewer than the starting points."""
    source = proposer(sampler, ("top1", "madds", "latency_ms"))
    slow = []
    for k in range(36):
        proposal = ask(source)
        slow.append(any(row.kernel == 5 for row in proposal.config.blocks))
        if slow[-1]:
            source.learn(finished(proposal, "rejected", latency_ms=9.0, violation_ms=4.0))
        else:
            source.learn(finished(proposal, top1=0.5 + k / 1000, latency_ms=4.0))
    assert np.mean(slow[-12:]) < 0.6 * np.mean(slow[:STARTS])


def test_the_gp_costs_little_at_five_thousand_trials() -> None:
    """Only so many rows reach a model, whatever the study's size."""
    history = many(5000)
    assert len(Model(Ground(tiny(), BUDGET), history).trials) == 120


@pytest.mark.parametrize("sampler", [tpe, SAMPLERS["gp"], SAMPLERS["evolution"], SAMPLERS["auto"]])
def test_a_proposal_after_five_thousand_trials_takes_less_than_three_seconds(sampler: Callable[..., Any]) -> None:
    """0.3 s is asked for and benchmarks/proposals.py measures it; a test must also pass on a loaded machine."""
    import time

    ground, history = Ground(tiny(), BUDGET), many(5000)
    start = time.process_time()
    assert sampler(ground, history, random.Random(0)) is not None
    assert time.process_time() - start < 3.0


def many(count: int) -> History:
    ground, rng = Ground(tiny(), BUDGET), random.Random(0)
    history = History(["top1", "madds"])
    for _ in range(count):
        history.trials.append(Observation(ground.draw(rng), rng.randrange(425_000, 500_000), rng.random(), None, 0.0))
    return history


# --- on real trainings


@cache
def real_table() -> tuple[Ground, list[Trial]]:
    """The networks of `cifar10-30M-table` that the space builds today, with the value of their short trainings."""
    space, budget = find_space("mobile_former"), parse_budget("30M")
    ground, trials = Ground(space, budget), []
    for number, line in enumerate(TABLE.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        try:
            config = space.resolve(row["params"], row["width"])
        except ValueError:  # DyReLUs that read tokens which no image reaches
            continue
        placed = ground.placed("", Sized(row["params"], row["width"], config, count_madds(config)))
        value = math.exp(-row["curve"][-1]["val_loss"])
        known = {"config": config.to_dict(), "arch_id": config.arch_id, "width": row["width"], "score": value}
        trials.append(trial(number, params=placed.params, madds=placed.madds, top1=row["top1"], **known))
    return ground, trials


def told(trials: Sequence[Trial]) -> History:
    history = History(["top1", "madds"])
    for one in trials:
        history.learn(one)
    return history


def test_the_model_of_what_is_built_predicts_real_trainings_twice_as_well_as_the_knobs() -> None:
    """Kendall's tau over the rest of the table, from 30 trainings: at least 0.35, and twice that of the knobs alone."""
    ground, trials = real_table()
    both, knobs = [], []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(trials))
        model = Model(ground, told([trials[k] for k in order[:30]]))
        assert model.weights[0] > 0.5  # of what is built
        rest = told([trials[k] for k in order[30:]]).trials
        true = np.array([one.top1 for one in rest])
        both.append(kendall_tau(model.means(rest), true))
        knobs.append(kendall_tau(model.processes[1].predict(model._views(rest)[1])[0], true))
    assert np.mean(both) > max(0.35, 2 * float(np.mean(knobs)))


def test_the_model_reads_the_knobs_where_they_alone_matter() -> None:
    """A value that depends on a knob which the columns of what is built do not show."""
    ground, trials = real_table()
    chosen = [
        dataclasses.replace(one, short=Training(top1=0.5, score=float(one.params["blocks.s4_down.kernel"] == 5)))
        for one in trials[:40]
    ]
    assert Model(ground, told(chosen)).weights[1] > 0.9


def test_the_score_that_ranks_networks_is_what_the_model_fits() -> None:
    _, trials = real_table()
    seen = told(trials[:5]).trials
    assert [one.top1 for one in seen] == [one.score() for one in trials[:5]]
    assert [one.top1 for one in seen] != [one.top1 for one in trials[:5]]


def test_a_prior_from_another_table_helps_from_few_trainings_and_a_shuffled_one_does_not_harm() -> None:
    """Mean tau over the rest of the table, from 8 trainings; the prior is of the 50M table alone."""
    ground, trials = real_table()
    other = load_table("cifar10-50M")
    taus: dict[str, list[float]] = {"none": [], "tables": [], "shuffled": []}
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(trials))
        rest = told([trials[k] for k in order[8:]]).trials
        dealt = np.random.default_rng(seed).permutation(len(other.rows)).tolist()
        rows = [
            dataclasses.replace(row, trainings=other.rows[k].trainings)
            for row, k in zip(other.rows, dealt, strict=True)
        ]
        priors = {"none": None, "tables": fit_prior([other])}
        priors["shuffled"] = fit_prior([dataclasses.replace(other, rows=tuple(rows))])
        for name, prior in priors.items():
            history = told([trials[k] for k in order[:8]])
            history.prior = prior
            model = Model(ground, history)
            taus[name].append(kendall_tau(model.means(rest), np.array([one.top1 for one in rest])))
    none, tables, shuffled = (float(np.mean(each)) for each in taus.values())
    assert tables > none + 0.05, taus
    assert shuffled > none - 0.05, taus


def test_a_trial_without_a_readable_config_is_an_average_network_to_the_model() -> None:
    ground, trials = real_table()
    lost = dataclasses.replace(trials[9], config_data=None)
    history = told([*trials[:9], lost, *trials[10:20]])
    history.prior = Prior(("a",), dict.fromkeys(COLUMNS, 1.0))
    model = Model(ground, history)
    said = model._known(history.trials)
    assert said[9] == pytest.approx(np.delete(said, 9).mean())
    np.testing.assert_allclose(model._views(told([lost]).trials)[0], 0.0, atol=1e-9)
    np.testing.assert_allclose(model.processes[0].x[9], 0.0, atol=1e-9)


def test_what_is_built_is_read_from_the_config() -> None:
    """mf-151m in Table 1 of arXiv:2108.05895: stem 12, last widths 16, 32, 88 and 128, head 1280, 11 rows with both."""
    row = built(MF_151M, 0.5, 150e6)
    np.testing.assert_allclose(row[:-1], np.log([12, 0.5, 16, 32, 88, 128, 1280, 150e6]))
    assert row[-1] == 11


# --- the spread-out start


def test_the_spread_out_start_is_wider_than_random_draws() -> None:
    ground = Ground(find_space("mobile_former"), parse_budget("96M"))
    encoder = Encoder(ground)

    def least_distance(chosen: list[Any]) -> float:
        x = np.stack([encoder.encode(c.params, c.madds) for c in chosen])
        d = ((x[:, None] - x[None, :]) ** 2).sum(2)
        return float(np.sqrt(d[np.triu_indices(len(x), 1)].min()))

    spread = spread_out(ground, [], 8, random.Random(0))
    rng = random.Random(1)
    drawn = [[c for c in (ground.drawn("", rng) for _ in range(8)) if c] for _ in range(10)]
    assert len({c.config.arch_id for c in spread}) == 8
    assert least_distance(spread) > max(least_distance(one) for one in drawn)


def test_the_spread_out_start_keeps_away_from_what_is_known() -> None:
    """With a known network in the pool's place, the first chosen is the furthest draw from it."""
    ground = Ground(tiny(), BUDGET)
    known = ground.drawn("", random.Random(3))
    assert known is not None
    first = spread_out(ground, [known], 1, random.Random(0))[0]
    encoder = Encoder(ground)
    rng = random.Random(0)
    pool = [c for c in (ground.drawn("", rng) for _ in range(150)) if c]
    at = encoder.encode(known.params, known.madds)
    distances = [float(((encoder.encode(c.params, c.madds) - at) ** 2).sum()) for c in pool]
    assert first.config.arch_id == pool[int(np.argmax(distances))].config.arch_id


# --- the encoding


def test_knobs_without_effect_do_not_move_a_network() -> None:
    """With every bridge and the final one off there are no tokens: token knobs, the Former and the bridges' details
    change nothing; nor do DyReLU's details under plain ReLU, or the kernel of a row that is not there."""
    ground = Ground(find_space("mobile_former"), parse_budget("96M"))
    encoder = Encoder(ground)
    params: dict[str, Value] = ground.draw(random.Random(0)) | {
        "bridges.s2": "none",
        "bridges.s3": "none",
        "bridges.s4": "none",
        "bridges.s5": "none",
        "bridges.final": False,
        "dyrelu.source": "none",
        "blocks.s2.repeat": 0,
    }
    changed = params | {
        "tokens.count": 12 if params["tokens.count"] != 12 else 1,
        "former.ffn": 4 if params["former.ffn"] != 4 else 0,
        "bridges.heads": 6 - int(params["bridges.heads"]),
        "dyrelu.position": "first" if params["dyrelu.position"] != "first" else "second",
        "blocks.s2.kernel": 8 - int(params["blocks.s2.kernel"]),
    }
    assert ground.space.resolve({k: v for k, v in params.items() if k != "madds_target"}).arch_id
    np.testing.assert_array_equal(encoder.encode(params, 90e6), encoder.encode(changed, 90e6))
    with_tokens = params | {"bridges.final": True}
    assert not np.array_equal(encoder.encode(with_tokens, 90e6), encoder.encode(with_tokens | {"tokens.dim": 64}, 90e6))


def test_ordered_choices_keep_their_order_and_bridges_are_two_bits() -> None:
    ground = Ground(find_space("mobile_former"), parse_budget("96M"))
    encoder = Encoder(ground)
    assert [encoder.codes["tokens.count"][c] for c in (1, 2, 12)] == [[0.0], [1 / 6], [1.0]]
    assert encoder.codes["bridges.s3"] == {
        "both": [1.0, 1.0],
        "to_former": [1.0, 0.0],
        "to_mobile": [0.0, 1.0],
        "none": [0.0, 0.0],
    }
    assert len(encoder.codes["dyrelu.source"]["none"]) == 6
    row = encoder.encode(ground.draw(random.Random(0)), 96e6)
    assert row.shape == (encoder.columns,)
    assert row[-1] == pytest.approx(1.0)


# --- the Gaussian process


def test_a_gp_with_one_observation_is_the_closed_form() -> None:
    """One y seen: mean k/(a + s) y, variance a - k^2/(a + s), where k = a m(distance), a the prior's, s the noise's."""
    a, s = 2.0, 0.5
    theta = np.array([0.0, math.log(a), math.log(s)])
    process = GaussianProcess(np.array([[0.0]]), np.array([0.0]), theta=theta)
    process.z = np.array([1.5])
    process.weights = process.inverse @ process.z
    mean, spread = process.predict(np.array([[0.7]]))
    r = math.sqrt(5) * 0.7
    k = a * (1 + r + r * r / 3) * math.exp(-r)
    assert mean[0] == pytest.approx(k / (a + s) * 1.5)
    assert spread[0] ** 2 == pytest.approx(a - k * k / (a + s))


def test_the_slope_that_the_fit_follows_is_that_of_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    x, z = rng.random((7, 3)), rng.normal(size=7)
    rows, columns = np.triu_indices(7, 1)
    pairs = (x[rows] - x[columns]) ** 2
    theta = np.array([0.1, -0.4, 0.7, 0.2, -1.1])

    def loss(at: np.ndarray) -> float:
        """From the textbook's formula, with the full covariance."""
        squared = (((x[:, None] - x[None]) * np.exp(-at[:3])) ** 2).sum(2)
        kernel = math.exp(at[3]) * matern(squared) + math.exp(at[4]) * np.eye(7)
        return float(0.5 * z @ np.linalg.solve(kernel, z) + 0.5 * np.linalg.slogdet(kernel)[1])

    value, slope = _loss(theta, pairs, rows, columns, z)
    assert value == pytest.approx(loss(theta))
    steps = np.eye(5) * 1e-6
    np.testing.assert_allclose(slope, [(loss(theta + e) - loss(theta - e)) / 2e-6 for e in steps], rtol=1e-5, atol=1e-7)


def test_the_fit_finds_the_column_that_matters() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((80, 10))
    process = GaussianProcess(x, np.sin(4 * x[:, 3]) + 0.05 * rng.normal(size=80))
    assert int(process.inverse_lengths.argmax()) == 3
    new = rng.random((200, 10))
    mean, spread = process.predict(new)
    errors = np.abs(mean - np.sin(4 * new[:, 3]))
    assert errors.mean() < 0.1
    assert (errors < 3 * np.hypot(spread, 0.05)).mean() > 0.95


# --- the expected growth of the area


def test_expected_improvement_by_hand() -> None:
    """At its own mean a normal value improves by s / sqrt(2 pi); far above the level by the difference, far below 0."""
    found = expected_improvement(np.array([0.5, 0.9, 0.1]), np.array([0.1, 0.001, 0.001]), np.array([0.5, 0.5, 0.5]))
    np.testing.assert_allclose(found, [0.1 / math.sqrt(2 * math.pi), 0.4, 0.0], atol=1e-12)


def test_expected_area_on_a_front_of_two_by_hand() -> None:
    """Front (1, 0.3) and (2, 0.5), area counted to cost 4 and from top1 0.1. A certain 0.6 at cost 1.5 gains 0.3 over
    half a unit and 0.1 over two: 0.35. A certain 0.4 gains only 0.05. At 0.5, left of all, a certain 0.2 gains 0.05."""
    front, reference = np.array([[2.0, 0.5], [1.0, 0.3]]), (4.0, 0.1)
    found = expected_area(
        np.array([1.5, 1.5, 0.5, 4.5]), np.array([0.6, 0.4, 0.2, 0.9]), np.full(4, 1e-9), front, reference
    )
    np.testing.assert_allclose(found, [0.35, 0.05, 0.05, 0.0], atol=1e-8)


def test_expected_area_is_the_mean_of_random_outcomes() -> None:
    """Against the exact area of the package's own hypervolume over 1,000 draws."""
    from mfsearch.pareto import hypervolume

    front, reference = np.array([[1.0, 0.3], [2.0, 0.5]]), (4.0, 0.1)
    rng = np.random.default_rng(0)

    def area(points: np.ndarray) -> float:
        return hypervolume(points * np.array([1.0, -1.0]), np.array([reference[0], -reference[1]]))

    for cost, mean, spread in [(1.5, 0.45, 0.1), (0.4, 0.2, 0.2), (2.5, 0.4, 0.05)]:
        base = area(front)
        sampled = [area(np.vstack([front, [[cost, y]]])) - base for y in rng.normal(mean, spread, 1000)]
        found = expected_area(np.array([cost]), np.array([mean]), np.array([spread]), front, reference)[0]
        error = np.std(sampled) / math.sqrt(len(sampled))
        assert abs(found - np.mean(sampled)) < 4 * error + 1e-9


def test_expected_area_with_nothing_evaluated_is_the_whole_rectangle() -> None:
    found = expected_area(np.array([1.0]), np.array([0.6]), np.array([1e-9]), np.empty((0, 2)), (4.0, 0.1))
    assert found[0] == pytest.approx(3 * 0.5)


def test_pending_networks_lower_what_their_like_promises() -> None:
    """A second worker is sent elsewhere: the score of a network falls once it is being evaluated."""
    source = proposer("gp")
    ground, history = source.ground, source.history
    top1 = nearness(ground)
    for _ in range(20):
        proposal = ask(source)
        source.learn(finished(proposal, top1=top1(proposal.params), latency_ms=3.0))
    candidate = SAMPLERS["gp"](ground, history, random.Random(0))
    assert candidate is not None
    before = Model(ground, history).scores([candidate])[0]
    history.pending[candidate.config.arch_id] = candidate
    after = Model(ground, history).scores([candidate])[0]
    assert after < 0.8 * before


QUIET = """
import random, sys
from pathlib import Path
import optuna
from mfsearch.search.samplers.ground import Ground
from mfsearch.search.samplers.tpe import tpe
from mfsearch.study.ledger import Ledger
from tests.search.test_samplers import BUDGET, many, tiny
from tests.trials import manifest
assert tpe(Ground(tiny(), BUDGET), many(20), random.Random(0)) is not None
for _ in range(2):
    Ledger(Path(sys.argv[1]), manifest("s"), None)
assert optuna.logging.get_verbosity() == optuna.logging.INFO
"""


def test_a_search_from_python_prints_nothing_of_optunas_and_leaves_its_logging_as_it_was(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", QUIET, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
