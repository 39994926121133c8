"""The page "Can I trust the ranking?" with and without a calibration."""

import json
import shutil
from pathlib import Path

import pytest

from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import Trial
from tests.analysis.rows import failed, longer_study, row, study
from tests.app.explorer import PLAIN, REFERENCE, Explorer, texts

RESULTS = REFERENCE.parent
PAGE = "Trust"
CALIBRATE = "mfsearch calibrate --budget 150M --data digits --space made_up --classes 1000 --batch 64 --lr 0.0025"


@pytest.fixture
def explorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    return Explorer(tmp_path / "results", monkeypatch)


def real_manifest() -> Manifest:
    return Manifest.read(REFERENCE / "fast151")


def put_calibration(folder: Path, **changes: object) -> None:
    there = folder / "calibrations" / "kept"
    shutil.copytree(RESULTS / "calibrations" / "mobile_former-cifar10-50.0M", there)
    figures = json.loads((there / "calibration.json").read_text(encoding="utf-8"))
    (there / "calibration.json").write_text(json.dumps(figures | changes), encoding="utf-8")


@pytest.mark.parametrize(
    "rows",
    [[], failed(3), [row(0)], [row(0, float("nan")), row(1, None)], study()],
    ids=["empty", "failed", "one", "NaN", "small"],
)
def test_without_a_calibration_there_is_the_command_that_makes_one(explorer: Explorer, rows: list[Trial]) -> None:
    explorer.add("flowers", rows)
    app = explorer.open(page=PAGE)
    assert app.header[0].value == "Can I trust the ranking?"
    assert "no calibration here, so it is unknown how far this study's ranking can be trusted" in texts(app)
    assert app.code[0].value == CALIBRATE
    assert "trained once" in texts(app)


@pytest.mark.parametrize(
    "rows", [[], failed(3), [row(0)], [row(0, float("nan"))]], ids=["empty", "failed", "one", "NaN"]
)
def test_a_calibration_is_shown_for_any_study(explorer: Explorer, rows: list[Trial]) -> None:
    folder = explorer.add("flowers", rows)
    put_calibration(folder.parent)
    app = explorer.open(page=PAGE)
    assert "Made with settings that differ from this study's: space: mobile_former, here made_up" in texts(app)
    assert CALIBRATE in app.code[0].value
    assert len(app.get("plotly_chart")) == 4


def test_the_real_study_finds_the_calibration_that_fits_and_its_verdict(explorer: Explorer) -> None:
    explorer.results = RESULTS
    app = explorer.open(f"--study={REFERENCE / 'fast151'}", page=PAGE)
    shown = texts(app)
    assert app.selectbox(key="calibration").options == ["mobile_former-cifar10-50.0M, fits this study"]
    assert "Differences: budget: up to 50.0M multiply-adds, here 152.1M." in shown
    assert (
        "validation loss after 0.1 epochs ranks 16 networks like the long training with tau 0.57 [0.10, 0.87]" in shown
    )
    assert "own noise is 1.26 points" in shown
    (reading,) = [box for box in app.selectbox if box.label == "Ranked by"]
    assert "as this study does" in reading.options[reading.index or 0]
    assert len(app.get("plotly_chart")) == 4
    table = app.dataframe[0].value.set_index("Ranked by")
    assert table.loc["validation loss after 0.1 epochs", "Top-5 recall"] == 0.8
    reading.select_index(len(reading.options) - 1).run()
    assert not app.exception
    assert "zen ranks 16 networks" in texts(app)
    link = {name: app.query_params[name] for name in ("reading",)}
    assert link == {"reading": "zen"}
    again = explorer.open(f"--study={REFERENCE / 'fast151'}", page=PAGE, **link)
    assert "zen ranks 16 networks" in texts(again)
    assert "val_loss" not in texts(explorer.open(f"--study={REFERENCE / 'fast151'}", page=PAGE, reading="gone"))


def test_the_chosen_calibration_is_in_the_address(explorer: Explorer) -> None:
    folder = explorer.add("flowers", study())
    put_calibration(folder.parent)
    shutil.copytree(folder.parent / "calibrations" / "kept", folder.parent / "calibrations" / "other")
    app = explorer.open(page=PAGE)
    box = app.selectbox(key="calibration")
    assert box.options == ["kept, other settings", "other, other settings"]
    box.select_index(1).run()
    assert not app.exception
    assert app.query_params["calibration"] == "other"
    opened = explorer.open(page=PAGE, calibration="other").selectbox(key="calibration")
    assert opened.index == 1
    assert explorer.open(page=PAGE, calibration="gone").selectbox(key="calibration").index == 0


@pytest.mark.parametrize("short", [[None], [None, 0.3]])
def test_a_calibration_with_readings_that_were_never_made_is_shown(explorer: Explorer, short: list[float]) -> None:
    explorer.add("fast", study(), real_manifest())
    put_calibration(explorer.results, epochs={"short": short, "long": 3.0})
    shown = "0.3" if short[-1] else "no"
    assert f"short training: read after {shown} epochs, here it takes 0.1" in texts(explorer.open(page=PAGE))


def test_a_reading_of_another_length_is_not_said_to_be_the_studys(explorer: Explorer) -> None:
    plain = real_manifest().to_dict()
    plain["recipe"] = plain["recipe"] | {"epochs": 2.0}
    explorer.add("slow", study(), Manifest.from_dict(plain))
    put_calibration(explorer.results)
    box = explorer.open(page=PAGE).selectbox(key="reading")
    shown = box.options[box.index or 0]
    assert shown == "validation loss after 0.2 epochs, the nearest to this study's validation loss after 2 epochs"


def test_a_study_in_a_folder_of_its_own_finds_what_lies_beside_the_folder(explorer: Explorer) -> None:
    put_calibration(explorer.results)
    top = explorer.results
    explorer.results = top / "reference"
    explorer.add("fast", study(), real_manifest())
    assert "fits this study" in explorer.open(page=PAGE).selectbox(key="calibration").options[0]


def test_a_calibration_that_cannot_be_read_is_named_and_the_page_goes_on(explorer: Explorer) -> None:
    folder = explorer.add("flowers", study())
    put_calibration(folder.parent, schema=99)
    app = explorer.open(page=PAGE)
    assert "of another version of mfsearch" in texts(app)
    assert "There is no calibration here" in texts(app)


def test_repeated_trainings_of_the_study_say_its_own_noise(explorer: Explorer) -> None:
    explorer.add("longer", longer_study(), PLAIN)
    assert "In this study: One 9x training varies by" in texts(explorer.open(page=PAGE))
