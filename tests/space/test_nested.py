"""The space inside a parent: every network is a part of it, alive, with exact costs; the file says the same."""

import dataclasses
import pickle
import random
from pathlib import Path

import pytest

from mfsearch.config import BlockConfig, MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.living import living
from mfsearch.presets import MF_26M, MF_151M, MF_508M
from mfsearch.search.samplers.encode import Encoder
from mfsearch.search.samplers.ground import Ground
from mfsearch.space.nested import (
    NestedSpace,
    Stream,
    find_streams,
    match,
    named_streams,
    nested_space,
    parent_values,
    parse_nested,
    read_nested,
)
from mfsearch.space.search_space import SearchSpace
from mfsearch.space.solve import fit, largest_madds, smallest_madds
from mfsearch.units import parse_budget
from tests.random_configs import SMALL, random_config, random_v4_config

RANDOM = [random_config(seed) for seed in range(1, 81, 2)] + [random_v4_config(seed) for seed in range(1, 21, 2)]
M = 1_000_000


def full(space: NestedSpace) -> dict[str, bool | int | float | str]:
    return {knob.name: parent_values(space.parent)[knob.name][0] for knob in space.knobs}


def test_streams_of_the_published_network() -> None:
    """Table 1: the stem's 12 channels run through the lite bottleneck; 64 channels become 88 without a stride."""
    assert find_streams(MF_151M) == [
        Stream(-2, ()),
        Stream(0, (1,)),
        Stream(2, (3,)),
        Stream(4, (5,)),
        Stream(6, (7,)),
        Stream(8, (9, 10)),
    ]
    assert list(named_streams(MF_151M)) == ["s2", "s3", "s4", "s4_2", "s5"]
    assert find_streams(MF_26M)[:2] == [Stream(-2, ()), Stream(-1, (0,))]  # the lite bottleneck halves: its own stream


@pytest.mark.parametrize("parent", [MF_26M, MF_151M, MF_508M, SMALL, *RANDOM])
def test_full_values_give_the_parent(parent: MobileFormerConfig) -> None:
    space = nested_space(parent)
    config = space.resolve(full(space))
    assert config == parent
    assert config.arch_id == parent.arch_id
    assert space.find_params(parent) == full(space)
    assert match(parent, config) == tuple(range(len(parent.blocks)))


@pytest.mark.parametrize("parent", [MF_26M, MF_151M, *RANDOM])
def test_draws_lie_inside_the_parent_and_are_alive(parent: MobileFormerConfig) -> None:
    space, rng, built = nested_space(parent), random.Random(0), 0
    for width in (1.0, 0.7, 0.4, 3.0) * 5:
        try:
            config = space.resolve({knob.name: rng.choice(knob.choices) for knob in space.knobs}, width)
        except ValueError:  # a width that would make a skip
            continue
        assert living(config) is config
        rows = match(parent, config)  # raises for what is not inside
        assert [parent.blocks[k].stride for k in rows] == [row.stride for row in config.blocks]
        assert count_madds(config) <= count_madds(parent)
        built += 1
    assert built


@pytest.mark.parametrize("budget", [60 * M, 100 * M])
def test_widths_are_solved_for_the_budget(budget: int) -> None:
    space, rng, fits = nested_space(MF_151M), random.Random(budget), 0
    for _ in range(60):
        params = space.draw(rng)
        sized = fit(space, params, 0.85 * budget, budget)
        if sized is not None:
            assert 0.85 * budget <= count_madds(sized.config) == sized.madds <= budget
            assert sized.config == space.resolve(params, sized.width)
            fits += 1
    assert fits > 10


def test_multiply_adds_never_fall_as_the_width_grows() -> None:
    space, rng = nested_space(MF_151M), random.Random(1)
    for _ in range(10):
        params = space.draw(rng)
        counts = [count_madds(space.resolve(params, 0.25 + k / 32)) for k in range(40)]
        assert counts == sorted(counts)


def test_the_whole_range_is_reached() -> None:
    space = nested_space(MF_151M)
    assert smallest_madds(space) < 10 * M
    assert largest_madds(space) == count_madds(MF_151M)


def test_each_knob_leaves_out_what_it_says() -> None:
    space = nested_space(MF_151M)

    def but(**values: bool | int | float | str) -> MobileFormerConfig:
        return space.resolve(full(space) | {name.replace("__", "."): value for name, value in values.items()})

    assert match(MF_151M, but(blocks__s5__repeat=1)) == tuple(range(10))
    assert match(MF_151M, but(blocks__s4__repeat=0, blocks__s3__repeat=0)) == (0, 1, 2, 4, 6, 7, 8, 9, 10)
    assert but(blocks__s4__out=0.5).blocks[4:6] == (
        dataclasses.replace(MF_151M.blocks[4], out=32),
        dataclasses.replace(MF_151M.blocks[5], out=32, exp=128),
    )
    assert but(blocks__s4__expand=0.5).blocks[4:6] == (
        dataclasses.replace(MF_151M.blocks[4], exp=96, tail=2),
        dataclasses.replace(MF_151M.blocks[5], exp=128),
    )
    assert but(tokens__count=2).tokens.count == 2
    assert but(former__ffn=0).former.ffn == 0
    assert [row.former for row in but(former__s3=False).blocks] == [True, True, False, False, *[True] * 7]
    assert [row.bridge for row in but(bridges__s5="to_mobile").blocks[8:]] == ["to_mobile"] * 3
    assert [row.static for row in but(dyrelu__s2="static").blocks] == [True, True, *[False] * 9]
    assert not but(bridges__final=False).bridges.final
    assert but(head__conv=0.5, head__hidden=0.75).head == dataclasses.replace(MF_151M.head, conv=384, hidden=960)
    assert (but(stem__out=0.625).stem, but(stem__out=0.625).lite.out) == (8, 8)
    every = {f"dyrelu.s{k}": "static" for k in (2, 3, 4, 5)}
    assert space.resolve(full(space) | every).dyrelu.source == "static"
    # before the first bridge to the tokens they are constants: no Former, learned slopes
    first = but(bridges__s2="none").blocks[:2]
    assert [(row.former, row.static) for row in first] == [(False, True)] * 2
    none = space.resolve(full(space) | {f"bridges.s{k}": "to_mobile" for k in (2, 3, 4, 5)} | {"bridges.final": False})
    assert none.tokens.count == 0
    assert {row.bridge for row in none.blocks} == {"none"}


def test_kernels_and_bridges_are_at_most_the_parents() -> None:
    rows = (
        BlockConfig(16, 8, kernel=5, bridge="to_former"),
        BlockConfig(24, 12, 2, bridge="none", former=False),
        BlockConfig(24, 12, kernel=5),
    )
    space = nested_space(dataclasses.replace(SMALL, blocks=rows))
    values = space.values()
    assert values["bridges.s1"] == ("none", "to_former")
    assert values["bridges.s2"] == ("none", "to_mobile", "to_former", "both")
    assert values["blocks.s2.kernel"] == (3, 5)
    config = space.resolve(full(space) | {"blocks.s2.kernel": 3})
    assert [row.kernel for row in config.blocks] == [5, 3, 3]
    assert [row.bridge for row in config.blocks] == ["to_former", "none", "both"]


@pytest.mark.parametrize("parent", [MF_26M, MF_151M, *RANDOM[:20]])
def test_the_file_gives_the_same_space(parent: MobileFormerConfig, tmp_path: Path) -> None:
    space = nested_space(parent)
    text = space.to_yaml()
    again = parse_nested(text, parent)
    assert again == space
    assert again.digest == space.digest
    (tmp_path / "inside.yaml").write_text(text)
    assert read_nested(tmp_path / "inside.yaml", parent) == space


def test_what_a_file_leaves_out_stays_as_in_the_parent() -> None:
    space = parse_nested("blocks: {s5: {repeat: [0, 1, 2]}}\ndyrelu: {s2: static}", MF_151M)
    assert [knob.name for knob in space.knobs] == ["blocks.s5.repeat"]
    assert not space.solved
    config = space.resolve({"blocks.s5.repeat": 2})
    assert [row.static for row in config.blocks] == [True, True, *[False] * 9]
    assert dataclasses.replace(config, blocks=MF_151M.blocks) == MF_151M


def test_a_file_may_give_other_fractions_and_image_sides() -> None:
    space = parse_nested("head: {hidden: [0.3, 1]}\nresolution: [160, 192, 224]", MF_151M)
    assert dict(space.values())["head.hidden"] == (0.3, 1.0)
    config = space.resolve({"head.hidden": 0.3, "resolution": 160})
    assert (config.head.hidden, config.resolution) == (384, 160)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bloks: {}", "inside:1: unknown key 'bloks' in a search space: did you mean blocks"),
        ("blocks: {s6: {}}", "unknown key 's6' in blocks: .*known are s2, s3, s4, s4_2, s5"),
        ("blocks:\n  s2: {kernel: 3}", "inside:2: unknown key 'kernel' in blocks.s2: .*known are repeat, expand, out"),
        ("tokens: {dim: 64}", "unknown key 'dim' in tokens: .*known are count"),
        ("tokens: {count: [6, 9]}", r"tokens.count must be among 6, 4, 3, 2, 1, got 9"),
        ("former: {s2: 1}", "former.s2 must be among true, false, got 1"),
        ("head: {conv: 1.5}", "head.conv must be a fraction above 0 and up to 1, got 1.5"),
        ("width: 2", "width must be a fraction above 0 and up to 1, got 2"),
        ("parent: 0123456789ab", f"parent must be {MF_151M.arch_id}"),
        ("tokens: 3", "tokens must be a mapping"),
        ("resolution: 8", "resolution must be a whole number from 16 to 1024"),
    ],
)
def test_errors_name_the_line_and_the_known_keys(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_nested(text, MF_151M)


def test_a_parent_with_dead_parts_is_refused() -> None:
    rows = (dataclasses.replace(SMALL.blocks[0], bridge="none"), *SMALL.blocks[1:])
    with pytest.raises(ValueError, match=r"parent: blocks\[0\].former must be false"):
        nested_space(dataclasses.replace(SMALL, blocks=rows))


def test_a_search_can_use_it_like_any_space() -> None:
    space = nested_space(MF_151M).deployed(224, 1000)
    assert isinstance(space, SearchSpace)
    assert pickle.loads(pickle.dumps(space)) == space
    assert nested_space(dataclasses.replace(MF_151M, head=MF_508M.head)).digest != space.digest
    ground, rng = Ground(space, parse_budget("85M..100M")), random.Random(0)
    encoder = Encoder(ground)
    candidate = ground.drawn("random", rng)
    assert candidate is not None
    for _ in range(30):
        child = ground.screen("mutated", ground.mutate(candidate.params, rng))
        row = encoder.encode(candidate.params)
        assert len(row) == encoder.columns
        assert (row >= 0).all()
        assert (row <= 1).all()
        candidate = child or candidate
    gone = {**full(space), "blocks.s5.repeat": 0}
    assert space.shows("blocks.s5.expand", gone)
    none = {**full(space), "bridges.final": False} | {f"bridges.s{k}": "none" for k in (2, 3, 4, 5)}
    assert not space.shows("tokens.count", none)
    assert not space.shows("former.s3", none)
    assert space.shows("bridges.s3", none)


def test_a_row_of_blocks_with_a_skip_alone_may_be_gone() -> None:
    space = nested_space(SMALL)  # s1 is one block with a skip on the lite bottleneck's channels
    assert "blocks.s1.out" not in space.values()
    gone = {**full(space), "blocks.s1.repeat": 0}
    assert not space.shows("blocks.s1.expand", gone)
    assert not space.shows("bridges.s1", gone)
    assert match(SMALL, space.resolve(gone)) == (1, 2)
