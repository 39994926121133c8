import dataclasses

import pytest

from mfsearch.analysis.figures.tradeoff import Brush
from mfsearch.analysis.front.region import brush_text, parse_brush, search_command
from mfsearch.proxy.recipe import default_recipe
from mfsearch.study.manifest import Manifest
from tests.analysis.rows import manifest


def plain(**values: object) -> Manifest:
    """A study of digits in 150M that was asked for nothing else."""
    usual: dict[str, object] = {
        "budget": {"low": 127_500_000, "high": 150_000_000, "stated": False},
        "latency_limit_ms": None,
        "space": {"name": "mobile_former", "digest": "0", "knobs": {}},
        "recipe": dataclasses.asdict(default_recipe("digits")),
        "rungs": {"factors": [1.0, 3.0, 9.0]},
        "deployment": {"resolution": 224, "classes": 10},
    }
    return manifest(**{**usual, **values})


PHOTOS = plain(
    latency_limit_ms=10.0,
    request={"data": "my photos", "trials": 3, "workers": 2},
    recipe=dataclasses.asdict(default_recipe("my photos")),
)


def test_a_brush_over_multiply_adds_becomes_a_budget_from_low_to_high() -> None:
    command = search_command(PHOTOS, "a", Brush("madds", 110.04, 130.02, 30, 40), {"latency_ms": 8.0})
    assert command == "mfsearch run --budget 110M..130.1M --data 'my photos' --workers 2 --latency 8ms --from a"


def test_a_brush_over_latency_becomes_its_upper_end() -> None:
    command = search_command(PHOTOS, "b c", Brush("latency_ms", 4, 5.019, 30, 40), {"madds": 120e6, "latency_ms": 9})
    assert "--budget 120M " in command
    assert "--latency 5.02ms" in command
    assert command.endswith("--from 'b c'")


def test_without_brush_or_limit_the_budget_stays() -> None:
    assert search_command(PHOTOS, "a", None, {}).startswith("mfsearch run --budget 150M --data")
    assert search_command(plain(), "a", None, {}) == "mfsearch run --budget 150M --data digits --from a"
    below_zero = search_command(plain(), "a", Brush("madds", -3, 20, 0, 1), {})
    assert below_zero == "mfsearch run --budget 20M --data digits --from a"


def test_a_lower_end_that_was_typed_stays() -> None:
    typed = plain(budget={"low": 120_000_000, "high": 150_000_000, "stated": True})
    for high, budget in ((150e6, "120M..150M"), (140e6, "120M..140M"), (110e6, "110M")):
        command = search_command(typed, "a", None, {"madds": high})
        assert command == f"mfsearch run --budget {budget} --data digits --from a"
    assert search_command(plain(), "a", None, {"madds": 150e6}).startswith("mfsearch run --budget 150M --data")


def test_the_settings_of_the_study_stay_and_its_own_limits_are_the_caller_s() -> None:
    odd = plain(
        recipe=dataclasses.asdict(dataclasses.replace(default_recipe("digits"), epochs=2)),
        rungs={"factors": [1.0], "finalists": 3},
        sampler="random",
        latency_limit_ms=7.25,
    )
    options = "--budget 150M --data digits --rungs 1 --epochs 2 --finalists 3 --sampler random"
    assert search_command(odd, "a", None, {}) == f"mfsearch run {options} --from a"
    assert search_command(odd, "a", None, odd.limits) == f"mfsearch run {options} --latency 7.25ms --from a"


@pytest.mark.parametrize("text", ["", "madds", "madds:1:2:3", "madds:2:1:3:4", "seconds:1:2:3:4", "madds:a:2:3:4"])
def test_what_is_no_brush_is_none(text: str) -> None:
    assert parse_brush(text) is None


def test_a_brush_survives_the_address() -> None:
    brush = Brush("latency_ms", 4.25, 5.5, 30, 40.5)
    assert parse_brush(brush_text(brush)) == brush
    narrow = Brush("madds", 149.96, 150.04, 30, 40)
    assert parse_brush(brush_text(narrow)) == narrow
    assert parse_brush("madds:nan:nan:1:2") is None
    assert parse_brush("madds:0:inf:0:1") is None


def test_limits_on_other_costs_become_their_options() -> None:
    """The study's own stay unless a page moved them or a figure's region ends before them."""
    limited = plain(limits={"num_params": 5_000_000, "onnx_bytes": 20_000_000}, latency_limit_ms=None)
    command = search_command(limited, "a", None, {"num_params": 4_321_001.0, "activation_bytes": 3e6})
    options = "--data digits --params 4.33M --size 20MB --memory 3MB"
    assert command == f"mfsearch run --budget 150M {options} --from a"
    assert "--params 3.5M " in search_command(limited, "a", Brush("num_params", 1, 3.5, 30, 40), limited.limits)
