"""Search spaces: YAML to knobs, knobs to configs."""

import difflib
from pathlib import Path

from mfsearch.space.knobs import Value
from mfsearch.space.read import load_space
from mfsearch.space.search_space import Knob, Params, SearchSpace

__all__ = ["Knob", "Params", "SearchSpace", "Value", "find_space", "load_space", "spaces_folder"]


def spaces_folder() -> Path:
    """The folder of the spaces shipped with mfsearch: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_search_spaces"
    return installed if installed.is_dir() else package.parent / "search_spaces"


def find_space(name: str) -> SearchSpace:
    """The space in a file, or a shipped space by its name; ValueError lists the known names."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file() or len(path.parts) > 1:
        if not path.is_file():
            raise ValueError(f"no space file at {name}")
        return load_space(path)
    known = {file.stem: file for file in sorted(spaces_folder().glob("*.yaml"))}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"unknown space {name!r:.200}{hint}: known are {', '.join(known)}, or give a .yaml file")
    return load_space(known[name], f"search_spaces/{name}.yaml")
