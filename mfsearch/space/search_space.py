"""A search space: the constants and knobs of a YAML file, and the rule that turns one choice for each into a config.

A list is a knob, a single value is fixed. Params map knob names (the dotted YAML keys) to one choice each. `resolve`
unrolls the rows, turns ratios into widths and scales them: the result is a config of final numbers.
"""

import dataclasses
import difflib
import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from mfsearch.config import (
    LATER,
    TOKEN_SOURCES,
    BlockConfig,
    BridgeConfig,
    DyReLUConfig,
    FormerConfig,
    HeadConfig,
    LiteConfig,
    MobileFormerConfig,
    TokenConfig,
    without_later,
)
from mfsearch.living import living
from mfsearch.space.knobs import SECTIONS, STEP, Value, find_knob, network_values, section_defaults

Params = Mapping[str, Value]

MAX_DRAWS = 10_000
_NAMES = {section: [f"{section}.{key}" for key in section_defaults(section)] for section in SECTIONS}


class Suggests(Protocol):
    """The one method of an Optuna trial that `suggest` calls."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True)
class Knob:
    """A knob of one space: its dotted name and the values it can take, in the file's order."""

    name: str
    choices: tuple[Value, ...]


@dataclass(frozen=True)
class Row:
    """One named row of `blocks`. when: the constants or choices that a network must have for the row to be in it."""

    name: str
    when: tuple[tuple[str, Value], ...]

    @property
    def stage(self) -> str:
        return self.name.split("_")[0]


@dataclass(frozen=True)
class SearchSpace:
    """Knobs, constants and rows of one file. All its networks have the resolution and classes of the deployment.

    solved: the file says `width: solve`, so a search scales every width to land in its budget.
    """

    name: str
    knobs: tuple[Knob, ...]
    constants: tuple[tuple[str, Value], ...]
    rows: tuple[Row, ...]
    solved: bool
    resolution: int = 224
    classes: int = 1000

    @property
    def size(self) -> int:
        """Number of combinations: some cannot be built, and some build the same network."""
        return math.prod(len(knob.choices) for knob in self.knobs)

    @property
    def digest(self) -> str:
        """Short hash of everything on which the result of `resolve` depends."""
        data = dataclasses.asdict(self)
        if "parent" in data:  # of a nested space
            without_later(data["parent"])
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]

    def deployed(self, resolution: int, classes: int) -> Self:
        """The same space for another input side (pixels) and class count."""
        return dataclasses.replace(self, resolution=resolution, classes=classes)

    def suggest(self, trial: Suggests) -> dict[str, Value]:
        """One choice for each knob; the trial is asked for categorical suggestions only."""
        return {knob.name: trial.suggest_categorical(knob.name, knob.choices) for knob in self.knobs}

    def draw(self, rng: random.Random) -> dict[str, Value]:
        """Random params that resolve to a network; ValueError if none of MAX_DRAWS draws does."""
        for _ in range(MAX_DRAWS):
            params = {knob.name: rng.choice(knob.choices) for knob in self.knobs}
            try:
                self.resolve(params)
            except ValueError as error:
                reason = error
                continue
            return params
        raise ValueError(f"space {self.name}: none of {MAX_DRAWS} random draws can be built: {reason}")

    def resolve(self, params: Params, width: float = 1.0) -> MobileFormerConfig:
        """The network of `params`, with all widths except the head's hidden one scaled by `width` to multiples of 4.

        Dead parts are dropped (`mfsearch.living`): without any Mobile->Former bridge there are no tokens, for example.
        Raises ValueError for an unknown knob or value and for combinations that cannot be built.
        """
        self._check(params)
        get: dict[str, Any] = {**dict(self.constants), **params}
        width = width * float(get.get("width", 1.0))

        divisors = [value for value in (get["groups"], get["bridges.heads"]) if type(value) is int]
        step = math.lcm(STEP, *divisors)  # scaled widths divide by them; the config refuses others

        def scale(channels: Any) -> int:
            return int(channels) if width == 1 else max(step, step * int(channels * width / step + 0.5))

        stem = scale(get["stem.out"])
        lite_out = scale(get["lite.out"])
        lite = LiteConfig(get["lite.expand"] * stem, lite_out, get["lite.stride"], get.get("lite.mobile", "lite"))
        has_bridge = self._has_bridge(get)
        blocks: list[BlockConfig] = []
        inp = lite_out
        for row in self._present(get):
            for _ in range(get[f"blocks.{row.name}.repeat"]):
                blocks.append(self._block(row, get, inp, scale, has_bridge))
                inp = blocks[-1].out
        config = MobileFormerConfig(
            tokens=TokenConfig(*_fields(get, "tokens")) if has_bridge else TokenConfig(0, 0),
            stem=stem,
            lite=lite,
            blocks=tuple(blocks),
            head=HeadConfig(_head_width(get["head.conv"], inp, scale), get["head.hidden"]),
            former=FormerConfig(*_fields(get, "former")),
            bridges=BridgeConfig(*_fields(get, "bridges")),
            dyrelu=DyReLUConfig(*_fields(get, "dyrelu")),
            groups=get["groups"],
            resolution=self.resolution,
            classes=self.classes,
        )
        return living(config)

    def _block(self, row: Row, get: Mapping[str, Any], inp: int, scale: Any, has_bridge: bool) -> BlockConfig:
        at = f"blocks.{row.name}."
        out, mobile = get[at + "out"], get.get(at + "mobile", LATER["mobile"])
        return BlockConfig(
            exp=int(get[at + "expand"] * inp),
            out=inp if out == "same" else scale(out),
            stride=get[at + "stride"],
            kernel=get[at + "kernel"],
            bridge=get[f"bridges.{row.stage}"] if has_bridge else "none",
            former=has_bridge and get[f"former.{row.stage}"],
            tail=get[at + "tail"],
            mobile=mobile,
            before=get.get(at + "before", 0) if mobile == "universal" else 0,
        )

    def _present(self, get: Mapping[str, Any]) -> Iterator[Row]:
        for row in self.rows:
            if get[f"blocks.{row.name}.repeat"] and all(get[name] == value for name, value in row.when):
                yield row

    def _has_bridge(self, get: Mapping[str, Any]) -> bool:
        """Whether the image reaches the tokens."""
        return get["bridges.final"] is not False or any(
            get[f"bridges.{row.stage}"] in ("both", "to_former") for row in self._present(get)
        )

    def shows(self, name: str, params: Params) -> bool:
        """Whether the network of `params` has the row, the stage or the tokens that the knob `name` describes."""
        get = {**dict(self.constants), **params}
        section, _, key = name.partition(".")
        if section == "tokens":
            return self._has_bridge(get)
        part, row = find_knob(name).about, key.partition(".")[0]
        if part == "row":
            return any(row == present.name for present in self._present(get))
        return part != "stage" or any(key == present.stage for present in self._present(get))

    def _check(self, params: Params) -> None:
        if len(params) == len(self.knobs) and all(params.get(k.name, self) in k.choices for k in self.knobs):
            return
        known = {knob.name: knob for knob in self.knobs}
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"unknown knob {name!r:.200} in space {self.name}: {hint(name, list(known))}")
            if value not in known[name].choices:
                raise ValueError(f"{name} must be one of {list(known[name].choices)}, got {value!r:.200}")
        missing = [name for name in known if name not in params]
        raise ValueError(f"params lack {', '.join(missing)} of space {self.name}")

    def values(self) -> dict[str, tuple[Value, ...]]:
        """Every dotted name of the space with its possible values: a knob's choices, or the one constant."""
        return {name: (value,) for name, value in self.constants} | {knob.name: knob.choices for knob in self.knobs}

    def find_params(self, config: MobileFormerConfig) -> dict[str, Value] | None:
        """Params that resolve to exactly `config` at width 1; None if it lies outside the space."""
        config = dataclasses.replace(config, resolution=self.resolution, classes=self.classes)
        conditions = [name for row in self.rows for name, _ in row.when]
        structural = [k for k in self.knobs if k.name.endswith(".repeat") or k.name in conditions]
        for choice in itertools.product(*(knob.choices for knob in structural)):
            fixed = {knob.name: value for knob, value in zip(structural, choice, strict=True)}
            get = {**dict(self.constants), **fixed}
            layout = [row for row in self._present(get) for _ in range(int(get[f"blocks.{row.name}.repeat"]))]
            if len(layout) != len(config.blocks):
                continue
            params = self._invert(config, layout, fixed)
            try:
                if params is not None and self.resolve(params) == config:
                    return params
            except ValueError:
                continue
        return None

    def _invert(self, config: MobileFormerConfig, layout: list[Row], fixed: Params) -> dict[str, Value] | None:
        """One value for each knob, read from `config`; a knob that the network lacks takes its first choice."""
        seen: dict[str, Any] = {**network_values(config), "width": 1.0}
        inp = config.lite.out
        for row, block in zip(layout, config.blocks, strict=True):
            at = f"blocks.{row.name}."
            seen |= {at + f: getattr(block, f) for f in ("stride", "out", "kernel", "tail", "mobile", "before")}
            seen[at + "expand"] = block.exp / inp
            seen |= {f"bridges.{row.stage}": block.bridge, f"former.{row.stage}": block.former}
            inp = block.out
        params: dict[str, Value] = {}
        for knob in self.knobs:
            value = fixed.get(knob.name, seen.get(knob.name))
            if knob.name == "head.conv":
                matching = [c for c in knob.choices if _head_width(c, inp, int) == value]
            else:
                dropped = _DROPPED.get(value, ()) if isinstance(value, str) else ()
                matching = [c for c in knob.choices if c == value] or [c for c in knob.choices if c in dropped]
            params[knob.name] = matching[0] if matching else knob.choices[0]
        return params


# values that `living` drops, by what it puts in their place
_DROPPED: dict[str, tuple[str, ...]] = {"none": ("to_mobile",), "static": TOKEN_SOURCES}


def _fields(get: Mapping[str, Any], section: str) -> list[Any]:
    return [get[name] for name in _NAMES[section]]


def _head_width(conv: Value, last: int, scale: Any) -> int:
    """`6x` means six times the last width; a plain number is the width itself."""
    return int(float(conv[:-1]) * last) if isinstance(conv, str) else int(scale(conv))


def hint(name: str, known: list[str]) -> str:
    """The end of a message about an unknown name: the nearest known name, then all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"known are {', '.join(known)}"
