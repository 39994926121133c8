"""Networks side by side, as text: their blocks in aligned rows, and the knobs and metrics that differ."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from mfsearch.analysis.front.compare import ABSENT, differences, row_names, stage_of
from mfsearch.analysis.front.confidence import shown_length, shown_probability, shown_training
from mfsearch.analysis.metrics import METRICS, RankedTrial, shown, shown_top1
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import Prediction
from mfsearch.cost.madds import count_costs
from mfsearch.study.trial import Trial
from mfsearch.units import counted

DIFFERS, ONLY_SOME = "≠", "+"  # marks of rows
_WIDTHS = ("in", "exp", "out")
_FIXED = ("tokens", "activation", "stem", "lite", "rows", "conv 1x1", "FC 1", "FC 2")

_Cells = dict[str, str]  # of one row of one network, by field


def block_table(networks: Mapping[str, MobileFormerConfig]) -> pd.DataFrame:
    """One column for each network, one line for each row of the paper's tables, aligned by `row_names`.

    `mark` is DIFFERS if the networks differ in the row, ONLY_SOME if some lack it, else ""; `differs` names the fields.
    """
    tables = [_table(config) for config in networks.values()]
    rows = []
    for name in sorted(dict.fromkeys(name for table in tables for name in table), key=_line):
        cells = [table[name] for table in tables if name in table]
        fields = dict.fromkeys(field for cell in cells for field in cell)
        differing = [field for field in fields if len({cell.get(field) for cell in cells}) > 1]
        mark = ONLY_SOME if len(cells) < len(tables) else DIFFERS if differing else ""
        texts = [_shown_cells(table[name]) if name in table else ABSENT for table in tables]
        rows.append([mark, name, *texts, ", ".join(differing)])
    return pd.DataFrame(rows, columns=["mark", "row", *networks, "differs"])


def knob_table(networks: Mapping[str, MobileFormerConfig]) -> pd.DataFrame:
    """The knobs in which any two networks differ: one line for each knob, one column for each network."""
    found = differences(list(networks.values()))
    return pd.DataFrame([[one.knob, *one.values] for one in found], columns=["knob", *networks])


def published_network(config: MobileFormerConfig) -> RankedTrial:
    """A network that is not a trial, with its exact costs, to compare with trials."""
    costs = count_costs(config)
    trial = Trial(
        number=-1,
        outcome="",
        origin="published",
        madds=costs.madds,
        macs=costs.macs,
        num_params=costs.num_params,
        activation_bytes=costs.activation_bytes,
    )
    return RankedTrial(trial, math.nan, "")


def metric_table(trials: Mapping[str, RankedTrial], predicted: Mapping[str, Prediction] | None = None) -> pd.DataFrame:
    """The metrics and other facts in which any two trials differ: a row a fact, a column a trial.

    predicted: latencies, of any of the trials.
    """
    facts = {name: [_fact(trial, name) for trial in trials.values()] for name in (*METRICS, *_OTHERS)}
    if predicted:
        facts["predicted latency"] = [
            shown_prediction(predicted[name]) if name in predicted else ABSENT for name in trials
        ]
    kept = [[_title(name), *texts] for name, texts in facts.items() if _differ(texts, list(trials.values()))]
    return pd.DataFrame(kept, columns=["metric", *trials])


def compared_lengths(trials: Mapping[str, RankedTrial]) -> str | None:
    """A sentence on trials trained for different lengths, with the top1 to compare: after the longest that all had.
    None if all have the same length."""
    trained = {name: one.trial for name, one in trials.items() if one.trial.outcome == "trained"}
    if len({trial.rung for trial in trained.values()}) < 2:
        return None
    lengths = ", ".join(f"{name} for {shown_training(trial)}" for name, trial in trained.items())
    common = set.intersection(*(set(trial.top1_by_rung) for trial in trained.values()))
    if not common:
        return f"Trained for different lengths: {lengths}. No length is common to all, so top-1 does not compare them."
    by_rung = {name: trial.top1_by_rung[max(common)] for name, trial in trained.items()}
    told = ", ".join(f"{name} {shown('top1', float(np.mean(top1)))}" for name, top1 in by_rung.items())
    length = next(shown_length(trial, max(common)) for trial in trained.values())
    return f"Trained for different lengths: {lengths}. Top-1 after {length}, the longest that all had: {told}."


def _title(name: str) -> str:
    return METRICS[name].title if name in METRICS else name.replace("_", " ").capitalize()


def _differ(texts: list[str], trials: list[RankedTrial]) -> bool:
    """Whether the texts of trials differ; a published network counts only if it has the fact."""
    asked = [text for text, one in zip(texts, trials, strict=True) if one.trial.outcome or text != ABSENT]
    return len(set(asked)) > 1


def shown_latency(trial: Trial) -> str:
    """A trial's latency with its 95 % interval, if any: "4.99 ms (4.73 to 5.15)"."""
    text = shown("latency_ms", trial.metric("latency_ms"))
    ends = [trial.metric(f"latency_{end}_ms") for end in ("low", "high")]
    return text if np.isnan(ends).any() else f"{text} ({ends[0]:.2f} to {ends[1]:.2f})"


def shown_prediction(predicted: Prediction) -> str:
    """A predicted latency with its 95 % interval: "5.12 ms (4.67 to 5.60)"."""
    return f"{predicted.latency_ms:.2f} ms ({predicted.low_ms:.2f} to {predicted.high_ms:.2f})"


# --- cells


_OTHERS: dict[str, Callable[[RankedTrial], str | None]] = {
    "trained": lambda one: shown_training(one.trial) if one.trial.outcome == "trained" else None,
    "on the front": lambda one: None if np.isnan(one.front_probability) else shown_probability(one.front_probability),
    "tied_with": lambda one: one.tied_with,
    "outcome": lambda one: one.trial.outcome,
    "reason": lambda one: one.trial.reason,
    "origin": lambda one: one.trial.origin,
}


def _fact(one: RankedTrial, name: str) -> str:
    if name in _OTHERS:
        return _OTHERS[name](one) or ABSENT
    trial = one.trial
    value = trial.metric(name)
    if np.isnan(value):
        return ABSENT
    if name == "top1":
        half_way = " half way" if trial.outcome == "stopped" else ""
        return shown_top1(value, one.top1_error) + half_way
    return shown_latency(trial) if name == "latency_ms" else shown(name, value)


def _table(config: MobileFormerConfig) -> dict[str, _Cells]:
    tokens, lite, source = config.tokens, config.lite, config.dyrelu.source
    lines: dict[str, _Cells] = {"tokens": {"count": "none"}}
    if tokens.count:
        lines["tokens"] = {"count": counted(tokens.count, "token"), "dim": f"of {tokens.dim}"}
    act = {"none": "ReLU", "hswish": "h-swish", "static": "learned slopes"}.get(source, f"DyReLU {source}")
    lines["activation"] = {"source": act} | ({} if source == "none" else {"position": config.dyrelu.position})
    lines["stem"] = {"out": str(config.stem), "stride": "stride 2"}
    operator = {} if lite.mobile == "lite" else {"operator": lite.row.operator}
    lines["lite"] = _widths(config.stem, lite.exp, lite.out) | operator | {"stride": f"stride {lite.stride}"}
    inp = lite.out
    for name, row in zip(row_names(config), config.blocks, strict=True):
        classic = row.mobile == "inverted_bottleneck"
        cells = _widths(inp, row.exp, row.out)
        cells |= {"kernel": f"{row.kernel}x{row.kernel}"} if classic else {"operator": row.operator}
        tail = {"tail": f"tail {row.tail}"} if row.has_tail and row.tail != 4 else {}
        cells |= {"stride": f"stride {row.stride}"} | tail
        if tokens.count:
            cells |= {"bridge": row.bridge, "former": "Former" if row.former else "no Former"}
        lines[name], inp = cells, row.out
    final = {"bridge": "to_former" if config.bridges.final else "none"} if tokens.count else {}
    lines["conv 1x1"] = {"in": str(inp), "out": str(config.head.conv)} | final
    lines["FC 1"], lines["FC 2"] = {"out": str(config.head.hidden)}, {"out": str(config.classes)}
    return lines


def _widths(inp: int, exp: int, out: int) -> _Cells:
    return {"in": str(inp), "exp": str(exp), "out": str(out)}


def _shown_cells(cells: _Cells) -> str:
    widths = " → ".join(cells[name] for name in _WIDTHS if name in cells)
    return ", ".join([text for text in (widths, *(cells[name] for name in cells if name not in _WIDTHS)) if text])


def _line(name: str) -> tuple[int, ...]:
    """The sort key of a row of the table."""
    return (_FIXED.index(name),) if name in _FIXED else (_FIXED.index("rows"), *(stage_of(name) or ()))
