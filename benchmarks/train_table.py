"""Trains a table of networks at proxy cost, for the surrogate that search_quality.py searches on.

    python benchmarks/train_table.py --data-dir DIR --budget 50M --networks 150 --workers 2 --to results/reference/NAME

Networks are feasible random draws, each trained once with the same seed; the same command goes on where it stopped.
"""

import argparse
import dataclasses
import json
import os
import random
import sys
from pathlib import Path

from mfsearch.cost.madds import count_costs
from mfsearch.proxy.recipe import default_recipe
from mfsearch.search.trainings import Task, run_tasks
from mfsearch.space import SearchSpace, find_space
from mfsearch.space.solve import Sized, fit
from mfsearch.study.task_file import TRAININGS, TaskRecord
from mfsearch.units import Budget, parse_budget


def draw(space: SearchSpace, budget: Budget, count: int, seed: int) -> list[Sized]:
    """`count` different networks inside the budget, from uniform draws with widths solved to anywhere in the band."""
    rng = random.Random(f"{seed}:table")
    found: dict[str, Sized] = {}
    while len(found) < count:
        target = budget.low * (budget.high / budget.low) ** rng.uniform(0.1, 1)
        try:
            sized = fit(space, space.draw(rng), budget.low, target)
        except ValueError:
            continue
        if sized is not None:
            found.setdefault(sized.config.arch_id, sized)
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MFSEARCH_DATA"))
    parser.add_argument("--budget", default="50M")
    parser.add_argument("--space", default="mobile_former")
    parser.add_argument("--networks", type=int, default=150)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, required=True, help="folder of trainings.jsonl and table.jsonl")
    args = parser.parse_args()
    space, budget, recipe = find_space(args.space), parse_budget(args.budget), default_recipe(args.data)
    networks = {sized.config.arch_id: sized for sized in draw(space, budget, args.networks, args.seed)}

    def on_done(task: Task, record: TaskRecord) -> None:
        print(task.key, record.outcome, record.top1, record.train_seconds, flush=True)

    records = run_tasks(
        [Task(arch_id, sized.config, args.seed) for arch_id, sized in networks.items()],
        data=args.data,
        data_dir=args.data_dir,
        recipe=recipe,
        workers=args.workers,
        path=args.to / TRAININGS,
        identity={"space": space.digest, "data": args.data, "recipe": recipe.as_dict(), "seed": args.seed},
        on_done=on_done,
    )
    with (args.to / "table.jsonl").open("w", encoding="utf-8") as file:
        for arch_id, record in records.items():
            if record.top1 is None or record.train_seconds is None:
                continue
            sized = networks[arch_id]
            row = {
                "arch_id": arch_id,
                "params": sized.params,
                "width": sized.width,
                "madds": sized.madds,
                "num_params": count_costs(sized.config).num_params,
                "seed": args.seed,
                "top1": record.top1,
                "curve": [dataclasses.asdict(log) for log in record.curve],
                "train_seconds": round(record.train_seconds, 2),
            }
            file.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
