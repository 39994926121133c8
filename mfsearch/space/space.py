"""A search space: a YAML file of constants and knobs, and the rule that turns one choice of each into a config.

A list is a knob, a single value is fixed. Params map knob names (the dotted YAML keys) to one choice each. `resolve`
unrolls the rows, turns ratios into widths and scales them: what comes out is a config of final numbers.
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
from pathlib import Path
from typing import Any, Protocol

from mfsearch.config import (
    BlockConfig,
    BridgeConfig,
    DyReLUConfig,
    FormerConfig,
    HeadConfig,
    LiteConfig,
    MobileFormerConfig,
    TokenConfig,
)
from mfsearch.space.yaml_lines import load_with_lines

Value = bool | int | float | str
Params = Mapping[str, Value]

STEP = 4  # widths are multiples of 4, as published
MAX_DRAWS = 10_000

# Known keys of each section and what stands where the file does not say. None: must be given.
_SECTIONS: dict[str, dict[str, Value | None]] = {
    "tokens": {"count": None, "dim": None, "init_std": 1.0},
    "former": {"heads": 4, "ffn": 2, "projections": "tied"},
    "bridges": {"heads": 2, "gate": True, "projections": "published", "final": True},
    "dyrelu": {"source": "first_token", "position": "both", "slopes": 2, "intercepts": False, "reduction": 4},
    "stem": {"out": None},
    "lite": {"expand": None, "out": None, "stride": 1},
    "head": {"conv": "6x", "hidden": None},
}
_ROW: dict[str, Value | None] = {"stride": 1, "expand": None, "out": "same", "kernel": 3, "repeat": 1, "tail": 4}
_BY_STAGE: dict[str, Value] = {"former": True, "bridges": "both"}  # sections with one more key a stage
_TOP = ("name", *_SECTIONS, "blocks", "groups", "width")


class Suggests(Protocol):
    """What `suggest` needs of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True)
class Knob:
    """A dotted name and the values it can take, in the file's order."""

    name: str
    choices: tuple[Value, ...]


@dataclass(frozen=True)
class Row:
    """One named row of `blocks`; when: the constants or choices under which it stands at all."""

    name: str
    when: tuple[tuple[str, Value], ...]

    @property
    def stage(self) -> str:
        return self.name.split("_")[0]


@dataclass(frozen=True)
class SearchSpace:
    """Knobs, constants and rows of one file. resolution and classes are those of the deployment, for all its networks.

    solved: the file says `width: solve`, so that a search scales every width to land in its budget.
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
        """Number of params: not all of them build, and some build the same network."""
        return math.prod(len(knob.choices) for knob in self.knobs)

    @property
    def digest(self) -> str:
        """Short hash of everything that decides what params resolve to."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def deployed(self, resolution: int, classes: int) -> "SearchSpace":
        """The same space for another input side and class count."""
        return dataclasses.replace(self, resolution=resolution, classes=classes)

    def suggest(self, trial: Suggests) -> dict[str, Value]:
        """One choice a knob, asked of the trial by categorical suggestions alone."""
        return {knob.name: trial.suggest_categorical(knob.name, knob.choices) for knob in self.knobs}

    def draw(self, rng: random.Random) -> dict[str, Value]:
        """Random params that resolve to a network; ValueError if MAX_DRAWS draws hold none."""
        for _ in range(MAX_DRAWS):
            params = {knob.name: rng.choice(knob.choices) for knob in self.knobs}
            try:
                self.resolve(params)
            except ValueError:
                continue
            return params
        raise ValueError(f"space {self.name}: none of {MAX_DRAWS} random draws can be built")

    def resolve(self, params: Params, width: float = 1.0) -> MobileFormerConfig:
        """The network of `params`, every width but the head's hidden one scaled by `width` in multiples of 4.

        With all bridges off there are no tokens, whatever the token knobs say. Raises ValueError for params that name
        a knob the space lacks or a value it does not have, and for combinations that cannot be built.
        """
        self._check(params)
        get = {**dict(self.constants), **params}
        width = width * float(get.get("width", 1.0))

        def scale(channels: Any) -> int:
            return max(STEP, STEP * int(channels * width / STEP + 0.5))

        stem = scale(get["stem.out"])
        lite_out = scale(get["lite.out"])
        lite = LiteConfig(int(get["lite.expand"]) * stem, lite_out, int(get["lite.stride"]))
        has_bridge = bool(get["bridges.final"]) or any(
            get[f"bridges.{row.stage}"] != "none" for row in self._present(get)
        )
        blocks: list[BlockConfig] = []
        inp = lite_out
        for row in self._present(get):
            for _ in range(int(get[f"blocks.{row.name}.repeat"])):
                blocks.append(self._block(row, get, inp, scale, has_bridge))
                inp = blocks[-1].out
        return MobileFormerConfig(
            tokens=TokenConfig(*_fields(get, "tokens", "count", "dim", "init_std"))
            if has_bridge
            else TokenConfig(0, 0),
            stem=stem,
            lite=lite,
            blocks=tuple(blocks),
            head=HeadConfig(_head_width(get["head.conv"], inp, scale), int(get["head.hidden"])),
            former=FormerConfig(*_fields(get, "former", "heads", "ffn", "projections")),
            bridges=BridgeConfig(*_fields(get, "bridges", "heads", "gate", "projections", "final")),
            dyrelu=DyReLUConfig(*_fields(get, "dyrelu", "source", "position", "slopes", "intercepts", "reduction")),
            groups=int(get["groups"]),
            resolution=self.resolution,
            classes=self.classes,
        )

    def _block(self, row: Row, get: Mapping[str, Any], inp: int, scale: Any, has_bridge: bool) -> BlockConfig:
        at = f"blocks.{row.name}."
        out = get[at + "out"]
        return BlockConfig(
            exp=int(get[at + "expand"] * inp),
            out=inp if out == "same" else scale(out),
            stride=get[at + "stride"],
            kernel=get[at + "kernel"],
            bridge=get[f"bridges.{row.stage}"],
            former=has_bridge and get[f"former.{row.stage}"],
            tail=get[at + "tail"],
        )

    def _present(self, get: Mapping[str, Any]) -> Iterator[Row]:
        for row in self.rows:
            if get[f"blocks.{row.name}.repeat"] and all(get[name] == value for name, value in row.when):
                yield row

    def _check(self, params: Params) -> None:
        if len(params) == len(self.knobs) and all(params.get(k.name, self) in k.choices for k in self.knobs):
            return
        known = {knob.name: knob for knob in self.knobs}
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"unknown knob {name!r} in space {self.name}: {_hint(name, list(known))}")
            if value not in known[name].choices:
                raise ValueError(f"{name} must be one of {list(known[name].choices)}, got {value!r}")
        missing = [name for name in known if name not in params]
        raise ValueError(f"params lack {', '.join(missing)} of space {self.name}")

    def values(self) -> dict[str, tuple[Value, ...]]:
        """Every dotted name of the space and what it can be: a knob's choices or a constant alone."""
        return {name: (value,) for name, value in self.constants} | {knob.name: knob.choices for knob in self.knobs}

    def find_params(self, config: MobileFormerConfig) -> dict[str, Value] | None:
        """Params that resolve to exactly `config` at width 1, or None where it lies outside the space."""
        config = dataclasses.replace(config, resolution=self.resolution, classes=self.classes)
        counts = [f"blocks.{row.name}.repeat" for row in self.rows]
        conditions = [name for row in self.rows for name, _ in row.when]
        structural = [k for k in self.knobs if k.name in counts or k.name in conditions]
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
        """One value a knob, read off `config`; a knob that the network does not show takes its first choice."""
        seen: dict[str, Any] = {"groups": config.groups, "stem.out": config.stem, "head.hidden": config.head.hidden}
        seen |= {"lite.expand": config.lite.exp // config.stem, "lite.out": config.lite.out}
        seen["lite.stride"] = config.lite.stride
        for section in ("tokens", "former", "bridges", "dyrelu"):
            part = getattr(config, section)
            seen |= {f"{section}.{f.name}": getattr(part, f.name) for f in dataclasses.fields(part)}
        last = config.blocks[-1].out if config.blocks else config.lite.out
        seen["head.conv"] = f"{config.head.conv // last}x"
        inp = config.lite.out
        for row, block in zip(layout, config.blocks, strict=True):
            at = f"blocks.{row.name}."
            seen |= {at + "expand": block.exp // inp, at + "out": block.out, at + "kernel": block.kernel}
            seen |= {f"bridges.{row.stage}": block.bridge, f"former.{row.stage}": block.former}
            inp = block.out
        params: dict[str, Value] = {}
        for knob in self.knobs:
            value = fixed.get(knob.name, seen.get(knob.name))
            value = 1.0 if knob.name == "width" else value
            params[knob.name] = value if value in knob.choices else knob.choices[0]
        return params


def _fields(get: Mapping[str, Any], section: str, *names: str) -> list[Any]:
    return [get[f"{section}.{name}"] for name in names]


def _head_width(conv: Value, last: int, scale: Any) -> int:
    """`6x` is six times the last width; a plain number is a width of its own."""
    return int(float(conv[:-1]) * last) if isinstance(conv, str) else int(scale(conv))


def load_space(path: Path, name: str | None = None) -> SearchSpace:
    """The space of a YAML file; ValueError names file, line, key and what is known."""
    shown = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the space file {path}: {error}") from None
    data, lines = load_with_lines(text, shown)
    return _Reader(shown, lines).read(data, path.stem)


class _Reader:
    """Reads one file: keeps its name and lines for the errors, and gathers knobs and constants."""

    def __init__(self, file: str, lines: dict[tuple[str, ...], int]) -> None:
        self.file, self.lines = file, lines
        self.knobs: list[Knob] = []
        self.constants: dict[str, Value] = {}

    def fail(self, path: tuple[str, ...], message: str) -> ValueError:
        line = self.lines.get(path)
        return ValueError(f"{self.file}:{line}: {message}" if line else f"{self.file}: {message}")

    def read(self, data: Any, stem: str) -> SearchSpace:
        top = self.mapping(data, (), _TOP)
        rows = self.rows(top.get("blocks"))
        stages = list(dict.fromkeys(row.stage for row in rows))
        for section, defaults in _SECTIONS.items():
            known = defaults | dict.fromkeys(stages, _BY_STAGE[section]) if section in _BY_STAGE else defaults
            self.section((section,), top.get(section), known)
        self.value(("groups",), top.get("groups", 1))
        width = top.get("width", 1.0)
        if width != "solve":
            self.value(("width",), width)
        space = SearchSpace(
            name=str(top.get("name", stem)),
            knobs=tuple(self.knobs),
            constants=tuple(self.constants.items()),
            rows=rows,
            solved=width == "solve",
        )
        self.try_values(space)
        return space

    def rows(self, blocks: Any) -> tuple[Row, ...]:
        if not isinstance(blocks, dict) or not blocks:
            raise self.fail(("blocks",), f"blocks must map row names to rows, got {blocks!r}")
        rows = []
        for name, values in blocks.items():
            path = ("blocks", str(name))
            given = dict(self.mapping(values, path, ("when", *_ROW)))
            when = given.pop("when", {})
            if not isinstance(when, dict):
                raise self.fail((*path, "when"), f"when must map a knob to its value, got {when!r}")
            self.section(path, given, _ROW)
            rows.append(Row(str(name), tuple(when.items())))
        return tuple(rows)

    def section(self, path: tuple[str, ...], given: Any, known: Mapping[str, Value | None]) -> None:
        given = self.mapping({} if given is None else given, path, known)
        for key, default in known.items():
            value = given.get(key, default)
            if value is None:
                raise self.fail(path, f"{'.'.join(path)} lacks {key!r}: known are {', '.join(known)}")
            self.value((*path, key), value)

    def mapping(self, data: Any, path: tuple[str, ...], known: Any) -> dict[str, Any]:
        where = ".".join(path) or "a search space"
        if not isinstance(data, dict):
            raise self.fail(path, f"{where} must be a mapping, got {data!r}")
        for key in data:
            if key not in known:
                raise self.fail((*path, str(key)), f"unknown key {key!r} in {where}: {_hint(str(key), list(known))}")
        return data

    def value(self, path: tuple[str, ...], value: Any) -> None:
        name = ".".join(path)
        choices = value if isinstance(value, list) else [value]
        if not choices:
            raise self.fail(path, f"{name} is an empty list: give at least one value")
        for choice in choices:
            if not isinstance(choice, bool | int | float | str):
                raise self.fail(path, f"{name} must hold numbers, words or true and false, got {choice!r}")
        distinct = {(type(choice), choice) for choice in choices}
        if len(distinct) < len(choices):
            raise self.fail(path, f"{name} holds a value twice: {choices}")
        if len(choices) > 1:
            self.knobs.append(Knob(name, tuple(choices)))
        else:
            self.constants[name] = choices[0]

    def try_values(self, space: SearchSpace) -> None:
        """Every choice must appear in some network: an out-of-range value is found here, not in a search."""
        values = space.values()
        for row in space.rows:
            for name, _ in row.when:
                if name not in values:
                    path = ("blocks", row.name, "when", name)
                    raise self.fail(path, f"when names {name!r}: {_hint(name, list(values))}")
        rng = random.Random(0)
        for name, choices in values.items():
            for value in choices:
                error = _why_never(space, name, value, rng)
                if error is not None:
                    raise self.fail(tuple(name.split(".")), f"{name} = {value!r} fits no network of the space: {error}")


def _why_never(space: SearchSpace, name: str, value: Value, rng: random.Random, tries: int = 200) -> str | None:
    """None once a network with that value can be built, else the last reason why not."""
    error = "nothing was tried"
    for _ in range(tries):
        params = {knob.name: rng.choice(knob.choices) for knob in space.knobs}
        if name in params:
            params[name] = value
        try:
            space.resolve(params)
        except (ValueError, TypeError) as reason:
            error = str(reason)
            continue
        return None
    return error


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"known are {', '.join(known)}"
