"""Writes a network in int8 and judges how far its predictions agree with fp32."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mfsearch.cost.quantize import CHOSEN, Array, agreement, logits_of, write_int8
from mfsearch.data import ImageData
from mfsearch.data.augment import normalize
from mfsearch.data.image_data import Images
from mfsearch.export.bundle_metrics import Int8File
from mfsearch.export.standalone import Normalisation
from mfsearch.study.manifest import DataFacts

CALIBRATION_IMAGES = 32
JUDGING_IMAGES = 256


def quantised(
    fp32: Path, int8: Path, images: ImageData, side: int, normalisation: Normalisation | None, *, judge: bool
) -> Int8File:
    """Write a network in int8, calibrated on training images at `side` pixels, and return its agreement with fp32.

    normalisation: of the network, None for that of the images. judge: compare predictions on validation images; the
    figures are None without it, because untrained weights agree with anything. fp32: an ONNX file for batch 1.
    """
    known = normalisation or Normalisation(images.mean, images.std)
    images = dataclasses.replace(images, mean=known.mean, std=known.std)
    write_int8(fp32, int8, prepared(images, images.train_images[:CALIBRATION_IMAGES], side))
    found = None
    if judge:
        asked = prepared(images, images.val_images[:JUDGING_IMAGES], side)
        found = agreement(logits_of(fp32, asked), logits_of(int8, asked))
    return Int8File(
        scheme=str(CHOSEN),
        images=0 if found is None else found.images,
        same_top1=None if found is None else found.same_top1,
        largest_deviation=found.largest_deviation if found and math.isfinite(found.largest_deviation) else None,
        why_not_judged=None if judge else "its weights are not trained: int8 would agree with anything",
        calibration_images=min(CALIBRATION_IMAGES, len(images.train_images)),
        data=DataFacts(**images.facts()),
    )


def prepared(data: ImageData, images_NCHW: Images, side: int) -> Array:
    """The images resized to `side` pixels and normalised, as the network takes them."""
    pixels = torch.from_numpy(np.ascontiguousarray(images_NCHW))
    if pixels.shape[-1] != side:
        larger = F.interpolate(pixels.float(), size=(side, side), mode="bilinear", antialias=True)
        pixels = larger.round().clamp(0, 255).to(torch.uint8)
    normalised: Array = normalize(pixels, data.mean, data.std).numpy()
    return normalised
