"""Uses the network of a bundle: the classes of photos, and its accuracy on labelled images.

Images are prepared as the bundle's preprocess.json says, by Pillow and numpy alone.
"""

import importlib.util
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mfsearch.data.folder import FORMATS, errors_of, image_files, left_out_note, open_image, skipped_note
from mfsearch.data.image_data import DamagedError, DataError, first_lines
from mfsearch.data.load import KNOWN_DATA, find_source
from mfsearch.export.bundle import Bundle, load_network, read_bundle
from mfsearch.export.bundle_manifest import INT8, ONNX, PREPROCESS, changed
from mfsearch.export.run_apart import RUN_SECONDS, run_apart
from mfsearch.export.standalone import CENTRE_SQUARE, Preprocessing
from mfsearch.train.images import STORED_SIDE, ArraySplit
from mfsearch.units import counted

if TYPE_CHECKING:
    from PIL import Image

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CHUNK_BYTES = 64 << 20  # of prepared images that one process gets
IMAGENET_CLASSES = 1000
MOST_PIXELS = 1 << 26  # of a resized image, before its centre is cropped

Array = NDArray[Any]
Runner = Callable[[Array], Array]  # images [N, 3, S, S] to logits [N, K]
Reader = Callable[[int], Array]  # number of an image to its pixels [3, S, S], prepared
Labelled = tuple[str, Reader, NDArray[np.int64], tuple[str, ...], list[str | None]]


@dataclass(frozen=True)
class PhotoClasses:
    """The likeliest classes of a photo with their probabilities, the likeliest first."""

    photo: str
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class RightAnswers:
    """right of images, as a fraction with its exact binomial 95 % interval."""

    right: int
    images: int

    @property
    def value(self) -> float:
        return self.right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        from scipy.stats import binomtest

        found = binomtest(self.right, self.images).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    def to_dict(self) -> dict[str, float]:
        low, high = self.interval
        return {"value": self.value, "low": low, "high": high, "right": self.right, "images": self.images}


@dataclass(frozen=True)
class FileAccuracy:
    """The accuracy of one ONNX file. confusion: [K, K] images by true class and predicted class."""

    file: str
    top1: RightAnswers
    top5: RightAnswers
    confusion: NDArray[np.int64]

    def of_class(self, k: int) -> RightAnswers:
        """top1 of the images of one class."""
        return RightAnswers(int(self.confusion[k, k]), int(self.confusion[k].sum()))

    def confusions(self) -> list[tuple[int, int, int]]:
        """True class, predicted class and number of images of every kind of mistake, the most frequent first."""
        wrong_KK = self.confusion - np.diag(np.diag(self.confusion))
        pairs = [(int(a), int(b), int(wrong_KK[a, b])) for a, b in np.argwhere(wrong_KK)]
        return sorted(pairs, key=lambda pair: -pair[2])


@dataclass(frozen=True)
class BundleAccuracy:
    """The accuracy of a bundle in fp32, and in int8 if it has such a file. same_top1: share of equal answers of both.
    notes: sentences on images that were left out and names that are not known."""

    place: str
    classes: tuple[str, ...]
    fp32: FileAccuracy
    int8: FileAccuracy | None = None
    same_top1: float | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""

        def told(one: FileAccuracy) -> dict[str, Any]:
            names = self.classes
            return {
                "file": one.file,
                "top1": one.top1.to_dict(),
                "top5": one.top5.to_dict(),
                "by_class": {name: one.of_class(k).to_dict() for k, name in enumerate(names) if one.confusion[k].any()},
                "confusions": [{"is": names[a], "taken_for": names[b], "images": n} for a, b, n in one.confusions()],
            }

        parts = {"fp32": told(self.fp32), "int8": self.int8 and told(self.int8), "same_top1": self.same_top1}
        return {"data": self.place, "images": self.fp32.top1.images, **parts, "notes": list(self.notes)}


def predict(
    folder: Path,
    photos: Sequence[Path],
    *,
    top: int = 5,
    by_torch: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> list[PhotoClasses]:
    """The `top` likeliest classes of each photo, by ONNX Runtime or by torch.

    A photo is any image that Pillow opens; of an animation it is the first frame. on_note: gets a sentence if classes
    have numbers for names. ValueError names every photo that cannot be read, or says why the bundle cannot be used.
    """
    from PIL import Image

    if top < 1:
        raise ValueError(f"--top must be 1 or more, got {top}")
    bundle = _usable(folder)
    run = _by_torch(folder) if by_torch else _by_onnx(bundle, ONNX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # 90 to 179 million pixels; more are an error
        (logits_NK,), damaged = _answers(bundle, _files(bundle, photos, _decoded_formats()), len(photos), [run])
    if damaged:
        raise DataError("\n  ".join([f"{len(damaged)} of {counted(len(photos), 'photo')}:", *first_lines(damaged)]))
    names, note = _class_names(bundle)
    for one in filter(None, (note, _size_note(bundle))):
        on_note(one)
    likelihoods_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    shares_NK = likelihoods_NK / likelihoods_NK.sum(axis=1, keepdims=True)
    best_NT = np.argsort(-shares_NK, axis=1, kind="stable")[:, :top]
    return [
        PhotoClasses(str(photo), tuple((names[k], float(shares_K[k])) for k in best_T))
        for photo, best_T, shares_K in zip(photos, best_NT, shares_NK, strict=True)
    ]


def _size_note(bundle: Bundle) -> str | None:
    """A sentence if the network runs at another image size than it was trained at."""
    size, trained = bundle.config.resolution, bundle.preprocessing.trained_size
    if trained in (None, size):
        return None
    way = f"`mfsearch export {bundle.folder} --resolution {trained} --to DIR`"
    return f"the weights were trained at {trained} px, the bundle is for {size} px: {way} may be more accurate"


def evaluate(
    folder: Path,
    data: str | Path,
    *,
    split: str | None = None,
    data_dir: Path | None = None,
    download: bool = False,
    skip_damaged: bool = False,
) -> BundleAccuracy:
    """The accuracy of a bundle in fp32, and in int8 if it has such a file.

    data: "digits", "cifar10" or "cifar100" (in data_dir) for its test split, or a folder of SPLIT/CLASS/*.jpg, split
    "val" by default. The classes must be those of the bundle; without recorded names as many, in the order of their
    names. ValueError names the first class that differs, the damaged images unless skip_damaged, or why the bundle
    cannot be used.
    """
    bundle = _usable(folder)
    if data in KNOWN_DATA:
        if split not in (None, "test"):
            raise DataError(f"--split is for image folders, {data} is judged by its test split; got {split!r:.200}")
        place, read, labels_N, classes, notes = _named(bundle, str(data), data_dir, download)
    else:
        place, read, labels_N, classes, notes = _labelled(bundle, Path(data), split or "val")
    files = [name for name in (ONNX, INT8) if name in bundle.manifest.files]
    runners = [_by_onnx(bundle, name) for name in files]
    answers, damaged = _answers(bundle, read, len(labels_N), runners)
    if damaged and not skip_damaged:
        raise DamagedError(place, damaged)
    if len(damaged) == len(labels_N):
        raise DataError("\n  ".join([f"{place}: no image can be read:", *first_lines(damaged)]))
    labels_N = np.delete(labels_N, list(damaged))
    told = [_accuracy(name, logits_NK, labels_N) for name, logits_NK in zip(files, answers, strict=True)]
    same = float((answers[0].argmax(1) == answers[-1].argmax(1)).mean()) if len(files) == 2 else None
    judged_by = str((bundle.metrics.full_training or {}).get("val_from", ""))
    chosen = judged_by != "" and os.path.abspath(judged_by) == os.path.abspath(place)  # noqa: PTH100  (of words as well)
    choice = f"the training chose its best epoch by {place}, so top1 is a little high there" if chosen else ""
    told_notes = tuple(note for note in (*notes, skipped_note(damaged), _size_note(bundle), choice) if note)
    return BundleAccuracy(place, classes, told[0], told[1] if len(files) == 2 else None, same, told_notes)


def prepared(image: "Image.Image", told: Preprocessing) -> Array:
    """An RGB image as float32 [3, S, S], in the steps of preprocess.json, whose values must all be known."""
    from PIL import Image

    assert told.resize_to is not None
    assert told.interpolation is not None
    how, to, size = Image.Resampling[told.interpolation.upper()], told.resize_to, told.size
    width, height = image.size
    short = min(width, height)
    if told.resize == CENTRE_SQUARE:
        left, top = (width - short) / 2, (height - short) / 2
        image = image.resize((to, to), how, box=(left, top, left + short, top + short))
    else:
        wide, high = to * width // short, to * height // short
        if wide * high > MOST_PIXELS:
            raise DataError(f"too long and narrow: {width} x {height} px would become {wide} x {high}")
        image = image.resize((wide, high), how)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    pixels_HWC = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / np.float32(255)
    normalised_HWC = (pixels_HWC - np.array(told.mean, np.float32)) / np.array(told.std, np.float32)
    return np.ascontiguousarray(normalised_HWC.transpose(2, 0, 1))


def _usable(folder: Path) -> Bundle:
    """The bundle in a folder; ValueError unless it is trained and its preprocessing is known."""
    bundle = read_bundle(folder)
    weights, told = bundle.metrics.weights, bundle.preprocessing
    if not weights.trained_tensors:
        raise ValueError(f"{folder} holds first weights, nothing trained: `mfsearch train` trains it")
    if weights.fresh_tensors:
        raise ValueError(f"{folder} has a re-initialised classifier, not trained: `mfsearch train` trains it")
    unknown = [name for name in ("resize", "crop_pct", "interpolation", "mean", "std") if getattr(told, name) is None]
    if unknown:
        raise ValueError(f"{folder / PREPROCESS}: {unknown[0]} is not known, so images cannot be prepared")
    if told.interpolation not in FILTERS:
        known = ", ".join(FILTERS)
        raise ValueError(f"{folder / PREPROCESS}: interpolation must be one of {known}, got {told.interpolation!r:.80}")
    if told.size != bundle.config.resolution:
        side = bundle.config.resolution
        raise ValueError(f"{folder / PREPROCESS}: size must be {side}, as in arch.yaml, got {told.size}")
    if (told.resize_to or 0) ** 2 > MOST_PIXELS:
        raise ValueError(f"{folder / PREPROCESS}: crop_pct is {told.crop_pct}, so images would be {told.resize_to} px")
    return bundle


def _decoded_formats() -> tuple[str, ...]:
    """All formats that Pillow decodes by itself; it runs Ghostscript for EPS."""
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.OPEN if name != "EPS")


def _files(bundle: Bundle, paths: Sequence[Path], formats: Sequence[str]) -> Reader:
    """Image files as `prepared` gives them; DataError names the file."""
    told = bundle.preprocessing

    def read(i: int) -> Array:
        image = open_image(paths[i], told.size if told.jpeg_draft else None, formats)
        try:
            return prepared(image, told)
        except DataError as error:
            raise DataError(f"{paths[i]}: {error}") from None

    return read


def _by_onnx(bundle: Bundle, name: str) -> Runner:
    path = bundle.folder / name
    if wrong := changed(bundle.folder, name, bundle.manifest.files[name]):
        raise ValueError(f"{path}: {wrong}")

    def run(images_NCHW: Array) -> Array:
        batches = [image_CHW[None] for image_CHW in images_NCHW]
        logits_NK = np.concatenate(run_apart(path, batches, RUN_SECONDS + len(batches)))
        if logits_NK.shape != (len(batches), bundle.config.classes) or not np.isfinite(logits_NK).all():
            raise ValueError(f"{path} must give {bundle.config.classes} finite logits, got {logits_NK.shape[1:]}")
        return logits_NK

    return run


def _by_torch(folder: Path) -> Runner:
    network = load_network(folder)

    def run(images_NCHW: Array) -> Array:
        with torch.inference_mode():
            return network(torch.from_numpy(images_NCHW)).numpy()  # type: ignore[no-any-return]

    return run


def _answers(bundle: Bundle, read: Reader, count: int, runners: Sequence[Runner]) -> tuple[list[Array], dict[int, str]]:
    """Each runner's logits [N, K] of the images that can be read, and the errors of the others by position."""
    step = max(1, CHUNK_BYTES // (12 * bundle.preprocessing.size**2))
    logits: list[list[Array]] = [[np.empty((0, bundle.config.classes), np.float32)] for _ in runners]
    damaged = dict[int, str]()
    for begin in range(0, count, step):
        images = dict[int, Array]()

        def keep(i: int, begin: int = begin, images: dict[int, Array] = images) -> None:
            images[i] = read(begin + i)

        damaged |= {begin + i: error for i, error in errors_of(keep, min(step, count - begin)).items()}
        if images:
            images_NCHW = np.stack([images[i] for i in sorted(images)])
            for run, parts in zip(runners, logits, strict=True):
                parts.append(run(images_NCHW))
    return [np.concatenate(parts) for parts in logits], damaged


def _class_names(bundle: Bundle) -> tuple[Sequence[str], str | None]:
    """The names of a bundle's classes, and a sentence if they are numbers."""
    if bundle.preprocessing.class_names is not None:
        return bundle.preprocessing.class_names, None
    count, note = bundle.config.classes, "the bundle does not name its classes: they have numbers"
    if bundle.metrics.weights.published is not None and count == IMAGENET_CLASSES:
        if names := _imagenet_names():
            return names, None
        note += "; names of ImageNet's come with timm (pip install 'mfsearch[train]')"
    return [f"class {k}" for k in range(count)], note


def _imagenet_names() -> list[str] | None:
    """The names of ImageNet's classes, from timm's own files, because importing timm takes seconds; None without."""
    spec = importlib.util.find_spec("timm")
    for place in (spec and spec.submodule_search_locations) or ():
        folder = Path(place) / "data" / "_info"
        try:
            lines = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
            lemmas = dict(line.split("\t", 1) for line in lines)
            names = [lemmas[one] for one in (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()]
        except (OSError, ValueError, KeyError):
            continue
        if len(names) == IMAGENET_CLASSES:
            return names
    return None


def _named(bundle: Bundle, name: str, data_dir: Path | None, download: bool) -> Labelled:
    """The test split of a data set that mfsearch knows by name; otherwise as `_labelled`."""
    source = find_source(name, data_dir, download, test=True)
    names, notes = _checked_names(bundle, name, source.classes)
    labels_N = np.array([names.index(one) for one in source.classes])[source.labels]
    side = STORED_SIDE[name]
    images = ArraySplit(source.read(np.arange(len(labels_N)), side), labels_N)
    told = bundle.preprocessing
    return f"the test split of {name}", lambda i: prepared(images.open(i), told), labels_N, names, notes


def _checked_names(bundle: Bundle, place: str, classes: Sequence[str]) -> tuple[tuple[str, ...], list[str | None]]:
    """The class names in the order of the logits, and a note if they are the data's; DataError unless all agree."""
    names, notes = bundle.preprocessing.class_names, list[str | None]()
    if names is None:
        if len(classes) != bundle.config.classes:
            raise DataError(
                f"{place} must have images of {bundle.config.classes} classes, as the bundle, got {len(classes)}"
            )
        names = tuple(classes)
        notes.append("the bundle does not name its classes: taken as the data's, in the order of their names")
    for name in sorted({*classes} ^ {*names}):
        fault = "has no image of the bundle's class" if name in names else "has a class that the bundle does not have:"
        raise DataError(f"{place} {fault} {name!r:.200}; the bundle's classes are {', '.join(names)!s:.500}")
    return names, notes


def _labelled(bundle: Bundle, data: Path, split: str) -> Labelled:
    """The folder data/SPLIT, the reader of the images of its CLASS/ folders, their labels, the class names in the order
    of the logits, and notes."""
    root = data / split
    if not root.is_dir():
        there = sorted(one.name for one in data.iterdir() if one.is_dir()) if data.is_dir() else []
        held = f"{data} holds {', '.join(there[:20])}" if there else f"{data} holds no folders"
        raise DataError(f"{root} must be a folder of CLASS/*.jpg, and is none; {held}: name one with --split")
    found, left_out = image_files(root)
    files = {name: paths for name, paths in found.items() if paths}
    names, notes = _checked_names(bundle, str(root), [*files])
    labels = [k for k, name in enumerate(names) for _ in files[name]]
    read = _files(bundle, [path for name in names for path in files[name]], FORMATS)
    return str(root), read, np.array(labels, np.int64), names, [left_out_note(left_out), *notes]


def _accuracy(file: str, logits_NK: Array, labels_N: NDArray[np.int64]) -> FileAccuracy:
    count, classes = logits_NK.shape
    ranked_NK = np.argsort(-logits_NK, axis=1, kind="stable")
    confusion_KK = np.zeros((classes, classes), np.int64)
    np.add.at(confusion_KK, (labels_N, ranked_NK[:, 0]), 1)
    top5 = int((ranked_NK[:, :5] == labels_N[:, None]).any(axis=1).sum())
    return FileAccuracy(file, RightAnswers(int(np.trace(confusion_KK)), count), RightAnswers(top5, count), confusion_KK)
