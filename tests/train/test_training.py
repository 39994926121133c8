"""The training itself: schedule, averages, parts of a batch, what ends it, and that a cut leaves no trace."""

import dataclasses
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mfsearch.config import HeadConfig
from mfsearch.export.bundle import read_bundle, write_bundle
from mfsearch.export.origin import of_config
from mfsearch.export.train_yaml import recommended_training
from mfsearch.model import MobileFormer
from mfsearch.train.distributed import Processes
from mfsearch.train.draws import generators_kept
from mfsearch.train.images import TrainingImages, load_images
from mfsearch.train.train_options import make_settings
from mfsearch.train.training import DivergenceError, FullTraining, StopSwitch
from mfsearch.train.training_folder import BEST, CHECKPOINT, LAST, EpochRow, weights_facts
from tests.train.conftest import CHANGES, TINY

ROOT = Path(__file__).parents[2]
ALONE = Processes(0, 1, torch.device("cpu"))
Make = Callable[..., FullTraining]


@pytest.fixture
def images(image_folder: Path) -> TrainingImages:
    return load_images(str(image_folder), seed=0)


@pytest.fixture
def make(images: TrainingImages) -> Make:
    def make(workers: int = 0, **changes: Any) -> FullTraining:
        settings = make_settings(recommended_training(TINY), 32, CHANGES | changes)
        return FullTraining(TINY, images, settings, ALONE, workers=workers)

    return make


def run(training: FullTraining, folder: Path, **other: Any) -> list[EpochRow]:
    folder.mkdir(exist_ok=True)
    training.load(folder / CHECKPOINT)
    asked: dict[str, Any] = {"checkpoint_seconds": 1e9, "facts": {}} | other
    with generators_kept():
        training.run(folder, StopSwitch(), **asked)
    return training.rows


def without_time(rows: list[EpochRow]) -> list[EpochRow]:
    return [dataclasses.replace(row, seconds=0.0) for row in rows]


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert sorted(one) == sorted(two)  # safetensors has an order of its own
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_the_learning_rate_warms_up_and_falls_as_a_cosine(make: Make, tmp_path: Path) -> None:
    """15 steps, 5 of them warming up from 1e-4 to 8e-4; then 1e-5 + (8e-4 - 1e-5) (1 + cos(pi t / 15)) / 2."""
    seen = []
    training = make(warmup_epochs=1, sched_on_updates=True)
    run(training, tmp_path, on_step=lambda t: seen.append(t.optimizer.param_groups[0]["lr"]))
    warm = [1e-4 + t * (8e-4 - 1e-4) / 5 for t in range(5)]
    fall = [1e-5 + (8e-4 - 1e-5) * (1 + math.cos(math.pi * t / 15)) / 2 for t in range(5, 15)]
    assert seen == pytest.approx(warm + fall, rel=1e-9)


def test_by_epochs_the_rate_stays_for_an_epoch_and_cools_down(make: Make, tmp_path: Path) -> None:
    seen = []
    training = make(epochs=2, warmup_epochs=1, sched_on_updates=False, cooldown_epochs=1)
    rows = run(training, tmp_path, on_step=lambda t: seen.append(t.optimizer.param_groups[0]["lr"]))
    assert training.epochs == len(rows) == 3
    assert seen == pytest.approx([1e-4] * 5 + [(8e-4 + 1e-5) / 2] * 5 + [1e-5] * 5, rel=1e-9)
    assert [row.lr for row in rows] == [seen[4], seen[9], seen[14]]


def test_what_is_written_is_what_was_judged(make: Make, images: TrainingImages, tmp_path: Path) -> None:
    training = make()
    rows = run(training, tmp_path, facts={"classes": list(images.classes)})
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert training.average is not None
    last = load_file(tmp_path / LAST)
    assert_same(last, {k: v.contiguous() for k, v in training.average.module.state_dict().items()})
    best = max(rows, key=lambda row: row.top1)  # the earliest of equals
    assert weights_facts(tmp_path / BEST) == {"classes": ["dark", "light"], "epoch": best.epoch, "top1": best.top1}
    again = make()
    again.network.load_state_dict(load_file(tmp_path / BEST))
    assert again.evaluate() == pytest.approx((best.top1, 1.0, best.val_loss), rel=1e-6)
    stop = StopSwitch()
    stop.wanted = True
    with pytest.raises(KeyboardInterrupt):  # a fine-tuning's first look may take minutes
        again.evaluate(stop)


def test_without_an_average_the_weights_themselves_are_judged_and_training_goes_on(make: Make, tmp_path: Path) -> None:
    training = make(model_ema=False, epochs=2)
    run(training, tmp_path)
    assert training.network is training.model
    assert training.model.training
    assert_same(load_file(tmp_path / LAST), {k: v.contiguous() for k, v in training.model.state_dict().items()})


def test_loader_processes_change_nothing(make: Make, tmp_path: Path) -> None:
    alone, two = run(make(), tmp_path / "0"), run(make(workers=2), tmp_path / "2")
    assert without_time(alone) == without_time(two)
    assert_same(load_file(tmp_path / "0" / LAST), load_file(tmp_path / "2" / LAST))


def test_a_training_cut_after_any_step_is_the_undisturbed_one(make: Make, tmp_path: Path) -> None:
    """Ctrl-C after every single step in turn, seven starts for five steps an epoch and a half."""
    whole = run(make(), tmp_path / "whole")
    folder = tmp_path / "cut"
    starts = 0
    while True:
        folder.mkdir(exist_ok=True)
        training, stop = make(), StopSwitch()
        steps: list[int] = []
        training.load(folder / CHECKPOINT)

        def after_two(t: FullTraining, steps: list[int] = steps, stop: StopSwitch = stop) -> None:
            steps.append(t.step)
            stop.wanted = len(steps) == 2

        starts += 1
        try:
            with generators_kept():
                training.run(folder, stop, checkpoint_seconds=1e9, facts={}, on_step=after_two)
        except KeyboardInterrupt:
            continue
        break
    assert starts > 4
    assert without_time(training.rows) == without_time(whole)
    for name in (LAST, BEST):
        assert_same(load_file(folder / name), load_file(tmp_path / "whole" / name))
    assert (folder / "summary.csv").read_text().count("\n") == 4


def test_summed_parts_are_the_mean_gradient_of_all(make: Make) -> None:
    """Two parts of four images, without draws: the mean of the gradients that each gives on its own."""
    plain = {"mixup": 0.0, "cutmix": 0.0, "drop": 0.0, "drop_path": 0.0, "model_ema": False, "clip_grad": None}
    both = make(**plain)
    with generators_kept():
        both.train_step(iter(both.train_batches), StopSwitch())
    found = {name: p.grad for name, p in both.model.named_parameters() if p.grad is not None}
    single = make(**plain)
    batches = list(single.train_batches)[:2]
    for pixels, labels in batches:
        loss = single.of_labels(single.model(pixels.contiguous(memory_format=torch.channels_last)), labels)
        (loss / 2).backward()
    wanted = {name: p.grad for name, p in single.model.named_parameters() if p.grad is not None}
    assert list(found) == list(wanted)
    for name, value in found.items():
        assert value is not None
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-7)


def test_settings_that_do_not_fit_the_images(make: Make, images: TrainingImages) -> None:
    with pytest.raises(ValueError, match="batch is 64, but .* has 43 training images: say --batch"):
        make(batch=64)
    settings = make_settings(recommended_training(TINY), 32, CHANGES)
    with pytest.raises(ValueError, match=r"batch must be a multiple of micro_batch x processes, 4 x 3, got 8"):
        FullTraining(TINY, images, settings, ALONE._replace(size=3))
    ten = dataclasses.replace(TINY, classes=10)
    with pytest.raises(ValueError, match="the network has 10 classes, .* 2"):
        FullTraining(ten, images, settings, ALONE)


def test_a_loss_that_is_not_finite_ends_it_with_advice(make: Make, tmp_path: Path) -> None:
    training = make(lr=1e30, warmup_epochs=0)
    with pytest.raises(
        DivergenceError, match=r"diverged: .* at step \d+ of 15, in epoch \d; try a lower --lr \(it was 1e"
    ):
        run(training, tmp_path, checkpoint_seconds=0.0)
    if (tmp_path / CHECKPOINT).exists():  # one from before
        state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
        assert math.isfinite(float(state["loss_sum"]))


def test_mixed_precision_trains(images: TrainingImages, tmp_path: Path) -> None:
    """bfloat16 on the processor, which the command refuses as slow, stands in for a GPU."""
    settings = make_settings(recommended_training(TINY), 32, CHANGES | {"epochs": 1})
    rows = run(FullTraining(TINY, images, settings, ALONE, amp=True), tmp_path)
    exact = run(FullTraining(TINY, images, settings, ALONE), tmp_path / "fp32")
    assert rows[0].train_loss != exact[0].train_loss
    assert rows[0].train_loss == pytest.approx(exact[0].train_loss, rel=0.02)
    assert all(value.dtype == torch.float32 for value in load_file(tmp_path / LAST).values() if value.ndim)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 1e-3}, "lr is 0.0008, here 0.001"),
        ({"epochs": 4}, "epochs is 3, here 4"),
        ({"seed": 1}, "seed is 42, here 1"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    make: Make, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    make().save(tmp_path / CHECKPOINT)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint.pt belongs to another training: its {named}"):
        make(**changes).load(tmp_path / CHECKPOINT)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_checkpoint_of_another_network_or_a_broken_one_is_refused(
    make: Make, images: TrainingImages, tmp_path: Path
) -> None:
    make().save(tmp_path / CHECKPOINT)
    other = dataclasses.replace(TINY, head=HeadConfig(64, 128))
    settings = make_settings(recommended_training(other), 32, CHANGES)
    with pytest.raises(ValueError, match="another training: its arch_id is"):
        FullTraining(other, images, settings, ALONE).load(tmp_path / CHECKPOINT)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    for content in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        (tmp_path / CHECKPOINT).write_bytes(content)
        with pytest.raises(ValueError, match="not a checkpoint of a training .* delete it to begin anew"):
            make().load(tmp_path / CHECKPOINT)


def command(bundle: Path, images: Path, *more: str) -> list[str]:
    """The command line of conftest's training."""
    words = ["-m", "mfsearch", "train", str(bundle), "--data", str(images), "--epochs", "3", "--batch", "8"]
    words += ["--micro-batch", "4", "--checkpoint-minutes", "1e-6"]
    for key in ("reprob", "drop_path", "cutmix", "model_ema", "model_ema_warmup"):
        words += ["--set", f"{key}={str(CHANGES[key]).lower()}"]
    return [*words, *more]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_and_begun_again_it_ends_like_the_undisturbed_one(
    make: Make, bundle: Path, image_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """SIGTERM goes to all of its processes, as torchrun sends it."""
    whole = run(make(), tmp_path / "whole")
    folder = tmp_path / "tiny-training"
    words = [sys.executable, *command(bundle, image_folder, "--workers", "2" if number == signal.SIGTERM else "0")]
    began: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}  # as many threads as here
    began |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(words, **began) as process:
        deadline = time.monotonic() + 120
        while not (folder / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if number == signal.SIGTERM:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert said.startswith(f"interrupted; {folder} keeps step ")
        assert f"{bundle} is unchanged. To resume:\n  mfsearch train {bundle} --data {image_folder} " in said
    else:
        assert process.returncode == -signal.SIGKILL
    reached = torch.load(folder / CHECKPOINT, weights_only=True)["step"]
    assert 0 < reached < 15
    training = make()
    assert without_time(run(training, folder)) == without_time(whole)
    for name in (LAST, BEST):
        assert_same(load_file(folder / name), load_file(tmp_path / "whole" / name))


@pytest.mark.slow
def test_two_processes_train_like_one(make: Make, bundle: Path, image_folder: Path, tmp_path: Path) -> None:
    """The parts of a batch are the same, so losses and gradients are, up to the order of two additions.

    Adam makes full steps of gradients that are 0 but for rounding (biases before a BatchNorm), which changes weights
    and not the function: losses are compared. Running statistics see the parts side by side instead of one after the
    other, so what is judged in eval mode is near and not the same.
    """
    whole = run(make(), tmp_path / "whole")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*words, *command(bundle, image_folder)], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "tiny-training" / CHECKPOINT, weights_only=True)["rows"]
    assert [row["train_loss"] for row in found] == pytest.approx([row.train_loss for row in whole], rel=1e-4)
    assert [row["val_loss"] for row in found] == pytest.approx([row.val_loss for row in whole], rel=0.1)
    assert done.stdout.count("network ") == 1  # one process speaks


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
def test_processes_without_a_shared_folder_resume_and_end_together(
    bundle: Path, image_folder: Path, tmp_path: Path, trained: bool
) -> None:
    """As on two machines: each process has a bundle and a training folder of its own, and the first alone writes. A
    fine-tuning replaces the weights that it began with, in the first bundle only."""
    if trained:
        shutil.rmtree(bundle)
        weights = dict(MobileFormer(TINY, seed=9).state_dict())
        write_bundle(dataclasses.replace(of_config("tiny", TINY), weights=weights), bundle)
    bundles = [bundle, Path(shutil.copytree(bundle, tmp_path / "other" / "tiny"))]
    folders = [one.with_name("tiny-training") for one in bundles]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}

    def start(rank: int, *more: str) -> subprocess.Popen[str]:
        words = [sys.executable, *command(bundles[rank], image_folder, "--size", "24", *more)]
        env = {**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        return subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def both(*more: str, cut: bool = False) -> list[tuple[int, str]]:
        processes = [start(0, *more), start(1, *more)]
        try:
            while cut and not (folders[0] / CHECKPOINT).exists() and processes[0].poll() is None:
                time.sleep(0.01)
            if cut:
                for process in processes:
                    process.kill()
            said = [process.communicate(timeout=120)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]

    both(cut=True)
    assert (0 if trained else 1) <= torch.load(folders[0] / CHECKPOINT, weights_only=True)["step"] < 15
    for code, text in [*both(), *(both() if trained else ())]:  # to its end, and once more: it ended before
        assert code == 0, text
    result = read_bundle(bundles[0]).metrics.full_training or {}
    assert (result["size"], result["deployed"]["size"], result["processes"]) == (24, 32, 2)
    assert read_bundle(bundles[1]).metrics.full_training is None
    assert not folders[1].exists() or not [*folders[1].iterdir()]
    if trained and result["epoch"]:  # the second bundle has the weights of before
        for code, text in both("--replace", "--to", str(tmp_path / "more")):
            assert (code, "its weights differ between the machines" in text) == (2, True), text
