"""How long trainings will take: a short measurement of this machine with these images, and the plan made from it."""

import contextlib
import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.cost.meter import MIN_VALUES
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.data.image_data import DataError, ImageData, Source
from mfsearch.data.load import KNOWN_DATA, check_classes, count_classes, find_source
from mfsearch.model import MobileFormer
from mfsearch.proxy.cutting import cut, mean_coefficients
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.proxy.short_train import DeviceData, one_thread, short_train
from mfsearch.references import Reference
from mfsearch.search.evaluator import MIN_ROUNDS, kept_meter
from mfsearch.search.plan import JUDGED, Pace, Plan, make_plan
from mfsearch.search.proposal import Proposer, check_limits, nothing_inside
from mfsearch.study.files import MANIFEST
from mfsearch.study.manifest import Manifest
from mfsearch.study.settings import Limits, Settings

# One thread of a server's CPU at 32 px: mf-151m takes 3.7 ms per image, mf-52m 1.4 ms. Only their ratios are used.
IMAGE_SECONDS, MADD_SECONDS = 0.2e-3, 0.9e-9
SIZES = (48, 64, 96, 128)  # pixels, for photos; the embedded and downloaded images have one size
MEASURE_SECONDS = 8.0  # once a side takes this long, larger ones are extrapolated
STEPS = 5  # of a training that is measured; the first two, which are slow, are left out
DRAWN = 9  # networks, of which the one of medium work is measured
LOADED = 24  # images that are loaded
RUNNER_SECONDS = 5.0  # assumed for the user's own latency command, which the plan does not call


def settle(
    settings: Settings, limits: Limits, folder: Path, fixed: frozenset[str], on_stage: Callable[[str], None]
) -> tuple[Settings, Plan | None]:
    """The completed settings: classes and, with a time limit, the plan's choices for whatever the user left open.

    An existing study keeps its own choices and gets no new plan. Without a time limit the plan only estimates. fixed:
    those of resolution, epochs, rungs (which hold the next two), finalists, seeds and classes that the user gave.
    """
    space, recipe, rungs, plan = settings.space, settings.recipe, settings.rungs, None
    kept = Manifest.read(folder) if (folder / MANIFEST).exists() else None
    if kept is not None and kept.parent is not None and "rungs" not in fixed and kept.rungs.factors == Rungs.factors:
        rungs = dataclasses.replace(rungs, factors=kept.rungs.factors)  # the default inside a parent was this before
    if "classes" not in fixed:
        classes = kept.classes if kept else count_classes(settings.data, settings.data_dir, settings.download)
        space = space.deployed(space.resolution, classes)
    settings = dataclasses.replace(settings, space=space)
    check_limits(space, settings.cost_limits)  # parameters and bytes depend on the classes
    if kept is not None and kept.request is not None and kept.request.time is not None:
        own = kept.recipe
        if "epochs" not in fixed:
            recipe = dataclasses.replace(recipe, epochs=own.epochs, norm_images=own.norm_images)
        if "resolution" not in fixed:
            recipe = dataclasses.replace(recipe, resolution=own.resolution, crop=own.crop)
        if "rungs" not in fixed:
            given = {name: getattr(rungs, name) for name in ("finalists", "seeds") if name in fixed}
            rungs = dataclasses.replace(kept.rungs, rank_by=rungs.rank_by, **given)
    elif kept is None:
        fixed = frozenset(("resolution", "epochs", "rungs")) if limits.seconds is None else fixed
        source = find_source(settings.data, settings.data_dir, settings.download)
        check_classes(source)
        on_stage("measuring this machine with these images")
        pace = measure_pace(settings, source, "resolution" not in fixed and settings.data not in KNOWN_DATA)
        plan = make_plan(
            dataclasses.replace(pace, workers=limits.workers),
            _split_sizes(source, recipe),
            limits.seconds,
            recipe,
            rungs,
            networks=limits.trials,
            fixed=fixed,
        )
        recipe, rungs = plan.recipe, plan.rungs
    return dataclasses.replace(settings, recipe=recipe, rungs=rungs), plan


def _split_sizes(source: Source, recipe: Recipe) -> tuple[int, int]:
    """The numbers of training and validation images that the recipe takes."""
    val = round(source.val_fraction * len(source.labels))
    train = min(recipe.samples or len(source.labels), len(source.labels) - val)
    return train, min(recipe.val_samples or val, val, train)


def measure_pace(settings: Settings, source: Source, sizes: bool) -> Pace:
    """Train a network at the budget, and a parent that is fine-tuned, for a few steps, load some images and, with a
    limit, measure one latency.

    sizes: whether all of SIZES may be chosen, or only the recipe's.
    """
    start, recipe, device = time.monotonic(), settings.recipe, torch.device(settings.device)
    goals, limits = settings.objectives, settings.cost_limits
    proposer = Proposer(settings.space, settings.budget, goals, settings.sampler, settings.seed, limits=limits)
    drawn = [proposal.config for proposal in itertools.islice(iter(proposer.next, None), DRAWN)]
    if not drawn:
        raise nothing_inside(settings.space, settings.budget, limits)
    config = sorted(drawn, key=lambda one: _image_seconds(one, recipe))[len(drawn) // 2]
    rng = np.random.default_rng(0)
    begin = time.monotonic()
    with contextlib.suppress(DataError):  # damaged images are named, or skipped, when all are loaded
        source.read(rng.permutation(len(source.labels))[:LOADED], recipe.resolution)
    load_seconds = (time.monotonic() - begin) / min(LOADED, len(source.labels))
    network_seconds, latency_seconds = _network_seconds(config, settings)
    image_seconds: dict[int, float] = {}
    for size in SIZES if sizes else (recipe.resolution,):
        if len(image_seconds) > 1 and time.monotonic() - start > MEASURE_SECONDS:  # linear in the area
            (a, slow), (b, slower) = list(image_seconds.items())[-2:]
            image_seconds[size] = slower + max(0.0, slower - slow) * (size**2 - b**2) / (b**2 - a**2)
            continue
        image_seconds[size] = _image_pace(config, recipe, size, len(source.classes), device)
    parent = 0.0
    if settings.parent is not None and settings.parent.class_names != source.classes:
        side = min(image_seconds)
        parent = _image_pace(settings.parent.config, recipe, side, len(source.classes), device) / image_seconds[side]
    return Pace(image_seconds, load_seconds, network_seconds, latency_seconds, parent=parent)


def _image_pace(
    config: MobileFormerConfig | Reference, recipe: Recipe, size: int, classes: int, device: torch.device
) -> float:
    """Seconds to train on one image: the median step of a few, on noise."""
    images = np.random.default_rng(0).integers(0, 256, (recipe.batch, 3, size, size), dtype=np.uint8)
    labels = np.arange(recipe.batch) % classes
    grey = (0.5, 0.5, 0.5)
    names = tuple(map(str, range(classes)))
    noise = ImageData("noise", names, images, labels, images[:2], labels[:2], True, grey, grey, "")
    ends: list[float] = []  # of the steps
    short = dataclasses.replace(recipe, resolution=size, crop=0, norm_images=2, lr=1e-4)
    with one_thread():
        short_train(
            config,
            DeviceData(noise, device),
            short,
            seed=0,
            points=(STEPS,),
            on_step=lambda *_: ends.append(time.perf_counter()),
        )
    return statistics.median(b - a for a, b in itertools.pairwise(ends[1:])) / recipe.batch


def _network_seconds(config: MobileFormerConfig, settings: Settings) -> tuple[float, float]:
    """Seconds to build, check and cut one network, and to measure its latency in a search."""
    limited = settings.latency_limit_ms is not None
    with one_thread(), tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        path, begin = Path(folder) / "model.onnx", time.monotonic()
        side = config.resolution if limited else settings.recipe.resolution
        export_onnx(MobileFormer(config, seed=settings.seed), side, path)
        built = time.monotonic() - begin
        if settings.parent is not None:
            parent = MobileFormer(settings.parent.config)
            slopes = mean_coefficients(parent, torch.zeros(1, 3, 32, 32))
            begin = time.monotonic()
            cut(parent, config, coefficients=slopes)
            built += time.monotonic() - begin
        if not limited:
            return built, 0.0
        if settings.runner is not None:
            return built, RUNNER_SECONDS
        meter = kept_meter(1.0, settings.cache_dir)
        begin = time.monotonic()  # the reference network's own time may have been measured before this
        meter.measure(path, min_rounds=MIN_VALUES, max_rounds=MIN_VALUES)
        return built, (time.monotonic() - begin) * (MIN_VALUES + MIN_ROUNDS) / MIN_VALUES


def trainings_seconds(
    trainings: Sequence[tuple[MobileFormerConfig | Reference, float]],
    recipe: Recipe,
    source: Source,
    *,
    device: str = "cpu",
    workers: int = 1,
) -> float:
    """Seconds to train all networks for their epochs: the one of median cost is measured, the others are scaled from
    it."""
    by_work = sorted(_image_seconds(config, recipe) for config, _ in trainings)
    config = next(one for one, _ in trainings if _image_seconds(one, recipe) == by_work[len(by_work) // 2])
    pace = _image_pace(config, recipe, recipe.resolution, len(source.classes), torch.device(device))
    train, val = _split_sizes(source, recipe)
    judging = 2 * JUDGED * (min(recipe.norm_images, train) + val)
    work = sum(_image_seconds(one, recipe) * (epochs * train + judging) for one, epochs in trainings)
    return work * pace / _image_seconds(config, recipe) / workers


def _image_seconds(config: MobileFormerConfig | Reference, recipe: Recipe) -> float:
    """Seconds to train on one image, by the rough model."""
    if isinstance(config, Reference):
        madds = config.madds * (recipe.resolution / (config.resolution or recipe.resolution)) ** 2
    else:
        madds = count_madds(dataclasses.replace(config, resolution=recipe.resolution))
    return IMAGE_SECONDS + MADD_SECONDS * madds
