"""latency --resolutions: milliseconds of networks by image side, compared with MobileNetV3-Large."""

import argparse
import dataclasses
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from mfsearch.analysis.latency.kept_latency import BY_SIZE, kept_line
from mfsearch.commands.latency import FIGURE, kept
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.cost.meter import Latency, LatencyMeter
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.cost.reference_net import mobilenet_v3_large
from mfsearch.cost.runner import Runner, RunnerLatency
from mfsearch.model import MobileFormer
from mfsearch.study.files import without_password

BESIDE = "MobileNetV3-Large"
STEP, ROUND = math.sqrt(2), 32  # factor between two sides of a range; sides are multiples of 32
SMALLEST, LARGEST = 16, 1024  # px, allowed for every network


class SizedLatency(NamedTuple):
    """A network measured at one image size. arch_id, madds: None of MobileNetV3-Large."""

    name: str
    arch_id: str | None
    resolution: int
    batch: int
    madds: int | None
    found: Latency | RunnerLatency
    times_mobilenet_v3: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in ("name", "arch_id", "resolution", "batch", "madds")}
        return {**facts, **self.found.as_dict(), "times_mobilenet_v3": self.times_mobilenet_v3}


def print_resolutions(
    configs: Mapping[str, MobileFormerConfig],
    sides: Sequence[int],
    meter: LatencyMeter | Runner,
    args: argparse.Namespace,
) -> int:
    """Measure every network at every side, print the table and write the figure."""
    from mfsearch.analysis.figures.latency_bars import SizePoint, draw_resolutions, resolution_lines
    from mfsearch.analysis.figures.style import write_figure

    rows: list[SizedLatency] = []
    if not args.json:
        print(f"beside {BESIDE} at the same size, all with a batch of {args.batch}\n")
        print(f"{'px':>5}  {'network':<24}{'madds (M)':>11}{'ms':>10}{'interval':>21}{'x MobileNetV3':>15}  note")
    with kept(args.results, BY_SIZE, quiet=args.json) as lines:
        for side in sides:
            beside = _measured(mobilenet_v3_large(), side, meter, args.batch)
            if isinstance(meter, Runner) and isinstance(beside, RunnerLatency):
                meter = dataclasses.replace(meter, device=beside.device)  # one table is of one device
            measured = []
            for name, config in configs.items():
                at = dataclasses.replace(config, resolution=side)
                found = _measured(MobileFormer(at), side, meter, args.batch)
                times = found.latency_ms / beside.latency_ms
                measured.append(SizedLatency(name, at.arch_id, side, args.batch, count_madds(at), found, times))
                if not args.json:
                    print(_line(measured[-1]), flush=True)
            measured.append(SizedLatency(BESIDE, None, side, args.batch, None, beside))
            rows += measured
            lines += [_kept(row, meter) for row in measured]
            if not args.json:
                print(_line(rows[-1]), flush=True)
    if args.json:
        print(json.dumps([row.to_dict() for row in rows], indent=1))
    figure = args.figure or Path(FIGURE)
    spans = [(row.found.latency_ms, row.found.latency_low_ms, row.found.latency_high_ms) for row in rows]
    points = [SizePoint(row.name, row.resolution, *ms) for row, ms in zip(rows, spans, strict=True)]
    write_figure(draw_resolutions(resolution_lines(points), _title(meter, args.batch)), figure)
    if not args.json:
        print(f"\nfigure    {figure}")
    return 0


def parse_sides(text: str) -> list[int]:
    """Sides in pixels from `160..768`, in steps of about 1.4, or from `160,224,320`."""
    low, dots, high = text.partition("..")
    parts = [low, high] if dots else text.split(",")
    sides = [int(part) if part.isdecimal() else 0 for part in parts]
    if sides != sorted(set(sides)) or sides[0] < SMALLEST or sides[-1] > LARGEST:
        raise ValueError(
            f"--resolutions must read like 160..768 or 160,224,320, rising, from {SMALLEST} to {LARGEST}, got "
            f"{text!r:.200}"
        )
    if not dots:
        return sides
    count = math.ceil(math.log(sides[1] / sides[0], STEP))
    between = {round(sides[0] * STEP**k / ROUND) * ROUND for k in range(1, count)}
    return [sides[0], *sorted(side for side in between if sides[0] < side < sides[1]), sides[1]]


def _measured(model: nn.Module, side: int, meter: LatencyMeter | Runner, batch: int) -> Latency | RunnerLatency:
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, side, path, batch=batch)
        return meter.measure(path)


def _kept(row: SizedLatency, meter: LatencyMeter | Runner) -> dict[str, object]:
    """A row as it is kept. If a user's program names no device, its command stands for it."""
    if isinstance(meter, Runner):
        device = {"device": meter.device} if meter.device else {"latency_cmd": without_password(meter.command)}
        return kept_line(row.name, row.resolution, row.to_dict(), device, threads=None)
    return kept_line(row.name, row.resolution, row.to_dict(), meter.passport.as_dict(), meter.passport.threads)


def _title(meter: LatencyMeter | Runner, batch: int) -> str:
    """The figure's title: the device and the batch."""
    if isinstance(meter, Runner):
        return f"{meter.device or 'a device without a name'}, batch {batch}"
    return f"{meter.passport.cpu}, {meter.passport.threads} thread(s), batch {batch}"


def _line(row: SizedLatency) -> str:
    found = row.found
    interval = "" if found.latency_low_ms is None else f"{found.latency_low_ms:.2f} .. {found.latency_high_ms:.2f}"
    madds = "" if row.madds is None else f"{row.madds / 1e6:.1f}"
    facts = f"{row.resolution:>5}  {row.name:<24}{madds:>11}{found.latency_ms:>10.2f}{interval:>21}"
    note = "disturbed" if found.disturbed else getattr(found, "device", None) or ""
    return f"{facts}{row.times_mobilenet_v3:>15.2f}  {note}".rstrip()
