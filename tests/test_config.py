"""The config: what it refuses and how it says so, its YAML and JSON, its table."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mfsearch.config import (
    BlockConfig,
    BridgeConfig,
    DyReLUConfig,
    FormerConfig,
    HeadConfig,
    LiteConfig,
    MobileFormerConfig,
    TokenConfig,
    load_config,
)
from mfsearch.presets import MF_151M, PRESETS
from tests.random_configs import SMALL as THREE_TOKENS
from tests.random_configs import random_config

SMALL = dataclasses.replace(THREE_TOKENS, tokens=TokenConfig(2, 32))
NO_TOKENS: dict[str, Any] = {
    "tokens": {"count": 0, "dim": 0},
    "bridges": {"final": False},
    "dyrelu": {"source": "none"},
    "blocks[0]": {"bridge": "none", "former": False},
    "blocks[1]": {"bridge": "none", "former": False},
    "blocks[2]": {"bridge": "none", "former": False},
}


def edited(**changes: Any) -> dict[str, Any]:
    """SMALL as a dict with changes: `lite={"exp": 9}` goes into a part, `blocks_1={...}` into a row."""
    data = SMALL.to_dict()
    for place, value in changes.items():
        if place.startswith("blocks["):
            data["blocks"][int(place[7:-1])].update(value)
        elif isinstance(value, dict):
            data[place].update(value)
        else:
            data[place] = value
    return data


def without_tokens(**changes: Any) -> dict[str, Any]:
    merged = {place: dict(values) for place, values in NO_TOKENS.items()}
    for place, value in changes.items():
        merged.setdefault(place, {}).update(value)
    return edited(**merged)


def every_config() -> list[MobileFormerConfig]:
    return [*PRESETS.values(), SMALL, *(random_config(seed) for seed in range(60))]


# --- round trips


def test_a_config_comes_back_from_yaml_and_json_as_it_was(tmp_path: Path) -> None:
    for config in every_config():
        for name in ("net.yaml", "net.yml", "net.json"):
            config.save(tmp_path / name)
            again = load_config(tmp_path / name)
            assert again == config
            assert hash(again) == hash(config)
            assert again.arch_id == config.arch_id
        assert MobileFormerConfig.from_dict(config.to_dict()) == config
        assert MobileFormerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        assert MobileFormerConfig.from_dict(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize("init_std", [1e-05, 0.02, 1, 10])
@pytest.mark.parametrize("name", ["net.yaml", "net.json"])
def test_tiny_and_whole_numbers_survive_the_file(tmp_path: Path, name: str, init_std: float) -> None:
    config = dataclasses.replace(SMALL, tokens=TokenConfig(2, 32, init_std))
    config.save(tmp_path / name)
    assert load_config(tmp_path / name) == config


def test_yaml_has_one_row_a_line() -> None:
    lines = MF_151M.to_yaml().splitlines()
    at = lines.index("blocks:")
    assert lines[at + 1] == "- {exp: 72, out: 16, stride: 2, kernel: 3, bridge: both, former: true, tail: 4}"
    assert len([line for line in lines if line.startswith("- ")]) == 11


def test_defaults_may_be_left_out_of_a_file(tmp_path: Path) -> None:
    text = """
    tokens: {count: 6, dim: 192}
    stem: 12
    lite: {exp: 24, out: 12, stride: 1}
    blocks:
    - {exp: 72, out: 16, stride: 2}
    head: {conv: 96, hidden: 64}
    """
    (tmp_path / "net.yaml").write_text(text)
    assert load_config(tmp_path / "net.yaml") == MobileFormerConfig(
        TokenConfig(6, 192), 12, LiteConfig(24, 12, 1), (BlockConfig(72, 16, 2),), HeadConfig(96, 64)
    )


def test_arch_id_depends_neither_on_key_order_nor_on_the_way_the_config_was_made() -> None:
    for config in every_config():
        shuffled = {key: config.to_dict()[key] for key in sorted(config.to_dict(), reverse=True)}
        shuffled["blocks"] = [dict(reversed(row.items())) for row in shuffled["blocks"]]
        again = MobileFormerConfig.from_dict(shuffled)
        assert again.arch_id == config.arch_id
        assert len(config.arch_id) == 12
        int(config.arch_id, 16)


def test_arch_id_is_the_same_in_every_process() -> None:
    code = "from mfsearch.presets import PRESETS; print(*(c.arch_id for c in PRESETS.values()))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.split() == [config.arch_id for config in PRESETS.values()]


# --- refusals of files


def refuse(data: Any, *words: str) -> None:
    for word in words:
        with pytest.raises(ValueError, match=re.escape(word)):
            MobileFormerConfig.from_dict(data)


def test_an_unknown_key_names_its_place_and_the_known_ones() -> None:
    refuse(edited(widht=3), "unknown key 'widht' in config", "known are tokens, stem, lite, blocks, head")
    refuse(edited(lite={"expand": 3}), "unknown key 'expand' in lite", "known are exp, out, stride")
    refuse(edited(**{"blocks[2]": {"outs": 8}}), "unknown key 'outs' in blocks[2]", "exp, out, stride, kernel, bridge")
    refuse({**SMALL.to_dict(), 3: 4}, "unknown key 3 in config")


def test_a_missing_key_names_its_place_and_what_is_needed() -> None:
    data = SMALL.to_dict()
    del data["head"]
    refuse(data, "config lacks 'head'", "tokens, stem, lite, blocks, head")
    data = SMALL.to_dict()
    del data["blocks"][1]["out"]
    refuse(data, "blocks[1] lacks 'out'")
    data = SMALL.to_dict()
    del data["tokens"]["dim"]
    refuse(data, "tokens lacks 'dim'")


@pytest.mark.parametrize("data", [None, [], "mf-151m", 3])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    refuse(data, "a config must be a mapping, got ")
    refuse(edited(lite=data), "lite must be a mapping, got ")
    rows = [*SMALL.to_dict()["blocks"], data]
    refuse(edited(blocks=rows), "blocks[3] must be a mapping, got ")


@pytest.mark.parametrize("blocks", [None, "rows", 3, {"s2": {"exp": 8, "out": 8}}])
def test_blocks_must_be_a_list(blocks: Any) -> None:
    refuse({**SMALL.to_dict(), "blocks": blocks}, "blocks must be a list of rows, got ")


def test_no_block_at_all_is_refused() -> None:
    refuse(edited(blocks=[]), "config.blocks must be ", "at least one", "got ()")


@pytest.mark.parametrize("schema", [2, 0, "1", 1.0, True, None])
def test_another_schema_is_refused(schema: Any) -> None:
    refuse(edited(schema=schema), f"schema must be 1, got {schema!r}", "another version")


def test_a_network_of_very_many_rows_is_refused_in_a_short_sentence() -> None:
    data = SMALL.to_dict()
    data["blocks"] = [data["blocks"][0]] * 129
    with pytest.raises(ValueError, match="config.blocks must be at most 128 rows, got") as error:
        MobileFormerConfig.from_dict(data)
    assert len(str(error.value)) < 300


def test_a_bad_file_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    for text, words in (
        ("", "must be a mapping, got NoneType"),
        ("a: [", "net.yaml:1: not YAML"),
        ("stem: 2020-13-45", "net.yaml:1: not YAML: '2020-13-45' is not a valid timestamp"),
        (SMALL.to_yaml().replace("exp: 24", "exp: 25"), "blocks[1].exp must be a multiple of the input width 8"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match="net.yaml") as error:
            load_config(path)
        assert words in str(error.value)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"net\.yaml: not YAML"):
        load_config(path)
    (tmp_path / "net.json").write_text("{")
    with pytest.raises(ValueError, match=r"net\.json is not JSON"):
        load_config(tmp_path / "net.json")
    for missing in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ValueError, match="cannot read"):
            load_config(missing)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bridge: both", "bridge: no", "blocks[0].bridge must be both, to_former, to_mobile or none, got False"),
        ("init_std: 1.0", "init_std: 1e-2", "tokens.init_std must be a number above 0 and up to 10, got '1e-2'"),
        ("stem: 4", "stem: 4e0", "config.stem must be a whole number from 1 to 1024, got '4e0'"),
        ("former: true", "former: 1", "blocks[0].former must be true or false, got 1"),
        ("gate: true", "gate: 'true'", "bridges.gate must be true or false, got 'true'"),
    ],
)
def test_words_that_yaml_reads_otherwise_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = SMALL.to_yaml()
    assert old in text
    (tmp_path / "net.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match="net.yaml") as error:
        load_config(tmp_path / "net.yaml")
    assert words in str(error.value)


# --- refusals of values

WHOLE = {
    "config.stem": (1, 1024),
    "config.groups": (1, 64),
    "config.resolution": (16, 1024),
    "config.classes": (2, 100_000),
    "tokens.count": (0, 12),
    "tokens.dim": (32, 384),
    "lite.exp": (1, 16384),
    "lite.out": (1, 4096),
    "blocks[1].exp": (1, 65536),
    "blocks[1].out": (1, 4096),
    "blocks[1].tail": (1, 8),
    "former.heads": (1, 16),
    "bridges.heads": (1, 16),
    "dyrelu.reduction": (1, 32),
    "head.conv": (1, 16384),
    "head.hidden": (1, 16384),
}
AMONG: dict[str, tuple[Any, ...]] = {
    "lite.stride": (1, 2),
    "lite.mobile": ("lite", "fused", "conv_pair"),
    "blocks[1].mobile": ("inverted_bottleneck", "universal", "fused", "conv_pair"),
    "blocks[1].before": (0,),  # of an inverted bottleneck
    "blocks[1].stride": (1, 2),
    "blocks[1].kernel": (3, 5),
    "blocks[1].bridge": ("both", "to_former", "to_mobile", "none"),
    "blocks[1].former": (True, False),
    "blocks[1].static": (False, True),
    "former.ffn": (0, 1, 2, 4),
    "former.projections": ("tied", "full"),
    "bridges.gate": (True, False),
    "bridges.projections": ("published", "full"),
    "bridges.final": (True, False),
    "dyrelu.source": ("first_token", "mean_token", "spatial", "pooled", "none", "hswish", "static"),
    "dyrelu.position": ("both", "first", "second"),
    "dyrelu.slopes": (2, 3),
    "dyrelu.intercepts": (True, False),
}
WRONG_TYPES = (3.0, 1.0, "3", "yes", None, [1], {"a": 1}, float("nan"))


def refused_value(field: str, value: Any) -> str:
    data = SMALL.to_dict()
    place, _, name = field.rpartition(".")
    target = data if place == "config" else data["blocks"][1] if place == "blocks[1]" else data[place]
    target[name] = value
    with pytest.raises(ValueError, match="must be") as error:
        MobileFormerConfig.from_dict(data)
    assert str(error.value).startswith(f"{field} must be "), str(error.value)
    assert str(error.value).endswith(f", got {value!r}"), str(error.value)
    return str(error.value)


@pytest.mark.parametrize("field", WHOLE)
def test_whole_numbers_have_their_ranges(field: str) -> None:
    low, high = WHOLE[field]
    for value in (low - 1, high + 1, -1, 10**20, *WRONG_TYPES, True, False):
        assert f"a whole number from {low} to {high}" in refused_value(field, value)


@pytest.mark.parametrize("field", AMONG)
def test_choices_are_listed(field: str) -> None:
    choices = AMONG[field]
    wrong = [value for value in (*WRONG_TYPES, 7, -1, "", "Both") if value != "yes"]
    wrong += [0, 1, 2.0] if type(choices[0]) is bool else [True, False, 2.0]
    for value in wrong:
        message = refused_value(field, value)
        for choice in choices:
            assert str(choice).lower() in message.lower()


def test_every_field_has_its_test_of_values() -> None:
    parts = {"tokens", "lite", "former", "bridges", "dyrelu", "head"}
    fields = {f"{part}.{f.name}" for part in parts for f in dataclasses.fields(getattr(SMALL, part))}
    fields |= {f"blocks[1].{f.name}" for f in dataclasses.fields(BlockConfig)}
    fields |= {f"config.{f.name}" for f in dataclasses.fields(SMALL)} - {
        f"config.{name}" for name in (*parts, "blocks")
    }
    assert fields == {*WHOLE, *AMONG, "tokens.init_std"}


@pytest.mark.parametrize("value", [0, 0.0, -1.0, 10.5, float("nan"), float("inf"), "1.0", None, True])
def test_the_tokens_scale_is_a_number_in_its_range(value: Any) -> None:
    assert "a number above 0 and up to 10" in refused_value("tokens.init_std", value)


def test_parts_of_another_type_are_refused_in_python_too() -> None:
    parts = {f.name: getattr(SMALL, f.name) for f in dataclasses.fields(SMALL)}
    wrong: list[tuple[str, Any]] = [("lite", (8, 8, 1)), ("tokens", None), ("blocks", list(SMALL.blocks))]
    wrong += [("blocks", ((16, 8),)), ("blocks", None), ("dyrelu", "none"), ("head", SMALL.lite)]
    for name, value in wrong:
        with pytest.raises(ValueError, match=f"config.{name} must be a "):
            MobileFormerConfig(**{**parts, name: value})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (edited(lite={"exp": 9}), "lite.exp must be a multiple of stem = 4, got 9"),
        (
            edited(**{"blocks[1]": {"exp": 20}}),
            "blocks[1].exp must be a multiple of the input width 8 (stride 2), got 20",
        ),
        (edited(groups=3), "lite.exp must be divisible by groups = 3, got 8"),
        (edited(groups=8), "blocks[1].out must be divisible by groups = 8, got 12"),
        (edited(groups=4, head={"conv": 26}), "head.conv must be divisible by groups = 4, got 26"),
        (edited(groups=4, lite={"out": 6}), "lite.out must be divisible by groups = 4, got 6"),
        (edited(groups=4, **{"blocks[2]": {"exp": 30}}), "blocks[2].exp must be divisible by groups = 4, got 30"),
        (edited(tokens={"dim": 34}), "tokens.dim must be divisible by former.heads = 4, got 34"),
        (
            edited(bridges={"heads": 3}),
            "blocks[0].in must be divisible by bridges.heads = 3 (Mobile->Former), got 8",
        ),
        (
            edited(bridges={"heads": 4}, **{"blocks[0]": {"out": 10}, "blocks[1]": {"exp": 40}}),
            "blocks[0].out must be divisible by bridges.heads = 4 (Mobile<-Former), got 10",
        ),
        (
            edited(bridges={"heads": 4}, **{"blocks[2]": {"out": 10, "bridge": "none"}}),
            "bridges.heads must be a divisor of the last width 10, got 4",
        ),
        (
            edited(dyrelu={"source": "spatial"}, **{"blocks[1]": {"bridge": "to_mobile"}}),
            "blocks[1].bridge must be both or to_former for dyrelu.source spatial, got 'to_mobile'",
        ),
        (
            edited(dyrelu={"source": "spatial"}, **{"blocks[2]": {"bridge": "none"}}),
            "blocks[2].bridge must be both or to_former for dyrelu.source spatial, got 'none'",
        ),
        (
            edited(bridges={"final": False}, **{f"blocks[{i}]": {"bridge": "none"} for i in range(3)}),
            "tokens.count must be 0 where no block has a bridge and bridges.final is false, got 2",
        ),
        *(
            (
                without_tokens(dyrelu={"source": source}),
                f"dyrelu.source must be pooled, static, none or hswish where tokens.count is 0, got {source!r}",
            )
            for source in ("first_token", "mean_token", "spatial")
        ),
        (without_tokens(bridges={"final": True}), "bridges.final must be false where tokens.count is 0, got True"),
        *(
            (
                without_tokens(**{"blocks[1]": {"bridge": bridge}}),
                f"blocks[1].bridge must be none where tokens.count is 0, got {bridge!r}",
            )
            for bridge in ("both", "to_former", "to_mobile")
        ),
        (
            without_tokens(**{"blocks[2]": {"former": True}}),
            "blocks[2].former must be false where tokens.count is 0, got True",
        ),
        (without_tokens(tokens={"dim": "64"}), "tokens.dim must be a whole number from 0 to 384, got '64'"),
    ],
)
def test_a_combination_that_cannot_be_built_names_field_value_and_what_is_allowed(
    data: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match="must be") as error:
        MobileFormerConfig.from_dict(data)
    assert str(error.value) == words


def test_a_block_says_its_place_only_inside_a_network() -> None:
    with pytest.raises(ValueError, match=r"^block\.stride must be 1 or 2, got 3$"):
        BlockConfig(16, 8, stride=3)


def test_what_is_unused_is_not_held_against_a_config() -> None:
    """Heads need not divide a width that no bridge reads, nor former.heads the tokens where no Former stands."""
    rows = tuple(BlockConfig(16, 8, former=False, bridge="to_former") for _ in range(2))
    odd = (*rows, BlockConfig(16, 9, former=False, bridge="to_former"))
    config = dataclasses.replace(
        SMALL, blocks=odd, tokens=TokenConfig(2, 33), bridges=BridgeConfig(heads=8, final=False), former=FormerConfig(4)
    )
    assert config.blocks[-1].out == 9
    assert MobileFormerConfig.from_dict(without_tokens()).tokens.count == 0


# --- the table


def test_table_prints_151m_as_the_paper_does() -> None:
    lines = [line.split() for line in MF_151M.table().splitlines()]
    assert lines[0] == ["tokens", "6x192", "activation", "DyReLU(first_token)", "(both)", "groups", "1"]
    assert lines[1] == ["input", "operator", "exp", "out", "stride", "bridge", "former"]
    assert lines[2] == ["224x224", "conv", "3x3", "-", "12", "2"]
    assert lines[3] == ["112x112", "lite", "bottleneck", "24", "12", "1"]
    assert lines[4] == ["112x112", "block", "3x3", "72", "16", "2", "both", "yes"]
    assert lines[5] == ["56x56", "block", "3x3", "48", "16", "1", "both", "yes"]
    assert lines[8] == ["28x28", "block", "3x3", "192", "64", "2", "both", "yes"]
    assert lines[12] == ["14x14", "block", "3x3", "528", "128", "2", "both", "yes"]
    assert lines[14] == ["7x7", "block", "3x3", "768", "128", "1", "both", "yes"]
    assert lines[15] == ["7x7", "conv", "1x1", "-", "768", "1", "to_former"]
    assert lines[16] == ["7x7", "pool", "-", "960", "-"]
    assert lines[17] == ["1x1", "FC", "-", "1280", "-"]
    assert lines[18] == ["1x1", "FC", "-", "1000", "-"]
    assert len(lines) == 19
    assert not any(line != line.rstrip() for line in MF_151M.table().splitlines())


def test_table_shows_what_differs_from_the_published() -> None:
    row = BlockConfig(24, 12, 2, kernel=5, bridge="none", former=False, tail=2)
    bare = without_tokens(**{"blocks[1]": dataclasses.asdict(row)})
    lines = [line.split() for line in MobileFormerConfig.from_dict({**bare, "resolution": 33}).table().splitlines()]
    assert lines[0] == ["tokens", "none", "activation", "ReLU", "(both)", "groups", "1"]
    assert lines[3][0] == "17x17"
    assert lines[5] == ["17x17", "block", "5x5", "/2", "24", "12", "2", "none", "no"]
    assert lines[6][0] == "9x9"
    assert lines[7] == ["9x9", "conv", "1x1", "-", "24", "1", "none"]
    assert lines[8] == ["9x9", "pool", "-", "24", "-"]
    assert "h-swish (first)" in dataclasses.replace(SMALL, dyrelu=DyReLUConfig("hswish", "first")).table()


def test_the_table_keeps_its_columns_beside_a_long_operator() -> None:
    down = dataclasses.replace(SMALL.blocks[1], tail=2, static=True)
    head, *rows = dataclasses.replace(SMALL, blocks=(SMALL.blocks[0], down, SMALL.blocks[2])).table().splitlines()[1:]
    assert "block 3x3 /2 static" in rows[3]
    assert {line[head.index("bridge") :].split()[0] for line in rows[2:5]} == {"both"}
