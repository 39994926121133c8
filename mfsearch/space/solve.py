"""The width that puts a network inside a budget, and the smallest and largest networks of a space."""

import random
from collections.abc import Callable
from typing import NamedTuple

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_costs, count_madds
from mfsearch.space.knobs import Value
from mfsearch.space.search_space import Params, SearchSpace
from mfsearch.units import NO_LIMITS, CostLimits

MIN_WIDTH, MAX_WIDTH = 0.25, 4.0


class Sized(NamedTuple):
    """Params, the width by which they were scaled, and the network they resolve to."""

    params: dict[str, Value]
    width: float
    config: MobileFormerConfig
    madds: int


def fit(
    space: SearchSpace,
    params: Params,
    low: float,
    high: float,
    limits: CostLimits = NO_LIMITS,
    *,
    below: bool = False,
) -> Sized | None:
    """The widest network of `params` with at most `high` multiply-adds and within the limits; None if it has fewer than
    `low`, or if there is none.

    The width stays 1 if the space does not say `width: solve`. below: a network that a limit keeps from being wider may
    have fewer than `low`. Raises ValueError for params that cannot be built.
    """
    if not space.solved:
        return _within(space, params, 1.0, low, high, limits)
    # channels move in steps of 4, so 1/512 is fine enough up to 2,000 channels
    narrow, wide = round(MIN_WIDTH * 512), round(MAX_WIDTH * 512)
    if not is_inside(space.resolve(params, MIN_WIDTH), high, limits):
        return None
    while wide - narrow > 1:
        middle = (narrow + wide) // 2
        if is_inside(space.resolve(params, middle / 512), high, limits):
            narrow = middle
        else:
            wide = middle
    if below and limits.given and not limits.hold(count_costs(space.resolve(params, wide / 512))):
        low = 0
    return _within(space, params, narrow / 512, low, high, limits)


def is_inside(config: MobileFormerConfig, high: float, limits: CostLimits) -> bool:
    """Whether a network has at most `high` multiply-adds and is within the limits."""
    return count_madds(config) <= high and (not limits.given or limits.hold(count_costs(config)))


def _within(
    space: SearchSpace, params: Params, width: float, low: float, high: float, limits: CostLimits
) -> Sized | None:
    config = space.resolve(params, width)
    madds = count_madds(config)
    return Sized(dict(params), width, config, madds) if low <= madds and is_inside(config, high, limits) else None


def extreme(
    space: SearchSpace,
    *,
    largest: bool,
    width: float = 1.0,
    count: Callable[[MobileFormerConfig], float] = count_madds,
) -> MobileFormerConfig:
    """The network with the fewest (or most) multiply-adds, or of what `count` gives, found by coordinate descent over
    the knobs from seeded starts."""
    sign = -1 if largest else 1
    rng = random.Random(0)
    best: tuple[float, MobileFormerConfig] | None = None
    for _ in range(8):
        params = space.draw(rng)
        config = space.resolve(params, width)
        cost, improved = sign * count(config), True
        while improved:
            improved = False
            for knob in space.knobs:
                for value in knob.choices:
                    try:
                        other = space.resolve({**params, knob.name: value}, width)
                    except ValueError:
                        continue
                    if sign * count(other) < cost:
                        params[knob.name] = value
                        config, cost, improved = other, sign * count(other), True
        if best is None or cost < best[0]:
            best = cost, config
    assert best is not None
    return best[1]


def smallest_madds(space: SearchSpace) -> int:
    """Fewest multiply-adds in the space; widths are scaled down if the space solves them."""
    return count_madds(extreme(space, largest=False, width=MIN_WIDTH if space.solved else 1.0))


def smallest_cost(space: SearchSpace, name: str) -> int:
    """Least of one of LIMITED in the space; widths are scaled down if the space solves them."""

    def count(config: MobileFormerConfig) -> float:  # a peak stays level until its place changes: then by multiply-adds
        costs = count_costs(config)
        return float(getattr(costs, name)) + costs.madds / 1e12

    least = extreme(space, largest=False, width=MIN_WIDTH if space.solved else 1.0, count=count)
    return int(getattr(count_costs(least), name))


def largest_madds(space: SearchSpace) -> int:
    """Most multiply-adds in the space; widths are scaled up if the space solves them."""
    return count_madds(extreme(space, largest=True, width=MAX_WIDTH if space.solved else 1.0))
