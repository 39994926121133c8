"""Searches inside a trained network, from its bundle to the weights of a trial."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mfsearch as mf
from mfsearch.cli import main
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_costs
from mfsearch.data.augment import normalize
from mfsearch.export.parent_bundle import read_parent
from mfsearch.model import MobileFormer
from mfsearch.proxy.cutting import cut
from mfsearch.search.cutter import PARENT, adapted
from mfsearch.space.nested import parse_nested
from mfsearch.study.files import CHECKPOINTS
from mfsearch.study.manifest import Manifest
from mfsearch.study.parent import KEPT_PARENT
from mfsearch.study.study import Study
from tests.conftest import TINY_SPACE
from tests.random_configs import SMALL

SHORT = ("--proxy-resolution", "16", "--epochs", "0.5", "--batch", "8", "--rungs", "1")


@pytest.fixture(scope="module")
def bundle(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the tiny space, trained for two classes."""
    results = tmp_path_factory.mktemp("parent")
    begin = ["run", "--budget", "0.5M", "--space", str(TINY_SPACE), "--data", str(image_folder), "--trials", "1"]
    assert main([*begin, *SHORT, "--resolution", "32", "--study", "s", "--results", str(results), "--json"]) == 0
    to = results / "bundle"
    assert main(["export", "s", "--trial", "0", "--to", str(to), "--results", str(results), "--json"]) == 0
    return to


def inside(bundle: Path, images: Path, results: Path, *more: str, budget: str = "0.3M") -> list[str]:
    begin = ["run", "--parent", str(bundle), "--budget", budget, "--data", str(images), "--study", "s"]
    return [*begin, *SHORT, "--results", str(results), "--json", *more]


def three_classes(images: Path, to: Path) -> Path:
    """The same images and a class more."""
    shutil.copytree(images, to)
    shutil.copytree(to / "train" / "dark", to / "train" / "night")
    return to


def test_a_search_inside_a_parent_keeps_to_its_budget_and_resumes(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(inside(bundle, image_folder, tmp_path, "--trials", "2")) == 0
    assert main(inside(bundle, image_folder, tmp_path, "--trials", "4")) == 0
    study, parent = Study.open(tmp_path / "s"), read_parent(bundle)
    assert [trial.outcome for trial in study.trials] == ["trained"] * 4
    network = MobileFormer(parent.config)
    network.load_state_dict(load_file(parent.weights))
    for trial in study.trials:
        assert trial.metric("madds") <= 300_000
        cut(network, trial.config, coefficients=_zeros(network))  # it lies inside
    assert study.manifest.parent == parent.facts
    assert study.manifest.identity["parent"] == {"arch_id": parent.facts.arch_id, "digest": parent.facts.digest}
    assert study.manifest.options()["parent"] == str(bundle)
    assert study.manifest.recipe.lr == 1e-3
    whole = count_costs(replace(parent.config, resolution=study.manifest.resolution, classes=study.manifest.classes))
    assert study.parent is not None
    assert study.parent.network.madds == whole.madds
    assert study.parent.network.top1 == _top1_by_hand(
        tmp_path / "s" / PARENT, parent.config, study.manifest, image_folder
    )
    assert study.parent.network.latency is None  # without a limit nothing is timed
    assert parse_nested(study.parent.space, parent.config).digest == study.manifest.space.digest
    capsys.readouterr()
    assert main(["show", "s", "--results", str(tmp_path)]) == 0
    assert f"Parent: {bundle.name}, " in (shown := capsys.readouterr().out)
    assert f"Cut from {bundle.name} (weights {parent.facts.digest[:12]}): " in shown
    assert f"Parent: {bundle.name}, " in (tmp_path / "s" / "report.html").read_text()
    to = tmp_path / "found"
    assert main(["export", "s", "--best", "--to", str(to), "--results", str(tmp_path)]) == 0
    assert f"weights {parent.facts.digest}" in (to / "README.md").read_text()
    assert main(["verify", str(to), "--no-latency"]) == 0
    capsys.readouterr()
    assert main(["describe", f"s:{study.trials[0].number}", "--results", str(tmp_path)]) == 0
    assert f"Cut from {bundle.name} (weights " in capsys.readouterr().out
    assert not list((tmp_path / "s" / CHECKPOINTS).glob(PARENT))


def _top1_by_hand(weights: Path, config: MobileFormerConfig, manifest: Manifest, images: Path) -> float:
    """The share of the validation images that the parent, its BatchNorms re-estimated in one batch, has right."""
    data = manifest.recipe.load_images(str(images), data_dir=None, seed=manifest.seed)
    network = MobileFormer(config)
    network.load_state_dict(load_file(weights))
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            norm.reset_running_stats()
            norm.momentum = None
    pixels = [normalize(torch.from_numpy(part), data.mean, data.std) for part in (data.train_images, data.val_images)]
    with torch.no_grad():
        network.train()(pixels[0])
        right = network.eval()(pixels[1]).argmax(1).numpy() == data.val_labels
    return float(right.mean())


def test_a_study_begun_before_its_parent_was_kept_draws_no_mark_and_a_later_run_keeps_it(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(inside(bundle, image_folder, tmp_path, "--trials", "1")) == 0
    kept = tmp_path / "s" / KEPT_PARENT
    first = kept.read_text()
    kept.unlink()
    study = Study.open(tmp_path / "s")
    assert study.parent is None
    assert "parent" not in [trace.name for trace in mf.plot_front(study).data]
    kept.write_text(first.replace(read_parent(bundle).facts.arch_id[:4], "zzzz").replace('"stem"', '"root"'))
    capsys.readouterr()
    assert main(["show", "s", "--results", str(tmp_path)]) == 0
    assert "parent.json does not describe" in capsys.readouterr().err
    kept.unlink()
    assert main(inside(bundle, image_folder, tmp_path, "--trials", "2")) == 0
    assert kept.read_text() == first
    study = Study.open(tmp_path / "s")
    (mark,) = [trace for trace in mf.plot_front(study).data if trace.name == "parent"]
    assert study.parent is not None
    assert list(mark.x) == [study.parent.network.metric("madds") / 1e6]


def _zeros(network: MobileFormer) -> dict[str, torch.Tensor]:
    from mfsearch.proxy.cutting import mean_coefficients

    return mean_coefficients(network, torch.zeros(1, 3, 32, 32))


def test_the_whole_parent_begins_with_its_own_logits(bundle: Path, image_folder: Path, tmp_path: Path) -> None:
    """Without a step of training it answers for the study's images as the bundle does for the same pixels."""
    assert main(inside(bundle, image_folder, tmp_path, "--trials", "1")) == 0
    parent, study = read_parent(bundle), Study.open(tmp_path / "s")
    assert study.manifest.mean is not None
    assert study.manifest.std is not None
    pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = []
    for path, mean, std in (
        (parent.weights, parent.mean, parent.std),
        (tmp_path / "s" / PARENT, study.manifest.mean, study.manifest.std),
    ):
        network = MobileFormer(parent.config).eval()
        network.load_state_dict(load_file(path))
        mean_C, std_C = (torch.tensor(one)[:, None, None] for one in (mean, std))
        logits.append(network((pixels - mean_C) / std_C))
    assert torch.allclose(logits[0], logits[1], atol=1e-5)


def test_weights_adapted_to_another_normalisation_compute_the_same_stem() -> None:
    state = MobileFormer(SMALL, seed=1).state_dict()
    theirs, ours = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25)), ((0.45, 0.5, 0.35), (0.25, 0.2, 0.3))
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = []
    for weights, (mean, std) in ((state, theirs), (adapted(dict(state), theirs, ours), ours)):
        network = MobileFormer(SMALL).eval()
        network.load_state_dict(weights)
        mean_C, std_C = (torch.tensor(one)[:, None, None] for one in (mean, std))
        maps.append(network.stem((pixels - mean_C) / std_C))
    assert torch.allclose(maps[0][:, :, 1:, 1:], maps[1][:, :, 1:, 1:], atol=1e-6)  # the border sees the padding


def test_a_parent_of_other_classes_is_fine_tuned_once(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = three_classes(image_folder, tmp_path / "images")
    assert main(inside(bundle, images, tmp_path, "--trials", "1")) == 0
    kept = tmp_path / "s" / PARENT
    state = load_file(kept)
    assert state["head.classifier.weight"].shape[0] == 3
    assert not torch.equal(state["head.norm.weight"], load_file(read_parent(bundle).weights)["head.norm.weight"])
    before = kept.stat().st_mtime_ns
    assert main(inside(bundle, images, tmp_path, "--trials", "2")) == 0
    assert kept.stat().st_mtime_ns == before
    assert {trial.config.classes for trial in Study.open(tmp_path / "s").trials} == {3}


def test_another_parent_under_the_same_name_is_refused(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(inside(bundle, image_folder, tmp_path, "--trials", "1", budget="0.4M")) == 0
    begin = ["run", "--budget", "0.4M", "--space", str(TINY_SPACE), "--data", str(image_folder), "--study", "s"]
    assert main([*begin, *SHORT, "--resolution", "32", "--results", str(tmp_path), "--trials", "2"]) == 2
    assert "\n  parent: " in capsys.readouterr().err


def test_parents_that_cannot_be_cut_are_refused(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"

    def refused(folder: Path, budget: str = "0.3M") -> str:
        assert main(inside(folder, image_folder, results, "--trials", "1", budget=budget)) == 2
        assert not (results / "s").exists()
        return capsys.readouterr().err

    assert "there is none" in refused(tmp_path / "nowhere")
    assert main(["export", "mf-26m", "--to", str(tmp_path / "first"), "--json"]) == 0
    capsys.readouterr()
    assert "not trained" in refused(tmp_path / "first")
    altered = tmp_path / "altered"
    shutil.copytree(bundle, altered)
    state = load_file(altered / "weights.safetensors")
    save_file({**state, "tokens": state["tokens"] + 1}, altered / "weights.safetensors")
    assert "weights.safetensors" in refused(altered)
    assert "the largest network found" in refused(bundle, "40M..50M")


def test_the_printed_space_is_the_one_that_is_searched(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["space", "--parent", str(bundle)]) == 0
    file = tmp_path / "inside.yaml"
    file.write_text(capsys.readouterr().out)
    assert main(["space", "--parent", str(bundle), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main(["space", str(file), "--parent", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == whole["digest"]
    file.write_text(file.read_text().replace("width: solve", "depth: 3\nwidth: solve"))
    assert main(["space", str(file), "--parent", str(bundle)]) == 2
    assert "depth" in capsys.readouterr().err
    assert main(["space"]) == 2
