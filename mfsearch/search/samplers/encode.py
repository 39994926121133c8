"""Encodes networks as rows of numbers for a model: by what is built (`built`) and by the knobs (`Encoder`)."""

import math

import numpy as np
from numpy.typing import NDArray

from mfsearch.config import BRIDGES, DYNAMIC_SOURCES, MobileFormerConfig
from mfsearch.search.samplers.ground import TARGET, Ground
from mfsearch.space import Value
from mfsearch.space.knobs import find_knob
from mfsearch.study.prior import STRIDES, widths_by_stride

BUILT_COLUMNS = 5 + len(STRIDES)


def built(config: MobileFormerConfig, width: float, madds: float) -> list[float]:
    """What is built, as the columns that predict short trainings best on `cifar10-30M-table` (docs/LOG.md).

    Logarithms of the stem, the width factor, the widths at STRIDES, the head's hidden width and the MAdds, and the
    number of Mobile->Former bridges in blocks.
    """
    logs = (config.stem, width, *widths_by_stride(config).values(), config.head.hidden, madds)
    return [*map(math.log, logs), float(sum(row.to_former for row in config.blocks))]


class Encoder:
    """Knobs without effect are neutral and cannot mislead a model.

    One or more columns for each knob, from 0 to 1, and one for the MAdds' position in the band (log scale).

    An ordered knob (numbers, on/off, any two choices) becomes its position in the list. A stage's bridge becomes two
    bits, one for each direction. Other names are one-hot, scaled so that two of them are 1 apart. A knob takes the
    middle value if the network lacks the part that the knob is about (`KnobSpec.about`).
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        space = ground.space
        self.codes: dict[str, dict[Value, list[float]]] = {}
        self.rest: dict[str, list[float]] = {}
        self.reads: dict[str, str] = {}  # by knob: the name to pass to `SearchSpace.shows`
        for knob in space.knobs:
            codes = _codes(knob.choices)
            self.codes[knob.name] = dict(zip(knob.choices, codes, strict=True))
            self.rest[knob.name] = [0.0 if len(codes[0]) == len(codes) > 2 else 0.5] * len(codes[0])
            place = knob.name.partition(".")[2].partition(".")[0]  # a row or a stage
            decides = {"row": f"blocks.{place}.out", "stage": f"bridges.{place}", "tokens": "tokens.count"}
            self.reads[knob.name] = decides.get(find_knob(knob.name).about, "")
        self.details = {knob.name for knob in space.knobs if find_knob(knob.name).about == "dyrelu"}
        self.asked = sorted(set(self.reads.values()) - {""})
        low, high = math.log(ground.budget.low), math.log(ground.budget.high)
        if ground.limits.given and not ground.budget.stated:  # where a limit binds, networks lie below the band
            low = min(low, high - math.log(8))
        self.low, self.span = low, max(high - low, 1e-9)
        self.columns = sum(len(rest) for rest in self.rest.values()) + 1

    def encode(self, params: dict[str, Value], madds: float | None = None) -> NDArray[np.float64]:
        """The row of one network; without `madds`, uses the target in `params`."""
        space = self.ground.space
        if madds is None:
            madds = float(params.get(TARGET, self.ground.budget.high))
        knobs = {name: value for name, value in params.items() if name != TARGET}
        shown = {name: space.shows(name, knobs) for name in self.asked}
        source = knobs.get("dyrelu.source")
        static = source is not None and source not in DYNAMIC_SOURCES
        row: list[float] = []
        for name, codes in self.codes.items():
            at_rest = not shown.get(self.reads[name], True) or (static and name in self.details)
            row += self.rest[name] if at_rest else codes[knobs[name]]
        row.append((math.log(madds) - self.low) / self.span)
        return np.array(row)


def _codes(choices: tuple[Value, ...]) -> list[list[float]]:
    if set(choices) <= set(BRIDGES):
        return [[float(c in ("both", "to_former")), float(c in ("both", "to_mobile"))] for c in choices]
    if is_ordered(choices):
        return [[k / max(1, len(choices) - 1)] for k in range(len(choices))]
    return [[math.sqrt(0.5) * (k == j) for j in range(len(choices))] for k in range(len(choices))]


def is_ordered(choices: tuple[Value, ...]) -> bool:
    """Whether the choices are numbers (plain or as in `6x`), on/off, or any two names."""
    return len(choices) <= 2 or all(
        isinstance(c, int | float) or c.removesuffix("x").replace(".", "", 1).isdecimal() for c in choices
    )
