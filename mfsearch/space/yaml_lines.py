"""YAML with the line number of every key, so that an error in a space file can name its line."""

from pathlib import Path
from typing import Any

import yaml

from mfsearch.plain_files import read_yaml

Path_ = tuple[str, ...]


def load_with_lines(path: Path, name: str) -> tuple[Any, dict[Path_, int]]:
    """The document, and the line (from 1) of every key by its path; ValueError for invalid YAML and repeated keys."""
    data, node = read_yaml(path, name)
    return data, key_lines(node, name)


def key_lines(node: yaml.Node | None, name: str) -> dict[Path_, int]:
    """The line (from 1) of every key of a document by its path; ValueError for repeated keys."""
    lines: dict[Path_, int] = {}
    if node is not None:
        _walk(node, (), lines, name)
    return lines


def _walk(node: yaml.Node, path: Path_, lines: dict[Path_, int], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            if here in lines:
                raise ValueError(f"{name}:{key.start_mark.line + 1}: {'.'.join(here):.200} is given twice")
            lines[here] = key.start_mark.line + 1
            _walk(value, here, lines, name)
