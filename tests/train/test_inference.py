"""Photos and folders of images through a bundle: the answers of training, whatever the file, and who is refused."""

import dataclasses
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from mfsearch.cli import main
from mfsearch.data.folder import open_image
from mfsearch.data.load import find_source, load_data
from mfsearch.export.bundle import load_network, read_bundle, replace_weights, write_bundle
from mfsearch.export.bundle_manifest import read_manifest, write_manifest
from mfsearch.export.bundle_metrics import PublishedFile
from mfsearch.export.origin import of_config
from mfsearch.export.published_weights import TRAINED_SIZE
from mfsearch.model import MobileFormer
from mfsearch.train.fit import Callbacks, train_bundle
from mfsearch.train.inference import FileAccuracy, RightAnswers, evaluate, predict, prepared
from mfsearch.train.parts import eval_transform
from mfsearch.train.train_options import Request, make_settings
from tests.cost.test_onnx_graph import lived
from tests.data.cifar_files import FOLDERS, write_cifar
from tests.data.cifar_files import NAMES as CIFAR_NAMES
from tests.export.bundles import trained_weights
from tests.train.conftest import TINY

NAMES = ("dark", "light")
MEAN, STD = [0.5, 0.4, 0.3], [0.5, 0.5, 0.25]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the weights of a full training, fp32 and int8, of a network with dark and light as classes."""
    place = tmp_path_factory.mktemp("ready")
    folder = place / "first"
    write_bundle(of_config("tiny", TINY), folder)
    settings = make_settings(read_bundle(folder).training, 32, {"mean": MEAN, "std": STD}).as_dict()
    result = {"size": 32, "mean": MEAN, "std": STD, "class_names": NAMES, "settings": settings}
    replace_weights(folder, trained_weights(place / "w", TINY), result=json.loads(json.dumps(result)))
    assert main(["export", str(folder), "--to", str(place / "ready"), "--int8", "--data", "digits"]) == 0
    return place / "ready"


@pytest.fixture
def bundle(ready: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ready, tmp_path / "b"))


@pytest.fixture(scope="module")
def china() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg")).resize((160, 100))


@pytest.fixture
def images(tmp_path: Path, image_folder: Path) -> Path:
    """val/{dark,light}/ with 10 and 6 images."""
    for name, count in (("dark", 10), ("light", 6)):
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        for k in range(count):
            shutil.copy(image_folder / "train" / name / f"{k}.png", tmp_path / "data" / "val" / name)
    return tmp_path / "data"


def test_a_photo_is_prepared_as_training_judges_it_and_onnx_answers_as_torch(
    ready: Path, china: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying
    china.save(tmp_path / "p.jpg", exif=exif)
    bundle = read_bundle(ready)
    settings = make_settings(bundle.training, 32, {"mean": MEAN, "std": STD})
    judged = eval_transform(settings, 32)(open_image(tmp_path / "p.jpg"))
    assert np.abs(prepared(open_image(tmp_path / "p.jpg"), bundle.preprocessing) - judged.numpy()).max() < 1e-6
    with torch.no_grad():
        expected = load_network(ready)(judged[None]).softmax(1)[0].tolist()
    for by_torch in (False, True):
        (found,) = predict(ready, [tmp_path / "p.jpg"], by_torch=by_torch)
        assert dict(found.classes) == pytest.approx(dict(zip(NAMES, expected, strict=True)), abs=1e-4)
        assert found.classes[0][1] >= found.classes[1][1]


def gray16(path: Path) -> None:
    Image.fromarray((np.arange(60 * 60).reshape(60, 60) * 18).astype(np.uint16)).save(path)


def animation(path: Path, image: Image.Image) -> None:
    image.save(path, save_all=True, append_images=[Image.new("RGB", image.size, "red")])


READ: dict[str, Callable[[Path, Image.Image], object]] = {
    "cmyk.jpg": lambda path, image: image.convert("CMYK").save(path, quality=100),
    "palette.png": lambda path, image: image.quantize(256).save(path),
    "clear.png": lambda path, image: image.convert("RGBA").save(path),
    "animation.gif": animation,
    "rgb.tiff": lambda path, image: image.save(path),
    "misnamed.txt": lambda path, image: image.save(path, format="WEBP", lossless=True),
}


@pytest.mark.parametrize("name", READ)
def test_an_image_of_any_kind_gives_nearly_the_answer_of_its_pixels(
    name: str, ready: Path, china: Image.Image, tmp_path: Path
) -> None:
    china.save(tmp_path / "plain.bmp")
    READ[name](tmp_path / name, china)
    one, other = predict(ready, [tmp_path / "plain.bmp", tmp_path / name])
    assert dict(other.classes) == pytest.approx(dict(one.classes), abs=0.05)


def test_small_and_16_bit_images_have_an_answer(ready: Path, tmp_path: Path) -> None:
    gray16(tmp_path / "16.png")
    Image.fromarray((np.arange(60 * 60).reshape(60, 60) * 18 // 257).astype(np.uint8)).save(tmp_path / "8.png")
    Image.new("RGB", (1, 1), "white").save(tmp_path / "1.png")
    deep, plain, dot = predict(ready, [tmp_path / name for name in ("16.png", "8.png", "1.png")])
    assert dict(deep.classes) == pytest.approx(dict(plain.classes), abs=1e-6)
    assert sum(share for _, share in dot.classes) == pytest.approx(1)


def bomb(path: Path) -> None:
    """A PNG of 1 kB that says it has 900 million pixels."""
    held = io.BytesIO()
    Image.new("1", (8, 8)).save(held, "PNG")
    content = bytearray(held.getvalue())
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.jpg": (lambda path: path.write_text("no image"), "its content is none of the formats that Pillow reads"),
    "empty.png": (lambda path: path.touch(), "not a readable image"),
    "none.png": (lambda path: None, "No such file"),
    "pipe.png": (lambda path: os.mkfifo(path), "not a regular file"),
    "folder.png": (lambda path: path.mkdir(), "not a regular file"),
    "bomb.png": (bomb, "decompression bomb"),
    "float.tiff": (lambda path: Image.new("F", (9, 9)).save(path), "more than 16 bits a pixel"),
    "32bit.tiff": (lambda path: Image.new("I", (9, 9), 1 << 20).save(path), "more than 16 bits a pixel"),
    "strip.png": (lambda path: Image.new("RGB", (1, 60_000)).save(path), "too long and narrow: 1 x 60000 px"),
    "drawn.eps": (lambda path: Image.new("RGB", (9, 9)).save(path), "its content is none of"),
}


def test_every_photo_that_cannot_be_read_is_named(
    ready: Path, china: Image.Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    china.save(tmp_path / "fine.png")
    for name, (make, _) in REFUSED.items():
        make(tmp_path / name)
    assert main(["predict", str(ready), str(tmp_path / "fine.png"), *(str(tmp_path / name) for name in REFUSED)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{len(REFUSED)} of {len(REFUSED) + 1} photos" in told.err
    for name, (_, reason) in REFUSED.items():
        assert any(name in line and reason in line for line in told.err.splitlines()), (name, told.err)


def test_the_command_prints_classes_or_json(
    ready: Path, china: Image.Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    china.save(tmp_path / "p.png")
    asked = ["predict", str(ready), str(tmp_path / "p.png")]
    assert main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("p.png")
    assert {line.split()[1] for line in lines[1:]} == {*NAMES}
    assert main([*asked, "--top", "1", "--torch", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["classes"]] == [lines[1].split()[1]]
    assert main([*asked, "--top", "0"]) == 2
    assert "--top must be 1 or more, got 0" in capsys.readouterr().err


def rewritten(folder: Path, name: str, **changes: Any) -> None:
    content = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps(content))
    write_manifest(folder, read_manifest(folder))


def test_a_network_that_is_not_trained_or_not_whole_is_refused(
    bundle: Path, made: Callable[[int], Path], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.mutations import endless_graph

    photo = next(images.rglob("*.png"))
    with pytest.raises(ValueError, match="tiny holds first weights, nothing trained: `mfsearch train`"):
        predict(made(2), [photo])
    with pytest.raises(ValueError, match="holds first weights"):
        evaluate(made(2), images)
    assert main(["export", str(bundle), "--classes", "3", "--to", str(tmp_path / "three")]) == 0
    with pytest.raises(ValueError, match="three has a re-initialised classifier, not trained"):
        predict(tmp_path / "three", [photo])
    whole = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=r"model\.onnx: changed since it was written"):
        predict(bundle, [photo])
    (bundle / "model.onnx").write_bytes(whole)
    (bundle / "model.onnx").write_bytes(endless_graph(bundle / "model.onnx"))
    write_manifest(bundle, read_manifest(bundle))
    monkeypatch.setattr("mfsearch.train.inference.RUN_SECONDS", 2.0)
    with pytest.raises(ValueError, match=r"model\.onnx must answer in 3 s, and did not"):
        predict(bundle, [photo])
    with pytest.raises(ValueError, match="this is no bundle"):
        predict(tmp_path, [photo])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean": None, "std": None}, "mean is not known, so images cannot be prepared"),
        ({"interpolation": "random"}, "interpolation must be one of nearest, bilinear"),
        ({"size": 64}, "size must be 32, as in arch.yaml, got 64"),
        ({"size": 32, "resize_to": None, "crop_pct": 0.01}, None),
    ],
)
def test_a_preprocessing_that_cannot_be_followed_is_refused(
    changes: dict[str, Any], said: str | None, bundle: Path, images: Path
) -> None:
    rewritten(bundle, "preprocess.json", **changes)
    photo = next(images.rglob("*.png"))
    if said is None:
        predict(bundle, [photo])  # 3,200 px: slow and allowed
        return
    with pytest.raises(ValueError, match=said):
        predict(bundle, [photo])


def test_weights_of_another_image_size_are_told_beside_the_answers(bundle: Path, images: Path) -> None:
    notes: list[str] = []
    photo = next(images.rglob("*.png"))
    predict(bundle, [photo], on_note=notes.append)
    assert notes == []
    rewritten(bundle, "preprocess.json", trained_size=64)
    predict(bundle, [photo], on_note=notes.append)
    (note,) = notes
    assert "trained at 64 px, the bundle is for 32 px" in note
    assert f"`mfsearch export {bundle} --resolution 64 --to DIR`" in note


def test_the_accuracy_is_that_of_the_answers_one_by_one(
    bundle: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [(name, path) for name in NAMES for path in sorted((images / "val" / name).iterdir())]
    answers = [one.classes[0][0] for one in predict(bundle, [path for _, path in files], by_torch=True)]
    found = evaluate(bundle, images)
    right = sum(name == answer for (name, _), answer in zip(files, answers, strict=True))
    assert (found.fp32.top1.right, found.fp32.top1.images, found.fp32.top5.value) == (right, 16, 1.0)
    table = [[sum((n, a) == (t, p) for (n, _), a in zip(files, answers, strict=True)) for p in NAMES] for t in NAMES]
    assert found.fp32.confusion.tolist() == table
    assert found.int8 is not None
    assert found.int8.top1.images == 16
    assert found.same_top1 is not None
    assert main(["evaluate", str(bundle), "--data", str(images)]) == 0
    told = capsys.readouterr().out
    for text in ("on 16 images", "fp32  top1", "int8  top1", "top1 by class", "by true class (row)"):
        assert text in told
    assert main(["evaluate", str(bundle), "--data", str(images), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["fp32"]["top1"]["value"] == right / 16
    assert content["fp32"]["by_class"]["light"]["images"] == 6
    assert sum(one["images"] for one in content["fp32"]["confusions"]) == 16 - right


def test_images_that_chose_the_best_epoch_are_told(bundle: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for val_from, told in ((images / "val", True), (images / "train", False), ("10% of the training images", False)):
        rewritten(bundle, "metrics.json", full_training={"val_from": str(val_from)})
        assert any("chose its best epoch by" in note for note in evaluate(bundle, images).notes) == told
    rewritten(bundle, "metrics.json", full_training={"val_from": str(images / "val")})
    monkeypatch.chdir(images / "val")
    assert any("chose its best epoch by" in note for note in evaluate(bundle, "..").notes)
    rewritten(bundle, "metrics.json", full_training=None)
    assert not any("chose its best epoch by" in note for note in evaluate(bundle, "..").notes)
    rewritten(bundle, "metrics.json", full_training={"val_from": str(images / "val")})
    monkeypatch.chdir(images)
    assert any("chose its best epoch by val" in note for note in evaluate(bundle, ".").notes)


def test_shares_and_confusions_by_hand() -> None:
    assert RightAnswers(0, 10).interval == pytest.approx((0, 1 - 0.025**0.1))  # Clopper and Pearson
    assert RightAnswers(10, 10).interval == pytest.approx((0.025**0.1, 1))
    accuracy = FileAccuracy("f", RightAnswers(3, 9), RightAnswers(9, 9), np.array([[1, 2, 0], [0, 2, 3], [1, 0, 0]]))
    assert accuracy.confusions() == [(1, 2, 3), (0, 1, 2), (2, 0, 1)]
    assert (accuracy.of_class(1).right, accuracy.of_class(1).images) == (2, 5)


def test_classes_that_are_not_the_bundles_are_named(
    bundle: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["evaluate", str(bundle), "--data", str(images)]
    (images / "val" / "light").rename(images / "val" / "bright")
    assert main(asked) == 2
    assert (
        "has a class that the bundle does not have: 'bright'; the bundle's classes are dark, light"
        in capsys.readouterr().err
    )
    shutil.rmtree(images / "val" / "bright")
    assert main(asked) == 2
    assert "has no image of the bundle's class 'light'" in capsys.readouterr().err
    assert main([*asked, "--split", "test"]) == 2
    assert f"{images} holds val: name one with --split" in capsys.readouterr().err


def test_damaged_images_are_named_or_left_out(bundle: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "val" / "dark" / "3.png").write_bytes(b"\x89PNG")
    asked = ["evaluate", str(bundle), "--data", str(images / "val"), "--split", "."]
    assert main(asked) == 2
    assert "dark/3.png: not a readable image" in capsys.readouterr().err
    assert main([*asked, "--skip-damaged"]) == 0
    told = capsys.readouterr()
    assert "on 15 images" in told.out
    assert "skipped: 1 damaged file" in told.err
    for path in (images / "val").rglob("*.png"):
        path.write_bytes(b"")
    assert main([*asked, "--skip-damaged"]) == 2
    assert "no image can be read" in capsys.readouterr().err


def published_bundle(folder: Path, classes: int) -> Path:
    """A bundle as from the authors' release, which names no classes."""
    config = dataclasses.replace(TINY, classes=classes)
    model = lived(MobileFormer(config))
    facts = PublishedFile("f.pth", "0" * 64, TRAINED_SIZE, "mf-26m")
    origin = dataclasses.replace(of_config("t", config), weights=model.state_dict(), published=facts)
    write_bundle(origin, folder)
    return folder


def test_without_names_the_classes_are_numbers_or_the_folders(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(14):
        (images / "val" / f"c{k:02}").mkdir()
        shutil.copy(images / "val" / "dark" / f"{k % 10}.png", images / "val" / f"c{k:02}")
    folder = published_bundle(tmp_path / "p", 16)
    (found,) = predict(folder, [images / "val" / "dark" / "0.png"])
    assert len(found.classes) == 5
    assert all(name.startswith("class ") for name, _ in found.classes)
    assert main(["evaluate", str(folder), "--data", str(images)]) == 0
    told = capsys.readouterr()
    assert "the bundle does not name its classes" in told.err
    assert "most frequent mistakes" in told.out
    shutil.rmtree(images / "val" / "c00")
    with pytest.raises(ValueError, match="must have images of 16 classes, as the bundle, got 15"):
        evaluate(folder, images)


def test_classes_of_published_weights_have_the_names_of_imagenet_where_timm_is(
    china: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = published_bundle(tmp_path / "p", 1000)
    china.save(tmp_path / "p.png")
    asked = ["predict", str(folder), str(tmp_path / "p.png"), "--top", "1000", "--json"]
    assert main(asked) == 0
    told = capsys.readouterr()
    names = [one["name"] for one in json.loads(told.out)[0]["classes"]]
    assert told.err == ""
    assert {"tench, Tinca tinca", "goldfish, Carassius auratus", "toilet tissue, toilet paper, bathroom tissue"} < {
        *names
    }
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(asked) == 0
    told = capsys.readouterr()
    assert {one["name"] for one in json.loads(told.out)[0]["classes"]} == {f"class {k}" for k in range(1000)}
    assert told.err.count("\n") == 1
    assert "they have numbers; names of ImageNet's come with timm" in told.err


def named_bundle(folder: Path, names: Sequence[str]) -> Path:
    """A bundle with the weights of a full training for these classes."""
    config = dataclasses.replace(TINY, classes=len(names))
    write_bundle(of_config("tiny", config), folder)
    settings = make_settings(read_bundle(folder).training, 32, {"mean": MEAN, "std": STD}).as_dict()
    result = {"size": 32, "mean": MEAN, "std": STD, "class_names": names, "settings": settings}
    weights = trained_weights(folder.with_suffix(".weights"), config)
    replace_weights(folder, weights, result=json.loads(json.dumps(result)))
    return folder


def test_digits_are_judged_by_those_that_no_search_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the bundle's own preprocessing, whatever the order of its classes."""
    folder = named_bundle(tmp_path / "b", "9876543210")
    test, searched = find_source("digits", None, False, test=True), load_data("digits", resolution=8)
    pixels = test.read(np.arange(359), 8)
    seen = {one.tobytes() for one in (*searched.train_images, *searched.val_images)}
    assert len(test.labels) == 359
    assert not {one.tobytes() for one in pixels} & seen
    judged = eval_transform(make_settings(read_bundle(folder).training, 32, {"mean": MEAN, "std": STD}), 32)
    with torch.no_grad():
        inputs = torch.stack([judged(Image.fromarray(one.transpose(1, 2, 0))) for one in pixels])
        answers = load_network(folder)(inputs).argmax(1).numpy()
    assert main(["evaluate", str(folder), "--data", "digits", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["data"], told["images"]) == ("the test split of digits", 359)
    assert told["fp32"]["top1"]["right"] == (9 - answers == test.labels).sum()
    zeros = int((test.labels == 0).sum())
    assert told["fp32"]["by_class"]["0"]["images"] == zeros
    assert main(["evaluate", str(folder), "--data", "digits", "--split", "val"]) == 2
    assert "--split is for image folders, digits is judged by its test split" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["binary", "python"])
def test_cifar_is_judged_by_its_test_batch(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = named_bundle(tmp_path / "b", CIFAR_NAMES["cifar10"])
    write_cifar(tmp_path, "cifar10", layout, per_class=3)
    asked = ["evaluate", str(folder), "--data", "cifar10", "--data-dir", str(tmp_path), "--json"]
    place = tmp_path / FOLDERS["cifar10", layout]
    assert main(asked) == 2
    assert "test_batch" in capsys.readouterr().err  # garbage so far
    first = "data_batch_1.bin" if layout == "binary" else "data_batch_1"
    (place / first).replace(place / first.replace("data_batch_1", "test_batch"))
    assert main(asked) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 6
    assert sum(one["images"] for one in told["fp32"]["by_class"].values()) == 6
    assert main([*asked[:3], "cifar100", *asked[4:]]) == 2
    assert "cifar100 must lie in" in capsys.readouterr().err
    assert main([*asked[:3], "digits", *asked[4:]]) == 2
    assert "digits has a class that the bundle does not have: '0'" in capsys.readouterr().err


def test_published_weights_are_lost_only_on_request(request_of: Callable[..., Request], tmp_path: Path) -> None:
    folder = published_bundle(tmp_path / "p", 2)
    with pytest.raises(
        ValueError, match="p holds the authors' published weights: export the network anew, or say --rep"
    ):
        train_bundle(request_of(folder), Callbacks())
