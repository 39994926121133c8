"""YAML with the line number of every key, so that an error in a space file can name its line."""

from typing import Any

import yaml

Path_ = tuple[str, ...]


def load_with_lines(text: str, name: str) -> tuple[Any, dict[Path_, int]]:
    """The document, and the line (from 1) of every key by its path; ValueError for invalid YAML and repeated keys."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Path_, int] = {}
        if node is not None:
            _walk(node, (), lines, name)
        return yaml.safe_load(text), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark is not None else name
        raise ValueError(f"{place}: not YAML: {getattr(error, 'problem', None) or error}") from None


def _walk(node: yaml.Node, path: Path_, lines: dict[Path_, int], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            if here in lines:
                raise ValueError(f"{name}:{key.start_mark.line + 1}: {'.'.join(here)} is given twice")
            lines[here] = key.start_mark.line + 1
            _walk(value, here, lines, name)
