"""A search space's YAML file: which keys it knows, what each may hold, and errors that name the line."""

import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mfsearch.space.space import STEP, Knob, Row, SearchSpace, Value, hint
from mfsearch.space.yaml_lines import load_with_lines

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


def _is_width(value: object) -> bool:
    return type(value) is int and value >= STEP and value % STEP == 0


def _is_ratio(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= 64  # type: ignore[operator]


# What `resolve` calculates with, checked as the file is read; the config checks what goes into it as it stands.
_CALCULATED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "stem.out": (_is_width, f"a multiple of {STEP}"),
    "lite.out": (_is_width, f"a multiple of {STEP}"),
    "lite.expand": (lambda value: type(value) is int and value > 0, "a whole number above 0"),
    "blocks.*.out": (lambda value: value == "same" or _is_width(value), f"same or a multiple of {STEP}"),
    "blocks.*.expand": (_is_ratio, "a number above 0 and up to 64"),
    "blocks.*.repeat": (lambda value: type(value) is int and 0 <= value <= 64, "a whole number from 0 to 64"),
    "head.conv": (
        lambda value: _is_width(value) or bool(re.fullmatch(r"\d{1,2}(\.\d{1,3})?x", str(value))),
        f"like 6x or a multiple of {STEP}",
    ),
    "width": (lambda value: _is_ratio(value) and value <= 4, "solve or a number above 0 and up to 4"),
}


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
        title = top.get("name", stem)
        if not isinstance(title, str):
            raise self.fail(("name",), f"name must be a word, got {title!r}")
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
            name=title,
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
        taken = [key for section in _BY_STAGE for key in _SECTIONS[section]]
        for name, values in blocks.items():
            path = ("blocks", str(name))
            if not re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", str(name)) or str(name).split("_")[0] in taken:
                message = f"a row's name must read like s2 or s2_down and not begin with {', '.join(taken)}"
                raise self.fail(path, f"{message}; got {name!r}")
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
                raise self.fail((*path, str(key)), f"unknown key {key!r} in {where}: {hint(str(key), list(known))}")
        return data

    def value(self, path: tuple[str, ...], value: Any) -> None:
        name = ".".join(path)
        choices = value if isinstance(value, list) else [value]
        if not choices:
            raise self.fail(path, f"{name} is an empty list: give at least one value")
        for choice in choices:
            if not isinstance(choice, bool | int | float | str):
                raise self.fail(path, f"{name} must hold numbers, words or true and false, got {choice!r}")
            fits, allowed = _CALCULATED.get(f"blocks.*.{path[2]}" if len(path) == 3 else name, (None, ""))
            if fits is not None and not fits(choice):
                raise self.fail(path, f"{name} must be {allowed}, got {choice!r}")
        if len(set(choices)) < len(choices):  # 1, 1.0 and true are one value to Python, and to Optuna
            raise self.fail(path, f"{name} holds a value twice: {choices}")
        if len(choices) > 1:
            self.knobs.append(Knob(name, tuple(choices)))
        else:
            self.constants[name] = choices[0]

    def try_values(self, space: SearchSpace) -> None:
        """Every choice must appear in some network: an out-of-range value is found here, not in a search."""
        values = space.values()
        for row in space.rows:
            for name, value in row.when:
                path = ("blocks", row.name, "when", str(name))
                if name not in values:
                    raise self.fail(path, f"when names {name!r}: {hint(str(name), list(values))}")
                if len(values[name]) > 1 and value not in values[name]:
                    raise self.fail(path, f"{name} is never {value!r}: it can be {list(values[name])}")
        rng = random.Random(0)
        tried = [(name, value, _why_never(space, name, value, rng)) for name in values for value in values[name]]
        failed = [(name, value, error) for name, value, error in tried if error is not None]
        if failed:  # one wrong constant fails them all: the first that its own error speaks of, else the first
            name, value, error = next((row for row in failed if _is_blamed(*row)), failed[0])
            raise self.fail(tuple(name.split(".")), f"{name} = {value!r} fits no network of the space: {error}")


def _why_never(space: SearchSpace, name: str, value: Value, rng: random.Random, tries: int = 200) -> str | None:
    """None once a network that shows the value can be built, or where none does; else a reason why not."""
    error = None
    for _ in range(tries):
        params = {knob.name: rng.choice(knob.choices) for knob in space.knobs}
        if name in params:
            params[name] = value
        if not space.shows(name, params):
            continue
        try:
            space.resolve(params)
        except ValueError as reason:
            if error is None or not _is_blamed(name, value, error):
                error = str(reason)
            continue
        return None
    return error


def _is_blamed(name: str, value: Value, error: str) -> bool:
    section, _, field = name.rpartition(".")
    if section in _BY_STAGE and field not in _SECTIONS[section]:
        field = section.removesuffix("s")  # bridges.s3 is the bridge of a block
    return f"{field} = {value!r}" in error or (f"{field} must be " in error and error.endswith(f", got {value!r}"))
