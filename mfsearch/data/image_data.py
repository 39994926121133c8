"""Labelled images before they are read (Source) and after (ImageData)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # [N,3,S,S], RGB
Labels = NDArray[np.int64]  # [N], an index into the classes
Indices = NDArray[np.int64]

SHOWN = 20  # damaged files that a message names


class DataError(ValueError):
    """Invalid data or an invalid request for data; the message names the place, the value and the allowed values."""


class DamagedError(DataError):
    """Images that cannot be read. files: the error of each, by its position in the request."""

    def __init__(self, place: str, files: Mapping[int, str]) -> None:
        self.files = files
        lines = "\n  ".join(first_lines(files))
        super().__init__(f"{place}: {len(files)} damaged, which --skip-damaged leaves out:\n  {lines}")


def first_lines(files: Mapping[int, str]) -> list[str]:
    """The first 20 errors, one a line, and the number of others."""
    more = [f"and {len(files) - SHOWN:,} more"] if len(files) > SHOWN else []
    return [f"{line:.220}".replace("\n", " ") for line in list(files.values())[:SHOWN]] + more


@dataclass(frozen=True, eq=False)
class ImageData:
    """The images for a search, in memory as uint8; none comes from an official test split."""

    name: str  # "digits", "cifar10", "cifar100", or the folder's name
    classes: tuple[str, ...]
    train_images: Images
    train_labels: Labels
    val_images: Images
    val_labels: Labels
    flip: bool  # whether a horizontally flipped image keeps its label
    mean: tuple[float, float, float]  # of the training images, on the scale 0..1
    std: tuple[float, float, float]
    digest: str  # 16 hex digits of a sha256 over class names, pixels and labels of both splits, in order
    notes: tuple[str, ...] = ()  # for the header of a run: what was left out or skipped, and images in both splits

    @property
    def resolution(self) -> int:
        """Side of the square images, in pixels."""
        return int(self.train_images.shape[-1])

    def facts(self) -> dict[str, Any]:
        """The entry of a manifest about the images, as plain data for JSON."""
        return {
            "name": self.name,
            "digest": self.digest,
            "classes": len(self.classes),
            "train_images": len(self.train_labels),
            "val_images": len(self.val_labels),
        }


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images before decoding; all labels are known."""

    name: str
    place: str  # path or name, for messages
    classes: tuple[str, ...]
    labels: Labels
    flip: bool
    val_fraction: float  # default size of the validation split
    read: Callable[[Indices, int], Images]  # (indices, resolution) -> images in the order of the indices; DamagedError
    paths: tuple[Path, ...] = ()  # of a folder's images
    left_out: Mapping[str, int] = field(default_factory=dict)  # number of a folder's other files by kind
