"""CIFAR's four released layouts, and what is said when they are not what they should be."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from mfsearch.cli import main
from mfsearch.data import DataError, ImageData, load_data
from mfsearch.data.cifar_pickle import read_pickle
from mfsearch.study.settings import Settings
from tests.data.cifar_files import FOLDERS, NAMES, python2_array, python2_batch, python2_dict, python2_list, write_cifar

LAYOUTS = list(FOLDERS)


@pytest.fixture(autouse=True)
def no_prepared_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MFSEARCH_DATA", raising=False)


def as_pairs(data: ImageData) -> list[tuple[bytes, int]]:
    images = np.concatenate([data.train_images, data.val_images])
    labels = np.concatenate([data.train_labels, data.val_labels])
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_every_training_image_arrives_once_with_its_label(tmp_path: Path, name: str, layout: str) -> None:
    images, labels = write_cifar(tmp_path, name, layout)  # the test part there is garbage: it is never read
    data = load_data(name, resolution=32, data_dir=tmp_path)
    assert (data.name, data.classes, data.flip, data.resolution) == (name, NAMES[name], True, 32)
    assert (str(data.train_images.dtype), str(data.train_labels.dtype)) == ("uint8", "int64")
    classes = len(NAMES[name])
    assert len(data.val_images) == classes  # a tenth of ten images of each class
    assert np.bincount(data.val_labels).tolist() == [1] * classes
    assert np.bincount(data.train_labels).tolist() == [9] * classes
    assert as_pairs(data) == sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_both_layouts_of_a_release_are_the_same_data(tmp_path: Path, name: str) -> None:
    write_cifar(tmp_path / "b", name, "binary", per_class=2)
    write_cifar(tmp_path / "p", name, "python", per_class=2)
    binary, python = (load_data(name, resolution=32, data_dir=tmp_path / part) for part in ("b", "p"))
    assert binary.digest == python.digest
    assert (binary.mean, binary.std) == (python.mean, python.std)


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_the_test_part_may_be_absent(tmp_path: Path, name: str, layout: str) -> None:
    write_cifar(tmp_path, name, layout, per_class=2)
    before = load_data(name, resolution=32, data_dir=tmp_path).digest
    for file in (tmp_path / FOLDERS[name, layout]).glob("test*"):
        file.unlink()
    assert load_data(name, resolution=32, data_dir=tmp_path).digest == before


def test_the_released_folder_itself_may_be_named(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar10", "python", per_class=2)
    released = tmp_path / FOLDERS["cifar10", "python"]
    assert load_data("cifar10", resolution=32, data_dir=released).name == "cifar10"


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, "cifar100", "binary", per_class=2)
    """That of the command line: the library itself does not look there."""
    monkeypatch.setenv("MFSEARCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match="needs a data folder"):
        load_data("cifar100", resolution=32)
    seen: list[Path | None] = []

    def dry_run(settings: Settings, _: object) -> int:
        seen.append(settings.data_dir)
        return 0

    monkeypatch.setattr("mfsearch.commands.run._dry_run", dry_run)
    argv = ["run", "--budget", "96M", "--data", "cifar100", "--dry-run"]
    assert main(argv) == main([*argv, "--data-dir", "mine"]) == 0
    assert seen == [tmp_path, Path("mine")]


def test_python_3_pickles_are_read_too(tmp_path: Path) -> None:
    images, labels = write_cifar(tmp_path, "cifar10", "python", per_class=2)
    before = load_data("cifar10", resolution=32, data_dir=tmp_path).digest
    for i, part in enumerate(np.array_split(np.arange(20), 5), start=1):
        batch = {"data": images[part].reshape(-1, 3072), "labels": labels[part].tolist()}
        for protocol in (2, 4):
            file = tmp_path / FOLDERS["cifar10", "python"] / f"data_batch_{i}"
            file.write_bytes(pickle.dumps(batch, protocol=protocol))
            assert load_data("cifar10", resolution=32, data_dir=tmp_path).digest == before


def test_missing_data_say_where_they_were_sought_and_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_data("cifar100", resolution=32, data_dir=tmp_path / "nowhere")
    for part in (
        "cifar100",
        str(tmp_path / "nowhere" / "cifar-100-binary"),
        "cifar-100-python",
        "curl -O https://www.cs",
    ):
        assert part in str(caught.value)
    with pytest.raises(DataError, match=r"MFSEARCH_DATA\) with cifar-10-batches-bin or cifar-10-batches-py"):
        load_data("cifar10", resolution=32)


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar10", "binary", per_class=2)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin").unlink()
    with pytest.raises(DataError, match=r"cifar-10-batches-bin: data_batch_1\.bin missing"):
        load_data("cifar10", resolution=32, data_dir=tmp_path)


@pytest.mark.parametrize("size", [0, 3072, 3073 * 2 + 1])
def test_a_binary_file_of_wrong_size_says_its_size_and_what_is_expected(tmp_path: Path, size: int) -> None:
    write_cifar(tmp_path, "cifar10", "binary", per_class=2)
    file = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    file.write_bytes(bytes(size))
    with pytest.raises(
        DataError, match=rf"{re.escape(str(file))} must hold whole records of 3073 bytes, got {size} bytes"
    ):
        load_data("cifar10", resolution=32, data_dir=tmp_path)


def test_a_binary_label_out_of_range_is_an_error(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar10", "binary", per_class=2)
    file = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    content = bytearray(file.read_bytes())
    content[3073] = 10
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_2\.bin: labels must be 0\.\.9, got 10 at image 1"):
        load_data("cifar10", resolution=32, data_dir=tmp_path)


def test_a_wrong_number_of_class_names_is_an_error(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar10", "binary", per_class=2)
    (tmp_path / "cifar-10-batches-bin" / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"batches\.meta\.txt must name 10 different classes, got 2"):
        load_data("cifar10", resolution=32, data_dir=tmp_path)


ROW = np.zeros((1, 3072), np.uint8)
BAD_PICKLES = {
    "no data": (python2_dict({"labels": python2_list([])}), "'data' must be an array .* got NoneType"),
    "wrong shape": (python2_batch(ROW[:, :100], [1], "labels"), r"'data' must be an array .* got \(1, 100\)"),
    "wrong key": (python2_batch(ROW, [1], "fine_labels"), "'labels' must be a list"),
    "too few labels": (python2_batch(ROW, [], "labels"), "1 images and 0 labels"),
    "label -1": (python2_batch(ROW, [-1], "labels"), "labels must be 0..9, got -1 at image 0"),
    "floats": (python2_dict({"data": python2_array(ROW, "f4")}), "arrays must hold bytes .*, got 'f4'"),
    "not a dict": (b"\x80\x02K\x01.", "must hold a dict, got a int"),
    "no pickle": (b"garbage", "not a CIFAR file"),
    "empty": (b"", r"not a CIFAR file \(0 bytes\)"),
    "cut": (python2_batch(ROW, [1], "labels")[:-500], "not a CIFAR file"),
}


@pytest.mark.parametrize("case", BAD_PICKLES)
def test_a_wrong_pickle_is_named_with_its_fault(tmp_path: Path, case: str) -> None:
    content, fault = BAD_PICKLES[case]
    write_cifar(tmp_path, "cifar10", "python", per_class=2)
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").write_bytes(content)
    with pytest.raises(DataError, match=rf"data_batch_4.*{fault}"):
        load_data("cifar10", resolution=32, data_dir=tmp_path)


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_runs_no_code(tmp_path: Path, protocol: int) -> None:
    write_cifar(tmp_path, "cifar10", "python", per_class=2)
    target = tmp_path / "harmed"
    for file in ("data_batch_1", "batches.meta"):
        (tmp_path / "cifar-10-batches-py" / file).write_bytes(pickle.dumps({"data": Attack(target)}, protocol=protocol))
        with pytest.raises(DataError, match=r"asks for \w+\.mkdir, which no CIFAR file needs"):
            load_data("cifar10", resolution=32, data_dir=tmp_path)
    assert not target.exists()


@pytest.mark.parametrize(
    "attack",
    [
        b"cnumpy\ndtype\nU\x02O8\x85R.",
        b"cnumpy\nload\nU\x01x\x85R.",
        b"cbuiltins\neval\nU\x011\x85R.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
    ],
)
def test_what_is_allowed_in_a_pickle_cannot_be_turned_against_us(tmp_path: Path, attack: bytes) -> None:
    write_cifar(tmp_path, "cifar10", "python", per_class=2)
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"\x80\x02" + attack)
    with pytest.raises(DataError, match="data_batch_1"):
        load_data("cifar10", resolution=32, data_dir=tmp_path)


def test_a_pickle_does_not_choose_a_codec(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x80\x02}U\x04datac_codecs\nencode\nU\x03abcU\x05rot13\x86Rs.")
    assert read_pickle(tmp_path / "a") == {"data": b"abc"}
