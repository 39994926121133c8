"""The origin of a network to bundle, with all that is known about it: a trial of a study, or a config alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mfsearch.config import MobileFormerConfig
from mfsearch.data import KNOWN_DATA, DataError
from mfsearch.export.bundle_manifest import BundleManifest, StudyOrigin
from mfsearch.export.bundle_metrics import BundleLatency, BundleMetrics, PublishedFile, SearchTraining
from mfsearch.export.standalone import CENTRE_SQUARE, SHORTER_SIDE, Normalisation, Preprocessing
from mfsearch.export.train_yaml import recommended_training
from mfsearch.study.files import without_password
from mfsearch.study.manifest import Manifest, NamedSpace
from mfsearch.study.study import Study
from mfsearch.study.trial import Trial

PROTOCOL = (
    "batch 1, fp32, ONNX Runtime on the CPU; median ratio to MobileNetV3-Large, timed in turns, times that network's "
    "own time on the device, with its 95 % interval"
)


@dataclass(frozen=True)
class Origin:
    """A network to bundle. weights: from its training, None without one (`note` says why). seed: of the initial
    weights. preprocessing: of the training images, at the network's own size. full_training: its plain data, if the
    weights come from one. published: their file, if they come from the authors' release."""

    name: str
    config: MobileFormerConfig
    weights: Path | Mapping[str, Tensor] | None
    note: str
    seed: int
    preprocessing: Preprocessing
    study: StudyOrigin | None = None
    latency: BundleLatency | None = None
    proxy: SearchTraining | None = None
    full_training: dict[str, Any] | None = None
    published: PublishedFile | None = None


def of_config(name: str, config: MobileFormerConfig) -> Origin:
    """A preset or another config, neither trained nor measured."""
    return Origin(name, config, None, "first weights, nothing trained", 0, of_training(config))


def of_training(config: MobileFormerConfig, trained_size: int | None = None) -> Preprocessing:
    """The preprocessing of the recommended training."""
    told = recommended_training(config)
    return Preprocessing(
        size=config.resolution,
        trained_size=trained_size,
        resize=SHORTER_SIDE,
        crop_pct=told["crop_pct"],
        interpolation=told["interpolation"],
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
    )


def of_metrics(config: MobileFormerConfig, manifest: BundleManifest, metrics: BundleMetrics) -> Preprocessing:
    """The preprocessing of a bundle, from what its other files record of the weights' training."""
    mean, std = manifest.normalisation or (None, None)
    if (full := metrics.full_training) is not None:
        settings = full.get("settings")
        settings = settings if isinstance(settings, dict) else {}
        size, crop_pct, interpolation = full.get("size"), settings.get("crop_pct"), settings.get("interpolation")
        found = Preprocessing(config.resolution, size if type(size) is int else None)
        if isinstance(crop_pct, int | float) and isinstance(interpolation, str):
            found = replace(found, resize=SHORTER_SIDE, crop_pct=crop_pct, interpolation=interpolation)
    elif not metrics.weights.trained_tensors:
        found = of_training(config)
    elif (published := metrics.weights.published) is not None:
        found = of_training(config, published.trained_size)
    elif metrics.proxy is not None:
        size = metrics.proxy.recipe.get("resolution")
        found = _of_search(config.resolution, size if type(size) is int else None)
    else:
        found = Preprocessing(config.resolution)
    return replace(found, mean=mean, std=std, class_names=metrics.class_names)


def _of_search(size: int, trained_size: int | None) -> Preprocessing:
    """The preprocessing of an image file by `mfsearch.data.load_data`."""
    return Preprocessing(size, trained_size, CENTRE_SQUARE, 1.0, "bilinear", jpeg_draft=True)


def of_trial(
    folder: Path,
    number: int,
    *,
    resolution: int | None = None,
    classes: int | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
) -> Origin:
    """A trial of the study in a folder, at its own or another resolution and number of classes.

    data, data_dir: the study's images, needed for the normalisation of older studies; an image folder is read only if
    `data` names it. Raises ValueError if there is no such trial.
    """
    study = Study.open(folder)
    trial, manifest = study.trial(number), study.manifest
    config = replace(
        trial.config,
        resolution=trial.config.resolution if resolution is None else resolution,
        classes=trial.config.classes if classes is None else classes,
    )
    weights = study.weights(number)
    preprocessing = of_training(config)
    if weights:
        normalisation, class_names = _images(manifest, data, data_dir)
        mean, std = normalisation or (None, None)
        searched = _of_search(config.resolution, manifest.recipe.resolution)
        preprocessing = replace(searched, mean=mean, std=std, class_names=class_names)
    return Origin(
        name=f"{study.name}:{number}",
        config=config,
        weights=weights,
        note="" if weights else _why_none(study, trial),
        seed=manifest.seed,
        preprocessing=preprocessing,
        study=_study(manifest, trial),
        latency=_latency(manifest, trial) if config == trial.config else None,
        proxy=_proxy(manifest, trial),
    )


def _why_none(study: Study, trial: Trial) -> str:
    """A sentence on why there are no trained weights."""
    if trial.outcome != "trained":
        return f"first weights: trial {trial.number} was {trial.outcome}"
    if trial in study.front():
        return f"first weights: trial {trial.number} is on the front, but the training's were not kept"
    return f"first weights: the training's are kept for the front only, trial {trial.number} is not on it"


def _images(
    manifest: Manifest, data: str | None, data_dir: Path | None
) -> tuple[Normalisation | None, tuple[str, ...] | None]:
    """Normalisation and class names of the study's images: from the manifest, else from the images themselves."""
    if manifest.mean is not None and manifest.std is not None:
        return Normalisation(manifest.mean, manifest.std), manifest.class_names
    name = data or manifest.data.name
    if data is None and name not in KNOWN_DATA:
        return None, None
    try:
        images = manifest.recipe.load_images(name, data_dir=data_dir, seed=manifest.seed, skip_damaged=True)
    except DataError:
        return None, None
    if images.digest != manifest.data.digest:
        return None, None
    return Normalisation(images.mean, images.std), images.classes


def _study(manifest: Manifest, trial: Trial) -> StudyOrigin:
    return StudyOrigin(
        name=manifest.study,
        trial=trial.number,
        seed=manifest.seed,
        space=NamedSpace(manifest.space.name, manifest.space.digest),
        data=manifest.data,
        params=trial.params,
        command=without_password(manifest.command or "") or None,
        created=manifest.created,
        versions=dict(manifest.versions) or None,
        git_revision=manifest.git_revision,
        parent=manifest.parent,
    )


def _latency(manifest: Manifest, trial: Trial) -> BundleLatency | None:
    if trial.latency is None:
        return None
    command = manifest.latency_cmd
    return BundleLatency(
        **trial.latency.to_dict(),
        passport=None if manifest.passport is None else dict(manifest.passport),
        protocol=PROTOCOL if command is None else f"measured by the program {without_password(command)}",
        by_program=command is not None,
        baseline_ms=manifest.baseline_ms,
        measured=trial.finished if trial.final is None else trial.final.finished,
    )


def _proxy(manifest: Manifest, trial: Trial) -> SearchTraining | None:
    if trial.outcome != "trained" or trial.short is None or trial.top1 is None:
        return None
    kept = manifest.to_dict()  # as in the file: an older study's recipe lacks later fields
    return SearchTraining(
        top1=trial.top1,
        top1_std=trial.top1_std,
        top1_short=trial.top1_short if trial.rung else None,
        score=trial.short.score,
        rung=trial.rung or None,
        epochs=trial.epochs,
        train_seconds=trial.short.train_seconds,
        device=trial.device,
        finished=trial.finished,
        seeds=tuple(training.seed for training in trial.longest),
        rungs=kept.get("rungs"),
        recipe=kept["recipe"],
        data=manifest.data,
    )
