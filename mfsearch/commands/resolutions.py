"""latency --resolutions: milliseconds of networks against the side of the image, beside MobileNetV3-Large."""

import argparse
import dataclasses
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency import LatencyMeter
from mfsearch.cost.madds import count_madds
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.cost.reference_net import mobilenet_v3_large
from mfsearch.cost.runner import Runner
from mfsearch.model import MobileFormer

BESIDE = "MobileNetV3-Large"
STEP, ROUND = math.sqrt(2), 32  # between two sides of a range, and what they are multiples of
SMALLEST, LARGEST = 16, 1024  # sides that every network takes


def print_resolutions(
    configs: Mapping[str, MobileFormerConfig], meter: LatencyMeter | Runner, args: argparse.Namespace
) -> int:
    """Measure every network at every side, print the table and write the figure."""
    from mfsearch.analysis.figures import draw_resolutions, resolution_lines, write_figure

    sides = parse_sides(args.resolutions)
    if not args.figure.parent.is_dir() or args.figure.is_dir():
        raise ValueError(f"--figure must be a file in a folder that is there, got {args.figure}")
    rows: list[dict[str, Any]] = []
    if not args.json:
        print(f"{'px':>5}  {'network':<24}{'madds (M)':>11}{'ms':>10}{'interval':>21}{'x MobileNetV3':>15}  note")
    for side in sides:
        beside = {"name": BESIDE, "resolution": side, "madds": None}
        beside |= _measured(mobilenet_v3_large(), side, meter, args.batch)
        for name, config in configs.items():
            at = dataclasses.replace(config, resolution=side)
            row = {"name": name, "resolution": side, "madds": count_madds(at)}
            rows.append(row | _measured(MobileFormer(at), side, meter, args.batch))
            rows[-1]["times_mobilenet_v3"] = rows[-1]["latency_ms"] / beside["latency_ms"]
            if not args.json:
                print(_line(rows[-1]), flush=True)
        rows.append(beside | {"times_mobilenet_v3": 1.0})
        if not args.json:
            print(_line(rows[-1]), flush=True)
    if args.json:
        print(json.dumps(rows, indent=1))
    write_figure(draw_resolutions(resolution_lines(rows)), args.figure)
    if not args.json:
        print(f"\nfigure    {args.figure}")
    return 0


def parse_sides(text: str) -> list[int]:
    """`160..768` in steps of about 1.4, or `160,224,320`."""
    low, dots, high = text.partition("..")
    parts = [low, high] if dots else text.split(",")
    sides = [int(part) if part.isdecimal() else 0 for part in parts]
    if sides != sorted(set(sides)) or sides[0] < SMALLEST or sides[-1] > LARGEST:
        raise ValueError(
            f"--resolutions must read like 160..768 or 160,224,320, rising, from {SMALLEST} to {LARGEST}, got {text!r}"
        )
    if not dots:
        return sides
    count = math.ceil(math.log(sides[1] / sides[0], STEP))
    between = {round(sides[0] * STEP**k / ROUND) * ROUND for k in range(1, count)}
    return [sides[0], *sorted(side for side in between if sides[0] < side < sides[1]), sides[1]]


def _measured(model: nn.Module, side: int, meter: LatencyMeter | Runner, batch: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, side, path, batch=batch)
        return meter.measure(path).as_dict()


def _line(row: dict[str, Any]) -> str:
    low, high = row["latency_low_ms"], row["latency_high_ms"]
    interval = "" if low is None else f"{low:.2f} .. {high:.2f}"
    madds = "" if row["madds"] is None else f"{row['madds'] / 1e6:.1f}"
    facts = f"{row['resolution']:>5}  {row['name']:<24}{madds:>11}{row['latency_ms']:>10.2f}{interval:>21}"
    return f"{facts}{row['times_mobilenet_v3']:>15.2f}  {'disturbed' if row['disturbed'] else ''}".rstrip()
