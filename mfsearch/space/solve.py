"""Inside the budget by construction: the width that lands a network in a band, and how small and large a space gets."""

import random
from typing import NamedTuple

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.space.space import Params, SearchSpace, Value

MIN_WIDTH, MAX_WIDTH = 0.25, 4.0


class Sized(NamedTuple):
    """Params with the width they were scaled by and the network they resolve to."""

    params: dict[str, Value]
    width: float
    config: MobileFormerConfig
    madds: int


def fit(space: SearchSpace, params: Params, low: float, high: float) -> Sized | None:
    """The widest network of `params` with at most `high` multiply-adds; None if it has fewer than `low`.

    Without `width: solve` the width stays 1. Raises ValueError for params that cannot be built.
    """
    if not space.solved:
        return _within(space, params, 1.0, low, high)
    # widths move in steps of 4, so 1/512 resolves every width up to 2,000 channels
    narrow, wide = round(MIN_WIDTH * 512), round(MAX_WIDTH * 512)
    if count_madds(space.resolve(params, MIN_WIDTH)) > high:
        return None
    while wide - narrow > 1:
        middle = (narrow + wide) // 2
        if count_madds(space.resolve(params, middle / 512)) <= high:
            narrow = middle
        else:
            wide = middle
    return _within(space, params, narrow / 512, low, high)


def _within(space: SearchSpace, params: Params, width: float, low: float, high: float) -> Sized | None:
    config = space.resolve(params, width)
    madds = count_madds(config)
    return Sized(dict(params), width, config, madds) if low <= madds <= high else None


def extreme(space: SearchSpace, *, largest: bool, width: float = 1.0, starts: int = 8) -> MobileFormerConfig:
    """The network of fewest (or most) multiply-adds that coordinate descent over the knobs finds from seeded starts."""
    sign = -1 if largest else 1
    rng = random.Random(0)
    best: tuple[int, MobileFormerConfig] | None = None
    for _ in range(starts):
        params = space.draw(rng)
        config = space.resolve(params, width)
        cost, improved = sign * count_madds(config), True
        while improved:
            improved = False
            for knob in space.knobs:
                for value in knob.choices:
                    try:
                        other = space.resolve({**params, knob.name: value}, width)
                    except ValueError:
                        continue
                    if sign * count_madds(other) < cost:
                        params[knob.name] = value
                        config, cost, improved = other, sign * count_madds(other), True
        if best is None or cost < best[0]:
            best = cost, config
    assert best is not None
    return best[1]


def smallest_madds(space: SearchSpace) -> int:
    """Fewest multiply-adds that the space reaches, with its widths scaled down where they are solved."""
    return count_madds(extreme(space, largest=False, width=MIN_WIDTH if space.solved else 1.0))


def largest_madds(space: SearchSpace) -> int:
    """Most multiply-adds that the space reaches, with its widths scaled up where they are solved."""
    return count_madds(extreme(space, largest=True, width=MAX_WIDTH if space.solved else 1.0))
