"""Which int8 answers like fp32, and how fast is it? Every scheme of mfsearch/cost/quantize.py on one trained network.

    python benchmarks/int8.py [--preset mf-52m] [--data digits] [--data-dir DIR] [--epochs N] [--rounds 40] [--json]

Trains the preset for a short time on one thread and writes it in fp32 and in int8 by every scheme, calibrated on 32
training images. Answers are compared on up to 500 validation images at the training's size. Latency is that of the
preset with first weights at 224 px, batch 1: ONNX Runtime, one thread, all sessions in one process, each run once a
round in an order that changes, CPU time of the thread; medians, and the median of the ratio to fp32 in the same round.

2026-11-27, AMD EPYC (family 25, model 1: no VNNI), onnxruntime 1.32, load 11 to 13, mf-52m on digits after 4 epochs,
360 images: same class, largest deviation of a logit, time over fp32 (of the files for 32 px, 30 rounds).
Activations uint8: int8 weights per channel with 8 bits 93.9 %, 42.1 %, 1.52; with 7 bits (chosen) 99.7 %, 4.8 %, 1.51;
uint8 weights per channel 99.2 %, 7.9 %, 1.63, per tensor 99.2 %, 4.8 %, 1.37. All int8, 8 bits: 99.2 %, 5.8 %, 3.76.
docs/LOG.md has all ten.
"""

import argparse
import dataclasses
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from mfsearch.cost.onnx_export import export_onnx
from mfsearch.cost.passport import read_passport
from mfsearch.cost.quantize import CHOSEN, Array, Scheme, agreement, logits_of, write_int8
from mfsearch.data import ImageData
from mfsearch.export.int8 import CALIBRATION_IMAGES, prepared
from mfsearch.model import MobileFormer
from mfsearch.presets import PRESETS
from mfsearch.proxy.recipe import default_recipe
from mfsearch.proxy.short_train import DeviceData, short_train

FP32 = "fp32"
TYPES = [("uint8", "int8", 8), ("uint8", "int8", 7), ("uint8", "uint8", 8), ("int8", "int8", 8), ("int8", "int8", 7)]
SCHEMES = [Scheme(*types, per_channel) for types in TYPES for per_channel in (True, False)]
JUDGING_IMAGES = 500


def trained(preset: str, images: ImageData, data: str, epochs: float | None) -> MobileFormer:
    """The preset after a short training."""
    recipe = default_recipe(data)
    recipe = dataclasses.replace(recipe, epochs=epochs or recipe.epochs)
    training = short_train(PRESETS[preset], DeviceData(images, torch.device("cpu")), recipe, seed=0)
    model = MobileFormer(dataclasses.replace(PRESETS[preset], classes=len(images.classes)))
    model.load_state_dict(training.weights)
    return model.eval()


def written(model: MobileFormer, side: int, images_NCHW: Array, folder: Path) -> dict[str, Path]:
    """The network's files by scheme, fp32 first."""
    folder.mkdir()
    files = {FP32: folder / "fp32.onnx"}
    export_onnx(model, side, files[FP32])
    for scheme in SCHEMES:
        files[str(scheme)] = folder / f"{len(files)}.onnx"
        write_int8(files[FP32], files[str(scheme)], images_NCHW, scheme)
    return files


def answers(files: dict[str, Path], images: ImageData, side: int) -> dict[str, dict[str, Any]]:
    """Top1 of every file, and its agreement with fp32."""
    asked, labels = prepared(images, images.val_images[:JUDGING_IMAGES], side), images.val_labels[:JUDGING_IMAGES]
    fp32_NK = logits_of(files[FP32], asked)
    rows = {}
    for name, path in files.items():
        logits_NK = logits_of(path, asked)
        top1 = float((logits_NK.argmax(axis=1) == labels).mean())
        rows[name] = {"top1": top1, **agreement(fp32_NK, logits_NK)._asdict()}
    return rows


def milliseconds(files: dict[str, Path], side: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median latency of every file, and of its ratio to fp32; the sessions take turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = {
        name: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for name, path in files.items()
    }
    image = np.random.default_rng(0).standard_normal((1, 3, side, side), dtype=np.float32)
    order, rng = list(sessions), random.Random(0)
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        rng.shuffle(order)
        for name in order:
            sessions[name].run(None, {"image": image})  # its weights are in the cache again
            start = time.thread_time()
            sessions[name].run(None, {"image": image})
            taken[name].append((time.thread_time() - start) * 1e3)
    return {
        name: {
            "ms": statistics.median(times),
            "times_fp32": statistics.median(ms / fp32 for ms, fp32 in zip(times, taken[FP32], strict=True)),
        }
        for name, times in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the answers and the speed of every way to write int8.")
    parser.add_argument("--preset", default="mf-52m", choices=list(PRESETS))
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--epochs", type=float, help="passes over the samples (default: those of a search)")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    images = default_recipe(args.data).load_images(args.data, data_dir=args.data_dir, seed=0)
    model = trained(args.preset, images, args.data, args.epochs)
    calibration = images.train_images[:CALIBRATION_IMAGES]
    deployed = MobileFormer(PRESETS[args.preset]).eval()
    with tempfile.TemporaryDirectory() as folder:
        side = images.resolution
        small = written(model, side, prepared(images, calibration, side), Path(folder) / "small")
        rows = answers(small, images, side)
        large = written(deployed, 224, prepared(images, calibration[:1], 224), Path(folder) / "large")
        for name, figures in milliseconds(large, 224, args.rounds).items():
            rows[name] |= figures
    passport = read_passport(1)
    if args.json:
        print(json.dumps({"passport": passport.as_dict(), "chosen": str(CHOSEN), "schemes": rows}, indent=1))
        return
    print(f"{args.preset} on {args.data}, {rows[FP32]['images']} validation images; {passport.cpu}, ", end="")
    print(f"{passport.runtime} {passport.runtime_version}, one thread")
    print(f"{'':<62}{'same class':>10}{'deviation':>11}{'top1':>8}{'ms':>8}{'x fp32':>8}")
    for name, row in rows.items():
        label = name + " (chosen)" * (name == str(CHOSEN))
        print(
            f"{label:<62}{row['same_top1']:>10.1%}{row['largest_deviation']:>11.2%}"
            f"{row['top1']:>8.2%}{row['ms']:>8.2f}{row['times_fp32']:>8.2f}"
        )


if __name__ == "__main__":
    main()
