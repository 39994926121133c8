from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from mfsearch.presets import preset
from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import Trial
from tests.analysis.rows import changed, failed, row
from tests.app.explorer import REFERENCE, Explorer, texts


@pytest.fixture
def explorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    return Explorer(tmp_path / "results", monkeypatch)


def real(explorer: Explorer, **query: str) -> AppTest:
    explorer.results = REFERENCE
    return explorer.open("--study=fast151", page="Take", **query)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "The study holds no trials yet."),
        (failed(3), "No network has been trained"),
        ([row(0, float("nan"))], "none has every metric"),
        ([row(0)], "The config cannot be read"),
    ],
    ids=["empty", "failed", "NaN", "one, of a made-up config"],
)
def test_a_study_without_networks_gets_a_sentence(explorer: Explorer, rows: list[Trial], sentence: str) -> None:
    explorer.add("odd", rows)
    assert sentence in texts(explorer.open(page="Take"))


def test_without_a_choice_it_is_the_best_on_the_front(explorer: Explorer) -> None:
    app = real(explorer)
    assert "1 network, best on the front" in texts(app)
    assert "Trial 34: 36.3 ± 0.7 %, 137.5 M, 4.72 ms, gp" in texts(app)


def test_pinned_networks_come_with_their_notes_commands_and_link(explorer: Explorer) -> None:
    app = real(explorer, pins="28,47", **{"note.28": "the fast one"})
    assert "Note: the fast one" in texts(app)
    commands, _, again, link = [code.value for code in app.code]
    assert commands.splitlines() == [
        f"mfsearch export {REFERENCE / 'fast151'} --trial 28 --classes 10 --to fast151-28",
        "mfsearch verify fast151-28",
        "mfsearch train fast151-28 --data cifar10 --data-dir DIR",
    ]
    assert again.startswith("mfsearch run --budget 152.1M --latency 5ms")
    assert link.endswith("?study=fast151&page=Take&pins=28%2C47&note.28=the+fast+one")


def test_a_chosen_trial_that_is_gone_gives_the_best(explorer: Explorer) -> None:
    assert "Trial 34" in texts(real(explorer, trial="4711"))


def test_damaged_images_are_left_out_of_the_full_training_too(explorer: Explorer) -> None:
    plain = Manifest.read(REFERENCE / "fast151").to_dict()
    asked = {"data": "my photos", "skip_damaged": True}
    explorer.add(
        "torn", [changed(row(0), config=preset("mf-151m").to_dict())], Manifest.from_dict({**plain, "request": asked})
    )
    commands = explorer.open(page="Take").code[0].value
    assert commands.splitlines()[-1] == "mfsearch train torn-0 --data 'my photos' --skip-damaged"
