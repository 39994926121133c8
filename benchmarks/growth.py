"""How do latency and training grow? Latency with image size and tokens, training with worker processes.

    python benchmarks/growth.py [--rounds 10] [--epochs 6] [--json]

Latency: mf-151m in ONNX Runtime, one thread, batch 1, in turns with MobileNetV3-Large at 224 px; beside it
MobileNetV3-Large at the same size. Training: mf-26m at 32 px, batch 128, on the digits, in 1 to as many processes
of one thread as there are cores, all at once. What a search costs beside its trainings is benchmarks/ledger_scale.py.

2026-11-22, AMD EPYC, 2 cores beside other work: mf-151m over MobileNetV3-Large of the same size 1.93 at 128 px, 1.61,
1.42 at 224, 1.21, 1.13 at 448, 1.15, 1.33 at 768; 1 to 12 tokens 1.27 to 1.53 of MobileNetV3-Large at 224 px; two
workers train 1.93 times as many images a second as one.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from mfsearch.cost.meter import LatencyMeter
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.cost.reference_net import mobilenet_v3_large
from mfsearch.model import MobileFormer
from mfsearch.presets import PRESETS
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.short_train import DeviceData, short_train
from mfsearch.search.pool import Pool, Report

RESOLUTIONS = (128, 160, 224, 320, 448, 640, 768)
TOKENS = (1, 2, 3, 4, 6, 9, 12)


def latency_rows(meter: LatencyMeter, rounds: int) -> tuple[dict[int, tuple[float, float]], dict[int, float]]:
    """Ratios to MobileNetV3-Large at 224 px: by size (ours, MobileNetV3-Large), and ours by tokens."""
    config = PRESETS["mf-151m"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"

        def ratio(model: torch.nn.Module, resolution: int) -> float:
            export_onnx(model, resolution, path)
            return meter.measure(path, min_rounds=rounds, max_rounds=rounds).ratio

        sizes = {r: (ratio(MobileFormer(config), r), ratio(mobilenet_v3_large(), r)) for r in RESOLUTIONS}
        tokens = {}
        for count in TOKENS:
            row = dataclasses.replace(config, tokens=dataclasses.replace(config.tokens, count=count))
            tokens[count] = ratio(MobileFormer(row), 224)
    return sizes, tokens


def make_trainer(recipe: Recipe) -> Callable[[int, Report], float]:
    """Images a second of one process that trains with every other."""
    torch.set_num_threads(1)
    data = DeviceData(recipe.load_images("digits", data_dir=None, seed=0), torch.device("cpu"))
    return lambda seed, _: short_train(PRESETS["mf-26m"], data, recipe, seed=seed).images_per_second


def training_rows(epochs: float) -> dict[int, float]:
    """Images a second of all workers together, by their number."""
    recipe = Recipe(resolution=32, epochs=epochs, batch=128)
    rows = {}
    for workers in range(1, (os.cpu_count() or 1) + 1):
        pool: Pool[int, float] = Pool(workers, make_trainer, recipe)
        with contextlib.closing(pool):
            while len(pool.idle()) < workers:  # they begin together
                pool.wait(timeout=0.1)
            for number in range(workers):
                pool.submit(number, 0)
            speeds: list[float] = []
            while len(speeds) < workers:
                speeds += [event.result for event in pool.wait(timeout=1) if event.result is not None]
        rows[workers] = sum(speeds)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency by image size and tokens, training by workers.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    meter = LatencyMeter.open()
    sizes, tokens = latency_rows(meter, args.rounds)
    training = training_rows(args.epochs)
    if args.json:
        print(
            json.dumps(
                {"passport": meter.passport.as_dict(), "resolution": sizes, "tokens": tokens, "training": training},
                indent=1,
            )
        )
        return
    print(f"{meter.passport.cpu}, {meter.passport.runtime} {meter.passport.runtime_version}, one thread")
    print("x MobileNetV3-Large at 224 px\n  px       mf-151m   MobileNetV3-Large   mf-151m over it")
    for resolution, (ours, reference) in sizes.items():
        print(f"{resolution:>4}{ours:>14.2f}{reference:>20.2f}{ours / reference:>18.2f}")
    print("tokens   mf-151m at 224 px")
    for count, ours in tokens.items():
        print(f"{count:>6}{ours:>10.2f}")
    print("workers  images/s in training (mf-26m, 32 px)")
    for workers, speed in training.items():
        print(f"{workers:>7}{speed:>9.0f}   x {speed / training[1]:.2f}")


if __name__ == "__main__":
    main()
