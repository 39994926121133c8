"""CIFAR-10 and CIFAR-100 in their released layouts, binary and Python: https://www.cs.toronto.edu/~kriz/cifar.html.

Only the training batches and the class names are opened; the official test batch is never read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mfsearch.data.cifar_pickle import read_pickle
from mfsearch.data.download import fetch_archive
from mfsearch.data.image_data import DataError, Images, Indices, Labels, Source
from mfsearch.data.pixels import resize_images

ADDRESS = "https://www.cs.toronto.edu/~kriz"
PIXELS = 3 * 32 * 32


def read_binary_batch(path: Path, label_bytes: int) -> tuple[Images, Labels]:
    """Images and labels of a binary batch. A record is the label bytes, the wanted one last, and 3,072 bytes RGB."""
    raw = np.fromfile(path, np.uint8)
    record = label_bytes + PIXELS
    if raw.size == 0 or raw.size % record:
        raise DataError(
            f"{path}: {raw.size} bytes, expected a whole number of records of {record} bytes; fetch it again"
        )
    records = raw.reshape(-1, record)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1].astype(np.int64)


def read_python_batch(path: Path, labels_key: str) -> tuple[Images, Labels]:
    """Images and labels of one pickled batch: a dict with `data`, uint8 [N,3072], and a list of N labels."""
    batch = read_pickle(path)
    data, labels = batch.get("data"), batch.get(labels_key)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != PIXELS:
        found = data.shape if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{path}: 'data' is {found}, expected an array of N rows and {PIXELS} columns")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path}: '{labels_key}' must be a list of whole numbers; the file has {sorted(batch)}")
    if len(data) == 0 or len(data) != len(labels):
        raise DataError(f"{path}: {len(data)} images and {len(labels)} labels, expected as many of both, at least one")
    return data.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def read_text_names(path: Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def read_python_names(path: Path, key: str) -> tuple[str, ...]:
    meta = read_pickle(path)
    if not isinstance(meta.get(key), list):
        raise DataError(f"{path}: no list '{key}'; the file has {sorted(meta)}")
    return tuple(str(name) for name in meta[key])


@dataclass(frozen=True)
class Layout:
    """One of the two ways in which a CIFAR was released."""

    folder: str
    train_files: tuple[str, ...]
    names_file: str
    read_batch: Callable[[Path], tuple[Images, Labels]]
    read_names: Callable[[Path], tuple[str, ...]]


@dataclass(frozen=True)
class Cifar:
    num_classes: int
    archive: str  # the binary one: nothing in it has to be unpickled
    md5: str  # as published beside the archive
    layouts: tuple[Layout, ...]


CIFARS = {
    "cifar10": Cifar(
        10,
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        (
            Layout(
                "cifar-10-batches-bin",
                tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
                "batches.meta.txt",
                partial(read_binary_batch, label_bytes=1),
                read_text_names,
            ),
            Layout(
                "cifar-10-batches-py",
                tuple(f"data_batch_{i}" for i in range(1, 6)),
                "batches.meta",
                partial(read_python_batch, labels_key="labels"),
                partial(read_python_names, key="label_names"),
            ),
        ),
    ),
    "cifar100": Cifar(
        100,
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        (
            Layout(
                "cifar-100-binary",
                ("train.bin",),
                "fine_label_names.txt",
                partial(read_binary_batch, label_bytes=2),  # coarse, fine
                read_text_names,
            ),
            Layout(
                "cifar-100-python",
                ("train",),
                "meta",
                partial(read_python_batch, labels_key="fine_labels"),
                partial(read_python_names, key="fine_label_names"),
            ),
        ),
    ),
}


def cifar_source(name: str, data_dir: Path | None, download: bool) -> Source:
    """The 50,000 training images of "cifar10" or "cifar100", found in data_dir or a released folder inside it."""
    cifar = CIFARS[name]
    layout, folder = _find(name, data_dir, download)
    missing = [file for file in (*layout.train_files, layout.names_file) if not (folder / file).is_file()]
    if missing:
        raise DataError(f"{folder}: {', '.join(missing)} missing; unpack {ADDRESS}/{cifar.archive} again")
    classes = layout.read_names(folder / layout.names_file)
    if len(set(classes)) != cifar.num_classes or len(classes) != cifar.num_classes:
        raise DataError(
            f"{folder / layout.names_file}: {len(classes)} class names, expected {cifar.num_classes} different"
        )
    batches = []
    for file in layout.train_files:
        images, labels = layout.read_batch(folder / file)
        wrong = np.flatnonzero((labels < 0) | (labels >= cifar.num_classes))
        if wrong.size:
            i = int(wrong[0])
            raise DataError(f"{folder / file}: image {i} has label {labels[i]}, allowed are 0..{cifar.num_classes - 1}")
        batches.append((images, labels))

    all_images = np.concatenate([images for images, _ in batches])

    def read(indices: Indices, resolution: int) -> Images:
        return resize_images(all_images[indices], resolution)

    return Source(
        name=name,
        place=str(folder),
        classes=classes,
        labels=np.concatenate([labels for _, labels in batches]),
        flip=True,
        val_fraction=0.1,
        read=read,
    )


def _find(name: str, data_dir: Path | None, download: bool) -> tuple[Layout, Path]:
    """The first released layout that lies below data_dir or is data_dir; fetched there if allowed and absent."""
    cifar = CIFARS[name]
    url = f"{ADDRESS}/{cifar.archive}"
    if data_dir is None:
        raise DataError(
            f"{name}: no data folder is given (--data-dir, or MFSEARCH_DATA in the environment); it must hold "
            f"{' or '.join(layout.folder for layout in cifar.layouts)}, as unpacked from {url}"
        )
    for layout in cifar.layouts:
        for folder in (data_dir / layout.folder, data_dir):
            if any((folder / file).is_file() for file in layout.train_files):
                return layout, folder
    layout = cifar.layouts[0]
    if download:
        fetch_archive(url, cifar.md5, layout.folder, data_dir)
        return layout, data_dir / layout.folder
    looked = " or ".join(str(data_dir / layout.folder) for layout in cifar.layouts)
    raise DataError(
        f"{name}: no {looked}, and {data_dir} is not one itself; --download fetches it, and so does\n"
        f"mkdir -p {data_dir} && curl -O {url} && tar -xzf {cifar.archive} -C {data_dir}"
    )
