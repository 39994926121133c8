"""Show the front of a study and what became of its trials."""

import argparse
import json
from pathlib import Path
from typing import Any

from mfsearch.commands import options
from mfsearch.units import Budget


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", help="name or folder (default: the newest)")
    parser.add_argument("--all", action="store_true", help="list every trial, not only the front")
    options.add_results(parser)


def run(args: argparse.Namespace) -> int:
    """Print the front of a study, or all its trials."""
    from mfsearch.analysis.front.confidence import shown_training
    from mfsearch.commands.display import print_front, top1_percent
    from mfsearch.study.ledger import find_study, list_studies, read_manifest, read_trials

    name = args.study
    if name is None:
        known = list_studies(args.results)
        if not known:
            raise ValueError(f"there is no study under {args.results}; `mfsearch run` makes one")
        name = known[0]
    folder = find_study(name, args.results)
    manifest, rows = read_manifest(folder), read_trials(folder)
    if args.json:
        summary = summary_of(manifest, rows, folder)
        sure = _confidence_by_number(rows, manifest["objectives"]) if args.all else {}
        trials = {"trials": [row | sure.get(row["number"], {}) for row in rows]} if args.all else {}
        print(json.dumps(summary | trials, indent=1))
        return 0
    if args.all:
        longer = any("rung" in row for row in rows)
        width, trained = (13, f"{'trained':<14}") if longer else (8, "")
        print(f"{'trial':>5} {'outcome':<9}{'top1 %':>{width}}{'madds M':>9}{'ms':>8}  {trained}origin / reason")
        for row in rows:
            ms = f"{row['latency_ms']:.2f}" if row.get("latency_ms") is not None else ""
            if longer:
                trained = f"{shown_training(row) if row['outcome'] == 'trained' else '':<14}"
            words = row["origin"] + (f": {row['reason']}" if row.get("reason") else "")
            facts = (
                f"{row['number']:>5} {row['outcome']:<9}{top1_percent(row):>{width}}{row['madds'] / 1e6:>9.1f}{ms:>8}"
            )
            print(f"{facts}  {trained}{words}")
        print()
    print_front(rows, manifest, folder)
    return 0


def summary_of(manifest: dict[str, Any], rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """A study as plain data: counts by outcome, the front without its curves and how sure it is, the manifest."""
    from mfsearch.analysis.front.confidence import training_noise
    from mfsearch.search.front import front_numbers
    from mfsearch.search.settings import without_password

    front = front_numbers(rows, manifest["objectives"])
    by_number = {row["number"]: row for row in rows}
    counts = {name: sum(row["outcome"] == name for row in rows) for name in ("trained", "rejected", "failed")}
    duplicates = len(rows) - len({row["arch_id"] for row in rows})
    budget = Budget(**manifest["budget"])
    sure = _confidence_by_number(rows, manifest["objectives"])
    noise = {rung: each._asdict() for rung, each in training_noise(rows).items()}
    return {
        "study": manifest["study"],
        "folder": str(folder),
        **counts,
        "stopped_half_way": sum(row["outcome"] == "stopped" for row in rows),
        "trained_longer": sum("rung" in row for row in rows),
        "duplicates": duplicates,
        "trained_outside_budget": sum(row["outcome"] == "trained" and not budget.holds(row["madds"]) for row in rows),
        "top1_noise": noise or None,
        "front": [_without_curves(by_number[number]) | sure.get(number, {}) for number in front],
        "manifest": manifest | {"storage": without_password(manifest.get("storage") or "") or None},
    }


def _confidence_by_number(rows: list[dict[str, Any]], objectives: list[str]) -> dict[int, dict[str, Any]]:
    from mfsearch.analysis.front.confidence import confidence

    return {number: sure._asdict() for number, sure in confidence(rows, objectives).items()}


def _without_curves(row: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in row.items() if key != "curve"}
    if "stages" in row:
        plain["stages"] = [{key: value for key, value in stage.items() if key != "curve"} for stage in row["stages"]]
    return plain
