"""Reads a search space from its YAML file; errors name the line and the keys or values that are allowed."""

import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mfsearch.config import LATER
from mfsearch.space.knobs import KNOBS, SECTIONS, Rule, Value, find_knob, section_defaults
from mfsearch.space.search_space import Knob, Row, SearchSpace, hint
from mfsearch.space.yaml_lines import load_with_lines

# Known keys of each section with their defaults; None: the file must give a value.
_SECTIONS = {name: section_defaults(name) for name in (*SECTIONS, "stem", "lite", "head")}
_ROW = section_defaults("blocks.ROW")
_BY_STAGE = ("former", "bridges")  # sections with an additional key for each stage
# Far above the shipped spaces, which have up to 144 values, 10 rows and 15 blocks; every value is tried in a network.
TRIES = 200  # draws in which a value must be built once; fewer where no draw at all can be
MAX_VALUES, MAX_VALUES_IN_ALL, MAX_ROWS, MAX_BLOCKS = 64, 512, 32, 64
_TOP = ("name", *_SECTIONS, "blocks", "groups", "width")


def load_space(path: Path, name: str | None = None) -> SearchSpace:
    """The space in a YAML file; ValueError names the file, the line, the key and what is allowed there."""
    shown = name or str(path)
    data, lines = load_with_lines(path, shown)
    return SpaceFile(shown, lines).read(data, path.stem)


class SpaceFile:
    """Collects the knobs and constants of one file, and knows its name and line numbers for the errors."""

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
            raise self.fail(("name",), f"name must be a word, got {title!r:.200}")
        rows = self.rows(top.get("blocks"))
        stages = list(dict.fromkeys(row.stage for row in rows))
        for section, defaults in _SECTIONS.items():
            by_stage = dict.fromkeys(stages, KNOBS[f"{section}.STAGE"].default) if section in _BY_STAGE else {}
            self.section((section,), top.get(section), defaults | by_stage)
        self.value(("groups",), top.get("groups", KNOBS["groups"].default))
        width = top.get("width", KNOBS["width"].default)
        if width != "solve":
            self.value(("width",), width)
        space = SearchSpace(
            name=title,
            knobs=tuple(self.knobs),
            constants=tuple(self.constants.items()),
            rows=rows,
            solved=width == "solve",
        )
        values = space.values()
        if (count := sum(len(knob.choices) for knob in space.knobs)) > MAX_VALUES_IN_ALL:
            raise self.fail((), f"the knobs of a space may have {MAX_VALUES_IN_ALL} values in all, got {count}")
        blocks = sum(max(map(int, values[f"blocks.{row.name}.repeat"])) for row in rows)
        if blocks > MAX_BLOCKS:
            raise self.fail(
                ("blocks",), f"a network may have {MAX_BLOCKS} blocks, the repeats of blocks add up to {blocks}"
            )
        self.try_values(space)
        return space

    def rows(self, blocks: Any) -> tuple[Row, ...]:
        if not isinstance(blocks, dict) or not blocks:
            raise self.fail(("blocks",), f"blocks must map row names to rows, got {blocks!r:.200}")
        if len(blocks) > MAX_ROWS:
            raise self.fail(("blocks",), f"a space may have {MAX_ROWS} rows, blocks has {len(blocks)}")
        rows = []
        taken = [key for section in _BY_STAGE for key in _SECTIONS[section]]
        for name, values in blocks.items():
            path = ("blocks", str(name))
            if not re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", str(name)) or str(name).split("_")[0] in taken:
                message = f"a row's name must read like s2 or s2_down and not begin with {', '.join(taken)}"
                raise self.fail(path, f"{message}; got {name!r:.200}")
            given = dict(self.mapping(values, path, ("when", *_ROW)))
            when = given.pop("when", {})
            if not isinstance(when, dict):
                raise self.fail((*path, "when"), f"when must map a knob to its value, got {when!r:.200}")
            self.section(path, given, _ROW)
            mobile = given.get("mobile")
            if "before" in given and "universal" not in (mobile if isinstance(mobile, list) else [mobile]):
                raise self.fail((*path, "before"), f"before is for mobile universal, got mobile {mobile!r:.200}")
            rows.append(Row(str(name), tuple(when.items())))
        return tuple(rows)

    def section(self, path: tuple[str, ...], given: Any, known: Mapping[str, Value | None]) -> None:
        given = self.mapping({} if given is None else given, path, known)
        for key, default in known.items():
            value = given.get(key, default)
            if value is None:
                raise self.fail(path, f"{'.'.join(path)} lacks {key!r:.200}: known are {', '.join(known)}")
            if key in LATER and key not in given:  # so that the digest of an earlier file stays
                continue
            self.value((*path, key), value)

    def mapping(self, data: Any, path: tuple[str, ...], known: Any) -> dict[str, Any]:
        where = ".".join(path) or "a search space"
        if not isinstance(data, dict):
            raise self.fail(path, f"{where} must be a mapping, got {data!r:.200}")
        for key in data:
            if key not in known:
                raise self.fail(
                    (*path, str(key)), f"unknown key {key!r:.200} in {where}: {hint(str(key), list(known))}"
                )
        return data

    def value(
        self, path: tuple[str, ...], value: Any, rule: Rule | None = None, kind: Callable[[Any], Value] = lambda v: v
    ) -> None:
        """Add a knob or a constant. rule: default that of `KNOBS`. kind: the type in which the numbers are kept."""
        name = ".".join(path)
        choices = value if isinstance(value, list) else [value]
        fits, allowed = rule or find_knob(name).rule
        if not choices:
            raise self.fail(path, f"{name} is an empty list: give at least one value")
        for choice in choices:
            if not isinstance(choice, bool | int | float | str):
                raise self.fail(path, f"{name} must hold numbers, words or true and false, got {choice!r:.200}")
            if not fits(choice):
                raise self.fail(path, f"{name} must be {allowed}, got {choice!r:.200}")
        if len(choices) > MAX_VALUES:
            raise self.fail(path, f"{name} may have {MAX_VALUES} values, got {len(choices)}")
        if len(set(choices)) < len(choices):  # 1, 1.0 and true are one value to Python, and to Optuna
            raise self.fail(path, f"{name} holds a value twice: {choices!s:.200}")
        if len(choices) > 1:
            self.knobs.append(Knob(name, tuple(map(kind, choices))))
        else:
            self.constants[name] = kind(choices[0])

    def try_values(self, space: SearchSpace) -> None:
        """Check that every choice can be built in some network, so a search never meets an impossible value."""
        values = space.values()
        for row in space.rows:
            for name, value in row.when:
                path = ("blocks", row.name, "when", str(name))
                if name not in values:
                    raise self.fail(path, f"when names {name!r:.200}: {hint(str(name), list(values))}")
                if len(values[name]) > 1 and value not in values[name]:
                    raise self.fail(path, f"{name} is never {value!r:.200}: it can be {list(values[name])}")
        rng = random.Random(0)
        tries = TRIES if any(_resolves(space, rng) for _ in range(TRIES)) else TRIES // 10
        tried = [(name, value, _why_never(space, name, value, rng, tries)) for name in values for value in values[name]]
        failed = [(name, value, error) for name, value, error in tried if error is not None]
        if failed:  # one wrong constant makes all values fail: report the first one that its own error names
            name, value, error = next((row for row in failed if _is_blamed(*row)), failed[0])
            raise self.fail(tuple(name.split(".")), f"{name} = {value!r:.200} fits no network of the space: {error}")


def _resolves(space: SearchSpace, rng: random.Random) -> bool:
    """Whether a random draw can be built."""
    try:
        space.resolve({knob.name: rng.choice(knob.choices) for knob in space.knobs})
    except ValueError:
        return False
    return True


def _why_never(space: SearchSpace, name: str, value: Value, rng: random.Random, tries: int) -> str | None:
    """None if some network with the value can be built, or if no network drawn has it; else the reason."""
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
    if find_knob(name).about == "stage":
        field = section.removesuffix("s")  # bridges.s3 is the bridge of a block
    return f"{field} = {value!r}" in error or (f"{field} must be " in error and error.endswith(f", got {value!r:.200}"))
