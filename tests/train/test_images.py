"""What is trained on and what judges, for folders with and without val/, and for the built-in data."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mfsearch.data import DataError, load_data
from mfsearch.train.images import FileSplit, load_images


def add(folder: Path, level: int) -> None:
    folder.mkdir(parents=True)
    Image.new("RGB", (40, 20), (level, level, level)).save(folder / "a.png")


def test_without_val_it_is_the_split_of_a_search(image_folder: Path) -> None:
    found = load_images(str(image_folder), seed=0)
    search = load_data(str(image_folder), resolution=20, seed=0)
    assert (len(found.train.labels), len(found.val.labels)) == (43, 5)
    ours = {np.asarray(found.val.open(k)).tobytes() for k in range(5)}
    assert ours == {image.transpose(1, 2, 0).tobytes() for image in search.val_images}
    assert found.classes == ("dark", "light")
    assert found.flip


def test_val_beside_train_is_what_judges(image_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(image_folder, tmp_path / "data"))
    before = load_images(str(folder), seed=0)
    add(folder / "val" / "light", 200)
    add(folder / "test" / "light", 200)
    found = load_images(str(folder), seed=0)
    assert (len(found.train.labels), found.val.labels.tolist()) == (48, [1])
    assert found.val.open(0).size == (40, 20)
    assert found.val_from == str(folder / "val")
    assert found.digest != before.digest
    assert found.digest == load_images(str(folder), seed=1).digest
    assert isinstance(found.val, FileSplit)
    add(folder / "val" / "purple", 9)
    with pytest.raises(DataError, match=r"val/purple: a class that train/ does not have; it has dark, light"):
        load_images(str(folder), seed=0)


def test_an_empty_val_is_an_error(image_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(image_folder, tmp_path / "data"))
    (folder / "val" / "dark").mkdir(parents=True)
    with pytest.raises(DataError, match=r"val: no images; expected .*val/CLASS/\*.jpg"):
        load_images(str(folder), seed=0)


def test_digits_are_stored_small_and_not_mirrored() -> None:
    found = load_images("digits", seed=0, samples=50)
    assert found.train.open(0).size == (8, 8)
    assert (len(found.train.labels), len(found.val.labels), found.flip) == (50, 360, False)
    assert found.digest != load_images("digits", seed=0, samples=60).digest
    assert sorted(set(found.train.labels.tolist())) == list(range(10))


@pytest.mark.parametrize("samples", [0, 1, 44])
def test_samples_out_of_range(image_folder: Path, samples: int) -> None:
    with pytest.raises(DataError, match=rf"samples must be 2..43 for .*, got {samples}"):
        load_images(str(image_folder), seed=0, samples=samples)


def test_no_such_data() -> None:
    with pytest.raises(DataError, match="did you mean digits"):
        load_images("digitss", seed=0)


def test_damaged_files_are_skipped_only_if_asked_and_a_shared_image_is_told(image_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(image_folder, tmp_path / "images"))
    shutil.copytree(folder / "train", folder / "val")
    Image.new("L", (20, 20)).save(folder / "val" / "dark" / "a.gif")
    before = load_images(str(folder), seed=0)
    assert before.notes[0].startswith("left out: 1 GIF file;")
    assert before.notes[1].startswith("same image: 48 of 48 validation images")
    for path in ("train/dark/3.png", "train/light/4.png", "val/dark/5.png"):
        (folder / path).write_bytes(b"broken")
    found = load_images(str(folder), seed=0, skip_damaged=True)
    assert (len(found.train.labels), len(found.val.labels)) == (46, 47)
    assert found.digest != before.digest
    assert found.notes[1].startswith("skipped: 3 damaged files")
    for split in (found.train, found.val):
        for i in range(len(split.labels)):
            split.open(i)


def test_an_empty_class_beside_val_is_named(image_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(image_folder, tmp_path / "images"))
    shutil.copytree(folder / "train", folder / "val")
    (folder / "train" / "blank").mkdir()
    with pytest.raises(DataError, match="class 'blank' must have an image, got 0; add images to .*blank, or delete"):
        load_images(str(folder), seed=0)
