"""Networks of a study beside a published one: the same multiply-adds, less time, and what accuracy?

    python benchmarks/less_time.py STUDY [--against mf-151m] [--top 3] [--seeds 3] --data-dir DIR --to DIR [--json]

The study is one with a latency limit (docs/LOG.md has the command). Its best networks by validation loss within the
limit and the published one are trained by the study's own short training with seeds that the search did not use, so
that no network is judged by the draw that chose it. Latencies are those of `mfsearch latency`, taken one after the
other in this run. The same command again goes on.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from mfsearch.analysis.knobs.twin_pairs import paired_effect
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.cost.meter import LatencyMeter
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.model import MobileFormer
from mfsearch.presets import preset
from mfsearch.proxy.recipe import Recipe
from mfsearch.search.trainings import Task, run_tasks
from mfsearch.search.twin_networks import top1_by_seed
from mfsearch.study.configs import find_config
from mfsearch.study.ledger import read_trials
from mfsearch.study.task_file import TRAININGS


def chosen(study: Path, limit_ms: float, top: int) -> dict[str, MobileFormerConfig]:
    """The best networks of a study by the last validation loss of its short training, by trial."""
    rows = [row for row in read_trials(study) if row.get("outcome") == "trained" and row["latency_ms"] <= limit_ms]
    rows.sort(key=lambda row: float(row["curve"][-1]["val_loss"]))
    return {f"trial {row['number']}": find_config(f"{study}:{row['number']}", study.parent) for row in rows[:top]}


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
    settings: dict[str, Any] = json.loads((args.study / "manifest.json").read_text(encoding="utf-8"))
    configs = {args.against: preset(args.against)} | chosen(args.study, settings["latency_limit_ms"], args.top)
    recipe = Recipe(**settings["recipe"])
    seeds = range(settings["seed"] + 1, settings["seed"] + 1 + args.seeds)
    args.to.mkdir(parents=True, exist_ok=True)
    records = run_tasks(
        [Task(f"{config.arch_id}-{seed}", config, seed) for seed in seeds for config in configs.values()],
        data=settings["data"]["name"],
        data_dir=args.data_dir,
        recipe=recipe,
        workers=1,
        path=args.to / TRAININGS,
        identity={"data": settings["data"]["digest"], "recipe": recipe.as_dict()},
        on_done=lambda task, record: print(task.key, record.top1, file=sys.stderr, flush=True),
        data_seed=settings["seed"],
    )
    meter = LatencyMeter.open()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, config in configs.items():
            export_onnx(MobileFormer(config), config.resolution, Path(folder) / "net.onnx")
            found = meter.measure(Path(folder) / "net.onnx")
            top1 = top1_by_seed(config, seeds, records)
            rows.append((name, config, found, top1))
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
