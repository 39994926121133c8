"""The authors' checkpoints become our presets: the same logits, every key used, and a fault named by its key."""

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mfsearch as mf
from mfsearch.cli import main
from mfsearch.export.bundle import load_network, read_bundle
from mfsearch.export.bundle_manifest import sha256_of
from mfsearch.export.check import verify_bundle
from mfsearch.export.published_weights import authors_name, of_published
from mfsearch.model import MobileFormer
from mfsearch.presets import PRESETS

DATA = Path(__file__).parent / "data"
KEYS: dict[str, list[tuple[str, list[int]]]] = json.loads(gzip.decompress((DATA / "keys.json.gz").read_bytes()))


def filled(name: str, shape: list[int]) -> Tensor:
    """The value that the logits in logits.npz were computed with, in float64."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        return torch.from_numpy(rng.uniform(0.5, 1.5, shape))
    if name.endswith(("running_mean", "bias")):
        return torch.from_numpy(0.1 * rng.standard_normal(shape))
    if len(shape) == 1:
        return torch.from_numpy(rng.uniform(0.5, 1.5, shape))
    return torch.from_numpy(rng.standard_normal(shape) * 1.5 / np.sqrt(np.prod(shape[1:])))


def checkpoint(size: str) -> dict[str, Tensor]:
    """A state dict in the authors' layout with random weights."""
    state = {name: filled(name, shape) for name, shape in KEYS[size]}
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def file26(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = {f"module.{name}": value for name, value in checkpoint("26m").items()}
    return saved({"state_dict": state, "epoch": 450}, tmp_path_factory.mktemp("authors") / "26m.pth.tar")


@pytest.mark.parametrize("size", KEYS)
def test_the_logits_are_those_of_the_authors_code(size: str) -> None:
    config = PRESETS[f"mf-{size}"]
    model = MobileFormer(config).double().eval()
    ours = {authors_name(name, config): name for name in model.state_dict()}
    assert ours.keys() == {name for name, _ in KEYS[size]}
    model.load_state_dict({ours[name]: filled(name, shape) for name, shape in KEYS[size]})
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 224, 224)))
    with torch.no_grad():
        found = model(image)[0].numpy()
    expected = np.load(DATA / "logits.npz")[f"logits_{size}"]
    assert np.abs(found - expected).max() < 1e-9 * np.abs(expected).max()


def test_the_command_writes_a_bundle_that_says_where_its_weights_are_from(
    file26: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "found"
    assert main(["export", "mf-26m", "--weights", str(file26), "--to", str(folder)]) == 0
    said = capsys.readouterr()
    assert "weights: 460 tensors from the authors' release, file 26m.pth.tar" in said.out
    assert "before use" not in said.err
    assert verify_bundle(folder, latency=False).verified
    bundle = read_bundle(folder)
    assert bundle.metrics.weights.published is not None
    assert bundle.metrics.weights.published.sha256 == sha256_of(file26)
    told = bundle.preprocessing
    assert (told.size, told.trained_size, told.crop_pct, told.interpolation) == (224, 224, 0.875, "bilinear")
    assert (told.mean, told.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    card = (folder / "README.md").read_text()
    for text in (
        "**Trained** by the paper's authors, at 224 px",
        "26m.pth.tar, SHA-256",
        sha256_of(file26),
        "licence:",
    ):
        assert text in card
    image = torch.ones(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(load_network(folder)(image), mf.load_published("mf-26m", file26)(image))
    assert main(["export", str(folder), "--resolution", "64", "--to", str(tmp_path / "again")]) == 0
    assert "the weights were trained at 224 px and model.onnx is for 64 px" in capsys.readouterr().err
    assert verify_bundle(tmp_path / "again", latency=False).verified
    assert read_bundle(tmp_path / "again").metrics.weights.published == bundle.metrics.weights.published


def test_for_other_classes_the_classifier_is_re_initialised_with_a_notice(
    file26: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "five"
    wanted = ["export", "mf-26m", "--weights", str(file26), "--classes", "5", "--resolution", "64", "--to"]
    assert main([*wanted, str(folder)]) == 0
    said = capsys.readouterr()
    assert "2 re-initialised for 5 classes (head.classifier.weight, head.classifier.bias)" in said.out
    assert "train it in full before use" in said.err
    assert verify_bundle(folder, latency=False).verified
    assert "**Not ready for use**" in (folder / "README.md").read_text()
    assert main(["export", str(folder), "--to", str(tmp_path / "again")]) == 0
    assert "2 re-initialised for 5 classes" in capsys.readouterr().out  # still not trained


def test_a_checkpoint_of_other_classes_keeps_its_classifier_on_request(tmp_path: Path) -> None:
    state = checkpoint("26m")
    for kind in ("weight", "bias"):
        state[f"classifier.classifier.1.{kind}"] = state[f"classifier.classifier.1.{kind}"][:7].clone()
    path = saved(state, tmp_path / "seven.pth")
    with pytest.raises(ValueError, match=r"classifier\.1\.bias is for 7 classes, mf-26m has 1000: ask for 7 classes"):
        mf.load_published("mf-26m", path)
    origin = of_published("mf-26m", path, classes=7)
    assert isinstance(origin.weights, dict)
    assert torch.equal(origin.weights["head.classifier.bias"], state["classifier.classifier.1.bias"])
    assert of_published("mf-26m", path, classes=3).weights.keys() == origin.weights.keys() - {  # type: ignore[union-attr]
        "head.classifier.weight",
        "head.classifier.bias",
    }


BIAS = "features.3.local_global.q.bias"
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown": (lambda state: state.update({"head.extra": torch.ones(1)}), "unknown key 'head.extra'"),
    "missing": (lambda state: state.pop(BIAS), f"missing key '{BIAS}'"),
    "shape": (lambda state: state.update({BIAS: torch.ones(3)}), rf"{BIAS} must be \[24\], got \[3\]"),
    "not finite": (lambda state: state[BIAS].fill_(torch.nan), f"{BIAS} holds numbers that are not finite"),
    "whole numbers": (lambda state: state.update({BIAS: torch.ones(24, dtype=torch.int32)}), f"{BIAS} must hold plain"),
    "complex": (lambda state: state.update({BIAS: torch.ones(24) * 1j}), f"{BIAS} must hold plain floating-point"),
    "sparse": (lambda state: state.update({BIAS: torch.ones(24).to_sparse()}), f"{BIAS} must hold plain"),
    "no data": (lambda state: state.update({BIAS: torch.ones(24, device="meta")}), f"{BIAS} must hold plain"),
    "other size": (lambda state: state.update(checkpoint("52m")), "these are the weights of mf-52m"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_that_does_not_fit_is_refused_by_its_key(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alter, said = CHANGES[change]
    state = checkpoint("26m")
    alter(state)
    path = saved(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=f"weights .*w.pth: .*{said}"):
        mf.load_published("mf-26m", path)
    assert main(["export", "mf-26m", "--weights", str(path), "--to", str(tmp_path / "b")]) == 2
    assert "w.pth: " in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("network", ["mf-150m", "net.yaml", "study:3", "."])
def test_the_weights_are_of_presets_alone(network: str, file26: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", network, "--weights", str(file26), "--to", "nowhere"]) == 2
    assert (
        f"--weights goes with one of mf-26m, {', '.join(list(PRESETS)[1:])}, got {network!r}" in capsys.readouterr().err
    )
    assert main(["export", "mf-26m", "--trial", "3", "--weights", str(file26), "--to", "nowhere"]) == 2
    assert "got --trial" in capsys.readouterr().err
