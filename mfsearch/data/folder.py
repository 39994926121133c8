"""A folder of images with one sub-folder per class, like ImageNet and most own data."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mfsearch.data.image_data import DataError, Images, Indices, Source

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # formats to decode, whatever the file's name; Pillow knows riskier ones
HELD_OUT = ("test", "val", "valid", "validation")


def folder_source(folder: Path) -> Source:
    """The images of folder/train/CLASS/ or, without a train folder, folder/CLASS/; files and classes sorted by name.

    Folders beside train/ are held out: folder/val and folder/test are never opened. Hidden files and files that are not
    images are ignored.
    """
    root = folder / "train" if (folder / "train").is_dir() else folder
    files = image_files(root)
    classes = list(files)
    if root == folder and (held_out := [name for name in classes if name.lower() in HELD_OUT]):
        raise DataError(f"{folder}: {held_out[0]}/ is held out from a search, so there must be a train/ beside it")
    if len(classes) < 2:
        held = f"only one class folder, '{classes[0]}'" if classes else "no class folders"
        raise DataError(f"{root} must hold {root}/CLASS/*.jpg with at least two classes, got {held}")
    paths = [path for of_class in files.values() for path in of_class]

    def read(indices: Indices, resolution: int) -> Images:
        images = np.empty((len(indices), 3, resolution, resolution), np.uint8)
        chosen = [paths[i] for i in indices]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow decodes without the interpreter lock
            for i, image in enumerate(pool.map(lambda path: read_image(path, resolution), chosen)):
                images[i] = image
        return images

    return Source(
        name=folder.resolve().name,
        place=str(root),
        classes=tuple(classes),
        labels=np.repeat(np.arange(len(classes), dtype=np.int64), [len(of_class) for of_class in files.values()]),
        flip=True,
        val_fraction=0.1,
        read=read,
    )


def image_files(root: Path) -> dict[str, list[Path]]:
    """The image files of root/CLASS/ by class; both sorted by name, without hidden ones."""
    return {entry.name: _image_files(root / entry.name) for entry in _visible(root) if entry.is_dir()}


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _image_files(folder: Path) -> list[Path]:
    return [
        Path(entry.path)
        for entry in _visible(folder)
        if entry.name.lower().endswith(SUFFIXES) and not entry.is_dir()  # a dangling link stays in and raises later
    ]


def read_image(path: Path, resolution: int) -> Images:
    """One file as uint8 [3,S,S]: upright by EXIF, RGB, shorter side to the resolution (bilinear), centre crop."""
    from PIL import Image

    image = open_image(path, resolution)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    # `box` crops in the same pass: an image of 1 x 10,000 pixels is never enlarged as a whole
    square = image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(square).transpose(2, 0, 1)


def open_image(path: Path, at_least: int | None = None) -> "Image.Image":
    """One file as an upright RGB image; a JPEG may be decoded smaller, with no side below `at_least` pixels."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=FORMATS) as opened:
            if at_least is not None:
                opened.draft("RGB", (at_least, at_least))  # only for JPEG: decodes at 1/2, 1/4 or 1/8
            return _as_rgb(ImageOps.exif_transpose(opened))
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"{path}: not a readable image: {error}") from error


def _as_rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit gray, which convert() would clip at 255
        return Image.fromarray((np.asarray(image).astype(np.int64) // 257).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:  # keeps the palette's hidden colours and avoids Pillow's warning
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
