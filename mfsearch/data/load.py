"""Loads the images of a search by a data set's name or folder, in one call."""

import difflib
import os
from pathlib import Path

import numpy as np

from mfsearch.data.cifar import CIFARS, cifar_source
from mfsearch.data.digits import digits_source
from mfsearch.data.folder import folder_source, left_out_note, shared_note, skipped_note
from mfsearch.data.image_data import DamagedError, DataError, ImageData, Indices, Source, first_lines
from mfsearch.data.pixels import channel_mean_std, digest_of
from mfsearch.data.split import class_shares, stratified_split, stratified_subset

KNOWN_DATA = ("digits", *CIFARS)
MIN_RESOLUTION, MAX_RESOLUTION = 8, 512


def load_data(
    spec: str,
    *,
    resolution: int,
    data_dir: Path | None = None,
    samples: int | None = None,
    val_samples: int | None = None,
    val_fraction: float | None = None,
    seed: int = 0,
    download: bool = False,
    skip_damaged: bool = False,
    notes: bool = True,
) -> ImageData:
    """The training and validation images of a search, square at `resolution` pixels, shuffled by the seed.

    spec: "digits", "cifar10", "cifar100" or the path of an image folder (write "./digits" for a folder of that name).
    data_dir: CIFAR's folder; `download` allows downloading it there.
    val_fraction: the stratified validation split as a fraction of the training part; default 0.25 for digits, 0.1 for
        others. The split depends on this and the seed alone, so any number of samples has the same validation images.
    samples: number of training images, stratified and chosen before decoding; default all.
    val_samples: number of validation images; default all, but at most `samples`.
    skip_damaged: leave damaged files out of the chosen images, with a note; otherwise DamagedError names them all.
    notes: find the notes on a folder, which may hash thousands of files; without them the images are the same.
    Test splits are never read: CIFAR's test batch, a folder's val/ and test/, and a fixed fifth of digits.
    """
    if not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        raise DataError(f"resolution must be {MIN_RESOLUTION}..{MAX_RESOLUTION} pixels, got {resolution}")
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise DataError(f"val_fraction must lie between 0 and 1, got {val_fraction}")
    if seed < 0:
        raise DataError(f"seed must be 0 or more, got {seed}")
    try:
        source = find_source(spec, data_dir, download)
        check_classes(source)
        fraction = source.val_fraction if val_fraction is None else val_fraction
        val, train = stratified_split(source.labels, fraction, seed)
        if samples is not None:
            train = _subset(source, train, samples, seed, "samples")
            val_samples = min(samples, len(val)) if val_samples is None else val_samples
        if val_samples is not None:
            val = _subset(source, val, val_samples, seed, "val_samples")
        _check_memory(source, len(train) + len(val), resolution)
        train, val = (np.random.default_rng(seed).permutation(part) for part in (train, val))  # independent of another
        skipped: dict[int, str] = {}
        try:
            images = source.read(np.concatenate([train, val]), resolution)
        except DamagedError as error:
            if not skip_damaged:
                raise
            skipped = dict(error.files)
            train, val = without_damaged(source, train, val, skipped)
            images = source.read(np.concatenate([train, val]), resolution)
        train_images, val_images = images[: len(train)], images[len(train) :]
        told = notes_of(source, train, val, skipped) if notes else ()
    except OSError as error:
        raise DataError(f"cannot read {spec}: {error}") from error
    train_labels, val_labels = source.labels[train], source.labels[val]
    mean, std = channel_mean_std(train_images)
    return ImageData(
        name=source.name,
        classes=source.classes,
        train_images=train_images,
        train_labels=train_labels,
        val_images=val_images,
        val_labels=val_labels,
        flip=source.flip,
        mean=mean,
        std=std,
        digest=digest_of(source.classes, (train_images, train_labels), (val_images, val_labels)),
        notes=told,
    )


def without_damaged(source: Source, train: Indices, val: Indices, damaged: dict[int, str]) -> tuple[Indices, Indices]:
    """Both splits without the images at these positions in train + val; DataError if a class loses all of a split."""
    kept = ~np.isin(np.arange(len(train) + len(val)), [*damaged])
    parts = train[kept[: len(train)]], val[kept[len(train) :]]
    for part, words in zip(parts, ("training", "validation"), strict=True):
        if lost := sorted(set(range(len(source.classes))) - set(source.labels[part].tolist())):
            left = f"class '{source.classes[lost[0]]}' has no {words} image left without the damaged ones"
            raise DataError("\n  ".join([f"{source.place}: {left}:", *first_lines(damaged)]))
    return parts


def notes_of(source: Source, train: Indices, val: Indices, skipped: dict[int, str]) -> tuple[str, ...]:
    """The notes of ImageData for a folder's images."""
    notes = [left_out_note(source.left_out), skipped_note(skipped)]
    if source.paths:
        notes.append(shared_note([source.paths[i] for i in train], [source.paths[i] for i in val]))
    return tuple(filter(None, notes))


def find_source(spec: str, data_dir: Path | None, download: bool, *, test: bool = False) -> Source:
    """The labelled images that `load_data` would read under this name; DataError lists the known names. test: the test
    split of a named data set instead."""
    if spec == "digits":
        return digits_source(test=test)
    if spec in CIFARS:
        return cifar_source(spec, _expand(data_dir) if data_dir else None, download, test=test)
    return folder_source(image_folder(spec))


def check_data_name(spec: str) -> None:
    """DataError unless `spec` is a data set's name or a folder; nothing is read."""
    if spec not in KNOWN_DATA:
        image_folder(spec)


def image_folder(spec: str) -> Path:
    """The folder that `spec` names; DataError lists the known names."""
    folder = _expand(spec)
    if spec and folder.is_dir():
        return folder
    plain = "".join(letter for letter in spec.lower() if letter.isalnum())
    near = difflib.get_close_matches(plain, KNOWN_DATA, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    what = f"{spec} is a file, not a folder" if spec and folder.exists() else f"no data set or folder '{spec}'"
    raise DataError(f"{what[:200]}{hint} Known are {', '.join(KNOWN_DATA)} and the path of an image folder")


def count_classes(spec: str, data_dir: Path | None, download: bool) -> int:
    """The number of classes of the images; CIFAR is not read for it."""
    return {"digits": 10, "cifar10": 10, "cifar100": 100}.get(spec) or len(
        find_source(spec, data_dir, download).classes
    )


def _expand(path: str | Path) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111  (Path.expanduser raises where there is no such user)


def check_classes(source: Source, needed: int = 2) -> None:
    """Raise DataError if a class has fewer images than needed: two, one for each split, or one."""
    for name, size in zip(source.classes, np.bincount(source.labels, minlength=len(source.classes)), strict=True):
        if size < needed:
            left = f" ({note})" if (note := left_out_note(source.left_out)) else ""
            rule = "2 images, one for validation" if needed == 2 else "an image"
            way = f"add images to {source.place}/{name}, or delete that folder"
            raise DataError(f"{source.place}: class '{name}' must have {rule}, got {size}{left}; {way}")


def _subset(source: Source, part: np.ndarray, count: int, seed: int, what: str) -> np.ndarray:
    """A stratified subset of `part`; every class is in it."""
    if not len(source.classes) <= count <= len(part):
        split = "training" if what == "samples" else "validation"
        raise DataError(
            f"{what} must be {len(source.classes)}..{len(part)} for {source.name} (from one per class to the whole "
            f"{split} split), got {count}"
        )
    labels = source.labels[part]
    return part[stratified_subset(labels, class_shares(np.bincount(labels), count), seed)]


def _check_memory(source: Source, count: int, resolution: int) -> None:
    """Raise DataError before hours of decoding if the images cannot fit in memory; no check if its size is unknown."""
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    needed = count * 3 * resolution**2
    if needed > available:
        raise DataError(
            f"{source.place}: {count} images at {resolution} px need {needed / 1e9:.1f} GB of memory, this machine has "
            f"{available / 1e9:.1f} GB; ask for fewer samples or a lower resolution"
        )
