"""Reads the files that a user hands in as plain data: regular files alone, with limits on size, depth and aliases.

Every error is a ValueError that names the file, except the OSError of `open_regular` and `read_bytes`.
"""

import dataclasses
import errno
import json
import os
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, BinaryIO, get_args, get_origin, get_type_hints

import yaml

MAX_YAML_BYTES, MAX_JSON_BYTES = 1 << 19, 1 << 24  # a space has 2 kB, a calibration 200 kB
MAX_YAML_VALUES = 20_000  # with every alias expanded; the largest allowed space has a quarter of these
MAX_DEPTH = 40
MAX_INT = 1 << 63


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, to read; OSError, also for a pipe or a device."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # without O_NONBLOCK a pipe would wait
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(file, "rb")


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes; OSError."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit >> 10} kB", str(path))
    return content


def read_json(path: Path) -> Any:
    """The content of a JSON file; ValueError if it cannot be read or is not JSON."""
    try:
        content = read_bytes(path, MAX_JSON_BYTES)
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!s:.200}: {error.strerror}") from None
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{str(path)!s:.200} is not JSON: {error!s:.200}") from None


def parse_json(text: bytes) -> Any:
    """The value in a JSON text; ValueError, also if it is nested too deep or a number is too long."""
    try:
        value = json.loads(text, parse_int=_int)
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [one for values in inner for one in values]
    if level:
        raise ValueError(f"more than {MAX_DEPTH} levels")
    check_letters(text, value)
    return value


def check_letters(text: bytes, value: Any) -> None:
    """ValueError if the value in a JSON text holds a lone surrogate, such as \\ud800, which cannot be printed."""
    if b"\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()


def _int(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def read_yaml(path: Path, name: str | None = None) -> tuple[Any, yaml.Node | None]:
    """The document in a YAML file and its nodes, which know their lines. name: of the file in errors."""
    name = f"{name or path!s:.200}"
    try:
        text = read_bytes(path, MAX_YAML_BYTES).decode()
    except OSError as error:
        raise ValueError(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name}: not YAML: not UTF-8 text") from None
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> tuple[Any, yaml.Node | None]:
    """The document in a YAML text and its nodes; ValueError names the line."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        if _expanded(node, {}, 0) > MAX_YAML_VALUES:
            raise _Refused(f"more than {MAX_YAML_VALUES:,} values, aliases expanded")
        return loader.construct_document(node), node
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark is not None else name
        raise ValueError(f"{place}: not YAML: {getattr(error, 'problem', None) or error!s:.200}") from None


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that is refused."""

    def __init__(self, problem: str, mark: yaml.Mark | None = None) -> None:
        super().__init__(problem=f"{problem:.250}", problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """Stops at the limits while it reads; an invalid value of a type is a YAML error."""

    values = depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.values, self.depth = self.values + 1, self.depth + 1
        if self.values > MAX_YAML_VALUES or self.depth > MAX_DEPTH:
            limit = f"{MAX_YAML_VALUES:,} values" if self.depth <= MAX_DEPTH else f"{MAX_DEPTH} levels"
            raise _Refused(f"more than {limit}", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        try:
            if kind in ("int", "float") and len(node.value) > 100:  # 1:2:3 takes quadratic time
                raise ValueError
            value = super().construct_object(node, deep)
            wrong = type(value) is int and abs(value) > MAX_INT
            if isinstance(value, str):
                value.encode()  # raises for a lone surrogate, such as "\ud800"
        except (ValueError, TypeError, KeyError, OverflowError):
            wrong = True
        if wrong:
            raise _Refused(f"{str(node.value)!r:.200} is not a valid {kind}", node.start_mark)
        return value


def _expanded(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Number of values under a node where every alias is a copy; _Refused for a node that holds itself."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise _Refused("an alias stands inside the value that it names", node.start_mark)
        return sizes[id(node)]
    sizes[id(node)] = 0
    if depth > MAX_DEPTH:
        raise _Refused(f"more than {MAX_DEPTH} levels", node.start_mark)
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    inner = parts if isinstance(node, yaml.CollectionNode) else ()
    sizes[id(node)] = 1 + sum(_expanded(part, sizes, depth + 1) for part in inner)
    return sizes[id(node)]


# JSON's own values: the types that pass, and the word for them
PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "text"),
    bool: ((bool,), "true or false"),
    NoneType: ((NoneType,), "null"),
}

_type_hints = cache(get_type_hints)


def parsed(kind: Any, value: Any, place: str = "") -> Any:
    """Plain data of JSON as a dataclass, tuple[X, ...], dict[str, X], a type of PLAIN or a union of them.

    ValueError names the place and what is allowed there. Keys that a dataclass does not know are left out.
    """
    arms = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    for arm in arms:
        if arm is Any or (arm in PLAIN and type(value) in PLAIN[arm][0]):
            return value
        if dataclasses.is_dataclass(arm) and isinstance(value, Mapping):
            hints, fields = _type_hints(arm), dataclasses.fields(arm)  # type: ignore[arg-type]
            there = [one.name for one in fields if one.name in value or one.default is one.default_factory]  # or needed
            return arm(**{name: parsed(hints[name], value.get(name), f"{place}.{name}".lstrip(".")) for name in there})  # type: ignore[operator]
        if get_origin(arm) is tuple and isinstance(value, list | tuple):
            return tuple(parsed(get_args(arm)[0], one, f"{place}[{k}]") for k, one in enumerate(value))
        if get_origin(arm) is dict and isinstance(value, Mapping):
            return {name: parsed(get_args(arm)[1], one, f"{place}.{name}") for name, one in value.items()}
    words = [PLAIN[a][1] if a in PLAIN else "a list" if get_origin(a) is tuple else "a mapping" for a in arms]
    raise ValueError(f"{place} must be {' or '.join(words)}, got {value!r:.80}")
