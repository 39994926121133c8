"""The width that puts a network inside a budget, and the smallest and largest networks of a space."""

import random
from typing import NamedTuple

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.space.knobs import Value
from mfsearch.space.search_space import Params, SearchSpace

MIN_WIDTH, MAX_WIDTH = 0.25, 4.0


class Sized(NamedTuple):
    """Params, the width by which they were scaled, and the network they resolve to."""

    params: dict[str, Value]
    width: float
    config: MobileFormerConfig
    madds: int


def fit(space: SearchSpace, params: Params, low: float, high: float) -> Sized | None:
    """The widest network of `params` with at most `high` multiply-adds; None if that has fewer than `low`.

    The width stays 1 if the space does not say `width: solve`. Raises ValueError for params that cannot be built.
    """
    if not space.solved:
        return _within(space, params, 1.0, low, high)
    # channels move in steps of 4, so 1/512 is fine enough up to 2,000 channels
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


def extreme(space: SearchSpace, *, largest: bool, width: float = 1.0) -> MobileFormerConfig:
    """The network with the fewest (or most) multiply-adds found by coordinate descent over the knobs, seeded starts."""
    sign = -1 if largest else 1
    rng = random.Random(0)
    best: tuple[int, MobileFormerConfig] | None = None
    for _ in range(8):
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
    """Fewest multiply-adds in the space; widths are scaled down if the space solves them."""
    return count_madds(extreme(space, largest=False, width=MIN_WIDTH if space.solved else 1.0))


def largest_madds(space: SearchSpace) -> int:
    """Most multiply-adds in the space; widths are scaled up if the space solves them."""
    return count_madds(extreme(space, largest=True, width=MAX_WIDTH if space.solved else 1.0))
