"""Searches inside a trained network, from its bundle to the weights of a trial."""

import dataclasses
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mfsearch as mf
from mfsearch.analysis.figures.style import hover_html
from mfsearch.analysis.front.confidence import shown_training
from mfsearch.analysis.front.outcomes import spent_on_training
from mfsearch.analysis.metrics import ranked_trials, training_lengths
from mfsearch.analysis.ranking.readings import CURVE_READINGS
from mfsearch.cli import main
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_costs
from mfsearch.data import load_data
from mfsearch.data.augment import normalize
from mfsearch.export import bundle_manifest
from mfsearch.export.bundle import replace_weights
from mfsearch.export.bundle_manifest import read_manifest, write_manifest
from mfsearch.export.parent_bundle import read_parent
from mfsearch.model import MobileFormer
from mfsearch.proxy import short_train
from mfsearch.proxy.cutting import cut
from mfsearch.proxy.recipe import Recipe, default_recipe
from mfsearch.proxy.rungs import CUT, INSIDE_FACTORS, Rungs
from mfsearch.search.calibration import run_calibration
from mfsearch.search.cutter import PARENT, SLOPES, TUNING, Cutter, ParentWeights, adapted, prepare_parent, read_copy
from mfsearch.search.loop import seen_note
from mfsearch.space.nested import nested_space, parse_nested
from mfsearch.study.calibration_file import CALIBRATION, CALIBRATIONS, CalibrationFile, find_calibration
from mfsearch.study.files import CHECKPOINTS, DiskError
from mfsearch.study.kept_parent import KEPT_PARENT
from mfsearch.study.manifest import Manifest, StudyRequest, make_manifest
from mfsearch.study.settings import Calibration, Settings
from mfsearch.study.study import Study
from mfsearch.study.task_file import TRAININGS
from mfsearch.train.fit import SPLIT_SEED
from mfsearch.train.images import ArraySplit, load_images
from mfsearch.train.teacher import find_teacher, study_of_parent
from mfsearch.units import parse_budget
from tests.conftest import TINY_SPACE
from tests.export.bundles import ROOT
from tests.random_configs import SMALL
from tests.search.test_calibration import fake

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
    assert not list((tmp_path / "s" / CHECKPOINTS).glob(TUNING))


def _top1_by_hand(weights: Path, config: MobileFormerConfig, manifest: Manifest, images: Path) -> float:
    """The share of the validation images that the parent, its BatchNorms re-estimated in one batch, has right."""
    data = manifest.recipe.load_images(str(images), data_dir=None, seed=manifest.seed)
    network = MobileFormer(config)
    network.load_state_dict(read_copy(weights)[0])
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
    for state, mean, std in (
        (load_file(parent.weights), parent.mean, parent.std),
        (read_copy(tmp_path / "s" / PARENT)[0], study.manifest.mean, study.manifest.std),
    ):
        network = MobileFormer(parent.config).eval()
        network.load_state_dict(state)
        mean_C, std_C = (torch.tensor(one)[:, None, None] for one in (mean, std))
        logits.append(network((pixels - mean_C) / std_C))
    assert torch.allclose(logits[0], logits[1], atol=1e-5)


def test_a_study_teaches_with_its_copy_of_the_parent(
    bundle: Path,
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network that was cut in it names it while the copy has the hash of that parent, and learns from it."""
    monkeypatch.chdir(tmp_path)
    results, found = Path("results"), tmp_path / "found"
    assert main(inside(bundle, image_folder, results, "--trials", "1")) == 0
    assert main(["export", "s", "--best", "--to", str(found)]) == 0
    parent, manifest = read_parent(bundle), Manifest.read(results / "s")
    origin = read_manifest(found).study
    assert study_of_parent(origin) == "s"
    words = ["train", str(found), "--data", str(image_folder), "--size", "32", "--batch", "8", "--epochs", "1"]
    assert manifest.mean is not None
    assert manifest.std is not None
    pixels = manifest.mean, manifest.std
    teacher = find_teacher("s", ("dark", "light"), *pixels, torch.device("cpu"), download=False)
    state = adapted(load_file(parent.weights), (parent.mean, parent.std), pixels)
    network = MobileFormer(parent.config).eval()
    network.load_state_dict(state)
    x_BCHW = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(teacher.logits(x_BCHW), network(x_BCHW), rtol=1e-4, atol=1e-5)
    capsys.readouterr()
    assert main(words) == 0
    assert f"(weights {parent.facts.digest[:16]}): --teacher s learns from it" in capsys.readouterr().out
    save_file(load_file(results / "s" / PARENT), results / "s" / PARENT)
    assert main([*words, "--replace", "--teacher", "results/s"]) == 2
    assert f"{PARENT}: parent must be " in capsys.readouterr().err
    (results / "s" / PARENT).unlink()
    assert study_of_parent(origin) is None
    assert main([*words, "--replace", "--teacher", "s"]) == 2
    assert "results/s: this study keeps no trained parent; give the folder of a bundle" in capsys.readouterr().err


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


def prepared(bundle: Path, images: Path, folder: Path) -> ParentWeights:
    """A study's own copy of its parent; where it is fine-tuned, for 16 steps with a checkpoint after each."""
    parent, recipe = read_parent(bundle), Recipe(resolution=16, epochs=2, batch=8)
    found = recipe.load_images(str(images), data_dir=None, seed=0)
    space, budget = nested_space(parent.config).deployed(32, len(found.classes)), parse_budget("0.3M")
    settings = Settings("s", budget, None, space, str(images), recipe, rungs=Rungs((1,)), parent=parent)
    manifest = make_manifest(settings, found, StudyRequest(str(images)), passport=None, baseline_ms=None)
    folder.mkdir(exist_ok=True)
    kept = prepare_parent(settings, manifest, folder, lambda _: None, 1e-6, found)
    assert kept is not None
    return kept


def content(path: Path) -> tuple[dict[str, str], dict[str, list[float]]]:
    """Metadata and numbers of a safetensors file, whose header has no fixed order."""
    with safe_open(path, "pt") as file:
        told = file.metadata()
    return told, {name: value.flatten().tolist() for name, value in sorted(load_file(path).items())}


def kill_in_training(bundle: str, images: str, folder: str) -> None:
    """Run by a process of its own, which gets SIGKILL after the ninth step of the parent's fine-tuning."""
    save = short_train._Training.save

    def saved(self: short_train._Training, path: Path) -> None:
        save(self, path)
        if self.step == 9:
            os.kill(os.getpid(), signal.SIGKILL)

    short_train._Training.save = saved  # type: ignore[method-assign]
    prepared(Path(bundle), Path(images), Path(folder))


def test_a_kill_while_the_parent_is_made_costs_nothing(
    bundle: Path, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of its fine-tuning, and with half of its file written."""
    images = three_classes(image_folder, tmp_path / "images")
    whole = prepared(bundle, images, tmp_path / "whole").path
    folder = tmp_path / "cut"
    said = f"from tests.search.test_cutter import kill_in_training as k; k({str(bundle)!r}, {str(images)!r}, "
    run = subprocess.run([sys.executable, "-c", f"{said}{str(folder)!r})"], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    assert [path.name for path in folder.iterdir()] == [CHECKPOINTS]
    assert torch.load(folder / CHECKPOINTS / TUNING, weights_only=True)["step"] == 9
    steps: list[int] = []
    train_step = short_train._Training.train_step

    def counted(self: short_train._Training, end: int) -> None:
        steps.append(self.step)
        train_step(self, end)

    monkeypatch.setattr(short_train._Training, "train_step", counted)
    (folder / f"{PARENT}.part").write_bytes(whole.read_bytes()[:1000])
    assert content(prepared(bundle, images, folder).path) == content(whole)
    assert steps == [*range(9, 16)]
    assert [path.name for path in folder.glob("parent*")] == [PARENT]
    assert not list((folder / CHECKPOINTS).iterdir())


def test_a_full_disk_while_the_parent_is_made_costs_nothing(bundle: Path, image_folder: Path, tmp_path: Path) -> None:
    images, folder = three_classes(image_folder, tmp_path / "images"), tmp_path / "s"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # files may not grow past it, as on a full disk
    try:
        with pytest.raises(DiskError, match=f"cannot write {folder / PARENT}: "):
            prepared(bundle, images, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in folder.rglob("*")] == [CHECKPOINTS]
    assert prepared(bundle, images, folder).path.is_file()


def test_a_copy_of_the_parent_that_is_not_the_studys_own_is_refused(
    bundle: Path, image_folder: Path, tmp_path: Path
) -> None:
    kept = prepared(bundle, image_folder, tmp_path).path
    whole, state, (told, numbers) = kept.read_bytes(), load_file(kept), content(kept)

    def refused(reason: str) -> None:
        with pytest.raises(ValueError, match=reason) as error:
            prepared(bundle, image_folder, tmp_path)
        assert str(error.value).startswith(f"{kept}: ")
        assert str(error.value).endswith("; delete it, and the command that made it makes it again")

    kept.write_bytes(whole[:-100])
    refused("not readable as safetensors")
    kept.write_bytes(whole[:-4] + b"\0\0\0\1")
    refused("changed since it was written")
    save_file({**state, "tokens": state["tokens"] + 1}, kept, metadata=told)
    refused("changed since it was written")
    save_file(MobileFormer(SMALL).state_dict(), kept)
    refused("parent must be [0-9a-f]{16}, got none")
    kept.unlink()
    os.mkfifo(kept)
    refused("must be a plain file")
    kept.unlink()
    assert content(prepared(bundle, image_folder, tmp_path).path) == (told, numbers)


def test_slopes_are_averaged_once_over_the_first_images(bundle: Path, image_folder: Path, tmp_path: Path) -> None:
    from mfsearch.proxy.cutting import mean_coefficients

    kept = prepared(bundle, image_folder, tmp_path)
    cutter, images = Cutter(kept), Recipe(resolution=16, epochs=2).load_images(str(image_folder), data_dir=None, seed=0)
    data = short_train.DeviceData(images, torch.device("cpu"))
    slopes = mean_coefficients(cutter.parent, data.normalized(data.train_images))
    assert cutter.coefficients.keys() == slopes.keys()
    for name, mean in slopes.items():
        assert torch.allclose(cutter.coefficients[name], mean, atol=1e-6), name
    assert {name.removeprefix(SLOPES) for name in load_file(kept.path) if name.startswith(SLOPES)} == {*slopes}


def test_the_header_says_whether_the_parent_has_seen_the_validation_images(
    bundle: Path, image_folder: Path, tmp_path: Path
) -> None:
    """The bundle's own search had seed 0; a full training holds out the split of seed 0, or val/ of the folder."""
    images = Recipe(resolution=16, epochs=1).load_images(str(image_folder), data_dir=None, seed=0)

    def told(folder: Path, seed: int = 0) -> str | None:
        return seen_note(read_parent(folder), images, seed)

    seen = "it has seen validation images: top1 reads too high and favours networks that keep more of it"
    assert told(bundle) is None
    assert told(bundle, seed=1) == f"the parent was trained with the split of seed 0, not of seed 1, so {seen}"
    full = Path(shutil.copytree(bundle, tmp_path / "full"))
    result = {"data": image_folder.name, "val_from": "10% of the training images", "class_names": ["dark", "light"]}
    replace_weights(full, bundle / "weights.safetensors", result=result)
    assert told(full) is None
    for changes, expected in (
        ({"val_from": str(image_folder / "val")}, f"the parent was trained on all of train/, so {seen}"),
        ({"data": "elsewhere"}, f"if the parent was trained on these images, {seen}"),
        ({"class_names": ["light", "dark"]}, None),
    ):
        metrics = json.loads((full / "metrics.json").read_text())
        names = changes.pop("class_names", metrics["class_names"])
        metrics |= {"full_training": metrics["full_training"] | changes, "class_names": names}
        (full / "metrics.json").write_text(json.dumps(metrics))
        pixels = json.loads((full / "preprocess.json").read_text()) | {"class_names": names}
        (full / "preprocess.json").write_text(json.dumps(pixels))
        write_manifest(full, read_manifest(full))
        assert told(full) == expected


def test_a_full_training_holds_out_the_images_that_a_search_with_seed_0_validates_on() -> None:
    val, searched = load_images("digits", seed=SPLIT_SEED).val, load_data("digits", resolution=8, seed=0)
    assert isinstance(val, ArraySplit)
    assert {one.tobytes() for one in val.images} == {one.tobytes() for one in searched.val_images}


def test_a_dry_run_says_that_the_parent_will_be_fine_tuned_and_counts_plain_parts(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parent has no block with a skip, so the shallow part is the narrow one."""
    images = three_classes(image_folder, tmp_path / "images")
    assert main(inside(bundle, images, tmp_path, "--trials", "6", "--dry-run")) == 0
    told = json.loads(capsys.readouterr().out)
    assert 0 < told["parent_seconds"] < told["estimated_seconds"]
    assert (told["origins"]["parent"], told["inside"], told["duplicates"]) == (2, 6, 0)
    assert not (tmp_path / "s").exists()


def test_every_file_of_a_parent_is_hashed_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed, sha256_of = list[str](), bundle_manifest.sha256_of

    def noted(path: Path) -> str:
        hashed.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(bundle_manifest, "sha256_of", noted)
    read_parent(bundle)
    assert sorted(hashed) == sorted(path.name for path in bundle.iterdir() if path.name != "manifest.json")


def test_networks_are_first_ranked_as_they_are_cut_and_the_better_ones_trained(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study is resumed, too; its finalists have two seeds."""
    command = inside(bundle, image_folder, tmp_path)
    begin = [word for word in command if word not in ("--rungs", "1")]
    more = ["--finalists", "1", "--final-seeds", "2"]
    assert main([*begin, *more, "--trials", "3"]) == 0
    cut_only = Study.open(tmp_path / "s").trials
    assert main([*begin, *more, "--trials", "6"]) == 0
    study = Study.open(tmp_path / "s")
    assert study.manifest.rungs.factors == INSIDE_FACTORS == (0.0, 1.0, 4.0)
    assert study.manifest.first_epochs == 0
    assert "rungs" not in study.manifest.options()
    for trial in study.trials:
        assert trial.outcome == "trained"
        assert trial.short is not None
        assert (trial.short.epochs, len(trial.short.curve), trial.short.images_per_second) == (0.0, 1, None)
        assert trial.short.score == pytest.approx(math.exp(-trial.short.curve[0].val_loss))
        assert trial.epochs == (0.4 if trial.longer else 0.0)
    assert [trial.top1_short for trial in study.trials[:3]] == [trial.top1_short for trial in cut_only]
    lengths = Counter((one.rung, one.epochs) for trial in study.trials for one in trial.longer)
    assert set(lengths) == {(1, 0.4), (2, 2.0)}  # two steps, five are an epoch
    final = [trial for trial in study.trials if trial.rung == 2]
    assert all([one.seed for one in trial.longest] == [0, 1] for trial in final)
    assert 2 <= sum(trial.rung > 0 for trial in study.trials) <= 3  # one finalist of the first run, two of six promoted
    for trial in study.trials:
        for one in trial.longer:
            assert [log.epoch for log in one.curve] == [0.0, 0.4, 2.0][: one.rung + 1]
            assert one.curve[0].top1 == trial.top1_short
    for text in (tmp_path / "s").rglob("*.json*"):
        assert "NaN" not in text.read_text(), text

    words = {0: CUT, 1: "1x", 2: "5x"}
    assert training_lengths(study.frame()) == [words[trial.rung] for trial in study.trials]
    assert [shown_training(trial).removesuffix(", 2 seeds") for trial in study.trials] == training_lengths(
        study.frame()
    )
    capsys.readouterr()
    assert main(["show", "s", "--results", str(tmp_path), "--all"]) == 0
    told = capsys.readouterr().out
    assert told.count(CUT) >= 3
    assert "the others only cut from the parent" in (tmp_path / "s" / "report.html").read_text()
    assert "the short training" not in hover_html(ranked_trials(study.frame()[study.frame()["rung"] == 2])[0], [])
    times = {one.what: one.trainings for one in spent_on_training(study.frame(), study.manifest)}
    assert times == {CUT: 6, "1x": lengths[1, 0.4], "4x": lengths[2, 2.0]}


def test_the_weights_kept_of_a_network_that_is_only_cut_are_the_parents(
    bundle: Path, image_folder: Path, tmp_path: Path
) -> None:
    assert main([*inside(bundle, image_folder, tmp_path, "--trials", "1"), "--rungs", "0,1", "--finalists", "0"]) == 0
    study, parent = Study.open(tmp_path / "s"), read_parent(bundle)
    (trial,) = study.trials
    network = MobileFormer(parent.config)
    network.load_state_dict(read_copy(tmp_path / "s" / PARENT)[0])
    expected = cut(network, trial.config, coefficients=_zeros(network))
    kept = load_file(study.weights(0) or Path())
    for name, parameter in expected.named_parameters():
        if not name.endswith("coefficients"):  # mean slopes over the images
            assert torch.equal(kept[name], parameter), name
    assert study.manifest.options()["rungs"] == "0,1"
    to = tmp_path / "found"
    assert main(["export", "s", "--best", "--to", str(to), "--results", str(tmp_path)]) == 0
    assert main(["verify", str(to), "--no-latency"]) == 0


def test_a_study_inside_a_parent_with_the_earlier_default_resumes(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = inside(bundle, image_folder, tmp_path)
    bare = [word for word in command if word not in ("--rungs", "1")]
    assert main([*bare, "--rungs", "1,3,9", "--trials", "1", "--finalists", "0"]) == 0
    assert main([*bare, "--trials", "2", "--finalists", "0"]) == 0
    study = Study.open(tmp_path / "s")
    assert [trial.epochs for trial in study.trials] == [0.4, 0.4]
    assert study.manifest.options()["rungs"] == "1,3,9"
    assert main([*bare, "--trials", "2", "--finalists", "0", "--rungs", "0,1"]) == 2
    assert "rungs.factors" in capsys.readouterr().err


def test_a_search_from_first_weights_has_nothing_to_cut(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = ["run", "--budget", "0.5M", "--space", str(TINY_SPACE), "--data", str(image_folder), "--study", "s"]
    assert main([*begin, *SHORT, "--rungs", "0,1", "--results", str(tmp_path)]) == 2
    assert "rungs must begin with 1 without a parent: a 0 is for networks cut from one" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def calibrate(bundle: Path, images: Path, results: Path, *more: str) -> list[str]:
    begin = ["calibrate", "--parent", str(bundle), "--budget", "0.3M", "--data", str(images), "--networks", "6"]
    short = [*SHORT[: SHORT.index("--rungs")], "--long", "2", "--seeds", "2"]
    return [*begin, *short, "--results", str(results), *more]


def test_a_calibration_inside_a_parent_ranks_networks_as_cut_and_a_search_inside_it_finds_it(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(calibrate(bundle, image_folder, tmp_path)) == 0
    said = capsys.readouterr().out
    folder = tmp_path / CALIBRATIONS / f"inside-bundle-{image_folder.name}-300.0K"
    figures = CalibrationFile.read(folder / CALIBRATION)
    assert figures is not None
    parent = read_parent(bundle)
    assert figures.identity.parent == parent.facts.digest
    assert figures.short_epochs == (0.0, 0.125, 0.25, 0.5)
    for group in figures.groups.values():
        as_cut = [row for row in group.proxies if row.epochs == 0]
        assert [row.name for row in as_cut] == ["top1", "val_loss"]
        assert [row.noise for row in as_cut] == [0.0, 0.0]  # the seed has no part in a cut
        assert {row.name for row in group.proxies} == {*CURVE_READINGS, "mean_rank", "madds", "params"}
        for network in group.networks:
            assert network.short[0].epoch == network.long[0].epoch == 0
            assert network.short[0].val_loss == network.long[0].val_loss != network.long[-1].val_loss
            assert network.madds <= 300_000
    assert f"{'accuracy':<19}{0:>7}" in said
    assert "NaN" not in (folder / CALIBRATION).read_text() + (folder / TRAININGS).read_text()
    assert CalibrationFile.from_dict(json.loads(json.dumps(figures.to_dict()))) is not None

    kept = (folder / PARENT).stat().st_mtime_ns
    assert main([*calibrate(bundle, image_folder, tmp_path), "--json"]) == 0
    assert (folder / PARENT).stat().st_mtime_ns == kept

    command = [word for word in inside(bundle, image_folder, tmp_path, "--trials", "1") if word != "--json"]
    capsys.readouterr()
    # all are right after the long training here, so there is nothing to rank by
    for rungs, words in (("0,1", "by val_loss of networks as cut, no tau"), ("1", "by val_loss, no tau")):
        assert main([*command, "--dry-run", "--rungs", rungs]) == 0
        assert f"ranking   {words}" in capsys.readouterr().out
    begin = ["run", "--budget", "0.3M", "--space", str(TINY_SPACE), "--data", str(image_folder), "--study", "s"]
    assert main([*begin, *SHORT, "--resolution", "32", "--results", str(tmp_path), "--dry-run", "--trials", "1"]) == 0
    assert "not calibrated" in capsys.readouterr().out
    identity = figures.identity
    asked = (tmp_path, identity.space.digest, identity.data.digest, identity.recipe, identity.budget)
    assert find_calibration(*asked, parent=parent.facts.digest) is not None
    assert find_calibration(*asked, parent="another") is None
    assert find_calibration(*asked) is None


def test_parents_that_cannot_be_cut_are_not_calibrated(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written; and another parent does not take the place of the one that is there."""
    assert main(calibrate(tmp_path / "nowhere", image_folder, tmp_path)) == 2
    assert "there is none" in capsys.readouterr().err
    assert main([*calibrate(bundle, image_folder, tmp_path), "--space", "paper"]) == 2
    assert "--space 'paper': inside a parent it must be a file" in capsys.readouterr().err
    assert not (tmp_path / CALIBRATIONS).exists()
    settings = Calibration(
        parse_budget("0.3M"),
        nested_space(read_parent(bundle).config),
        str(image_folder),
        dataclasses.replace(default_recipe(str(image_folder), inside=True), resolution=16, crop=2),
        networks=6,
        parent=read_parent(bundle),
    )
    run_calibration(settings, tmp_path, workers=1, make_trainer=fake)
    before = (tmp_path / PARENT).read_bytes()
    facts = dataclasses.replace(settings.parent.facts, digest="0" * 64)  # type: ignore[union-attr]
    other = dataclasses.replace(settings, parent=dataclasses.replace(settings.parent, facts=facts))  # type: ignore[type-var]
    with pytest.raises(ValueError, match="was started with other settings:\n  parent: "):
        run_calibration(other, tmp_path, workers=1, make_trainer=fake)
    assert (tmp_path / PARENT).read_bytes() == before


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
    shutil.copy(bundle / "weights.safetensors", altered)
    (altered / "README.md").write_text("another card")
    assert f"{altered}/README.md: changed since it was written" in refused(altered)
    gray = tmp_path / "gray"
    shutil.copytree(bundle, gray)
    stem = state["stem.conv.conv.weight"].sum(1, keepdim=True)
    save_file({**state, "stem.conv.conv.weight": stem}, gray / "weights.safetensors")
    write_manifest(gray, read_manifest(gray))
    assert "weights of another network: stem.conv.conv.weight is (" in refused(gray)
    assert "mf-26m: must be the folder of a bundle, there is none" in refused(Path("mf-26m"))
    assert "is no bundle" in refused(image_folder)
    assert "this is a study; `mfsearch export s --best --to DIR` writes one" in refused(bundle.parent / "s")
    one = tmp_path / "one"
    shutil.copytree(image_folder / "train" / "dark", one / "train" / "dark")
    assert main(inside(bundle, one, results, "--trials", "1")) == 2
    assert "at least two classes, got only one class folder, 'dark'" in capsys.readouterr().err
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
