"""A bundle: one network in a folder, to be verified, rebuilt and trained without the search.

arch.yaml           every number of the network
model.py            the network in torch alone
preprocess.json     how an image becomes the network's input, and the classes; also in model.py and model.onnx
weights.safetensors its weights, trained or initial
model.onnx          for ONNX Runtime; with --int8 also model.int8.onnx
model.pte           for ExecuTorch, if requested
train.yaml          the paper's training for this size, as keys of timm's train.py
metrics.json        costs, latency, accuracy, each with how it was obtained
README.md           the model card
manifest.json       SHA-256 of all other files, versions, seeds, origin; written last
"""

import importlib.metadata
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from torch import Tensor

from mfsearch.config import MobileFormerConfig, load_config
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.data import ImageData
from mfsearch.export.bundle_manifest import (
    ARCH,
    CARD,
    FILES,
    MANIFEST,
    METRICS,
    MODEL,
    ONNX,
    PREPROCESS,
    PTE,
    TRAINING,
    WEIGHTS,
    BundleManifest,
    changed,
    read_manifest,
    told_normalisation,
    write_json,
    write_manifest,
)
from mfsearch.export.bundle_metrics import BundleMetrics, OnnxFile, WeightsOrigin, read_preprocessing
from mfsearch.export.card import write_card
from mfsearch.export.executorch import check_installed, write_pte
from mfsearch.export.origin import Origin, of_metrics, of_trial
from mfsearch.export.replacing import finish_replacing, new_files
from mfsearch.export.source import (
    check_fit,
    costs_of,
    measured_here,
    onnx_metadata,
    read_tensors,
    take_weights,
    write_int8,
    write_network,
)
from mfsearch.export.standalone import GENERATOR, Preprocessing
from mfsearch.export.train_yaml import load_training, recommended_training, save_training
from mfsearch.model import MobileFormer
from mfsearch.study.files import now

CHECKED = (ARCH, METRICS, TRAINING, WEIGHTS, PREPROCESS)  # files whose hashes `read_bundle` checks
PACKAGES = ("mfsearch", "torch", "onnx", "onnxruntime", "safetensors", "fvcore", "numpy")


class Bundle(NamedTuple):
    """The content of a bundle, read and checked. weights: their file, None if there is none."""

    folder: Path
    config: MobileFormerConfig
    manifest: BundleManifest
    metrics: BundleMetrics
    training: dict[str, Any]
    weights: Path | None
    preprocessing: Preprocessing


class BundleFiles(NamedTuple):
    """The written files. warm: number of trained tensors; fresh: re-initialised ones (the classifier); note: a sentence
    on the weights; onnx_difference: from torch, as a fraction of the largest logit."""

    folder: Path
    files: list[str]
    warm: int
    fresh: list[str]
    note: str
    onnx_difference: float


def write_bundle(
    origin: Origin,
    folder: Path,
    *,
    command: str = "",
    dynamic_batch: bool = False,
    int8: ImageData | None = None,
    executorch: bool = False,
    measure: bool = False,
    cache_dir: Path | None = None,
) -> BundleFiles:
    """Write a network into a new or empty folder. A new folder appears whole; in an empty one the manifest comes last.

    If the short training had another number of classes than config.classes, the classifier is re-initialised: a start
    for a full training, not a network to deploy. int8: images to calibrate and judge model.int8.onnx. executorch: also
    write model.pte. measure: measure the latency here if the study did not. Raises ValueError if the folder is not
    empty or executorch is missing, ExportError if ONNX Runtime or ExecuTorch disagrees with torch, and OSError.
    """
    check_new(folder)
    if executorch:
        check_installed()
    config = origin.config
    model = MobileFormer(config, seed=origin.seed)
    warm, fresh = 0, list[str]()
    if origin.weights is not None:
        warm, fresh = take_weights(model, origin.weights)
    full = origin.full_training if warm and not fresh else None
    published = origin.published
    source = "the longest training it got" if published is None else f"the authors' release, file {published.name}"
    if origin.proxy is not None and origin.proxy.epochs == 0:
        source = "its parent, without training"
    note = origin.note if origin.weights is None else f"{warm} tensors from {source}"
    if full is not None:
        note = "weights of a full training"
    if fresh:
        note += f", {len(fresh)} re-initialised for {config.classes} classes ({', '.join(fresh)})"
    preprocessing = origin.preprocessing
    if fresh or not warm:
        preprocessing = replace(preprocessing, class_names=None)
    with _whole(folder) as part:
        difference = write_network(model, part, preprocessing, None if dynamic_batch else 1)
        config.save(part / ARCH)
        header = f"The paper's training for this network ({config.arch_id}), as keys of timm's train.py."
        save_training(recommended_training(config), part / TRAINING, header=header)
        metrics = BundleMetrics(
            arch_id=config.arch_id,
            costs=costs_of(model),
            latency=origin.latency or (measured_here(model, cache_dir) if measure else None),
            proxy=origin.proxy,
            weights=WeightsOrigin(warm, tuple(fresh), note, published),
            onnx=OnnxFile("any" if dynamic_batch else 1, difference),
            executorch=write_pte(model, part / PTE) if executorch else None,
            full_training=full,
            class_names=preprocessing.class_names,
        )
        if int8 is not None:
            judged = write_int8(model, part, preprocessing, int8, judge=warm > 0 and not fresh)
            metrics = replace(metrics, int8=judged)
        manifest = BundleManifest(
            bundle=origin.name,
            arch_id=config.arch_id,
            created=now(),
            command=command or None,
            seed=origin.seed,
            normalisation=preprocessing.normalisation,
            study=origin.study,
            generator=GENERATOR,
            versions=_versions(),
        )
        _write_facts(part, config, manifest, metrics, preprocessing)
    files = [name for name in (*FILES, MANIFEST) if (folder / name).exists()]
    return BundleFiles(folder, files, warm, fresh, note, difference)


def of_bundle(folder: Path, *, resolution: int | None = None, classes: int | None = None) -> Origin:
    """The network and weights of a bundle, to export again with other options, such as another size or int8.

    The new train.yaml is the recommended one. Raises the ValueErrors of `read_bundle`.
    """
    bundle = read_bundle(folder)
    manifest, metrics = bundle.manifest, bundle.metrics
    weights: Path | dict[str, Tensor] | None = bundle.weights if metrics.weights.trained_tensors else None
    if bundle.weights is not None and weights is not None and (fresh := metrics.weights.fresh_tensors):
        weights = {name: one for name, one in read_tensors(bundle.weights).items() if name not in fresh}
    config = replace(
        bundle.config,
        resolution=bundle.config.resolution if resolution is None else resolution,
        classes=bundle.config.classes if classes is None else classes,
    )
    return Origin(
        name=manifest.bundle,
        config=config,
        weights=weights,
        note=metrics.weights.note,
        seed=manifest.seed,
        preprocessing=replace(bundle.preprocessing, size=config.resolution),
        study=manifest.study,
        latency=metrics.latency if config == bundle.config else None,
        proxy=metrics.proxy,
        full_training=metrics.full_training,
        published=metrics.weights.published,
    )


def read_bundle(folder: Path) -> Bundle:
    """Read the bundle in a folder and check the hash of every file that is read; ValueError names the file."""
    finish_replacing(folder)
    manifest = read_manifest(folder)
    for name in CHECKED:
        if name in manifest.files and (wrong := changed(folder, name, manifest.files[name])):
            raise ValueError(f"{folder / name}: {wrong}")
    config = load_config(folder / ARCH)
    if config.arch_id != manifest.arch_id:
        raise ValueError(f"{folder / ARCH}: is the network {config.arch_id}, {MANIFEST} says {manifest.arch_id}")
    metrics = BundleMetrics.read(folder)
    if metrics.class_names is not None and len(metrics.class_names) != config.classes:
        told = len(metrics.class_names)
        raise ValueError(f"{folder / METRICS}: class_names must be {config.classes}, as in {ARCH}, got {told}")
    if not 0 <= manifest.seed < 1 << 63:
        raise ValueError(f"{folder / MANIFEST}: seed must be 0 to 2^63 - 1, got {manifest.seed}")
    preprocessing = read_preprocessing(folder) if PREPROCESS in manifest.files else None
    names = None if preprocessing is None else preprocessing.class_names
    if names is not None and len(names) != config.classes:
        raise ValueError(f"{folder / PREPROCESS}: class_names must be {config.classes}, as in {ARCH}, got {len(names)}")
    try:  # a training writes the card at its end, so plain data from elsewhere is checked here
        preprocessing = preprocessing or of_metrics(config, manifest, metrics)
        write_card(config, manifest, metrics, preprocessing)
    except Exception as error:
        raise ValueError(f"{folder / METRICS}: a value in it is of the wrong kind ({error!s:.200})") from None
    weights = folder / WEIGHTS if WEIGHTS in manifest.files else None
    return Bundle(folder, config, manifest, metrics, load_training(folder / TRAINING), weights, preprocessing)


def load_network(folder: Path) -> MobileFormer:
    """The network of a bundle with its weights, in eval mode; ValueError names the faulty file."""
    bundle = read_bundle(folder)
    model = MobileFormer(bundle.config, seed=bundle.manifest.seed)
    if bundle.weights is not None:
        check_fit(model, read_tensors(bundle.weights), bundle.weights)
        model.load_state_dict(read_tensors(bundle.weights))
    return model.eval()


def replace_weights(folder: Path, weights: Path, *, result: Mapping[str, Any]) -> list[str]:
    """Put the weights of a full training into a bundle and return the names of the files that changed.

    result: plain data of the training, kept as full_training in metrics.json and shown in the card. Three of its keys
    are used: mean and std (normalisation of pixels on the scale 0 to 1) and class_names (in the order of the logits).
    ONNX file, model.py, card and manifest are written again; model.int8.onnx and model.pte, made from the old weights,
    are deleted. An interrupted replacement leaves the old bundle or, once all files are written, one that the next
    reader completes. Raises ValueError if the weights are of another network or not finite, or the result is not JSON.
    """
    bundle = read_bundle(folder)
    config, metrics = bundle.config, bundle.metrics
    model = MobileFormer(config)
    tensors = read_tensors(weights)
    check_fit(model, tensors, weights)
    model.load_state_dict(tensors)
    try:
        trained = json.loads(json.dumps(dict(result), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the result of a training must be plain data for JSON: {error}") from None
    normalisation = bundle.manifest.normalisation
    if "mean" in trained or "std" in trained:
        normalisation = told_normalisation({"mean": trained.get("mean"), "std": trained.get("std")})
    names = trained.pop("class_names", None)
    if names is not None and (len(names) != config.classes or not all(isinstance(name, str) for name in names)):
        raise ValueError(f"class_names must be {config.classes} names, as the network has classes, got {len(names)}")
    metrics = replace(
        metrics,
        weights=WeightsOrigin(len(tensors), (), "weights of a full training"),
        int8=None,
        executorch=None,
        full_training=trained,
        class_names=metrics.class_names if names is None else tuple(names),
    )
    manifest = replace(bundle.manifest, normalisation=normalisation, versions=_versions(), changed=now())
    preprocessing = of_metrics(config, manifest, metrics)
    with new_files(folder) as part:
        difference = write_network(model, part, preprocessing, None if metrics.onnx.batch == "any" else 1)
        metrics = replace(metrics, onnx=replace(metrics.onnx, largest_deviation=difference))
        for name in (ARCH, TRAINING):
            shutil.copyfile(folder / name, part / name)
        _write_facts(part, config, manifest, metrics, preprocessing)
    return [WEIGHTS, ONNX, MODEL, PREPROCESS, METRICS, CARD, MANIFEST]


def _write_facts(
    part: Path,
    config: MobileFormerConfig,
    manifest: BundleManifest,
    metrics: BundleMetrics,
    preprocessing: Preprocessing,
) -> None:
    """Write the files that describe the others, the manifest last."""
    write_json(part / METRICS, metrics.to_dict())
    (part / CARD).write_text(write_card(config, manifest, metrics, preprocessing), encoding="utf-8")
    write_manifest(part, manifest)


def write_zip(folder: Path, file: IO[bytes], *, root: str = "bundle") -> None:
    """Write a bundle as a zip archive with one folder; the same bundle always gives the same bytes."""
    names = [*read_manifest(folder).files, MANIFEST]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # weights do not compress
        for name in names:
            with (folder / name).open("rb") as source, archive.open(zipfile.ZipInfo(f"{root}/{name}"), "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def trial_zip(study: Path, number: int, data_dir: Path | None = None) -> bytes:
    """The bundle of a trial as a zip archive under trial-0007/; ValueError if there is no such trial."""
    target = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as place:
        folder = Path(place) / "bundle"
        write_bundle(of_trial(study, number, data_dir=data_dir), folder)
        write_zip(folder, target, root=f"trial-{number:04}")
    return target.getvalue()


def trial_onnx(study: Path, number: int, data_dir: Path | None = None) -> bytes:
    """The ONNX file of a trial's bundle; ValueError if there is no such trial."""
    origin = of_trial(study, number, data_dir=data_dir)
    model = MobileFormer(origin.config, seed=origin.seed)
    if origin.weights is not None:
        take_weights(model, origin.weights)
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as place:
        path = Path(place) / ONNX
        told = origin.preprocessing
        metadata = onnx_metadata(origin.config, told.normalisation, told)
        export_onnx(model, origin.config.resolution, path, metadata=metadata)
        return path.read_bytes()


def check_new(folder: Path) -> None:
    """Raise ValueError unless the folder is new or empty."""
    if folder.is_symlink() and not folder.exists():
        raise ValueError(f"{folder} must be a new or an empty folder, it is a link to nothing")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} must be a new or an empty folder")


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place at the end, in one step if `folder` is new."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        part = Path(place) / "bundle"
        part.mkdir()
        yield part
        if folder.exists():
            for name in (*FILES, MANIFEST):
                if (part / name).exists():
                    (part / name).replace(folder / name)
        else:
            part.rename(folder)


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES}
