"""A bundle in, a trained bundle out; and everything that can be wrong before, in which case nothing is written."""

import argparse
import contextlib
import dataclasses
import importlib
import importlib.util
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mfsearch import cli
from mfsearch.commands.train import _interrupted
from mfsearch.data.image_data import DamagedError
from mfsearch.export.bundle import load_network, read_bundle
from mfsearch.model import MobileFormer
from mfsearch.study.files import DiskError
from mfsearch.train.fit import Callbacks, Session, _export_for, train_bundle
from mfsearch.train.images import load_images
from mfsearch.train.parts import eval_transform, import_timm
from mfsearch.train.start import given_weights
from mfsearch.train.train_options import Request, make_settings
from mfsearch.train.training import FullTraining, choose_threads
from mfsearch.train.training_folder import EpochRow
from tests.train.conftest import CHANGES, TINY

Ask = Callable[..., Request]
ROOT = Path(__file__).parents[2]
PERCENT = r"\d+\.\d\d%"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def refused(request: Request, message: str) -> None:
    """It ends with this message, and leaves the bundle as it was and no folder of a training."""
    before = content(request.bundle) if request.bundle.is_dir() else {}
    with pytest.raises(ValueError, match=message):
        train_bundle(request)
    assert (content(request.bundle) if request.bundle.is_dir() else {}) == before
    assert not [*(request.to or request.bundle.with_name("tiny-training")).glob("*.*")]


@pytest.fixture
def trained(bundle: Path, request_of: Ask) -> Path:
    train_bundle(request_of(bundle, changes=CHANGES | {"epochs": 1}))
    return bundle


def test_the_bundle_holds_the_best_weights_and_its_card_the_result(
    bundle: Path, request_of: Ask, image_folder: Path
) -> None:
    rows: list[EpochRow] = []
    result = train_bundle(request_of(bundle), Callbacks(epoch=rows.append))
    best = max(rows, key=lambda row: row.top1)
    assert (result["top1"], result["epoch"], result["epochs"]) == (best.top1, best.epoch, 3)
    found = read_bundle(bundle)
    assert found.metrics.full_training == json.loads(json.dumps(result))
    assert found.metrics.class_names == ("dark", "light")
    assert f"top1 {best.top1:.2%}" in (bundle / "README.md").read_text()
    network = load_network(bundle)
    images = load_images(str(image_folder), seed=0)
    transform = eval_transform(make_settings(found.training, 32, CHANGES), 32)
    x_BCHW = torch.stack([transform(images.val.open(k)) for k in range(len(images.val.labels))])
    with torch.no_grad():
        right = network(x_BCHW).argmax(1) == torch.from_numpy(images.val.labels)
    assert right.float().mean().item() == pytest.approx(best.top1)


def test_a_finished_training_is_not_done_again(trained: Path, request_of: Ask) -> None:
    before, rows = content(trained), list[EpochRow]()
    again = request_of(trained, changes=CHANGES | {"epochs": 1})
    result = train_bundle(again, Callbacks(epoch=rows.append))
    assert rows == []
    assert content(trained) == before
    assert result["top1"] == (read_bundle(trained).metrics.full_training or {})["top1"]


def test_a_bundle_trained_from_its_own_weights_is_not_trained_again(
    trained: Path, request_of: Ask, tmp_path: Path
) -> None:
    asked = request_of(trained, changes=CHANGES | {"epochs": 1}, weights=trained, to=tmp_path / "on", replace=True)
    result = train_bundle(asked)
    before = content(trained)
    assert train_bundle(asked) == json.loads(json.dumps(result))
    assert content(trained) == before
    with pytest.raises(ValueError, match=r"checkpoint.pt belongs to another training: its (weights|epochs) is"):
        train_bundle(dataclasses.replace(asked, changes=CHANGES | {"epochs": 2}))


def test_a_bundle_may_be_named_by_a_dot(
    bundle: Path, request_of: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)
    train_bundle(request_of(Path(), changes=CHANGES | {"epochs": 1}))
    assert (tmp_path / "tiny-training" / "summary.csv").is_file()
    assert (read_bundle(bundle).metrics.full_training or {})["epochs"] == 1


def test_trained_weights_are_lost_only_on_request(trained: Path, request_of: Ask, tmp_path: Path) -> None:
    other = request_of(trained, to=tmp_path / "other", changes=CHANGES | {"epochs": 2})
    refused(other, "tiny holds the weights of another full training: export the network anew, or say --replace")
    train_bundle(dataclasses.replace(other, replace=True))
    assert (read_bundle(trained).metrics.full_training or {})["epochs"] == 2


def test_a_folder_with_other_classes_than_the_weights_is_named(
    trained: Path, request_of: Ask, image_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(image_folder, data)
    (data / "train" / "light").rename(data / "train" / "pale")
    other = request_of(trained, data=str(data), to=tmp_path / "to")
    refused(other, "another full training on other classes \\('light' where .*data has 'pale'\\)")
    fresh = request_of(trained, data=str(data), to=tmp_path / "to", replace=True, weights=trained)
    refused(fresh, "trained on other classes, 'light' where the data has 'pale'; --new-classifier re-initialises")
    result = train_bundle(dataclasses.replace(fresh, new_classifier=True))
    assert result["start"].endswith("the classifier re-initialised for 2 classes")


def test_fine_tuning_begins_with_the_given_weights_and_a_fitting_classifier(
    made: Callable[[int], Path], tmp_path: Path
) -> None:
    config = dataclasses.replace(TINY, classes=3)
    seven = MobileFormer(dataclasses.replace(TINY, classes=7), seed=9).state_dict()
    path = tmp_path / "seven.safetensors"
    save_file({name: value.contiguous() for name, value in seven.items()}, path)
    start = given_weights(path, config, ("a", "b", "c"), seed=4)
    fresh = MobileFormer(config, seed=4).state_dict()
    assert start.tensors is not None
    for name, value in start.tensors.items():
        assert torch.equal(value, fresh[name] if name.startswith("head.classifier") else seven[name]), name
    assert start.note.endswith("the classifier re-initialised for 3 classes")
    same = given_weights(path, dataclasses.replace(TINY, classes=7), tuple("abcdefg"), seed=4)
    assert same.tensors is not None
    assert all(torch.equal(value, seven[name]) for name, value in same.tensors.items())
    for header in ("3", '["a", "b"]', '{"a": 1}'):  # of somebody else's
        save_file({name: value.contiguous() for name, value in seven.items()}, path, {"classes": header})
        assert given_weights(path, dataclasses.replace(TINY, classes=7), tuple("abcdefg"), seed=4).note == same.note
    wider = dataclasses.replace(TINY, classes=7, tokens=dataclasses.replace(TINY.tokens, count=3))
    with pytest.raises(ValueError, match=r"seven.safetensors: not of this network .* has another shape of tokens"):
        given_weights(path, wider, tuple("abcdefg"), seed=4)
    save_file({name: value * torch.nan for name, value in seven.items() if value.ndim}, path)
    with pytest.raises(ValueError, match=r"seven.safetensors: not of this network .* has no "):
        given_weights(path, config, ("a", "b", "c"), seed=4)
    save_file({name: value * torch.nan if value.ndim else value for name, value in seven.items()}, path)
    with pytest.raises(ValueError, match=r"seven.safetensors: \S+ holds numbers that are not finite"):
        given_weights(path, config, ("a", "b", "c"), seed=4)


def test_a_teacher_is_learned_from(bundle: Path, request_of: Ask, tmp_path: Path) -> None:
    model = import_timm().create_model("test_resnet", num_classes=2)
    torch.save(model.state_dict(), tmp_path / "teacher.pt")
    plain, taught = list[EpochRow](), list[EpochRow]()
    short = CHANGES | {"epochs": 1}
    train_bundle(request_of(bundle, changes=short), Callbacks(epoch=plain.append))
    asked = request_of(bundle, changes=short, teacher=f"test_resnet:{tmp_path / 'teacher.pt'}", to=tmp_path / "t")
    train_bundle(dataclasses.replace(asked, replace=True), Callbacks(epoch=taught.append))
    assert taught[0].train_loss != plain[0].train_loss
    assert (read_bundle(bundle).metrics.full_training or {})["teacher"].startswith("test_resnet:")


@pytest.mark.parametrize(
    "name", ["arch.yaml", "weights.safetensors", "train.yaml", "model.py", "model.onnx", "README.md"]
)
@pytest.mark.parametrize("harm", ["missing", "altered"])
def test_a_bundle_that_is_not_whole_is_named(bundle: Path, request_of: Ask, name: str, harm: str) -> None:
    if harm == "missing":
        (bundle / name).unlink()
    else:
        raw = bytearray((bundle / name).read_bytes())
        raw[len(raw) // 2] ^= 1
        (bundle / name).write_bytes(raw)
    refused(request_of(bundle), f"tiny/{name}: {'missing' if harm == 'missing' else 'changed since it was written'}")


def test_a_bundle_of_a_newer_schema_or_none_at_all(bundle: Path, request_of: Ask, tmp_path: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))
    refused(request_of(bundle), "manifest.json: has schema 99, this version of mfsearch reads 2")
    refused(request_of(tmp_path / "nothing"), "nothing/manifest.json: missing: this is no bundle")


def test_another_number_of_classes_says_how_to_export(
    made: Callable[[int], Path], request_of: Ask, tmp_path: Path
) -> None:
    five = Path(shutil.copytree(made(5), tmp_path / "tiny"))
    refused(request_of(five), r"tiny is for 5 classes, .* has 2: export .*tiny --classes 2 --to DIR`")


def test_the_way_to_other_classes_is_an_export_of_the_bundle(bundle: Path) -> None:
    read = read_bundle(bundle)._replace(folder=Path("my b"))
    assert _export_for(read, 4) == "mfsearch export 'my b' --classes 4 --to DIR"
    onnx = dataclasses.replace(read.metrics.onnx, batch="any")
    any_batch = read._replace(metrics=dataclasses.replace(read.metrics, onnx=onnx))
    assert _export_for(any_batch, 4) == "mfsearch export 'my b' --dynamic-batch --classes 4 --to DIR"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"data": "nowhere"}, "no data set or folder 'nowhere'"),
        ({"samples": 1}, "samples must be 2..43"),
        ({"changes": {"batch": 64}}, "has 43 training images: say --batch"),
        ({"changes": {"distill": 0.5}}, "--distill is for --teacher, which is not given"),
        ({"new_classifier": True}, "--new-classifier is for --weights"),
        ({"weights": Path("none.safetensors")}, "weights none.safetensors: no such file"),
        ({"teacher": "test_resnet"}, "teacher test_resnet: give its weights"),
        ({"device": "tpu"}, "device must be cpu or cuda, got 'tpu'"),
        ({"amp": True}, "--amp is for --device cuda, got cpu"),
    ],
)
def test_requests_that_cannot_be_done(bundle: Path, request_of: Ask, other: dict[str, Any], message: str) -> None:
    refused(request_of(bundle, **other), message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(bundle: Path, request_of: Ask) -> None:
    refused(request_of(bundle, device="cuda"), "torch finds no CUDA device here; --device cpu")


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="needs tensorboard to be missing")
def test_tensorboard_that_is_not_there(bundle: Path, request_of: Ask) -> None:
    refused(request_of(bundle, tensorboard=True), "--tensorboard needs its package: pip install tensorboard")


def test_tensorboard_has_a_point_an_epoch(bundle: Path, request_of: Ask, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    rows: list[EpochRow] = []
    train_bundle(request_of(bundle, tensorboard=True), Callbacks(epoch=rows.append))
    events = reader.EventAccumulator(str(tmp_path / "tiny-training" / "tensorboard"))
    events.Reload()
    points = events.Scalars("train_loss")
    assert [(point.step, point.value) for point in points] == [
        (row.epoch, pytest.approx(row.train_loss, rel=1e-6)) for row in rows
    ]


def test_the_training_keeps_to_a_folder_of_its_own(bundle: Path, request_of: Ask, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--to must be another folder than the bundle"):
        train_bundle(request_of(bundle, to=bundle))
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="--to must be a new folder or that of a training; .* holds thesis.txt"):
        train_bundle(request_of(bundle, to=own))
    with pytest.raises(ValueError, match="--to must be a folder, .*thesis.txt is a file"):
        train_bundle(request_of(bundle, to=own / "thesis.txt"))
    assert [path.name for path in own.iterdir()] == ["thesis.txt"]


def test_a_kill_in_the_first_write_does_not_bar_the_way(bundle: Path, request_of: Ask, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("lock", "best.safetensors.part", "checkpoint.pt.part"):
        (own / name).write_bytes(b"cut")
    train_bundle(request_of(bundle, to=own, changes=CHANGES | {"epochs": 1}))
    assert not [*own.glob("*.part")]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named(
    bundle: Path, request_of: Ask, image_folder: Path, tmp_path: Path, workers: int
) -> None:
    data = Path(shutil.copytree(image_folder, tmp_path / "data"))
    (data / "val" / "dark").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(data / "val" / "dark" / "a.png")
    for path in (data / "train" / "dark").iterdir():
        path.write_bytes(b"this is no image")
    before = content(bundle)
    with pytest.raises(DamagedError, match=r"24 damaged, .*\n  \S*/train/dark/\d+.png: not a readable image") as error:
        train_bundle(request_of(bundle, data=str(data), workers=workers))
    assert len(error.value.files) == 24
    assert content(bundle) == before


def test_the_command_skips_damaged_images_and_lists_them(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(image_folder, tmp_path / "data"))
    (data / "train" / "dark" / "3.png").write_bytes(b"this is no image")
    (data / "train" / "dark" / "scan.tif").touch()
    command = ["train", str(bundle), "--data", str(data), "--epochs", "1", "--batch", "8", "--micro-batch", "4"]
    assert cli.main([*command, "--skip-damaged"]) == 0
    said = capsys.readouterr().out
    assert "42 training images, 5 for validation" in said or "43 training images, 4 for validation" in said
    assert "left out: 1 TIF file;" in said
    assert "skipped: 1 damaged file\n" in said


def test_a_full_disk_keeps_the_bundle_and_what_was_written(bundle: Path, image_folder: Path, tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow past 20 kB."""
    code = (
        "from pathlib import Path; from tests.train.test_train_bundle import train_on_full_disk\n"
        f"train_on_full_disk(Path({str(bundle)!r}), {str(image_folder)!r})"
    )
    before = content(bundle)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "best.safetensors: File too large; the same command goes on" in done.stdout, done.stderr
    assert content(bundle) == before
    assert not [*tmp_path.rglob("*.part")]


def train_on_full_disk(bundle: Path, images: str) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        train_bundle(Request(bundle=bundle, data=images, changes=CHANGES))
    except DiskError as error:
        print(error)


def test_the_command_prints_a_line_an_epoch_and_json(
    bundle: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(bundle), "--data", str(image_folder), "--batch", "8", "--epochs", "2", "--set", "mixup=0"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "network   tiny" in said
    assert "first weights, drawn by seed 42" in said
    assert len([line for line in said.splitlines() if line.strip().startswith(("1 ", "2 "))]) == 2
    assert "holds the weights of epoch" in said
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["mixup"] == 0
    lines = (tmp_path / "tiny-training" / "summary.csv").read_text().splitlines()
    assert lines[0] == "epoch,train_loss,val_loss,top1,top5,lr,seconds"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]
    assert load_file(tmp_path / "tiny-training" / "last.safetensors")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "mixup"], "--set must be KEY=VALUE like mixup=0.2, got 'mixup'"),
        (["--set", "mixupp=1"], "unknown key 'mixupp'"),
        (["--set", "batch_size=4"], "--set batch_size: say --batch, --micro-batch or --size"),
        (["--set", "mixup=[1"], "--set mixup: '[1' is not a value of YAML"),
        (["--checkpoint-minutes", "0"], "--checkpoint-minutes must be above 0, got 0"),
        (["--lr", "nan"], "lr must be"),
    ],
)
def test_wrong_words_are_wrong_use(
    bundle: Path, image_folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert cli.main(["train", str(bundle), "--data", str(image_folder), *more]) == 2
    assert message in capsys.readouterr().err


def test_an_interrupted_training_says_what_is_on_disk_and_no_more(
    bundle: Path, request_of: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C ends it at once: in step 3, before any checkpoint; in step 7, and while epoch 2 is written."""
    session: list[Session] = []
    args = argparse.Namespace(bundle=bundle, command_line="mfsearch train tiny")

    def told(step: int, folder: Path) -> str:
        def cut(training: FullTraining) -> None:
            if training.step == step:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            train_bundle(request_of(bundle, to=folder), Callbacks(began=session.append, step=cut))
        return _interrupted(session[-1], args)

    assert "nothing is kept" in told(3, tmp_path / "early")
    folder = tmp_path / "t"
    kept = rf"keeps step 5 of 15 \(epoch 1 of 3\) and the best weights so far \(epoch 1, top1 {PERCENT}\), {bundle} is"
    assert re.search(kept, told(7, folder))
    assert re.search(kept, told(6, folder))  # nothing was written since it resumed

    def cut_in_epoch_2(path: Path, state: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mfsearch.train.training.write_weights", cut_in_epoch_2)
    assert re.search(kept, told(99, folder))


def test_the_threads_are_kept_and_a_change_is_said(bundle: Path, request_of: Ask, tmp_path: Path) -> None:
    """Cut after an epoch with two threads: it goes on with two, or with one, which is told; then torch has its own."""
    seen: list[tuple[int | None, int | None, int]] = []

    def cut(row: EpochRow) -> None:
        raise KeyboardInterrupt

    for threads, epoch in ((2, cut), (None, cut), (1, lambda _: None)):
        session: list[Session] = []
        request = request_of(bundle, threads=threads, to=tmp_path / "t")
        with contextlib.suppress(KeyboardInterrupt):
            train_bundle(request, Callbacks(began=session.append, epoch=epoch))
        seen.append((session[0].threads_before, session[0].training.threads, torch.get_num_threads()))
    assert seen == [(None, 2, 1), (2, 2, 1), (2, 1, 1)]


def test_a_busy_machine_gets_one_thread_and_a_quiet_one_the_fastest(
    bundle: Path, request_of: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    session: list[Session] = []
    train_bundle(request_of(bundle, changes=CHANGES | {"epochs": 1}), Callbacks(began=session.append))
    training, seen = session[0].training, list[int]()
    assert choose_threads(training) == 1  # torch's own number here
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    monkeypatch.setattr("torch.set_num_threads", seen.append)
    monkeypatch.setattr("os.getloadavg", lambda: (6.0, 0.0, 0.0))
    assert choose_threads(training) == 1
    assert seen == []
    clock = iter([0, 9, 9, 13, 20, 29, 29, 31, 40, 49, 49, 52])  # 4 s with one thread, 2 with two, 3 with four
    monkeypatch.setattr("mfsearch.train.training.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("os.getloadavg", lambda: (0.3, 0.0, 0.0))
    assert choose_threads(training) == 2
    assert seen == [1, 2, 4]


def test_of_another_size_it_is_judged_at_the_bundles_too(
    bundle: Path, request_of: Ask, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train_bundle(request_of(bundle, changes=CHANGES | {"epochs": 1, "size": 24}))
    assert (result["size"], result["deployed"]["size"]) == (24, 32)
    network, images = load_network(bundle), load_images(str(image_folder), seed=0)
    settings = make_settings(read_bundle(bundle).training, 32, CHANGES | {"size": 24})
    for size, told in ((24, result), (32, result["deployed"])):
        transform = eval_transform(settings, size)
        x_BCHW = torch.stack([transform(images.val.open(k)) for k in range(len(images.val.labels))])
        with torch.no_grad():
            logits_BK = network(x_BCHW)
        labels_B = torch.from_numpy(images.val.labels)
        assert (logits_BK.argmax(1) == labels_B).float().mean().item() == pytest.approx(told["top1"])
        loss = torch.nn.functional.cross_entropy(logits_BK, labels_B).item()
        assert loss == pytest.approx(told["val_loss"], rel=1e-4), size
    card = (bundle / "README.md").read_text()
    assert f"for 32 x 32, where top1 is {result['deployed']['top1']:.2%}." in card
    assert f"| top1 at 32 px | {result['deployed']['top1']:.2%} |" in card
    assert cli.main(["export", str(bundle), "--resolution", "40", "--to", str(tmp_path / "larger")]) == 0
    assert "`model.onnx` are for 40 x 40, where it was not judged." in (tmp_path / "larger" / "README.md").read_text()
    found = read_bundle(bundle).preprocessing
    assert (found.size, found.trained_size, found.resize_to, found.class_names) == (32, 24, 36, ("dark", "light"))
    words = ["train", str(bundle), "--data", str(image_folder), "--batch", "8", "--epochs", "1", "--replace"]
    assert cli.main([*words, "--size", "24", "--to", str(tmp_path / "more")]) == 0
    said = capsys.readouterr().out
    assert "model.onnx is for 32 px, and top1 is" in said
    assert f"`mfsearch export {bundle} --resolution 24 --to DIR` writes it for 24 px" in said
    assert train_bundle(request_of(bundle, replace=True, to=tmp_path / "own"))["deployed"] is None
