"""Space files: what is read from them, and every wrong one with its line."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mfsearch.space import SearchSpace, find_space, load_space, spaces_folder
from tests.conftest import TINY_SPACE

GOOD = """\
name: demo
tokens: {count: [1, 2], dim: 32}
former: {ffn: [0, 2]}
bridges: {s2: [both, none]}
dyrelu: {source: [first_token, pooled], intercepts: [false, true]}
stem: {out: 8}
lite: {expand: 2, out: 8, stride: [1, 2]}
blocks:
  s2_down: {when: {lite.stride: 1}, stride: 2, expand: 3, out: 12}
  s2:
    repeat: [0, 1]
    expand: [2, 3]
    kernel: [3, 5]
head: {conv: 6x, hidden: 16}
"""


def load(tmp_path: Path, text: str) -> SearchSpace:
    (tmp_path / "demo.yaml").write_text(text)
    return load_space(tmp_path / "demo.yaml", "demo.yaml")


def refusal(tmp_path: Path, old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    with pytest.raises(ValueError, match=r"^demo\.yaml") as error:
        load(tmp_path, GOOD.replace(old, new))
    return str(error.value)


def test_a_list_is_a_knob_a_single_value_is_fixed_and_defaults_are_published(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    assert {knob.name: knob.choices for knob in space.knobs} == {
        "tokens.count": (1, 2),
        "former.ffn": (0, 2),
        "bridges.s2": ("both", "none"),
        "dyrelu.source": ("first_token", "pooled"),
        "dyrelu.intercepts": (False, True),
        "lite.stride": (1, 2),
        "blocks.s2.repeat": (0, 1),
        "blocks.s2.expand": (2, 3),
        "blocks.s2.kernel": (3, 5),
    }
    constants = dict(space.constants)
    assert constants["tokens.dim"] == 32
    assert constants["former.heads"] == 4
    assert constants["bridges.heads"] == 2
    assert constants["bridges.gate"] is True
    assert constants["dyrelu.reduction"] == 4
    assert constants["blocks.s2_down.repeat"] == 1
    assert constants["head.conv"] == "6x"
    assert space.size == 2**9
    assert (space.name, space.solved, space.resolution, space.classes) == ("demo", False, 224, 1000)


def test_a_list_of_one_is_fixed(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD.replace("dim: 32", "dim: [32]"))
    assert dict(space.constants)["tokens.dim"] == 32
    assert space == load(tmp_path, GOOD)


@pytest.mark.parametrize("name", ["mobile_former", "mobile_former_small", "mobile_former_v4", "paper"])
def test_shipped_spaces_load_by_name_and_by_file(name: str) -> None:
    space = find_space(name)
    assert space.name == name
    assert space.solved
    assert find_space(str(spaces_folder() / f"{name}.yaml")) == space


def test_shipped_spaces_are_all_tested_here() -> None:
    assert sorted(path.stem for path in spaces_folder().glob("*.yaml")) == [
        "mobile_former",
        "mobile_former_small",
        "mobile_former_v4",
        "paper",
    ]


def test_an_unknown_space_names_the_nearest_and_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown space 'papr' \(did you mean paper\?\): known are mobile_former, "):
        find_space("papr")
    with pytest.raises(ValueError, match="no space file at absent.yaml"):
        find_space("absent.yaml")
    with pytest.raises(ValueError, match="no space file at"):
        find_space(str(tmp_path))


# --- wrong keys


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (
            "name: demo",
            "nam: demo",
            1,
            "unknown key 'nam' in a search space: did you mean name? known are name, tokens",
        ),
        ("count: [1, 2]", "cout: 2", 2, "unknown key 'cout' in tokens: did you mean count? known are count, dim"),
        (
            "s2: [both, none]}",
            "s3: both}",
            4,
            "unknown key 's3' in bridges: known are heads, gate, projections, final, s2",
        ),
        (
            "    kernel: [3, 5]",
            "    kernle: 5",
            13,
            "unknown key 'kernle' in blocks.s2: did you mean kernel? known are",
        ),
        ("hidden: 16", "hiden: 16", 14, "unknown key 'hiden' in head: did you mean hidden? known are conv, hidden"),
        ("stride: 2, exp", "exp: 6, exp", 9, "unknown key 'exp' in blocks.s2_down: did you mean expand?"),
        ("head: {", "7: {", 14, "unknown key 7 in a search space: known are"),
    ],
)
def test_an_unknown_key_names_line_place_and_the_known_ones(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    message = refusal(tmp_path, old, new)
    assert message.startswith(f"demo.yaml:{line}: ")
    assert words in message


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "stem: {out: 8}", "stem: {out: 8}\nstem: {out: 12}")
    assert message == "demo.yaml:7: stem is given twice"
    message = refusal(tmp_path, "    kernel: [3, 5]", "    expand: 4")
    assert message == "demo.yaml:13: blocks.s2.expand is given twice"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (", dim: 32", "", "demo.yaml:2: tokens lacks 'dim': known are count, dim, init_std"),
        ("stem: {out: 8}\n", "", "demo.yaml: stem lacks 'out'"),
        ("stem: {out: 8}", "stem: {out: }", "demo.yaml:6: stem lacks 'out'"),
        ("{conv: 6x, hidden: 16}", "{conv: 6x}", "demo.yaml:14: head lacks 'hidden'"),
        (" expand: 3, out: 12}", " out: 12}", "demo.yaml:9: blocks.s2_down lacks 'expand'"),
    ],
)
def test_a_missing_key_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert refusal(tmp_path, old, new).startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a search space must be a mapping, got None"),
        ("- a", "a search space must be a mapping, got ['a']"),
        ("blocks: {", "not YAML"),
        ("a: 1\nb: 2: 3", "demo.yaml:2: not YAML"),
        ("tokens: {count: 1, dim: 32}", "blocks must map row names to rows, got None"),
        (GOOD.split("blocks:")[0] + "blocks: {}", "demo.yaml:8: blocks must map row names to rows, got {}"),
        (GOOD.split("blocks:")[0] + "blocks: [s2]", "demo.yaml:8: blocks must map row names to rows, got ['s2']"),
        (GOOD.split("blocks:")[0] + "blocks: {s2: 3}", "demo.yaml:8: blocks.s2 must be a mapping, got 3"),
        (GOOD.replace("tokens: {count: [1, 2], dim: 32}", "tokens: 3"), "demo.yaml:2: tokens must be a mapping, got 3"),
        (GOOD.replace("name: demo", "name: [demo]"), "demo.yaml:1: name must be a word, got ['demo']"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^demo\.yaml") as error:
        load(tmp_path, text)
    assert words in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*absent\.yaml"):
        load_space(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(ValueError, match=r"latin\.yaml: not YAML: not UTF-8"):
        load_space(tmp_path / "latin.yaml")


@pytest.mark.parametrize("row", ["heads", "gate_x", "ffn_down", "final", "s2.a", "s2_", "_s2", "s 2"])
def test_a_row_name_that_would_hide_another_key_is_refused(tmp_path: Path, row: str) -> None:
    message = refusal(tmp_path, "  s2:\n", f"  {row}:\n")
    assert message.startswith("demo.yaml:10: a row's name must read like s2 or s2_down")


# --- wrong values


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("kernel: [3, 5]", "kernel: []", 13, "blocks.s2.kernel is an empty list: give at least one value"),
        ("kernel: [3, 5]", "kernel: [3, 5, 3]", 13, "blocks.s2.kernel holds a value twice: [3, 5, 3]"),
        ("kernel: [3, 5]", "kernel: [3, 3.0]", 13, "blocks.s2.kernel holds a value twice: [3, 3.0]"),
        ("count: [1, 2]", "count: [1, true]", 2, "tokens.count holds a value twice: [1, True]"),
        ("intercepts: [false, true]", "intercepts: [false, 0]", 5, "dyrelu.intercepts holds a value twice"),
        ("kernel: [3, 5]", "kernel: [3, [5]]", 13, "blocks.s2.kernel must hold numbers, words or true and false"),
        ("kernel: [3, 5]", "kernel: {a: 3}", 13, "blocks.s2.kernel must hold numbers, words or true and false"),
        ("kernel: [3, 5]", "kernel: [3, null]", 13, "blocks.s2.kernel must hold numbers, words or true and false"),
    ],
)
def test_a_list_that_is_no_list_of_choices_is_refused(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    message = refusal(tmp_path, old, new)
    assert message.startswith(f"demo.yaml:{line}: {words}"), message


@pytest.mark.parametrize(
    ("old", "new", "line", "name", "value", "allowed"),
    [
        ("kernel: [3, 5]", "kernel: [3, 4]", 13, "blocks.s2.kernel", 4, "3 or 5"),
        ("stride: 2, exp", "stride: 3, exp", 9, "blocks.s2_down.stride", 3, "1 or 2"),
        ("expand: 3, out", "tail: 9, expand: 3, out", 9, "blocks.s2_down.tail", 9, "from 1 to 8"),
        ("dim: 32", "dim: [32, 1000]", 2, "tokens.dim", 1000, "from 32 to 384"),
        ("dim: 32", "dim: [32, 34]", 2, "tokens.dim", 34, "divisible by former.heads"),
        ("dim: 32", "dim: 32, init_std: 1e-2", 2, "tokens.init_std", "1e-2", "a number above 0"),
        ("count: [1, 2]", "count: [1, 13]", 2, "tokens.count", 13, "from 0 to 12"),
        ("count: [1, 2]", "count: true", 2, "tokens.count", True, "from 0 to 12"),
        ("ffn: [0, 2]", "ffn: [0, 3]", 3, "former.ffn", 3, "0, 1, 2 or 4"),
        ("ffn: [0, 2]", "s2: [true, maybe]", 3, "former.s2", "maybe", "true or false"),
        ("[both, none]", "[both, no]", 4, "bridges.s2", False, "to_mobile or none"),
        ("[both, none]", "[both, neither]", 4, "bridges.s2", "neither", "to_mobile or none"),
        ("bridges: {", "bridges: {heads: 5, ", 4, "bridges.heads", 5, "bridges.heads = 5"),
        ("[first_token, pooled]", "[pooled, last_token]", 5, "dyrelu.source", "last_token", "hswish"),
        ("intercepts: [false, true]", "intercepts: [false, 1]", 5, "dyrelu.intercepts", 1, "true or false"),
        ("stride: [1, 2]", "stride: [1, 3]", 7, "lite.stride", 3, "1 or 2"),
        ("hidden: 16", "hidden: [16, 0]", 14, "head.hidden", 0, "from 1 to 16384"),
        ("hidden: 16", "hidden: '16'", 14, "head.hidden", "16", "whole number"),
        ("hidden: 16}", "hidden: 16}\ngroups: [1, 3]", 15, "groups", 3, "divisible by groups"),
        ("hidden: 16}", "hidden: 16}\ngroups: 1.5", 15, "groups", 1.5, "whole number"),
    ],
)
def test_a_value_that_fits_no_network_is_found_as_the_file_is_read(
    tmp_path: Path, old: str, new: str, line: int, name: str, value: Any, allowed: str
) -> None:
    """Also where only some networks show it: a row that may be absent, tokens that a bridge must ask for."""
    message = refusal(tmp_path, old, new)
    assert message.startswith(f"demo.yaml:{line}: {name} = {value!r} fits no network of the space: "), message
    assert allowed in message


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("repeat: [0, 1]", "repeat: [0, 1.5]", 11, "blocks.s2.repeat must be a whole number from 0 to 64, got 1.5"),
        ("repeat: [0, 1]", "repeat: -1", 11, "blocks.s2.repeat must be a whole number from 0 to 64, got -1"),
        ("repeat: [0, 1]", "repeat: true", 11, "blocks.s2.repeat must be a whole number from 0 to 64, got True"),
        ("repeat: [0, 1]", "repeat: '2'", 11, "blocks.s2.repeat must be a whole number from 0 to 64, got '2'"),
        ("expand: [2, 3]", "expand: [2, 0]", 12, "blocks.s2.expand must be a number above 0 and up to 64, got 0"),
        ("expand: [2, 3]", "expand: .inf", 12, "blocks.s2.expand must be a number above 0 and up to 64, got inf"),
        ("expand: [2, 3]", "expand: '3'", 12, "blocks.s2.expand must be a number above 0 and up to 64, got '3'"),
        ("out: 12}", "out: [12, 13]}", 9, "blocks.s2_down.out must be same or a multiple of 4, got 13"),
        ("out: 12}", "out: 0}", 9, "blocks.s2_down.out must be same or a multiple of 4, got 0"),
        ("out: 12}", "out: -8}", 9, "blocks.s2_down.out must be same or a multiple of 4, got -8"),
        ("out: 12}", "out: true}", 9, "blocks.s2_down.out must be same or a multiple of 4, got True"),
        ("out: 12}", "out: 12.0}", 9, "blocks.s2_down.out must be same or a multiple of 4, got 12.0"),
        ("stem: {out: 8}", "stem: {out: same}", 6, "stem.out must be a multiple of 4, got 'same'"),
        ("lite: {expand: 2", "lite: {expand: 2.5", 7, "lite.expand must be a whole number above 0, got 2.5"),
        ("conv: 6x", "conv: 6y", 14, "head.conv must be like 6x or a multiple of 4, got '6y'"),
        ("conv: 6x", "conv: x", 14, "head.conv must be like 6x or a multiple of 4, got 'x'"),
        ("conv: 6x", "conv: infx", 14, "head.conv must be like 6x or a multiple of 4, got 'infx'"),
        ("conv: 6x", "conv: 6", 14, "head.conv must be like 6x or a multiple of 4, got 6"),
        ("name: demo", "width: 0", 1, "width must be solve or a number above 0 and up to 4, got 0"),
        ("name: demo", "width: yes", 1, "width must be solve or a number above 0 and up to 4, got True"),
        ("name: demo", "width: '0.5'", 1, "width must be solve or a number above 0 and up to 4, got '0.5'"),
        ("name: demo", "width: [1.0, solve]", 1, "width must be solve or a number above 0 and up to 4, got 'solve'"),
    ],
)
def test_a_number_to_calculate_with_is_checked_where_it_stands(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert refusal(tmp_path, old, new) == f"demo.yaml:{line}: {words}"


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("{lite.strid: 1}", "demo.yaml:9: when names 'lite.strid': did you mean lite.stride? known are "),
        ("{3: 1}", "demo.yaml:9: when names 3: known are "),
        ("{lite.stride: 3}", "demo.yaml:9: lite.stride is never 3: it can be [1, 2]"),
        ("{lite.stride: [1]}", "demo.yaml:9: lite.stride is never [1]: it can be [1, 2]"),
        ("lite.stride", "demo.yaml:9: when must map a knob to its value, got 'lite.stride'"),
    ],
)
def test_a_condition_that_can_never_hold_is_refused(tmp_path: Path, when: str, words: str) -> None:
    assert refusal(tmp_path, "{lite.stride: 1}", when).startswith(words)


def test_a_condition_on_what_was_fixed_otherwise_only_leaves_the_row_out(tmp_path: Path) -> None:
    """Narrowing a knob of a space to one value must not make the space wrong."""
    text = GOOD.replace("stride: [1, 2]", "stride: 2").replace("repeat: [0, 1]", "repeat: [1, 2]")
    space = load(tmp_path, text)
    params = {knob.name: knob.choices[0] for knob in space.knobs}
    assert len(space.resolve(params).blocks) == 1


def test_a_space_without_any_bridge_may_say_what_its_tokens_would_be(tmp_path: Path) -> None:
    text = GOOD.replace("s2: [both, none]", "s2: none, final: false").replace("[first_token, pooled]", "pooled")
    space = load(tmp_path, text)
    config = space.resolve({knob.name: knob.choices[-1] for knob in space.knobs})
    assert config.tokens.count == 0


# --- limits


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head": {"hidden": list(range(4, 1004))}}, "head.hidden may have 64 values, got 1000"),
        ({"blocks": {f"s2_{k}": {"repeat": 1, "expand": 2} for k in range(1000)}}, "32 rows, blocks has 1000"),
        (
            {"blocks": {f"s2_{k}": {"repeat": [1, 64], "expand": 2} for k in range(2)}},
            "64 blocks, the repeats of blocks",
        ),
        (
            {"blocks": {f"s2_{k}": {"expand": 2, "tail": 2, "out": [4 * n for n in range(1, 33)]} for k in range(32)}},
            "the knobs of a space may have 512 values in all, got",
        ),
        ({"groups": float("inf")}, "config.groups must be a whole number from 1 to 64, got inf"),
        ({"bridges": {"heads": float("nan")}}, "bridges.heads must be a whole number from 1 to 16, got nan"),
        ({"name": {"x" * 5000: 1}}, "name must be a word, got {'xxx"),
    ],
)
def test_a_space_beyond_the_limits_is_refused_in_a_short_sentence(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    data = (
        yaml.safe_load(TINY_SPACE.read_text())
        | ({"bridges": {}, "former": {}} if "blocks" in changes else {})
        | changes
    )
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ValueError, match=r"large\.yaml") as error:
        load_space(tmp_path / "large.yaml")
    assert words in str(error.value)
    assert len(str(error.value)) < 500 + len(str(tmp_path))


def test_a_kernel_before_the_expansion_is_for_universal_rows(tmp_path: Path) -> None:
    said = refusal(tmp_path, "kernel: [3, 5]", "before: [0, 3]")
    assert "before is for mobile universal, got mobile None" in said
