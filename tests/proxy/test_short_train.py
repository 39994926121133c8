"""The short training: the same for the same seed, common draws for all networks, and an end with a reason."""

import dataclasses

import pytest
import torch
from torch import Tensor

from mfsearch.config import DyReLUConfig, MobileFormerConfig
from mfsearch.model import MobileFormer
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.short_train import DeviceData, TrainingError, build_proxy, evaluate, short_train


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
    assert len(seen[0]) == len(seen[1]) == 12 + 2  # steps, and one validation batch an epoch
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    recorder = Recorder(digits)
    short_train(tiny, recorder, brief, seed=6)
    assert not torch.equal(recorder.batches[0], seen[0][0])


def test_an_epoch_shows_each_image_once_and_the_next_another_order(
    tiny: MobileFormerConfig, digits: DeviceData
) -> None:
    recorder = Recorder(digits)
    short_train(tiny, recorder, Recipe(resolution=32, epochs=2, batch=64, crop=0), seed=0)
    images = digits.train_images.flatten(1)
    epochs = [torch.cat(recorder.batches[i : i + 4]).flatten(1) for i in (0, 5)]
    for epoch in epochs:
        assert sorted(map(tuple, epoch.tolist())) == sorted(map(tuple, images.tolist()))
    assert not torch.equal(*epochs)
    assert torch.equal(recorder.batches[4], digits.val_images)


def test_a_short_training_learns_digits(tiny: MobileFormerConfig, digits: DeviceData) -> None:
    """Chance is a tenth."""
    recipe = Recipe(resolution=32, epochs=8, batch=32, crop=2, lr=1e-2)
    result = short_train(tiny, digits, recipe, seed=0)
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
    assert evaluate(model, digits) == result.top1
    assert result.weights["head.classifier.weight"].shape == (10, 64)
    assert all(value.is_contiguous() and not value.requires_grad for value in result.weights.values())


def test_curve_and_steps_are_reported_as_they_happen(
    tiny: MobileFormerConfig, digits: DeviceData, brief: Recipe
) -> None:
    steps: list[tuple[int, int]] = []
    result = short_train(tiny, digits, brief, seed=0, on_step=lambda step, total: steps.append((step, total)))
    logs = result.curve
    assert [log.epoch for log in logs] == [1.0, 1.5]
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
    result = short_train(config, digits, recipe, seed=0, on_step=lambda step, _: seen.append(step))
    assert seen == list(range(1, steps + 1))
    assert len(result.curve) == steps


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
        model.get_buffer("stem.conv.norm.running_mean")[0] = float("nan")  # read in eval mode alone
        return model

    monkeypatch.setattr("mfsearch.proxy.short_train.build_proxy", spoiled)
    with pytest.raises(
        TrainingError, match=r"training diverged: weights stem\.conv\.norm\.running_mean are not finite"
    ):
        short_train(tiny, digits, brief, seed=0)


def test_evaluate_counts_right_answers_over_all_batches_and_keeps_the_mode(
    tiny: MobileFormerConfig, digits: DeviceData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_proxy(tiny, digits.data, 0)
    with torch.no_grad():
        answers = model.eval()(digits.normalized(digits.val_images)).argmax(1)
    right = sum(int(a) == int(b) for a, b in zip(answers, digits.val_labels, strict=True))
    for training in (True, False):
        model.train(training)
        assert evaluate(model, digits) == right / 120
        assert model.training == training
    monkeypatch.setattr("mfsearch.proxy.short_train.EVAL_BATCH", 50)
    assert evaluate(model, digits) == right / 120


def test_the_proxy_has_as_many_outputs_as_the_data_has_classes(tiny: MobileFormerConfig, digits: DeviceData) -> None:
    model = build_proxy(tiny, digits.data, 0)
    assert model(digits.normalized(digits.val_images[:2])).shape == (2, 10)
    assert tiny.classes == 1000
