"""Which strategy finds the best networks with equally many trainings? Simulated: a surface takes the place of training.

    python benchmarks/search_quality.py [--table NAME] [--budget 30M] [--seeds 0..19] [--jobs 2] [--json]
    python benchmarks/search_quality.py --keep SCORES.jsonl ...     # again: goes on
    python benchmarks/search_quality.py --merge SCORES.jsonl ...    # only print

Two surfaces. `table`: a ridge regression with extremely randomised trees on its residuals, fitted to real short
trainings by what is built, as the sampler `gp` sees it; the knobs as well made it worse (--table: `cifar10-30M` or a
folder). Its cross-validated R2 and Kendall's tau are printed. Its top1 is the right class's probability,
exp(-validation loss), by which a search ranks. `planted`: top1 is the sum of effects that are known
because they were put there, drawn anew for each seed.

Strategies see top1 with the surface's noise; they are scored without it. hypervolume: the area under the noiseless
front of what was trained, over that of a large search of the noiseless surface. regret: how far the network with the
highest top1 seen lies below the best of that large search, in points. wasted: trainings of networks outside the budget
or trained before. `optuna-tpe` and `optuna-nsga2` are plain Optuna with the budget as a soft constraint and the width
as one more parameter; `random+starts` is the control with the published networks and the spread-out start.
"""

import argparse
import json
import math
import multiprocessing
import random
import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mfsearch.analysis.ranking.agreement import kendall_tau
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.pareto import hypervolume, pareto_mask
from mfsearch.search.evaluator import TrialResult
from mfsearch.search.loop import finished_trial
from mfsearch.search.proposal import TARGET, Proposer
from mfsearch.search.samplers.encode import built
from mfsearch.search.samplers.ground import Candidate, Ground
from mfsearch.space import SearchSpace, Value, find_space
from mfsearch.space.solve import Sized
from mfsearch.study.settings import SAMPLERS
from mfsearch.study.table_file import load_table
from mfsearch.study.trial import Training
from mfsearch.units import Budget, parse_budget

Array = NDArray[np.float64]
Params = dict[str, Value]

TRAININGS = (30, 60, 120, 240)
POOL, CLIMB = 1500, 3000  # of the large search: random feasible networks, then mutations of its front
BASELINES = ("random+starts", "optuna-tpe", "optuna-nsga2")


class Surface(Protocol):
    """In place of training. noise: standard deviation of top1 over seeds of the same network."""

    noise: float

    def top1(self, networks: Sequence[Sized]) -> Array: ...


class Planted:
    """top1 with known reasons: 0.5, 3 points a doubling of MAdds, and effects of a third of the knobs.

    Ordered knobs have a peak at a random place (a parabola over their list), others a level a choice; knobs that the
    network does not show have no effect. As many pairs of these knobs interact by the product of their places from -1
    to 1. Main effects have a standard deviation of 2 points over the space in all, pairs of 1.2.
    """

    def __init__(self, space: SearchSpace, budget: Budget, seed: int, noise: float = 0.01) -> None:
        self.space, self.budget, self.noise = space, budget, noise
        rng = np.random.default_rng([seed, 77])
        knobs = [space.knobs[int(k)] for k in rng.permutation(len(space.knobs))[: max(3, len(space.knobs) // 3)]]
        self.main: dict[str, dict[Value, float]] = {}
        self.place = {k.name: dict(zip(k.choices, np.linspace(-1, 1, len(k.choices)), strict=True)) for k in knobs}
        for knob in knobs:
            at = np.linspace(-1, 1, len(knob.choices))
            named = any(isinstance(choice, str) for choice in knob.choices)
            levels = rng.normal(size=len(at)) if named else -((at - rng.uniform(-1.5, 1.5)) ** 2)
            levels = (levels - levels.mean()) / levels.std() * rng.exponential()
            self.main[knob.name] = dict(zip(knob.choices, levels, strict=True))
        drawn = [rng.permutation(len(knobs))[:2] for _ in knobs]
        self.pairs = [(knobs[int(a)].name, knobs[int(b)].name, float(rng.normal())) for a, b in drawn]
        generator = random.Random(seed)
        sample = [self._effects(space.draw(generator)) for _ in range(300)]
        self.scales = 0.02 / np.std([m for m, _ in sample]), 0.012 / np.std([p for _, p in sample])

    def _effects(self, params: Params) -> tuple[float, float]:
        knobs = {name: value for name, value in params.items() if name != TARGET}
        shown = {name for name in self.main if self.space.shows(name, knobs)}
        main = sum(self.main[name][knobs[name]] for name in shown)
        place = {name: self.place[name][knobs[name]] for name in shown}
        return main, sum(size * place[a] * place[b] for a, b, size in self.pairs if a in shown and b in shown)

    def top1(self, networks: Sequence[Sized]) -> Array:
        values = []
        for one in networks:
            main, pairs = self._effects(one.params)
            size = 0.03 * math.log2(max(one.madds, 1) / self.budget.high)
            values.append(0.5 + size + main * float(self.scales[0]) + pairs * float(self.scales[1]))
        return np.array(values)


class Fitted:
    """What real trainings say of networks that were not trained; outside the table's MAdds as at its ends."""

    def __init__(self, table: str, noise: float | None = None) -> None:
        networks, y = read_networks(table)
        self.ends = float(min(one.madds for one in networks)), float(max(one.madds for one in networks))
        x = self._rows(networks)
        predicted = np.empty(len(y))
        for train, test in KFold(10, shuffle=True, random_state=0).split(x):
            predicted[test] = _predict(_fit(x[train], y[train]), x[test])
        self.models = _fit(x, y)
        residual = y - predicted
        self.noise = float(residual.std()) if noise is None else noise
        self.quality = {
            "networks": len(y),
            "cv_r2": float(1 - (residual**2).sum() / ((y - y.mean()) ** 2).sum()),
            "cv_kendall_tau": kendall_tau(predicted, y),
            "spread_points": float(y.std()) * 100,
            "cv_residual_points": float(residual.std()) * 100,
            "noise_points": self.noise * 100,
        }

    def _rows(self, networks: Sequence[Sized]) -> Array:
        low, high = self.ends
        return np.array([built(one.config, one.width, min(max(one.madds, low), high)) for one in networks])

    def top1(self, networks: Sequence[Sized]) -> Array:
        return _predict(self.models, self._rows(networks))


_Models = tuple[Pipeline, ExtraTreesRegressor]


def _fit(x: Array, y: Array) -> _Models:
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=3.0)).fit(x, y)
    trees = ExtraTreesRegressor(60, min_samples_leaf=2, max_features=0.5, random_state=0)
    return ridge, trees.fit(x, y - ridge.predict(x))


def _predict(models: _Models, x: Array) -> Array:
    ridge, trees = models
    return np.asarray(ridge.predict(x) + trees.predict(x), dtype=np.float64)


class Trained(NamedTuple):
    """One training: seen with noise, scored without. inside: it keeps the budget and is not a second time the same."""

    madds: int
    seen: float
    true: float
    inside: bool


@dataclass(frozen=True)
class Score:
    """One strategy, one seed, so many trainings."""

    surface: str
    sampler: str
    seed: int
    trainings: int
    hypervolume: float
    regret_points: float
    wasted: int
    seconds: float


class Judge:
    """Scores what was trained against a large search of the same surface without noise."""

    def __init__(self, space: SearchSpace, budget: Budget, surface: Surface, pool: list[Sized]) -> None:
        self.budget = budget
        ground, rng = Ground(space, budget), random.Random(1)
        networks = [*pool]
        values = surface.top1(networks).tolist()
        self.reference = 2.0 * budget.high - budget.low, float(np.median(values))
        for _ in range(CLIMB // 50):
            madds = [one.madds for one in networks]
            table, first = np.unique(np.array([np.negative(values), madds]).T, axis=0, return_index=True)
            best = first[pareto_mask(table)].tolist()  # by falling top1, falling MAdds
            grown = [ground.screen("", ground.mutate(networks[rng.choice(best[:20])].params, rng)) for _ in range(50)]
            children = [_sized(c) for c in grown if c is not None]
            if children:
                networks += children
                values += surface.top1(children).tolist()
        self.best = max(values)
        self.area = self._area([one.madds for one in networks], values)

    def _area(self, madds: list[int], top1: list[float]) -> float:
        points = [[-value, float(max(cost, self.budget.low))] for cost, value in zip(madds, top1, strict=True)]
        return hypervolume(np.array(points).reshape(-1, 2), np.array([-self.reference[1], self.reference[0]]))

    def score(self, trained: list[Trained]) -> tuple[float, float, int]:
        """Hypervolume over that of the large search, regret in points, trainings wasted."""
        inside = [one for one in trained if one.inside]
        picked = max(inside, key=lambda one: one.seen).true if inside else self.reference[1]
        area = self._area([one.madds for one in inside], [one.true for one in inside])
        return area / self.area, (self.best - picked) * 100, len(trained) - len(inside)


def search(space: SearchSpace, budget: Budget, surface: Surface, sampler: str, seed: int) -> Iterator[Trained]:
    """Trainings of one of mfsearch's strategies, one after the other."""
    proposer = Proposer(space, budget, ["top1", "madds"], sampler.removesuffix("+starts"), seed)
    if sampler == "random+starts":
        proposer._starts = None
    rng = np.random.default_rng([seed, 5])
    while (proposal := proposer.next()) is not None:
        network = Sized(proposal.params, proposal.width, proposal.config, proposal.costs.madds)
        true = float(surface.top1([network])[0])
        seen = true + surface.noise * float(rng.normal())
        proposer.learn(finished_trial(proposal, TrialResult("trained", short=Training(top1=seen))))
        yield Trained(proposal.costs.madds, seen, true, budget.holds(proposal.costs.madds))


def plain_optuna(space: SearchSpace, budget: Budget, surface: Surface, sampler: str, seed: int) -> Iterator[Trained]:
    """What one writes with Optuna alone: the width is a parameter, the budget a constraint that the sampler is told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samplers: dict[str, optuna.samplers.BaseSampler] = {
            "optuna-tpe": optuna.samplers.TPESampler(seed=seed, multivariate=True),
            "optuna-nsga2": optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
        }
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=samplers[sampler])
    rng, built = np.random.default_rng([seed, 5]), set()
    while True:
        trial = study.ask()
        params = space.suggest(trial)
        width = trial.suggest_float("width", 0.25, 4.0, log=True)
        config = _built(space, params, width)
        if config is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)  # costs nothing: it is noticed at once
            continue
        madds = count_madds(config)
        true = float(surface.top1([Sized(params, width, config, madds)])[0])
        seen = true + surface.noise * float(rng.normal())
        trial.set_constraint("above", math.log(madds / budget.high))
        trial.set_constraint("below", math.log(budget.low / madds))
        study.tell(trial, [seen, madds])
        new = config.arch_id not in built
        built.add(config.arch_id)
        yield Trained(madds, seen, true, new and budget.low <= madds <= budget.high)


def _sized(candidate: Candidate) -> Sized:
    return Sized(candidate.params, candidate.width, candidate.config, candidate.madds)


def _built(space: SearchSpace, params: Params, width: float) -> MobileFormerConfig | None:
    try:
        return space.resolve(params, width)
    except ValueError:
        return None


@dataclass(frozen=True)
class Task:
    """Everything one process needs for one seed."""

    space: str
    budget: str
    table: str | None
    noise: float | None
    samplers: tuple[str, ...]
    trainings: int
    seed: int
    keep: Path | None
    done: frozenset[tuple[str, str, int]]  # surface, sampler, seed


def run_seed(task: Task) -> list[Score]:
    """All strategies on all surfaces with one seed, without what is done; each search is written when it ends."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    space, budget = find_space(task.space), parse_budget(task.budget)
    surfaces: dict[str, Surface] = {"planted": Planted(space, budget, task.seed)}
    if task.table is not None:
        surfaces["table"] = Fitted(task.table, task.noise)
    ground, rng = Ground(space, budget), random.Random(0)
    drawn = [ground.drawn("", rng) for _ in range(POOL)]
    pool = [_sized(c) for c in drawn if c is not None]
    scores = []
    for name, surface in surfaces.items():
        to_do = [sampler for sampler in task.samplers if (name, sampler, task.seed) not in task.done]
        judge = Judge(space, budget, surface, pool) if to_do else None
        for sampler in to_do:
            assert judge is not None
            start, trained, own = time.perf_counter(), [], []
            trainings = (plain_optuna if sampler.startswith("optuna-") else search)(
                space, budget, surface, sampler, task.seed
            )
            for one in trainings:
                trained.append(one)
                if len(trained) in TRAININGS:
                    area, regret, wasted = judge.score(trained)
                    seconds = time.perf_counter() - start
                    own.append(Score(name, sampler, task.seed, len(trained), area, regret, wasted, seconds))
                if len(trained) == task.trainings:
                    break
            scores += own
            if task.keep is not None:
                with task.keep.open("a") as file:
                    file.writelines(json.dumps(asdict(score)) + "\n" for score in own)
        print(f"seed {task.seed} on {name}", file=sys.stderr, flush=True)
    return scores


def read_scores(path: Path) -> list[Score]:
    """What `--keep` wrote."""
    return [Score(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def read_networks(name: str) -> tuple[list[Sized], Array]:
    """The networks of a table, and exp(-loss) of each."""
    rows = load_table(name).rows
    return [Sized(r.params, r.width or 1.0, r.config, r.madds) for r in rows], np.array([r.score for r in rows])


def print_scores(scores: list[Score]) -> None:
    """Means over seeds; beside them the share of seeds in which a strategy beats `random` of the same seed."""
    for surface in dict.fromkeys(s.surface for s in scores):
        head = "".join(f"{name:>10}" for name in ("hypervol.", "> random", "regret", "> random", "wasted", "s/trial"))
        print(f"\n{surface:<16}{'N':>5}{'seeds':>7}{head}")
        for trainings in sorted({s.trainings for s in scores}):
            at = [s for s in scores if s.surface == surface and s.trainings == trainings]
            control = {s.seed: s for s in at if s.sampler == "random"}
            for sampler in dict.fromkeys(s.sampler for s in at):
                own = [s for s in at if s.sampler == sampler]
                against = [(s, control[s.seed]) for s in own if s.seed in control]
                wins = [
                    f"{statistics.mean(w):>10.0%}" if w and sampler != "random" else f"{'':>10}"
                    for w in (
                        [s.hypervolume > c.hypervolume for s, c in against],
                        [s.regret_points < c.regret_points for s, c in against],
                    )
                ]
                print(
                    f"{sampler:<16}{trainings:>5}{len(own):>7}{statistics.mean(s.hypervolume for s in own):>10.3f}"
                    f"{wins[0]}{statistics.mean(s.regret_points for s in own):>10.2f}{wins[1]}"
                    f"{statistics.mean(s.wasted for s in own):>10.1f}"
                    f"{statistics.mean(s.seconds / s.trainings for s in own):>10.3f}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare strategies at equal trainings on simulated surfaces.")
    parser.add_argument("--table", help="table of real trainings, such as cifar10-30M (default: none)")
    parser.add_argument("--space", default="mobile_former")
    parser.add_argument("--budget", default="30M")
    parser.add_argument("--noise", type=float, help="standard deviation of top1 on the table (default: CV residuals)")
    parser.add_argument("--seeds", default="0..19", help="0..19, or one number (default: %(default)s)")
    parser.add_argument("--samplers", default=",".join((*SAMPLERS, *BASELINES)))
    parser.add_argument("--trainings", type=int, default=120, help="30, 60, 120 or 240 (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="write each search's scores here; what is there is not run again")
    parser.add_argument("--merge", type=Path, nargs="+", help="only print what --keep wrote to these files")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    quality = None
    if args.merge:
        scores = [score for path in args.merge for score in read_scores(path)]
    else:
        first, _, last = args.seeds.partition("..")
        samplers = tuple(args.samplers.split(","))
        unknown = set(samplers) - {*SAMPLERS, *BASELINES}
        if unknown:
            known = ", ".join((*SAMPLERS, *BASELINES))
            parser.error(f"unknown samplers {', '.join(sorted(unknown))}: known are {known}")
        if args.table is not None:
            quality = Fitted(args.table, args.noise).quality
            print(json.dumps(quality), file=sys.stderr)
        scores = [] if args.keep is None else read_scores(args.keep)
        done = frozenset((s.surface, s.sampler, s.seed) for s in scores)
        tasks = [
            Task(args.space, args.budget, args.table, args.noise, samplers, args.trainings, seed, args.keep, done)
            for seed in range(int(first), int(last or first) + 1)
        ]
        with multiprocessing.get_context("spawn").Pool(args.jobs) as processes:
            scores += [score for found in processes.imap(run_seed, tasks) for score in found]
    if args.json:
        print(json.dumps({"table": quality, "budget": args.budget, "scores": [asdict(s) for s in scores]}, indent=1))
    else:
        print_scores(scores)


if __name__ == "__main__":
    main()
