"""Knobs without a say, held against the truth: change one, resolve both, compare what is built."""

import random
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from mfsearch.space import SearchSpace, Value, find_space, load_space
from mfsearch.space.active import active_knobs

SHIPPED = ("mobile_former", "mobile_former_small", "mobile_former_v4", "paper")

# What the shipped spaces have not: a repeat under a condition, a tail, heads and init_std as knobs, two sources.
ODD = """
tokens: {count: [1, 2], dim: [32, 64], init_std: [0.5, 1.0]}
former: {heads: [2, 4], ffn: [0, 2], projections: full, s2: [true, false], s3: [true, false]}
bridges: {heads: [2, 4], gate: [true, false], final: [true, false], s2: [both, to_mobile, none], s3: [to_mobile, none]}
dyrelu: {source: [first_token, mean_token], slopes: [2, 3], position: [both, second]}
stem: {out: 8}
lite: {expand: 2, out: 12, stride: [1, 2]}
blocks:
  s2_down: {when: {lite.stride: 1}, stride: 2, expand: 2, out: 16, tail: [2, 4], repeat: [0, 1]}
  s2:      {when: {tokens.count: 2}, repeat: [0, 1], expand: 2, out: 20, tail: [2, 4], kernel: [3, 5]}
  s3:      {stride: [1, 2], expand: 3, tail: [2, 4]}
head: {conv: 2x, hidden: 24}
"""


def truly_active(space: SearchSpace, params: Mapping[str, Value]) -> set[str]:
    """Knobs with a value that builds another network, or none."""
    own = space.resolve(params).arch_id
    active = set()
    for knob in space.knobs:
        for value in knob.choices:
            try:
                other = space.resolve({**params, knob.name: value}).arch_id
            except ValueError:
                other = "none"
            if other != own:
                active.add(knob.name)
    return active


def sparse(space: SearchSpace, rng: random.Random) -> dict[str, Value]:
    """A draw in which most of what can be left out is, as few random draws are."""
    while True:
        params = space.draw(rng)
        for name in params:
            choices = next(knob.choices for knob in space.knobs if knob.name == name)
            least = next((each for value in ("none", False, 0, 1) for each in choices if each == value), None)
            if least is not None and rng.random() < 0.9:
                params[name] = least
        try:
            space.resolve(params)
        except ValueError:
            continue
        return params


@pytest.mark.parametrize("name", [*SHIPPED, "odd"])
@pytest.mark.parametrize("draw", [SearchSpace.draw, sparse])
def test_active_are_the_knobs_whose_change_builds_something_else(name: str, draw: object, tmp_path: Path) -> None:
    if name == "odd":
        (tmp_path / "odd.yaml").write_text(ODD, encoding="utf-8")
        space = load_space(tmp_path / "odd.yaml")
    else:
        space = find_space(name)
    rng = random.Random(0)
    for _ in range(100 if len(space.knobs) < 60 else 10):
        params = draw(space, rng)  # type: ignore[operator]
        assert active_knobs(params, space) == truly_active(space, params), params


def test_what_nothing_reads_is_not_active() -> None:
    space = find_space("mobile_former")
    off: dict[str, Value] = {f"bridges.s{k}": "none" for k in (2, 3, 4, 5)}
    off |= {"bridges.final": False, "dyrelu.source": "none"}
    params = space.draw(random.Random(0)) | off | {"lite.stride": 2, "blocks.s2.repeat": 0}
    idle = set(params) - active_knobs(params, space)
    assert {"tokens.count", "tokens.dim", "former.ffn", "former.s3", "bridges.gate", "bridges.heads"} <= idle
    assert {"dyrelu.position", "dyrelu.intercepts", "dyrelu.reduction"} <= idle
    assert {"blocks.s2_down.out", "blocks.s2.kernel", "bridges.s2", "former.s2"} <= idle
    assert not {"blocks.s2.repeat", "dyrelu.source", "bridges.s3", "lite.stride", "head.hidden"} & idle


def test_without_the_space_a_row_stands_unless_its_repeat_is_0() -> None:
    space = find_space("mobile_former")
    rng = random.Random(1)
    for _ in range(100):
        params = sparse(space, rng) | {"lite.stride": 1}  # the one condition, which params do not hold
        assert active_knobs(params) == active_knobs(params, space)
    assert active_knobs({}) == set()
    assert active_knobs({"bridges.s4": "none", "made.up": 3}) == {"bridges.s4", "made.up"}


def test_ten_thousand_take_about_a_second() -> None:
    space = find_space("mobile_former")
    rng = random.Random(0)
    drawn = [space.draw(rng) for _ in range(100)]
    start = time.process_time()
    for params in drawn:
        active_knobs(params, space)
    assert time.process_time() - start < 0.03  # 0.3 ms each, several times what it takes
