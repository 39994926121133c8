"""The table of knobs: each under its name in a space's YAML file, with its default and the part of a network it needs.

`blocks.ROW.out` stands for that key of every row, `bridges.STAGE` for that of every stage. `mfsearch.config.RULES` says
when a knob has a say; the rules stand there because a network's `arch_id` leaves out the knobs that have none.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from operator import attrgetter
from typing import Any

from mfsearch.config import BRIDGES, SOURCES, BlockConfig, BridgeConfig, DyReLUConfig, FormerConfig, MobileFormerConfig

Value = bool | int | float | str

STEP = 4  # widths are multiples of 4, as published
SECTIONS = ("tokens", "former", "bridges", "dyrelu")  # the parts of a config whose fields are knobs as they stand


Rule = tuple[Callable[[Any], bool], str]  # which values a file may give: a test, and the same in words


def _is_width(value: object) -> bool:
    return type(value) is int and value >= STEP and value % STEP == 0


def _is_ratio(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= 64  # type: ignore[operator]


_TIMES = re.compile(r"\d{1,2}(\.\d{1,3})?x")
ANY: Rule = (lambda value: True, "")
WIDTH: Rule = (_is_width, f"a multiple of {STEP}")
ROW_WIDTH: Rule = (lambda value: value == "same" or _is_width(value), f"same or a multiple of {STEP}")
HEAD_WIDTH: Rule = (
    lambda value: _is_width(value) or bool(_TIMES.fullmatch(str(value))),
    f"like 6x or a multiple of {STEP}",
)
FACTOR: Rule = (lambda value: type(value) is int and value > 0, "a whole number above 0")
RATIO: Rule = (_is_ratio, "a number above 0 and up to 64")
REPEAT: Rule = (lambda value: type(value) is int and 0 <= value <= 64, "a whole number from 0 to 64")
SCALE: Rule = (lambda value: _is_ratio(value) and value <= 4, "solve or a number above 0 and up to 4")


@dataclass(frozen=True, slots=True)
class KnobSpec:
    """The facts on a knob that hold in any space.

    default: its value if a file gives none; None if a file must. about: the part of a network that the knob needs
    (tokens, a dynamic dyrelu, row, stage); "" if every network has it. rule: for values used in calculations by
    `SearchSpace.resolve`; the config checks all others. choices: the values a twin may have; () if twins do not vary
    the knob. tried: those `mfsearch twins` tries by default (of numbers, the nearest two); () for all choices.
    """

    default: Value | None
    about: str
    rule: Rule = ANY
    choices: tuple[Value, ...] = ()
    tried: tuple[Value, ...] = ()


_FORMER, _BRIDGES, _DYRELU, _ROW = FormerConfig(), BridgeConfig(), DyReLUConfig(), BlockConfig(1, 1)
_BOTH = (True, False)

# fmt: off
KNOBS: dict[str, KnobSpec] = {
    "tokens.count":        KnobSpec(None, "tokens", ANY, (0, 1, 2, 3, 4, 6, 9, 12), (1, 3, 6, 12)),
    "tokens.dim":          KnobSpec(None, "tokens", ANY, (32, 64, 96, 128, 192, 256, 384), (64, 128, 192, 256)),
    "tokens.init_std":     KnobSpec(1.0, "tokens"),
    "former.heads":        KnobSpec(_FORMER.heads, "tokens", ANY, (1, 2, 4, 8), (2, 4, 8)),
    "former.ffn":          KnobSpec(_FORMER.ffn, "tokens", ANY, (0, 1, 2, 4), (0, 2)),
    "former.projections":  KnobSpec(_FORMER.projections, "tokens", ANY, ("tied", "full")),
    "former.STAGE":        KnobSpec(_ROW.former, "stage", ANY, _BOTH),
    "bridges.heads":       KnobSpec(_BRIDGES.heads, "tokens", ANY, (1, 2, 4, 8), (1, 2, 4)),
    "bridges.gate":        KnobSpec(_BRIDGES.gate, "tokens", ANY, _BOTH),
    "bridges.projections": KnobSpec(_BRIDGES.projections, "tokens", ANY, ("published", "full")),
    "bridges.final":       KnobSpec(_BRIDGES.final, "", ANY, _BOTH),
    "bridges.STAGE":       KnobSpec(_ROW.bridge, "stage", ANY, BRIDGES, ("both", "none")),
    "dyrelu.source":       KnobSpec(_DYRELU.source, "", ANY, SOURCES, ("first_token", "pooled", "spatial", "none")),
    "dyrelu.position":     KnobSpec(_DYRELU.position, "dyrelu", ANY, ("both", "first", "second")),
    "dyrelu.slopes":       KnobSpec(_DYRELU.slopes, "dyrelu", ANY, (2, 3)),
    "dyrelu.intercepts":   KnobSpec(_DYRELU.intercepts, "dyrelu", ANY, _BOTH),
    "dyrelu.reduction":    KnobSpec(_DYRELU.reduction, "dyrelu", ANY, (2, 4, 8, 16), (4, 8)),
    "groups":              KnobSpec(1, ""),
    "stem.out":            KnobSpec(None, "", WIDTH),
    "lite.expand":         KnobSpec(None, "", FACTOR),
    "lite.out":            KnobSpec(None, "", WIDTH),
    "lite.stride":         KnobSpec(1, ""),
    "lite.mobile":         KnobSpec("lite", ""),
    "head.conv":           KnobSpec("6x", "", HEAD_WIDTH),
    "head.hidden":         KnobSpec(None, ""),
    "blocks.ROW.stride":   KnobSpec(_ROW.stride, "row"),
    "blocks.ROW.expand":   KnobSpec(None, "row", RATIO),
    "blocks.ROW.out":      KnobSpec("same", "row", ROW_WIDTH),
    "blocks.ROW.kernel":   KnobSpec(_ROW.kernel, "row"),
    "blocks.ROW.repeat":   KnobSpec(1, "", REPEAT),
    "blocks.ROW.tail":     KnobSpec(_ROW.tail, "row"),
    "blocks.ROW.mobile":   KnobSpec(_ROW.mobile, "row"),
    "blocks.ROW.before":   KnobSpec(_ROW.before, "row"),
    "width":               KnobSpec(1.0, "", SCALE),
}
# fmt: on


@cache
def find_knob(name: str) -> KnobSpec:
    """The table's line for a name in a space: that of blocks.ROW.out for blocks.s3_down.out; empty if unknown."""
    section, _, key = name.partition(".")
    if section == "blocks":
        name = f"blocks.ROW.{key.rpartition('.')[2]}"
    return KNOBS.get(name) or KNOBS.get(f"{section}.STAGE") or KnobSpec(None, "")


_ABOUT = {"bridges": "bridge", "former": "Former", "dyrelu": "DyReLU", "tokens": "token"}
_FIELDS = {"out": "width", "dim": "width", "expand": "expansion", "repeat": "blocks", "ffn": "FFN"}


def knob_title(name: str) -> str:
    """A knob's name for people: "s3_down width" for blocks.s3_down.out, "s3 bridge" for bridges.s3."""
    section, dot, key = name.partition(".")
    row, _, field = key.rpartition(".")
    if not dot:
        return name
    if re.fullmatch(r"s\d+|final", field):
        return f"{field} {_ABOUT.get(section, section)}"
    return f"{row or _ABOUT.get(section, section)} {_FIELDS.get(field, field)}"


def shown_value(value: object) -> str:
    """A knob's value as a space file writes it: true, 3, first_token."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def section_defaults(section: str) -> dict[str, Value | None]:
    """The keys of a section of a file (`blocks.ROW` for a row's) with their defaults, without those of stages."""
    keys = {name.removeprefix(f"{section}."): spec for name, spec in KNOBS.items() if name.startswith(f"{section}.")}
    return {key: spec.default for key, spec in keys.items() if key != "STAGE"}


def network_values(config: MobileFormerConfig) -> dict[str, Value]:
    """The knobs of the whole network with their values, without those of rows and stages; head.conv is a width."""
    lite = config.lite
    fields = [name for name in KNOBS if name.startswith(SECTIONS) and not name.endswith("STAGE")]
    values: dict[str, Value] = {name: attrgetter(name)(config) for name in fields}
    values |= {"groups": config.groups, "stem.out": config.stem}
    values |= {"lite.expand": lite.exp // config.stem, "lite.out": lite.out, "lite.stride": lite.stride}
    values["lite.mobile"] = lite.mobile
    return values | {"head.conv": config.head.conv, "head.hidden": config.head.hidden}


def row_stages(config: MobileFormerConfig) -> list[str]:
    """The stage of each row, by how often its output has been halved: s2 at 56 pixels of 224, s5 at 7."""
    halvings = accumulate((int(row.stride == 2) for row in config.blocks), initial=1 + (config.lite.stride == 2))
    return [f"s{k}" for k in halvings][1:]
