"""The file of trainings: every committed line reads and is written back as it is."""

import json
from pathlib import Path

import pytest

from mfsearch.study.task_file import TRAININGS, TaskRecord, read_trainings

FILES = sorted((Path(__file__).parents[2] / "results").glob(f"*/*/{TRAININGS}"))


def test_there_are_committed_files() -> None:
    assert len(FILES) >= 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_committed_line_is_written_back_byte_by_byte(path: Path) -> None:
    identity, records = read_trainings(path)
    first, *lines = path.read_text().splitlines()
    assert json.loads(first)["identity"] == identity
    assert [json.dumps(record.to_dict()) for record in records.values()] == lines


def test_what_was_not_recorded_is_not_written() -> None:
    failed = TaskRecord("a-0", "a", 0, outcome="failed", reason="its disk is full", retry=True)
    row = {"key": "a-0", "arch_id": "a", "seed": 0, "points": None, "outcome": "failed"}
    assert failed.to_dict() == {**row, "reason": "its disk is full", "retry": True}
    lucky = TaskRecord("a-0", "a", 0, points=(0.5, 1.0), top1=0.0)  # nothing right is a result
    assert lucky.to_dict() == {**row, "points": [0.5, 1.0], "outcome": "trained", "reason": None, "top1": 0.0}
    assert [TaskRecord.from_dict(record.to_dict()) for record in (failed, lucky)] == [failed, lucky]


def test_a_field_that_nobody_knows_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / TRAININGS
    path.write_text('{"schema": 1, "identity": {}}\n{"key": "a", "arch_id": "b", "seed": 0, "colour": "red"}\n')
    with pytest.raises(ValueError, match=f"{TRAININGS}:2 must be a training's line: .*'colour'"):
        read_trainings(path)
