"""Networks side by side, as text: their blocks in aligned rows, and the knobs and metrics that differ."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mfsearch.analysis.frame import METRICS, shown, shown_top1
from mfsearch.analysis.front.compare import ABSENT, differences, row_names, stage_of
from mfsearch.analysis.front.confidence import shown_probability, shown_training
from mfsearch.analysis.front.summary import counted
from mfsearch.config import MobileFormerConfig, has_tail
from mfsearch.cost.latency_model import Prediction

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


def metric_table(
    rows: Mapping[str, Mapping[Any, Any]], predicted: Mapping[str, Prediction] | None = None
) -> pd.DataFrame:
    """The metrics and other facts in which any two trials differ: one line for each fact, one column for each trial.

    rows: those of a study's frame; a network that is not a trial may have some of the columns. predicted: latencies.
    """
    facts = {name: [_fact(row, name) for row in rows.values()] for name in (*METRICS, *_OTHERS)}
    if predicted:
        facts["predicted latency"] = [
            shown_prediction(predicted[name]) if name in predicted else ABSENT for name in rows
        ]
    kept = [[name, *texts] for name, texts in facts.items() if _differ(texts, list(rows.values()))]
    return pd.DataFrame(kept, columns=["metric", *rows])


def _differ(texts: list[str], rows: list[Mapping[Any, Any]]) -> bool:
    """Whether the texts differ. A published network is no trial: it is ignored if it lacks the fact."""
    asked = [text for text, row in zip(texts, rows, strict=True) if "outcome" in row or text != ABSENT]
    return len(set(asked)) > 1


def shown_latency(row: Mapping[Any, Any]) -> str:
    """A trial's latency, with its 95 % interval if it has one: "4.99 ms (4.73 to 5.15)"."""
    text = shown("latency_ms", _number(row.get("latency_ms")))
    ends = [_number(row.get(f"latency_{end}_ms")) for end in ("low", "high")]
    return text if np.isnan(ends).any() else f"{text} ({ends[0]:.2f} to {ends[1]:.2f})"


def shown_prediction(predicted: Prediction) -> str:
    """A predicted latency with its 95 % interval: "5.12 ms (4.67 to 5.60)"."""
    return f"{predicted.latency_ms:.2f} ms ({predicted.low_ms:.2f} to {predicted.high_ms:.2f})"


# --- cells


def _text(name: str, row: Mapping[Any, Any]) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def _share(row: Mapping[Any, Any]) -> str | None:
    share = _number(row.get("front_probability"))
    return None if np.isnan(share) else shown_probability(share)


_OTHERS: dict[str, Callable[[Mapping[Any, Any]], str | None]] = {
    "trained": lambda row: shown_training(row) if row.get("outcome") == "trained" else None,
    "on the front": _share,
    **{name: partial(_text, name) for name in ("tied_with", "outcome", "reason", "origin")},
}


def _fact(row: Mapping[Any, Any], name: str) -> str:
    if name in _OTHERS:
        return _OTHERS[name](row) or ABSENT
    value = _number(row.get(name))
    if np.isnan(value):
        return ABSENT
    if name == "top1":
        half_way = " half way" if row.get("outcome") == "stopped" else ""
        return shown_top1(value, _number(row.get("top1_std"))) + half_way
    return shown_latency(row) if name == "latency_ms" else shown(name, value)


def _table(config: MobileFormerConfig) -> dict[str, _Cells]:
    tokens, lite, source = config.tokens, config.lite, config.dyrelu.source
    lines: dict[str, _Cells] = {"tokens": {"count": "none"}}
    if tokens.count:
        lines["tokens"] = {"count": counted(tokens.count, "token"), "dim": f"of {tokens.dim}"}
    act = {"none": "ReLU", "hswish": "h-swish"}.get(source, f"DyReLU {source}")
    lines["activation"] = {"source": act} | ({} if source == "none" else {"position": config.dyrelu.position})
    lines["stem"] = {"out": str(config.stem), "stride": "stride 2"}
    lines["lite"] = _widths(config.stem, lite.exp, lite.out) | {"stride": f"stride {lite.stride}"}
    inp = lite.out
    for name, row in zip(row_names(config), config.blocks, strict=True):
        cells = _widths(inp, row.exp, row.out) | {"kernel": f"{row.kernel}x{row.kernel}"}
        tail = {"tail": f"tail {row.tail}"} if has_tail(row.stride) and row.tail != 4 else {}
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


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan
