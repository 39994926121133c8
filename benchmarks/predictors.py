"""How well do cheap predictors rank the networks of a table? Baselines for a tabular benchmark (docs/tables.md).

    python benchmarks/predictors.py [--table cifar10-30M] [--draws 20] [--json]
    python benchmarks/predictors.py --table cifar10-30M --judge cifar10-50M  # a prior against a judge

The target is a row's `score`, exp(-validation loss) after the short training. `split`: trained on the table's frozen
training networks, Kendall's tau on its test networks with a 95 % bootstrap interval. `from N`: trained on N networks
drawn from the whole table, tau on all others, the mean and standard deviation over draws; those that learn nothing vary
with the networks that are left.

`random`, `madds`, `parameters` and `naswot` learn nothing. `ridge on knobs`: sklearn's RidgeCV on the columns that the
search has for the knobs, `ridge on built` on those of what is built. `mfsearch`: the search's own model, without a
prior. In November 2026:

    predictor             split, 50 networks       from 30       from 60      from 120
    random                 0.18 [0.00, 0.37]  -0.00 ± 0.04  -0.01 ± 0.09  -0.02 ± 0.12
    madds                 0.16 [-0.07, 0.38]   0.05 ± 0.03   0.05 ± 0.04   0.05 ± 0.11
    parameters          -0.23 [-0.40, -0.04]  -0.19 ± 0.03  -0.18 ± 0.03  -0.18 ± 0.09
    naswot                 0.32 [0.12, 0.51]   0.28 ± 0.03   0.27 ± 0.05   0.24 ± 0.11
    ridge on knobs         0.31 [0.09, 0.51]   0.15 ± 0.05   0.25 ± 0.04   0.27 ± 0.12
    ridge on built         0.54 [0.42, 0.67]   0.44 ± 0.04   0.48 ± 0.03   0.49 ± 0.11
    mfsearch               0.48 [0.34, 0.62]   0.36 ± 0.13   0.45 ± 0.06   0.49 ± 0.10

Columns and table are not independent: those of what is built were chosen on `cifar10-30M`.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from mfsearch.analysis.ranking.agreement import Estimate, bootstrap_tau, kendall_tau
from mfsearch.search.samplers.encode import Encoder, built
from mfsearch.search.samplers.gp import Model
from mfsearch.search.samplers.ground import Ground
from mfsearch.search.samplers.history import History
from mfsearch.space import find_space
from mfsearch.space.solve import Sized
from mfsearch.study.prior import fit_prior
from mfsearch.study.table_file import Table, TableRow, load_table
from mfsearch.study.trial import Trial

Array = NDArray[np.float64]
SIZES = (30, 60, 120)

# Scores of the networks to judge, from a table, the networks to learn from, those to judge, and a seed.
Predictor = Callable[[Table, list[TableRow], list[TableRow], int], Array]


def of(read: Callable[[TableRow], float]) -> Predictor:
    """A figure of the network itself."""
    return lambda table, train, test, seed: np.array([read(row) for row in test])


def at_random(table: Table, train: list[TableRow], test: list[TableRow], seed: int) -> Array:
    return np.random.default_rng(seed).random(len(test))


def observed(table: Table, rows: list[TableRow]) -> tuple[Ground, History]:
    """The rows as a search has them after training."""
    ground = Ground(find_space(table.space.name), table.budget)
    history = History(["top1", "madds"])
    for number, row in enumerate(rows):
        assert row.width is not None
        placed = ground.placed("table", Sized(row.params, row.width, row.config, row.madds))
        told = {"outcome": "trained", "arch_id": row.arch_id, "config": row.config.to_dict(), "width": row.width}
        told |= {"madds": row.madds, "top1": row.trainings[0].curve[-1].top1, "score": row.score}
        history.learn(Trial.from_dict(number, placed.params, told))
    return ground, history


def of_ridge(columns: Callable[[Table, list[TableRow]], Array]) -> Predictor:
    """A ridge regression on columns [N, D], scaled over all networks without a look at their scores."""

    def predict(table: Table, train: list[TableRow], test: list[TableRow], seed: int) -> Array:
        x = columns(table, [*train, *test])
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
        ridge = RidgeCV(alphas=np.logspace(-1, 3, 9)).fit(x[: len(train)], [row.score for row in train])
        return np.asarray(ridge.predict(x[len(train) :]))

    return predict


def knob_columns(table: Table, rows: list[TableRow]) -> Array:
    encoder = Encoder(Ground(find_space(table.space.name), table.budget))
    return np.stack([encoder.encode(row.params, row.madds) for row in rows])


def built_columns(table: Table, rows: list[TableRow]) -> Array:
    return np.array([built(row.config, row.width or 1.0, row.madds) for row in rows])


def of_model(table: Table, train: list[TableRow], test: list[TableRow], seed: int) -> Array:
    ground, history = observed(table, train)
    model, others = Model(ground, history), observed(table, test)[1].trials
    return model.means(others)


PREDICTORS: dict[str, Predictor] = {
    "random": at_random,
    "madds": of(lambda row: row.madds),
    "parameters": of(lambda row: row.num_params),
    "naswot": of(lambda row: row.zero_cost["naswot"]),
    "ridge on knobs": of_ridge(knob_columns),
    "ridge on built": of_ridge(built_columns),
    "mfsearch": of_model,
}


@dataclass(frozen=True)
class Spread:
    """Kendall's tau over `draws` training sets."""

    networks: int
    mean: float
    deviation: float
    draws: int


@dataclass(frozen=True)
class Line:
    """One predictor: on the frozen split, and from training sets of each size."""

    predictor: str
    split: Estimate
    drawn: tuple[Spread, ...]


def judge(table: Table, name: str, draws: int) -> Line:
    predict = PREDICTORS[name]
    train, test = ([table.query(one) for one in part] for part in (table.split.train, table.split.test))
    split = bootstrap_tau(predict(table, train, test, 0), [row.score for row in test], seed=0)
    drawn = []
    for size in SIZES:
        taus = []
        for seed in range(draws):
            rows = [table.rows[k] for k in np.random.default_rng([seed, size]).permutation(len(table.rows))]
            taus.append(kendall_tau(predict(table, rows[:size], rows[size:], seed), [r.score for r in rows[size:]]))
        drawn.append(Spread(size, float(np.mean(taus)), float(np.std(taus, ddof=1)), draws))
    return Line(name, split, tuple(drawn))


def judged(table: Table, other: Table) -> dict[str, Estimate]:
    """Tau with the judge of `other`, for the networks in its budget's last tenth and for all."""
    prior = fit_prior([table])
    rows = [row for row in other.rows if row.judged]
    inside = [row for row in rows if row.madds > 0.9 * other.budget.high]
    found: dict[str, Estimate] = {}
    for group in (inside, rows):
        ways: dict[str, list[float]] = {
            f"prior of {table.name}": [prior.score(row.config) for row in group],
            "short training": [row.score for row in group],
            "madds": [row.madds for row in group],
        }
        target = np.array([row.judged_score for row in group], dtype=np.float64)
        found |= {f"{name}, {len(group)} networks": bootstrap_tau(x, target, seed=0) for name, x in ways.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Baselines of a tabular benchmark.")
    parser.add_argument("--table", default="cifar10-30M", help="name or folder (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=20, help="training sets of each size (default: %(default)s)")
    parser.add_argument("--judge", help="a table with judged networks: only rank those, by a prior of --table")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    table = load_table(args.table)
    if args.judge:
        for way, found in judged(table, load_table(args.judge)).items():
            print(f"{way:<40}{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")
        return
    lines = [judge(table, name, args.draws) for name in PREDICTORS]
    if args.json:
        print(json.dumps([asdict(line) | {"split": line.split._asdict()} for line in lines], indent=1))
        return
    print(
        f"{'predictor':<16}{f'split, {len(table.split.test)} networks':>24}"
        + "".join(f"{f'from {n}':>14}" for n in SIZES)
    )
    for line in lines:
        tau = f"{line.split.value:.2f} [{line.split.low:.2f}, {line.split.high:.2f}]"
        spreads = "".join(f"{f'{one.mean:.2f} ± {one.deviation:.2f}':>14}" for one in line.drawn)
        print(f"{line.predictor:<16}{tau:>24}{spreads}")


if __name__ == "__main__":
    main()
