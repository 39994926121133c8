"""Measure the latency of networks here, beside a reference network."""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mfsearch.commands import options
from mfsearch.cost.runner import Runner, RunnerLatency

if TYPE_CHECKING:
    from mfsearch.cost.breakdown import Breakdown
    from mfsearch.cost.meter import Latency, LatencyMeter

THREADS = 1
FIGURE = "latency-by-size.html"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", metavar="CONFIG", nargs="+", help=options.NETWORK)
    parser.add_argument("--threads", type=options.whole, help=f"threads of ONNX Runtime (default: {THREADS})")
    options.add_default(parser, "--batch", 1, "images per batch")
    parser.add_argument("--breakdown", action="store_true", help="also print ms per part, from the runtime's profile")
    parser.add_argument("--resolutions", help="measure at several sizes in pixels: 160..768 or 160,224,320")
    parser.add_argument("--figure", type=Path, help=f"page that --resolutions writes (default: {FIGURE})")
    parser.add_argument("--int8", action="store_true", help="also measure in int8, with its accuracy")
    options.add_data(parser, "images for --int8 (default: those of the trial's study, else digits)", download=False)
    options.add_runner(parser)
    options.add_results(parser)
    options.add_deployment(parser, "network")


def run(args: argparse.Namespace) -> int:
    """Measure networks, in ONNX Runtime beside the reference network or by a user's runner, and print milliseconds."""
    import torch

    from mfsearch.analysis.latency.kept_latency import BREAKDOWN, kept_line
    from mfsearch.cost.breakdown import measure_breakdown
    from mfsearch.cost.madds import count_madds
    from mfsearch.cost.meter import Latency, LatencyMeter
    from mfsearch.cost.onnx_export import export_onnx
    from mfsearch.model import MobileFormer
    from mfsearch.study.configs import find_config

    configs = {name: options.deployed(find_config(name, args.results), args) for name in args.configs}
    runner = options.runner_of(args)
    _check_options(args)
    sides = None
    if args.resolutions is not None:
        from mfsearch.commands.latency_by_size import parse_sides, print_resolutions

        sides = parse_sides(args.resolutions)
    torch.set_num_threads(1)
    meter = runner or LatencyMeter.open(THREADS if args.threads is None else args.threads, args.cache_dir)
    if not args.json:
        print(_where(meter))
    if sides is not None:
        return print_resolutions(configs, sides, meter, args)
    if not args.json:
        print(_reference(meter, args.batch))
        print(f"{'network':<24}{'madds (M)':>11}{'ms':>9}{'interval':>19}{'x reference':>13}  note")
    rows = {}
    with kept(args.results, BREAKDOWN, quiet=args.json) as lines:
        for name, config in configs.items():
            with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
                path = Path(folder) / "model.onnx"
                export_onnx(MobileFormer(config), config.resolution, path, batch=args.batch)
                found = meter.measure(path)
                if isinstance(found, RunnerLatency) and runner is not None:
                    meter = dataclasses.replace(runner, device=found.device)  # one table is of one device
                madds = count_madds(config)
                row = {"arch_id": config.arch_id, "madds": madds, "batch": args.batch, **found.as_dict()}
                if not args.json:
                    print(_latency_line(name, madds, found), flush=True)
                if args.breakdown and isinstance(found, Latency):
                    parts = measure_breakdown(path)
                    row |= {"breakdown": parts.as_dict()}
                    lines.append(kept_line(name, config.resolution, row, found.passport.as_dict(), threads=1))
                    if not args.json:
                        print(_breakdown_lines(parts), flush=True)
                if args.int8:
                    from mfsearch.commands.latency_int8 import measure_int8, shown_agreement

                    in_int8 = measure_int8(name, config, path, meter, args)
                    row |= {"int8": in_int8.to_dict()}
                    if not args.json:
                        print(f"{_latency_line('  in int8', madds, in_int8.latency)}\n    {shown_agreement(in_int8)}")
            rows[name] = row
    if args.json:
        print(json.dumps(rows, indent=1))
    return 0


@contextmanager
def kept(results: Path, name: str, *, quiet: bool) -> Iterator[list[dict[str, object]]]:
    """Yield a list; what is in it at the end, also of an interrupted measurement, is appended to RESULTS/latency/NAME.

    quiet: say nothing on standard output. A failure to write is one line on standard error and nothing more.
    """
    from mfsearch.analysis.latency.kept_latency import FOLDER, append_lines

    lines: list[dict[str, object]] = []
    try:
        yield lines
    finally:
        path = results / FOLDER / name
        try:
            if lines:
                append_lines(path, lines)
                if not quiet:
                    print(f"\nkept      {path}")
        except OSError as error:
            print(f"mfsearch: these figures are not kept, cannot write {path}: {error.strerror}", file=sys.stderr)


def _check_options(args: argparse.Namespace) -> None:
    """ValueError for an option without the one it needs, or with one that excludes it."""
    if args.batch < 1:
        raise ValueError(f"--batch must be 1 or more, got {args.batch}")
    names = ("resolutions", "figure", "int8", "data", "data_dir", "breakdown", "resolution", "threads", "latency_cmd")
    values = {f"--{name.replace('_', '-')}": getattr(args, name) for name in names}
    given = {option for option, value in values.items() if value is not None and value is not False}
    for option, needed in (("--figure", "--resolutions"), ("--data", "--int8"), ("--data-dir", "--int8")):
        if option in given and needed not in given:
            raise ValueError(f"{option} is for {needed}, which is not given")
    for option, other, why in (
        ("--resolutions", "--int8", "it measures in fp32"),
        ("--resolutions", "--breakdown", "it measures whole networks"),
        ("--resolutions", "--resolution", "it says the sizes itself"),
        ("--breakdown", "--latency-cmd", "it reads the profile of ONNX Runtime here"),
        ("--threads", "--latency-cmd", "the program decides"),
    ):
        if option in given and other in given:
            raise ValueError(f"{option} goes without {other}: {why}")
    if args.breakdown and args.threads not in (None, 1):
        raise ValueError(f"--breakdown goes with one thread, got --threads {args.threads}")
    figure = args.figure
    if figure is not None and (figure.is_dir() or not figure.parent.is_dir()):
        raise ValueError(f"--figure must be a file in a folder that is there, got {figure}")


def _where(meter: "LatencyMeter | Runner") -> str:
    """The device that the table's milliseconds were measured on."""
    if isinstance(meter, Runner):
        return f"measured by {meter.command}"
    device = meter.passport
    return (
        f"{device.cpu}, {device.cores} cores, governor {device.governor}, {device.threads} thread(s)\n"
        f"{device.runtime} {device.runtime_version}, {device.provider}, {device.system}"
    )


def _reference(meter: "LatencyMeter | Runner", batch: int) -> str:
    where = "" if isinstance(meter, Runner) else f"reference: MobileNetV3-Large at 224 px, {meter.baseline_ms:.2f} ms\n"
    if batch > 1:
        where += f"ms are those of a batch of {batch} images, the reference's those of one\n"
    return where


def _latency_line(name: str, madds: int, found: "Latency | RunnerLatency") -> str:
    interval = "" if found.latency_low_ms is None else f"{found.latency_low_ms:.2f} .. {found.latency_high_ms:.2f}"
    device = getattr(found, "device", None) or ""
    note = "disturbed: measure again on a quieter machine" if found.disturbed else device
    ratio = "" if found.ratio is None else f"{found.ratio:.3f}"
    return f"{name:<24}{madds / 1e6:>11.1f}{found.latency_ms:>9.2f}{interval:>19}{ratio:>13}  {note}".rstrip()


def _breakdown_lines(found: "Breakdown") -> str:
    from mfsearch.cost.breakdown import PARTS

    lines = [f"    {PARTS[part]:<16}{ms:8.2f} ms{ms / found.sum_ms:8.1%}" for part, ms in found.parts_ms.items()]
    lines.append(f"    {'sum':<16}{found.sum_ms:8.2f} ms   {found.nodes} operators, the profiler's own time taken off")
    return "\n".join(
        [*lines, f"    {'typical run':<16}{found.whole_ms:8.2f} ms   the line above takes the fastest of five"]
    )
