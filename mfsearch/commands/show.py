"""Show the front of a study and what became of its trials."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mfsearch.commands import options

if TYPE_CHECKING:
    from mfsearch.analysis.front.confidence import Confidence
    from mfsearch.study.study import Study
    from mfsearch.study.trial import Trial


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", help="name or folder (default: the newest)")
    parser.add_argument("--all", action="store_true", help="list every trial, not only the front")
    options.add_results(parser)


def run(args: argparse.Namespace) -> int:
    """Print the front of a study, or all its trials."""
    from mfsearch.analysis.front.confidence import confidence
    from mfsearch.commands.display import next_steps, print_front
    from mfsearch.study.files import find_study, list_studies
    from mfsearch.study.study import Study

    name = args.study
    if name is None:
        known = list_studies(args.results)
        if not known:
            raise ValueError(f"there is no study under {args.results}; `mfsearch run` makes one")
        name = known[0]
    study = Study.open(find_study(name, args.results))
    sure = confidence(study.trials, study.objectives, study.manifest.data.val_images) if args.all else {}
    options.tell_strange(study)
    if args.json:
        rows = [
            trial.to_row() | (sure[trial.number].to_dict() if trial.number in sure else {}) for trial in study.trials
        ]
        print(json.dumps(summary_of(study) | ({"trials": rows} if args.all else {}), indent=1))
        return 0
    if args.all:
        _print_trials(study.trials, sure)
        print()
    print_front(study)
    print(*next_steps(study, args.results), sep="\n")
    return 0


def _print_trials(trials: "Sequence[Trial]", sure: "Mapping[int, Confidence]") -> None:
    from mfsearch.analysis.front.confidence import shown_training
    from mfsearch.commands.display import top1_percent

    longer = any(trial.rung or trial.epochs == 0 for trial in trials)
    lengths = {trial.number: shown_training(trial) for trial in trials if longer and trial.outcome == "trained"}
    column = 2 + max([12, *map(len, lengths.values())]) if longer else 0
    width, trained = 13, "trained".ljust(column) if longer else ""
    print(f"{'trial':>5} {'outcome':<9}{'top1 %':>{width}}{'madds M':>9}{'ms':>8}  {trained}origin / reason")
    for trial in trials:
        ms = f"{trial.latency_ms:.2f}" if trial.latency_ms is not None else ""
        trained = lengths.get(trial.number, "").ljust(column)
        error = sure[trial.number].top1_error if trial.number in sure else None
        words = trial.origin + (f": {trial.reason}" if trial.reason else "")
        facts = f"{trial.number:>5} {trial.outcome:<9}{top1_percent(trial, error):>{width}}"
        print(f"{facts}{trial.metric('madds') / 1e6:>9.1f}{ms:>8}  {trained}{words}")


def summary_of(study: "Study") -> dict[str, Any]:
    """A study as plain data: counts by outcome, the front without its curves and how sure it is, the manifest."""
    from mfsearch.analysis.front.compare import lineage
    from mfsearch.analysis.front.confidence import confidence, marks, training_noise
    from mfsearch.study.files import without_password

    trials, manifest = study.trials, study.manifest
    front, images, noise = study.front(), manifest.data.val_images, training_noise(trials)
    sure = {number: one.to_dict() for number, one in confidence(trials, study.objectives, images).items()}
    marked = {number: {"mark": mark} for number, mark in marks(front, noise, images).items() if mark}
    trained = [trial for trial in trials if trial.outcome == "trained"]
    rows = [trial.to_row() | sure.get(trial.number, {}) | marked.get(trial.number, {}) for trial in front]
    if (facts := manifest.parent) is not None:
        rows = [row | {"lineage": lineage(facts, study.parent, trial)} for row, trial in zip(rows, front, strict=True)]
    for row in rows:
        for training in (row, *row.get("stages", ())):
            training.pop("curve", None)
    return {
        "study": study.name,
        "folder": str(study.folder),
        **{outcome: study.count(outcome) for outcome in ("trained", "rejected", "failed")},
        "stopped_half_way": study.count("stopped"),
        "trained_longer": sum(trial.rung > 0 for trial in trials),
        "duplicates": len(trials) - len({trial.arch_id for trial in trials}),
        "trained_outside_budget": sum(
            not (manifest.budget.holds(trial.madds or 0) and manifest.cost_limits.hold(trial)) for trial in trained
        ),
        "top1_noise": {rung: each._asdict() for rung, each in noise.items()} or None,
        "parent": None if study.parent is None else study.parent.network.to_dict(),
        "front": rows,
        "manifest": manifest.to_dict() | {"storage": without_password(manifest.storage or "") or None},
    }
