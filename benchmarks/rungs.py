"""Replays the rungs on stored full curves: epochs saved, hypervolume lost, members of the full front given up.

    python benchmarks/rungs.py results/calibrations/mobile_former-cifar10-50M/calibration.json [--orders 50] [--json]
        [--posterior]

A calibration's long trainings hold top1 at half a short training, at a short one, at three times that and at the end.
Every network of a group comes in a random order and is stopped, promoted or left by the very functions that `run`
uses, one worker. What training all of them in full finds is the measure; each order is one replay.

`--posterior` asks whether to promote by a model's posterior instead: a third of random two thirds of the networks is
chosen by the reading, by the mean of a Gaussian process of what is built that is fitted to the readings, and by one
that also knows the short trainings of `cifar10-30M` (in units of each one's spread). `lost` is how much lower
the judge's figure is, on average over those chosen, than for the best third, in units of its spread over all networks.
The networks cut from a parent (inside_parent.py) are judged by validation loss, a calibration's by top1.

In November 2026, `--orders 60`: by the reading, the posterior, the posterior with the table

    networks    judged   read after                tau              lost
    band           16    0.05 epochs         0.43 0.47 0.54   0.46 0.38 0.25
                         0.1                 0.57 0.54 0.55   0.13 0.18 0.26
                         0.2                 0.52 0.52 0.56   0.16 0.18 0.26
    across         16    0.05                0.41 0.45 0.51   0.43 0.46 0.32
                         0.1                 0.52 0.45 0.50   0.12 0.13 0.26
                         0.2                 0.68 0.71 0.53   0.03 0.04 0.27
    cut            48    0 steps             0.58 0.62 0.52   0.16 0.17 0.30
                         8                   0.64 0.64 0.53   0.15 0.15 0.30
                         31                  0.84 0.72 0.55   0.01 0.08 0.28
                         124                 0.94 0.73 0.54   0.00 0.10 0.29

So a posterior chooses better only after half of a default short training (0.05 passes), and the search promotes by
the reading.
"""

import argparse
import dataclasses
import json
import random
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay import read_table
from mfsearch.analysis.ranking.agreement import kendall_tau
from mfsearch.config import MobileFormerConfig
from mfsearch.pareto import hypervolume, pareto_mask
from mfsearch.presets import PRESETS
from mfsearch.proxy.curve import SCORES, EpochLog
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.promotion import Promotion, next_final, next_promotion, standing, stop_rule
from mfsearch.search.samplers.encode import built
from mfsearch.search.samplers.gaussian import GaussianProcess
from mfsearch.search.samplers.gp import SPREAD
from mfsearch.search.samplers.ground import Ground
from mfsearch.space.nested import nested_space
from mfsearch.study.trial import Training, Trial
from mfsearch.units import parse_budget

Array = NDArray[np.float64]

OBJECTIVES = ["top1", "madds"]
INSIDE = Path(__file__).parent.parent / "results/reference/inside-mf-151m/ranking.jsonl"


def replay(networks: list[dict[str, Any]], rungs: Rungs, epochs: float, other_seed: bool) -> dict[str, float]:
    """Train `networks` in their order by the rules of `run`, reading every top1 from the stored curve."""
    curves = [_by_length(network["long"], epochs) for network in networks]
    if other_seed:  # what is decided by is no part of what is judged by
        curves = [curve | _by_length(network["short"], epochs) for curve, network in zip(curves, networks, strict=True)]
    read = SCORES[rungs.rank_by]
    trials: list[Trial] = []
    spent = 0.0

    def training(number: int, rung: int, *lengths: float) -> Training:
        curve = tuple(curves[number][length] for length in lengths)
        return Training(rung, 0, curve[-1].top1, read(curve[-1]), curve=curve)

    def train_longer(promotion: Promotion) -> None:
        nonlocal spent
        trial, length = trials[promotion.number], rungs.factors[promotion.rung]
        spent += length - rungs.factors[trial.rung]
        trials[promotion.number] = trial.with_training(training(trial.number, promotion.rung, length))

    for number, network in enumerate(networks):
        stop, madds = stop_rule(trials, OBJECTIVES, rungs), network["madds"]
        stopped = stop is not None and stop.hopeless(read(curves[number][0.5]), [float(madds)])
        lengths, outcome = ((0.5,), "stopped") if stopped else ((0.5, 1.0), "trained")
        trials.append(Trial(number, outcome, madds=madds, short=training(number, 0, *lengths)))
        spent += lengths[-1]
        while (promotion := next_promotion(standing(trials, OBJECTIVES, rungs), rungs, (), 0)) is not None:
            train_longer(promotion)
    while (promotion := next_final(standing(trials, OBJECTIVES, rungs), rungs, (), 0)) is not None:
        train_longer(promotion)

    full = np.array(
        [[-curve[rungs.factors[-1]].top1, float(n["madds"])] for curve, n in zip(curves, networks, strict=True)]
    )
    in_full = np.array([trial.rung == rungs.last for trial in trials])
    front = pareto_mask(full)
    reference = np.array([full[:, 0].max(), full[:, 1].max() * 1.05])
    whole, kept = (hypervolume(values, reference) for values in (full, full[in_full]))
    return {
        "saved": 1 - spent / (rungs.factors[-1] * len(networks)),
        "lost": 1 - kept / whole,
        "front": int(front.sum()),
        "front_stopped": sum(trial.outcome == "stopped" for trial, on in zip(trials, front, strict=True) if on),
        "front_not_full": int((front & ~in_full).sum()),
        "stopped": sum(trial.outcome == "stopped" for trial in trials),
        "regret": float(-full[:, 0].min() + full[in_full][:, 0].min()),
    }


def _by_length(curve: list[dict[str, float]], epochs: float) -> dict[float, EpochLog]:
    """A curve by its lengths in short trainings; points fall on whole steps, so a length is the round number next to
    one."""
    ratios = [(log["epoch"] / epochs, EpochLog.from_dict(log)) for log in curve]
    return {round(ratio, 1) if ratio < 1 else float(round(ratio)): log for ratio, log in ratios}


@dataclass(frozen=True)
class Judged:
    """Networks by what is built [N, D], with a reading by length and the judge's figure; more is better."""

    name: str
    x: Array
    readings: dict[str, Array]
    judge: Array


def calibrated(name: str, networks: list[dict[str, Any]]) -> Judged:
    x = [built(MobileFormerConfig.from_dict(network["config"]), 1.0, network["madds"]) for network in networks]
    points = [log["epoch"] for log in networks[0]["short"]]
    losses = np.array([[log["val_loss"] for log in network["short"]] for network in networks])
    readings = {f"{point:.2g} epochs": np.exp(-losses[:, k]) for k, point in enumerate(points)}
    return Judged(name, np.array(x), readings, np.array([network["long_top1"] for network in networks]))


def cut_networks() -> Judged:
    """The networks of inside_parent.py, drawn again, because its file has no configs."""
    rows = {row["arch_id"]: row for row in map(json.loads, INSIDE.read_text(encoding="utf-8").splitlines())}
    parent = dataclasses.replace(PRESETS["mf-151m"], classes=10)
    ground, rng = Ground(nested_space(parent).deployed(224, 10), parse_budget("55M..62M")), random.Random(0)
    drawn: dict[str, list[float]] = {}
    while len(drawn) < len(rows):
        candidate = ground.drawn("random", rng)
        assert candidate is not None
        drawn.setdefault(candidate.config.arch_id, built(candidate.config, candidate.width, candidate.madds))
    steps = {name: np.exp([-rows[arch_id]["loss"][name] for arch_id in drawn]) for name in ("0", "8", "31", "124")}
    judge = np.array([-statistics.fmean(rows[arch_id]["judge"]) for arch_id in drawn])
    return Judged("cut", np.array(list(drawn.values())), {f"{name} steps": y for name, y in steps.items()}, judge)


def choices(judged: Judged, draws: int) -> Iterator[dict[str, Any]]:
    """For each length, how well the reading, the posterior and the posterior with the table choose a third."""
    table = read_table("cifar10-30M")
    learned = np.array([built(each.config, 1.0, each.madds) for each in table.candidates])
    prior = GaussianProcess(scaled(learned), standard(table.values))
    for length, reading in judged.readings.items():
        rng, found = np.random.default_rng(0), []
        for _ in range(draws):
            some = rng.permutation(len(judged.judge))[: 2 * len(judged.judge) // 3]
            x, y, judge = scaled(judged.x[some]), standard(reading[some]), judged.judge[some]
            joint = np.concatenate([scaled(learned), x]), np.concatenate([standard(table.values), y])
            chosen_by = (
                y,
                GaussianProcess(x, y).predict(x)[0],
                GaussianProcess(*joint, theta=prior.theta).predict(x)[0],
            )
            best = np.sort(judge)[-(len(some) // 3) :].mean()
            for by in chosen_by:
                chosen = judge[np.argsort(-by)[: len(some) // 3]]
                found.append((kendall_tau(by, judge), (best - chosen.mean()) / judged.judge.std()))
        means = np.array(found).reshape(draws, 3, 2).mean(0)
        names = ("reading", "posterior", "with table")
        taus, lost = (dict(zip(names, means[:, k].tolist(), strict=True)) for k in range(2))
        yield {"networks": judged.name, "n": len(judged.judge), "length": length, "tau": taus, "lost": lost}


def standard(y: Array) -> Array:
    return np.asarray((y - y.mean()) / y.std())


def scaled(x: Array) -> Array:
    """Columns in the units that the search's model reads."""
    spread = x.std(0) / SPREAD
    return np.asarray((x - x.mean(0)) / np.where(spread < 1e-9, 1.0, spread))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibration", type=Path)
    parser.add_argument("--orders", type=int, default=50, help="random orders of arrival (default: %(default)s)")
    parser.add_argument("--finalists", type=int, nargs="+", default=[5, 8])
    parser.add_argument("--epochs", type=float, help="of a short training (default: the calibration's)")
    parser.add_argument("--rungs", type=float, nargs="+", default=[1, 3, 5], help="lengths that the curves hold")
    parser.add_argument("--rank-by", default="val_loss")
    parser.add_argument("--posterior", action="store_true", help="promotion by a model's posterior, see above")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    kept = json.loads(args.calibration.read_text(encoding="utf-8"))
    epochs = args.epochs or kept["identity"]["recipe"]["epochs"]
    factors = tuple(args.rungs)
    groups = {name: group["networks"] for name, group in kept["groups"].items()}
    groups["both"] = list({n["arch_id"]: n for g in ("band", "across") for n in groups[g]}.values())
    if args.posterior:
        judged = [*(calibrated(name, networks) for name, networks in groups.items()), cut_networks()]
        rows = [row for each in judged for row in choices(each, args.orders)]
        if args.json:
            print(json.dumps(rows, indent=1))
            return 0
        print("by the reading, the posterior, the posterior with the table")
        for row in rows:
            shown = ("  " + " ".join(f"{value:5.2f}" for value in row[name].values()) for name in ("tau", "lost"))
            print(f"{row['networks']:<8}{row['n']:>4} {row['length']:<14}tau{next(shown)}  lost{next(shown)}")
        return 0
    found = []
    for name, networks, other_seed in ((n, g, seed) for n, g in groups.items() for seed in (False, True)):
        for finalists in args.finalists:
            rungs = Rungs(factors=factors, finalists=finalists, seeds=1, rank_by=args.rank_by)
            runs = []
            for order in range(args.orders):
                shuffled = list(networks)
                random.Random(order).shuffle(shuffled)
                runs.append(replay(shuffled, rungs, epochs, other_seed))
            mean = {key: statistics.fmean(run[key] for run in runs) for key in runs[0]}
            worst = max(run["lost"] for run in runs)
            found.append(
                {
                    "group": name,
                    "networks": len(networks),
                    "short_seed": "other" if other_seed else "same",
                    "finalists": finalists,
                    **mean,
                    "worst_lost": worst,
                }
            )
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    print(f"lengths {', '.join(f'{f:g}x' for f in factors)} of {epochs:g} epochs; means over {args.orders} orders")
    print(f"{'group':<8}{'short':<7}{'n':>4}{'final':>7}{'saved':>8}{'HV lost':>9}{'worst':>8}{'regret':>8}{'front':>7}"
          f"{'of it stopped':>15}{'not in full':>13}")  # fmt: skip
    for each in found:
        print(
            f"{each['group']:<8}{each['short_seed']:<7}{each['networks']:>4}{each['finalists']:>7}{each['saved']:>8.1%}{each['lost']:>9.2%}"
            f"{each['worst_lost']:>8.2%}{100 * each['regret']:>8.2f}{each['front']:>7.0f}{each['front_stopped']:>15.2f}"
            f"{each['front_not_full']:>13.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
