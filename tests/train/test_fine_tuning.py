"""A bundle with trained weights is fine-tuned from them: its defaults, its teacher, and what was begun before."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from mfsearch import cli
from mfsearch.export.bundle import load_network, of_bundle, read_bundle, write_bundle
from mfsearch.export.bundle_manifest import StudyOrigin
from mfsearch.export.origin import Origin, of_config
from mfsearch.model import CLASSIFIER, MobileFormer
from mfsearch.study.manifest import DataFacts, NamedSpace
from mfsearch.study.parent import ParentFacts
from mfsearch.train.fit import Callbacks, Session, train_bundle
from mfsearch.train.images import load_images
from mfsearch.train.parts import eval_transform, import_timm
from mfsearch.train.train_options import Request
from mfsearch.train.training_folder import CHECKPOINT, EpochRow
from tests.train.conftest import CHANGES, TINY

Ask = Callable[..., Request]
SHORT = CHANGES | {"epochs": 2}
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
PARENT = ParentFacts("big", "mf-0123456789", "ab" * 32)


class EnoughError(Exception):
    """The training has begun, and the test needs no more."""


def origin(seed: int = 9, classes: int = 2) -> Origin:
    """The tiny network as a trial cut from a parent, with weights that count as trained."""
    config = dataclasses.replace(TINY, classes=classes)
    names = ("dark", "light", "red")[:classes]
    made = of_config("cut", config)
    facts = DataFacts("photos", "0" * 16, classes, 43, 5)
    return dataclasses.replace(
        made,
        weights=dict(MobileFormer(config, seed=seed).state_dict()),
        preprocessing=dataclasses.replace(made.preprocessing, mean=MEAN, std=STD, class_names=names),
        study=StudyOrigin("photos-1M", 3, 0, NamedSpace("inside", "0" * 16), facts, {}, parent=PARENT),
    )


@pytest.fixture(scope="session")
def cut_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cut") / "cut"
    write_bundle(origin(), folder)
    return folder


@pytest.fixture
def cut(cut_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cut_once, tmp_path / "cut"))


def begun(request: Request) -> Session:
    """The training before its first step."""
    session: list[Session] = []

    def stop(one: Session) -> None:
        session.append(one)
        raise EnoughError

    with pytest.raises(EnoughError):
        train_bundle(request, Callbacks(began=stop))
    return session[0]


def rows_of(request: Request) -> list[EpochRow]:
    rows: list[EpochRow] = []
    train_bundle(request, Callbacks(epoch=rows.append))
    return rows


def stopped_in(request: Request, step: int) -> None:
    """Cut in a step, with the checkpoint of the step before it at the latest."""

    def stop(training: Any) -> None:
        if training.step == step:
            raise EnoughError

    with pytest.raises(EnoughError):
        train_bundle(dataclasses.replace(request, checkpoint_seconds=0.0), Callbacks(step=stop))


def aged(folder: Path) -> None:
    """The checkpoint as versions before 2026-11-28 wrote it."""
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    del state["identity"]["classifier_lr_ratio"]
    torch.save(state, folder / CHECKPOINT)


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert sorted(one) == sorted(two)
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_trained_weights_are_fine_tuned_by_lighter_defaults(cut: Path, request_of: Ask) -> None:
    session = begun(request_of(cut, changes={"batch": 8}))
    assert session.start.tensors is not None
    assert_same(session.start.tensors, load_file(cut / "weights.safetensors"))
    found = session.settings
    assert (found.epochs, found.mixup, found.aa, found.reprob, found.hflip) == (30, 0, None, 0, 0.5)
    assert (found.sched_on_updates, found.warmup_epochs, found.cooldown_epochs) == (True, 1, 0)
    assert (found.mean, found.std) == (MEAN, STD)  # those that the weights know
    assert session.defaults.startswith("30 epochs, lr 0.0005, warmup_epochs 1, mixup 0.0, aa null, reprob 0.0, scale ")
    assert begun(request_of(cut, changes={"size": 40, "batch": 43})).settings.micro_batch == 43
    asked = {"batch": 8, "epochs": 4, "lr": 2e-4, "mixup": 0.3, "mean": [0.5], "scale": [0.9, 1.0]}
    said = begun(request_of(cut, changes=asked))
    assert (said.settings.epochs, said.settings.lr, said.settings.mixup) == (4, 2e-4, 0.3)
    assert (said.settings.mean, said.settings.scale, said.settings.warmup_epochs) == ((0.5,) * 3, (0.9, 1.0), 0.4)
    assert said.defaults == "warmup_epochs 0.4, aa null, reprob 0.0"


def test_first_weights_are_trained_by_the_full_recipe(cut: Path, bundle: Path, request_of: Ask) -> None:
    for asked in (request_of(cut, scratch=True, changes={"batch": 8}), request_of(bundle, changes={"batch": 8})):
        session = begun(asked)
        assert session.start.tensors is None
        assert (session.settings.epochs, session.settings.mixup, session.settings.mean[0]) == (450, 0.2, 0.485)
        assert session.defaults == ""


def test_given_weights_win_over_the_bundles_own(cut: Path, request_of: Ask, tmp_path: Path) -> None:
    write_bundle(dataclasses.replace(origin(seed=5), name="other"), tmp_path / "other")
    session = begun(request_of(cut, weights=tmp_path / "other", changes={"batch": 8}))
    assert session.start.tensors is not None
    assert_same(session.start.tensors, load_file(tmp_path / "other" / "weights.safetensors"))
    assert (session.settings.epochs, session.settings.mean) == (30, MEAN)


def test_a_new_classifier_learns_faster_than_the_rest(cut: Path, request_of: Ask, tmp_path: Path) -> None:
    """Whether the export drew it anew, for other classes, or the training does."""
    write_bundle(origin(classes=3), tmp_path / "three")
    write_bundle(of_bundle(tmp_path / "three", classes=2), tmp_path / "tiny")
    anew = request_of(cut, new_classifier=True, changes={"batch": 8})
    for asked in (request_of(tmp_path / "tiny", changes={"batch": 8}), anew):
        session = begun(asked)
        assert session.settings.classifier_lr_ratio == 10
        assert "lr 0.0005, classifier_lr_ratio 10.0, " in session.defaults
        training = session.training
        rates = {id(p): group["lr"] for group in training.optimizer.param_groups for p in group["params"]}
        assert len(rates) == len([*training.model.parameters()])
        for name, parameter in training.model.named_parameters():
            expected = 10 if name in CLASSIFIER else 1
            group = next(g for g in training.optimizer.param_groups if any(p is parameter for p in g["params"]))
            assert group["initial_lr"] == pytest.approx(5e-4 * expected), name
    assert begun(request_of(cut, changes={"batch": 8})).settings.classifier_lr_ratio is None
    asked = request_of(cut, changes={"batch": 8, "classifier_lr_ratio": 3})
    assert begun(asked).settings.classifier_lr_ratio == 3


def test_it_is_judged_before_the_first_step(cut: Path, request_of: Ask, image_folder: Path) -> None:
    network, images = load_network(cut), load_images(str(image_folder), seed=0)
    session = begun(request_of(cut, changes=SHORT))
    transform = eval_transform(session.settings, 32)
    x_BCHW = torch.stack([transform(images.val.open(k)) for k in range(len(images.val.labels))])
    with torch.no_grad():
        right = network(x_BCHW).argmax(1) == torch.from_numpy(images.val.labels)
    rows = rows_of(request_of(cut, changes=SHORT))
    assert [row.epoch for row in rows] == [0, 1, 2]
    assert rows[0].train_loss is None
    assert rows[0].top1 == pytest.approx(right.float().mean().item())
    first = (session.folder / "summary.csv").read_text().splitlines()[1].split(",")
    assert first[:2] == ["0", ""]
    assert float(first[3]) == pytest.approx(rows[0].top1, abs=1e-6)
    kept = read_bundle(cut).metrics.full_training or {}
    assert kept["curve"][0]["top1"] == rows[0].top1
    assert kept["start"] == f"fine-tuning from {cut / 'weights.safetensors'}"


def test_the_start_is_kept_if_no_epoch_is_better(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All validation images are of one class, which its bias makes the start see everywhere."""
    data = Path(shutil.copytree(image_folder, tmp_path / "data"))
    (data / "val" / "dark").mkdir(parents=True)
    Image.new("RGB", (20, 20), (60, 60, 60)).save(data / "val" / "dark" / "a.png")
    one = origin()
    assert isinstance(one.weights, dict)
    weights = one.weights | {"head.classifier.bias": torch.tensor([100.0, -100.0])}
    write_bundle(dataclasses.replace(one, weights=weights), tmp_path / "tiny")
    before = load_file(tmp_path / "tiny" / "weights.safetensors")
    words = ["train", str(tmp_path / "tiny"), "--data", str(data), "--epochs", "1", "--batch", "8"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "holds the weights of epoch 0 of 1: top1 100.00%, with which it began, as no epoch was better" in said
    assert f"cut from big (weights {'ab' * 8}): --teacher BUNDLE learns from it" in said
    assert "fine-tuning: lr 0.0005, warmup_epochs 0.1, " in said
    assert [line.split()[0] for line in said.splitlines() if line.endswith(("as it begins", " left"))] == ["0", "1"]
    assert_same(load_file(tmp_path / "tiny" / "weights.safetensors"), before)
    assert (read_bundle(tmp_path / "tiny").metrics.full_training or {})["epoch"] == 0
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epoch"] == 0


@pytest.mark.parametrize("step", [1, 7])
def test_a_cut_fine_tuning_ends_like_the_undisturbed_one(cut: Path, request_of: Ask, tmp_path: Path, step: int) -> None:
    other = Path(shutil.copytree(cut, tmp_path / "other"))
    asked = request_of(cut, changes=SHORT, new_classifier=True)
    result = train_bundle(asked)
    interrupted = dataclasses.replace(asked, bundle=other)
    stopped_in(interrupted, step)
    resumed = train_bundle(interrupted)
    for name in ("top1", "val_loss", "epoch", "settings"):
        assert resumed[name] == result[name], name
    assert_same(load_file(other / "weights.safetensors"), load_file(cut / "weights.safetensors"))
    before = (cut / "manifest.json").read_bytes()
    assert train_bundle(asked) == json.loads(json.dumps(result))  # its start is no longer there
    assert (cut / "manifest.json").read_bytes() == before


def test_a_training_begun_before_resumes_as_it_was(
    cut: Path, request_of: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From first weights without an option, which today fine-tunes; and from given weights without defaults."""
    asked = request_of(cut, changes=SHORT, to=tmp_path / "first")
    stopped_in(dataclasses.replace(asked, scratch=True), 7)
    aged(tmp_path / "first")
    session = begun(asked)
    assert (session.start.name, session.training.step) == ("first weights", 6)
    assert session.settings.aa is not None
    with monkeypatch.context() as before:
        before.setattr("mfsearch.train.fit.FINE_TUNING", {"mean": None, "std": None})
        asked = request_of(cut, changes=SHORT, weights=cut, to=tmp_path / "given")
        stopped_in(
            dataclasses.replace(asked, changes=SHORT | {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}), 7
        )
    aged(tmp_path / "given")
    for again in (asked, dataclasses.replace(asked, weights=None)):
        session = begun(again)
        assert (session.training.step, session.settings.lr, session.defaults) == (6, 8e-4, "")
    result = train_bundle(asked)
    assert train_bundle(asked) == json.loads(json.dumps(result))


def test_a_bundle_teaches_and_is_known_by_its_weights(cut: Path, request_of: Ask, tmp_path: Path) -> None:
    write_bundle(dataclasses.replace(origin(seed=5), name="big"), tmp_path / "big")
    asked = request_of(cut, changes=SHORT, teacher=str(tmp_path / "big"))
    session = begun(asked)
    digest = read_bundle(tmp_path / "big").manifest.files["weights.safetensors"].sha256
    assert session.training.identity["teacher"] == f"bundle {digest[:16]}"
    assert session.settings.distill == 0.5
    teacher = session.training.teacher
    assert teacher is not None
    x_BCHW = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(teacher.logits(x_BCHW), load_network(tmp_path / "big")(x_BCHW), rtol=1e-4, atol=1e-5)
    stopped_in(asked, 4)
    (tmp_path / "big").rename(tmp_path / "moved")
    write_bundle(dataclasses.replace(origin(seed=6), name="big"), tmp_path / "big")
    with pytest.raises(ValueError, match=r"belongs to another training: its teacher is 'bundle \w{16}', here 'bundle"):
        train_bundle(asked)
    result = train_bundle(dataclasses.replace(asked, teacher=str(tmp_path / "moved")))
    assert result["teacher"] == f"bundle {digest[:16]}"


def test_a_teacher_of_timm_is_known_by_its_weights_and_an_earlier_one_by_its_path(
    cut: Path, request_of: Ask, tmp_path: Path
) -> None:
    for seed, name in enumerate(("a.pt", "b.pt")):
        torch.manual_seed(seed)
        torch.save(import_timm().create_model("test_resnet", num_classes=2).state_dict(), tmp_path / name)
    asked = request_of(cut, changes=SHORT, teacher=f"test_resnet:{tmp_path / 'a.pt'}")
    stopped_in(asked, 2)
    with pytest.raises(ValueError, match="its teacher is 'test_resnet:"):
        train_bundle(dataclasses.replace(asked, teacher=f"test_resnet:{tmp_path / 'b.pt'}"))
    shutil.copy(tmp_path / "a.pt", tmp_path / "c.pt")
    assert begun(dataclasses.replace(asked, teacher=f"test_resnet:{tmp_path / 'c.pt'}")).training.step == 1
    place = tmp_path / "cut-training" / CHECKPOINT
    state = torch.load(place, weights_only=True)
    state["identity"]["teacher"] = asked.teacher
    torch.save(state, place)
    assert begun(asked).training.step == 1


def test_what_cannot_be_fine_tuned_or_teach(
    cut: Path, bundle: Path, request_of: Ask, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(origin(classes=3), tmp_path / "three")
    write_bundle(of_bundle(tmp_path / "three", classes=2), tmp_path / "fresh")
    write_bundle(dataclasses.replace(origin(seed=5), name="big"), tmp_path / "big")
    altered = Path(shutil.copytree(tmp_path / "big", tmp_path / "altered"))
    state = load_file(altered / "weights.safetensors")
    save_file(state | {"tokens": state["tokens"] + 1}, altered / "weights.safetensors")
    renamed = Path(shutil.copytree(image_folder, tmp_path / "data"))
    (renamed / "train" / "light").rename(renamed / "train" / "pale")
    before = sorted(tmp_path.rglob("*"))
    for more, message in [
        (["--scratch", "--weights", str(cut)], "--scratch trains from first weights, --weights"),
        (["--scratch", "--new-classifier"], "--new-classifier is for --weights, or a bundle that is trained"),
        (
            ["--teacher", str(tmp_path / "three")],
            "three: must have the classes of the data, 2 (dark, light), got 3 (dark",
        ),
        (["--teacher", str(altered)], "altered/weights.safetensors: changed since it was written"),
        (["--teacher", str(bundle)], f"--teacher {bundle}: its weights are not trained; `mfsearch train"),
        (["--teacher", str(tmp_path / "fresh")], "fresh: its classifier is re-initialised, not trained"),
        (["--teacher", str(image_folder)], "manifest.json: missing: this is no bundle"),
        (["--teacher", str(tmp_path / "none")], "none' is not a model of timm; a bundle is given by its folder"),
        (["--set", "classifier_lr_ratio=0"], "classifier_lr_ratio must be a number above 0, got 0"),
        (["--data", str(renamed)], "trained on other classes, 'light' where the data has 'pale'; --new-classifier"),
        (
            ["--data", str(renamed), "--new-classifier", "--teacher", str(tmp_path / "big")],
            "data, 2 (dark, pale), got 2",
        ),
    ]:
        assert cli.main(["train", str(cut), "--data", str(image_folder), "--batch", "8", *more]) == 2, more
        assert message in capsys.readouterr().err, more
    assert sorted(tmp_path.rglob("*")) == before
