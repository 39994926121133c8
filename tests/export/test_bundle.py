import dataclasses
import io
import json
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mfsearch.cli import main
from mfsearch.config import load_config
from mfsearch.cost.madds import count_costs
from mfsearch.export import bundle as bundles
from mfsearch.export.bundle import (
    load_network,
    read_bundle,
    replace_weights,
    trial_onnx,
    trial_zip,
    write_bundle,
    write_zip,
)
from mfsearch.export.bundle_manifest import FILES, BundleManifest, read_manifest, write_manifest
from mfsearch.export.bundle_metrics import BundleLatency
from mfsearch.export.card import fenced, plain
from mfsearch.export.check import verify_bundle, wrong_files
from mfsearch.export.origin import of_config, of_trial
from mfsearch.model import MobileFormer
from mfsearch.presets import MF_26M
from mfsearch.study.files import WEIGHTS
from mfsearch.study.study import Study
from tests.export.bundles import ROOT, content, python, small_bundle, trained_weights
from tests.random_configs import SMALL, random_config

FAST151 = ROOT / "results" / "reference" / "fast151"
ALL = [
    "README.md",
    "arch.yaml",
    "manifest.json",
    "metrics.json",
    "model.onnx",
    "model.py",
    "preprocess.json",
    "train.yaml",
]
RESULT: dict[str, Any] = {"top1": 0.75, "epochs": 10, "seed": 3, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


def verified(folder: Path) -> bool:
    report = verify_bundle(folder, latency=False)
    assert report.verified, report.checks
    assert {check.outcome for check in report.checks} <= {"ok", "skipped"}
    return True


def loaded_alone(folder: Path, side: int) -> torch.Tensor:
    """The logits of model.py in a process without mfsearch, for an image of ones."""
    code = f"""
import json, sys
sys.path.insert(0, {str(folder)!r})
import torch, model
torch.set_num_threads(1)
print(json.dumps(model.load()(torch.ones(1, 3, {side}, {side})).tolist()))
"""
    return torch.tensor(json.loads(python(code)))


def test_a_bundle_of_a_published_network_is_verified_and_runs_without_mfsearch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert main(["export", "mf-26m", "--to", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert sorted(said["files"]) == sorted([*ALL, "weights.safetensors"])
    assert sorted(path.name for path in folder.iterdir()) == sorted(said["files"])
    assert load_config(folder / "arch.yaml") == MF_26M
    assert verified(folder)
    ones = torch.ones(1, 3, 224, 224)
    with torch.no_grad():
        expected = load_network(folder)(ones)
    assert torch.allclose(loaded_alone(folder, 224), expected, atol=1e-4 * float(expected.abs().max()))
    costs = json.loads((folder / "metrics.json").read_text())["costs"]
    assert (costs["num_params"], costs["madds"], costs["fvcore_madds"]) == (3_232_788, 26_046_336, 26_046_336)
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o444 == 0o444, path


@pytest.mark.parametrize("seed", range(20))
def test_bundles_of_any_network_are_verified(seed: int, tmp_path: Path) -> None:
    config = dataclasses.replace(random_config(1000 + seed), classes=5)
    folder = small_bundle(tmp_path / "b", config, dynamic_batch=seed % 2 == 1)
    assert verified(folder)
    replace_weights(folder, trained_weights(tmp_path / "w", config, seed), result=RESULT)
    assert verified(folder)
    found = read_bundle(folder)
    assert found.config == config
    assert found.training["num_classes"] == 5
    if seed < 2:
        ones = torch.ones(1, 3, config.resolution, config.resolution)
        with torch.no_grad():
            expected = load_network(folder)(ones)
        alone = loaded_alone(folder, config.resolution)
        assert torch.allclose(alone, expected, atol=1e-4 * float(expected.abs().max()))


def test_a_found_network_comes_with_what_is_known_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "found"
    assert main(["export", str(FAST151), "--trial", "28", "--to", str(folder)]) == 0
    assert "trial 28 is on the front, but the training's were not kept" in capsys.readouterr().out
    assert verified(folder)
    study = Study.open(FAST151)
    trial = study.trial(28)
    manifest, metrics = read_bundle(folder).manifest, read_bundle(folder).metrics
    assert manifest.arch_id == trial.arch_id == "856c5bcf5e89"
    assert manifest.study is not None
    assert manifest.study.name == "fast151"
    assert manifest.study.trial == 28
    assert manifest.study.space.digest == "cb5a8cbc12b3"
    assert manifest.study.data.digest == "1d54b8154263bc05"
    assert metrics.latency is not None
    assert metrics.latency.latency_ms == trial.latency_ms
    assert metrics.latency.passport == study.manifest.passport
    assert metrics.proxy is not None
    assert metrics.proxy.top1 == 0.348
    assert metrics.proxy.seeds == (0,)
    assert metrics.costs.madds == trial.madds
    card = (folder / "README.md").read_text()
    assert "**Not trained**" in card
    assert "34.8%" in card
    assert "3.38 ms" in card


def test_of_another_size_a_trial_has_no_latency(tmp_path: Path) -> None:
    origin = of_trial(FAST151, 28, resolution=64, classes=3)
    assert (origin.config.resolution, origin.config.classes) == (64, 3)
    assert origin.latency is None
    write_bundle(origin, tmp_path / "b")
    assert verified(tmp_path / "b")
    with pytest.raises(ValueError, match="study 'fast151' has no trial 999: it has 0 to"):
        of_trial(FAST151, 999)


def test_the_front_and_its_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--resolution", "32", "--classes", "4"]
    assert main(["export", str(FAST151), "--front", "--to", str(tmp_path / "front"), *small, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["networks"]
    numbers = [trial.number for trial in Study.open(FAST151).front()]
    assert [Path(row["folder"]).name for row in rows] == [f"trial-{number:04}" for number in numbers]
    assert [path.name for path in sorted((tmp_path / "front").iterdir())] == [f"trial-{n:04}" for n in sorted(numbers)]
    assert verified(tmp_path / "front" / f"trial-{numbers[0]:04}")
    best = max(Study.open(FAST151).front(), key=lambda trial: trial.top1 or 0.0).number
    for option in ("--best", "--knee"):
        assert main(["export", str(FAST151), option, "--to", str(tmp_path / option), *small, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["name"] == f"fast151:{best}"
    for argv, error in (
        (["--knee", "--front"], "--best goes without --front"),
        (["--trial", "3", "--knee"], "--trial goes without --best"),
    ):
        assert main(["export", str(FAST151), *argv, "--to", str(tmp_path / "x")]) == 2
        assert error in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def kept_study(folder: Path, **changes: Any) -> Path:
    """A copy of the reference study in which trial 28 has kept weights for 10 classes."""
    folder.mkdir(parents=True)
    manifest = json.loads((FAST151 / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "journal.log").write_bytes((FAST151 / "journal.log").read_bytes())
    trial = Study.open(FAST151).trial(28)
    (folder / WEIGHTS).mkdir()
    path = folder / WEIGHTS / f"{trial.arch_id}.safetensors"
    trained_weights(path, dataclasses.replace(trial.config, classes=10))
    return folder


TOLD = {
    "normalisation": {"mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.25]},
    "class_names": [f"class {number}" for number in range(9)] + ["<b>last</b>"],
}


def test_kept_weights_come_along_where_they_fit(tmp_path: Path) -> None:
    study = kept_study(tmp_path / "s", **TOLD)
    same = write_bundle(of_trial(study, 28, resolution=32, classes=10), tmp_path / "same")
    assert same.fresh == []
    assert "tensors from the longest training it got" in same.note
    assert verified(tmp_path / "same")
    found = read_bundle(tmp_path / "same")
    assert found.metrics.class_names == tuple(TOLD["class_names"])
    card = (tmp_path / "same" / "README.md").read_text()
    assert "**Trained shortly**" in card
    assert "&lt;b&gt;last" in card
    assert "<b>" not in card
    assert "MEAN = (0.5, 0.25, 0.125)" in (tmp_path / "same" / "model.py").read_text()
    metadata = {one.key: one.value for one in onnx.load(tmp_path / "same" / "model.onnx").metadata_props}
    assert json.loads(metadata["normalisation"]) == TOLD["normalisation"]
    kept = load_file(study / WEIGHTS / "856c5bcf5e89.safetensors")
    written = load_file(tmp_path / "same" / "weights.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in written.items())

    other = write_bundle(of_trial(study, 28, resolution=32), tmp_path / "other")
    assert other.fresh == ["head.classifier.weight", "head.classifier.bias"]
    assert "2 re-initialised for 1000 classes" in other.note
    assert "**Not ready for use**" in (tmp_path / "other" / "README.md").read_text()
    assert verified(tmp_path / "other")


def test_images_that_are_not_at_hand_leave_the_normalisation_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MFSEARCH_DATA", raising=False)
    study = kept_study(tmp_path / "s")
    write_bundle(of_trial(study, 28, resolution=32, classes=10), tmp_path / "b")
    assert verified(tmp_path / "b")
    assert read_bundle(tmp_path / "b").manifest.normalisation is None
    assert "The study does not record them" in (tmp_path / "b" / "README.md").read_text()
    assert "MEAN" not in (tmp_path / "b" / "model.py").read_text()


MARKUP = "<img src=x onerror=alert(1)> [a](javascript:b) `c` ../../up |\n# head\x1b[31m"


def test_names_that_are_markup_or_a_path_stay_text(tmp_path: Path) -> None:
    study = kept_study(tmp_path / "s", study=MARKUP, command=f"mfsearch run ```\n{MARKUP}", **TOLD)
    # the ledger keeps the study's own name: a manifest that was made up finds no trials there
    with pytest.raises(ValueError, match="has no trial 28"):
        of_trial(study, 28)
    origin = dataclasses.replace(
        of_trial(kept_study(tmp_path / "t", **TOLD), 28, classes=10, resolution=32), name=MARKUP
    )
    assert origin.study is not None
    data = dataclasses.replace(origin.study.data, name=MARKUP, digest=MARKUP)
    told = dataclasses.replace(origin.study, name=MARKUP, command=f"mfsearch ``` {MARKUP}", data=data)
    origin = dataclasses.replace(origin, study=told)
    write_bundle(origin, tmp_path / "b", command=f"x ```` {MARKUP}")
    assert verified(tmp_path / "b")
    card = (tmp_path / "b" / "README.md").read_text()
    prose = "".join(part for k, part in enumerate(card.split("`````")) if k % 2 == 0)  # without the commands
    assert "<img" not in prose
    assert r"\[a\](java" in prose  # no link
    assert "\x1b" not in card
    assert len([line for line in prose.splitlines() if line.startswith("# ")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "s", "t"]
    assert MARKUP not in (tmp_path / "b" / "model.py").read_text()
    assert yaml.safe_load((tmp_path / "b" / "train.yaml").read_text())["model"] == "mobile_former"


def test_an_arch_id_that_is_a_path_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = kept_study(tmp_path / "s")
    (study / WEIGHTS / "856c5bcf5e89.safetensors").rename(tmp_path / "secret.safetensors")
    read = Study.open(study)
    trials = tuple(dataclasses.replace(trial, arch_id="../../secret") for trial in read.trials)
    monkeypatch.setattr(Study, "open", lambda folder: dataclasses.replace(read, trials=trials))
    assert of_trial(study, 28).weights is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words 1.5", "plain words 1.5"),
        ("<script>", "&lt;script&gt;"),
        ("[a](b)", r"\[a\](b)"),
        ("a|b", r"a\|b"),
        ("https://x.y www.z", r"https\://x.y www\.z"),
        ("two\n# lines", "two # lines"),
        ("\x1b[0m\u202eevil", r"\[0mevil"),
        ("`code` *b* _c_ ~d~ $e$ f@g", r"\`code\` \*b\* \_c\_ \~d\~ \$e\$ f\@g"),
    ],
)
def test_text_stays_text_in_markdown(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_fence_is_longer_than_any_in_its_text() -> None:
    assert fenced("a\n````\nb") == "`````\na\n````\nb\n`````"


def test_a_folder_that_holds_anything_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    assert main(["export", "mf-26m", "--to", str(tmp_path / "full")]) == 2
    assert "must be a new or an empty folder" in capsys.readouterr().err
    assert content(tmp_path / "full") == {"mine": b"mine"}
    (tmp_path / "empty").mkdir()
    small_bundle(tmp_path / "empty")
    assert verified(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]


def on_full_disk(folder: str, weights: str | None) -> None:
    """In a process of its own: files may not grow past a limit, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
    try:
        if weights is None:
            write_bundle(of_config("small", SMALL), Path(folder))
        else:
            replace_weights(Path(folder), Path(weights), result={})
    except OSError as error:
        print(error)


def full_disk(folder: Path, weights: Path | None = None) -> str:
    told = None if weights is None else str(weights)
    code = f"from tests.export.test_bundle import on_full_disk; on_full_disk({str(folder)!r}, {told!r})"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_on_a_full_disk_nothing_is_left_and_nothing_lost(tmp_path: Path) -> None:
    said = full_disk(tmp_path / "b")
    assert "cannot write the weights" in said
    assert "File too large" in said
    assert list(tmp_path.iterdir()) == []
    small_bundle(tmp_path / "b")
    before = content(tmp_path / "b")
    weights = trained_weights(tmp_path / "w.safetensors")
    assert "File too large" in full_disk(tmp_path / "b", weights)
    assert content(tmp_path / "b") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "w.safetensors"]


def test_weights_of_a_training_replace_the_old_ones_everywhere(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "b")
    before = content(folder)
    weights = trained_weights(tmp_path / "w.safetensors")
    names = ["a cat", "a dog", "<i>", "d"]
    replaced = replace_weights(folder, weights, result={**RESULT, "class_names": names})
    assert verified(folder)
    after = content(folder)
    assert {name for name in after if after[name] != before[name]} == set(replaced)
    assert {"arch.yaml", "train.yaml"} == set(before) - set(replaced)
    trained = load_file(weights)
    assert all(torch.equal(trained[name], value) for name, value in load_network(folder).state_dict().items())
    metrics = read_bundle(folder).metrics
    assert metrics.full_training == RESULT
    assert metrics.class_names == tuple(names)
    card = (folder / "README.md").read_text()
    assert "**Trained** for 10 epochs: top1 75.00% of its validation images." in card
    assert "a cat, a dog, &lt;i&gt;, d" in card
    assert "MEAN = (0.1, 0.2, 0.3)" in (folder / "model.py").read_text()
    assert (folder / "weights.safetensors").stat().st_mode & 0o444 == 0o444
    assert "RGB, 32 x 32; other sizes work, none was judged." in card
    told = {"size": 24, "train_images": 600, "data": "b*d", "epoch": 2, "val_images": 60, "val_from": "val/"}
    settings = {"size": 24, "crop_pct": 0.875, "interpolation": "bilinear"}
    replace_weights(folder, weights, result={**RESULT, **told, "settings": settings})
    card = (folder / "README.md").read_text()
    assert "**Trained** for 10 epochs at 24 px on 600 images of b\\*d: top1 75.00% of its validation images." in card
    assert "after epoch 2, the best of 10 by these very 60 validation images, val/" in card
    assert "The shorter side was resized to 27 px (bilinear) and the centre cropped." in card
    for size, said in (
        (32, "RGB, 32 x 32; other sizes work and were not judged."),
        (
            24,
            "judged at 24 x 24. Costs, latency and `model.onnx` are for 32 x 32, where it was not judged.",
        ),
    ):
        assert replace_weights(folder, weights, result={**RESULT, "size": size}) == replaced  # once more
        assert said in (folder / "README.md").read_text()


def test_a_replacement_killed_at_any_point_is_the_old_bundle_or_becomes_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = small_bundle(tmp_path / "fresh")
    (fresh / "model.int8.onnx").write_bytes(b"of the old weights")
    manifest = json.loads((fresh / "manifest.json").read_text())
    write_manifest(fresh, BundleManifest.from_dict(manifest))
    weights = trained_weights(tmp_path / "w.safetensors")
    left = []
    for step in range(20):
        folder = Path(shutil.copytree(fresh, tmp_path / f"killed{step}"))
        killed = killed_at(step, folder, weights, monkeypatch)
        left.append({path.name for path in folder.iterdir() if path.is_dir()})
        copied = Path(shutil.copytree(folder, tmp_path / f"copied{step}"))
        full = read_bundle(folder).metrics.full_training
        assert full == (RESULT if ".new-files.part" not in left[-1] else None)
        assert not wrong_files(folder, read_manifest(folder))
        if full is not None and ".new-files" in left[-1] and step % 3 == 0:
            assert verified(copied)  # verify completes it as well
        if not killed:
            break
    assert left[0] == {".new-files.part"}
    assert left.count({".new-files"}) == len(FILES) + 1  # before each file is moved, the manifest too
    assert left[-1] == set()


def killed_at(step: int, folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Replace the weights as a process that is killed before its rename of this number; whether there were so many."""
    moves = 0

    def counted(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def moved(self: Path, target: Path) -> Path:
            nonlocal moves
            if Path(target).parent == folder:
                moves += 1
                if moves > step:
                    raise KeyboardInterrupt
            return move(self, target)

        return moved

    def tidied(place: Path, **how: Any) -> None:
        if moves <= step:  # who is killed tidies nothing up
            remove(place, **how)

    remove = shutil.rmtree
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr(shutil, "rmtree", tidied)
        try:
            replace_weights(folder, weights, result=RESULT)
        except KeyboardInterrupt:
            return True
    return False


def test_weights_that_do_not_belong_are_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "b")
    before = content(folder)
    state = MobileFormer(SMALL).state_dict()
    five = trained_weights(tmp_path / "five", dataclasses.replace(SMALL, classes=5))
    other = trained_weights(tmp_path / "other", dataclasses.replace(SMALL, stem=8))
    lacking, broken, text = tmp_path / "lacking", tmp_path / "nan", tmp_path / "text"
    save_file({name: value for name, value in state.items() if name != "tokens"}, lacking)
    save_file({**state, "tokens": state["tokens"] * torch.nan}, broken)
    text.write_text("no weights")
    for path, reason in (
        (five, "five: for 5 classes, the network has 4"),
        (other, "other: weights of another network: stem.conv.conv.weight is "),
        (lacking, r"lacking: weights of another network: tokens is none there, \(3, 32\) here"),
        (broken, "nan: tokens holds numbers that are not finite"),
        (text, "text: not readable as safetensors"),
        (tmp_path / "absent", "absent: not readable as safetensors"),
    ):
        with pytest.raises(ValueError, match=reason):
            replace_weights(folder, path, result={})
    weights = trained_weights(tmp_path / "w")
    for result, reason in (
        ({"class_names": ["a"]}, "class_names must be 4 names"),
        ({"loss": float("nan")}, "must be plain data for JSON"),
        ({"model": object()}, "must be plain data for JSON"),
        ({"mean": [0.5, 0.5, 0.5]}, "std of a normalisation must be three numbers"),
        ({"mean": [0, 0, 0], "std": [1, 0, 1]}, "std of a normalisation must be three numbers, std above 0"),
    ):
        with pytest.raises(ValueError, match=reason):
            replace_weights(folder, weights, result=result)
    assert content(folder) == before


def test_int8_comes_with_its_agreement_and_goes_with_its_weights(tmp_path: Path) -> None:
    from mfsearch.data import load_data

    images = load_data("digits", resolution=32, samples=64, val_samples=40)
    config = dataclasses.replace(SMALL, classes=10)
    origin = of_config("small", config)
    write_bundle(origin, tmp_path / "first", int8=images)
    told = read_bundle(tmp_path / "first").metrics.int8
    assert told is not None
    assert told.same_top1 is None
    assert "not trained" in str(told.why_not_judged)
    trained = dataclasses.replace(origin, weights=trained_weights(tmp_path / "w", config))
    write_bundle(trained, tmp_path / "b", int8=images, dynamic_batch=True)
    assert verified(tmp_path / "b")
    told = read_bundle(tmp_path / "b").metrics.int8
    assert told is not None
    assert told.same_top1 is not None
    assert told.largest_deviation is not None
    assert told.images == 40
    assert 0 < told.same_top1 <= 1
    assert 0 < told.largest_deviation < 1
    assert told.scheme == "weights int8 with 7 bits per channel, activations uint8"
    assert told.scheme in (tmp_path / "b" / "README.md").read_text()
    metadata = {one.key: one.value for one in onnx.load(tmp_path / "b" / "model.int8.onnx").metadata_props}
    assert metadata["arch_id"] == config.arch_id
    replace_weights(tmp_path / "b", tmp_path / "w", result={})
    assert not (tmp_path / "b" / "model.int8.onnx").exists()
    assert read_bundle(tmp_path / "b").metrics.int8 is None
    assert verified(tmp_path / "b")


def test_a_bundle_as_a_zip_archive_is_the_bundle(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "b")
    first, second = io.BytesIO(), io.BytesIO()
    write_zip(folder, first)
    write_zip(folder, second)
    assert first.getvalue() == second.getvalue()
    with zipfile.ZipFile(first) as archive:
        archive.extractall(tmp_path / "out")
    assert content(tmp_path / "out" / "bundle") == content(folder)
    assert verified(tmp_path / "out" / "bundle")


def test_a_trial_as_a_zip_archive_or_as_its_onnx_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(trial_zip(FAST151, 28))) as archive:
        archive.extractall(tmp_path)
    assert verified(tmp_path / "trial-0028")
    metadata = {one.key: one.value for one in onnx.load_from_string(trial_onnx(FAST151, 28)).metadata_props}
    assert metadata["arch_id"] == "856c5bcf5e89"


def test_what_is_measured_here_is_kept_with_its_passport(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = BundleLatency(
        latency_ms=1.0,
        latency_low_ms=0.9,
        latency_high_ms=1.1,
        latency_ratio=0.2,
        latency_disturbed=False,
        passport={"cpu": "an <unknown> one"},
        protocol="in turns",
        by_program=False,
        baseline_ms=5.0,
        measured="now",
    )
    monkeypatch.setattr(bundles, "measured_here", lambda model, cache_dir: told)
    small_bundle(tmp_path / "b", measure=True)
    assert read_bundle(tmp_path / "b").metrics.latency == told
    assert "1.00 ms (0.90 to 1.10) | in turns; on an &lt;unknown&gt; one" in (tmp_path / "b" / "README.md").read_text()


def test_the_costs_are_those_of_the_closed_form(tmp_path: Path) -> None:
    told = read_bundle(small_bundle(tmp_path / "b")).metrics.costs
    costs = count_costs(SMALL)
    for name in ("madds", "macs", "num_params", "activation_bytes"):
        assert getattr(told, name) == getattr(costs, name)


def test_a_trained_bundle_is_exported_again_with_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(random_config(7), classes=5)
    folder = small_bundle(tmp_path / "b", config)
    replace_weights(folder, trained_weights(tmp_path / "w", config, 3), result=RESULT)
    assert main(["export", str(folder), "--to", str(tmp_path / "any"), "--dynamic-batch"]) == 0
    assert verified(tmp_path / "any")
    again = read_bundle(tmp_path / "any")
    assert again.metrics.full_training == RESULT
    assert again.metrics.onnx.batch == "any"
    assert again.manifest.normalisation == read_bundle(folder).manifest.normalisation
    before, after = (load_network(each).state_dict() for each in (folder, tmp_path / "any"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert "weights of a full training" in capsys.readouterr().out
    other = ["export", str(folder), "--to", str(tmp_path / "other"), "--classes", str(config.classes + 1)]
    assert main(other) == 0
    assert read_bundle(tmp_path / "other").metrics.full_training is None
    assert "train it in full before use" in capsys.readouterr().err
