"""The short training: the same for the same seed, common draws for all networks, and an end with a reason."""

import dataclasses
import math
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import BridgeConfig, DyReLUConfig, FormerConfig, LiteConfig, MobileFormerConfig, TokenConfig
from mfsearch.data import load_data
from mfsearch.model import MobileFormer
from mfsearch.model.mobile import LiteBottleneck, Mobile, MobileDown
from mfsearch.proxy.batch_norm import restate_batch_norm
from mfsearch.proxy.curve import EpochLog
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.short_train import (
    DeviceData,
    InitialWeights,
    ShortTraining,
    TrainingError,
    _Training,
    build_proxy,
    evaluate,
    short_train,
    zero_residuals,
)
from tests.proxy.conftest import TINY


class Recorder(DeviceData):
    """Keeps every batch that a training normalises, training and validation alike."""

    def __init__(self, data: DeviceData) -> None:
        super().__init__(data.data, data.device)
        self.batches: list[Tensor] = []

    def normalized(self, images_BCHW: Tensor) -> Tensor:
        self.batches.append(images_BCHW.clone())
        return super().normalized(images_BCHW)


def test_one_seed_gives_one_training_to_the_bit(tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe) -> None:
    torch.manual_seed(1)
    one = short_train(tiny, digits, brief, seed=3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = short_train(tiny, digits, brief, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert one.top1 == two.top1
    assert [log.loss for log in one.curve] == [log.loss for log in two.curve]
    assert list(one.weights) == list(two.weights)
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)


def test_another_seed_gives_another_training(tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe) -> None:
    one, two = (short_train(tiny, digits, brief, seed=seed) for seed in (0, 1))
    assert one.curve[0].loss != two.curve[0].loss
    assert not torch.equal(one.weights["stem.conv.conv.weight"], two.weights["stem.conv.conv.weight"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_two_networks_see_the_same_images_in_the_same_order(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, optimizer: str
) -> None:
    other = dataclasses.replace(tiny, blocks=tiny.blocks[:2], dyrelu=DyReLUConfig("none"))
    seen = []
    for config in (tiny, other):
        recorder = Recorder(digits)
        short_train(config, recorder, dataclasses.replace(brief, optimizer=optimizer), seed=5)
        seen.append(recorder.batches)
    assert len(seen[0]) == len(seen[1]) == 12 + 2  # steps, then the images for the BatchNorms and the validation
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    recorder = Recorder(digits)
    short_train(tiny, recorder, brief, seed=6)
    assert not torch.equal(recorder.batches[0], seen[0][0])


def test_an_epoch_shows_each_image_once_and_the_next_another_order(
    tiny: MobileFormerConfig, digits: DeviceData
) -> None:
    recorder = Recorder(digits)
    short_train(tiny, recorder, Recipe(resolution=32, epochs=2, batch=64, crop=0, norm_images=100), seed=0)
    images = digits.train_images.flatten(1)
    epochs = [torch.cat(recorder.batches[i : i + 4]).flatten(1) for i in (0, 4)]
    for epoch in epochs:
        assert sorted(map(tuple, epoch.tolist())) == sorted(map(tuple, images.tolist()))
    assert not torch.equal(*epochs)
    assert torch.equal(recorder.batches[8], digits.train_images[:100])
    assert torch.equal(recorder.batches[9], digits.val_images)
    assert len(recorder.batches) == 10


def test_a_short_training_learns_digits(tiny: MobileFormerConfig, digits: DeviceData) -> None:
    """Chance is a tenth."""
    recipe = Recipe(resolution=32, epochs=8, batch=32, crop=2, lr=1e-2)
    result = short_train(tiny, digits, recipe, seed=0, points=(1, 8))
    assert result.top1 > 0.5
    assert result.curve[-1].loss < result.curve[0].loss - 0.5
    assert result.top1 == result.curve[-1].top1


def test_the_weights_give_the_same_top1_in_a_network_built_anew(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe
) -> None:
    assert tiny.classes == 1000
    result = short_train(tiny, digits, brief, seed=0)
    model = MobileFormer(dataclasses.replace(tiny, classes=10), seed=99)
    model.load_state_dict(result.weights)
    assert evaluate(model, digits) == (result.top1, result.curve[-1].val_loss)
    assert result.weights["head.classifier.weight"].shape == (10, 64)
    assert all(value.is_contiguous() and not value.requires_grad for value in result.weights.values())


def test_curve_and_steps_are_reported_as_they_happen(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe
) -> None:
    steps: list[tuple[int, int]] = []
    told: list[EpochLog] = []

    def note(log: EpochLog) -> bool:
        told.append(log)
        return True

    result = short_train(
        tiny,
        digits,
        brief,
        seed=0,
        points=(0.75, 1.5),
        on_step=lambda step, total: steps.append((step, total)),
        on_point=note,
    )
    logs = result.curve
    assert [log.epoch for log in logs] == [0.75, 1.5]
    assert told == logs
    assert result.finished
    assert steps == [(k, 12) for k in range(1, 13)]
    assert 0 < logs[0].seconds < logs[1].seconds <= result.train_seconds
    assert result.images_per_second > 0
    assert all(0 <= log.top1 <= 1 for log in logs)


@pytest.mark.parametrize("warmup", [0.01, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_a_training_of_any_few_steps_runs(
    tiny: MobileFormerConfig, digits: DeviceData, steps: int, warmup: float
) -> None:
    recipe = Recipe(resolution=32, epochs=steps, batch=65_536, crop=0, warmup=warmup)
    seen: list[int] = []
    config = dataclasses.replace(tiny, blocks=tiny.blocks[:1], dyrelu=DyReLUConfig("none"))
    result = short_train(config, digits, recipe, seed=0, on_step=noting(seen))
    assert seen == list(range(1, steps + 1))
    assert [log.epoch for log in result.curve] == [steps]


@pytest.mark.parametrize("points", [(), (-0.5, 1.0), (math.nan,), (1.0, 1.0), (2.0, 1.0), (0.0, 0.0)])
def test_points_that_do_not_rise_are_refused(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, points: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="points must be 0 or more and rise, got"):
        short_train(tiny, digits, brief, seed=0, points=points)


def test_points_within_one_step_are_one_point(tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe) -> None:
    """Eight steps an epoch: 0.01 and 0.1 epochs are both the first step."""
    result = short_train(tiny, digits, brief, seed=0, points=(0.01, 0.1, 0.25))
    assert [log.epoch for log in result.curve] == [1 / 8, 2 / 8]


def test_at_0_the_network_is_judged_as_it_starts_with_statistics_of_these_images(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe
) -> None:
    model = build_proxy(tiny, digits.data, seed=5)
    with torch.no_grad():  # a trained network's statistics, which are not those of the images
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.fill_(3.0)  # type: ignore[union-attr]
    start = InitialWeights("trained", {name: value.clone() for name, value in model.state_dict().items()})
    steps: list[int] = []
    result = short_train(tiny, digits, brief, seed=0, start=start, points=(0.0,), on_step=noting(steps))
    assert steps == []
    restate_batch_norm(model, [digits.normalized(digits.train_images)])
    by_hand = evaluate(model, digits)
    (point,) = result.curve
    assert (point.epoch, point.top1) == (0.0, by_hand.top1)
    assert point.val_loss == pytest.approx(by_hand.loss, rel=1e-5)
    assert math.isnan(point.loss)
    assert result.images_per_second == 0
    for name, parameter in model.named_parameters():
        assert torch.equal(result.weights[name], start.tensors[name]), name
        assert parameter.shape == result.weights[name].shape


def test_a_point_at_0_changes_no_step_and_a_training_resumes_from_it(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    plain = short_train(tiny, digits, brief, seed=1, points=(0.25, 0.5))
    short_train(tiny, digits, brief, seed=1, points=(0.0,), checkpoint=path)
    judged: list[float] = []

    def note(log: EpochLog) -> bool:
        judged.append(log.epoch)
        return True

    longer = short_train(tiny, digits, brief, seed=1, points=(0.0, 0.25, 0.5), checkpoint=path, on_point=note)
    assert judged == [0.0, 0.25, 0.5]
    assert [log.to_dict() | {"seconds": 0} for log in longer.curve[1:]] == [
        log.to_dict() | {"seconds": 0} for log in plain.curve
    ]
    assert all(torch.equal(longer.weights[name], plain.weights[name]) for name in plain.weights)


def test_a_network_that_starts_not_finite_is_no_result(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe
) -> None:
    broken = DeviceData(dataclasses.replace(digits.data, mean=(float("nan"), 0.0, 0.0)), digits.device)
    with pytest.raises(TrainingError, match="loss is nan at step 0 of 0"):
        short_train(tiny, broken, brief, seed=0, points=(0.0, 1.0))


def test_the_point_at_0_is_written_without_the_loss_that_it_does_not_have() -> None:
    point = EpochLog(epoch=0.0, loss=math.nan, top1=0.25, val_loss=2.0, seconds=1.5)
    assert point.to_dict() == {"epoch": 0.0, "top1": 0.25, "val_loss": 2.0, "seconds": 1.5}
    assert EpochLog.from_dict(point.to_dict()).to_dict() == point.to_dict()
    with pytest.raises(ValueError, match="a point of a curve must have numbers for epoch, loss, top1 and seconds"):
        EpochLog.from_dict(point.to_dict() | {"epoch": 0.5})


def test_a_huge_learning_rate_ends_with_the_step(tiny: MobileFormerConfig, digits: DeviceData) -> None:
    recipe = Recipe(resolution=32, epochs=4, batch=32, optimizer="sgd", lr=10.0)
    with pytest.raises(TrainingError, match=r"^training diverged: loss is (nan|inf) at step \d+ of 32$"):
        short_train(tiny, digits, recipe, seed=0)


def test_images_that_are_not_finite_end_at_the_first_step(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe
) -> None:
    broken = DeviceData(dataclasses.replace(digits.data, mean=(float("nan"), 0.0, 0.0)), digits.device)
    with pytest.raises(TrainingError, match="training diverged: loss is nan at step 1 of 12"):
        short_train(tiny, broken, brief, seed=0)


def test_weights_that_end_not_finite_are_refused(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last step may break the weights after its loss was looked at."""

    def spoiled(*args: object) -> object:
        model = build_proxy(tiny, digits.data, 0)
        model.register_buffer("scale", torch.tensor([1.0, float("nan")]))  # used by no layer
        return model

    monkeypatch.setattr("mfsearch.proxy.short_train.build_proxy", spoiled)
    with pytest.raises(TrainingError, match=r"training diverged: weights scale are not finite"):
        short_train(tiny, digits, brief, seed=0)


def test_evaluate_counts_right_answers_over_all_batches_and_keeps_the_mode(
    tiny: MobileFormerConfig, digits: DeviceData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_proxy(tiny, digits.data, 0)
    with torch.no_grad():
        answers = model.eval()(digits.normalized(digits.val_images)).argmax(1)
        probabilities = torch.log_softmax(model(digits.normalized(digits.val_images)), 1)
    right = sum(int(a) == int(b) for a, b in zip(answers, digits.val_labels, strict=True))
    loss = -sum(float(row[label]) for row, label in zip(probabilities, digits.val_labels, strict=True)) / 120
    for training in (True, False):
        model.train(training)
        found = evaluate(model, digits)
        assert found.top1 == right / 120
        assert found.loss == pytest.approx(loss, abs=1e-5)
        assert model.training == training
    monkeypatch.setattr("mfsearch.proxy.short_train.EVAL_BATCH", 50)
    found = evaluate(model, digits)
    assert found.top1 == right / 120
    assert found.loss == pytest.approx(loss, abs=1e-5)


def test_the_proxy_has_as_many_outputs_as_the_data_has_classes(tiny: MobileFormerConfig, digits: DeviceData) -> None:
    model = build_proxy(tiny, digits.data, 0)
    assert model(digits.normalized(digits.val_images[:2])).shape == (2, 10)
    assert tiny.classes == 1000


class CutError(Exception):
    """A kill, as far as a training can tell."""


def cut_at(step: int) -> Callable[[int, int], None]:
    def on_step(now: int, _steps: int) -> None:
        if now == step:
            raise CutError

    return on_step


def noting(steps: list[int]) -> Callable[[int, int], None]:
    return lambda step, _: steps.append(step)


def figures(result: ShortTraining) -> tuple[float, list[tuple[float, float, float, float]]]:
    """All of a training that no clock decides, weights apart."""
    return result.top1, [(log.epoch, log.loss, log.top1, log.val_loss) for log in result.curve]


def assert_same(one: ShortTraining, two: ShortTraining) -> None:
    assert figures(one) == figures(two)
    assert list(one.weights) == list(two.weights)
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)


POINTS = (0.75, 1.5)  # steps 6 and 12


@pytest.mark.parametrize(
    ("optimizer", "cuts"), [("adamw", [[1], [6], [7], [12], [2, 5, 6, 8, 9]]), ("sgd", [[5], [7, 11]])]
)
def test_a_training_cut_anywhere_and_begun_again_is_the_same_to_the_bit(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, tmp_path: Path, optimizer: str, cuts: list[list[int]]
) -> None:
    """A checkpoint after every step; cuts in the first and the last step, around the first point and the new epoch."""
    recipe = dataclasses.replace(brief, optimizer=optimizer)
    whole = short_train(tiny, digits, recipe, seed=3, points=POINTS)
    for steps in cuts:
        path = tmp_path / f"{optimizer}-{steps}.pt"
        for step in steps:
            with pytest.raises(CutError):
                short_train(
                    *(tiny, digits, recipe),
                    seed=3,
                    points=POINTS,
                    checkpoint=path,
                    checkpoint_seconds=0.0,
                    on_step=cut_at(step),
                )
        seen: list[int] = []
        again = short_train(
            tiny,
            digits,
            recipe,
            seed=3,
            points=POINTS,
            checkpoint=path,
            on_step=noting(seen),
        )
        assert_same(again, whole)
        assert seen == list(range(max(1, steps[-1]), 13))  # the step that was cut is done again, none before it
        assert 0 < again.curve[0].seconds < again.train_seconds


def test_a_cut_at_a_point_asks_again_whether_to_go_on(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, tmp_path: Path
) -> None:
    """The checkpoint is written before the question: a kill between the two must not change the answer."""

    def killed(_log: EpochLog) -> bool:
        raise CutError

    path = tmp_path / "c.pt"
    with pytest.raises(CutError):
        short_train(tiny, digits, brief, seed=0, points=POINTS, checkpoint=path, on_point=killed)
    steps: list[int] = []
    again = short_train(
        *(tiny, digits, brief),
        seed=0,
        points=POINTS,
        checkpoint=path,
        on_step=noting(steps),
        on_point=lambda _: False,
    )
    assert not again.finished
    assert steps == []
    assert_same(again, short_train(tiny, digits, brief, seed=0, points=POINTS, on_point=lambda _: False))


def test_on_point_ends_a_training_where_it_is(tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe) -> None:
    seen: list[int] = []
    stopped = short_train(
        *(tiny, digits, brief),
        seed=0,
        points=POINTS,
        on_step=noting(seen),
        on_point=lambda log: log.epoch > 1,
    )
    assert not stopped.finished
    assert seen == list(range(1, 7))
    half = short_train(tiny, digits, brief, seed=0, points=POINTS[:1], on_point=lambda _: False)
    assert half.finished  # at its last point there is nothing left to end
    assert_same(stopped, half)


def test_a_longer_training_goes_on_from_a_shorter_one_as_if_it_had_been_long_from_the_start(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    short = short_train(tiny, digits, brief, seed=1, points=POINTS, checkpoint=path)
    steps: list[int] = []
    longer = short_train(tiny, digits, brief, seed=1, points=(*POINTS, 3.0), checkpoint=path, on_step=noting(steps))
    assert steps == list(range(13, 25))
    assert longer.curve[:2] == short.curve
    assert longer.train_seconds > short.train_seconds
    assert_same(longer, short_train(tiny, digits, brief, seed=1, points=(*POINTS, 3.0)))
    nothing_left = short_train(tiny, digits, brief, seed=1, points=(*POINTS, 3.0), checkpoint=path, on_step=cut_at(25))
    assert_same(nothing_left, longer)
    assert_same(short_train(tiny, digits, brief, seed=1, points=POINTS, checkpoint=path), short)  # too long: no use


def test_a_checkpoint_of_another_training_is_ignored(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    short_train(tiny, digits, brief, seed=1, points=POINTS[:1], checkpoint=path)
    written = path.read_bytes()
    other = dataclasses.replace(tiny, blocks=tiny.blocks[:2])
    images = DeviceData(dataclasses.replace(digits.data, digest="other"), digits.device)
    for config, data, recipe, seed, points in (
        (other, digits, brief, 1, POINTS),
        (tiny, images, brief, 1, POINTS),
        (tiny, digits, dataclasses.replace(brief, lr=2e-2), 1, POINTS),
        (tiny, digits, dataclasses.replace(brief, average=0.0), 1, POINTS),
        (tiny, digits, brief, 2, POINTS),
        (tiny, digits, brief, 1, (0.5, 1.5)),
        (tiny, digits, brief, 1, (0.5,)),
    ):
        path.write_bytes(written)
        steps: list[int] = []
        found = short_train(
            *(config, data, recipe),
            seed=seed,
            points=points,
            checkpoint=path,
            on_step=noting(steps),
        )
        assert steps[0] == 1
        assert_same(found, short_train(config, data, recipe, seed=seed, points=points))


@pytest.mark.parametrize("damage", ["empty", "half", "no last byte", "text", "not a dict", "a folder"])
def test_a_damaged_checkpoint_is_ignored_and_written_anew(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "c.pt"
    whole = short_train(tiny, digits, brief, seed=1, points=POINTS[:1], checkpoint=path)
    content = path.read_bytes()
    if damage == "not a dict":
        torch.save([1, 2], path)
    elif damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        cuts = {"empty": b"", "half": content[: len(content) // 2], "no last byte": content[:-1], "text": b"hello"}
        path.write_bytes(cuts[damage])
    steps: list[int] = []
    again = short_train(tiny, digits, brief, seed=1, points=POINTS[:1], checkpoint=path, on_step=noting(steps))
    assert steps == list(range(1, 7))
    assert_same(again, whole)
    assert path.is_dir() or path.stat().st_size > 1000
    assert not [*tmp_path.glob("*.part")]


@pytest.mark.parametrize("place", ["missing/c.pt", "file/c.pt"])
def test_where_no_checkpoint_can_be_written_the_training_goes_on_without(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / place
    found = short_train(tiny, digits, brief, seed=1, points=POINTS, checkpoint=path, checkpoint_seconds=0.0)
    assert_same(found, short_train(tiny, digits, brief, seed=1, points=POINTS))


def test_a_full_disk_costs_the_checkpoint_alone(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow past 20 kB: an older checkpoint stays as it was."""
    code = (
        "import resource, sys; from pathlib import Path; from tests.proxy.test_short_train import train_on_full_disk\n"
        f"train_on_full_disk(Path({str(tmp_path / 'c.pt')!r}))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout == "the same\n", done.stderr
    assert (tmp_path / "c.pt").read_bytes() == b"older"
    assert not [*tmp_path.glob("*.part")]


def train_on_full_disk(path: Path) -> None:
    torch.set_num_threads(1)
    data = DeviceData(load_data("digits", resolution=32, samples=64, val_samples=40), torch.device("cpu"))
    recipe = Recipe(resolution=32, epochs=1, batch=32, crop=2)
    undisturbed = short_train(TINY, data, recipe, seed=0)
    path.write_bytes(b"older")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    assert_same(short_train(TINY, data, recipe, seed=0, checkpoint=path), undisturbed)
    print("the same")


class DoubleData(DeviceData):
    """Batches in double precision."""

    def normalized(self, images_BCHW: Tensor) -> Tensor:
        return super().normalized(images_BCHW).double()


VARIANTS = {
    "published": TINY,
    "grouped": dataclasses.replace(TINY, groups=4),
    "full": dataclasses.replace(
        TINY, former=FormerConfig(projections="full"), bridges=BridgeConfig(projections="full", gate=False)
    ),
    "no tokens": dataclasses.replace(
        TINY,
        tokens=TokenConfig(0, 0),
        bridges=BridgeConfig(final=False),
        dyrelu=DyReLUConfig("pooled"),
        blocks=tuple(dataclasses.replace(row, bridge="none", former=False) for row in TINY.blocks),
    ),
} | {
    f"{source} {slopes} {intercepts}": dataclasses.replace(
        TINY, dyrelu=DyReLUConfig(source, "both", slopes, intercepts)
    )
    for source, slopes, intercepts in (("spatial", 2, False), ("mean_token", 3, True), ("pooled", 2, False))
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_forms_made_for_training_train_as_the_plain_ones_do(
    digits: DeviceData, brief: Recipe, variant: str
) -> None:
    """Eval mode has the plain forms, so a network of which the norms alone are in train mode trains plainly.

    In double precision, since AdamW's first steps have the size of the rate however small a gradient is; the first step
    in single precision too. 32 px and 64 px: last maps of 2 and of 4 pixels a side.
    """
    for resolution, double in ((32, True), (32, False), (64, True)):
        data = DeviceData(load_data("digits", resolution=resolution, samples=64, val_samples=40), digits.device)
        runs = []
        for plain in (False, True):
            run = _Training(VARIANTS[variant], (DoubleData if double else DeviceData)(data.data, data.device), brief, 0)
            if double:
                run.model.double()
                run.average = [value.double() for value in run.average]
            for module in run.model.modules():
                module.training = not plain or isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
            for _ in range(5 if double else 1):
                run.train_step(5)
            runs.append(run)
        assert float(runs[0].loss_sum) == pytest.approx(float(runs[1].loss_sum), rel=1e-6)
        if double:
            torch.testing.assert_close(runs[0].average, runs[1].average, rtol=1e-4, atol=1e-6)


def test_averaged_weights_follow_the_closed_form_in_three_steps(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe
) -> None:
    """With average 1 the running average takes 2/2, 2/3 and 2/4 of steps 1, 2 and 3: weights 1/6, 2/6 and 3/6.

    With average 2 it takes 1, 3/4 and 3/5: weights 1/10, 3/10 and 6/10, t * (t + 1) / 2 over their sum, which is
    t ** 2 up to lower powers. The weights of each step are those of trainings that end there without averaging.
    """
    name = "head.classifier.weight"
    shares = {0.0: (0, 0, 1), 1.0: (1 / 6, 2 / 6, 3 / 6), 2.0: (1 / 10, 3 / 10, 6 / 10)}
    recipes = {average: dataclasses.replace(brief, average=average) for average in shares}
    steps = [short_train(tiny, digits, recipes[0.0], seed=0, points=(k / 8,)).weights[name] for k in (1, 2, 3)]
    assert not torch.equal(steps[0], steps[1])
    for average, share in shares.items():
        found = short_train(tiny, digits, recipes[average], seed=0, points=(3 / 8,)).weights[name]
        torch.testing.assert_close(found, sum(s * w for s, w in zip(share, steps, strict=True)), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("average", [1, 2, 8])
def test_the_step_t_of_many_weighs_like_a_power_of_t(average: int) -> None:
    """The weight of step t of T is (a+1)/(t+a) times all later (s-1)/(s+a), which is
    (a+1) t (t+1) ... (t+a-1) / (T (T+1) ... (T+a)): a rising factorial of t."""
    steps = 40
    weights = []
    for t in range(1, steps + 1):
        weight = (average + 1) / (t + average)
        for later in range(t + 1, steps + 1):
            weight *= 1 - (average + 1) / (later + average)
        weights.append(weight)
        closed = (average + 1) * math.prod(range(t, t + average)) / math.prod(range(steps, steps + average + 1))
        assert weight == pytest.approx(closed)
    assert sum(weights) == pytest.approx(1)


def test_batchnorms_of_the_result_hold_the_mean_over_the_norm_images(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stem's inputs are the images themselves, so its statistics can be worked out outside the network.

    100 images in batches of at most 40 are 34, 33 and 33: the running mean is that of the three means, the running
    variance that of the three sample variances.
    """
    monkeypatch.setattr("mfsearch.proxy.short_train.EVAL_BATCH", 40)
    recipe = dataclasses.replace(brief, norm_images=100)
    result = short_train(tiny, digits, recipe, seed=0)
    conv = result.weights["stem.conv.conv.weight"]
    outputs = [
        F.conv2d(digits.normalized(digits.train_images[begin:end]), conv, stride=2, padding=1)
        .transpose(0, 1)
        .flatten(1)
        for begin, end in ((0, 34), (34, 67), (67, 100))
    ]
    means = torch.stack([y.mean(1) for y in outputs]).mean(0)
    variances = torch.stack([y.var(1) for y in outputs]).mean(0)
    torch.testing.assert_close(result.weights["stem.conv.norm.running_mean"], means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.weights["stem.conv.norm.running_var"], variances, rtol=1e-4, atol=1e-5)
    assert int(result.weights["stem.conv.norm.num_batches_tracked"]) == 3


def test_no_batch_for_the_batchnorms_is_a_single_image(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 images in batches of 255 would leave one, over which a map of one position has no variance."""
    monkeypatch.setattr("mfsearch.proxy.short_train.EVAL_BATCH", 255)
    recorder = Recorder(digits)
    short_train(tiny, recorder, brief, seed=0)
    assert [len(batch) for batch in recorder.batches[12:]] == [128, 128, 120]


def test_zero_residual_begins_every_block_with_a_skip_as_the_identity(
    tiny: MobileFormerConfig, digits: DeviceData
) -> None:
    config = dataclasses.replace(tiny, lite=LiteConfig(16, 8, 1))
    plain, zeroed = (build_proxy(config, digits.data, 0) for _ in range(2))
    zero_residuals(zeroed)
    changed = [
        name
        for (name, one), (_, two) in zip(plain.state_dict().items(), zeroed.state_dict().items(), strict=True)
        if not torch.equal(one, two)
    ]
    identities = 0
    names = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal identities
        identities += 1
        assert torch.equal(output, inputs[0])

    def watch_down(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal identities
        identities += 1
        assert isinstance(module, MobileDown)
        before = module.project1(module.act1(module.depthwise1(inputs[0]), *inputs[1:]))
        assert torch.equal(output, before)

    for name, module in zeroed.named_modules():
        if isinstance(module, MobileDown):
            names.append(f"{name}.project2.norm.weight")
            module.register_forward_hook(watch_down)
        elif isinstance(module, Mobile | LiteBottleneck) and module.skip:
            names.append(f"{name}.project.norm.weight")
            module.register_forward_hook(watch)
    assert changed == names
    zeroed.eval()(digits.normalized(digits.val_images[:4]))
    assert identities == len(names) == 4  # lite, two downsampling blocks, and the one whose widths are equal


def test_zero_residual_is_the_recipe_s_choice(tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe) -> None:
    one, two = (
        short_train(tiny, digits, dataclasses.replace(brief, zero_residual=zero), seed=0, points=(1 / 8,))
        for zero in (True, False)
    )
    assert one.curve[0].loss != two.curve[0].loss
