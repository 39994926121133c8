"""Measure how far the short training's ranking can be trusted here."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mfsearch.analysis.ranking.readings import TARGETS
from mfsearch.commands import options
from mfsearch.study.settings import Calibration
from mfsearch.units import counted, format_madds, format_seconds, parse_budget

if TYPE_CHECKING:
    from mfsearch.search.trainings import Task
    from mfsearch.study.calibration_file import CalibrationFile, GroupFigures, ProxyFigures, TauGain
    from mfsearch.study.task_file import TaskRecord


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_budget(parser)
    options.add_parent(parser)
    options.add_data(parser, options.DATA, required=True)
    groups = "networks in each group: within 10 %% of the budget, and spread below it"
    options.add_default(parser, "--networks", Calibration.networks, groups)
    options.add_default(parser, "--long", Calibration.long, "length of a long training, in short ones")
    options.add_default(parser, "--seeds", Calibration.seeds, "long trainings of one network, for the noise")
    options.add_default(parser, "--target", TARGETS["band"], "Kendall's tau wanted near the budget")
    options.add_default(parser, "--target-across", TARGETS["across"], "Kendall's tau wanted across budgets")
    parser.add_argument("--name", help="folder under RESULTS/calibrations (default: made from the settings)")
    options.add_results(parser)
    options.add_training(parser)
    options.add_deployment(parser, "space", "data")


def run(args: argparse.Namespace) -> int:
    """Train networks short and long, write calibration.json and print how well each proxy ranks them."""
    options.begin("calibrate", args.data, args.data)
    from mfsearch.analysis.ranking.verdict import calibration_figures
    from mfsearch.data.load import count_classes
    from mfsearch.search.calibration import calibration_folder, run_calibration
    from mfsearch.study.calibration_file import CALIBRATION
    from mfsearch.study.files import write_json
    from mfsearch.study.task_file import TRAININGS, read_trainings

    space, parent = options.space_and_parent(args)
    settings = Calibration(
        budget=parse_budget(args.budget),
        space=space,
        data=args.data,
        recipe=options.recipe_of(args),
        networks=args.networks,
        long=args.long,
        seeds=args.seeds,
        seed=args.seed,
        device=args.device,
        data_dir=args.data_dir or args.data_home,
        download=args.download,
        skip_damaged=args.skip_damaged,
        parent=parent,
    )
    targets = {"band": args.target, "across": args.target_across}
    for target in targets.values():
        if not -1 <= target <= 1:
            raise ValueError(f"--target must be a tau from -1 to 1, got {target}")
    folder = calibration_folder(args.results, settings, args.name)
    if args.classes is None:
        kept = read_trainings(folder / TRAININGS)[0] if (folder / TRAININGS).exists() else {}
        classes = kept.get("deployment", {}).get("classes")  # of a calibration begun earlier
        classes = classes or count_classes(settings.data, settings.data_dir, settings.download)
        settings = dataclasses.replace(settings, space=settings.space.deployed(settings.space.resolution, classes))
    progress = _Progress(settings, args.workers, folder / TRAININGS, quiet=args.json)
    try:
        trained = run_calibration(
            settings,
            folder,
            workers=args.workers,
            on_start=progress.began,
            on_done=progress.finished,
            on_tick=progress.tick,
            on_stage=options.note,
        )
    except KeyboardInterrupt:
        print("Interrupted; every finished training is kept; the same command resumes.", file=sys.stderr)
        return 130
    figures = calibration_figures(settings, trained, targets)
    write_json(folder / CALIBRATION, figures.to_dict())
    if args.json:
        print(json.dumps(figures.to_dict(), indent=1))
    else:
        print("\n" + "\n".join(report_lines(figures)) + f"\n\nkept in   {folder / CALIBRATION}")
    return 0


class _Progress:
    """A line a training, with the time left by the pace of this run."""

    def __init__(self, settings: Calibration, workers: int, path: Path, *, quiet: bool) -> None:
        self.settings, self.workers, self.path, self.quiet = settings, workers, path, quiet
        self.done, self.count = 0, 0
        self.left: options.TimeLeft | None = None

    def began(self, tasks: "list[Task]", notes: tuple[str, ...]) -> None:
        from mfsearch.analysis.ranking.agreement import chance_sentence
        from mfsearch.data.load import find_source
        from mfsearch.search.estimate import trainings_seconds
        from mfsearch.study.task_file import read_trainings

        kept = read_trainings(self.path)[1] if self.path.exists() else {}
        left = [task for task in tasks if task.key not in kept]
        self.done, self.count = len(tasks) - len(left), len(tasks)
        epochs = sum(_epochs(task) for task in left)
        if left and not self.quiet:
            settings = self.settings
            seconds = trainings_seconds(
                [(task.config, _epochs(task)) for task in left],
                settings.recipe,
                find_source(settings.data, settings.data_dir, settings.download),
                device=settings.device,
                workers=self.workers,
            )
            self.left = options.TimeLeft(seconds, epochs)
            short = sum(task.key.startswith("short-") for task in tasks)
            again = f"; {self.done} are done" if self.done else ""
            options.note("")
            print(
                f"costs for {settings.space.classes} classes; {counted(short, 'short training')} and "
                f"{counted(len(tasks) - short, 'long one')}, {counted(epochs, 'epoch')} to go, "
                f"about {format_seconds(seconds)}{again}",
                flush=True,
            )
            print(chance_sentence(settings.networks), *notes, sep="\n", flush=True)

    def finished(self, task: "Task", record: "TaskRecord") -> None:
        self.done += 1
        if self.left is None:
            return
        self.left.done(_epochs(task))
        options.note("")
        words = f"failed: {record.reason}"
        if record.top1 is not None:
            words = f"{100 * record.top1:6.2f} %  {format_seconds(record.train_seconds or 0):>8}"
        print(f"{self.done:>4} of {self.count}  {task.key:<24}{words}  {self.left.text()}", flush=True)

    def tick(self) -> None:
        if self.left is not None:
            options.note(f"training, {self.done} of {self.count} done, {self.left.text()}")


def _epochs(task: "Task") -> float:
    assert task.points is not None
    return task.points[-1]


def report_lines(figures: "CalibrationFile") -> list[str]:
    """The calibration as text of at most 100 columns: what was trained, a table for each group of networks."""
    from mfsearch.study.calibration_file import PLACES

    data, noise = figures.identity.data, figures.long_noise
    length = counted(figures.long_epochs, "epoch")
    spread = "unknown, fewer than two seeds of one network were trained"
    if noise is not None:
        spread = f"{100 * noise:.2f} points (one network, {len(figures.noise_seeds)} seeds)"
    lines = [
        f"judged by top1 on {data.val_images} images of {data.name} after {length}, other seed",
        f"seed noise of that: {spread}",
    ]
    lines += [f"left out: {words}" for words in figures.left_out]
    for group, place in PLACES.items():
        lines += ["", *_table(place, figures.groups[group], figures.short_epochs[-1])]
    return [*lines, "", "ceiling: the tau that seed noise allows; *: more than 0 with 95 % confidence"]


def _table(place: str, group: "GroupFigures", epochs: float | None) -> list[str]:
    """epochs: of a whole short training."""
    from mfsearch.analysis.ranking.agreement import chance_sentence
    from mfsearch.study.calibration_file import Reading

    low, high = (format_madds(value) for value in group.madds)
    worst, best = (100 * value for value in group.long_top1)
    lines = [f"{place}: {group.n} networks, {low} to {high} multiply-adds, long top1 {worst:.2f} to {best:.2f} %"]
    lines.append(
        f"{'proxy':<19}{'epochs':>7}{'tau':>6}{'95 % interval':>15}{'ceiling':>9}{'top-5':>7}{'core-s':>8}"
        f"{'over MAdds':>13}{'over params':>13}"
    )
    lines += [_line(row) for row in group.proxies if row.shown]
    if hidden := [row.name for row in group.proxies if not row.shown]:
        lines.append(f"not surely better than MAdds and params here, so not shown: {', '.join(hidden)}")
    ranking = group.figures_of(Reading("val_loss", epochs))  # as `mfsearch run` ranks
    if ranking is not None and (words := ranking.over_madds.words):
        lines.append(f"{ranking.reading.words}: {words} multiply-adds ({ranking.n} networks)")
    return [*lines, _cheapest(group), chance_sentence(group.n)]


def _line(row: "ProxyFigures") -> str:
    from mfsearch.study.calibration_file import COSTS, NAMES

    interval = "" if row.low is None else f"{row.low:.2f} .. {row.high:.2f}"
    gains = ("", "") if row.name in COSTS else (_gain(row.over_madds), _gain(row.over_params))
    return (
        f"{NAMES.get(row.name, row.name):<19}{_number(row.epochs, '.3g'):>7}{_number(row.tau, '.2f'):>6}"
        f"{interval:>15}{_number(row.ceiling, '.2f'):>9}{_number(row.top5_recall, '.2f'):>7}"
        f"{_number(row.core_seconds, '.1f'):>8}{gains[0]:>13}{gains[1]:>13}"
    ).rstrip()


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _gain(found: "TauGain") -> str:
    """The difference of two taus; a star where its interval lies above zero."""
    return "-" if found.gain is None else f"{found.gain:+.2f}" + ("*" if (found.low or 0) > 0 else " ")


def _cheapest(group: "GroupFigures") -> str:
    row = None if group.cheapest is None else group.figures_of(group.cheapest)
    if row is None:
        return f"no proxy reaches tau {group.target:g}"
    sure = "" if row.low is not None and row.low >= group.target else " (interval reaches below)"
    return f"cheapest to reach tau {group.target:g}: {row.reading.words}, {row.core_seconds:.1f} core-s{sure}"
