"""Params as a row of numbers: what is built, not what is written, so that models are not misled by knobs at rest."""

import math

import numpy as np
from numpy.typing import NDArray

from mfsearch.config import BRIDGES, DYNAMIC_SOURCES
from mfsearch.search.samplers.ground import TARGET, Ground
from mfsearch.space import Value


class Encoder:
    """One or more columns a knob, each from 0 to 1, and one for where in the band the MAdds lie (log scale).

    Ordered knobs (numbers, on/off, any two choices) are their place in the list. A stage's bridge is two bits, one a
    direction. Other names are one-hot, scaled so that two of them are 1 apart. A knob that the network does not show
    (`SearchSpace.shows`, the Former and bridges without tokens, DyReLU's details without DyReLU) takes the middle.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        space = ground.space
        self.codes: dict[str, dict[Value, list[float]]] = {}
        self.rest: dict[str, list[float]] = {}
        self.reads: dict[str, str] = {}  # knob: the name whose `shows` decides for it
        stages = {row.stage for row in space.rows}
        for knob in space.knobs:
            codes = _codes(knob.choices)
            self.codes[knob.name] = dict(zip(knob.choices, codes, strict=True))
            self.rest[knob.name] = [0.0 if len(codes[0]) == len(codes) > 2 else 0.5] * len(codes[0])
            section, _, key = knob.name.partition(".")
            if section == "blocks":
                row, _, field = key.partition(".")
                self.reads[knob.name] = "" if field == "repeat" else f"blocks.{row}.out"
            elif section in ("former", "bridges") and key in stages:
                self.reads[knob.name] = f"bridges.{key}"
            elif section in ("tokens", "former") or (section == "bridges" and key != "final"):
                self.reads[knob.name] = "tokens.count"
            else:
                self.reads[knob.name] = ""
        self.asked = sorted(set(self.reads.values()) - {""})
        low, high = math.log(ground.budget.low), math.log(ground.budget.high)
        self.low, self.span = low, max(high - low, 1e-9)
        self.columns = sum(len(rest) for rest in self.rest.values()) + 1

    def encode(self, params: dict[str, Value], madds: float | None = None) -> NDArray[np.float64]:
        """The row of one network; without MAdds those that its target asks for."""
        space = self.ground.space
        if madds is None:
            madds = float(params.get(TARGET, self.ground.budget.high))
        knobs = {name: value for name, value in params.items() if name != TARGET}
        shown = {name: space.shows(name, knobs) for name in self.asked}
        source = knobs.get("dyrelu.source")
        static = source is not None and source not in DYNAMIC_SOURCES
        row: list[float] = []
        for name, codes in self.codes.items():
            at_rest = not shown.get(self.reads[name], True)
            if static and name.startswith("dyrelu.") and name != "dyrelu.source":
                at_rest = True
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
    """Numbers (plain or as in `6x`), on/off, and any two names."""
    return len(choices) <= 2 or all(
        isinstance(c, int | float) or c.removesuffix("x").replace(".", "", 1).isdecimal() for c in choices
    )
