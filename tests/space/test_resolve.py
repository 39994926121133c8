"""Params to configs: the published networks, ratios and rows by hand, widths, and what a trial suggests."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import optuna
import pytest

from mfsearch.config import (
    BlockConfig,
    BridgeConfig,
    DyReLUConfig,
    FormerConfig,
    HeadConfig,
    LiteConfig,
    MobileFormerConfig,
    TokenConfig,
)
from mfsearch.presets import MF_151M, PRESETS
from mfsearch.space import SearchSpace, find_space, load_space

FULL, SMALL, PAPER = (find_space(name) for name in ("mobile_former", "mobile_former_small", "paper"))

DEMO = """
tokens: {count: [1, 2], dim: 32, init_std: 0.5}
former: {heads: 2, ffn: [0, 2], projections: full, s2: false}
bridges: {heads: 4, gate: false, final: false, s3: [to_former, none]}
dyrelu: {source: pooled, slopes: 3, position: second}
stem: {out: 8}
lite: {expand: 3, out: 12, stride: [1, 2]}
blocks:
  s2_down: {when: {lite.stride: 1}, stride: 2, expand: 2, out: 16, tail: 2}
  s2:      {repeat: [0, 2], expand: 2.5, out: 20, kernel: 5}
  s3:      {expand: 3}
head: {conv: 2.5x, hidden: 24}
groups: 2
"""


@pytest.fixture
def demo(tmp_path: Path) -> SearchSpace:
    (tmp_path / "demo.yaml").write_text(DEMO)
    return load_space(tmp_path / "demo.yaml").deployed(64, 5)


def params_of(space: SearchSpace, **changes: Any) -> dict[str, Any]:
    """First choices, with changes given by name (dots as two underscores)."""
    params: dict[str, Any] = {knob.name: knob.choices[0] for knob in space.knobs}
    return params | {name.replace("__", "."): value for name, value in changes.items()}


# --- the published networks


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("space", [FULL, PAPER], ids=["mobile_former", "paper"])
def test_a_published_network_lies_in_the_space_exactly(space: SearchSpace, name: str) -> None:
    params = space.find_params(PRESETS[name])
    assert params is not None
    assert space.resolve(params) == PRESETS[name]


def test_the_params_of_151m_by_hand() -> None:
    params = {
        **params_of(FULL),
        "tokens.count": 6,
        "tokens.dim": 192,
        "former.ffn": 2,
        "former.projections": "tied",
        "bridges.heads": 2,
        "bridges.gate": True,
        "bridges.projections": "published",
        "bridges.final": True,
        **{f"bridges.s{s}": "both" for s in (2, 3, 4, 5)},
        **{f"former.s{s}": True for s in (2, 3, 5)},
        "dyrelu.source": "first_token",
        "dyrelu.position": "both",
        "dyrelu.intercepts": False,
        "dyrelu.reduction": 4,
        "stem.out": 12,
        "lite.expand": 2,
        "lite.out": 12,
        "lite.stride": 1,
        "blocks.s2_down.out": 16,
        "blocks.s2.repeat": 1,
        "blocks.s2.expand": 3,
        "blocks.s3_down.out": 32,
        "blocks.s3.repeat": 1,
        "blocks.s3.expand": 3,
        "blocks.s4_down.out": 64,
        "blocks.s4.repeat": 1,
        "blocks.s4.expand": 4,
        "blocks.s4_wide.out": 88,
        "blocks.s4_last.repeat": 1,
        "blocks.s4_last.expand": 6,
        "blocks.s5_down.out": 128,
        "blocks.s5.repeat": 2,
        "blocks.s5.expand": 6,
        "head.hidden": 1280,
        "groups": 1,
    }
    kernels = {name: 3 for name in params if name.endswith(".kernel")}
    assert FULL.resolve(params | kernels) == MF_151M


def test_the_small_space_is_151m_with_five_knobs() -> None:
    params = SMALL.find_params(MF_151M)
    assert params is not None
    assert SMALL.resolve(params) == MF_151M
    assert {knob.name.split(".")[0] for knob in SMALL.knobs} == {"tokens", "former", "bridges", "dyrelu"}
    assert SMALL.find_params(PRESETS["mf-294m"]) is None


def test_a_network_outside_the_space_has_no_params() -> None:
    assert PAPER.find_params(dataclasses.replace(MF_151M, dyrelu=DyReLUConfig("none"))) is None
    wide = dataclasses.replace(MF_151M, blocks=(*MF_151M.blocks, BlockConfig(768, 256)), head=HeadConfig(1536, 1280))
    assert FULL.find_params(wide) is None


def test_params_are_found_for_whatever_the_space_can_draw() -> None:
    rng = random.Random(3)
    for space in (FULL, SMALL, PAPER):
        for _ in range(15):
            config = space.resolve(space.draw(rng))
            found = space.find_params(config)
            assert found is not None, config
            assert space.resolve(found) == config


def test_params_are_found_where_tail_stride_expansion_and_head_are_knobs(tmp_path: Path) -> None:
    text = DEMO.replace("tail: 2", "tail: [4, 2]").replace("conv: 2.5x", "conv: [40, 2x, 2.5x]")
    text = text.replace("expand: 3}\n", "expand: [2.5, 3], stride: [1, 2], out: [same, 24]}\n")
    (tmp_path / "demo.yaml").write_text(text)
    space, rng = load_space(tmp_path / "demo.yaml"), random.Random(0)
    for _ in range(40):
        config = space.resolve(space.draw(rng))
        found = space.find_params(config)
        assert found is not None, config
        assert space.resolve(found) == config


# --- by hand


def test_rows_ratios_and_constants_become_final_numbers(demo: SearchSpace) -> None:
    params = params_of(demo, blocks__s2__repeat=2, former__ffn=2)
    assert demo.resolve(params) == MobileFormerConfig(
        tokens=TokenConfig(1, 32, 0.5),
        stem=8,
        lite=LiteConfig(24, 12, 1),
        blocks=(
            BlockConfig(24, 16, 2, 3, "both", False, tail=2),
            BlockConfig(40, 20, 1, 5, "both", False),
            BlockConfig(50, 20, 1, 5, "both", False),
            BlockConfig(60, 20, 1, 3, "to_former", True),
        ),
        head=HeadConfig(50, 24),
        former=FormerConfig(2, 2, "full"),
        bridges=BridgeConfig(4, False, "published", False),
        dyrelu=DyReLUConfig("pooled", "second", 3),
        groups=2,
        resolution=64,
        classes=5,
    )


def test_a_row_stands_only_under_its_condition_and_as_often_as_it_repeats(demo: SearchSpace) -> None:
    assert [row.exp for row in demo.resolve(params_of(demo)).blocks] == [24, 48]
    assert [row.exp for row in demo.resolve(params_of(demo, lite__stride=2)).blocks] == [36]


def test_width_scales_every_width_but_the_heads_hidden_one_to_multiples_of_4() -> None:
    params = FULL.find_params(MF_151M)
    assert params is not None
    half = FULL.resolve(params, 0.5)
    assert (half.stem, half.lite) == (8, LiteConfig(16, 8, 1))  # 6 to the nearest multiple of 4, ties up
    assert [row.out for row in half.blocks] == [8, 8, 16, 16, 32, 32, 44, 44, 64, 64, 64]
    assert [row.exp for row in half.blocks] == [48, 24, 48, 48, 96, 128, 192, 264, 264, 384, 384]
    assert half.head == HeadConfig(6 * 64, 1280)
    double = FULL.resolve(params, 2.0)
    assert [row.out for row in double.blocks] == [2 * row.out for row in MF_151M.blocks]
    assert double.tokens == half.tokens == MF_151M.tokens


def test_widths_are_multiples_of_4_at_any_width() -> None:
    rng = random.Random(4)
    for _ in range(100):
        config = FULL.resolve(FULL.draw(rng), rng.uniform(0.25, 4))
        widths = [config.stem, config.lite.out, config.head.conv, *(row.out for row in config.blocks)]
        assert all(width >= 4 and width % 4 == 0 for width in widths), widths


def test_a_width_that_is_fixed_or_a_knob_scales_all(tmp_path: Path) -> None:
    for text, expected in (("width: 0.5", 12), ("width: [1.5, 0.5]", 36)):
        (tmp_path / "demo.yaml").write_text(DEMO.replace("stem: {out: 8}", "stem: {out: 24}") + text)
        space = load_space(tmp_path / "demo.yaml")
        assert not space.solved
        assert space.resolve(params_of(space)).stem == expected


def test_resolution_and_classes_are_those_of_the_deployment() -> None:
    there = FULL.deployed(160, 10)
    params = there.find_params(MF_151M)
    assert params is not None
    assert there.resolve(params) == dataclasses.replace(MF_151M, resolution=160, classes=10)
    assert (FULL.resolution, FULL.classes) == (224, 1000)


# --- no bridges, no tokens


def test_with_all_bridges_off_there_are_no_tokens_whatever_their_knobs_say() -> None:
    off = {f"bridges.s{s}": "none" for s in (2, 3, 4, 5)} | {"bridges.final": False, "dyrelu.source": "pooled"}
    rng = random.Random(5)
    base = {**params_of(FULL), **off}
    ids = set()
    for _ in range(30):
        token_knobs = {
            knob.name: rng.choice(knob.choices)
            for knob in FULL.knobs
            if knob.name.startswith(("tokens.", "former.")) or knob.name in ("bridges.heads", "bridges.gate")
        }
        config = FULL.resolve({**base, **token_knobs})
        assert config.tokens.count == 0
        assert not any(row.former for row in config.blocks)
        ids.add(config.arch_id)
    assert len(ids) == 1
    with pytest.raises(
        ValueError, match=r"dyrelu\.source must be pooled, static, none or hswish where tokens\.count is 0"
    ):
        FULL.resolve({**base, "dyrelu.source": "first_token"})


def test_bridges_of_absent_rows_bring_no_tokens(demo: SearchSpace) -> None:
    """lite.stride 2 and repeat 0 leave stage s3 alone, whose bridge is off here: s2's `both` counts for nothing."""
    config = demo.resolve(params_of(demo, lite__stride=2, bridges__s3="none"))
    assert len(config.blocks) == 1
    assert config.tokens.count == 0


# --- params


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lite__strid": 1}, r"unknown knob 'lite.strid' in space demo: did you mean lite.stride\? known are "),
        ({"tokens__dim": 32}, "unknown knob 'tokens.dim' in space demo"),
        ({"tokens__count": 3}, r"tokens.count must be one of \[1, 2\], got 3"),
        ({"tokens__count": "1"}, r"tokens.count must be one of \[1, 2\], got '1'"),
        ({"tokens__count": None}, r"tokens.count must be one of \[1, 2\], got None"),
    ],
)
def test_params_of_another_space_are_refused(demo: SearchSpace, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        demo.resolve(params_of(demo, **change))


def test_missing_params_are_named(demo: SearchSpace) -> None:
    params = params_of(demo)
    del params["tokens.count"], params["lite.stride"]
    with pytest.raises(ValueError, match=r"params lack tokens\.count, lite\.stride of space demo"):
        demo.resolve(params)
    with pytest.raises(ValueError, match="params lack"):
        demo.resolve({})


def test_zero_and_one_are_not_false_and_true() -> None:
    for value in (0, 1):
        with pytest.raises(ValueError, match=f"dyrelu.intercepts must be true or false, got {value}"):
            FULL.resolve({**params_of(FULL), "dyrelu.intercepts": value})


def test_resolve_changes_nothing_it_was_given(demo: SearchSpace) -> None:
    params = params_of(demo)
    before, digest = dict(params), demo.digest
    assert demo.resolve(params) == demo.resolve(params)
    assert (params, demo.digest) == (before, digest)


@pytest.mark.parametrize("space", [FULL, SMALL, PAPER], ids=lambda space: space.name)
def test_what_an_optuna_trial_suggests_resolves(space: SearchSpace) -> None:
    rng = random.Random(6)
    for _ in range(10):
        drawn = space.draw(rng)
        params = space.suggest(optuna.trial.FixedTrial(drawn))
        assert params == drawn
        assert space.resolve(params) == space.resolve(drawn)
        assert space.resolve(json.loads(json.dumps(params))) == space.resolve(drawn)


def test_a_study_stores_params_as_they_were_suggested() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        params = FULL.suggest(trial)
        assert trial.params == params
        assert [type(trial.params[name]) for name in params] == [type(value) for value in params.values()]
        assert list(params) == [knob.name for knob in FULL.knobs]


def test_draws_depend_on_the_seed_alone_and_always_build() -> None:
    first = [FULL.draw(random.Random(seed)) for seed in range(40)]
    assert first == [FULL.draw(random.Random(seed)) for seed in range(40)]
    assert len({FULL.resolve(params).arch_id for params in first}) == 40


def test_size_counts_all_params() -> None:
    # 6 counts, 4 dims, 4 ffns, 4 bridges in each of 4 stages, 5 sources
    assert SMALL.size == 6 * 4 * 4 * 4**4 * 5
    assert PAPER.size == 3 * 2 * 4 * 2 * 3 * 2 * 4 * 2 * 2 * 5 * 2 * 5 * 5 * 2 * 5 * 2 * 4 * 2


def test_the_digest_follows_whatever_changes_what_params_resolve_to(tmp_path: Path) -> None:
    changes = ["", "count: [1, 2]|count: [2, 1]", "dim: 32|dim: 48", "repeat: [0, 2]|repeat: [0, 1]", "tail: 2|tail: 3"]
    changes += ["lite.stride: 1|lite.stride: 2", "groups: 2|width: solve\ngroups: 2", "  s3: |  s4: "]
    digests = []
    for change in changes:
        old, _, new = change.partition("|")
        text = DEMO.replace(old, new) if old else DEMO
        text = text.replace("s3: [to_former", "s4: [to_former") if "s4" in new else text
        (tmp_path / "demo.yaml").write_text(text)
        digests.append(load_space(tmp_path / "demo.yaml").digest)
    assert len(set(digests)) == len(changes)
    (tmp_path / "demo.yaml").write_text("# a comment\n" + DEMO)
    assert load_space(tmp_path / "demo.yaml").digest == digests[0]
    assert FULL.deployed(160, 1000).digest != FULL.digest != FULL.deployed(224, 10).digest
