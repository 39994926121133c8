"""Trials as a table to take away: base units, a column each, and what a person noted."""

from collections.abc import Mapping, Sequence

import pandas as pd

from mfsearch.analysis.metrics import knob_names
from mfsearch.study.frame import COLUMNS, KNOB


def trials_csv(frame: pd.DataFrame, notes: Mapping[int, str] | None = None, numbers: Sequence[int] = ()) -> str:
    """The rows of `frame`, or those with `numbers` in that order, as CSV: metrics in base units, then one column a knob
    by its own name, or with the prefix KNOB where a metric has that name. notes: by number; with any, a column `note`
    comes second."""
    rows = frame if not numbers else frame.set_index("number", drop=False).loc[list(numbers)]
    names = list(COLUMNS)
    table = rows[[*names, *(KNOB + name for name in knob_names(frame))]]
    taken = {*names, "note"}
    own = {KNOB + name: name for name in knob_names(frame) if name not in taken}
    table = table.rename(columns=own)
    if notes:
        table.insert(1, "note", [notes.get(int(number), "") for number in rows["number"]])
    if table["onnx_bytes"].isna().all():  # only studies that limit or optimise it keep it
        table = table.drop(columns="onnx_bytes")
    return _defused(table).to_csv(index=False)


def _defused(table: pd.DataFrame) -> pd.DataFrame:
    """Texts that a spreadsheet would take for a formula get an apostrophe before them, in the head, too."""

    def defuse(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

    texts = {name: table[name].map(defuse) for name in table if table[name].dtype.kind not in "fi"}
    return table.assign(**{str(name): cells for name, cells in texts.items()}).rename(columns=defuse)
