"""How many trainings does each strategy need on a table of real ones? Nothing is trained: results are looked up.

    python benchmarks/replay.py [--table NAME] [--seeds 0..39] [--strategies NAME,...] [--json]
    python benchmarks/replay.py --keep SEARCHES.jsonl ...      # again: resumes

A search starts with ten random networks of the table and then takes one at a time, never twice. All strategies begin
with the same ten for a seed and choose among the same networks. A network is worth the geometric mean of the right
class's probability on the validation images, exp(-loss).

`mfsearch`: the model and the acquisition of `--sampler gp`. `knobs`: the same with the model of the knobs alone, as
until November 2026; `built`: with the model of what is built alone; `mfsearch-ei`: expected improvement of the value
instead of the area. `optuna-gp` and `optuna-tpe`: Optuna's samplers over the knobs and the multiply-adds, value alone;
their acquisition is evaluated at every network that is left, as is `botorch`'s, the single-task GP of BoTorch 0.18 with
its defaults. `near-X` is the sampler X, which proposes any network of the space: the network of the table with the
nearest knobs is trained. That is a handicap for some and a help for others, so `near-random` is the control. `near-gp`,
which is slow, and `botorch`, which must be installed, run only if named.

Printed at N trainings, over seeds: the median regret (how far the best network found lies below the table's best, in
thousandths), how many of the table's five best were found, the hypervolume of value and multiply-adds over the whole
table's, the share of seeds in which a strategy beats `random` by either (a tie is no win), and how many random
trainings find as many of the five best.

Seeds 0 to 39 on `cifar10-30M`, N = 20 and 30, in November 2026:

    strategy         median regret    of the five best   hypervolume     > random   by area   random needs
    random           3.64   2.51      0.65   1.05        0.540   0.615                         20    32
    knobs            3.08   0.00      0.85   1.45        0.710   0.872   52  57 %   78  85 %   25    44
    mfsearch         2.51   0.00      1.02   2.62        0.785   0.938   62  72 %   88  98 %   31    79
    near-random      3.64   0.16      1.00   1.48        0.544   0.604   55  42 %   62  52 %   30    44
    near-evolution   0.16   0.16      1.30   1.82        0.552   0.643   55  55 %   45  52 %   39    55
    near-nsga2       2.51   0.16      1.40   1.88        0.588   0.641   60  48 %   62  65 %   42    56
    near-local       0.16   0.00      1.32   2.20        0.616   0.719   60  57 %   60  75 %   40    66

After 30 the best network of `mfsearch` is better than that of `near-local` in 12 of 40 seeds and worse in 4, its area
larger in 32 and smaller in 5; after 20, better in 8 and worse in 18, larger in 33 and smaller in 7. `near-gp`, whose
choice takes a second or two, has 2.00 of the five best and 0.840 of the hypervolume after 30 over seeds 0 to 2, where
`near-local` has 1.67 and 0.746.

Seeds 0 to 11, because the last three take longer:

    random           8.59   2.51      0.42   1.00        0.511   0.631                         13    30
    mfsearch         2.51   0.00      1.08   2.75        0.760   0.918   83  83 %   92  92 %   32    82
    optuna-tpe       3.64   0.16      0.92   1.58        0.605   0.704   67  42 %   50  58 %   27    48
    optuna-gp        3.64   3.08      0.92   1.17        0.606   0.700   75  58 %   75  75 %   27    35
    botorch          3.08   2.51      1.08   1.50        0.601   0.628   67  42 %   58  50 %   32    45

Over seeds 0 to 12, `mfsearch-ei` found 2.46 of the five best after 30, with a mean regret of 0.34; `mfsearch` 2.62 and
0.05: so the area stays.

`mfsearch-prior` begins with the prior of the other tables that come with mfsearch, `mfsearch-shuffled` with one whose
trainings are shuffled. Seeds 0 to 19, the prior of the 32 networks of `cifar10-50M`, N = 20 and 30: of the five best
random 0.60 and 1.15, `mfsearch` 1.05 and 2.65, with the prior 1.95 and 2.65, with the shuffled one 1.05 and 2.50;
hypervolume 0.551 and 0.648, 0.745 and 0.937, 0.953 and 0.981, 0.758 and 0.936. The prior's weights saw no training of
`cifar10-30M`, but its columns were chosen there.
"""

import argparse
import json
import math
import random
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from benchmarks.no_longer_offered import local, nsga2
from mfsearch.pareto import hypervolume
from mfsearch.search.samplers import SAMPLERS, Sampler
from mfsearch.search.samplers.encode import Encoder
from mfsearch.search.samplers.gp import Model
from mfsearch.search.samplers.ground import Candidate, Ground
from mfsearch.search.samplers.history import History
from mfsearch.search.samplers.improvement import expected_improvement
from mfsearch.space import Value, find_space
from mfsearch.space.solve import Sized
from mfsearch.study.prior import Prior, fit_prior
from mfsearch.study.table_file import TableRow, known_tables, load_table
from mfsearch.study.trial import Trial

Array = NDArray[np.float64]

START, BEST = 10, 5
TRAININGS = (10, 20, 30, 60)


class _Encoder(Encoder):
    """Encodes each network of the table once."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.rows: dict[int, Array] = {}

    def encode(self, params: dict[str, Value], madds: float | None = None) -> Array:
        if id(params) not in self.rows:
            self.rows[id(params)] = super().encode(params, madds)
        return self.rows[id(params)]


@dataclass(frozen=True)
class Table:
    """The networks of a table, as candidates and as finished trials, with their values."""

    name: str
    ground: Ground
    encoder: Encoder
    candidates: list[Candidate]
    trials: list[Trial]
    values: Array

    def area(self, chosen: list[int]) -> float:
        """Hypervolume of value and multiply-adds, from the table's median value and most multiply-adds on."""
        madds = np.array([candidate.madds for candidate in self.candidates], dtype=np.float64)
        points = np.stack([-self.values, madds], axis=1)
        return hypervolume(points[chosen], np.array([-np.median(self.values), madds.max()]))


@cache
def read_table(name: str) -> Table:
    """A table whose networks have known knobs, in its own space."""
    shipped = load_table(name)
    ground = Ground(find_space(shipped.space.name), shipped.budget)
    candidates, trials, values = [], [], []
    for number, row in enumerate(shipped.rows):
        assert row.width is not None
        candidate = ground.placed("table", Sized(row.params, row.width, row.config, row.madds))
        told = {"outcome": "trained", "arch_id": row.arch_id, "config": row.config.to_dict(), "width": row.width}
        told |= {"madds": row.madds, "top1": row.trainings[0].curve[-1].top1, "score": row.score}
        candidates.append(candidate)
        trials.append(Trial.from_dict(number, candidate.params, told))
        values.append(row.score)
    return Table(name, ground, _Encoder(ground), candidates, trials, np.array(values))


@cache
def prior_without(name: str, shuffle: int | None = None) -> Prior:
    """The prior of all other tables that come with mfsearch; shuffle: seed that deals their trainings out anew."""
    tables = [load_table(other) for other in known_tables() if other != name]
    if shuffle is not None:
        rng = np.random.default_rng(shuffle)
        tables = [replace(t, rows=_dealt(t.rows, rng.permutation(len(t.rows)).tolist())) for t in tables]
    return fit_prior(tables)


def _dealt(rows: tuple[TableRow, ...], order: list[int]) -> tuple[TableRow, ...]:
    return tuple(replace(row, trainings=rows[k].trainings) for row, k in zip(rows, order, strict=True))


# One step of a strategy: the table, those trained so far, those left, a seed; returns the score of each that is left.
Strategy = Callable[[Table, list[int], list[int], int], Array]


def of_model(
    weights: tuple[float, float] | None = None, value_alone: bool = False, prior: str | None = None
) -> Strategy:
    """The project's model. weights: of what is built and of the knobs, instead of the model's own. prior: of the other
    tables as they are, or with their trainings shuffled."""

    def score(table: Table, trained: list[int], left: list[int], seed: int) -> Array:
        history = History(["top1", "madds"])
        if prior is not None:
            history.prior = prior_without(table.name, seed if prior == "shuffled" else None)
        for k in trained:
            history.learn(table.trials[k])
        model, candidates = Model(table.ground, history, table.encoder), [table.candidates[k] for k in left]
        if weights is not None:
            model.weights = np.array(weights)
            means = [p.predict(p.x)[0] for p in model.processes]
            model.front[:, 1] = model.weights @ np.array(means)
        if not value_alone:
            return model.scores(candidates)
        level, views = model.front[:, 1].max(), model._views(candidates)
        gains = [
            expected_improvement(*process.predict(x), level) for process, x in zip(model.processes, views, strict=True)
        ]
        return np.asarray(model.weights @ np.array(gains))

    return score


class _PoolGP(optuna.samplers.GPSampler):
    """Evaluates its acquisition at `pool` [M, D] alone and keeps the scores."""

    pool: list[optuna.trial.FrozenTrial]
    scores: Array

    def _optimize_acqf(self, acqf: Any, best_params: Any) -> Any:
        x = acqf.search_space.get_normalized_params(self.pool)
        self.scores = acqf.eval_acqf_no_grad(x)
        return x[int(self.scores.argmax())]


class _PoolTPE(optuna.samplers.TPESampler):
    """The same for TPE."""

    pool: list[optuna.trial.FrozenTrial]
    scores: Array

    def _compute_acquisition_func(self, samples: Any, mpe_below: Any, mpe_above: Any) -> Any:
        names = list(samples)
        rows = {
            name: np.array([t.distributions[name].to_internal_repr(t.params[name]) for t in self.pool])
            for name in names
        }
        self.scores = super()._compute_acquisition_func(rows, mpe_below, mpe_above)
        return super()._compute_acquisition_func(samples, mpe_below, mpe_above)


def of_optuna(sampler_class: type[_PoolGP] | type[_PoolTPE], **options: Any) -> Strategy:
    """One of Optuna's samplers, told every training anew."""

    def score(table: Table, trained: list[int], left: list[int], seed: int) -> Array:
        ground = table.ground
        distributions: dict[str, BaseDistribution] = {
            knob.name: CategoricalDistribution(knob.choices)
            if any(isinstance(choice, str | bool) for choice in knob.choices)
            else FloatDistribution(float(min(knob.choices)), float(max(knob.choices)))
            for knob in ground.space.knobs
        }
        distributions["madds"] = FloatDistribution(ground.budget.low * 0.5, ground.budget.high)

        def told(k: int) -> optuna.trial.FrozenTrial:
            candidate = table.candidates[k]
            params = {name: candidate.params[name] for name in distributions if name != "madds"}
            params |= {"madds": candidate.madds}
            return optuna.trial.create_trial(value=float(table.values[k]), params=params, distributions=distributions)

        sampler = sampler_class(seed=seed, n_startup_trials=1, **options)
        sampler.pool = [told(k) for k in left]
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials([told(k) for k in trained])
        study.ask(distributions)
        return sampler.scores

    return score


def of_botorch(table: Table, trained: list[int], left: list[int], seed: int) -> Array:
    """BoTorch's single-task GP with its defaults, over the knobs and the multiply-adds from 0 to 1, and the logarithm
    of expected improvement over the best posterior mean."""
    import botorch
    import gpytorch
    import torch

    torch.manual_seed(seed)
    rows = [table.encoder.encode(table.candidates[k].params, table.candidates[k].madds) for k in trained + left]
    x, y = torch.tensor(np.clip(rows, 0, 1)), torch.tensor(table.values[trained])[:, None]
    known, unknown = x[: len(trained)], x[len(trained) :]
    model = botorch.models.SingleTaskGP(known, y)
    botorch.fit_gpytorch_mll(gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model))
    with torch.no_grad():
        best = model.posterior(known).mean.max()
        scores = botorch.acquisition.LogExpectedImprovement(model, best)(unknown[:, None])
    return np.asarray(scores.numpy())


def of_proposals(sampler: Sampler) -> Strategy:
    """A sampler that proposes any network of the space. It trains the one of the table whose knobs are nearest."""

    def score(table: Table, trained: list[int], left: list[int], seed: int) -> Array:
        history, ground = History(["top1", "madds"]), Ground(table.ground.space, table.ground.budget)
        for k in trained:
            history.learn(table.trials[k])
            ground.seen.add(table.candidates[k].config.arch_id)
        proposal = sampler(ground, history, random.Random(f"{seed}:{len(trained)}"))
        assert proposal is not None
        goal = Encoder.encode(table.encoder, proposal.params, proposal.madds)  # not remembered
        rows = [table.encoder.encode(table.candidates[k].params, table.candidates[k].madds) for k in left]
        return -np.asarray(((np.stack(rows) - goal) ** 2).sum(1))

    return score


def at_random(table: Table, trained: list[int], left: list[int], seed: int) -> Array:
    return np.random.default_rng([seed, len(trained)]).random(len(left))


STRATEGIES: dict[str, Strategy] = {
    "random": at_random,
    "knobs": of_model((0.0, 1.0)),
    "built": of_model((1.0, 0.0)),
    "mfsearch": of_model(),
    "mfsearch-ei": of_model(value_alone=True),
    "mfsearch-prior": of_model(prior="tables"),
    "mfsearch-shuffled": of_model(prior="shuffled"),
    "optuna-gp": of_optuna(_PoolGP, deterministic_objective=False),
    "optuna-tpe": of_optuna(_PoolTPE, multivariate=True),
    **{f"near-{name}": of_proposals(SAMPLERS[name]) for name in ("random", "gp", "evolution")},
    "near-local": of_proposals(local),
    "near-nsga2": of_proposals(nsga2),
    "botorch": of_botorch,
}


@dataclass(frozen=True)
class Search:
    """One search: the numbers of the table's networks in the order in which they were chosen."""

    strategy: str
    seed: int
    chosen: tuple[int, ...]
    seconds: float  # of the processor, in all

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> "Search":
        return cls(row["strategy"], row["seed"], tuple(row["chosen"]), row["seconds"])


def search(table: Table, strategy: str, seed: int, trainings: int) -> Search:
    """START random networks, the same for all strategies, then the best by the strategy's score."""
    start = time.process_time()
    chosen = np.random.default_rng([seed, 0]).permutation(len(table.values))[:START].tolist()
    while len(chosen) < trainings:
        left = [k for k in range(len(table.values)) if k not in set(chosen)]
        chosen.append(left[int(np.argmax(STRATEGIES[strategy](table, chosen, left, seed)))])
    return Search(strategy, seed, tuple(chosen), time.process_time() - start)


@dataclass(frozen=True)
class Row:
    """One strategy at N trainings, over seeds. random_trainings: how many random ones find as many of the best."""

    strategy: str
    trainings: int
    seeds: int
    best: float
    regret_thousandths: float
    of_best: float
    hypervolume: float
    value_beats_random: float
    area_beats_random: float
    random_trainings: float
    seconds_per_choice: float


def summarise(table: Table, searches: list[Search]) -> list[Row]:
    """Every strategy at every N that its searches reach; compared with `random` of the same seed."""
    top = set(np.argsort(-table.values)[:BEST].tolist())
    control = {s.seed: s.chosen for s in searches if s.strategy == "random"}
    whole, rows = table.area(list(range(len(table.values)))), []
    for strategy in dict.fromkeys(s.strategy for s in searches):
        for trainings in TRAININGS:
            own = [s for s in searches if s.strategy == strategy and len(s.chosen) >= trainings]
            if not own:
                continue
            found = [list(s.chosen[:trainings]) for s in own]
            best = [float(table.values[one].max()) for one in found]
            areas = [table.area(one) for one in found]
            against = [
                (value, area, float(table.values[drawn].max()), table.area(drawn))
                for s, value, area in zip(own, best, areas, strict=True)
                for drawn in [list(control.get(s.seed, ())[:trainings])]
                if len(drawn) == trainings
            ]
            of_best = statistics.fmean(len(top & set(one)) for one in found)
            rows.append(
                Row(
                    strategy=strategy,
                    trainings=trainings,
                    seeds=len(own),
                    best=statistics.fmean(best),
                    regret_thousandths=1e3 * (float(table.values.max()) - statistics.median(best)),
                    of_best=of_best,
                    hypervolume=statistics.fmean(areas) / whole,
                    value_beats_random=_share([a > b for a, _, b, _ in against]),
                    area_beats_random=_share([a > b for _, a, _, b in against]),
                    random_trainings=of_best / BEST * len(table.values),
                    seconds_per_choice=statistics.fmean(s.seconds / max(1, len(s.chosen) - START) for s in own),
                )
            )
    return rows


def _share(wins: list[bool]) -> float:
    return statistics.fmean(wins) if wins else math.nan


def print_rows(rows: list[Row]) -> None:
    heads = ("N", "seeds", "best", "regret", "of 5", "hypervol.", "> random", "> by area", "random's", "s/choice")
    print(f"{'strategy':<14}" + "".join(f"{head:>10}" for head in heads))
    for row in rows:
        print(
            f"{row.strategy:<14}{row.trainings:>10}{row.seeds:>10}{row.best:>10.4f}{row.regret_thousandths:>10.2f}"
            f"{row.of_best:>10.2f}{row.hypervolume:>10.3f}{row.value_beats_random:>10.0%}"
            f"{row.area_beats_random:>10.0%}{row.random_trainings:>10.0f}{row.seconds_per_choice:>10.3f}"
        )


def main() -> None:
    usual = [name for name in STRATEGIES if name not in ("near-gp", "botorch")]
    parser = argparse.ArgumentParser(description="Replay searches on a table of real trainings.")
    parser.add_argument("--table", default="cifar10-30M", help="name or folder (default: %(default)s)")
    parser.add_argument("--seeds", default="0..39", help="0..39, or one number (default: %(default)s)")
    parser.add_argument("--strategies", default=",".join(usual), help="(default: %(default)s)")
    parser.add_argument("--trainings", type=int, default=max(TRAININGS), help="(default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="write each search here; those that are there are not run again")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    strategies = args.strategies.split(",")
    if unknown := set(strategies) - set(STRATEGIES):
        parser.error(f"unknown strategies {', '.join(sorted(unknown))}: known are {', '.join(STRATEGIES)}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    table = read_table(args.table)
    kept: list[Search] = []
    if args.keep is not None and args.keep.exists():
        kept = [Search.from_dict(json.loads(line)) for line in args.keep.read_text().splitlines()]
    done = {(s.strategy, s.seed) for s in kept if len(s.chosen) >= args.trainings}
    searches = [s for s in kept if s.strategy in strategies and (s.strategy, s.seed) in done]
    first, _, last = args.seeds.partition("..")
    for seed in range(int(first), int(last or first) + 1):
        for strategy in strategies:
            if (strategy, seed) in done:
                continue
            searches.append(search(table, strategy, seed, args.trainings))
            if args.keep is not None:
                with args.keep.open("a") as file:
                    file.write(json.dumps(asdict(searches[-1])) + "\n")
    rows = summarise(table, searches)
    if args.json:
        print(json.dumps({"table": args.table, "rows": [asdict(r) for r in rows]}, indent=1))
    else:
        print_rows(rows)


if __name__ == "__main__":
    main()
