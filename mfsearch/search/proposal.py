"""What to try next: networks inside the budget, none twice, before anything is built.

The sampler works on a study in memory. Its asks are screened there by the closed-form count and by `arch_id`; only
what will be evaluated leaves this file. A proposal depends on the seed, its index and the results so far alone.
"""

import hashlib
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import Costs, count_costs, count_madds
from mfsearch.presets import PRESETS
from mfsearch.space import SearchSpace, Value
from mfsearch.space.solve import Sized, fit, largest_madds, smallest_madds
from mfsearch.units import Budget, format_madds

optuna.logging.set_verbosity(optuna.logging.ERROR)

ATTEMPTS = 300  # asks of the sampler, then as many random draws, before the space counts as exhausted
STARTUP = 10  # random trials before TPE models anything
TARGET = "madds_target"  # the knob that says where in the budget's band the width is solved to


@dataclass(frozen=True)
class Proposal:
    """A network to evaluate. origin: `preset NAME`, `fitted NAME`, the sampler's name, or `random` where it found
    nothing new."""

    index: int
    origin: str
    params: dict[str, Value]
    width: float
    config: MobileFormerConfig
    costs: Costs
    shadow_number: int | None

    @property
    def arch_id(self) -> str:
        return self.config.arch_id


def targets(budget: Budget) -> tuple[int, ...]:
    """Upper ends the width is solved to: evenly spaced in log MAdds over the band, the budget itself the last.

    The lowest leaves a twentieth of room above the band's lower end, because widths move in steps.
    """
    low = min(budget.low * 1.05, (budget.low + budget.high) / 2)
    count = 4 if budget.high / low < 1.5 else 8
    ratio = (budget.high / low) ** (1 / (count - 1))
    return (*(round(low * ratio**k) for k in range(count - 1)), budget.high)


def check_reachable(space: SearchSpace, budget: Budget) -> None:
    """ValueError if no network of the space can lie inside the budget, with the nearest there is."""
    smallest = smallest_madds(space)
    if smallest > budget.high:
        raise ValueError(
            f"budget {budget}: nothing in space {space.name} is that small; "
            f"the smallest network found has {format_madds(smallest)} multiply-adds at {space.resolution} px"
        )
    largest = largest_madds(space)
    if largest < budget.low:
        raise ValueError(
            f"budget {budget}: nothing in space {space.name} is that large; "
            f"the largest network found has {format_madds(largest)} multiply-adds at {space.resolution} px"
        )


class Proposer:
    """Proposes networks and learns from results. Deterministic: seed, index and results so far decide."""

    def __init__(self, space: SearchSpace, budget: Budget, objectives: list[str], sampler: str, seed: int) -> None:
        self.space, self.budget, self.objectives, self.seed = space, budget, objectives, seed
        self.sampler_name = sampler
        self.targets = targets(budget)
        self.choices: dict[str, tuple[Any, ...]] = {knob.name: knob.choices for knob in space.knobs}
        if space.solved:
            self.choices[TARGET] = self.targets
        self.distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(choices) for name, choices in self.choices.items()
        }
        self.seen: set[str] = set()
        self.index = 0
        self.screened = 0  # asks turned down before evaluation: outside the budget, not buildable, seen before
        self.shadow = optuna.create_study(
            directions=["maximize" if name == "top1" else "minimize" for name in objectives]
        )
        self._starts = self._starting_points()

    def _starting_points(self) -> Iterator[tuple[str, Sized]]:
        """Published networks inside the budget as they are, then the next larger one fitted to it."""
        inside, above = [], []
        for name, config in PRESETS.items():
            params = self.space.find_params(config)
            if params is None:
                continue
            network = self.space.resolve(params)
            madds = count_madds(network)
            if self.budget.holds(madds):
                inside.append((f"preset {name}", Sized(params, 1.0, network, madds)))
            elif madds > self.budget.high and self.space.solved:
                fitted = fit(self.space, params, self.budget.low, self.budget.high)
                if fitted is not None:
                    above.append((f"fitted {name}", fitted))
        yield from inside
        yield from above[:1]

    def learn(self, row: dict[str, Any], shadow_number: int | None = None) -> None:
        """Take in a finished trial: of this run (with the number its proposal had in memory) or of an earlier one."""
        self.seen.add(row["arch_id"])
        values, constraints = self._told(row)
        if shadow_number is not None:  # the asked trial gives way to a finished one, as after a restart
            self.shadow.tell(shadow_number, state=TrialState.FAIL)
        params = row["params"]
        in_band = not self.space.solved or row["madds"] >= self.budget.low  # a small preset is no network of a target
        if values is not None and in_band and set(params) == set(self.choices):
            self.shadow.add_trial(
                optuna.trial.create_trial(
                    values=values, params=params, distributions=self.distributions, constraints=constraints
                )
            )

    def _told(self, row: dict[str, Any]) -> tuple[list[float] | None, dict[str, float]]:
        """What the sampler hears: values with how far the latency limit was missed; None for a failure.

        An infeasible trial's top1 is unknown and not read: the sampler orders infeasible trials by violation alone.
        """
        if row["outcome"] == "failed":
            return None, {}
        violation = float(row.get("violation_ms") or 0.0)
        values = [float(row[name]) if row.get(name) is not None else 0.0 for name in self.objectives]
        return values, {"latency": violation} if "latency_ms" in self.objectives else {}

    def next(self) -> Proposal | None:
        """A network inside the budget that was never proposed, or None when none can be found."""
        index = self.index
        for origin, start in self._starts:
            if start.config.arch_id not in self.seen:
                return self._accept(index, origin, start, dict(start.params), None)
        self._reseed(index)
        for _ in range(ATTEMPTS):
            trial = self.shadow.ask()
            sized = self._screen(self.space.suggest(trial), self._target(trial))
            if sized is not None:
                return self._accept(index, self.sampler_name, sized, dict(trial.params), trial.number)
            self.shadow.tell(trial, state=TrialState.FAIL)
        rng = random.Random(f"{self.seed}:{index}")
        for _ in range(ATTEMPTS):
            target = rng.choice(self.targets) if self.space.solved else None
            drawn = {knob.name: rng.choice(knob.choices) for knob in self.space.knobs}
            sized = self._screen(drawn, target)
            if sized is not None:
                params = drawn | ({TARGET: target} if target is not None else {})
                return self._accept(index, "random", sized, params, None)
        return None

    def _target(self, trial: optuna.Trial) -> int | None:
        return int(trial.suggest_categorical(TARGET, self.targets)) if self.space.solved else None

    def _screen(self, params: dict[str, Value], target: int | None) -> Sized | None:
        try:
            sized = fit(self.space, params, self.budget.low, target or self.budget.high)
        except ValueError:  # a combination that cannot be built
            sized = None
        if sized is None or sized.config.arch_id in self.seen:
            self.screened += 1
            return None
        return sized

    def _accept(
        self, index: int, origin: str, sized: Sized, params: dict[str, Any], shadow_number: int | None
    ) -> Proposal:
        if self.space.solved and TARGET not in params:
            params[TARGET] = min(self.targets, key=lambda target: abs(target - sized.madds))
        self.seen.add(sized.config.arch_id)
        self.index += 1
        return Proposal(index, origin, params, sized.width, sized.config, count_costs(sized.config), shadow_number)

    def _reseed(self, index: int) -> None:
        digest = hashlib.sha256(f"{self.seed}:{index}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.shadow.sampler = MAKERS[self.sampler_name](seed)


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP)


def _random(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


MAKERS = {"tpe": _tpe, "random": _random}  # the names are `settings.SAMPLERS`
