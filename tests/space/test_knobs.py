"""The table of knobs agrees with the config: its defaults, its rules, and the names that twins use."""

import dataclasses

import pytest

from mfsearch.config import (
    RULES,
    BlockConfig,
    BridgeConfig,
    DyReLUConfig,
    FormerConfig,
    TokenConfig,
    Wiring,
    has_say,
)
from mfsearch.search.twin_networks import TWIN_KNOBS
from mfsearch.space.knobs import KNOBS, find_knob, knob_title

PARTS = {"tokens": TokenConfig, "former": FormerConfig, "bridges": BridgeConfig, "dyrelu": DyReLUConfig}


@pytest.mark.parametrize("section", PARTS)
def test_a_section_has_the_keys_and_defaults_of_its_config_in_order(section: str) -> None:
    names = [name for name in KNOBS if name.startswith(f"{section}.") and not name.endswith("STAGE")]
    fields = dataclasses.fields(PARTS[section])
    assert names == [f"{section}.{field.name}" for field in fields]
    for name, field in zip(names, fields, strict=True):
        assert KNOBS[name].default == (None if field.default is dataclasses.MISSING else field.default)


def test_a_row_s_defaults_are_those_of_a_block() -> None:
    for field in dataclasses.fields(BlockConfig):
        name = {"bridge": "bridges.STAGE", "former": "former.STAGE"}.get(field.name, f"blocks.ROW.{field.name}")
        if name in KNOBS and field.default is not dataclasses.MISSING:
            assert KNOBS[name].default == field.default


def test_what_is_about_a_part_has_no_say_without_it() -> None:
    assert set(RULES) <= set(KNOBS)
    bare = {"tokens": Wiring(0, False, False, "pooled"), "dyrelu": Wiring(2, True, True, "none")}
    for name, spec in KNOBS.items():
        if name != "tokens.count":  # 0 is a count
            assert has_say(name, bare.get(spec.about, bare["tokens"])) == (spec.about not in bare), name


def test_attention_over_one_token_is_1() -> None:
    assert not has_say("former.heads", Wiring(1, True, True, "none"))
    assert has_say("former.heads", Wiring(2, True, True, "none"))
    assert not has_say("bridges.heads", Wiring(1, True, False, "none"))
    assert has_say("bridges.heads", Wiring(1, True, True, "none"))  # Mobile->Former attends over pixels


def test_names_of_a_space_are_found() -> None:
    assert find_knob("blocks.s4_wide.out") is KNOBS["blocks.ROW.out"]
    assert find_knob("bridges.s3") is KNOBS["bridges.STAGE"]
    assert find_knob("bridges.heads") is KNOBS["bridges.heads"]
    assert find_knob("made.up") == find_knob("other")


def test_twins_use_the_names_of_the_file() -> None:
    for name, spec in TWIN_KNOBS.items():
        if not name.endswith(".blocks"):  # all stages at once, which a file gives one by one
            assert find_knob(name) is spec
        assert set(spec.tried) <= set(spec.choices)


def test_titles_of_knobs_are_words() -> None:
    titles = {
        "blocks.s3_down.out": "s3_down width",
        "blocks.s4_2.repeat": "s4_2 blocks",
        "bridges.s3": "s3 bridge",
        "bridges.final": "final bridge",
        "former.s2": "s2 Former",
        "former.ffn": "Former FFN",
        "dyrelu.s5": "s5 DyReLU",
        "tokens.count": "token count",
        "stem.out": "stem width",
        "width": "width",
    }
    assert {name: knob_title(name) for name in titles} == titles
