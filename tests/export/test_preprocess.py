"""preprocess.json, model.onnx and model.py tell of the pixels that training and search see, and of the same classes."""

import dataclasses
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from mfsearch.cli import main
from mfsearch.data.augment import normalize
from mfsearch.data.folder import open_image, read_image
from mfsearch.export.bundle import load_network, read_bundle, replace_weights, write_bundle
from mfsearch.export.bundle_manifest import BundleManifest, write_manifest
from mfsearch.export.check import verify_bundle
from mfsearch.export.origin import of_config, of_trial
from mfsearch.export.source import onnx_metadata
from mfsearch.export.standalone import SHORTER_SIDE, Preprocessing, write_standalone
from mfsearch.train.parts import eval_transform
from mfsearch.train.train_options import make_settings
from tests.export.bundles import small_bundle, trained_weights
from tests.export.test_bundle import TOLD, kept_study
from tests.random_configs import SMALL

NAMES = ["it's", 'a "b"', "$c #: d", "Ä\n"]
MEAN, STD = [0.5, 0.25, 0.125], [0.5, 0.5, 0.25]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of 427 x 640 pixels that a camera held upright stores lying."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    Image.fromarray(load_sample_image("china.jpg")).save(path, quality=95, exif=exif)
    return path


def preprocessed(path: Path, told: dict[str, Any]) -> Any:
    """A photo by Pillow and numpy and what preprocess.json says, alone."""
    opened = Image.open(path)
    if told["jpeg_draft"]:
        opened.draft("RGB", (told["size"], told["size"]))
    image: Image.Image = ImageOps.exif_transpose(opened).convert("RGB")
    width, height = image.size
    how, to, crop = Image.Resampling[told["interpolation"].upper()], told["resize_to"], told["crop"]
    if told["resize"] == "centre square":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        image = image.resize((to, to), how, box=(left, top, left + side, top + side))
    else:
        short = min(width, height)
        image = image.resize((to * width // short, to * height // short), how)
    left, top = round((image.width - crop) / 2), round((image.height - crop) / 2)
    pixels = np.asarray(image.crop((left, top, left + crop, top + crop)), np.float64) / 255
    normalised = (pixels - told["mean"]) / told["std"]
    return normalised.transpose(2, 0, 1)[None].astype(np.float32)


def agrees(folder: Path, photo: Path, expected_1CHW: torch.Tensor) -> None:
    """What preprocess.json makes of the photo is what the package makes of it, and so is the class."""
    told = json.loads((folder / "preprocess.json").read_text())
    image = preprocessed(photo, told)
    assert image.shape == expected_1CHW.shape
    assert np.abs(image - expected_1CHW.numpy()).max() < 1e-6
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": image})
    with torch.no_grad():
        expected = load_network(folder)(expected_1CHW)
    assert told["class_names"][int(logits.argmax())] == told["class_names"][int(expected.argmax())]
    assert np.abs(logits - expected.numpy()).max() < 1e-4 * np.abs(logits).max()


@pytest.mark.parametrize("side", [48, 96])
def test_a_photo_is_what_a_search_saw(side: int, photo: Path, tmp_path: Path) -> None:
    study = kept_study(tmp_path / "s", **TOLD)
    write_bundle(of_trial(study, 28, resolution=side, classes=10), tmp_path / "b")
    pixels = torch.from_numpy(read_image(photo, side).copy())[None]
    agrees(tmp_path / "b", photo, normalize(pixels, tuple(MEAN), tuple(STD)))  # type: ignore[arg-type]
    assert read_bundle(tmp_path / "b").preprocessing.trained_size == 48


@pytest.mark.parametrize(("side", "short"), [(32, 36), (48, 54)])  # 36.6 and 54.9 are rounded down
def test_a_photo_is_what_a_training_saw(side: int, short: int, photo: Path, tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "b", dataclasses.replace(SMALL, resolution=side))
    settings = make_settings(read_bundle(folder).training, side, {"size": 24, "mean": MEAN, "std": STD})
    result = {"size": 24, "mean": MEAN, "std": STD, "class_names": NAMES, "settings": settings.as_dict()}
    config = read_bundle(folder).config
    replace_weights(folder, trained_weights(tmp_path / "w", config), result=json.loads(json.dumps(result)))
    told = json.loads((folder / "preprocess.json").read_text())
    assert (told["size"], told["trained_size"], told["resize_to"]) == (side, 24, short)
    agrees(folder, photo, eval_transform(settings, side)(open_image(photo))[None])
    assert verify_bundle(folder, latency=False).verified


def test_file_metadata_code_and_card_tell_the_same(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "b")
    replace_weights(folder, trained_weights(tmp_path / "w"), result={"class_names": NAMES, "size": 32})
    told = json.loads((folder / "preprocess.json").read_text())
    assert told["class_names"] == NAMES
    assert told["resize"] is None  # this training does not tell
    assert "how is not known" in told["steps"][1]
    metadata = {one.key: one.value for one in onnx.load(folder / "model.onnx").metadata_props}
    assert {name: json.loads(metadata[name]) for name in told if name != "steps"} == {
        name: value for name, value in told.items() if name != "steps"
    }
    module: Any = types.ModuleType("model")
    module.__file__ = "model.py"
    exec(compile((folder / "model.py").read_text(), "model.py", "exec"), module.__dict__)
    assert list(module.CLASS_NAMES) == NAMES
    assert (list(module.MEAN), list(module.STD), module.RESIZE) == (told["mean"], told["std"], None)
    assert "`preprocess.json`" in (folder / "README.md").read_text()


def test_a_network_that_is_not_trained_tells_of_the_recommended_training(tmp_path: Path) -> None:
    found = read_bundle(small_bundle(tmp_path / "b")).preprocessing
    assert (found.trained_size, found.resize, found.crop_pct, found.resize_to) == (None, SHORTER_SIDE, 0.875, 36)
    assert found.class_names is None
    assert "CLASS_NAMES: tuple[str, ...] | None = None" in (tmp_path / "b" / "model.py").read_text()


def other_file(folder: Path, **changes: Any) -> None:
    path = folder / "preprocess.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def other_props(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    props = {one.key: one.value for one in model.metadata_props}
    onnx.helper.set_model_props(model, props | {"class_names": json.dumps(NAMES[::-1])})
    onnx.save(model, folder / "model.onnx")


def other_code(folder: Path) -> None:
    path = folder / "model.py"
    path.write_text(path.read_text().replace("RESIZE_TO = 36", "RESIZE_TO = 37"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: other_file(folder, class_names=NAMES[::-1]), "class_names differ: preprocess.json"),
        (lambda folder: other_file(folder, mean=[0, 0, 0]), "mean differ: preprocess.json"),
        (lambda folder: other_file(folder, size=64), "size differ: preprocess.json 64"),
        (lambda folder: other_file(folder, crop_pct=1), "crop_pct differ: preprocess.json 1"),
        (lambda folder: other_file(folder, resize_to=37), "resize_to differ: preprocess.json 37"),
        (lambda folder: other_file(folder, steps=["as you like"]), "steps differ: preprocess.json"),
        (lambda folder: other_file(folder, resize="squash"), "preprocess.json: resize must be 'shorter side', 'centre"),
        (lambda folder: other_file(folder, crop_pct=0), "preprocess.json: crop_pct must be 0.01 to 2, got 0"),
        (lambda folder: other_file(folder, crop_pct=1e-308), "preprocess.json: crop_pct must be 0.01 to 2, got 1e-308"),
        (lambda folder: other_file(folder, size=-3), "preprocess.json: size must be 1 to 65536 pixels, got -3"),
        (lambda folder: other_file(folder, std=[1, 0, 1]), "preprocess.json: std of a normalisation must be three"),
        (lambda folder: other_file(folder, class_names="ab"), "preprocess.json: class_names must be a list or null"),
        (other_props, "class_names in model.onnx differ: model.onnx"),
        (other_code, "model.py is not what mfsearch writes"),
    ],
)
def test_files_that_disagree_are_caught(change: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "b")
    settings = {"crop_pct": 0.875, "interpolation": "bilinear"}
    told = {"class_names": NAMES, "size": 32, "settings": settings}
    replace_weights(folder, trained_weights(tmp_path / "w"), result=told)
    change(folder)
    write_manifest(folder, BundleManifest.from_dict(json.loads((folder / "manifest.json").read_text())))
    found = [check.said for check in verify_bundle(folder, latency=False).checks if check.outcome == "failed"]
    assert any(said in line for line in found), found


def made_earlier(folder: Path) -> Path:
    """The bundle as it was written before preprocess.json."""
    from mfsearch.export import bundle_manifest as manifests

    bundle = read_bundle(folder)
    normalisation = bundle.manifest.normalisation
    (folder / "preprocess.json").unlink()
    (folder / "model.py").write_text(write_standalone(bundle.config, normalisation))
    model = onnx.load(folder / "model.onnx")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, onnx_metadata(bundle.config, normalisation, None))
    onnx.save(model, folder / "model.onnx")
    write_manifest(folder, bundle.manifest)
    told = json.loads((folder / "manifest.json").read_text()) | {"schema": 1}
    told.pop("sha256")
    (folder / "manifest.json").write_text(manifests._text({**told, "sha256": manifests._digest(told)}))
    return folder


def test_bundles_from_before_the_file_verify_load_and_get_it_when_written_anew(tmp_path: Path) -> None:
    study = kept_study(tmp_path / "s", **TOLD)
    write_bundle(of_trial(study, 28, resolution=32, classes=10), tmp_path / "b")
    before = read_bundle(tmp_path / "b").preprocessing
    folder = made_earlier(tmp_path / "b")
    report = verify_bundle(folder, latency=False)
    assert report.verified
    assert {check.outcome for check in report.checks} == {"ok", "skipped"}
    assert [check.name for check in report.checks if check.outcome == "skipped"] == ["latency"]
    assert read_bundle(folder).preprocessing == before
    assert main(["export", str(folder), "--to", str(tmp_path / "anew")]) == 0
    assert read_bundle(tmp_path / "anew").preprocessing == before
    config = read_bundle(folder).config
    replace_weights(folder, trained_weights(tmp_path / "w", config), result={"size": 32})
    assert read_bundle(folder).preprocessing.trained_size == 32
    assert (folder / "preprocess.json").is_file()


def test_a_manifest_of_today_needs_the_file(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "b")
    manifest = read_bundle(folder).manifest
    (folder / "preprocess.json").unlink()
    write_manifest(folder, manifest)
    with pytest.raises(ValueError, match=r"must list .* preprocess\.json"):
        read_bundle(folder)


def test_export_warns_where_the_size_is_not_the_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(kept_study(tmp_path / "s", **TOLD))
    asked = ["export", study, "--trial", "28", "--classes", "10", "--to"]
    assert main([*asked, str(tmp_path / "large")]) == 0
    said = capsys.readouterr().err
    assert "the weights were trained at 48 px and model.onnx is for 224 px: expect a lower top1" in said
    assert "--resolution 48 writes it for the size of the training" in said
    assert main([*asked, str(tmp_path / "own"), "--resolution", "48", "--json"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert (json.loads(told.out)["size"], json.loads(told.out)["trained_size"]) == (48, 48)
    assert main(["export", "mf-26m", "--resolution", "32", "--to", str(tmp_path / "preset")]) == 0
    assert "trained at" not in capsys.readouterr().err


def test_a_classifier_that_is_drawn_anew_has_no_names(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, classes=5)
    names = ("a", "b", "c", "d")
    told = Preprocessing(32, 24, SHORTER_SIDE, 0.875, "bilinear", class_names=names)
    origin = dataclasses.replace(
        of_config("small", config), weights=trained_weights(tmp_path / "w"), preprocessing=told
    )
    write_bundle(origin, tmp_path / "b")
    found = read_bundle(tmp_path / "b").preprocessing
    assert found == dataclasses.replace(told, class_names=None)
    assert verify_bundle(tmp_path / "b", latency=False).verified
