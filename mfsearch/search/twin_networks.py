"""Twins of a network: one knob of Mobile-Former is changed, then the widths are solved for the same multiply-adds.

The difference between a network and its twin is the effect of a bridge, a token or another source of DyReLU. Only the
multiply-adds are equal: parameters, latency and memory may differ. Knobs have the names of a space's YAML file;
`bridges.blocks` and `former.blocks` change the knobs of all stages at once.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from operator import attrgetter
from typing import Any, cast

from mfsearch.config import TOKEN_SOURCES, BlockConfig, MobileFormerConfig, TokenConfig
from mfsearch.cost.madds import count_madds
from mfsearch.living import living
from mfsearch.search.trainings import Task
from mfsearch.space.knobs import KNOBS, STEP, KnobSpec, Value, row_stages, shown_value
from mfsearch.space.search_space import hint
from mfsearch.space.solve import MAX_WIDTH, MIN_WIDTH
from mfsearch.study.task_file import TaskRecord
from mfsearch.study.twins_file import Twin

NEAR, TOLERANCE = 0.01, 0.02  # relative difference in multiply-adds: the aim, and the limit
STAGES = ("s2", "s3", "s4", "s5")  # by output: s2 has a quarter of the input's side, s5 a 32nd

# The default of --knobs: twelve twins of mf-151m.
MAIN_KNOBS = "tokens.count,tokens.dim,former.ffn,bridges.blocks,dyrelu.source,dyrelu.intercepts"


def make_twins(parent: MobileFormerConfig, knobs: str = MAIN_KNOBS) -> list[Twin]:
    """The twins for `knobs`: knobs or sections separated by commas, values by plus: tokens.count=1+3,bridges.

    Raises ValueError for an unknown knob or value. A twin has a reason instead of a config if it cannot be built, if no
    width gives the same multiply-adds, or if it is the same network.
    """
    twins = []
    for name, values in parse_knobs(knobs):
        old = _get(parent, name)
        if old is None:
            twins.append(Twin(name, "-", "-", reason=f"{name} changes nothing in this network"))
            continue
        twins += [_twin(parent, name, old, value) for value in (values or _main_values(TWIN_KNOBS[name], old))]
    return twins


def parse_knobs(text: str) -> list[tuple[str, tuple[Value, ...]]]:
    """Each knob in `text` once, with its values; () if none are given. A section's name stands for all its knobs."""
    chosen: dict[str, tuple[Value, ...]] = {}
    for word in text.split(","):
        name, equals, given = word.strip().partition("=")
        section = [known for known in TWIN_KNOBS if known.startswith(f"{name}.")]
        if name not in TWIN_KNOBS and (not section or equals):
            known = hint(name, list(TWIN_KNOBS))
            raise ValueError(f"unknown knob {name!r:.200}: {known}, or a section's name for all of its knobs")
        if name not in TWIN_KNOBS:
            chosen |= {known: () for known in section if known not in chosen}
            continue
        choices = {shown_value(choice): choice for choice in TWIN_KNOBS[name].choices}
        values = given.split("+") if equals else []
        for value in values:
            if value not in choices:
                raise ValueError(f"--knobs {name} must be one or more of {', '.join(choices)}, got {value!r:.200}")
        chosen[name] = tuple(choices[value] for value in dict.fromkeys(values))
    return list(chosen.items())


def scale_widths(
    config: MobileFormerConfig, width: float, wide: frozenset[int] = frozenset(), wide_width: float = 1.0
) -> MobileFormerConfig:
    """The network with all widths scaled like in `SearchSpace.resolve`, except the head's hidden width.

    Outputs become multiples of 4 (and of groups and bridge heads); expansions keep their ratio to the input. Outputs in
    `wide` are scaled by `wide_width` instead. Raises ValueError if the result cannot be built.
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
        lite=dataclasses.replace(config.lite, exp=int(Fraction(config.lite.exp, config.stem) * stem), out=lite_out),
        blocks=tuple(blocks),
        head=dataclasses.replace(config.head, conv=int(Fraction(config.head.conv, inp) * scaled)),
    )


def solve_width(config: MobileFormerConfig, madds: int) -> tuple[float, MobileFormerConfig]:
    """The width that brings the network nearest to `madds` multiply-adds, and the network; ties go to the width near 1.

    In a narrow early layer, a step of 4 channels can change several percent. If a single width stays more than 1 % off,
    the wider layers are scaled by up to an eighth more or less than the others. Raises ValueError if none can be built.
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
    # channels move in steps of 4, so 1/512 is fine enough up to 2,000 channels; coarse steps first, then near the best
    best = min(((k,) for k in range(round(MIN_WIDTH * 512), round(MAX_WIDTH * 512) + 1, 16)), key=rank)
    k, *_ = min(((k,) for k in range(best[0] - 16, best[0] + 17)), key=rank)
    way: tuple[int, ...] = (k,)
    if rank(way)[0] > NEAR * madds:
        eighth = range(-k // 8, k // 8 + 1)
        way = min(((k, start, more) for start in range(1, len(widths)) for more in eighth), key=rank, default=way)
    return k / 512, build(*way)


def twin_tasks(parent: MobileFormerConfig, twins: Iterable[Twin], seeds: Sequence[int]) -> list[Task]:
    """The trainings of the parent and its twins, seed by seed, so that complete pairs come first. Equal twins share
    their trainings."""
    configs = {parent.arch_id: parent} | {twin.config.arch_id: twin.config for twin in twins if twin.config is not None}
    return [Task(task_key(config, seed), config, seed) for seed in seeds for config in configs.values()]


def task_key(config: MobileFormerConfig, seed: int) -> str:
    """The key of one network's training with one seed."""
    return f"{config.arch_id}-{seed}"


def top1_by_seed(
    config: MobileFormerConfig, seeds: Sequence[int], records: Mapping[str, TaskRecord]
) -> dict[int, float]:
    """top1 of the network by seed, for each training that succeeded."""
    top1s = {seed: record.top1 for seed in seeds if (record := records.get(task_key(config, seed)))}
    return {seed: top1 for seed, top1 in top1s.items() if top1 is not None}


def failures_by_seed(
    config: MobileFormerConfig, seeds: Sequence[int], records: Mapping[str, TaskRecord]
) -> dict[int, str]:
    """The reason by seed, for each training that failed."""
    reasons = {seed: record.reason for seed in seeds if (record := records.get(task_key(config, seed)))}
    return {seed: reason for seed, reason in reasons.items() if reason is not None}


def changed_network(parent: MobileFormerConfig, changes: Mapping[str, Value]) -> MobileFormerConfig:
    """The network with other values of some knobs, changed in their order, and without what is dead then. Raises
    ValueError if it cannot be built."""
    changed = parent
    for name, value in changes.items():
        changed = _change(changed, name, value)
    return living(changed) if living(parent) is parent else changed  # networks of earlier studies may be dead in part


def at_equal_madds(twin: Twin, changed: MobileFormerConfig, madds: int) -> Twin:
    """The twin with the changed network, its widths solved for `madds` multiply-adds, or with the reason against it."""
    twin = dataclasses.replace(twin, madds_changed=count_madds(changed))
    try:
        width, config = solve_width(changed, madds)
    except ValueError as error:
        return dataclasses.replace(twin, reason=f"cannot be built: {error}")
    off = count_madds(config) / madds - 1
    if abs(off) > TOLERANCE:
        reason = f"no width has the same multiply-adds within {TOLERANCE:.0%}: nearest is {off:+.1%}, width {width:.3f}"
        return dataclasses.replace(twin, reason=reason)
    return dataclasses.replace(twin, config=config, width=width, madds=count_madds(config))


def _twin(parent: MobileFormerConfig, name: str, old: Value, value: Value) -> Twin:
    twin = Twin(name, shown_value(old), shown_value(value))
    if old == value and type(old) is type(value):
        return dataclasses.replace(twin, reason="the network already has this value")
    try:
        changed = changed_network(parent, {name: value})
    except ValueError as error:
        return dataclasses.replace(twin, reason=f"cannot be built: {error}")
    if changed.dyrelu.source != parent.dyrelu.source and name != "dyrelu.source":
        twin = dataclasses.replace(twin, new=f"{twin.new}, {changed.dyrelu.source}")
    if changed.arch_id == parent.arch_id:
        return dataclasses.replace(twin, reason=f"the same network: {name} has no effect in it")
    return at_equal_madds(twin, changed, count_madds(parent))


def _main_values(knob: KnobSpec, old: Value) -> list[Value]:
    """For a word, all other default values; for a number, the nearest below and above."""
    tried = knob.tried or knob.choices
    if type(old) is not int:
        return [value for value in tried if value != old]
    numbers = [value for value in tried if type(value) is int]
    return [*sorted(n for n in numbers if n < old)[-1:], *sorted(n for n in numbers if n > old)[:1]]


def _rows(config: MobileFormerConfig, name: str) -> list[tuple[BlockConfig, bool]]:
    """Each row, and whether a knob such as bridges.s3 or bridges.blocks applies to it."""
    rows = zip(config.blocks, row_stages(config), strict=True)
    return [(row, name.endswith((".blocks", f".{stage}"))) for row, stage in rows]


def _get(config: MobileFormerConfig, name: str) -> Value | None:
    """The knob's value, `mixed` if its rows differ; None if the network has no tokens or no such rows."""
    section = name.partition(".")[0]
    if not config.tokens.count and section != "dyrelu":
        return None
    if TWIN_KNOBS[name].about != "stage":
        return cast(Value, attrgetter(name)(config))
    values = {getattr(row, section.removesuffix("s")) for row, applies in _rows(config, name) if applies}
    return "mixed" if len(values) > 1 else next(iter(values), None)


def _change(config: MobileFormerConfig, name: str, value: Value) -> MobileFormerConfig:
    section, _, key = name.partition(".")
    if name == "tokens.count" and not value:  # without tokens there are no bridges and no Former; DyReLU reads "pooled"
        source = "pooled" if config.dyrelu.source in TOKEN_SOURCES else config.dyrelu.source
        return dataclasses.replace(
            config,
            tokens=TokenConfig(0, 0),
            blocks=tuple(dataclasses.replace(row, bridge="none", former=False) for row in config.blocks),
            bridges=dataclasses.replace(config.bridges, final=False),
            dyrelu=dataclasses.replace(config.dyrelu, source=source),
        )
    if TWIN_KNOBS[name].about != "stage":
        return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **{key: value})})
    changes: Any = {section.removesuffix("s"): value}
    blocks = [dataclasses.replace(row, **changes) if applies else row for row, applies in _rows(config, name)]
    return dataclasses.replace(config, blocks=tuple(blocks))


# The table's knobs that twins can change; `blocks` means all stages at once.
TWIN_KNOBS: dict[str, KnobSpec] = {
    name.replace("STAGE", stage): dataclasses.replace(spec, tried=()) if stage == "blocks" else spec
    for name, spec in KNOBS.items()
    if spec.choices
    for stage in (("blocks", *STAGES) if spec.about == "stage" else ("",))
}
