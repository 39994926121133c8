"""train.yaml and the options become final numbers, or an error that names key, value and way out."""

import functools
from typing import Any

import pytest
import torch

from mfsearch.export.train_yaml import recommended_training
from mfsearch.presets import PRESETS
from mfsearch.train import parts
from mfsearch.train.train_options import make_settings

RECIPE = recommended_training(PRESETS["mf-294m"])


def test_the_published_recipe_arrives() -> None:
    """../facts: 294M, lr 1e-3, weight decay 0.2, dropout 0.3, mixup 0.2, RandAugment, erasing 0.2, batch 1024."""
    found = make_settings(RECIPE, 224, {})
    assert (found.size, found.batch, found.micro_batch, found.epochs) == (224, 1024, 128, 450)
    assert (found.opt, found.lr, found.weight_decay, found.drop) == ("adamw", 1e-3, 0.2, 0.3)
    assert (found.mixup, found.aa, found.reprob, found.remode) == (0.2, "rand-m9-mstd0.5", 0.2, "pixel")
    assert (found.crop_pct, found.interpolation, found.color_jitter, found.smoothing) == (0.875, "bilinear", 0.0, 0.1)
    assert (found.sched, found.sched_on_updates, found.warmup_epochs, found.cooldown_epochs) == ("cosine", False, 3, 10)


def test_other_epochs_fit_the_schedule_and_the_same_number_does_not() -> None:
    found = make_settings(RECIPE, 224, {"epochs": 10})
    assert (found.sched_on_updates, found.warmup_epochs, found.cooldown_epochs) == (True, 1.0, 0)
    assert make_settings(RECIPE, 224, {"epochs": 450}) == make_settings(RECIPE, 224, {})
    said = make_settings(
        RECIPE, 224, {"epochs": 10, "warmup_epochs": 2, "cooldown_epochs": 1, "sched_on_updates": False}
    )
    assert (said.sched_on_updates, said.warmup_epochs, said.cooldown_epochs) == (False, 2, 1)


def test_a_small_batch_goes_through_at_once() -> None:
    assert make_settings(RECIPE, 224, {"batch": 32}).micro_batch == 32
    assert make_settings(RECIPE, 224, {"batch": 256}).micro_batch == 128
    assert make_settings(RECIPE, 224, {"size": 64}).size == 64
    plain = {key: value for key, value in RECIPE.items() if key != "input_size"}
    assert make_settings(plain, 96, {}).size == 96


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixupp": 0.1}, "unknown key 'mixupp': .* is mixup"),
        ({"mixup": "much"}, "mixup must be a number from 0 up, got 'much'"),
        ({"jsd_loss": True}, "--set: jsd_loss is True, which timm's train.py can do and mfsearch train cannot"),
        ({"batch": 100, "micro_batch": 64}, "batch must be a multiple of micro_batch, got 100 and 64"),
        ({"batch": 9, "micro_batch": 3}, "micro_batch must be even, as Mixup pairs its images, got 3"),
        ({"batch": 1, "mixup": 0.0}, "micro_batch must be 2 or more"),
        ({"batch": 0, "micro_batch": 8}, "batch must be a whole number from 1 up, got 0"),
        ({"micro_batch": 0}, "micro_batch must be a whole number from 1 up, got 0"),
        ({"batch": 256.0}, "batch must be a whole number from 1 up, got 256.0"),
        ({"size": "large"}, "size must be a whole number from 1 up, got 'large'"),
        ({"epochs": 0}, "epochs must be a whole number from 1 up, got 0"),
        ({"lr": -1.0}, "lr must be"),
        ({"lr": float("nan")}, "lr must be"),
        ({"size": 8}, "size must be 16 to 1024 pixels, got 8"),
        ({"sched": "poly"}, "sched must be cosine or constant, got 'poly'"),
        ({"epochs": 3, "warmup_epochs": 4}, "warmup_epochs must be at most epochs, 3, got 4"),
        (
            {"lr": 5e-5},
            "warmup_lr must be at most lr, 5e-05, which is the peak, got 0.0001: say --set",
        ),
        ({"lr": 5e-6, "warmup_lr": 1e-6}, "min_lr must be at most lr, 5e-06, which is the peak, got 1e-05"),
        ({"std": [0.5, 0.0, 0.5]}, r"std must be above 0, got \[0.5, 0.0, 0.5\]"),
        ({"distill": 1.5}, "distill must be a number from 0 to 1, got 1.5"),
        ({"temperature": 0.0}, "temperature must be a number above 0, got 0.0"),
        ({"temperature": float("nan")}, "temperature must be a number above 0, got nan"),
    ],
)
def test_what_cannot_be_trained_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        make_settings(RECIPE, 224, changes)


def test_one_value_of_mean_and_std_is_for_all_three() -> None:
    settings = make_settings(RECIPE, 224, {"mean": [0.5], "std": [0.25]})
    assert (settings.mean, settings.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert make_settings(RECIPE | {"mean": None}, 224, {}).mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opt": "adamm"}, "opt is 'adamm', .* which timm .* cannot make: "),
        ({"opt_betas": [0.9]}, r"opt is 'adamw', opt_betas \(0.9,\), which timm .* cannot make: "),
        ({"aa": "much"}, "aa is 'much', which timm .* cannot make: Unknown AA policy"),
    ],
)
def test_what_timm_cannot_make_is_named(changes: dict[str, Any], message: str) -> None:
    settings = make_settings(RECIPE, 224, changes)
    image = functools.partial(parts.train_transform, settings, flip=True)
    optimizer = functools.partial(parts.make_optimizer, torch.nn.Linear(2, 2), settings)
    with pytest.raises(ValueError, match=message):
        (image if "aa" in changes else optimizer)()


def test_a_key_of_the_file_that_is_not_done_here_is_refused() -> None:
    with pytest.raises(ValueError, match="b/train.yaml: bce_loss is True"):
        make_settings(RECIPE | {"bce_loss": True}, 224, {}, place="b/train.yaml")
    with pytest.raises(ValueError, match="train.yaml: lr must be given"):
        make_settings({key: value for key, value in RECIPE.items() if key != "lr"}, 224, {})
    make_settings(RECIPE | {"bce_loss": False, "log_interval": 50, "workers": 4}, 224, {})
