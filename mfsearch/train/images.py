"""The images of a full training: opened one by one at their stored size, and cropped afresh each time."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mfsearch.data import DataError
from mfsearch.data.folder import HELD_OUT, image_files, open_image
from mfsearch.data.image_data import Images, Indices, Labels
from mfsearch.data.load import check_classes, find_source
from mfsearch.data.split import class_shares, stratified_split, stratified_subset

if TYPE_CHECKING:
    from PIL import Image

STORED_SIDE = {"digits": 8, "cifar10": 32, "cifar100": 32}  # pixels; files of a folder have their own sizes


class Split(Protocol):
    """Labelled images that are opened one at a time."""

    @property
    def labels(self) -> Labels: ...

    def open(self, index: int) -> "Image.Image": ...


@dataclass(frozen=True, eq=False)
class FileSplit:
    """Images in files."""

    paths: list[Path]
    labels: Labels

    def open(self, index: int) -> "Image.Image":
        """RGB, upright; DataError names a file that cannot be read."""
        return open_image(self.paths[index])


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Images in memory."""

    images: Images
    labels: Labels

    def open(self, index: int) -> "Image.Image":
        from PIL import Image

        return Image.fromarray(np.ascontiguousarray(self.images[index].transpose(1, 2, 0)))


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The training and validation images of a full training.

    flip: whether a mirrored image keeps its label. val_from: the source of the validation images, in words.
    digest: 16 hex digits over class names, both splits' labels, and the pixels or the files' names and sizes.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    flip: bool
    val_from: str
    digest: str


def load_images(
    spec: str, *, data_dir: Path | None = None, seed: int, samples: int | None = None, download: bool = False
) -> TrainingImages:
    """The images of digits, cifar10, cifar100, or a folder with train/CLASS/*.jpg. Raises DataError.

    Validation images come from the folder's val/CLASS/ if it exists, else from the stratified split that a search with
    this seed makes. Test images are never read. samples: the number of training images, stratified; None for all.
    """
    if seed < 0:
        raise DataError(f"seed must be 0 or more, got {seed}")
    try:
        source = find_source(spec, data_dir, download)
        held_out = None if spec in STORED_SIDE else _val_folder(Path(source.place))
        if held_out is not None:
            train = _some(source.labels, np.arange(len(source.labels)), samples, source.name)
            val_from = str(held_out)
        else:
            check_classes(source)
            val, train = stratified_split(source.labels, source.val_fraction, seed)
            train = _some(source.labels, train, samples, source.name)
            val_from = f"{source.val_fraction:.0%} of the training images"
        parts: list[ArraySplit] | list[FileSplit]
        if spec in STORED_SIDE:
            side = STORED_SIDE[spec]
            arrays = [ArraySplit(source.read(part, side), source.labels[part]) for part in (train, val)]
            contents = [hashlib.sha256(np.ascontiguousarray(part.images).data).hexdigest() for part in arrays]
            parts = arrays
        else:
            root = Path(source.place)
            paths = [path for of_class in image_files(root).values() for path in of_class]
            taken = FileSplit([paths[i] for i in train], source.labels[train])
            judged = (
                FileSplit([paths[i] for i in val], source.labels[val])
                if held_out is None
                else _val_split(held_out, source.classes)
            )
            contents = [_names_and_sizes(part.paths) for part in (taken, judged)]
            parts = [taken, judged]
    except OSError as error:
        raise DataError(f"cannot read {spec}: {error}") from error
    sha = hashlib.sha256(repr((source.classes, contents)).encode())
    for part in parts:
        sha.update(part.labels.astype("<i8").tobytes())
    return TrainingImages(
        name=source.name,
        classes=source.classes,
        train=parts[0],
        val=parts[1],
        flip=source.flip,
        val_from=val_from,
        digest=sha.hexdigest()[:16],
    )


def _some(labels: Labels, part: Indices, samples: int | None, name: str) -> Indices:
    if samples is None:
        return part
    sizes = np.bincount(labels[part])
    if not len(sizes) <= samples <= len(part):
        raise DataError(f"samples must be {len(sizes)}..{len(part)} for {name} (one a class to all), got {samples}")
    return part[stratified_subset(labels[part], class_shares(sizes, samples), 0)]


def _val_folder(root: Path) -> Path | None:
    """The folder of validation images beside train/."""
    if root.name != "train":
        return None
    folders = [root.parent / name for name in HELD_OUT if name != "test"]
    return next((folder for folder in folders if folder.is_dir()), None)


def _val_split(folder: Path, classes: tuple[str, ...]) -> FileSplit:
    files = {name: paths for name, paths in image_files(folder).items() if paths}
    unknown = sorted(set(files) - set(classes))
    if unknown:
        raise DataError(f"{folder / unknown[0]}: a class that train/ does not have; it has {', '.join(classes)}")
    if not files:
        raise DataError(f"{folder}: no images; expected {folder}/CLASS/*.jpg with the classes of train/")
    labels = [classes.index(name) for name, paths in files.items() for _ in paths]
    return FileSplit([path for paths in files.values() for path in paths], np.array(labels, np.int64))


def _names_and_sizes(paths: list[Path]) -> str:
    """A hash of class folder, name and size of each file, because hashing the contents would take minutes."""
    sha = hashlib.sha256()
    for path in paths:
        sha.update(repr((path.parent.name, path.name, path.stat().st_size)).encode())
    return sha.hexdigest()
