"""A rough estimate of the time of short trainings before they start, and its basis."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.proxy.recipe import Recipe
from mfsearch.study.trial import Trial
from mfsearch.units import counted

# One thread of a server's CPU at 32 px: mf-151m takes 3.7 ms per image, mf-52m 1.4 ms. For the trained networks of the
# committed CIFAR-10 study (two workers on a busy machine) nearly all estimates were within a factor of two.
IMAGE_SECONDS, MADD_SECONDS = 0.2e-3, 0.9e-9
IMAGES = {"digits": 1_437, "cifar10": 45_000, "cifar100": 45_000}  # size of the whole training split


def estimate_seconds(
    configs: Sequence[MobileFormerConfig], recipe: Recipe, data: str, trials: Sequence[Trial], study: str
) -> tuple[float | None, str]:
    """Seconds to train all of `configs` by the recipe, one after another, and the basis of the estimate as text.

    trials: the trials of `study`, empty without one; their times scale the model. The seconds are None if the number
    of training images is unknown.
    """
    ratios = [
        1.0 / (trial.short.images_per_second * _image_seconds(trial.config, recipe))
        for trial in trials
        if trial.outcome == "trained" and trial.short is not None and trial.short.images_per_second
    ]
    images = _training_images(data, recipe)
    if images is None:
        return None, f"nothing: the number of training images of {data} is unknown"
    seconds = sum(_image_seconds(config, recipe) for config in configs) * images * recipe.epochs
    if ratios:
        known = counted(len(ratios), "trial")
        return seconds * statistics.median(ratios), f"the images per second of {known} of study {study}"
    model = f"{IMAGE_SECONDS * 1e3:g} ms per image and {MADD_SECONDS * 1e9:g} ns per multiply-add"
    return seconds, f"a rough model for one CPU thread, within a factor of two: {model} at {recipe.resolution} px"


def _image_seconds(config: MobileFormerConfig, recipe: Recipe) -> float:
    """Seconds to train on one image, by the rough model."""
    return IMAGE_SECONDS + MADD_SECONDS * count_madds(dataclasses.replace(config, resolution=recipe.resolution))


def _training_images(data: str, recipe: Recipe) -> int | None:
    if recipe.samples is not None:
        return recipe.samples
    if data in IMAGES:
        return IMAGES[data]
    folder = Path(data) / "train"
    return sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else None
