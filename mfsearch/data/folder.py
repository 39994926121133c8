"""A folder of images with one sub-folder per class, like ImageNet and most own data."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mfsearch.data.image_data import DamagedError, DataError, Images, Indices, Source, first_lines
from mfsearch.plain_files import MAX_DEPTH, open_regular
from mfsearch.units import counted

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # formats to decode, whatever the file's name; Pillow knows riskier ones
HELD_OUT = ("test", "val", "valid", "validation")
NO_CLASS = "__MACOSX"  # the folder that macOS adds to an archive
MOST_COMPARED = 20_000  # files of equal size whose contents are compared


def folder_source(folder: Path) -> Source:
    """The images of folder/train/CLASS/ or, without a train folder, folder/CLASS/; files and classes sorted by name.

    Folders beside train/ are held out: folder/val and folder/test are never opened. Images in deeper folders of a class
    belong to it. Hidden files are ignored, other files are counted.
    """
    root = folder / "train" if (folder / "train").is_dir() else folder
    files, left_out = image_files(root)
    classes = list(files)
    if root != folder and (root / "train").is_dir() and any(one.is_dir() for one in _visible(root / "train")):
        raise DataError(f"{root}/train holds folders, so it is no class; say --data {root} or move its classes up")
    if root == folder and (held_out := [name for name in classes if name.lower() in HELD_OUT]):
        raise DataError(f"{folder}: {held_out[0]}/ is held out from a search, so there must be a train/ beside it")
    if len(classes) < 2:
        held = f"only one class folder, '{classes[0]}'" if classes else "no class folders"
        if classes and sum(one.is_dir() for one in _visible(root / classes[0])) > 1:
            held += f"; if its folders are the classes, say --data {root / classes[0]}"
        raise DataError(f"{root} must hold {root}/CLASS/*.jpg with at least two classes, got {held}")
    paths = tuple(path for of_class in files.values() for path in of_class)

    def read(indices: Indices, resolution: int) -> Images:
        images = np.empty((len(indices), 3, resolution, resolution), np.uint8)

        def fill(i: int) -> None:
            images[i] = read_image(paths[indices[i]], resolution)

        if damaged := errors_of(fill, len(indices)):
            raise DamagedError(str(root), damaged)
        return images

    return Source(
        name=folder.resolve().name,
        place=str(root),
        classes=tuple(classes),
        labels=np.repeat(np.arange(len(classes), dtype=np.int64), [len(of_class) for of_class in files.values()]),
        flip=True,
        val_fraction=0.1,
        read=read,
        paths=paths,
        left_out=left_out,
    )


def errors_of(read: Callable[[int], object], count: int) -> dict[int, str]:
    """The error of each of `count` images that cannot be read, by its number."""

    def error_of(i: int) -> str | None:
        try:
            read(i)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow decodes without the interpreter lock
        return {i: error for i, error in enumerate(pool.map(error_of, range(count))) if error is not None}


def image_files(root: Path) -> tuple[dict[str, list[Path]], Counter[str]]:
    """The image files of root/CLASS/ by class, both sorted by name and a class's own before those of its folders, and
    the number of files left out by kind. Hidden files are not counted."""
    entries, left_out = _visible(root), Counter[str]()
    left_out.update("image outside a class folder" if _is_image(e) else _kind(e) for e in entries if not e.is_dir())
    return {
        e.name: _image_files(Path(e.path), left_out, set(Path(e.path).resolve().parents)) for e in entries if e.is_dir()
    }, left_out


def left_out_note(left_out: Mapping[str, int]) -> str | None:
    """Files left out, as text for a header: "left out: 3 GIF files, 1 image outside a class folder"; None without."""
    kinds = Counter(left_out).most_common()
    words = []
    for kind, count in kinds[:6]:
        noun, where, place = kind.partition(" outside " if " outside " in kind else " to ")
        words.append(counted(count, noun) + where + place)
    words += [f"{sum(count for _, count in kinds[6:]):,} others"] if kinds[6:] else []
    return f"left out: {', '.join(words)}; read are {', '.join(FORMATS)}" if words else None


def skipped_note(damaged: Mapping[int, str]) -> str | None:
    """The damaged files that were skipped, one a line; None without."""
    if not damaged:
        return None
    return "\n  ".join([f"skipped: {counted(len(damaged), 'damaged file')}", *first_lines(damaged)])


def shared_note(train: Sequence[Path], val: Sequence[Path]) -> str | None:
    """A sentence on validation images that are also training images, byte for byte; None without one."""
    sizes = {path: path.stat().st_size for path in (*train, *val)}
    of_val = {sizes[path] for path in val}
    near = [path for path in train if sizes[path] in of_val]
    of_near = {sizes[path] for path in near}
    asked = [path for path in val if sizes[path] in of_near]
    if len(near) + len(asked) > MOST_COMPARED:
        return f"not checked: images in both training and validation, as over {MOST_COMPARED:,} files have equal sizes"
    known = {_content(path): path for path in near}
    twice = [(path, known[content]) for path in asked if (content := _content(path)) in known]
    if not twice:
        return None
    one, other = twice[0]
    count = f"{len(twice):,} of {counted(len(val), 'validation image')}"
    also = "is also a training image" if len(twice) == 1 else "are also training images"
    return f"same image: {count} {also}, so top1 reads too high; {one} is {other}"


def _content(path: Path) -> bytes:
    with open_regular(path) as file:
        return hashlib.sha256(file.read()).digest()


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        shown = (entry for entry in entries if not entry.name.startswith(".") and entry.name != NO_CLASS)
        return sorted(shown, key=lambda entry: entry.name)


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES)  # also a pipe or a dangling link, which raises when it is opened


def _kind(entry: os.DirEntry[str]) -> str:
    suffix = Path(entry.name).suffix[1:10].upper()
    return f"{suffix} file" if suffix.isalnum() else "other file"


def _image_files(folder: Path, left_out: Counter[str], seen: set[Path], depth: int = 0) -> list[Path]:
    """The image files in a class folder at any depth. seen: the folders read so far and those above the class."""
    entries = _visible(folder)
    seen.add(folder.resolve())
    files = [entry for entry in entries if not entry.is_dir()]
    left_out.update(_kind(entry) for entry in files if not _is_image(entry))
    images = [Path(entry.path) for entry in files if _is_image(entry)]
    for entry in entries:
        if entry.is_dir():
            if entry.name.lower() in HELD_OUT:
                left_out["held-out folder"] += 1
            elif Path(entry.path).resolve() in seen:
                left_out["link to a folder already read"] += 1
            elif depth == MAX_DEPTH:
                left_out["too deep folder"] += 1
            else:
                images += _image_files(Path(entry.path), left_out, seen, depth + 1)
    return images


def read_image(path: Path, resolution: int) -> Images:
    """One file as uint8 [3,S,S]: upright by EXIF, RGB, shorter side to the resolution (bilinear), centre crop."""
    from PIL import Image

    image = open_image(path, resolution)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    # `box` crops in the same pass: an image of 1 x 10,000 pixels is never enlarged as a whole
    square = image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(square).transpose(2, 0, 1)


def open_image(path: Path, at_least: int | None = None, formats: Sequence[str] = FORMATS) -> "Image.Image":
    """One file as an upright RGB image; a JPEG may be decoded smaller, with no side below `at_least` pixels."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with open_regular(path) as file, Image.open(file, formats=tuple(formats)) as opened:
            if at_least is not None:
                opened.draft("RGB", (at_least, at_least))  # only for JPEG: decodes at 1/2, 1/4 or 1/8
            return _as_rgb(ImageOps.exif_transpose(opened))
    except Exception as error:  # a damaged file can raise anything
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, UnidentifiedImageError):  # its own text names the file's number
            reason = (
                f"its content is none of {', '.join(formats) if len(formats) < 9 else 'the formats that Pillow reads'}"
            )
        raise DataError(f"{path}: not a readable image: {reason}") from error


def _as_rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and np.asarray(image).max() > 65535):
        raise ValueError("more than 16 bits a pixel, and which value is white is not known")
    if image.mode.startswith("I"):  # 16-bit gray, which convert() would clip at 255
        return Image.fromarray((np.asarray(image).astype(np.int64) // 257).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:  # keeps the palette's hidden colours and avoids Pillow's warning
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
