"""The ground a search walks on: networks of a space inside the budget's band, none of them seen before.

Samplers only ever get candidates from here, so whatever they do is buildable, inside the band and new.
"""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from mfsearch.config import MobileFormerConfig
from mfsearch.space import SearchSpace, Value
from mfsearch.space.solve import Sized, fit
from mfsearch.units import Budget

REMEMBERED = 20_000  # params whose arch_id is kept

ATTEMPTS = 300  # draws or mutations before a sampler says that it finds nothing new
TARGET = "madds_target"  # the knob that says where in the budget's band the width is solved to


class Candidate(NamedTuple):
    """A network that may be proposed. params: one choice a knob, TARGET among them where widths are solved."""

    origin: str
    params: dict[str, Value]
    width: float
    config: MobileFormerConfig
    madds: int


def targets(budget: Budget) -> tuple[int, ...]:
    """Upper ends the width is solved to: evenly spaced in log MAdds over the band, the budget itself the last.

    The lowest leaves a twentieth of room above the band's lower end, because widths move in steps.
    """
    low = min(budget.low * 1.05, (budget.low + budget.high) / 2)
    count = 4 if budget.high / low < 1.5 else 8
    ratio = (budget.high / low) ** (1 / (count - 1))
    return (*(round(low * ratio**k) for k in range(count - 1)), budget.high)


class Ground:
    """Draws, mutates and screens params. `seen` holds the arch_id of everything ever proposed or learned.

    Nothing is repaired by changing knobs: of 300 random params of mobile_former at 30M, 65 cannot be built (spatial
    DyReLU beside a stage without the bridge it reads), 106 are above the budget at the least width, and a tenth of
    these fits after ten re-draws of one knob, while a fresh draw fits in two of five and costs a third of a
    millisecond. Rejection also leaves `random` uniform over what fits.
    """

    def __init__(self, space: SearchSpace, budget: Budget) -> None:
        self.space, self.budget = space, budget
        self.choices: dict[str, tuple[Any, ...]] = {knob.name: knob.choices for knob in space.knobs}
        if space.solved:
            self.choices[TARGET] = targets(budget)
        self.seen: set[str] = set()
        self._built: dict[tuple[Value, ...], str] = {}  # arch_id of params once screened
        self.screened = 0  # turned down before evaluation: outside the band, not buildable, seen before
        self.too_slow: Callable[[Candidate], bool] = lambda candidate: False

    def screen(self, origin: str, params: dict[str, Value]) -> Candidate | None:
        """The network of `params` with its width solved, or None if it is outside the band, not new or too slow."""
        key = tuple(params[name] for name in self.choices)
        if self._built.get(key) in self.seen:  # in a small space the same params come again and again
            self.screened += 1
            return None
        knobs = {name: value for name, value in params.items() if name != TARGET}
        try:
            sized = fit(self.space, knobs, self.budget.low, float(params.get(TARGET, self.budget.high)))
        except ValueError:  # a combination that cannot be built
            sized = None
        if sized is not None and len(self._built) < REMEMBERED:
            self._built[key] = sized.config.arch_id
        if sized is None or sized.config.arch_id in self.seen:
            self.screened += 1
            return None
        candidate = Candidate(origin, dict(params), sized.width, sized.config, sized.madds)
        return None if self.too_slow(candidate) else candidate

    def placed(self, origin: str, sized: Sized) -> Candidate:
        """A network that was sized elsewhere, with the target nearest to its MAdds."""
        params = dict(sized.params)
        if self.space.solved:
            params[TARGET] = min(self.choices[TARGET], key=lambda target: abs(target - sized.madds))
        return Candidate(origin, params, sized.width, sized.config, sized.madds)

    def draw(self, rng: random.Random) -> dict[str, Value]:
        """Uniformly random params, not screened."""
        return {name: rng.choice(choices) for name, choices in self.choices.items()}

    def drawn(self, origin: str, rng: random.Random, attempts: int = ATTEMPTS) -> Candidate | None:
        """A uniformly random candidate, or None after that many draws."""
        for _ in range(attempts):
            candidate = self.screen(origin, self.draw(rng))
            if candidate is not None:
                return candidate
        return None

    def mutate(self, params: dict[str, Value], rng: random.Random) -> dict[str, Value]:
        """One knob changed, a second with probability 1/2, a third with 1/4 and so on: mostly by one step of its list.

        Knobs that the network does not show stay as they are, for their change would build the same network.
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
        """Another choice of one knob: in three of four cases a neighbour in its list."""
        choices = self.choices[name]
        at = choices.index(value)
        if rng.random() < 0.75:
            near = [k for k in (at - 1, at + 1) if 0 <= k < len(choices)]
        else:
            near = [k for k in range(len(choices)) if k != at]
        picked: Value = choices[rng.choice(near)]
        return picked
