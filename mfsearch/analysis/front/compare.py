"""How networks differ and which is nearest, by the knobs that affect them, under their names in a space.

The distance between two networks is a sum over all knobs: min(1, |log2((1 + a) / (1 + b))|) for two numbers (a factor
of two or more counts in full); 1 for two different words; 1/2 if only one network has the knob. A knob of one row or
stage has a quarter of the weight, because there are four stages. It is a metric over the networks that are built.
"""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mfsearch.analysis.front.confidence import shown_length
from mfsearch.config import BlockConfig, MobileFormerConfig, effective_source, has_say
from mfsearch.presets import PRESETS
from mfsearch.space.knobs import KNOBS, Value, network_values, row_stages
from mfsearch.space.nested import LITE, find_streams, match, named_streams, stream_width
from mfsearch.study.kept_parent import KeptParent
from mfsearch.study.parent import ParentFacts
from mfsearch.study.trial import Trial

LOOKED_AT = 500  # candidates for the nearest cheaper trial
CHEAPER = 0.10  # share of a cost that the nearest cheaper network must save
OF_A_STAGE = 0.25  # weight of a knob of one row or stage
ABSENT = "-"  # a knob that a network does not have
_SECTIONS = list(dict.fromkeys(name.partition(".")[0] for name in KNOBS))


class Difference(NamedTuple):
    """A knob and its value in each network, as text; ABSENT if a network does not have it."""

    knob: str
    values: tuple[str, ...]


class NearestPublished(NamedTuple):
    """The published network nearest to another, and their differences (values: published, other)."""

    name: str
    distance: float
    differences: list[Difference]


class CheaperTrial(NamedTuple):
    """The nearest trained trial that costs at least CHEAPER less. cost_change: a share, negative. top1_change: a
    fraction, after the longest training that both had (`after`, "" if that is all of both trainings); NaN if one has no
    top1."""

    number: int
    cost: str
    cost_change: float
    top1_change: float
    after: str
    distance: float


def row_names(config: MobileFormerConfig) -> list[str]:
    """A name for each row of blocks, from its stage (`row_stages`) and its place there: s3_down (stride 2), s3_1, s3_2.

    Rows of two networks with the same name are shown side by side.
    """
    place, names = 0, []
    for stage, row in zip(row_stages(config), config.blocks, strict=True):
        place = 0 if row.stride == 2 else place + 1
        names.append(f"{stage}_{place or 'down'}")
    return names


def network_knobs(config: MobileFormerConfig) -> dict[str, Value]:
    """Every knob that has a say in the network, by its name in a space, with its value.

    Rows are named by `row_names`; expansions are ratios to the row's input, head.conv to the last width. The bridge and
    Former of a stage are one word if its rows agree. Image size and classes do not belong to the network.
    """
    wiring = config.wiring
    knobs = {name: value for name, value in network_values(config).items() if has_say(name, wiring)}
    knobs["dyrelu.source"] = effective_source(wiring.source, wiring.tokens)
    knobs["head.conv"] = config.head.conv / config.blocks[-1].out
    stages = row_stages(config)
    for stage in dict.fromkeys(stages):
        rows = [row for there, row in zip(stages, config.blocks, strict=True) if there == stage]
        knobs[f"bridges.{stage}"] = _together([row.bridge for row in rows])
        knobs[f"former.{stage}"] = _together([_word(row.former) for row in rows])
    inp = config.lite.out
    for name, row in zip(row_names(config), config.blocks, strict=True):
        knobs |= {f"blocks.{name}.expand": row.exp / inp, f"blocks.{name}.out": row.out}
        knobs |= {f"blocks.{name}.kernel": row.kernel}
        if row.mobile != "inverted_bottleneck":
            knobs |= {f"blocks.{name}.mobile": row.mobile, f"blocks.{name}.before": row.before}
        if row.has_tail:
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
    """The knobs in which any two of the networks differ: first those of the whole network, then row by row."""
    knobs = [network_knobs(config) for config in networks]
    names = sorted(dict.fromkeys(name for one in knobs for name in one), key=_place)
    found = [Difference(name, tuple(shown_knob(name, one.get(name)) for one in knobs)) for name in names]
    return [one for one in found if len(set(one.values)) > 1]


def distances(network: MobileFormerConfig, others: Sequence[MobileFormerConfig]) -> NDArray[np.float64]:
    """The distance of each of the others [N] from the network, as defined at the top of this file."""
    knobs = [network_knobs(config) for config in (network, *others)]
    columns = {name: k for k, name in enumerate(dict.fromkeys(name for one in knobs for name in one))}
    words: dict[str, float] = {}  # a number for each word: any two are 1 or more apart
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
    """The preset at the smallest distance; ties go to the smaller network."""
    found = distances(config, list(PRESETS.values()))
    name = list(PRESETS)[int(found.argmin())]
    return NearestPublished(name, float(found.min()), differences([PRESETS[name], config]))


def nearest_cheaper(frame: pd.DataFrame, number: int) -> CheaperTrial | None:
    """The nearest trained trial that is at least CHEAPER faster or, if the trial was not timed, has that many fewer
    multiply-adds; the highest top1 breaks ties. None if there is none or the trial's config cannot be read.

    Only the LOOKED_AT trials that save the least are candidates, so the answer is quick in a study of any size.
    """
    own = frame[frame["number"] == number].iloc[0]
    cost = "madds" if np.isnan(own["latency_ms"]) else "latency_ms"
    fits = (frame["outcome"] == "trained") & frame["top1"].notna() & (frame[cost] <= (1 - CHEAPER) * own[cost])
    rivals = frame[fits].sort_values(cost, ascending=False, kind="stable").head(LOOKED_AT)
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
    ours, theirs = own["trial"], rival["trial"]
    common = max(ours.top1_by_rung.keys() & theirs.top1_by_rung, default=None) if ours.outcome == "trained" else None
    gain = np.nan if common is None else fmean(theirs.top1_by_rung[common]) - fmean(ours.top1_by_rung[common])
    return CheaperTrial(
        number=int(rival["number"]),
        cost=cost,
        cost_change=float(rival[cost] / own[cost] - 1),
        top1_change=gain,
        after="" if common is None or ours.rung == theirs.rung else shown_length(theirs, common),
        distance=float(rival["distance"]),
    )


def lineage(facts: ParentFacts, kept: KeptParent | None, trial: Trial) -> str:
    """A sentence on what a trial's network was cut from and what was left out; in earlier studies the former alone."""
    origin = f"Cut from {facts.name} (weights {facts.digest[:12]})"
    try:
        left_out = None if kept is None else _left_out(kept.network.config, trial.config)
    except ValueError:  # no config, or one that does not lie inside
        left_out = None
    if kept is None or left_out is None:
        return f"{origin}."
    share = f"{trial.metric('num_params') / kept.network.metric('num_params'):.0%}".replace("%", " %")
    return "; ".join([f"{origin}: {share} of its parameters kept", *(left_out or ["nothing left out"])]) + "."


def _left_out(whole: MobileFormerConfig, part: MobileFormerConfig) -> list[str]:
    """The parts of a parent that one of its networks lacks, in words; ValueError if it does not lie inside."""
    rows, names, stages = match(whole, part), row_names(whole), row_stages(whole)
    pairs = [(stages[k], whole.blocks[k], row) for k, row in zip(rows, part.blocks, strict=True)]
    tokens, ffn = (whole.tokens.count, part.tokens.count), (whole.former.ffn, part.former.ffn)
    frozen = whole.dyrelu.dynamic and part.dyrelu.source == "static"
    streams = {stream: name for name, stream in named_streams(whole).items()}
    widths = [("stem", whole.stem, part.stem)]
    for theirs, ours in zip(find_streams(whole)[1:], find_streams(part)[1:], strict=True):
        name = "lite" if theirs.start == LITE else streams[theirs]
        widths.append((name, stream_width(whole, theirs), stream_width(part, ours)))
    widths += [("conv 1x1", whole.head.conv, part.head.conv), ("FC 1", whole.head.hidden, part.head.hidden)]
    inner = []
    for stage in dict.fromkeys(stage for stage, _, _ in pairs):
        exps = [(theirs.exp, ours.exp) for there, theirs, ours in pairs if there == stage]
        inner.append((stage, sum(exp for exp, _ in exps), sum(exp for _, exp in exps)))

    def shares(kept: Sequence[tuple[str, int, int]]) -> list[str]:
        return [f"{name} {ours / theirs:.0%}".replace("%", " %") for name, theirs, ours in kept if ours < theirs]

    def where(lost: Callable[[BlockConfig, BlockConfig], bool]) -> list[str]:
        return list(dict.fromkeys(stage for stage, theirs, ours in pairs if lost(theirs, ours)))

    told = {
        "without blocks": [name for k, name in enumerate(names) if k not in rows],
        "widths": shares(widths),
        "inner widths": shares(inner),
        "tokens": [f"{tokens[0]} to {tokens[1] or 'none'}"] * (tokens[0] != tokens[1]),
        "no Former in": where(lambda theirs, ours: theirs.former and not ours.former),
        "Former FFN": [f"{ffn[0]} to {ffn[1]}"] * (tokens[1] > 0 and ffn[0] != ffn[1]),
        "no Mobile->Former in": where(lambda theirs, ours: theirs.to_former and not ours.to_former),
        "no Mobile<-Former in": where(lambda theirs, ours: theirs.to_mobile and not ours.to_mobile),
        "no final": ["bridge"] * (whole.bridges.final and not part.bridges.final),
        "DyReLU frozen in": where(lambda theirs, ours: not theirs.static and (ours.static or frozen)),
        "5x5 kernels to 3x3 in": where(
            lambda theirs, ours: (ours.kernel, ours.before) != (theirs.kernel, theirs.before)
        ),
    }
    return [f"{kind} {', '.join(places)}" for kind, places in told.items() if places]


def readable_networks(frame: pd.DataFrame) -> dict[int, MobileFormerConfig]:
    """The networks of all trials with a readable config, by trial number."""
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
    """The stage and row in a knob's name: (3, 0) for blocks.s3_down.out, (3, 2) for s3_2, (3, -1) for former.s3."""
    for word in name.split("."):
        stage, _, place = word.removeprefix("s").partition("_")
        if word.startswith("s") and stage.isdecimal():
            return int(stage), -1 if not place else 0 if place == "down" else int(place)
    return None


def _place(name: str) -> tuple[int, int, int]:
    """The sort key of a knob: those of the whole network in the order of the table, then stage by stage."""
    stage = stage_of(name)
    return (_SECTIONS.index(name.partition(".")[0]), 0, 0) if stage is None else (len(_SECTIONS), *stage)
