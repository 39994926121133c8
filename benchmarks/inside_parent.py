"""How early does a network cut from a trained parent show its rank, and is the rank biased towards the parent?

    python benchmarks/inside_parent.py PARENT --data cifar10 --data-dir DIR --budget 90M..100M --to FILE.jsonl
        [--resolution 224] [--networks 48] [--twice 16]
        [--size 48] [--batch 128] [--json]
    python benchmarks/inside_parent.py ... --rules --networks 24 --twice 8

Random networks of one band inside the parent are cut, and read without a step (BatchNorm re-estimated) and after 8,
31 and 124 steps, learning rate 0.001, on 2,000 validation images. The judge is 156 steps with another seed; the first
networks are judged with a second seed too, which tells the judge's noise. Printed for each length: Kendall's tau with
the judge, its 95 % interval, the ceiling that the judge's own noise sets, and the correlation of what the judge says
beyond the reading with the share of the parent's parameters kept. The file keeps a line for each network; the same
command again resumes. --rules asks instead which rule should choose the channels: every network is cut by BatchNorm
weight and by Taylor (256 training images) and read on 1,000 validation images, the first ones (--twice) also after 31
steps. Printed are the means and the paired difference, Taylor less weight, with its standard error.

In November 2026, `mf-151m` at 48 px on CIFAR-10 (79.3 %) as the parent, band 55M..62M at 224 px, `--batch 64`, 48
networks (kept as results/reference/inside-mf-151m/ranking.jsonl); `share`: of the parent's parameters that is kept:

         0 tau 0.58 0.45 to 0.70, ceiling 0.96 (n = 48), correlation with the share kept -0.08
         8 tau 0.64 0.53 to 0.74, ceiling 0.96 (n = 48), correlation with the share kept -0.01
        31 tau 0.84 0.76 to 0.90, ceiling 0.96 (n = 48), correlation with the share kept +0.20
       124 tau 0.93 0.90 to 0.97, ceiling 0.96 (n = 48), correlation with the share kept +0.19
     madds tau 0.05 (n = 48)
     share tau -0.21 (n = 48)

The rules on the first 24 of them (--networks 24 --twice 2, one thread); as cut, BatchNorm weight is the better rule:

     0 steps, loss: by weight 1.851, by Taylor 2.070, difference +0.2186 (standard error 0.0422; above 0 in 21 of 24)
     0 steps, top1: by weight 0.419, by Taylor 0.378, difference -0.0413 (standard error 0.0106; above 0 in 5 of 24)
    31 steps, loss: by weight 1.544, by Taylor 1.540, difference -0.0039 (standard error 0.0077; above 0 in 1 of 2)
    31 steps, top1: by weight 0.450, by Taylor 0.455, difference +0.0050 (standard error 0.0080; above 0 in 1 of 2)
"""

import argparse
import copy
import dataclasses
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mfsearch.analysis.ranking.agreement import bootstrap_tau, kendall_tau, noise_ceiling, retest_noise, spread_between
from mfsearch.cost.madds import count_costs
from mfsearch.export.parent_bundle import read_parent
from mfsearch.model import MobileFormer
from mfsearch.proxy.cutting import Channels, Score, by_weight, cut
from mfsearch.proxy.recipe import default_recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.proxy.short_train import DeviceData, InitialWeights, short_train
from mfsearch.search.cutter import Cutter, prepare_parent
from mfsearch.search.samplers.ground import Ground
from mfsearch.space.nested import nested_space
from mfsearch.study.manifest import StudyRequest, make_manifest
from mfsearch.study.settings import Settings
from mfsearch.units import parse_budget

STEPS, JUDGE_STEPS, JUDGES = (0, 8, 31, 124), 156, (1, 2)
TAYLOR_IMAGES, RULE_STEPS = 256, 31


def read_network(
    start: InitialWeights, config: Any, data: DeviceData, recipe: Any, judges: Sequence[int]
) -> dict[str, Any]:
    """Validation losses of one network: before any step, after STEPS, and by each judge's seed."""
    per_epoch = len(data.train_images) // recipe.batch
    points = [steps / per_epoch for steps in STEPS]
    curve = short_train(config, data, recipe, seed=0, start=start, points=points).curve
    read = {str(steps): log.val_loss for steps, log in zip(STEPS, curve, strict=True)}
    top1 = {str(steps): log.top1 for steps, log in zip(STEPS, curve, strict=True)}
    judged = [
        short_train(config, data, recipe, seed=seed, start=start, points=[JUDGE_STEPS / per_epoch]).curve[-1]
        for seed in judges
    ]
    return {"loss": read, "top1": top1, "judge": [j.val_loss for j in judged], "judge_top1": [j.top1 for j in judged]}


def by_taylor(parent: MobileFormer, images_BCHW: Tensor, labels_B: Tensor) -> Score:
    """Scores channels by the change of the loss, to first order, without them: |sum w dL/dw| (arXiv:1906.10771).

    The parent is in eval mode, on one normalised batch.
    """
    model = copy.deepcopy(parent).eval().requires_grad_()
    loss = F.cross_entropy(model(images_BCHW), labels_B)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    products = {
        name: torch.zeros(len(w)) if g is None else (w.detach() * g).flatten(1).sum(1) if w.ndim > 1 else w.detach() * g
        for name, w, g in zip(names, parameters, gradients, strict=True)
    }

    def score(channels: Channels) -> Tensor:
        change = torch.zeros(channels.whole_width)
        for name, order in channels.writers:
            for part in ("weight", "bias"):
                if f"{name}.{part}" in products:
                    change = change + products[f"{name}.{part}"].cpu()[order]
        return change.abs()

    return score


def rules_of(cutter: Cutter, data: DeviceData) -> dict[str, Score]:
    images = data.normalized(data.train_images[:TAYLOR_IMAGES])
    taylor = by_taylor(cutter.parent, images, data.train_labels[:TAYLOR_IMAGES])
    return {"weight": by_weight(cutter.parent), "taylor": taylor}


def read_rules(
    cutter: Cutter, rules: dict[str, Score], config: Any, data: DeviceData, recipe: Any, *, trained: bool
) -> dict[str, Any]:
    """Validation loss and top1 of one network by rule, as it is cut and, if `trained`, after RULE_STEPS."""
    points = [0.0] + [RULE_STEPS / (len(data.train_images) // recipe.batch)] * trained
    row: dict[str, Any] = {}
    for name, score in rules.items():
        model = cut(cutter.parent, config, score=score, coefficients=cutter.coefficients)
        start = InitialWeights(f"{cutter.digest} {name}", dict(model.state_dict()))
        curve = short_train(config, data, recipe, seed=0, start=start, points=points).curve
        row[name] = [{"loss": log.val_loss, "top1": log.top1} for log in curve]
    return row


def compare_rules(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a length and figure: both means, and the paired difference with its standard error."""
    table = []
    for k, steps in enumerate((0, RULE_STEPS)):
        for figure in ("loss", "top1"):
            pairs = [[row[rule][k][figure] for rule in ("weight", "taylor")] for row in rows if len(row["weight"]) > k]
            weight, taylor = np.array(pairs).T
            line = {"steps": steps, "figure": figure, "weight": weight.mean(), "taylor": taylor.mean(), "n": len(pairs)}
            difference = taylor - weight
            error = difference.std(ddof=1) / len(pairs) ** 0.5
            line |= {"difference": difference.mean(), "error": error, "positive": int((difference > 0).sum())}
            table.append(line)
    return table


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a length; more is better, so losses are negated."""
    mean = -np.array([row["judge"][0] for row in rows])
    twice = -np.array([row["judge"] for row in rows if len(row["judge"]) == len(JUDGES)])
    noise = retest_noise(twice[:, 0], twice[:, 1])
    ceiling = noise_ceiling(0.0, 1.0, noise, spread_between(mean, noise))
    kept = np.array([row["share"] for row in rows])
    table = []
    for name in map(str, STEPS):
        reading = -np.array([row["loss"][name] for row in rows])
        tau = bootstrap_tau(reading, mean, seed=0)
        slope, base = np.polyfit(reading, mean, 1)
        bias = float(np.corrcoef(mean - slope * reading - base, kept)[0, 1])
        table.append({"steps": name, **tau._asdict(), "ceiling": ceiling, "bias": bias})
    for name in ("madds", "share"):
        value = [row[name] for row in rows]
        table.append({"steps": name, "value": kendall_tau(value, mean), "n": len(rows)})
    return table


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parent", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--budget", required=True, type=parse_budget)
    parser.add_argument("--to", required=True, type=Path)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--networks", type=int, default=48)
    parser.add_argument(
        "--twice", type=int, default=16, help="networks judged with two seeds, or trained by both rules"
    )
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rules", action="store_true", help="compare the rules that choose channels")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    parent = read_parent(args.parent)
    recipe = dataclasses.replace(
        default_recipe(args.data, inside=True), batch=args.batch, val_samples=1000 if args.rules else 2000
    )
    if args.size:
        recipe = dataclasses.replace(recipe, resolution=args.size, crop=args.size // 8)
    images = recipe.load_images(args.data, data_dir=args.data_dir, seed=0)
    space = nested_space(parent.config).deployed(args.resolution, len(images.classes))
    settings = Settings(
        "inside", args.budget, None, space, args.data, recipe, rungs=Rungs(), data_dir=args.data_dir, parent=parent
    )
    folder = args.to.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = make_manifest(settings, images, StudyRequest(args.data), passport=None, baseline_ms=None)
    weights = prepare_parent(settings, manifest, folder, lambda _: None)
    assert weights is not None
    data = DeviceData(images, torch.device("cpu"))
    cutter, ground, rng = Cutter(weights), Ground(space, args.budget), random.Random(0)
    whole = count_costs(weights.config).num_params
    rules = rules_of(cutter, data) if args.rules else {}
    # a row belongs to the parent whose hash it holds
    rows = [json.loads(line) for line in args.to.read_text().splitlines()] if args.to.exists() else []
    rows = [row for row in rows if row["parent"] == weights.digest and ("weight" in row) == args.rules]
    done = {row["arch_id"]: row for row in rows}
    drawn: list[str] = []
    while len(drawn) < args.networks:
        candidate = ground.drawn("random", rng)
        if candidate is None or candidate.config.arch_id in drawn:
            continue
        config = candidate.config
        drawn.append(config.arch_id)
        if config.arch_id in done:
            continue
        costs = count_costs(config)
        row = {
            "parent": weights.digest,
            "arch_id": config.arch_id,
            "madds": costs.madds,
            "share": costs.num_params / whole,
        }
        twice = len(drawn) <= args.twice
        if args.rules:
            row |= read_rules(cutter, rules, config, data, recipe, trained=twice)
        else:
            row |= read_network(cutter.start(config), config, data, recipe, JUDGES[: 1 + twice])
        done[config.arch_id] = row
        with args.to.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), file=sys.stderr)
    rows = [done[arch_id] for arch_id in drawn]
    table = compare_rules(rows) if args.rules else summarise(rows)
    if args.json:
        print(json.dumps(table, indent=1))
        return 0
    for line in table:
        if args.rules:
            print(
                "{steps:>6} steps, {figure}: by weight {weight:.3f}, by Taylor {taylor:.3f}, difference "
                "{difference:+.4f} (standard error {error:.4f}; above 0 in {positive} of {n})".format(**line)
            )
            continue
        interval = f" {line['low']:.2f} to {line['high']:.2f}, ceiling {line['ceiling']:.2f}" if "low" in line else ""
        bias = f", correlation with the share kept {line['bias']:+.2f}" if "bias" in line else ""
        print(f"{line['steps']:>6} tau {line['value']:.2f}{interval} (n = {line['n']}){bias}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
