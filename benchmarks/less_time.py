"""Networks of a study beside a published one: the same multiply-adds, less time, and what accuracy?

    python benchmarks/less_time.py STUDY [--against mf-151m] [--top 3] [--seeds 3] --data-dir DIR --to DIR [--json]

The study is one with a latency limit (docs/LOG.md has the command). Its best networks by validation loss within the
limit and the published one are trained by the study's own short training with seeds that the search did not use, so
that no network is judged by the draw that chose it. Latencies are those of `mfsearch latency`, taken one after the
other in this run. The same command again goes on.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch

from mfsearch.analysis.knobs.twin_pairs import paired_effect
from mfsearch.cost.madds import count_madds
from mfsearch.cost.meter import LatencyMeter
from mfsearch.presets import preset
from mfsearch.search.evaluator import measure_in_full
from mfsearch.search.trainings import Task, run_tasks
from mfsearch.search.twin_networks import top1_by_seed
from mfsearch.study.study import Study
from mfsearch.study.task_file import TRAININGS
from mfsearch.study.trial import Trial


def best(study: Study, top: int) -> list[Trial]:
    """The best networks of a study within its latency limit by the last validation loss of the short training."""
    limit_ms = study.manifest.latency_limit_ms or math.inf
    inside = [trial for trial in study.trials if trial.outcome == "trained" and trial.metric("latency_ms") <= limit_ms]
    return sorted(inside, key=lambda trial: trial.short.curve[-1].val_loss if trial.short else math.inf)[:top]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--against", default="mf-151m")
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--to", type=Path, required=True, help="folder of trainings.jsonl")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study.open(args.study)
    manifest, recipe = study.manifest, study.manifest.recipe
    configs = {args.against: preset(args.against)}
    configs |= {f"trial {trial.number}": trial.config for trial in best(study, args.top)}
    seeds = range(manifest.seed + 1, manifest.seed + 1 + args.seeds)
    args.to.mkdir(parents=True, exist_ok=True)
    records = run_tasks(
        [Task(f"{config.arch_id}-{seed}", config, seed) for seed in seeds for config in configs.values()],
        data=manifest.data.name,
        data_dir=args.data_dir,
        recipe=recipe,
        workers=1,
        path=args.to / TRAININGS,
        identity={"data": manifest.data.digest, "recipe": recipe.as_dict()},
        on_done=lambda task, record: print(task.key, record.top1, file=sys.stderr, flush=True),
        data_seed=manifest.seed,
    )
    meter = LatencyMeter.open()
    rows = [
        (name, config, measure_in_full(config, meter, 0), top1_by_seed(config, seeds, records))
        for name, config in configs.items()
    ]
    base_ms, base_top1 = rows[0][2].latency_ms, rows[0][3]
    shown = []
    for name, config, found, top1 in rows:
        effect = paired_effect(base_top1, top1)
        shown.append(
            {
                "network": name,
                "arch_id": config.arch_id,
                "madds": count_madds(config),
                "latency_ms": found.latency_ms,
                "of_its_time": found.latency_ms / base_ms,
                "disturbed": found.disturbed,
                "top1": list(top1.values()),
                "difference": None if name == args.against else effect._asdict(),
            }
        )
    if args.json:
        print(json.dumps({"passport": meter.passport.as_dict(), "rows": shown}, indent=1))
        return 0
    print(f"{'network':<12}{'madds (M)':>10}{'ms':>7}{'of its time':>13}  top1 (%) by seed, mean; difference (points)")
    for row in shown:
        percents = " ".join(f"{100 * one:.1f}" for one in row["top1"])
        mean = 100 * sum(row["top1"]) / len(row["top1"])
        line = f"{row['network']:<12}{row['madds'] / 1e6:>10.1f}{row['latency_ms']:>7.2f}{row['of_its_time']:>13.2f}"
        effect = row["difference"]
        shown_effect = (
            ""
            if effect is None
            else "; {mean:+.1f} [{low:+.1f}, {high:+.1f}]".format(
                **{name: 100 * value for name, value in effect.items() if name in ("mean", "low", "high")}
            )
        )
        print(f"{line}  {percents}, {mean:.1f}{shown_effect}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
