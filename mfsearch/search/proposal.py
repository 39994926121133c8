"""Proposes networks inside the budget and the limits, each one once, before anything is built.

A search starts with the published networks, or inside a parent with plain parts of it, and a spread-out sample of
networks that fit; then its sampler (`mfsearch.search.samplers`) proposes. A proposal depends on the seed, its index,
the results so far and the running proposals. No sampler keeps a state, so a resumed search continues exactly like an
uninterrupted one.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import Prediction
from mfsearch.cost.madds import Costs, count_costs, count_madds
from mfsearch.presets import PRESETS, V4_PRESETS
from mfsearch.search.samplers import SAMPLERS
from mfsearch.search.samplers.encode import Encoder
from mfsearch.search.samplers.ground import ATTEMPTS, TARGET, Candidate, Ground, targets
from mfsearch.search.samplers.history import History
from mfsearch.search.screen import LatencyScreen
from mfsearch.space import SearchSpace, Value
from mfsearch.space.nested import NestedSpace, starting_points
from mfsearch.space.solve import Sized, is_inside, largest_madds, smallest_cost, smallest_madds
from mfsearch.study.manifest import Manifest
from mfsearch.study.prior import Prior
from mfsearch.study.settings import Settings
from mfsearch.study.trial import Trial
from mfsearch.units import LIMITED, NO_LIMITS, Budget, CostLimits, format_limit, format_madds

__all__ = ["ATTEMPTS", "TARGET", "Proposal", "Proposer", "check_reachable", "targets"]

STARTS, LEAST_SPREAD = 12, 4  # number of starting points, and least number of them from the spread-out sample
SPREAD_POOL = 150  # feasible draws that the spread-out sample is chosen from
TRANSFERRED = 6  # networks taken from another study


@dataclass(frozen=True)
class Proposal:
    """A network to evaluate. origin: `preset NAME`, `fitted NAME`, `parent narrow` (or shallow or light), `from
    STUDY:TRIAL`, `spread`, the sampler's name, or `random` if the sampler found nothing new. predicted: its latency, if
    there is a limit and enough measurements; turned_down: draws for this proposal that were rejected because of their
    predicted latency."""

    index: int
    origin: str
    params: dict[str, Value]
    width: float
    config: MobileFormerConfig
    costs: Costs
    predicted: Prediction | None = None
    turned_down: int = 0

    @property
    def arch_id(self) -> str:
        return self.config.arch_id


def check_reachable(space: SearchSpace, budget: Budget) -> None:
    """Raise ValueError if no network of the space fits the budget; the message has the nearest size."""
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
            f"the largest network found has {format_madds(largest)} multiply-adds at {space.resolution} px "
            "(--resolution counts them at another size)"
        )


def check_limits(space: SearchSpace, limits: CostLimits) -> None:
    """Raise ValueError if no network of the space keeps one of the limits; the message has the smallest value."""
    for name, limit in limits.given.items():
        option, _, words = LIMITED[name]
        if (least := smallest_cost(space, name)) > limit:
            raise ValueError(
                f"--{option} {format_limit(name, limit)}: nothing in space {space.name} is that small; the least found "
                f"at {space.resolution} px for {space.classes} classes is {format_limit(name, least)} ({words})"
            )


def nothing_inside(space: SearchSpace, budget: Budget, limits: CostLimits = NO_LIMITS) -> ValueError:
    """The error where budget and limits are each within reach, but no draw lies inside."""
    least = [
        f"; the least {LIMITED[name][2]}: {format_limit(name, smallest_cost(space, name))}" for name in limits.given
    ]
    return ValueError(
        f"budget {budget}{f', {limits}' if limits.given else ''}: none of {2 * ATTEMPTS} networks drawn from space "
        f"{space.name} lies inside; the smallest network found has {format_madds(smallest_madds(space))} multiply-adds"
        + "".join(least)
    )


class Proposer:
    """Proposes networks and learns from results.

    Sampler `random` has no starting points: it is the control, and all feasible networks are equally likely.
    latency_limit_ms: candidates predicted to be slower are skipped, see LatencyScreen. If nothing else is found, the
    fastest of them is proposed, because only a measurement decides. reference_ms: the reference network's time there.
    afforded: networks that the study can train, None if unknown: a third of them may be published ones, chosen to span
    the budget, or plain parts of a parent. prior: what tables say of networks, for samplers with a model. limits: on
    other costs, which every network keeps.
    """

    def __init__(
        self,
        space: SearchSpace,
        budget: Budget,
        objectives: Sequence[str],
        sampler: str,
        seed: int,
        latency_limit_ms: float | None = None,
        reference_ms: float | None = None,
        afforded: int | None = None,
        prior: Prior | None = None,
        limits: CostLimits = NO_LIMITS,
    ) -> None:
        self.space, self.budget, self.objectives, self.seed = space, budget, objectives, seed
        self.sampler_name = sampler
        self.ground = Ground(space, budget, limits)
        self.history = History(objectives, prior=prior)
        self.latency = LatencyScreen(latency_limit_ms, reference_ms)
        self.ground.too_slow = self._too_slow
        self.turned_down: list[tuple[float, Candidate]] = []  # for the next proposal, with predicted milliseconds
        self.index, self.afforded = 0, afforded
        self._transferred: list[Candidate] = []
        self._starts: list[Candidate] | None = [] if sampler == "random" else None

    @classmethod
    def of(cls, settings: Settings, manifest: Manifest) -> "Proposer":
        """The proposer of a study."""
        return cls(
            settings.space,
            settings.budget,
            settings.objectives,
            settings.sampler,
            settings.seed,
            settings.latency_limit_ms,
            manifest.baseline_ms,
            manifest.afforded,
            manifest.prior_fit,
            settings.cost_limits,
        )

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """The allowed values of a proposal's params: the space's knobs, and TARGET if widths are solved."""
        return self.ground.choices

    @property
    def seen(self) -> set[str]:
        """arch_id of every network that was proposed or learned."""
        return self.ground.seen

    @property
    def screened(self) -> int:
        """Candidates skipped before evaluation: outside budget or limits, impossible to build, or seen before."""
        return self.ground.screened

    def transfer(self, trials: Sequence[Trial], study: str) -> list[str]:
        """Start with the best networks of another study of the same space, their widths fitted to this budget.

        Only their params are taken, not their results. Published networks and plain parts of a parent are left out,
        because they are starting points anyway. Returns the origins, `from STUDY:TRIAL`, of the networks that can be
        fitted. Call it before the first proposal, and again with the same trials when the search is resumed.
        """
        theirs = History(["top1", "madds"])
        numbers = {id(trial.params): trial.number for trial in trials}
        for trial in trials:
            if not trial.origin.startswith(("preset ", "fitted ", "parent ")):
                theirs.learn(trial)
        for best in theirs.best(len(trials)):
            if len(self._transferred) == TRANSFERRED:
                break
            params = {name: value for name, value in best.params.items() if name != TARGET}
            origin = f"from {study}:{numbers[id(best.params)]}"
            try:
                sized = self.ground.fit(params)
            except ValueError as error:
                raise ValueError(f"{origin} must lie in space {self.space.name}: {error}") from None
            if sized is not None:
                self._transferred.append(self.ground.placed(origin, sized))
        return [candidate.origin for candidate in self._transferred]

    def learn(self, trial: Trial) -> None:
        """Add a finished trial, of this run or an earlier one."""
        self.seen.add(trial.arch_id)
        self.history.pending.pop(trial.arch_id, None)
        self.latency.learn(trial)
        # a preset below the band belongs to no target, unless limits may keep any network there
        least = 0 if self.ground.limits.given else self.budget.low
        in_band = not self.space.solved or trial.metric("madds") >= least
        if in_band and set(trial.params) == set(self.choices):
            self.history.learn(trial)

    def next(self) -> Proposal | None:
        """A new network inside the budget, or None if none can be found."""
        rng = random.Random(f"{self.seed}:{self.index}")
        self.turned_down = []
        candidate = (
            next((start for start in self._starting() if self._is_open(start.config)), None)
            or SAMPLERS[self.sampler_name](self.ground, self.history, rng)
            or self.ground.drawn("random", rng, 2 * ATTEMPTS)
            or min(self.turned_down, key=lambda slow: slow[0], default=(0.0, None))[1]
        )
        if candidate is None:
            return None
        self.seen.add(candidate.config.arch_id)
        self.history.pending[candidate.config.arch_id] = candidate
        self.index += 1
        return Proposal(
            index=self.index - 1,
            origin=candidate.origin,
            params=candidate.params,
            width=candidate.width,
            config=candidate.config,
            costs=count_costs(candidate.config),
            predicted=self.latency.predict(candidate.config),
            turned_down=len(self.turned_down),
        )

    def _is_open(self, config: MobileFormerConfig) -> bool:
        """Whether a starting point is new and may be within the latency limit."""
        return config.arch_id not in self.seen and not self.latency.is_too_slow(self.latency.predict(config))

    def _too_slow(self, candidate: Candidate) -> bool:
        expected = self.latency.predict(candidate.config)
        slow = self.latency.is_too_slow(expected)
        if slow and expected is not None:
            self.turned_down.append((expected.latency_ms, candidate))
        return slow

    def again(
        self,
        index: int,
        origin: str,
        params: dict[str, Value],
        width: float,
        config: MobileFormerConfig,
        predicted: Prediction | None = None,
        turned_down: int = 0,
    ) -> Proposal:
        """A proposal that an earlier run did not finish; it is pending again."""
        costs = count_costs(config)
        candidate = self.ground.placed(origin, Sized(dict(params), width, config, costs.madds))
        self.seen.add(config.arch_id)
        self.history.pending[config.arch_id] = candidate
        self.index = max(self.index, index + 1)
        return Proposal(index, origin, dict(params), width, config, costs, predicted, turned_down)

    def _starting(self) -> list[Candidate]:
        if self._starts is None:
            if isinstance(self.space, NestedSpace):
                begun = self._parts()
            else:
                begun = [*self._published()]
                if self.afforded is not None:
                    begun = spanning(begun, max(1, self.afforded // 3))
            known = [*self._transferred, *begun]
            count = max(LEAST_SPREAD, STARTS - len(known))
            if self.afforded is not None:
                count = min(count, max(LEAST_SPREAD, self.afforded // 2 - len(known)))
            self._starts = known + spread_out(self.ground, known, count, random.Random(f"{self.seed}:spread"))
        return self._starts

    def _parts(self) -> list[Candidate]:
        """Plain parts of the parent inside the budget."""
        assert isinstance(self.space, NestedSpace)
        points = starting_points(self.space, self.budget.low, self.budget.high, self.ground.fit)
        most = len(points) if self.afforded is None else self.afforded // 3
        return [self.ground.placed(f"parent {name}", sized) for name, sized in points[:most]]

    def _published(self) -> Iterator[Candidate]:
        """Published networks inside budget and limits as they are, then larger ones fitted to them, the nearest
        first."""
        above = []
        for name, config in (PRESETS | V4_PRESETS).items():
            params = self.space.find_params(config)
            if params is None:
                continue
            network = self.space.resolve(params)
            madds, inside = count_madds(network), is_inside(network, self.budget.high, self.ground.limits)
            if inside and self.budget.holds(madds):
                yield self.ground.placed(f"preset {name}", Sized(params, 1.0, network, madds))
            elif not inside and self.space.solved:
                fitted = self.ground.fit(params)
                if fitted is not None:
                    above.append(self.ground.placed(f"fitted {name}", fitted))
        yield from above


def spanning(candidates: list[Candidate], count: int) -> list[Candidate]:
    """At most `count` of the candidates: the largest first, then each furthest from the chosen in log multiply-adds."""
    if len(candidates) <= count:
        return candidates
    chosen = [max(candidates, key=lambda one: one.madds)]  # the first among equals, here and below
    while len(chosen) < count:
        left = [one for one in candidates if one not in chosen]
        chosen.append(max(left, key=lambda one: min(abs(math.log(one.madds / other.madds)) for other in chosen)))
    return chosen


def spread_out(ground: Ground, known: list[Candidate], count: int, rng: random.Random) -> list[Candidate]:
    """Choose `count` of SPREAD_POOL feasible draws, each furthest from its nearest neighbour among chosen and known.

    The choice ignores networks seen so far, so that a resumed search has the same starting points.
    """
    fresh = Ground(ground.space, ground.budget, ground.limits)
    pool = [c for c in (fresh.drawn("spread", rng) for _ in range(SPREAD_POOL)) if c is not None]
    unique = list({c.config.arch_id: c for c in pool}.values())
    if not unique:
        return []
    encoder = Encoder(ground)
    x = np.stack([encoder.encode(c.params, c.madds) for c in unique])
    nearest = np.full(len(unique), np.inf)
    for candidate in known:
        nearest = np.minimum(nearest, ((x - encoder.encode(candidate.params, candidate.madds)) ** 2).sum(1))
    chosen: list[int] = []
    for _ in range(min(count, len(unique))):
        k = int(nearest.argmax())  # the first among equals
        chosen.append(k)
        nearest = np.minimum(nearest, ((x - x[k]) ** 2).sum(1))
    return [unique[k] for k in chosen]
