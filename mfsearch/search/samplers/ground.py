"""The ground of a search: networks of a space inside the budget's band and the limits, none of them seen before.

Samplers get candidates only from here, so every proposal can be built, fits the band and the limits, and is new.
"""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from mfsearch.config import MobileFormerConfig
from mfsearch.space import Params, SearchSpace, Value
from mfsearch.space.solve import Sized, fit
from mfsearch.units import NO_LIMITS, Budget, CostLimits

REMEMBERED = 20_000  # params with a remembered arch_id

ATTEMPTS = 300  # draws or mutations before a sampler gives up
TARGET = "madds_target"  # the knob for the MAdds within the band that the width is solved for


class Candidate(NamedTuple):
    """A network that may be proposed. params: one choice per knob, including TARGET if widths are solved."""

    origin: str
    params: dict[str, Value]
    width: float
    config: MobileFormerConfig
    madds: int


def targets(budget: Budget) -> tuple[int, ...]:
    """The targets for the width: evenly spaced in log MAdds over the band; the last is the budget itself.

    The lowest is about a twentieth above the band's lower end, because widths move in steps.
    """
    low = min(budget.low * 1.05, (budget.low + budget.high) / 2)
    count = 4 if budget.high / low < 1.5 else 8
    ratio = (budget.high / low) ** (1 / (count - 1))
    return (*(round(low * ratio**k) for k in range(count - 1)), budget.high)


class Ground:
    """Draws, mutates and screens params. `seen` holds the arch_id of everything proposed or learned.

    Params that do not fit are rejected, not repaired. Of 300 random params of mobile_former at 30M, 65 cannot be built
    (spatial DyReLU in a stage without the bridge that it reads) and 106 exceed the budget at the least width. A tenth
    of those fits after ten re-draws of one knob, but two of five new draws fit, and a draw takes a third of a
    millisecond. Rejection also keeps `random` uniform over the networks that fit.
    """

    def __init__(self, space: SearchSpace, budget: Budget, limits: CostLimits = NO_LIMITS) -> None:
        self.space, self.budget, self.limits = space, budget, limits
        self.choices: dict[str, tuple[Any, ...]] = {knob.name: knob.choices for knob in space.knobs}
        if space.solved:
            self.choices[TARGET] = targets(budget)
        self.seen: set[str] = set()
        self._built: dict[tuple[Value, ...], str] = {}  # arch_id by screened params
        self.screened = 0  # rejected before evaluation: outside band or limits, impossible to build, or seen before
        self.too_slow: Callable[[Candidate], bool] = lambda candidate: False

    def screen(self, origin: str, params: dict[str, Value]) -> Candidate | None:
        """The network of `params` with its width solved; None if it is outside the band, not new or too slow."""
        key = tuple(params[name] for name in self.choices)
        if self._built.get(key) in self.seen:  # a small space repeats the same params
            self.screened += 1
            return None
        knobs = {name: value for name, value in params.items() if name != TARGET}
        try:
            sized = self.fit(knobs, float(params.get(TARGET, self.budget.high)))
        except ValueError:  # a combination that cannot be built
            sized = None
        if sized is not None and len(self._built) < REMEMBERED:
            self._built[key] = sized.config.arch_id
        if sized is None or sized.config.arch_id in self.seen:
            self.screened += 1
            return None
        candidate = Candidate(origin, dict(params), sized.width, sized.config, sized.madds)
        return None if self.too_slow(candidate) else candidate

    def fit(self, params: Params, high: float | None = None) -> Sized | None:
        """The widest network of `params` inside the budget, up to `high` multiply-adds, and inside the limits.

        Where a limit keeps it from being wider, only a lower end that the user typed binds.
        """
        budget = self.budget
        return fit(self.space, params, budget.low, high or budget.high, self.limits, below=not budget.stated)

    def placed(self, origin: str, sized: Sized) -> Candidate:
        """A network of known size as a candidate, with the target nearest to its MAdds."""
        params = dict(sized.params)
        if self.space.solved:
            params[TARGET] = min(self.choices[TARGET], key=lambda target: abs(target - sized.madds))
        return Candidate(origin, params, sized.width, sized.config, sized.madds)

    def draw(self, rng: random.Random) -> dict[str, Value]:
        """Uniformly random params, without a check."""
        return {name: rng.choice(choices) for name, choices in self.choices.items()}

    def drawn(self, origin: str, rng: random.Random, attempts: int = ATTEMPTS) -> Candidate | None:
        """A uniformly random candidate, or None after `attempts` draws."""
        for _ in range(attempts):
            candidate = self.screen(origin, self.draw(rng))
            if candidate is not None:
                return candidate
        return None

    def mutate(self, params: dict[str, Value], rng: random.Random) -> dict[str, Value]:
        """Change one knob, a second with probability 1/2, a third with 1/4 and so on, mostly by one step of its list.

        Knobs without effect in the network are left alone, because changing them would build the same network.
        """
        knobs = {name: value for name, value in params.items() if name != TARGET}
        names = [name for name, choices in self.choices.items() if len(choices) > 1]
        child = dict(params)
        changes = 1
        while changes < 4 and rng.random() < 0.5:
            changes += 1
        rng.shuffle(names)
        for name in names:
            if name != TARGET and not self.space.shows(name, knobs):
                continue
            child[name] = self.step(name, child[name], rng)
            changes -= 1
            if not changes:
                break
        return child

    def step(self, name: str, value: Value, rng: random.Random) -> Value:
        """Another choice of one knob; with probability 3/4 a neighbour in its list."""
        choices = self.choices[name]
        at = choices.index(value)
        if rng.random() < 0.75:
            near = [k for k in (at - 1, at + 1) if 0 <= k < len(choices)]
        else:
            near = [k for k in range(len(choices)) if k != at]
        picked: Value = choices[rng.choice(near)]
        return picked
