"""The recipe: what it refuses, and that every data set has one."""

import dataclasses
import json
from typing import Any

import pytest

from mfsearch.data import KNOWN_DATA
from mfsearch.proxy.recipe import Recipe, default_recipe

GOOD = Recipe(resolution=32, epochs=2)


@pytest.mark.parametrize(
    ("field", "low", "high", "wrong"),
    [
        ("resolution", 16, 512, [15, 513, 0, -32]),
        ("epochs", 0.1, 10_000, [0, -1, 10_001, float("nan")]),
        ("batch", 2, 65_536, [1, 0, -2, 65_537]),
        ("lr", 1e-6, 10, [0, -0.1, 10.1, float("nan")]),
        ("weight_decay", 0, 10, [-0.1, 10.1, float("nan")]),
        ("warmup", 0, 1000, [-0.1, 1001, float("nan")]),
        ("average", 0, 1000, [-0.1, 1001, float("nan")]),
        ("norm_images", 2, 100_000, [1, 0, -2]),
        ("label_smoothing", 0, 0.99, [1, -0.1, float("nan")]),
        ("crop", 0, 15, [-1, 32]),
        ("optimizer", "adamw", "sgd", ["adam", "", None]),
    ],
)
def test_each_field_has_its_range_and_an_error_that_names_it(field: str, low: Any, high: Any, wrong: list[Any]) -> None:
    for value in (low, high):
        assert getattr(dataclasses.replace(GOOD, **{field: value}), field) == value
    for value in wrong:
        with pytest.raises(ValueError, match=rf"^recipe\.{field} must be .*, got "):
            dataclasses.replace(GOOD, **{field: value})


def test_a_crop_must_leave_room_for_its_reflection() -> None:
    with pytest.raises(ValueError, match=r"recipe\.crop must be 0 to 31 pixels, got 32"):
        dataclasses.replace(GOOD, crop=32)


@pytest.mark.parametrize("data", [*KNOWN_DATA, "some/folder"])
def test_every_data_set_has_a_recipe_that_comes_back_from_json(data: str) -> None:
    recipe = default_recipe(data)
    assert Recipe(**json.loads(json.dumps(recipe.as_dict()))) == recipe
