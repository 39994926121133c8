"""Files of others: whatever stands in a file's place is one short sentence, at once and in little memory."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.mutations import FILES, JSON_TEXTS, YAML_TEXTS
from mfsearch.config import load_config
from mfsearch.export.bundle_manifest import read_manifest
from mfsearch.export.train_yaml import load_training
from mfsearch.plain_files import MAX_DEPTH, parse_json, read_bytes, read_json, read_yaml
from mfsearch.space import load_space
from mfsearch.study.manifest import Manifest
from mfsearch.study.task_file import read_trainings

READERS: dict[str, Callable[[Path], object]] = {
    "space.yaml": load_space,
    "arch.yaml": load_config,
    "arch.json": load_config,
    "train.yaml": load_training,
    "manifest.json": lambda path: Manifest.read(path.parent),
    "trainings.jsonl": read_trainings,
}


def refusal(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as error:
        read(path)
    assert len(str(error.value)) < 700 + len(str(path))
    return str(error.value)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("what", FILES)
def test_only_regular_files_are_read(tmp_path: Path, name: str, what: str) -> None:
    FILES[what](tmp_path / name)
    assert "cannot read" in refusal(READERS[name], tmp_path / name)


def test_a_bundle_whose_manifest_is_a_pipe_is_none(tmp_path: Path) -> None:
    FILES["a pipe"](tmp_path / "manifest.json")
    assert "this is no bundle" in refusal(lambda path: read_manifest(path.parent), tmp_path / "manifest.json")


@pytest.mark.parametrize("name", ["space.yaml", "arch.yaml", "train.yaml"])
@pytest.mark.parametrize("what", YAML_TEXTS)
def test_hostile_yaml_is_a_short_error(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_text(YAML_TEXTS[what]())
    refusal(READERS[name], tmp_path / name)


@pytest.mark.parametrize("name", ["arch.json", "manifest.json"])
@pytest.mark.parametrize("what", JSON_TEXTS)
def test_hostile_json_is_a_short_error(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_text(JSON_TEXTS[what]())
    refusal(READERS[name], tmp_path / name)


@pytest.mark.parametrize("what", [name for name in YAML_TEXTS if "bomb" in name])
def test_a_bomb_of_aliases_takes_no_memory(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.yaml").write_text(YAML_TEXTS[what]())
    tracemalloc.start()
    try:
        assert "more than 20,000 values, aliases expanded" in refusal(read_yaml, tmp_path / "a.yaml")
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_what_is_within_the_limits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a [1, 2]\nb: [*a, *a]\nc: {<<: {d: 1}}\n")
    assert read_yaml(path)[0] == {"a": [1, 2], "b": [[1, 2], [1, 2]], "c": {"d": 1}}
    (tmp_path / "b.yaml").symlink_to(path)
    assert read_yaml(tmp_path / "b.yaml")[0]["a"] == [1, 2]
    path.write_text("")
    assert read_yaml(path) == (None, None)
    nested = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    path.write_text(nested)
    assert read_yaml(path)[0] == parse_json(nested.encode())
    assert parse_json(json.dumps({"a": [1e300, -3, None, True]}).encode()) == {"a": [1e300, -3, None, True]}
    assert read_bytes(path, len(nested)) == nested.encode()
    with pytest.raises(OSError, match="larger than"):
        read_bytes(path, len(nested) - 1)
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_json(path)
