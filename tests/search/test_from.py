"""A study that starts from what another one taught, as a user starts it."""

import json
from pathlib import Path

import pytest

from mfsearch.cli import main
from mfsearch.cost.madds import count_madds
from mfsearch.study.study import Study
from tests.search.test_loop import arguments


def test_a_study_begins_with_the_best_networks_of_another_fitted_to_its_budget(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--trials", "5", "--rungs", "1", "--json")) == 0
    taught = {trial.number: trial for trial in Study.open(tmp_path / "s").trials}
    more = ("--study", "t", "--from", "s", "--rungs", "1", "--json")
    assert main(arguments(image_folder, tmp_path, "--trials", "2", *more, budget="0.4M")) == 0
    study = Study.open(tmp_path / "t")
    best = max(taught.values(), key=lambda trial: trial.metric("top1"))
    assert f"from s:{best.number}" in {trial.origin for trial in study.trials}
    for trial in study.trials:
        assert trial.origin.startswith("from s:")
        source = taught[int(trial.origin.rpartition(":")[2])]
        assert trial.arch_id != source.arch_id
        shared = {name: value for name, value in source.params.items() if name != "madds_target"}
        assert {name: trial.params[name] for name in shared} == shared
        assert 340_000 <= count_madds(trial.config) <= 400_000

    # it goes on without the other study, and does not take another lesson
    lesson = study.manifest.lesson
    assert lesson is not None
    trained = [number for number, trial in taught.items() if trial.outcome == "trained"]
    assert sorted(trial.number for trial in lesson.trials) == sorted(trained)
    (tmp_path / "s").rename(tmp_path / "elsewhere")
    again = ("--study", "t", "--rungs", "1", "--json")
    assert main(arguments(image_folder, tmp_path, "--trials", "3", *again, budget="0.4M")) == 0
    assert len({trial.arch_id for trial in Study.open(tmp_path / "t").trials}) == 3
    capsys.readouterr()
    other = ("--study", "t", "--from", "elsewhere", "--rungs", "1", "--json")
    assert main(arguments(image_folder, tmp_path, "--trials", "4", *other, budget="0.4M")) == 2
    assert "was started with --from s, this run says --from elsewhere" in capsys.readouterr().err


def test_a_study_of_another_space_teaches_nothing(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--trials", "1", "--rungs", "1", "--json")) == 0
    folder = tmp_path / "s"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["space"]["knobs"].pop("tokens.count")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lines = [json.loads(line) for line in (folder / "journal.log").read_text().splitlines()]
    for line in lines:
        if identity := line.get("user_attr", {}).get("identity"):
            identity["space"]["knobs"].pop("tokens.count")
    (folder / "journal.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    capsys.readouterr()
    assert main(arguments(image_folder, tmp_path, "--trials", "1", "--study", "t", "--from", "s")) == 2
    assert "--from s must have the same knobs as space tiny, got those of space tiny" in capsys.readouterr().err
    assert not (tmp_path / "t" / "manifest.json").exists()
