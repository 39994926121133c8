"""What differs between networks, and which is nearest: by what is built, in the names that the knobs of a space have.

The distance of two networks is a sum over all knobs: min(1, |log2((1 + a) / (1 + b))|) of two numbers, so that a factor
of two or more counts in full; 1 of two words that differ; 1/2 where only one network has the knob. A knob of one row or
stage weighs a quarter of one of the whole network, for there are four stages. It is a metric over what is built.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mfsearch.analysis.frame import short_top1
from mfsearch.config import BlockConfig, MobileFormerConfig
from mfsearch.presets import PRESETS
from mfsearch.study.trial import Trial

Value = bool | int | float | str

LOOKED_AT = 500  # trials that may be the nearest cheaper one
CHEAPER = 0.10  # share of a cost that the nearest cheaper network must save at the least
OF_A_STAGE = 0.25  # weight of a knob of one row or stage
ABSENT = "-"  # a knob that a network does not have
_SECTIONS = ("tokens", "former", "bridges", "dyrelu", "groups", "stem", "lite", "head")


class Difference(NamedTuple):
    """A knob and its value in each network, as text; ABSENT where a network does not have it."""

    knob: str
    values: tuple[str, ...]


class NearestPublished(NamedTuple):
    """The published network that is nearest to another, and what differs from it (values: published, other)."""

    name: str
    distance: float
    differences: list[Difference]


class CheaperTrial(NamedTuple):
    """The nearest trained trial that costs at least CHEAPER less. cost_change: as a share, negative; top1_change: as a
    fraction, of the short training both had where one was trained longer (after_short), NaN where one has none."""

    number: int
    cost: str
    cost_change: float
    top1_change: float
    after_short: bool
    distance: float


def row_names(config: MobileFormerConfig) -> list[str]:
    """A name for each row of blocks by the stage of its output and its place there: s3_down (stride 2), s3_1, s3_2.

    s2 is a quarter of the input's side, s5 a 32nd. Rows of two networks that share a name stand side by side.
    """
    stage, place, names = 1 + (config.lite.stride == 2), 0, []
    for row in config.blocks:
        stage, place = (stage + 1, 0) if row.stride == 2 else (stage, place + 1)
        names.append(f"s{stage}_{place or 'down'}")
    return names


def network_knobs(config: MobileFormerConfig) -> dict[str, Value]:
    """Every number of a network by the name that a space has for it; those that change nothing in it are left out.

    Rows are named by `row_names`; expansions are ratios to the row's input and head.conv to the last width. Bridges and
    Former of a stage are one word where its rows agree. Image size and classes are no part of the network.
    """
    tokens, former, bridges, dyrelu = config.tokens, config.former, config.bridges, config.dyrelu
    count = tokens.count
    knobs: dict[str, Value] = {"tokens.count": count}
    if count:
        knobs |= {"tokens.dim": tokens.dim, "tokens.init_std": float(tokens.init_std)}
    if any(row.former for row in config.blocks):
        knobs |= {"former.heads": former.heads} if count > 1 else {}  # attention over one token is 1
        knobs |= {"former.ffn": former.ffn, "former.projections": former.projections}
    reads = bridges.final or any(row.to_former for row in config.blocks)
    if reads or count > 1:
        knobs["bridges.heads"] = bridges.heads
    if reads:
        knobs["bridges.gate"] = bridges.gate
    if count:
        knobs["bridges.projections"] = bridges.projections
    knobs["bridges.final"] = bridges.final
    source = "first_token" if dyrelu.source == "mean_token" and count == 1 else dyrelu.source
    knobs["dyrelu.source"] = source
    if source != "none":
        knobs["dyrelu.position"] = dyrelu.position
    if dyrelu.dynamic:
        knobs |= {f"dyrelu.{name}": getattr(dyrelu, name) for name in ("slopes", "intercepts", "reduction")}
    lite = config.lite
    knobs |= {"groups": config.groups, "stem.out": config.stem}
    knobs |= {"lite.expand": lite.exp / config.stem, "lite.out": lite.out, "lite.stride": lite.stride}
    knobs |= {"head.conv": config.head.conv / config.blocks[-1].out, "head.hidden": config.head.hidden}
    names = row_names(config)
    stages: dict[str, list[BlockConfig]] = {}
    for name, row in zip(names, config.blocks, strict=True):
        stages.setdefault(name.partition("_")[0], []).append(row)
    for stage, rows in stages.items():
        knobs[f"bridges.{stage}"] = _together([row.bridge for row in rows])
        knobs[f"former.{stage}"] = _together([_word(row.former) for row in rows])
    inp = lite.out
    for name, row in zip(names, config.blocks, strict=True):
        knobs |= {f"blocks.{name}.expand": row.exp / inp, f"blocks.{name}.out": row.out}
        knobs |= {f"blocks.{name}.kernel": row.kernel}
        if row.stride == 2:
            knobs[f"blocks.{name}.tail"] = row.tail
        inp = row.out
    return knobs


def shown_knob(name: str, value: Value | None) -> str:
    """A knob's value as people read it: "6x" for a ratio, "yes" for true, ABSENT for None."""
    if value is None:
        return ABSENT
    ratio = name.endswith(".expand") or name == "head.conv"
    return f"{value:g}x" if ratio and not isinstance(value, str) else _word(value)


def differences(networks: Sequence[MobileFormerConfig]) -> list[Difference]:
    """The knobs in which any two of the networks differ, those of the whole network first, rows from top to bottom."""
    knobs = [network_knobs(config) for config in networks]
    names = sorted(dict.fromkeys(name for one in knobs for name in one), key=_place)
    found = [Difference(name, tuple(shown_knob(name, one.get(name)) for one in knobs)) for name in names]
    return [one for one in found if len(set(one.values)) > 1]


def distances(network: MobileFormerConfig, others: Sequence[MobileFormerConfig]) -> NDArray[np.float64]:
    """How far each of the others [N] is from the network: see the top of this file."""
    knobs = [network_knobs(config) for config in (network, *others)]
    columns = {name: k for k, name in enumerate(dict.fromkeys(name for one in knobs for name in one))}
    words: dict[str, float] = {}  # any two of them a unit apart or more
    values = np.full((len(knobs), len(columns)), np.nan)
    for at, one in enumerate(knobs):
        for name, value in one.items():
            if isinstance(value, bool | str):
                values[at, columns[name]] = words.setdefault(_word(value), len(words))
            else:
                values[at, columns[name]] = np.log2(1 + value)
    apart = np.minimum(1.0, np.abs(values[1:] - values[0]))
    absent = np.isnan(values)
    apart[absent[1:] | absent[0]] = 0.5
    apart[absent[1:] & absent[0]] = 0.0
    found: NDArray[np.float64] = apart @ np.array([1.0 if stage_of(name) is None else OF_A_STAGE for name in columns])
    return found


def nearest_published(config: MobileFormerConfig) -> NearestPublished:
    """The preset at the smallest distance, the smaller one of equals."""
    found = distances(config, list(PRESETS.values()))
    name = list(PRESETS)[int(found.argmin())]
    return NearestPublished(name, float(found.min()), differences([PRESETS[name], config]))


def nearest_cheaper(frame: pd.DataFrame, number: int) -> CheaperTrial | None:
    """The nearest trained trial that is at least CHEAPER faster, or has as many fewer multiply-adds where the trial was
    not timed; of equals the one with the highest top1. None where there is none, or the trial's config cannot be read.

    Looked for among the LOOKED_AT trials that save the least, so that a study of any size answers at once.
    """
    known = frame.assign(short=short_top1(frame))
    own = known[known["number"] == number].iloc[0]
    cost = "madds" if np.isnan(own["latency_ms"]) else "latency_ms"
    fits = (known["outcome"] == "trained") & known["top1"].notna() & (known[cost] <= (1 - CHEAPER) * own[cost])
    rivals = known[fits].sort_values(cost, ascending=False, kind="stable").head(LOOKED_AT)
    networks = readable_networks(rivals)
    try:
        network = own["trial"].config
    except ValueError:
        return None
    if not networks:
        return None
    rivals = rivals[rivals["number"].isin(list(networks))]  # in the order of `networks`
    rivals = rivals.assign(distance=distances(network, list(networks.values())))
    rival = rivals.sort_values(["distance", "top1"], ascending=[True, False], kind="stable").iloc[0]
    both_trained = own["outcome"] == "trained"
    after_short = bool(both_trained and rival["rung"] != own["rung"])
    top1 = "short" if after_short else "top1"
    return CheaperTrial(
        number=int(rival["number"]),
        cost=cost,
        cost_change=float(rival[cost] / own[cost] - 1),
        top1_change=float(rival[top1] - own[top1]) if both_trained else np.nan,
        after_short=after_short,
        distance=float(rival["distance"]),
    )


def readable_networks(frame: pd.DataFrame) -> dict[int, MobileFormerConfig]:
    """The networks of all trials whose config can be read, by number."""
    found = {}
    trials: list[Trial] = frame["trial"].tolist()
    for trial in trials:
        try:
            found[trial.number] = trial.config
        except ValueError:
            continue
    return found


def _together(words: list[str]) -> str:
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def _word(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:g}"


def stage_of(name: str) -> tuple[int, int] | None:
    """The stage and row that a name is about: (3, 0) for blocks.s3_down.out, (3, 2) for s3_2, (3, -1) for former.s3."""
    for word in name.split("."):
        stage, _, place = word.removeprefix("s").partition("_")
        if word.startswith("s") and stage.isdecimal():
            return int(stage), -1 if not place else 0 if place == "down" else int(place)
    return None


def _place(name: str) -> tuple[int, int, int]:
    """Where a knob stands in a list: the whole network's in the order of a space's file, then stage by stage."""
    stage = stage_of(name)
    return (_SECTIONS.index(name.partition(".")[0]), 0, 0) if stage is None else (len(_SECTIONS), *stage)
