"""Inside the budget by construction: the widest network that fits, and how small and large a space gets."""

import itertools
import random
from pathlib import Path

import pytest

from mfsearch.cost.judge import judge_madds
from mfsearch.cost.madds import count_costs, count_madds
from mfsearch.model import MobileFormer
from mfsearch.space import SearchSpace, find_space, load_space
from mfsearch.space.solve import (
    MAX_WIDTH,
    MIN_WIDTH,
    Sized,
    extreme,
    fit,
    is_inside,
    largest_madds,
    smallest_cost,
    smallest_madds,
)
from mfsearch.units import LIMITED, CostLimits

FULL = find_space("mobile_former")
M = 1_000_000
BUDGETS = (30 * M, 96 * M, 150 * M, 500 * M)
STEP = 1 / 512  # of the solver's width

TINY = """
tokens: {count: [1, 3], dim: [32, 64]}
former: {ffn: [0, 2]}
bridges: {s2: [both, none], final: [true, false]}
dyrelu: {source: [first_token, pooled, none]}
stem: {out: 8}
lite: {expand: 2, out: 8, stride: [1, 2]}
blocks:
  s2_down: {stride: 2, expand: 3, out: 12}
  s2:      {repeat: [0, 1], expand: [2, 3]}
head: {conv: 4x, hidden: 16}
"""


def draws(count: int, seed: int) -> list[dict[str, bool | int | float | str]]:
    rng = random.Random(seed)
    return [FULL.draw(rng) for _ in range(count)]


@pytest.mark.parametrize("budget", BUDGETS)
def test_each_draw_becomes_the_widest_network_within_the_band(budget: int) -> None:
    """300 draws a budget: never over it, never under 85 % of it, and one step wider is too much."""
    missed = []
    for params in draws(300, seed=budget):
        sized = fit(FULL, params, 0.85 * budget, budget)
        if sized is None:
            missed.append(params)
            continue
        assert 0.85 * budget <= sized.madds <= budget
        assert sized.madds == count_madds(sized.config)
        assert sized.config == FULL.resolve(params, sized.width)
        assert sized.params == params
        if sized.width + STEP < MAX_WIDTH:
            assert count_madds(FULL.resolve(params, sized.width + STEP)) > budget
    assert len(missed) <= (150 if budget == 30 * M else 10)  # many draws are too deep for 30M at any width
    for params in missed[:3]:  # and none of these has any width inside
        widths = [MIN_WIDTH + k * STEP for k in range(0, round((MAX_WIDTH - MIN_WIDTH) / STEP), 3)]
        counts = [count_madds(FULL.resolve(params, width)) for width in widths]
        assert not any(0.85 * budget <= count <= budget for count in counts)


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_band_holds_by_fvcores_count_at_224_pixels(budget: int) -> None:
    for params in draws(20, seed=1):
        sized = fit(FULL, params, 0.85 * budget, budget)
        if sized is not None:
            assert 0.85 * budget <= judge_madds(MobileFormer(sized.config), 224).madds <= budget
            return
    raise AssertionError("no draw fits")


def test_multiply_adds_never_fall_as_the_width_grows() -> None:
    for params in draws(20, seed=2):
        counts = [count_madds(FULL.resolve(params, MIN_WIDTH + k / 16)) for k in range(61)]
        assert counts == sorted(counts)


def test_a_band_below_the_narrowest_or_above_the_widest_gives_none() -> None:
    params = draws(1, seed=3)[0]
    narrowest, widest = (count_madds(FULL.resolve(params, width)) for width in (MIN_WIDTH, MAX_WIDTH))
    assert fit(FULL, params, 0, narrowest - 1) is None
    at_least = fit(FULL, params, 0, narrowest)
    assert at_least is not None
    assert at_least.madds == narrowest
    assert fit(FULL, params, widest + 1, 2 * widest) is None
    at_most = fit(FULL, params, 0, 2 * widest)
    assert at_most is not None
    assert at_most.width > MAX_WIDTH - 2 * STEP


def test_deployment_decides_what_fits() -> None:
    params = draws(1, seed=4)[0]
    here, there = fit(FULL, params, 0, 100 * M), fit(FULL.deployed(160, 10), params, 0, 100 * M)
    assert here is not None
    assert there is not None
    assert there.width > here.width
    assert (there.config.resolution, there.config.classes) == (160, 10)


def tiny(tmp_path: Path, extra: str) -> SearchSpace:
    (tmp_path / "tiny.yaml").write_text(TINY + extra)
    return load_space(tmp_path / "tiny.yaml").deployed(64, 10)


def test_without_solve_the_width_stays_one(tmp_path: Path) -> None:
    space = tiny(tmp_path, "")
    params = space.draw(random.Random(0))
    config = space.resolve(params)
    madds = count_madds(config)
    assert fit(space, params, 0, madds) == Sized(params, 1.0, config, madds)
    assert fit(space, params, madds, 10 * madds) is not None
    assert fit(space, params, 0, madds - 1) is None
    assert fit(space, params, madds + 1, 10 * madds) is None


def test_params_that_cannot_be_built_are_refused(tmp_path: Path) -> None:
    space = tiny(tmp_path, "width: solve")
    params = {**space.draw(random.Random(0)), "bridges.s2": "none", "bridges.final": False}
    with pytest.raises(ValueError, match="dyrelu.source"):
        fit(space, {**params, "dyrelu.source": "first_token"}, 0, 10 * M)


@pytest.mark.parametrize(("extra", "low", "high"), [("", 1.0, 1.0), ("width: solve", MIN_WIDTH, MAX_WIDTH)])
def test_smallest_and_largest_are_those_of_all_params_tried(
    tmp_path: Path, extra: str, low: float, high: float
) -> None:
    space = tiny(tmp_path, extra)
    counts: dict[float, list[int]] = {low: [], high: []}
    for choice in itertools.product(*(knob.choices for knob in space.knobs)):
        params = {knob.name: value for knob, value in zip(space.knobs, choice, strict=True)}
        for width, found in counts.items():
            try:
                found.append(count_madds(space.resolve(params, width)))
            except ValueError:
                continue
    assert len(counts[low]) > 500
    assert smallest_madds(space) == min(counts[low])
    assert largest_madds(space) == max(counts[high])
    assert count_madds(extreme(space, largest=True, width=low)) == max(counts[low])


def test_the_full_space_reaches_from_below_20m_to_above_600m() -> None:
    assert smallest_madds(FULL) < 20 * M
    assert largest_madds(FULL) > 600 * M


def test_limits_bind_the_width_as_the_budget_does() -> None:
    """Of 60 draws: within every limit, and one step wider breaks the budget or a limit."""
    limits, bound = CostLimits(4 * M, 2 * M, 16 * M), 0
    for params in draws(60, seed=1):
        sized = fit(FULL, params, 0.85 * 150 * M, 150 * M, limits, below=True)
        if sized is None:
            assert not is_inside(FULL.resolve(params, MIN_WIDTH), 150 * M, limits)
            continue
        assert is_inside(sized.config, 150 * M, limits)
        assert sized.config == FULL.resolve(params, sized.width)
        wider = FULL.resolve(params, sized.width + STEP)
        assert not is_inside(wider, 150 * M, limits)
        bound += count_madds(wider) <= 150 * M
        in_band = fit(FULL, params, 0.85 * 150 * M, 150 * M, limits)
        assert in_band == (sized if sized.madds >= 0.85 * 150 * M else None)  # a lower end that was typed binds
    assert bound > 30


def test_without_limits_nothing_may_be_below_the_band() -> None:
    params = draws(1, seed=0)[0]
    widest = count_madds(FULL.resolve(params, MAX_WIDTH - STEP))
    assert fit(FULL, params, widest + 1, 2 * widest, below=True) is None


def test_the_smallest_costs_are_no_larger_than_those_of_draws() -> None:
    costs = [count_costs(FULL.resolve(params, MIN_WIDTH)) for params in draws(300, seed=3)]
    for name in LIMITED:
        assert smallest_cost(FULL, name) <= min(getattr(cost, name) for cost in costs)
