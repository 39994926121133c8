"""A study that starts from what another one taught, as a user starts it."""

import json
from pathlib import Path

import pytest

from mfsearch.cli import main
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.study.ledger import read_manifest, read_trials
from tests.search.test_loop import arguments


def test_a_study_begins_with_the_best_networks_of_another_fitted_to_its_budget(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--trials", "5", "--rungs", "1", "--json")) == 0
    taught = {row["number"]: row for row in read_trials(tmp_path / "s")}
    more = ("--study", "t", "--from", "s", "--rungs", "1", "--json")
    assert main(arguments(image_folder, tmp_path, "--trials", "2", *more, budget="0.4M")) == 0
    rows = read_trials(tmp_path / "t")
    best = max(taught.values(), key=lambda row: row["top1"])
    assert f"from s:{best['number']}" in {row["origin"] for row in rows}
    for row in rows:
        assert row["origin"].startswith("from s:")
        source = taught[int(row["origin"].rpartition(":")[2])]
        assert row["arch_id"] != source["arch_id"]
        shared = {name: value for name, value in source["params"].items() if name != "madds_target"}
        assert {name: row["params"][name] for name in shared} == shared
        assert 340_000 <= count_madds(MobileFormerConfig.from_dict(row["config"])) <= 400_000

    # it goes on without the other study, and does not take another lesson
    trials = [trial["number"] for trial in read_manifest(tmp_path / "t")["from"]["trials"]]
    assert sorted(trials) == sorted(number for number, row in taught.items() if row["outcome"] == "trained")
    (tmp_path / "s").rename(tmp_path / "elsewhere")
    again = ("--study", "t", "--rungs", "1", "--json")
    assert main(arguments(image_folder, tmp_path, "--trials", "3", *again, budget="0.4M")) == 0
    assert len({row["arch_id"] for row in read_trials(tmp_path / "t")}) == 3
    capsys.readouterr()
    other = ("--study", "t", "--from", "elsewhere", "--rungs", "1", "--json")
    assert main(arguments(image_folder, tmp_path, "--trials", "4", *other, budget="0.4M")) == 2
    assert "was started with --from s, this run says --from elsewhere" in capsys.readouterr().err


def test_a_study_of_another_space_teaches_nothing(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--trials", "1", "--rungs", "1", "--json")) == 0
    folder = tmp_path / "s"
    manifest = read_manifest(folder)
    manifest["space"]["knobs"].pop("tokens.count")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert main(arguments(image_folder, tmp_path, "--trials", "1", "--study", "t", "--from", "s")) == 2
    assert "--from s must have the same knobs as space tiny, got those of space tiny" in capsys.readouterr().err
    assert not (tmp_path / "t" / "manifest.json").exists()
