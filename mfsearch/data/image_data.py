"""What data are here: labelled images before they are read (Source) and after (ImageData)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # [N,3,S,S], RGB
Labels = NDArray[np.int64]  # [N], an index into the classes
Indices = NDArray[np.int64]


class DataError(ValueError):
    """Wrong data, or data asked for wrongly: the message names the place, the value and what is allowed."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """The images a search learns from, in memory as uint8; none of them is of an official test part."""

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

    @property
    def resolution(self) -> int:
        """Side of the square images, in pixels."""
        return int(self.train_images.shape[-1])

    def facts(self) -> dict[str, Any]:
        """What a manifest says of the images, plain data for JSON."""
        return {
            "name": self.name,
            "digest": self.digest,
            "classes": len(self.classes),
            "train_images": len(self.train_labels),
            "val_images": len(self.val_labels),
        }


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images that may be learned from: all labels are known before any image is decoded."""

    name: str
    place: str  # where it was found, for messages
    classes: tuple[str, ...]
    labels: Labels
    flip: bool
    val_fraction: float  # the validation split where the caller does not say
    read: Callable[[Indices, int], Images]  # indices, resolution -> the images at these indices, in their order
