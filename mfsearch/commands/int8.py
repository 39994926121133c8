"""latency --int8: the network in int8, its milliseconds and what its answers are worth."""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency import LatencyMeter
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.cost.quantize import Array, agreement, logits_of, write_int8
from mfsearch.cost.runner import Runner
from mfsearch.data import ImageData
from mfsearch.data.augment import normalize
from mfsearch.data.image_data import Images
from mfsearch.model import MobileFormer
from mfsearch.proxy.recipe import Recipe, default_recipe
from mfsearch.search.configs import find_trial
from mfsearch.search.study import WEIGHTS, find_study, read_manifest

CALIBRATION_IMAGES = 32
JUDGING_IMAGES = 512


class Judged(NamedTuple):
    """The network whose answers are compared: as the study trained it, or with first weights as it is deployed."""

    model: MobileFormer
    images: ImageData
    side: int  # in pixels
    trained: bool


def int8_columns(
    name: str, config: MobileFormerConfig, fp32: Path, meter: LatencyMeter | Runner, args: argparse.Namespace
) -> dict[str, Any]:
    """Latency of a deployed network in int8, and how far int8 answers as fp32 does.

    name: how the command line calls it; a trial is judged with its weights, by the images it was trained on, at their
    size. fp32: its ONNX file. Raises ValueError where the images are not those of the trial.
    """
    judged = _judged(name, config, args)
    images = judged.images
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        small, small8, deployed8 = (Path(folder) / f"{each}.onnx" for each in ("small", "small8", "deployed8"))
        count = max(CALIBRATION_IMAGES, args.batch)
        write_int8(fp32, deployed8, _prepared(images, images.train_images[:count], config.resolution))
        found = meter.measure(deployed8)
        export_onnx(judged.model, judged.side, small)
        write_int8(small, small8, _prepared(images, images.train_images[:CALIBRATION_IMAGES], judged.side))
        asked = _prepared(images, images.val_images[:JUDGING_IMAGES], judged.side)
        fp32_NK, int8_NK = logits_of(small, asked), logits_of(small8, asked)
    labels = images.val_labels[:JUDGING_IMAGES]
    right = {
        f"top1_{kind}": float((logits_NK.argmax(axis=1) == labels).mean()) if judged.trained else None
        for kind, logits_NK in (("fp32", fp32_NK), ("int8", int8_NK))
    }
    return {**found.as_dict(), **agreement(fp32_NK, int8_NK)._asdict(), **right, "judged_at": judged.side}


def shown_agreement(row: dict[str, Any]) -> str:
    """The answers of int8 in a sentence."""
    said = (
        f"int8 gives the class of fp32 on {row['same_top1']:.1%} of {row['images']} validation images at "
        f"{row['judged_at']} px, logits differ by up to {row['largest_deviation']:.1%} of the largest"
    )
    if row["top1_fp32"] is None:
        return f"{said} (first weights: nothing is trained)"
    return f"{said}; top1 {row['top1_fp32']:.2%} in fp32, {row['top1_int8']:.2%} in int8"


def _judged(name: str, config: MobileFormerConfig, args: argparse.Namespace) -> Judged:
    study, colon, trial = name.rpartition(":")
    if not colon or Path(name).suffix in (".yaml", ".yml", ".json"):
        data = args.data or "digits"
        images = default_recipe(data).load_images(data, data_dir=args.data_dir, seed=0)
        return Judged(MobileFormer(config), images, config.resolution, trained=False)
    folder = find_study(study, args.results)
    manifest, row = read_manifest(folder), find_trial(study, trial, args.results)
    recipe = Recipe(**manifest["recipe"])
    data = args.data or manifest["data"]["name"]
    images = recipe.load_images(data, data_dir=args.data_dir, seed=manifest["seed"])
    weights = folder / WEIGHTS / f"{row['arch_id']}.safetensors"
    if not weights.is_file():
        return Judged(MobileFormer(config), images, config.resolution, trained=False)
    if images.digest != manifest["data"]["digest"]:
        raise ValueError(f"{name} was trained on {manifest['data']['name']}: --data must name those images, got {data}")
    trained = MobileFormerConfig.from_dict(row["config"])
    model = MobileFormer(dataclasses.replace(trained, classes=len(images.classes)))
    model.load_state_dict(load_file(weights))
    return Judged(model, images, recipe.resolution, trained=True)


def _prepared(data: ImageData, images_NCHW: Images, side: int) -> Array:
    """The images as a network takes them, at `side` pixels."""
    pixels = torch.from_numpy(np.ascontiguousarray(images_NCHW))
    if pixels.shape[-1] != side:
        larger = F.interpolate(pixels.float(), size=(side, side), mode="bilinear", antialias=True)
        pixels = larger.round().clamp(0, 255).to(torch.uint8)
    prepared: Array = normalize(pixels, data.mean, data.std).numpy()
    return prepared
