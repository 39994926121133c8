"""mfsearch references --measure: kept by passport, resumed, and its errors."""

import dataclasses
import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mfsearch as mf
from mfsearch.cli import main
from mfsearch.cost import meter as meters
from mfsearch.cost.meter import LatencyMeter
from mfsearch.proxy.recipe import default_recipe
from mfsearch.proxy.short_train import DeviceData, short_train
from mfsearch.study.files import MANIFEST, write_json
from tests.trials import manifest

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
SMALL = "MobileNetV3 Small 1.0"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real meter with its fewest rounds, and a baseline that is not measured."""
    few = functools.partialmethod(LatencyMeter.measure, max_rounds=10)
    monkeypatch.setattr(LatencyMeter, "measure", few)
    monkeypatch.setattr(meters, "_measure_baseline_ms", lambda *_, **__: 5.0)
    monkeypatch.setenv("MFSEARCH_CACHE", str(tmp_path / "cache"))


@needs_timm
@pytest.mark.usefixtures("quick")
def test_measurements_are_kept_and_only_missing_ones_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["references", SMALL, "mf-26m", "--resolution", "64", "--results", str(tmp_path / "results"), "--json"]
    assert main([*words, "--measure"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in rows] == ["26M", "Small 1.0"]
    assert [row["resolution"] for row in rows] == [64, 64]
    assert rows[1]["note"].startswith("published figures are of 224 px")
    assert rows[1]["built"]["madds"] < 57e6 / 8  # published at 224 px
    (path,) = (tmp_path / "results" / "references").iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["latency_ms"] for line in lines] == [row["measured"]["latency_ms"] for row in rows]
    assert {line["passport"]["threads"] for line in lines} == {1}

    monkeypatch.setattr(LatencyMeter, "measure", lambda *_, **__: pytest.fail("measured again"))
    assert main([*words, "--measure"]) == 0
    assert json.loads(capsys.readouterr().out) == rows
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == rows
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        main([*words, "--measure", "--again"])
    path.rename(path.with_name("another-device.jsonl"))
    shown = mf.references(SMALL, resolution=64, results=tmp_path / "results")
    assert [(each.latency, each.failure) for each in shown] == [(None, "")]


@needs_timm
@pytest.mark.usefixtures("quick")
def test_one_network_that_cannot_take_the_size_is_a_row_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["references", "PVT", "mf-26m", "--resolution", "100", "--results", str(tmp_path)]) == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "not at 100 px: PVT Tiny cannot take images" in lines["PVT"]
    assert "3.233," in lines["Mobile-Former"]


def test_without_the_libraries_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "timm", None)
    assert main(["references", "GhostNet", "--measure", "--results", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "building these networks needs timm and torchvision: pip install 'mfsearch[references]'" in line


def test_the_table_needs_neither_torch_nor_timm() -> None:
    code = "import sys; sys.modules.update(torch=None, timm=None, torchvision=None)\n"
    code += "from mfsearch.cli import main; raise SystemExit(main(['references']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "7.756, 304.66" in done.stdout


def test_a_wrong_name_is_told_with_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["references", "mobilnetv3"]) == 2
    assert "unknown network 'mobilnetv3': did you mean 'MobileNetV3'" in capsys.readouterr().err
    assert main(["references", "xyz"]) == 2
    assert "families are 'Mobile-Former', 'MobileNetV3', " in capsys.readouterr().err
    assert main(["references", "LeViT", "--again"]) == 2
    assert "--again is for --measure" in capsys.readouterr().err


def test_a_family_a_network_and_the_name_in_timm_choose_rows() -> None:
    assert [row.reference.model for row in mf.references("levit", results="nowhere")] == ["128S", "128"]
    assert [row.reference.model for row in mf.references(["mf-52m", "ghostnet_130"], results="nowhere")] == [
        "52M",
        "1.3",
    ]
    assert len(mf.references(results="nowhere")) == 7 + 35 + 8


@needs_timm
def test_networks_get_the_short_training_of_a_study_and_it_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preset trained by --study has the top1 of the study's own recipe, images and seed, to the last digit."""
    recipe = dataclasses.replace(default_recipe("digits"), samples=64, epochs=1.0)
    images = recipe.load_images("digits", data_dir=None, seed=0)
    facts = manifest("s", data=images.facts(), recipe=recipe.as_dict()).to_dict()
    (tmp_path / "s").mkdir()
    write_json(tmp_path / "s" / MANIFEST, facts)
    words = ["references", SMALL, "mf-26m", "--train", "--study", "s", "--results", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    rows = {row["model"]: row["trained"] for row in json.loads(capsys.readouterr().out)}
    own = short_train(mf.preset("mf-26m"), DeviceData(images, torch.device("cpu")), recipe, seed=0)
    assert rows["26M"]["top1"] == own.top1
    assert rows["26M"]["curve"][-1]["val_loss"] == pytest.approx(own.curve[-1].val_loss, rel=1e-6)
    assert rows["Small 1.0"]["curve"][-1]["epoch"] == 1.0
    assert rows["Small 1.0"]["top1"] > 0

    monkeypatch.setattr("mfsearch.search.trainings._train_all", lambda *_: pytest.fail("trained again"))
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "trained here (%)" in said
    assert f"{100 * own.top1:.1f}" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train"], "--train needs --data, or --study"),
        (["--data", "digits"], "--data is for --train, which is not given"),
        (["--train", "--data", "digits", "--study", "s"], "--train needs --data, or --study"),
        (["--train", "--study", "s"], "no study 's'"),
        (["--train", "--study", "s", "--epochs", "3"], "--epochs goes without --study"),
        (["--train", "--data", "nowhere"], "nowhere"),
    ],
)
def test_a_training_without_images_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["references", "mf-26m", *words, "--results", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
