"""Studies that an earlier version began go on as that version would have gone on with them; see make_earlier.py.

Searches have built living networks only since: the ends of `auto` (from trial 12), `limited` (from 19) and `random` are
those of the first code that did, made from the same cuts.

Trainings are made up by standin.py, so that all which follows from them is the same to the last digit on any machine,
but for one study with real ones.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mfsearch.cli import main
from tests.study.earlier_views import frame_of, manifest_of, trials_of
from tests.study.make_earlier import EARLIER, STUDIES, command, lay_out, run_on, timeless

MADE_UP = [name for name, study in STUDIES.items() if not study.real]
REAL = [name for name, study in STUDIES.items() if study.real]

# A real training on another processor: a loss differs in its last digits, and an image or two may change sides.
LOSS, TOP1 = 0.02, 0.05


def kept_end(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((EARLIER / f"{name}-end.json").read_text(encoding="utf-8"))
    return rows


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The studies as they were cut; this is the working directory, for one has its trials in a database here."""
    yield from _laid_out(tmp_path_factory.mktemp("cut"))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The studies gone on with to their end by the code under test."""
    for folder in _laid_out(tmp_path_factory.mktemp("resumed")):
        run_on(MADE_UP, folder, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
        yield folder


def _laid_out(folder: Path) -> Iterator[Path]:
    lay_out(folder)
    yield folder


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_that_was_cut_reads_as_the_earlier_code_left_it(
    name: str, cut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trials are the first of those at the end; what was trained longer since is not yet there."""
    monkeypatch.chdir(cut)
    manifest, rows, end = manifest_of(cut / name), trials_of(cut / name), kept_end(name)
    assert manifest.study == name
    assert manifest.versions["mfsearch"] == "0.1.0"
    assert [row["number"] for row in rows] == list(range(len(rows)))
    for row, later in zip(rows, end, strict=False):
        longer = [timeless(stage) for stage in row.get("stages", [])]
        assert longer == later.get("stages", [])[: len(longer)]
        for key in ("arch_id", "params", "config", "outcome", "reason", "origin", "width", "madds"):
            assert row[key] == later[key], f"trial {row['number']}, {key}"
    frame = frame_of(cut / name)
    assert frame["number"].tolist() == [row["number"] for row in rows]
    assert frame["top1"].dropna().tolist() == [row["top1"] for row in rows if row.get("top1") is not None]
    running = json.loads((cut / name / "running.json").read_text())
    assert all(item["proposal"] <= len(rows) for item in running)


@pytest.mark.parametrize("name", MADE_UP)
def test_a_study_goes_on_as_the_earlier_code_would_have(
    name: str, resumed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same proposals, outcomes, reasons, stops, latencies, promotions, finalists and accuracies."""
    monkeypatch.chdir(resumed)
    rows, end = [timeless(row) for row in trials_of(resumed / name)], kept_end(name)
    for row, wanted in zip(rows, end, strict=False):
        assert sorted(row) == sorted(wanted), f"trial {row['number']}"
        for key, value in wanted.items():
            assert row[key] == like(value), f"trial {row['number']}, {key}"
    assert len(rows) == len(end)


@pytest.mark.parametrize("name", MADE_UP)
def test_a_study_that_ended_leaves_the_files_that_it_should(name: str, resumed: Path) -> None:
    folder = resumed / name
    assert not (folder / "checkpoints").exists()
    assert not (folder / "running.json").exists()
    assert (folder / "report.html").is_file()
    kept = {path.stem for path in (folder / "weights").iterdir()}
    assert kept <= {row["arch_id"] for row in kept_end(name)}


def test_real_trainings_go_on_from_the_checkpoint_of_the_earlier_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proposals are random, so that they are the same whatever the last digits of a loss are."""
    (name,) = REAL
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = trials_of(tmp_path / name)
    assert len([*(tmp_path / name / "checkpoints").glob("*.pt")]) >= 1
    assert main(command(name)) == 0
    capsys.readouterr()
    rows, end = trials_of(tmp_path / name), kept_end(name)
    assert rows[: len(before)] == before
    assert len(rows) == len(end)
    for row, wanted in zip(rows, end, strict=True):
        plain = timeless(row, real=True)
        assert sorted(plain) == sorted(wanted)
        trained = ("top1", "score", "curve")
        for key in wanted.keys() - set(trained):
            assert plain[key] == like(wanted[key]), f"trial {row['number']}, {key}"
        assert plain["top1"] == pytest.approx(wanted["top1"], abs=TOP1)
        assert plain["score"] == pytest.approx(wanted["score"], rel=LOSS)
        for log, wanted_log in zip(plain["curve"], wanted["curve"], strict=True):
            assert log["epoch"] == wanted_log["epoch"]
            for key in ("loss", "val_loss"):
                assert log[key] == pytest.approx(wanted_log[key], rel=LOSS)


def like(value: Any) -> Any:
    """Equal but for the last digits of a float, wherever it is inside."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-6)
    if isinstance(value, dict):
        return {key: like(each) for key, each in value.items()}
    if isinstance(value, list):
        return [like(each) for each in value]
    return value
