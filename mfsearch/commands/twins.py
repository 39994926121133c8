"""Measure what each Mobile-Former knob of a network buys, at equal multiply-adds."""

import argparse
import dataclasses
import json
import re
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfsearch.commands import options
from mfsearch.units import counted, format_madds, format_seconds

if TYPE_CHECKING:
    from mfsearch.config import MobileFormerConfig
    from mfsearch.cost.passport import DevicePassport
    from mfsearch.search.trainings import Task
    from mfsearch.study.task_file import TaskRecord
    from mfsearch.study.twins_file import Twin, TwinLatencies, TwinLatency, TwinParent, TwinReport

COLUMNS = 100


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help=options.NETWORK)
    parser.add_argument("--knobs", help="like tokens.count=1+3,bridges,dyrelu.source (default: about twelve twins)")
    add_training_options(parser, "twins")


def add_training_options(parser: argparse.ArgumentParser, kind: str) -> None:
    """Add the options of images, seeds and trainings of a network and its twins, kept in RESULTS/kind."""
    options.add_data(parser, f"{options.DATA} (default: digits)")
    options.add_default(parser, "--seeds", 3, "trainings of each network")
    parser.add_argument("--latency", action="store_true", help="also measure each network in turns with the first")
    parser.add_argument("--name", help=f"folder under RESULTS/{kind} (default: made from network and data)")
    options.add_results(parser)
    options.add_training(parser)
    options.add_deployment(parser, "network")


def run(args: argparse.Namespace) -> int:
    """Train a network and its twins by the same seeds and print the paired differences."""
    options.begin("twins", args.config, args.data)
    from mfsearch.search.twin_networks import MAIN_KNOBS, make_twins
    from mfsearch.study.files import write_json
    from mfsearch.study.twins_file import FOLDER, REPORT

    parent = deployed_network(args)
    knobs = args.knobs or MAIN_KNOBS
    found = make_twins(parent, knobs)
    options.note("")
    if not args.json:
        _print_twins(args.config, parent, found)
    if not any(twin.config for twin in found):
        reasons = "".join(f"\n  {twin.name}: {twin.reason}" for twin in found)
        raise ValueError(f"--knobs {knobs}: {args.config} has no such twin:{reasons}")
    report = train_and_compare(args, parent, found, FOLDER, knobs)
    path = Path(report.folder) / REPORT
    write_json(path, report.to_dict())
    if args.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        print(table(report))
        print(f"\n{meaning(report)}\n\nall values  {path}")
    check_pairs(report)
    return 0


def deployed_network(args: argparse.Namespace) -> "MobileFormerConfig":
    """The network of the command line; checks --seeds and --seed, and puts digits where no --data is given."""
    from mfsearch.study.configs import find_config

    if not 2 <= args.seeds <= 100:
        raise ValueError(f"--seeds must be 2 to 100, as one pair has no interval, got {args.seeds}")
    if not 0 <= args.seed < 2**31 - 100:
        raise ValueError(f"--seed must be 0 to {2**31 - 101}, got {args.seed}")
    if args.data is None:
        print("no --data: training on the embedded digits", file=sys.stderr)
        args.data = "digits"
    return options.deployed(find_config(args.config, args.results), args)


def train_and_compare(
    args: argparse.Namespace, parent: "MobileFormerConfig", found: "Sequence[Twin]", kind: str, knobs: str
) -> "TwinReport":
    """The report on the network and its twins, trained by the same seeds in RESULTS/kind/NAME; resumes there.

    knobs: what was asked for, in words.
    """
    from mfsearch.analysis.knobs.twin_pairs import expected_by_chance
    from mfsearch.search.trainings import run_tasks
    from mfsearch.search.twin_networks import twin_tasks
    from mfsearch.study.files import check_name, versions
    from mfsearch.study.manifest import DataFacts
    from mfsearch.study.task_file import TRAININGS, read_trainings
    from mfsearch.study.twins_file import CONFIDENCE, TwinReport

    built = [twin for twin in found if twin.config is not None]
    recipe = options.recipe_of(args)
    images = recipe.load_images(
        args.data,
        data_dir=args.data_dir or args.data_home,
        seed=args.seed,
        download=args.download,
        skip_damaged=args.skip_damaged,
    )
    if not args.json:
        print(*images.notes, sep="\n", end="\n" if images.notes else "")
    facts = images.facts()
    step = 1 / len(images.val_labels)
    del images  # each worker has its own
    network = Path(args.config).stem if args.config.endswith((".yaml", ".yml", ".json")) else args.config
    words = f"{network}-{Path(args.data).name or 'data'}"
    name = check_name(args.name or re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("._-"))
    folder: Path = args.results / kind / name
    device = args.device.split(":")[0]
    shared = {"data": facts, "recipe": recipe.as_dict(), "seed": args.seed, "device": device}
    seeds = range(args.seed, args.seed + args.seeds)
    try:
        tasks = twin_tasks(parent, built, seeds)
        kept = read_trainings(folder / TRAININGS)[1] if (folder / TRAININGS).exists() else {}
        left = [task for task in tasks if task.key not in kept]
        lines = None
        if left and not args.json:
            lines = _Lines(len(left), options.TimeLeft(seconds_of(args, left), len(left)), parent, built)
        records = run_tasks(
            tasks,
            data=args.data,
            data_dir=args.data_dir or args.data_home,
            recipe=recipe,
            workers=args.workers,
            path=folder / TRAININGS,
            identity={"network": parent.arch_id, **shared},
            on_done=None if lines is None else lines.done,
            on_tick=lines.tick if lines is not None else lambda: None,
            data_seed=args.seed,
            device=args.device,
        )
        latencies = _measure(parent, built, folder, args.cache_dir, quiet=args.json) if args.latency else None
    except KeyboardInterrupt:
        print(f"\n{folder}: every finished training is kept; the same command resumes", file=sys.stderr)
        raise
    network_row, twins = compare(args.config, parent, found, seeds, records, step=step, latencies=latencies)
    return TwinReport(
        folder=str(folder),
        network=parent.arch_id,
        data=DataFacts(**facts),
        recipe=recipe,
        seed=args.seed,
        device=device,
        knobs=knobs,
        parent=network_row,
        seeds=tuple(seeds),
        twins=tuple(twins),
        confidence=CONFIDENCE,
        shown_by_chance=expected_by_chance([twin.effect for twin in twins]),
        versions=versions(),
    )


def seconds_of(args: argparse.Namespace, tasks: "Sequence[Task]") -> float:
    """An estimate of the seconds that the trainings take."""
    from mfsearch.data.load import find_source
    from mfsearch.search.estimate import trainings_seconds

    recipe = options.recipe_of(args)
    source = find_source(args.data, args.data_dir or args.data_home, args.download)
    work = [(task.config, recipe.epochs) for task in tasks]
    return trainings_seconds(work, recipe, source, device=args.device, workers=args.workers)


def check_pairs(report: "TwinReport") -> None:
    """Raise RuntimeError, with the first reason, if no pair could be trained."""
    if not any(twin.effect.pairs for twin in report.twins):
        failures = [
            reason
            for failures in (report.parent.failures, *(twin.failures for twin in report.twins))
            for reason in failures.values()
        ]
        first = next(iter(failures), "none of the seeds has both")
        raise RuntimeError(f"no pair could be trained; the first reason: {first}")


def compare(
    name: str,
    parent: "MobileFormerConfig",
    found: "Sequence[Twin]",
    seeds: Sequence[int],
    records: "Mapping[str, TaskRecord]",
    *,
    step: float,
    latencies: "TwinLatencies | None" = None,
) -> "tuple[TwinParent, list[Twin]]":
    """The network and its twins with their top1 by seed and the effect of twin less network.

    step: one validation image as a fraction.
    """
    from mfsearch.analysis.knobs.twin_pairs import holm, paired_effect
    from mfsearch.cost.madds import count_costs
    from mfsearch.search.twin_networks import failures_by_seed, top1_by_seed
    from mfsearch.study.twins_file import TwinParent

    own = top1_by_seed(parent, seeds, records)
    twins = []
    for twin in found:
        if twin.config is not None:
            top1 = top1_by_seed(twin.config, seeds, records)
            twin = dataclasses.replace(
                twin,
                num_params=count_costs(twin.config).num_params,
                top1=top1,
                failures=failures_by_seed(twin.config, seeds, records),
                latency=None if latencies is None else latencies.twins.get(twin.config.arch_id),
                effect=paired_effect(own, top1, step=step),
            )
        twins.append(twin)
    adjusted = holm([twin.effect.p for twin in twins])
    twins = [dataclasses.replace(twin, p_holm=p) for twin, p in zip(twins, adjusted, strict=True)]
    costs = count_costs(parent)
    network = TwinParent(
        name=name,
        arch_id=parent.arch_id,
        madds=costs.madds,
        num_params=costs.num_params,
        top1=own,
        failures=failures_by_seed(parent, seeds, records),
        config=parent,
        latency_ms=None if latencies is None else latencies.parent_ms,
        passport=None if latencies is None else latencies.passport,
    )
    return network, twins


def table(report: "TwinReport") -> str:
    """One line a twin, at most 100 columns; below them the reasons for what could not be built or compared."""
    parent = report.parent
    timed = any(twin.latency for twin in report.twins)
    head = f"{'knob, from -> to':<38} {'MAdds':>6} {'params':>6}  {'top1, points, 95 %':<24}"
    lines = ["", head + ("ms, 95 %" if timed else "")]
    own = parent.top1.values()
    top1 = f"{100 * sum(own) / len(own):.2f} %" if own else "not trained"
    ms = f"{parent.latency_ms:.2f} ms" if timed else ""
    lines.append(f"{parent.name[:38]:<38} {costs_text(parent)}  {top1:<24}{ms}")
    missing = [f"{parent.name}, seed {seed}: {reason}" for seed, reason in parent.failures.items()]
    for twin in report.twins:
        if twin.config is None:
            missing.append(f"{twin.change}: {twin.reason}")
            continue
        missing += [f"{twin.change}, seed {seed}: {reason}" for seed, reason in twin.failures.items()]
        line = f"{twin.change:<38} {costs_text(twin)}  {effect_text(twin):<24}"
        lines.append(line + ("" if twin.latency is None else _milliseconds(twin.latency)))
    if missing:
        wrapped = [textwrap.fill(line, COLUMNS, initial_indent="  ", subsequent_indent="    ") for line in missing]
        lines += ["", "not compared:", *wrapped]
    return "\n".join(line.rstrip() for line in lines)


def meaning(report: "TwinReport") -> str:
    """The table in sentences: what is shown, what is not, and how much of it chance alone would show."""
    compared = [twin for twin in report.twins if twin.effect.low is not None]
    shown = sorted((twin for twin in compared if twin.effect.shown), key=lambda twin: twin.effect.p or 0.0)
    sentences = []
    for twin in shown:
        points = 100 * (twin.effect.mean or 0.0)
        word = f"{twin.change} {'gains' if points > 0 else 'loses'} {abs(points):.2f} points"
        sentences.append(f"{word}{', also after the correction for all of them' if twin.holds else ''}.")
    if rest := [twin.change for twin in compared if not twin.effect.shown]:
        sentences.append(f"No effect shown (the interval holds 0): {'; '.join(rest)}.")
    count = len(compared)
    sentences.append(
        f"Marked *: the interval leaves out 0, {len(shown)} of {count}; if nothing had any effect, "
        f"{report.shown_by_chance:.1f} would by chance. Marked **: also after Holm's correction for all {count}, "
        f"{sum(twin.holds for twin in compared)}."
    )
    images = report.data.val_images
    sentences.append(
        f"Twin less network, {len(report.seeds)} seeds, the same {images:,} validation images for all (one is "
        f"{100 / images:.2f} points): the intervals hold the spread of training, not that of other images."
    )
    if any(twin.latency and twin.latency.disturbed for twin in report.twins):
        sentences.append("Marked ?: the machine was disturbed while that latency was measured; it may be off by more.")
    return "\n".join(textwrap.fill(sentence, COLUMNS) for sentence in sentences)


def costs_text(row: "Twin | TwinParent") -> str:
    return f"{(row.madds or 0) / 1e6:>6.1f} {(row.num_params or 0) / 1e6:>6.2f}"


def effect_text(twin: "Twin") -> str:
    """The effect in points, "+1.23 -0.35..+2.81", marked where the interval leaves out 0; or why it is not whole."""
    effect = twin.effect
    if effect.mean is None:
        return "no pair"
    mean = f"{100 * effect.mean:+.2f}"
    if effect.low is None or effect.high is None:
        return f"{mean} (one pair)"
    mark = "" if not effect.shown else " **" if twin.holds else " *"
    return f"{mean} {100 * effect.low:+.2f}..{100 * effect.high:+.2f}{mark}"


def _milliseconds(found: "TwinLatency") -> str:
    words = f"{found.difference_ms:+.2f} {found.difference_low_ms:+.2f}..{found.difference_high_ms:+.2f}"
    return words + (" ?" if found.disturbed else "")


def _print_twins(name: str, parent: "MobileFormerConfig", found: "Sequence[Twin]") -> None:
    from mfsearch.cost.madds import count_madds

    madds = count_madds(parent)
    print(f"{name}   arch_id {parent.arch_id}   {format_madds(madds)} multiply-adds at {parent.resolution} px\n")
    print("changed: multiply-adds with the knob alone; twin: with all widths scaled to give them back\n")
    print(f"{'knob':<18} {'from -> to':<25} {'changed':>8} {'width':>6} {'twin':>8} {'off':>7}")
    for twin in found:
        start = f"{twin.knob:<18} {twin.old + ' -> ' + twin.new:<25}"
        changed = "" if twin.madds_changed is None else format_madds(twin.madds_changed)
        if twin.madds is None or twin.width is None:
            print(f"{start} {changed:>8} none: {twin.reason}")
        else:
            off = f"{twin.madds / madds - 1:+.2%}"
            print(f"{start} {changed:>8} {twin.width:>6.3f} {format_madds(twin.madds):>8} {off:>7}")
    print(flush=True)


class _Lines:
    """A line for every training that is finished."""

    def __init__(
        self, count: int, left: options.TimeLeft, parent: "MobileFormerConfig", built: "Sequence[Twin]"
    ) -> None:
        self.names = {twin.config.arch_id: twin.change for twin in built if twin.config}
        self.names[parent.arch_id] = "the network"
        self.count, self.done_now, self.left = count, 0, left
        what = f"{counted(count, 'training')} of {counted(len(self.names), 'network')}"
        print(f"{what}, about {format_seconds(left.seconds)}", flush=True)

    def done(self, task: "Task", record: "TaskRecord") -> None:
        self.done_now += 1
        what = f"failed: {record.reason}" if record.top1 is None else f"top1 {record.top1:6.2%}"
        self.left.done(1)
        options.note("")
        print(
            f"{self.done_now:>4}  seed {task.seed}  {what}  {self.names[task.config.arch_id]}  ({self.left.text()})",
            flush=True,
        )

    def tick(self) -> None:
        options.note(f"training, {self.done_now} of {self.count} done, {self.left.text()}")


def _measure(
    parent: "MobileFormerConfig", built: "Sequence[Twin]", folder: Path, cache_dir: Path | None, *, quiet: bool
) -> "TwinLatencies":
    """Each twin timed in turns with its parent, kept in the folder for this device.

    The turns are A B B A with the parent as the reference, so what slows the machine slows both. The difference is the
    exact interval of the ratio's median times the parent's own milliseconds, whose error scales the difference by a few
    percent and cannot turn its sign.
    """
    import torch

    from mfsearch.cost.meter import LatencyMeter
    from mfsearch.cost.onnx_export import ExportError, export_onnx
    from mfsearch.model import MobileFormer
    from mfsearch.study.files import locked, write_json
    from mfsearch.study.twins_file import LATENCIES, TwinLatency

    torch.set_num_threads(1)
    meter = LatencyMeter.open(cache_dir=cache_dir)
    with locked(folder), tempfile.TemporaryDirectory(prefix="mfsearch-") as scratch:
        kept = _kept_latencies(folder / LATENCIES, parent, meter.passport)

        def export(config: "MobileFormerConfig") -> Path:
            path = Path(scratch) / f"{config.arch_id}.onnx"
            export_onnx(MobileFormer(config), config.resolution, path)
            return path

        if kept.parent_ms is None:
            kept = dataclasses.replace(kept, parent_ms=meter.measure(export(parent)).latency_ms)
            write_json(folder / LATENCIES, kept.to_dict())
        assert kept.parent_ms is not None
        beside = dataclasses.replace(meter, reference=export(parent).read_bytes(), baseline_ms=kept.parent_ms)
        for twin in built:
            assert twin.config is not None
            if twin.config.arch_id not in kept.twins:
                try:
                    measured = beside.measure(export(twin.config))
                except ExportError as error:
                    print(f"mfsearch: {twin.name} has no latency: {error}", file=sys.stderr)
                    continue
                found = TwinLatency(
                    difference_ms=measured.latency_ms - kept.parent_ms,
                    difference_low_ms=measured.latency_low_ms - kept.parent_ms,
                    difference_high_ms=measured.latency_high_ms - kept.parent_ms,
                    **{key: value for key, value in measured.as_dict().items() if key != "passport"},
                )
                kept = dataclasses.replace(kept, twins={**kept.twins, twin.config.arch_id: found})
                write_json(folder / LATENCIES, kept.to_dict())
            if not quiet:
                print(f"latency {_milliseconds(kept.twins[twin.config.arch_id])} ms  {twin.change}", flush=True)
    if not quiet:
        print(f"latency of the network itself {kept.parent_ms:.2f} ms", flush=True)
    return kept


def _kept_latencies(path: Path, parent: "MobileFormerConfig", passport: "DevicePassport") -> "TwinLatencies":
    """Earlier measurements of this network on this device; those of others are left out."""
    from mfsearch.study.files import read_as
    from mfsearch.study.twins_file import TwinLatencies

    fresh = TwinLatencies(parent.arch_id, passport.as_dict())
    kept = read_as(path, TwinLatencies.from_dict, "twins --latency") if path.is_file() else fresh
    return kept if (kept.parent, kept.passport) == (fresh.parent, fresh.passport) else fresh
