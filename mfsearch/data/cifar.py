"""CIFAR-10 and CIFAR-100 in their released layouts, binary and Python: https://www.cs.toronto.edu/~kriz/cifar.html.

The official test batch is read only where it is asked for, to evaluate a finished network.
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
    """Images and labels of a binary batch. A record is the label bytes (ours is the last) and 3,072 bytes of RGB."""
    raw = np.fromfile(path, np.uint8)
    record = label_bytes + PIXELS
    if raw.size == 0 or raw.size % record:
        raise DataError(f"{path} must hold whole records of {record} bytes, got {raw.size} bytes; download it again")
    records = raw.reshape(-1, record)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1].astype(np.int64)


def read_python_batch(path: Path, labels_key: str) -> tuple[Images, Labels]:
    """Images and labels of one pickled batch: a dict with `data`, uint8 [N,3072], and a list of N labels."""
    batch = read_pickle(path)
    data, labels = batch.get("data"), batch.get(labels_key)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != PIXELS:
        shape = data.shape if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{path}: 'data' must be an array of N rows and {PIXELS} columns, got {shape}")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path}: '{labels_key}' must be a list of whole numbers; the file has {sorted(batch)}")
    if len(data) == 0 or len(data) != len(labels):
        raise DataError(
            f"{path} must hold images and a label for each, got {len(data)} images and {len(labels)} labels"
        )
    return data.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def read_text_names(path: Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def read_python_names(path: Path, key: str) -> tuple[str, ...]:
    meta = read_pickle(path)
    if not isinstance(meta.get(key), list):
        raise DataError(f"{path} must hold a list '{key}', it has {str(sorted(meta))[:200]}")
    return tuple(str(name) for name in meta[key])


@dataclass(frozen=True)
class Layout:
    """One of the two released file formats of a CIFAR."""

    folder: str
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    names_file: str
    read_batch: Callable[[Path], tuple[Images, Labels]]
    read_names: Callable[[Path], tuple[str, ...]]


@dataclass(frozen=True)
class Cifar:
    num_classes: int
    archive: str  # the binary release, so that nothing is unpickled
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
                ("test_batch.bin",),
                "batches.meta.txt",
                partial(read_binary_batch, label_bytes=1),
                read_text_names,
            ),
            Layout(
                "cifar-10-batches-py",
                tuple(f"data_batch_{i}" for i in range(1, 6)),
                ("test_batch",),
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
                ("test.bin",),
                "fine_label_names.txt",
                partial(read_binary_batch, label_bytes=2),  # coarse, fine
                read_text_names,
            ),
            Layout(
                "cifar-100-python",
                ("train",),
                ("test",),
                "meta",
                partial(read_python_batch, labels_key="fine_labels"),
                partial(read_python_names, key="fine_label_names"),
            ),
        ),
    ),
}


def cifar_source(name: str, data_dir: Path | None, download: bool, *, test: bool = False) -> Source:
    """The 50,000 training images of "cifar10" or "cifar100", or the 10,000 official test images; found in data_dir or a
    released folder inside it."""
    cifar = CIFARS[name]
    layout, folder = _find(name, data_dir, download)
    files = layout.test_files if test else layout.train_files
    missing = [file for file in (*files, layout.names_file) if not (folder / file).is_file()]
    if missing:
        raise DataError(f"{folder}: {', '.join(missing)} missing; unpack {ADDRESS}/{cifar.archive} again")
    classes = layout.read_names(folder / layout.names_file)
    if len(set(classes)) != cifar.num_classes or len(classes) != cifar.num_classes:
        raise DataError(
            f"{folder / layout.names_file} must name {cifar.num_classes} different classes, got {len(set(classes))}"
        )
    batches = []
    for file in files:
        images, labels = layout.read_batch(folder / file)
        wrong = np.flatnonzero((labels < 0) | (labels >= cifar.num_classes))
        if wrong.size:
            i = int(wrong[0])
            raise DataError(f"{folder / file}: labels must be 0..{cifar.num_classes - 1}, got {labels[i]} at image {i}")
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
    """The first released layout in data_dir, or data_dir itself; downloads it if allowed and missing."""
    cifar = CIFARS[name]
    url = f"{ADDRESS}/{cifar.archive}"
    if data_dir is None:
        raise DataError(
            f"{name} needs a data folder (data_dir, or on the command line --data-dir or $MFSEARCH_DATA) with "
            f"{' or '.join(layout.folder for layout in cifar.layouts)} from {url}"
        )
    for layout in cifar.layouts:
        for folder in (data_dir / layout.folder, data_dir):
            if any((folder / file).is_file() for file in (*layout.train_files, *layout.test_files)):
                return layout, folder
    layout = cifar.layouts[0]
    if download:
        fetch_archive(url, cifar.md5, layout.folder, data_dir)
        return layout, data_dir / layout.folder
    looked = " or ".join(str(data_dir / layout.folder) for layout in cifar.layouts)
    raise DataError(
        f"{name} must lie in {looked} or in {data_dir} itself; --download downloads it, and so does\n"
        f"mkdir -p {data_dir} && curl -O {url} && tar -xzf {cifar.archive} -C {data_dir}"
    )
