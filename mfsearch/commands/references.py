"""List the published systems to compare with, and measure them on this machine."""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfsearch.commands import options
from mfsearch.references import PUBLISHED, find_references
from mfsearch.study.settings import Settings
from mfsearch.units import counted, format_seconds

if TYPE_CHECKING:
    from mfsearch.analysis.latency.reference_figures import ReferenceFigures
    from mfsearch.references import Reference
    from mfsearch.search.trainings import Task
    from mfsearch.study.task_file import TaskRecord

    Trained = Mapping[str, TaskRecord]

FOOT = """
? not verified: quoted from memory, not read in the system's own release or a paper. top1 on ImageNet-1k, as published.
built: exact costs in M of the network as built here, re-parameterised ones fused. madds is all that fvcore counts,
  BatchNorm, LayerNorm and pooling too. Many papers count products alone; the note says where that explains over 3 %.
timm: its tables' GMACs. ms: measured on this machine at that size, batch 1, one thread, with the 95 % interval."""
TRAINED = """trained here: top1 of the short training, with the same images, seed and recipe for all, none of its own.
  A short training favours some families: what converges fast leads, attention without convolutions trails."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="networks or families (default: all)")
    parser.add_argument("--measure", action="store_true", help="measure those not yet measured on this machine")
    parser.add_argument("--again", action="store_true", help="with --measure: measure all of them")
    parser.add_argument("--resolution", type=options.whole, help="image side in pixels for all (default: as published)")
    text = "give each the short training of a study on --data, or on the images of --study, and print its top1"
    parser.add_argument("--train", action="store_true", help=text)
    text = "with --train: images, recipe and seed of this study, so that its networks and these compare"
    parser.add_argument("--figure", type=Path, help="page to write: published accuracy against milliseconds here")
    parser.add_argument("--study", metavar="STUDY", help=text)
    options.add_results(parser)
    options.add_data(parser, f"with --train: {options.DATA}")
    options.add_training(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was published, unverified figures marked, with exact costs and what was measured here."""
    from mfsearch.analysis.latency.kept_latency import passport_text
    from mfsearch.analysis.latency.reference_figures import reference_figures

    chosen = find_references(args.names)
    if args.figure is not None and (args.figure.is_dir() or not args.figure.parent.is_dir()):
        raise ValueError(f"--figure must be a file in a folder that is there, got {args.figure}")
    if args.again and not args.measure:
        raise ValueError("--again is for --measure, which is not given")
    trained = _train(args, chosen) if args.train or args.study or args.data else None
    if args.measure:
        import torch

        torch.set_num_threads(1)
    if not args.json:
        width = max(len(row.name) for row in PUBLISHED)
        head = f"{'network':<{width}}{'params (M)':>12}{'madds (M)':>11}{'top1 (%)':>10}"
        here = "" if trained is None else f"{'trained here (%)':>18}"
        print(f"{head}{'px':>5}{'built: params, madds':>22}{'timm':>6}{'ms':>8}{'interval':>18}{here}  note")
    figures = []
    settings = {"measure": args.measure, "again": args.again, "resolution": args.resolution}
    for each in reference_figures(chosen, args.results, cache_dir=args.cache_dir, **settings):
        figures.append(each)
        if not args.json:
            print(_line(each, width, trained), flush=True)
    if args.json:
        print(json.dumps([_dict(each, trained) for each in figures], indent=1))
    else:
        print(FOOT if trained is None else f"{FOOT}\n{TRAINED}")
        for device in dict.fromkeys(passport_text(each.latency.passport) for each in figures if each.latency):
            print(f"device: {device}")
    if args.figure is not None:
        _write_figure(args.figure, figures)
    return int(any(each.failure for each in figures))


def _write_figure(path: Path, figures: "Sequence[ReferenceFigures]") -> None:
    """Published accuracy against the milliseconds of those that were measured at their own size."""
    from mfsearch.analysis.figures.style import write_figure
    from mfsearch.analysis.figures.tradeoff import draw_published, measured_marks

    marks = measured_marks([each.latency for each in figures if each.latency is not None])
    if not marks:
        raise ValueError("--figure needs networks measured on this machine at their own size: --measure does that")
    write_figure(draw_published(marks, "latency_ms"), path)
    print(f"figure    {path}", file=sys.stderr)


def _train(args: argparse.Namespace, chosen: "Sequence[Reference]") -> "Trained":
    """Train the chosen networks that are not yet trained so, a line for each."""
    from mfsearch.data.load import find_source
    from mfsearch.proxy.short_train import TrainingError
    from mfsearch.references.libraries import check_libraries
    from mfsearch.search.estimate import trainings_seconds
    from mfsearch.search.reference_trainings import reference_tasks, train_references
    from mfsearch.study.files import find_study
    from mfsearch.study.manifest import Manifest
    from mfsearch.study.task_file import read_trainings
    from mfsearch.study.trained_references import shared_settings, trainings_path

    if not args.train:
        raise ValueError(f"--{'study' if args.study else 'data'} is for --train, which is not given")
    if (args.study is None) == (args.data is None):
        raise ValueError("--train needs --data, or --study for the images and recipe of a study")
    own = ("seed", "device", "proxy_resolution", "epochs", "samples", "batch", "optimizer", "lr")
    usual = {"seed": Settings.seed, "device": Settings.device}
    given = [name for name in own if getattr(args, name) != usual.get(name)]
    if args.study is not None and given:
        raise ValueError(f"--{given[0].replace('_', '-')} goes without --study, which has its own")
    if any(each.built_elsewhere for each in chosen):
        check_libraries("training these networks", "references")
    recipe, seed, device = options.recipe_of(args), args.seed, args.device
    data, data_dir, skip = args.data, args.data_dir or args.data_home, args.skip_damaged
    if args.study is not None:
        manifest = Manifest.read(find_study(args.study, args.results))
        recipe, seed, device = manifest.recipe, manifest.seed, manifest.device
        request = manifest.request
        data, skip = (manifest.data.name, skip) if request is None else (request.data, request.skip_damaged)
        data_dir = data_dir or (None if request is None or request.data_dir is None else Path(request.data_dir))
    options.begin("references", f"training on {data}", data)
    images = recipe.load_images(data, data_dir=data_dir, seed=seed, download=args.download, skip_damaged=skip)
    options.note("")
    shared = shared_settings(images.facts(), recipe, seed, device)
    if args.study is not None and images.digest != manifest.data.digest:
        raise ValueError(f"the images of {data} are no longer those of study {manifest.study!r}")
    del images
    tasks = reference_tasks(chosen, seed)
    path = trainings_path(args.results, shared)
    kept = read_trainings(path)[1] if path.exists() else {}
    left = [task for task in tasks.values() if task.key not in kept or kept[task.key].retry]
    lines = None
    if left and not args.json:
        source = find_source(data, data_dir, args.download)
        work = [(task.config, recipe.epochs) for task in left]
        seconds = 0.0  # where the network that would be measured cannot take these images
        with contextlib.suppress(TrainingError):
            seconds = trainings_seconds(work, recipe, source, device=device, workers=args.workers)
        lines = _ReferenceLines(len(left), options.TimeLeft(seconds, len(left)))
    try:
        return train_references(
            *(tasks, args.results, shared),
            data=data,
            data_dir=data_dir,
            recipe=recipe,
            workers=args.workers,
            device=device,
            on_done=None if lines is None else lines.done,
            on_tick=lambda: None if lines is None else lines.tick(),
        )
    except KeyboardInterrupt:
        print(f"\n{path.parent}: every finished training is kept; the same command resumes", file=sys.stderr)
        raise


class _ReferenceLines:
    """A line for each training that is finished."""

    def __init__(self, count: int, left: options.TimeLeft) -> None:
        self.count, self.ended, self.left = count, 0, left
        about = f", about {format_seconds(left.seconds)}" if left.seconds else ""
        print(f"{counted(count, 'training')}{about}", flush=True)

    def done(self, task: "Task", record: "TaskRecord") -> None:
        self.ended += 1
        self.left.done(1)
        options.note("")
        words = f"failed: {record.reason:.200}" if record.top1 is None else f"top1 {record.top1:6.2%}"
        print(f"{self.ended:>4} of {self.count}  {task.key:<40} {words}  {self.left.text()}", flush=True)

    def tick(self) -> None:
        options.note(f"training, {self.ended} of {self.count} done, {self.left.text()}")


def _dict(figures: "ReferenceFigures", trained: "Trained | None") -> dict[str, object]:
    built = None if figures.counts is None else {"preset": figures.reference.preset} | figures.counts._asdict()
    measured = None if figures.latency is None else figures.latency._asdict()
    row = figures.reference._asdict() | {"resolution": figures.resolution, "built": built, "measured": measured}
    record = None if trained is None else trained.get(figures.reference.name)
    here = {} if trained is None else {"trained": None if record is None else record.to_dict()}
    return row | {"note": figures.note, "failure": figures.failure} | here


def _line(figures: "ReferenceFigures", width: int, trained: "Trained | None") -> str:
    reference, counts, latency = figures.reference, figures.counts, figures.latency

    def marked(text: str, verified: bool) -> str:
        return text + (" " if verified else "?")

    params = "" if reference.num_params is None else f"{reference.num_params / 1e6:.1f}"
    side = "" if figures.resolution is None else str(figures.resolution)
    line = f"{reference.name:<{width}}{marked(params, reference.verified_params or not params):>12}"
    line += f"{marked(f'{reference.madds / 1e6:.0f}', reference.verified_madds):>11}"
    line += f"{marked(f'{100 * reference.top1:.1f}', reference.verified_top1):>10}{side:>5}"
    line += f"{'' if counts is None else f'{counts.num_params / 1e6:.3f}, {counts.madds / 1e6:.2f}':>22}"
    line += f"{'' if counts is None or counts.timm_gmacs is None else f'{counts.timm_gmacs:.2f}':>6}"
    if latency is None or latency.latency_low_ms is None:
        line = f"{line:<{width + 92}}"
    else:
        line += f"{latency.latency_ms:>8.2f}{f'{latency.latency_low_ms:.2f} .. {latency.latency_high_ms:.2f}':>18}"
    if trained is not None:
        record = trained.get(reference.name)
        line += f"{'' if record is None else 'failed' if record.top1 is None else f'{100 * record.top1:.1f}':>18}"
        if record is not None and record.top1 is None:
            line += f"  {(record.reason or '').partition(chr(10))[0]:.100}"
    return f"{line}  {figures.note}".rstrip()
