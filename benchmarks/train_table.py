"""Trains networks at proxy cost and writes them as a table (docs/tables.md); the same command resumes.

    python benchmarks/train_table.py --data-dir DIR --budget 85M..100M --networks 100 --judge 48 --workers 2 \
        --to results/tables/cifar10-100M
    python benchmarks/train_table.py --data-dir DIR --budget 20M..300M --networks 100 --workers 2 \
        --to results/tables/cifar10-300M

Networks are random draws with their widths solved for a target that is log-uniform over the budget. Each is trained
once, read at --points; the first --judge of them are also trained for --judge-points with two other seeds. Trainings
go to trainings.jsonl, table.json and networks.jsonl are written at the end.

    python benchmarks/train_table.py --data-dir DIR --budget 30M --from results/reference/cifar10-30M-table \
        --note "$NOTE" --to results/tables/cifar10-30M
    python benchmarks/train_table.py --data-dir DIR --budget 13M..50M \
        --from results/calibrations/mobile_former-cifar10-50.0M --to results/tables/cifar10-50M

--from: the trainings of an earlier table or of a calibration. Networks with dead parts become the living ones that
compute the same, and their costs are counted anew.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import random
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mfsearch.analysis.ranking.agreement import kendall_tau, retest_noise
from mfsearch.config import DyReLUConfig, MobileFormerConfig
from mfsearch.cost.madds import count_costs
from mfsearch.data import ImageData
from mfsearch.living import living
from mfsearch.proxy.curve import EpochLog
from mfsearch.proxy.recipe import Recipe, default_recipe
from mfsearch.proxy.short_train import DeviceData
from mfsearch.search.calibration import SCORE_IMAGES, calibration_trainer, score_all
from mfsearch.search.trainings import Task, run_tasks
from mfsearch.space import SearchSpace, Value, find_space
from mfsearch.space.solve import fit
from mfsearch.study.calibration_file import CALIBRATION, CalibrationFile
from mfsearch.study.files import now, versions, write_json
from mfsearch.study.manifest import DataFacts, NamedSpace
from mfsearch.study.table_file import NETWORKS, SCHEMA, TABLE, Table, TableRow, TableSplit, TableTraining
from mfsearch.study.task_file import TRAININGS, TaskRecord, read_trainings
from mfsearch.units import Budget, parse_budget

CLOSE = 0.9  # of its target, the least that a network has
JUDGE_SEEDS = 2
TEST = 3  # every third network of the shuffled table is for tests


class Drawn(NamedTuple):
    """A network with the knobs that it was drawn with, if they are known."""

    config: MobileFormerConfig
    params: dict[str, Value]
    width: float | None


def draw(space: SearchSpace, budget: Budget, count: int, seed: int) -> dict[str, Drawn]:
    """`count` different networks inside the budget; a larger count starts with those of a smaller one."""
    rng = random.Random(f"{seed}:table")
    drawn: dict[str, Drawn] = {}
    while len(drawn) < count:
        target = budget.low * (budget.high / budget.low) ** rng.random()
        try:
            sized = fit(space, space.draw(rng), max(budget.low, CLOSE * target), target)
        except ValueError:
            continue
        if sized is not None:
            drawn.setdefault(sized.config.arch_id, Drawn(sized.config, sized.params, sized.width))
    return drawn


def train(args: argparse.Namespace, space: SearchSpace, recipe: Recipe) -> tuple[dict[str, Drawn], list[TaskRecord]]:
    networks = draw(space, parse_budget(args.budget), args.networks, args.seed)
    tasks = [Task(f"short-{name}-{args.seed}", one.config, args.seed, args.points) for name, one in networks.items()]
    for seed in range(args.seed + 1, args.seed + 1 + JUDGE_SEEDS):
        tasks += [
            Task(f"long-{name}-{seed}", one.config, seed, args.judge_points)
            for name, one in [*networks.items()][: args.judge]
        ]

    def on_done(task: Task, record: TaskRecord) -> None:
        print(task.key, record.outcome, record.top1, record.train_seconds, flush=True)

    records = run_tasks(
        tasks,
        data=args.data,
        data_dir=args.data_dir,
        data_seed=args.seed,
        recipe=recipe,
        workers=args.workers,
        path=args.to / TRAININGS,
        identity={"space": space.digest, "data": args.data, "recipe": recipe.as_dict(), "seed": args.seed},
        on_done=on_done,
        make_trainer=calibration_trainer,
    )
    return networks, list(records.values())


def earlier(folder: Path, space: SearchSpace) -> tuple[dict[str, Drawn], list[TaskRecord]]:
    """Networks by the arch_id they were trained as, and their trainings."""
    if (folder / CALIBRATION).exists():
        calibration = CalibrationFile.read(folder / CALIBRATION)
        assert calibration is not None
        ranked = [one for group in calibration.groups.values() for one in group.networks]
        networks = {one.arch_id: Drawn(living(one.config), {}, None) for one in ranked}
        return networks, list(read_trainings(folder / TRAININGS)[1].values())
    networks, records = {}, []
    for line in (folder / "table.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        arch_id, seed, curve = row["arch_id"], row["seed"], tuple(map(EpochLog.from_dict, row["curve"]))
        networks[arch_id] = Drawn(living_network(space, row["params"], row["width"]), row["params"], row["width"])
        done = {"top1": row["top1"], "curve": curve, "train_seconds": row["train_seconds"]}
        records.append(TaskRecord(f"short-{arch_id}-{seed}", arch_id, seed, **done))
    return networks, records


def living_network(space: SearchSpace, params: Mapping[str, Value], width: float) -> MobileFormerConfig:
    """The living network of params. DyReLUs that would read tokens which no image reaches have learned slopes."""
    try:
        return space.resolve(params, width)
    except ValueError:
        config = space.resolve({**params, "dyrelu.source": "none"}, width)
        names = [field.name for field in dataclasses.fields(DyReLUConfig) if f"dyrelu.{field.name}" in params]
        read: dict[str, Any] = {name: params[f"dyrelu.{name}"] for name in names} | {"source": "static"}
        return dataclasses.replace(config, dyrelu=dataclasses.replace(config.dyrelu, **read))


def table_rows(networks: Mapping[str, Drawn], records: list[TaskRecord], images: ImageData) -> list[TableRow]:
    """A row for each living network that was trained short."""
    on_cpu = DeviceData(images, torch.device("cpu"))
    batch_BCHW = on_cpu.normalized(on_cpu.train_images[:SCORE_IMAGES])
    short: dict[str, list[TaskRecord]] = {}
    long: dict[str, list[TaskRecord]] = {}
    for record in records:
        if record.outcome == "trained":
            of_key = long if record.key.startswith("long-") else short
            of_key.setdefault(networks[record.arch_id].config.arch_id, []).append(record)
        else:
            print(f"{record.key} is left out: {record.reason}", file=sys.stderr)
    rows = []
    for arch_id, trained in short.items():
        drawn, costs = networks[trained[0].arch_id], count_costs(networks[trained[0].arch_id].config)
        scores = trained[0].zero_cost
        if trained[0].arch_id != arch_id or not scores:
            deployed = dataclasses.replace(drawn.config, classes=len(images.classes))
            scores = score_all(deployed, batch_BCHW, trained[0].seed)
        rows.append(
            TableRow(
                arch_id=arch_id,
                params=drawn.params,
                width=drawn.width,
                config=drawn.config,
                madds=costs.madds,
                macs=costs.macs,
                num_params=costs.num_params,
                activation_bytes=costs.activation_bytes,
                parts=costs.by_part(),
                zero_cost={name: one.score for name, one in scores.items() if one.score is not None},
                trainings=tuple(map(_training, trained)),
                judged=tuple(map(_training, long.get(arch_id, ()))),
            )
        )
    return rows


def _training(record: TaskRecord) -> TableTraining:
    return TableTraining(record.seed, record.curve, round(record.train_seconds or 0.0, 2))


def noise_statement(rows: list[TableRow], data: DataFacts) -> str:
    """What a difference between two rows is worth, as far as the table's own trainings say."""
    top1 = statistics.fmean(row.trainings[0].curve[-1].top1 for row in rows)
    error = 100 * (top1 * (1 - top1) / data.val_images) ** 0.5
    said = [f"top1 on {data.val_images} images has a sampling error of {error:.1f} points."]
    judged = [row for row in rows if row.judged]
    pairs = {
        "short": [_same_length(row.trainings[0], row.judged[0]) for row in judged],
        "longer": [_same_length(*row.judged[:2]) for row in judged if len(row.judged) > 1],
    }
    for length, both in pairs.items():
        known = [pair for pair in both if pair is not None]
        if len(known) > 3:
            a, b = zip(*known, strict=True)
            noise, tau = retest_noise(a, b), kendall_tau(a, b)
            said.append(
                f"Two seeds of the {length} training rank {len(known)} networks with a tau of {tau:.2f}; the standard "
                f"deviation over seeds is {noise:.3f} of the validation loss, that between networks "
                f"{max(0.0, statistics.variance(a) - noise**2) ** 0.5:.3f}."
            )
    return " ".join(said)


def _same_length(one: TableTraining, other: TableTraining) -> tuple[float, float] | None:
    """The validation losses of both at the last point of the first; None if the second was not read there."""
    end = one.curve[-1]
    return next(((end.val_loss, log.val_loss) for log in other.curve if abs(log.epoch - end.epoch) < 1e-6), None)


def write_table(folder: Path, table: Table) -> None:
    rows = [dataclasses.asdict(row) | {"config": row.config.to_dict()} for row in table.rows]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NETWORKS).write_bytes(content)
    facts = dataclasses.asdict(dataclasses.replace(table, rows=(), sha256=hashlib.sha256(content).hexdigest()))
    del facts["rows"]
    write_json(folder / TABLE, facts)


def frozen_split(rows: list[TableRow], seed: int) -> TableSplit:
    """Every third network of the table, shuffled, is for tests; the same networks and seed give the same split."""
    arch_ids = sorted(row.arch_id for row in rows)
    random.Random(f"{seed}:split").shuffle(arch_ids)
    return TableSplit(tuple(one for k, one in enumerate(arch_ids) if k % TEST), tuple(arch_ids[::TEST]))


def _points(text: str) -> tuple[float, ...]:
    return tuple(float(point) for point in text.split(","))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MFSEARCH_DATA"))
    parser.add_argument("--budget", required=True, help="30M is 25.5M to 30M; 85M..100M gives both ends")
    parser.add_argument("--space", default="mobile_former")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--points", type=_points, default=(0.05, 0.1, 0.3), help="passes, the last ends a training")
    parser.add_argument("--judge", type=int, default=0, help="networks that are trained longer, with two seeds")
    parser.add_argument("--judge-points", type=_points, default=(0.1, 0.3, 1.0))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="source", type=Path, help="folder of an earlier table or a calibration")
    parser.add_argument("--note", default="", help="added to the table's statement of noise")
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--to", type=Path, required=True, help="folder of the table; its name is the table's")
    args = parser.parse_args()
    space, recipe = find_space(args.space), default_recipe(args.data)
    if args.source is None:
        recipe = dataclasses.replace(recipe, epochs=args.points[-1])
        networks, records = train(args, space, recipe)
    else:
        networks, records = earlier(args.source, space)
        ends = {round(one.curve[-1].epoch, 1) for one in records if one.key.startswith("short-") and one.curve}
        recipe = dataclasses.replace(recipe, epochs=ends.pop())
    images = recipe.load_images(args.data, data_dir=args.data_dir, seed=args.seed)
    rows, data = table_rows(networks, records, images), DataFacts(**images.facts())
    table = Table(
        schema=SCHEMA,
        name=args.to.name,
        version=args.version,
        created=now(),
        sha256="",
        space=NamedSpace(space.name, space.digest),
        resolution=space.resolution,
        classes=space.classes,
        data=data,
        recipe=recipe,
        budget=parse_budget(args.budget),
        seed=args.seed,
        noise=f"{noise_statement(rows, data)} {args.note}".strip(),
        split=frozen_split(rows, args.seed),
        versions=versions(),
        rows=tuple(rows),
    )
    write_table(args.to, table)
    print(f"{args.to}: {len(rows)} networks; {table.noise}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
