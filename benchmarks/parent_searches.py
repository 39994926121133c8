"""Is a search inside a trained parent worth the parent's training, beside the same search from first weights?

    python benchmarks/parent_searches.py PARENT --data-dir DIR --to FOLDER [--budgets 100M,60M] [--trials 5] [--seeds 3]
        [--parent-hours 0.95] [--figure FILE.html] [--json]

Images are CIFAR-10's. Each search is `mfsearch run` with one worker, the default short training and no longer ones. Its
best network is trained for 156 steps of 128 images: with the weights that were cut from the parent and a learning rate
of 0.001, or from first weights with 0.0025; the preset of that size likewise from first weights. All are tested on
5,000 images of CIFAR-10's test batch, which nothing else reads. Core-seconds are those of the processes. The figure
counts the parent's training in once, and shows the same without it. FOLDER keeps a line for each search and training;
the same command again resumes.

In November 2026 (results/reference/inside-mf-151m/searches.jsonl; the preset of 100M has two seeds), at a load of 4 to
10, which lengthens core-seconds:

    budget  network          n  search (core-s)  tested top1 (%) after 0, 31, 156 steps
    100M    inside           3              260  62.9, 70.2, 73.5
    100M    first weights    3              395  -, 32.1, 47.5
    100M    preset           2                -  -, 33.8, 48.8
    60M     inside           3              194  50.4, 64.5, 70.9
    60M     first weights    3              282  -, 31.8, 46.1
    60M     preset           3                -  -, 30.5, 46.6
"""

import argparse
import dataclasses
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.data.cifar import read_binary_batch
from mfsearch.data.pixels import resize_images
from mfsearch.export.parent_bundle import read_parent
from mfsearch.presets import preset
from mfsearch.proxy.batch_norm import restate_batch_norm
from mfsearch.proxy.recipe import default_recipe
from mfsearch.proxy.short_train import DeviceData, build_proxy, evaluate, short_train
from mfsearch.search.cutter import PARENT, Cutter, ParentWeights
from mfsearch.study.study import Study
from mfsearch.units import parse_budget

STEPS, TESTED = (31, 156), 5000
WAYS = ("inside", "first weights")
PRESETS = {"100M": "mf-96m", "60M": "mf-52m"}


def search(args: argparse.Namespace, way: str, budget: str, seed: int) -> dict[str, Any]:
    """One search by the command line, and what it cost."""
    name = f"{way.split()[0]}-{budget}-{seed}"
    command = [sys.executable, "-m", "mfsearch", "run", "--budget", budget, "--data", "cifar10", "--study", name]
    command += ["--resolution", "224"]  # the parent may be of another size
    command += ["--data-dir", str(args.data_dir), "--trials", str(args.trials), "--rungs", "1", "--seed", str(seed)]
    command += ["--results", str(args.to / "studies")] + (["--parent", str(args.parent)] if way == "inside" else [])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    study = Study.open(args.to / "studies" / name)
    best = study.best()
    assert best is not None
    return {
        "kind": "search",
        "way": way,
        "budget": budget,
        "seed": seed,
        "core_seconds": seconds,
        "trained": study.count("trained"),
        "trial": best.number,
        "validation_top1": best.top1,
    }


def tested_data(data_dir: Path) -> DeviceData:
    """The training images of a search with seed 0; images of the test batch in the place of the validation split."""
    recipe = default_recipe("cifar10")
    images = recipe.load_images("cifar10", data_dir=data_dir, seed=0)
    pixels, labels = read_binary_batch(data_dir / "cifar-10-batches-bin" / "test_batch.bin", label_bytes=1)
    images = dataclasses.replace(
        images, val_images=resize_images(pixels[:TESTED], recipe.resolution), val_labels=labels[:TESTED]
    )
    return DeviceData(images, torch.device("cpu"))


def finalist(
    args: argparse.Namespace, config: MobileFormerConfig, way: str, budget: str, seed: int, tested: DeviceData
) -> dict[str, Any]:
    """The network's top1 on the test images as it is trained, with the core-seconds until then."""
    recipe = default_recipe("cifar10", inside=way == "inside")
    begin, points, start = time.process_time(), [], None
    if way == "inside":
        parent = read_parent(args.parent)
        folder = args.to / "studies" / f"inside-{budget}-{seed}"
        cutter = Cutter(ParentWeights(folder / PARENT, parent.config, parent.facts.digest))
        start = cutter.start(config)
        model = build_proxy(config, tested.data, 0)
        model.load_state_dict(start.tensors)
        images = tested.train_images[: recipe.norm_images]
        restate_batch_norm(model, map(tested.normalized, images.tensor_split(4)))
        cut_seconds = time.process_time() - begin
        points.append({"steps": 0, "core_seconds": cut_seconds, "top1": evaluate(model, tested).top1})
    seconds: list[float] = []
    per_epoch = len(tested.train_images) // recipe.batch
    trained = short_train(
        config,
        tested,
        recipe,
        seed=seed + 100,
        start=start,
        points=[steps / per_epoch for steps in STEPS],
        on_step=lambda step, _: seconds.append(time.process_time() - begin) if step in STEPS else None,
    )
    for steps, log, spent in zip(STEPS, trained.curve, seconds, strict=True):
        points.append({"steps": steps, "core_seconds": spent, "top1": log.top1, "loss": log.val_loss})
    return {
        "kind": "training",
        "way": way,
        "budget": budget,
        "seed": seed,
        "arch_id": config.arch_id,
        "madds": count_madds(config),
        "points": points,
    }


def mean_and_spread(values: list[float]) -> str:
    spread = f" +- {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'budget':<8}{'network':<16}{'n':>2}{'search (core-s)':>17}  tested top1 (%) after 0, 31, 156 steps")
    for budget in sorted({row["budget"] for row in rows}):
        for way in (*WAYS, "preset"):
            of = [row for row in rows if (row["budget"], row["way"]) == (budget, way)]
            searches = [row["core_seconds"] for row in of if row["kind"] == "search"]
            trained = [{p["steps"]: p["top1"] for p in row["points"]} for row in of if row["kind"] == "training"]
            if not trained:
                continue
            cells = [
                mean_and_spread([one[steps] for one in trained]) if steps in trained[0] else "-"
                for steps in (0, *STEPS)
            ]
            spent = f"{statistics.mean(searches):.0f}" if searches else "-"
            print(f"{budget:<8}{way:<16}{len(trained):>2}{spent:>17}  {', '.join(cells)}")


def draw(rows: list[dict[str, Any]], parent_hours: float, to: Path) -> None:
    """Accuracy against total core-hours, mean over the seeds; the parent's training counted in, and not."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    budgets = sorted({row["budget"] for row in rows}, key=lambda b: -parse_budget(b).high)
    figure = make_subplots(1, len(budgets), subplot_titles=[f"{b} multiply-adds" for b in budgets], shared_yaxes=True)
    lines = [("inside", 0.0, "inside, parent at hand", "#1f77b4", "solid")]
    lines.append(("inside", parent_hours, "inside, parent's training counted in", "#1f77b4", "dash"))
    lines += [
        ("first weights", 0.0, "from first weights", "#d95f02", "solid"),
        ("preset", 0.0, "preset", "#777", "dot"),
    ]
    for column, budget in enumerate(budgets, 1):
        for way, extra, name, colour, dash in lines:
            of = [row for row in rows if (row["budget"], row["way"]) == (budget, way)]
            trained = [row["points"] for row in of if row["kind"] == "training"]
            if not trained:
                continue
            searched = [row["core_seconds"] for row in of if row["kind"] == "search"]
            base = (statistics.mean(searched) if searched else 0.0) / 3600 + extra
            hours = base + np.mean([[p["core_seconds"] for p in points] for points in trained], axis=0) / 3600
            top1 = 100 * np.mean([[p["top1"] for p in points] for points in trained], axis=0)
            spread = 100 * np.std([[p["top1"] for p in points] for points in trained], axis=0)
            trace = go.Scatter(
                x=hours, y=top1, name=name, legendgroup=name, showlegend=column == 1, mode="lines+markers",
                line={"color": colour, "dash": dash}, error_y={"array": spread, "thickness": 1},
            )  # fmt: skip
            figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title="Core-hours, search and training", rangemode="tozero")
    figure.update_yaxes(title="Top-1 on test images (%)", col=1)
    figure.update_layout(template="plotly_white", width=1000, height=440, legend={"orientation": "h", "y": -0.2})
    figure.write_html(to, config={"displayModeBar": False})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parent", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--budgets", default="100M,60M")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parent-hours", type=float, default=math.nan)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    args.to.mkdir(parents=True, exist_ok=True)
    path = args.to / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["kind"], row["way"], row["budget"], row["seed"]) for row in rows}

    def keep(row: dict[str, Any]) -> None:
        rows.append(row)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), file=sys.stderr, flush=True)

    tested: DeviceData | None = None
    for seed in range(args.seeds):
        for budget in args.budgets.split(","):
            for way in (*WAYS, "preset"):
                if way != "preset" and ("search", way, budget, seed) not in done:
                    keep(search(args, way, budget, seed))
                if ("training", way, budget, seed) in done:
                    continue
                tested = tested or tested_data(args.data_dir)
                if way == "preset":
                    config = dataclasses.replace(preset(PRESETS[budget]), classes=10)
                else:
                    best = Study.open(args.to / "studies" / f"{way.split()[0]}-{budget}-{seed}").best()
                    assert best is not None
                    config = best.config
                keep(finalist(args, config, way, budget, seed, tested))
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(rows)
    if args.figure:
        draw(rows, args.parent_hours, args.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
