"""How far two measurements of the same network differ, by three ways of measuring, on an idle and on a busy machine.

    python benchmarks/latency_aa.py [--repeats 10] [--onnx FILE ...] [--json]

A/A: MobileNetV3-Large at 224 px against itself, in two sessions. "sequential" times one session after the other with
the wall clock, 100 runs each; "ours" is LatencyMeter.measure(), whose ratio should be 1. Repeat: the ratio of another
network to the reference, measured again and again, as a difference to the median of these ratios: MobileNetV3-Large at
96 px, three times faster than the reference, and every ONNX file named. Busy: one process on every core, started and
stopped here.

Last figures: AMD EPYC with 2 cores, ONNX Runtime 1.32.0, --repeats 6, the Mobile-Former with 151M multiply-adds as a
further file. Other people's work ran all along, load average about 5: "idle" was not idle.

    machine  method                     over 2 %   largest  disturbed  s each
    idle     A/A, sequential mean           100%     4.22%       -         1.6
    idle     A/A, sequential median          33%     4.15%       -         1.6
    idle     A/A, ours                        0%     1.01%     5/6        12.3
    idle     repeat, 96 px                   33%     4.66%     6/6        30.2
    idle     repeat, 151M                    33%     4.83%     6/6        36.6
    busy     A/A, sequential mean           100%    73.01%       -         8.9
    busy     A/A, sequential median          83%    35.57%       -         8.9
    busy     A/A, ours                        0%     1.26%     6/6        36.9
    busy     repeat, 96 px                   17%     2.20%     6/6        32.0
    busy     repeat, 151M                    33%     4.94%     6/6        67.0

So a network differs from itself by less than 2 % on a busy machine. A network of another make does not keep its ratio
as well: it feels a neighbour's use of cache and memory more, or less, than the reference does, and no pairing cancels
that. With 15 rounds at least instead of 30, one of eight A/A on the busy machine was off by 2.54 %.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from benchmarks.busy import busy_processes
from mfsearch.cost.meter import LatencyMeter
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.cost.reference_net import mobilenet_v3_large

RUNS = 100
LIMIT = 0.02


class Row(NamedTuple):
    """The differences of one way of measuring, on one state of the machine."""

    machine: str
    method: str
    differences: list[float]
    disturbed: int | None  # measurements that called themselves so; None where the method cannot tell
    seconds: float  # per measurement

    @property
    def over_limit(self) -> float:
        """The share of differences over 2 %."""
        return sum(abs(difference) > LIMIT for difference in self.differences) / len(self.differences)

    @property
    def largest(self) -> float:
        """The largest difference."""
        return max(map(abs, self.differences))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=10, help="measurements per figure (default: 10)")
    parser.add_argument("--onnx", type=Path, nargs="*", default=[], help="further networks whose ratio is repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    if args.repeats < 2:
        parser.error(f"--repeats must be at least 2, got {args.repeats}")

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        same, small = Path(folder) / "same.onnx", Path(folder) / "mobilenet_v3_large-96px.onnx"
        export_onnx(mobilenet_v3_large(), 224, same)
        export_onnx(mobilenet_v3_large(), 96, small)
        meter = LatencyMeter.open(cache_dir=Path(folder))
        for machine, processes in (("idle", 0), ("busy", os.cpu_count() or 1)):
            with busy_processes(processes):
                rows += sequential_rows(machine, same, args.repeats)
                rows.append(our_row(machine, "A/A, ours", meter, same, args.repeats, expected=1.0))
                rows += [
                    our_row(machine, f"repeat {path.stem}", meter, path, args.repeats) for path in (small, *args.onnx)
                ]
    if args.json:
        print(json.dumps({"passport": meter.passport.as_dict(), "rows": [as_dict(row) for row in rows]}, indent=1))
        return
    print(
        f"{meter.passport}\n{'machine':8} {'method':36} {'over 2 %':>9} {'largest':>9} {'disturbed':>10} {'s each':>7}"
    )
    for row in rows:
        disturbed = "-" if row.disturbed is None else f"{row.disturbed}/{len(row.differences)}"
        print(
            f"{row.machine:8} {row.method:36} {row.over_limit:9.0%} {row.largest:9.2%} "
            f"{disturbed:>10} {row.seconds:7.1f}"
        )


def as_dict(row: Row) -> dict[str, Any]:
    """The row and what follows from it."""
    return {**row._asdict(), "over_limit": row.over_limit, "largest": row.largest}


def sequential_rows(machine: str, path: Path, repeats: int) -> list[Row]:
    """One session after the other, each timed by the wall clock: what the interleaving is compared with."""
    by_mean, by_median = [], []
    start = time.perf_counter()
    for _ in range(repeats):
        first_ms, second_ms = wall_times_ms(path), wall_times_ms(path)
        by_mean.append(statistics.mean(first_ms) / statistics.mean(second_ms) - 1)
        by_median.append(statistics.median(first_ms) / statistics.median(second_ms) - 1)
    seconds = (time.perf_counter() - start) / repeats
    return [
        Row(machine, "A/A, sequential mean", by_mean, None, seconds),
        Row(machine, "A/A, sequential median", by_median, None, seconds),
    ]


def wall_times_ms(path: Path) -> list[float]:
    """The times of 100 runs in a new session with one thread, after 20 warm-ups."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    feed = {image.name: np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)}
    times_ms = []
    for _ in range(20 + RUNS):
        start = time.perf_counter()
        session.run(None, feed)
        times_ms.append((time.perf_counter() - start) * 1e3)
    return times_ms[20:]


def our_row(
    machine: str, method: str, meter: LatencyMeter, path: Path, repeats: int, *, expected: float | None = None
) -> Row:
    """The ratio measured again and again, against what it should be, else against the median of the repeats."""
    start = time.perf_counter()
    measured = [meter.measure(path) for _ in range(repeats)]
    seconds = (time.perf_counter() - start) / repeats
    ratios: Sequence[float] = [latency.ratio for latency in measured]
    centre = statistics.median(ratios) if expected is None else expected
    differences = [ratio / centre - 1 for ratio in ratios]
    return Row(machine, method, differences, sum(latency.disturbed for latency in measured), seconds)


if __name__ == "__main__":
    main()
