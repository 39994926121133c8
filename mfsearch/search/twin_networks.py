"""Twins of a network: one Mobile-Former knob changed alone, the widths solved back to the same multiply-adds.

What a bridge, a token or another source of DyReLU buys is the difference between a network and such a twin. Parameters,
latency and memory may differ between the two: only the multiply-adds are held.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from mfsearch.config import BRIDGES, SOURCES, TOKEN_SOURCES, MobileFormerConfig, TokenConfig
from mfsearch.cost.madds import count_madds
from mfsearch.search.trainings import Task
from mfsearch.space.solve import MAX_WIDTH, MIN_WIDTH
from mfsearch.space.space import STEP, hint
from mfsearch.study.task_file import TaskRecord

NEAR, TOLERANCE = 0.01, 0.02  # multiply-adds of a twin beside its parent's: aimed at, and accepted
STAGES = ("s2", "s3", "s4", "s5")  # by the output: s2 at a quarter of the input's side, s5 at a 32nd

# Tried where --knobs says nothing: twelve twins of mf-151m.
MAIN_KNOBS = "tokens.count,tokens.dim,former.ffn,bridges.blocks,dyrelu.source,dyrelu.intercepts"

Value = bool | int | str


class Knob(NamedTuple):
    """One thing to change. choices: all values that may be asked for; main: those tried where none is asked for, of
    numbers only the network's neighbours among them. get gives None where the network does not show the knob."""

    choices: tuple[Value, ...]
    main: tuple[Value, ...]
    get: Callable[[MobileFormerConfig], Value | None]
    change: Callable[[MobileFormerConfig, Any], MobileFormerConfig]


@dataclass(frozen=True)
class Twin:
    """A twin, or why there is none. old and new: the knob's value, in words; madds_changed: multiply-adds after the
    change and before the widths were solved; width: what they were then scaled by."""

    knob: str
    old: str
    new: str
    config: MobileFormerConfig | None = None
    width: float | None = None
    madds_changed: int | None = None
    madds: int | None = None
    reason: str | None = None

    @property
    def name(self) -> str:
        return f"{self.knob}={self.new}"


def make_twins(parent: MobileFormerConfig, knobs: str = MAIN_KNOBS) -> list[Twin]:
    """The twins that `knobs` asks for: names or sections by commas, values by plus signs: tokens.count=1+3,bridges.

    Raises ValueError for a knob or a value that is not known. A twin that cannot be built, that has other multiply-adds
    at every width or that is the same network has a reason in place of a config.
    """
    twins = []
    for name, values in parse_knobs(knobs):
        old = KNOBS[name].get(parent)
        if old is None:
            twins.append(Twin(name, "-", "-", reason=f"the network has nothing that {name} could change"))
            continue
        twins += [_twin(parent, name, old, value) for value in (values or _main_values(KNOBS[name], old))]
    return twins


def parse_knobs(text: str) -> list[tuple[str, tuple[Value, ...]]]:
    """Each knob asked for, once, with its values; () where none is given. A section's name stands for all its knobs."""
    found: dict[str, tuple[Value, ...]] = {}
    for word in text.split(","):
        name, equals, given = word.strip().partition("=")
        section = [known for known in KNOBS if known.startswith(f"{name}.")]
        if name not in KNOBS and (not section or equals):
            raise ValueError(
                f"unknown knob {name!r}: {hint(name, list(KNOBS))}, or a section's name for all of its knobs"
            )
        if name not in KNOBS:
            found |= {known: () for known in section if known not in found}
            continue
        choices = {_word(choice): choice for choice in KNOBS[name].choices}
        values = given.split("+") if equals else []
        for value in values:
            if value not in choices:
                raise ValueError(f"--knobs {name} must be one or more of {', '.join(choices)}, got {value!r}")
        found[name] = tuple(choices[value] for value in dict.fromkeys(values))
    return list(found.items())


def scale_widths(
    config: MobileFormerConfig, width: float, wide: frozenset[int] = frozenset(), wide_width: float = 1.0
) -> MobileFormerConfig:
    """The network with every width but the head's hidden one scaled: what `SearchSpace.resolve` does with params.

    Outputs become multiples of 4 (and of groups and bridge heads), expansions keep their ratio to the input. Outputs
    that `wide` holds are scaled by `wide_width` instead. Raises ValueError where that cannot be built.
    """
    step = math.lcm(STEP, config.groups, config.bridges.heads)

    def scale(channels: int) -> int:
        factor = wide_width if channels in wide else width
        return channels if factor == 1 else max(step, step * int(channels * factor / step + 0.5))

    stem, inp, lite_out = scale(config.stem), config.lite.out, scale(config.lite.out)
    scaled = lite_out
    blocks = []
    for row in config.blocks:
        exp = int(Fraction(row.exp, inp) * scaled)
        inp, scaled = row.out, scale(row.out)
        blocks.append(dataclasses.replace(row, exp=exp, out=scaled))
    return dataclasses.replace(
        config,
        stem=stem,
        lite=dataclasses.replace(config.lite, exp=config.lite.exp // config.stem * stem, out=lite_out),
        blocks=tuple(blocks),
        head=dataclasses.replace(config.head, conv=int(Fraction(config.head.conv, inp) * scaled)),
    )


def solve_width(config: MobileFormerConfig, madds: int) -> tuple[float, MobileFormerConfig]:
    """The width whose network comes nearest to `madds` multiply-adds, and that network; 1 where it is as near.

    A step of 4 in a narrow early layer may be worth several percent. Where one width for all stays more than 1 % off,
    the wider layers are scaled by up to an eighth more or less than the others. Raises ValueError where no width can be
    built.
    """

    def build(k: int, start: int = 0, more: int = 0) -> MobileFormerConfig:
        return scale_widths(config, k / 512, frozenset(widths[start:]), (k + more) / 512)

    def rank(way: tuple[int, ...]) -> tuple[float, int]:
        try:
            off: float = abs(count_madds(build(*way)) - madds)
        except ValueError:
            off = math.inf
        return off, abs(way[0] - 512) + sum(map(abs, way[2:]))

    widths = sorted({config.stem, config.lite.out, *(row.out for row in config.blocks)})
    # widths move in steps of 4, so 1/512 resolves every width up to 2,000 channels: in leaps, then around the best
    best = min(((k,) for k in range(round(MIN_WIDTH * 512), round(MAX_WIDTH * 512) + 1, 16)), key=rank)
    k, *_ = min(((k,) for k in range(best[0] - 16, best[0] + 17)), key=rank)
    way: tuple[int, ...] = (k,)
    if rank(way)[0] > NEAR * madds:
        eighth = range(-k // 8, k // 8 + 1)
        way = min(((k, start, more) for start in range(1, len(widths)) for more in eighth), key=rank, default=way)
    return k / 512, build(*way)


def twin_tasks(parent: MobileFormerConfig, twins: Iterable[Twin], seeds: Sequence[int]) -> list[Task]:
    """The trainings of the parent and its twins: seed after seed, so that whole pairs come first. Twins that are one
    network share its trainings."""
    configs = {parent.arch_id: parent} | {twin.config.arch_id: twin.config for twin in twins if twin.config is not None}
    return [Task(task_key(config, seed), config, seed) for seed in seeds for config in configs.values()]


def task_key(config: MobileFormerConfig, seed: int) -> str:
    """The name of one network's training by one seed."""
    return f"{config.arch_id}-{seed}"


def top1_by_seed(
    config: MobileFormerConfig, seeds: Sequence[int], records: Mapping[str, TaskRecord]
) -> dict[int, float]:
    """top1 of the network for each seed that has a training that did not fail."""
    found = {seed: record.top1 for seed in seeds if (record := records.get(task_key(config, seed)))}
    return {seed: top1 for seed, top1 in found.items() if top1 is not None}


def failures_by_seed(
    config: MobileFormerConfig, seeds: Sequence[int], records: Mapping[str, TaskRecord]
) -> dict[int, str]:
    """The reason for each seed whose training failed."""
    found = {seed: record.reason for seed in seeds if (record := records.get(task_key(config, seed)))}
    return {seed: reason for seed, reason in found.items() if reason is not None}


def _twin(parent: MobileFormerConfig, name: str, old: Value, value: Value) -> Twin:
    twin = Twin(name, _word(old), _word(value))
    if old == value and type(old) is type(value):
        return dataclasses.replace(twin, reason="the network has this value")
    madds = count_madds(parent)
    try:
        changed = KNOBS[name].change(parent, value)
        if changed.dyrelu.source != parent.dyrelu.source and name != "dyrelu.source":
            twin = dataclasses.replace(twin, new=f"{twin.new}, {changed.dyrelu.source}")
        if changed.arch_id == parent.arch_id:
            return dataclasses.replace(twin, reason=f"the same network: {name} has no effect in it")
        twin = dataclasses.replace(twin, madds_changed=count_madds(changed))
        width, config = solve_width(changed, madds)
    except ValueError as error:
        return dataclasses.replace(twin, reason=f"cannot be built: {error}")
    off = count_madds(config) / madds - 1
    if abs(off) > TOLERANCE:
        reason = f"no width has the same multiply-adds within {TOLERANCE:.0%}: nearest is {off:+.1%}, width {width:.3f}"
        return dataclasses.replace(twin, reason=reason)
    return dataclasses.replace(twin, config=config, width=width, madds=count_madds(config))


def _main_values(knob: Knob, old: Value) -> list[Value]:
    """All other main values of a word; the nearest below and above of a number."""
    if type(old) is not int:
        return [value for value in knob.main if value != old]
    numbers = [value for value in knob.main if type(value) is int]
    return [*sorted(n for n in numbers if n < old)[-1:], *sorted(n for n in numbers if n > old)[:1]]


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _field(section: str, name: str, choices: tuple[Value, ...], main: tuple[Value, ...] | None = None) -> Knob:
    """A knob that is one field of one section."""

    def get(config: MobileFormerConfig) -> Value | None:
        shows = config.tokens.count > 0 or section == "dyrelu"
        value: Value = getattr(getattr(config, section), name)
        return value if shows else None

    def change(config: MobileFormerConfig, value: Value) -> MobileFormerConfig:
        part = dataclasses.replace(getattr(config, section), **{name: value})
        return dataclasses.replace(config, **{section: part})

    return Knob(choices, choices if main is None else main, get, change)


def _rows(field: str, stage: str | None, choices: tuple[Value, ...], main: tuple[Value, ...]) -> Knob:
    """A knob that is one field of all rows, or of those of a stage; the value is `mixed` where they differ."""

    def chosen(config: MobileFormerConfig) -> list[bool]:
        return [stage is None or stage == there for there in row_stages(config)]

    def get(config: MobileFormerConfig) -> Value | None:
        rows = zip(config.blocks, chosen(config), strict=True)
        values = {getattr(row, field) for row, is_chosen in rows if is_chosen}
        if not values or not config.tokens.count:
            return None
        value: Value = values.pop() if len(values) == 1 else "mixed"
        return value

    def change(config: MobileFormerConfig, value: Value) -> MobileFormerConfig:
        rows = zip(config.blocks, chosen(config), strict=True)
        changes: Any = {field: value}
        blocks = tuple(dataclasses.replace(row, **changes) if is_chosen else row for row, is_chosen in rows)
        return dataclasses.replace(config, blocks=blocks)

    return Knob(choices, main, get, change)


def row_stages(config: MobileFormerConfig) -> list[str]:
    """The stage of each row, by how often its output has been halved: s2 at 56 pixels of 224, s5 at 7."""
    halvings = 1 + (config.lite.stride == 2)
    stages = []
    for row in config.blocks:
        halvings += row.stride == 2
        stages.append(f"s{halvings}")
    return stages


def _change_count(config: MobileFormerConfig, count: int) -> MobileFormerConfig:
    """Without tokens there is nothing to bridge to and no Former; a DyReLU that read a token reads pooled features."""
    if count:
        return dataclasses.replace(config, tokens=dataclasses.replace(config.tokens, count=count))
    source = "pooled" if config.dyrelu.source in TOKEN_SOURCES else config.dyrelu.source
    return dataclasses.replace(
        config,
        tokens=TokenConfig(0, 0),
        blocks=tuple(dataclasses.replace(row, bridge="none", former=False) for row in config.blocks),
        bridges=dataclasses.replace(config.bridges, final=False),
        dyrelu=dataclasses.replace(config.dyrelu, source=source),
    )


_BOTH = (True, False)
_COUNT = _field("tokens", "count", (0, 1, 2, 3, 4, 6, 9, 12), (1, 3, 6, 12))
KNOBS: dict[str, Knob] = {
    "tokens.count": _COUNT._replace(change=_change_count),
    "tokens.dim": _field("tokens", "dim", (32, 64, 96, 128, 192, 256, 384), (64, 128, 192, 256)),
    "former.heads": _field("former", "heads", (1, 2, 4, 8), (2, 4, 8)),
    "former.ffn": _field("former", "ffn", (0, 1, 2, 4), (0, 2)),
    "former.projections": _field("former", "projections", ("tied", "full")),
    "former.blocks": _rows("former", None, _BOTH, _BOTH),
    **{f"former.{stage}": _rows("former", stage, _BOTH, _BOTH) for stage in STAGES},
    "bridges.heads": _field("bridges", "heads", (1, 2, 4, 8), (1, 2, 4)),
    "bridges.gate": _field("bridges", "gate", _BOTH),
    "bridges.projections": _field("bridges", "projections", ("published", "full")),
    "bridges.final": _field("bridges", "final", _BOTH),
    "bridges.blocks": _rows("bridge", None, BRIDGES, BRIDGES),
    **{f"bridges.{stage}": _rows("bridge", stage, BRIDGES, ("both", "none")) for stage in STAGES},
    "dyrelu.source": _field("dyrelu", "source", SOURCES, ("first_token", "pooled", "spatial", "none")),
    "dyrelu.position": _field("dyrelu", "position", ("both", "first", "second")),
    "dyrelu.slopes": _field("dyrelu", "slopes", (2, 3)),
    "dyrelu.intercepts": _field("dyrelu", "intercepts", _BOTH),
    "dyrelu.reduction": _field("dyrelu", "reduction", (2, 4, 8, 16), (4, 8)),
}
