"""Replays the rungs on stored full curves: epochs saved, hypervolume lost, members of the full front given up.

    python benchmarks/rungs.py results/calibrations/mobile_former-cifar10-50M/calibration.json [--orders 50] [--json]

A calibration's long trainings hold top1 at half a short training, at a short one, at three times that and at the end.
Every network of a group comes in a random order and is stopped, promoted or left by the very functions that `run`
uses, one worker. What training all of them in full finds is the measure; each order is one replay.
"""

import argparse
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mfsearch.pareto import hypervolume, pareto_mask
from mfsearch.proxy.curve import SCORES, EpochLog
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.promotion import Promotion, next_final, next_promotion, standing, stop_rule
from mfsearch.study.trial import Training, Trial

OBJECTIVES = ["top1", "madds"]


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibration", type=Path)
    parser.add_argument("--orders", type=int, default=50, help="random orders of arrival (default: %(default)s)")
    parser.add_argument("--finalists", type=int, nargs="+", default=[5, 8])
    parser.add_argument("--epochs", type=float, help="of a short training (default: the calibration's)")
    parser.add_argument("--rungs", type=float, nargs="+", default=[1, 3, 5], help="lengths that the curves hold")
    parser.add_argument("--rank-by", default="val_loss")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    kept = json.loads(args.calibration.read_text(encoding="utf-8"))
    epochs = args.epochs or kept["identity"]["recipe"]["epochs"]
    factors = tuple(args.rungs)
    groups = {name: group["networks"] for name, group in kept["groups"].items()}
    groups["both"] = list({n["arch_id"]: n for g in ("band", "across") for n in groups[g]}.values())
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
