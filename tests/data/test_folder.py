"""Image folders: what is found, what is held out, how a file becomes a square, and every wrong folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mfsearch.data import DataError, load_data
from mfsearch.data.folder import folder_source, left_out_note, read_image, shared_note
from mfsearch.data.image_data import DamagedError


def save(path: Path, colour: tuple[int, int, int] = (10, 20, 30), size: tuple[int, int] = (20, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def small_folder(root: Path, per_class: int = 10) -> Path:
    """Two classes; image i of class c is a plain (100 c, i, 0), so that each can be told from its pixels."""
    for c, name in enumerate(("cats", "dogs")):
        for i in range(per_class):
            save(root / "train" / name / f"{i:03}.png", (100 * c, i, 0))
    return root


def test_each_image_arrives_once_under_its_class(tmp_path: Path) -> None:
    data = load_data(str(small_folder(tmp_path / "pets")), resolution=16)
    assert (data.name, data.classes, data.flip, data.resolution) == ("pets", ("cats", "dogs"), True, 16)
    assert (len(data.train_images), len(data.val_images)) == (18, 2)
    images = np.concatenate([data.train_images, data.val_images])
    labels = np.concatenate([data.train_labels, data.val_labels])
    assert (images == images[:, :, :1, :1]).all()
    seen = sorted((int(label), *image[:, 0, 0].tolist()) for image, label in zip(images, labels, strict=True))
    assert seen == [(c, 100 * c, i, 0) for c in (0, 1) for i in range(10)]


def test_val_and_test_are_never_opened(tmp_path: Path) -> None:
    before = load_data(str(small_folder(tmp_path)), resolution=16).digest
    for part in ("val", "test"):
        for name in ("cats", "dogs", "more"):
            save(tmp_path / part / name / "0.png").write_bytes(b"broken")
    assert load_data(str(tmp_path), resolution=16).digest == before


def test_a_folder_of_classes_needs_no_train_folder(tmp_path: Path) -> None:
    with_train = load_data(str(small_folder(tmp_path / "a")), resolution=16)
    (tmp_path / "a" / "train").rename(tmp_path / "b")
    assert load_data(str(tmp_path / "b"), resolution=16).digest == with_train.digest


def test_the_order_of_the_file_system_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_folder(tmp_path / "a")
    for c, name in ((1, "dogs"), (0, "cats")):
        for i in reversed(range(10)):
            save(tmp_path / "b" / "train" / name / f"{i:03}.png", (100 * c, i, 0))
    assert load_data(str(tmp_path / "a"), resolution=8).digest == load_data(str(tmp_path / "b"), resolution=8).digest
    monkeypatch.chdir(tmp_path / "a")
    assert load_data(".", resolution=8).name == "a"


def test_hidden_files_and_other_files_are_ignored_and_suffixes_are_not_case_sensitive(tmp_path: Path) -> None:
    small_folder(tmp_path)
    before = load_data(str(tmp_path), resolution=16).digest
    (tmp_path / "train" / "cats" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "cats" / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "train" / ".cache" / "x").mkdir(parents=True)
    (tmp_path / "train" / "labels.csv").write_text("")
    (tmp_path / "train" / "cats" / "deep.png").mkdir()
    assert load_data(str(tmp_path), resolution=16).digest == before
    for suffix in ("JPG", "jpeg", "Webp", "bmp"):
        save(tmp_path / "train" / "cats" / f"more.{suffix}")
    assert np.bincount(folder_source(tmp_path).labels).tolist() == [14, 10]


def test_the_images_come_mixed_and_not_class_by_class(tmp_path: Path) -> None:
    data = load_data(str(small_folder(tmp_path, per_class=40)), resolution=8, val_fraction=0.5)
    assert set(data.train_labels[:15].tolist()) == set(data.val_labels[:15].tolist()) == {0, 1}


def test_samples_open_only_the_files_they_use(tmp_path: Path) -> None:
    small_folder(tmp_path, per_class=50)
    data = load_data(str(tmp_path), resolution=8, samples=4, val_samples=2)
    used = {(int(image[0, 0, 0]) // 100, int(image[1, 0, 0])) for image in (*data.train_images, *data.val_images)}
    assert len(used) == 6
    for c, name in enumerate(("cats", "dogs")):
        for i in range(50):
            if (c, i) not in used:
                (tmp_path / "train" / name / f"{i:03}.png").write_bytes(b"broken")
    assert load_data(str(tmp_path), resolution=8, samples=4, val_samples=2).digest == data.digest
    with pytest.raises(DataError, match="not a readable image"):
        load_data(str(tmp_path), resolution=8)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize(("width", "height"), [(40, 24), (24, 40), (800, 480)])
def test_the_centre_square_is_kept(tmp_path: Path, suffix: str, width: int, height: int) -> None:
    image = Image.new("RGB", (width, height), (255, 0, 0))  # red ends are cut off, the green centre stays
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    ImageDraw.Draw(image).rectangle((left, top, left + side - 1, top + side - 1), fill=(0, 255, 0))
    image.save(tmp_path / f"a.{suffix}", quality=100, subsampling=0)  # PNG ignores both
    inner = read_image(tmp_path / f"a.{suffix}", 16)[:, 1:-1, 1:-1].astype(int)
    assert np.abs(inner - np.array([0, 255, 0])[:, None, None]).max() <= 4


def test_an_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 32), (255, 255, 255))
    ImageDraw.Draw(image).rectangle((0, 0, 31, 15), fill=(0, 0, 0))  # black above
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: black on the right
    image.save(tmp_path / "a.jpg", exif=exif, quality=100)
    pixels = read_image(tmp_path / "a.jpg", 32)
    assert pixels[:, :, :14].min() > 240
    assert pixels[:, :, 18:].max() < 15


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    gray16 = Image.fromarray(np.full((20, 20), 128 * 257, np.uint16))
    clear = Image.new("RGBA", (20, 20), (128, 128, 128, 0))
    images = {
        "gray.png": Image.new("L", (20, 20), 128),
        "gray.jpg": Image.new("L", (20, 20), 128),
        "gray16.png": gray16,
        "alpha.png": Image.new("LA", (20, 20), (128, 255)),
        "clear.png": clear,
        "clear.webp": Image.new("RGB", (20, 20), (128, 128, 128)),
        "palette.png": Image.new("RGB", (20, 20), (128, 128, 128)).quantize(),
        "cmyk.jpg": Image.new("CMYK", (20, 20), (127, 127, 127, 0)),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
    several = Image.new("RGB", (20, 20), (128, 128, 128))
    several.putpixel((0, 0), (127, 128, 129))
    several.quantize().save(tmp_path / "see_through.png", transparency=b"\x00\x80")
    for name in (*images, "see_through.png"):
        pixels = read_image(tmp_path / name, 8).astype(int)
        assert pixels.shape == (3, 8, 8)
        assert np.abs(pixels - 128).max() <= 3, name
    Image.new("1", (20, 20), 1).save(tmp_path / "one_bit.png")
    assert (read_image(tmp_path / "one_bit.png", 8) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (7, 9)])
def test_any_shape_of_image_is_resized(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = read_image(save(tmp_path / "a.png", (1, 2, 3), size), 64)
    assert (pixels == np.array([1, 2, 3])[:, None, None]).all()


def test_a_format_is_judged_by_content_and_others_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", (9, 9, 9)).rename(tmp_path / "a.jpg")
    assert (read_image(tmp_path / "a.jpg", 8) == 9).all()
    Image.new("RGB", (20, 20)).save(tmp_path / "a.tiff")
    (tmp_path / "a.tiff").rename(tmp_path / "b.jpg")
    with pytest.raises(DataError, match=r"b\.jpg: not a readable image"):
        read_image(tmp_path / "b.jpg", 8)


@pytest.mark.parametrize("suffix", ["bmp", "jpg", "png", "webp"])
def test_a_broken_image_is_named_however_it_is_broken(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    noise.save(tmp_path / f"whole.{suffix}")
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    broken = tmp_path / f"broken.{suffix}"
    for content in (b"", whole[:10], whole[: len(whole) // 2]):
        broken.write_bytes(content)
        with pytest.raises(DataError, match=rf"broken\.{suffix}: not a readable image"):
            read_image(broken, 16)
    for _ in range(200):  # flipped bytes may still decode, but nothing else than a DataError may come out
        damaged = bytearray(whole)
        for position in rng.integers(0, min(len(whole), 400), 4):
            damaged[position] = rng.integers(256)
        broken.write_bytes(damaged)
        try:
            assert read_image(broken, 16).shape == (3, 16, 16)
        except DataError as error:
            assert str(broken) in str(error)  # noqa: PT017


def test_a_missing_folder_is_an_error_and_a_near_miss_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set or folder '.*nowhere'\. Known are digits, cifar10, cifar100"):
        load_data(str(tmp_path / "nowhere"), resolution=16)
    for spec, meant in (("cifar-10", "cifar10"), ("CIFAR_100", "cifar100"), ("Digits", "digits"), ("cifar", "cifar10")):
        with pytest.raises(DataError, match=rf"'{spec}'; did you mean {meant}\?"):
            load_data(spec, resolution=16)
    (tmp_path / "a.zip").touch()
    with pytest.raises(DataError, match=r"a\.zip is a file, not a folder"):
        load_data(str(tmp_path / "a.zip"), resolution=16)
    for spec in ("", "x" * 5000, "a\0b", "~no such user/x"):
        with pytest.raises(DataError):
            load_data(spec, resolution=16)


def test_a_folder_without_classes_or_with_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/CLASS/\*\.jpg with at least two classes, got no class folders"):
        load_data(str(tmp_path), resolution=16)
    save(tmp_path / "train" / "cats" / "1.png")
    with pytest.raises(DataError, match=r"got only one class folder, 'cats'"):
        load_data(str(tmp_path), resolution=16)


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_with_too_few_images_is_named(tmp_path: Path, count: int) -> None:
    small_folder(tmp_path)
    (tmp_path / "train" / "birds").mkdir()
    for i in range(count):
        save(tmp_path / "train" / "birds" / f"{i}.png")
    with pytest.raises(DataError, match=rf"train: class 'birds' must have 2 images, .* got {count}"):
        load_data(str(tmp_path), resolution=16)


def test_two_images_of_each_class_are_enough(tmp_path: Path) -> None:
    data = load_data(str(small_folder(tmp_path, per_class=2)), resolution=8)
    assert sorted(data.train_labels.tolist()) == sorted(data.val_labels.tolist()) == [0, 1]


def test_held_out_folders_alone_are_no_classes(tmp_path: Path) -> None:
    small_folder(tmp_path)
    (tmp_path / "train").rename(tmp_path / "val")
    save(tmp_path / "test" / "0.png")
    with pytest.raises(DataError, match=r"test/ is held out from a search, so there must be a train/"):
        load_data(str(tmp_path), resolution=16)


def test_a_dangling_link_is_an_error_and_not_skipped(tmp_path: Path) -> None:
    small_folder(tmp_path)
    (tmp_path / "train" / "cats" / "gone.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"gone\.png: not a readable image"):
        load_data(str(tmp_path), resolution=16)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    small_folder(tmp_path)
    (tmp_path / "train" / "cats").chmod(0)
    try:
        with pytest.raises(DataError, match="Permission denied"):
            load_data(str(tmp_path), resolution=16)
    finally:
        (tmp_path / "train" / "cats").chmod(0o700)


def test_an_ordinary_folder_keeps_the_digest_of_earlier_versions(tmp_path: Path) -> None:
    assert load_data(str(small_folder(tmp_path / "pets")), resolution=16).digest == "2ba37139da024c5a"


def test_all_damaged_files_are_named_at_once(tmp_path: Path) -> None:
    small_folder(tmp_path, per_class=30)
    broken = [tmp_path / "train" / name / f"{i:03}.png" for name in ("cats", "dogs") for i in range(0, 30, 2)]
    for path in broken[:3]:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DamagedError, match=r"train: 3 damaged, which --skip-damaged leaves out") as error:
        load_data(str(tmp_path), resolution=8)
    assert all(f"{path}: not a readable image" in str(error.value) for path in broken[:3])
    for path in broken:
        path.write_bytes(b"")
    with pytest.raises(DamagedError) as error:
        load_data(str(tmp_path), resolution=8)
    lines = str(error.value).splitlines()
    assert (len(error.value.files), len(lines), lines[-1].strip()) == (30, 22, "and 10 more")


def test_skip_damaged_goes_on_without_them_and_lists_them(tmp_path: Path) -> None:
    whole = load_data(str(small_folder(tmp_path)), resolution=8, skip_damaged=True)
    assert whole.notes == ()
    (tmp_path / "train" / "cats" / "003.png").write_bytes(b"broken")
    data = load_data(str(tmp_path), resolution=8, skip_damaged=True)
    assert len(data.train_labels) + len(data.val_labels) == 19
    assert data.digest != whole.digest
    (note,) = data.notes
    assert note.startswith("skipped: 1 damaged file\n")
    assert f"{tmp_path}/train/cats/003.png: not a readable image" in note
    for i in range(10):
        (tmp_path / "train" / "cats" / f"{i:03}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="class 'cats' has no training image left without the damaged ones"):
        load_data(str(tmp_path), resolution=8, skip_damaged=True)


def test_a_pipe_or_a_device_is_a_damaged_image_and_never_waits(tmp_path: Path) -> None:
    small_folder(tmp_path)
    os.mkfifo(tmp_path / "train" / "cats" / "pipe.jpg")
    (tmp_path / "train" / "dogs" / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(DamagedError) as error:
        load_data(str(tmp_path), resolution=8)
    for name in ("cats/pipe.jpg", "dogs/zero.png"):
        assert f"{tmp_path}/train/{name}: not a readable image: not a regular file" in str(error.value)
    assert len(load_data(str(tmp_path), resolution=8, skip_damaged=True).notes[0].splitlines()) == 3


def test_images_in_deeper_folders_belong_to_their_class(tmp_path: Path) -> None:
    small_folder(tmp_path)
    cats = tmp_path / "train" / "cats"
    for i in range(12):
        save(cats / "0_indoors" / f"room{i % 3}" / f"{i}.jpg")
    (cats / "0_indoors" / "again").symlink_to(cats)  # no end without a look at links
    (cats / "0_indoors" / "all").symlink_to(tmp_path)
    save(cats / "test" / "0.png")
    source = folder_source(tmp_path)
    assert np.bincount(source.labels).tolist() == [22, 10]
    assert [path.name for path in source.paths[:10]] == [f"{i:03}.png" for i in range(10)]  # its own come first
    assert source.left_out == {"held-out folder": 1, "link to a folder already read": 2}


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path) -> None:
    small_folder(tmp_path)
    train = tmp_path / "train"
    for i in range(3):
        Image.new("L", (20, 20)).save(train / "cats" / f"{i}.gif")
    Image.new("L", (20, 20)).save(train / "dogs" / "scan.TIFF")
    save(train / "beside.png")
    (train / "dogs" / "README").touch()
    data = load_data(str(tmp_path), resolution=8)
    (note,) = data.notes
    assert note.startswith("left out: 3 GIF files, 1 image outside a class folder, 1 other file, 1 TIFF file; read are")


def test_what_systems_and_notebooks_leave_behind_is_no_class_and_no_image(tmp_path: Path) -> None:
    before = load_data(str(small_folder(tmp_path)), resolution=8)
    train = tmp_path / "train"
    for folder in (train, train / "cats"):
        save(folder / "__MACOSX" / "cats" / "._1.jpg")
        save(folder / ".ipynb_checkpoints" / "1-checkpoint.png")
        (folder / ".DS_Store").touch()
    data = load_data(str(tmp_path), resolution=8)
    assert (data.digest, data.notes) == (before.digest, ())


def test_an_empty_class_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    small_folder(tmp_path)
    for i in range(4):
        (tmp_path / "train" / "birds").mkdir(exist_ok=True)
        Image.new("L", (20, 20)).save(tmp_path / "train" / "birds" / f"{i}.gif")
    with pytest.raises(DataError, match=r"'birds' .* got 0 \(left out: 4 GIF .*add images to .*birds, or delete that"):
        load_data(str(tmp_path), resolution=8)


def test_train_inside_train_is_an_error_only_if_it_holds_folders(tmp_path: Path) -> None:
    small_folder(tmp_path / "vehicles")
    for i in range(4):
        save(tmp_path / "vehicles" / "train" / "train" / f"{i}.png")
    assert folder_source(tmp_path / "vehicles").classes == ("cats", "dogs", "train")
    small_folder(tmp_path / "unpacked" / "train")
    with pytest.raises(DataError, match=r"train/train holds folders, so it is no class; say --data .*unpacked/train"):
        load_data(str(tmp_path / "unpacked"), resolution=8)
    assert folder_source(tmp_path / "unpacked" / "train").classes == ("cats", "dogs")


def test_a_folder_around_the_classes_is_named(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        save(tmp_path / "pets" / name / "0.png")
    with pytest.raises(DataError, match=r"if its folders are the classes, say --data .*pets$"):
        load_data(str(tmp_path), resolution=8)


def test_the_same_image_in_both_splits_is_told_with_its_number(tmp_path: Path) -> None:
    small_folder(tmp_path)
    for c, name in enumerate(("cats", "dogs")):
        for i in range(10):
            save(tmp_path / "train" / name / "copies" / f"{i}.png", (100 * c, i, 0))
    data = load_data(str(tmp_path), resolution=8, val_fraction=0.2)
    known = {image.tobytes() for image in data.train_images}
    twice = sum(image.tobytes() in known for image in data.val_images)
    assert twice
    (note,) = data.notes
    assert note.startswith(f"same image: {twice} of 8 validation images are also training images")


def test_one_image_in_both_splits_is_in_the_singular(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.png" for k in range(3)]
    for path, colour in zip(paths, (1, 2, 1), strict=True):
        save(path, (colour, 0, 0))
    note = shared_note(paths[:2], paths[2:])
    assert note is not None
    assert note.startswith("same image: 1 of 1 validation image is also a training image, so")


def test_a_folder_that_several_links_reach_is_read_once(tmp_path: Path) -> None:
    """Two links to each next level would be 2^30 paths."""
    small_folder(tmp_path)
    for level in range(30):
        inner = tmp_path / "levels" / f"{level + 1}"
        save(inner / f"{level}.jpg")
        outer = tmp_path / "levels" / f"{level}" if level else tmp_path / "train" / "cats"
        for link in ("x", "y"):
            (outer / link).symlink_to(inner)
    source = folder_source(tmp_path)
    assert len(source.labels) == 20 + 30
    assert source.left_out == {"link to a folder already read": 30}
    note = left_out_note(source.left_out)
    assert note is not None
    assert note.startswith("left out: 30 links to a folder already read; read are")
