"""What pages are given of a study that grows, is not there yet, breaks or vanishes, and that nothing is disturbed."""

import dataclasses
import gc
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from optuna.storages import RDBStorage
from streamlit.testing.v1 import AppTest

from app import load
from benchmarks.simulated_study import write_study
from mfsearch.study.files import JOURNAL, LOCK, MANIFEST, is_being_written, locked, write_json
from mfsearch.study.ledger import Ledger
from mfsearch.study.manifest import Manifest
from tests.analysis.rows import VALUES, manifest, row, stage, study
from tests.app.explorer import PLAIN, Explorer, texts

CHOICES: dict[str, tuple[Any, ...]] = {"tokens.count": (3, 6), "dyrelu.source": ("pooled",)}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def visit(results: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens the explorer as one more visitor."""
    return Explorer(results, monkeypatch).open


def live(storage: str | None = None) -> Manifest:
    return manifest(study="live", objectives=["top1", "madds"], latency_limit_ms=None, storage=storage)


def begin(results: Path, count: int = 4, storage: str | None = None) -> Ledger:
    """A study that a search has begun: its ledger, open for writing."""
    folder = results / "live"
    folder.mkdir(parents=True)
    asked = live(storage)
    write_json(folder / MANIFEST, asked.to_dict())
    ledger = Ledger(folder, asked, storage)
    for each in study(latency=False)[:count]:
        ledger.add(each, CHOICES)
    return ledger


def finish(ledger: Ledger, number: int) -> None:
    ledger.add(row(number, 0.6 + number / 100, 90_000_000 + number), CHOICES)


def shown(app: AppTest) -> str:
    """How many trials the page speaks of."""
    return texts(app).partition(":")[0]


def button(app: AppTest) -> str | None:
    return next((each.label for each in app.button if each.key == "take-in"), None)


@pytest.fixture(params=["journal", "database"])
def ledger(request: pytest.FixtureRequest, results: Path, tmp_path: Path) -> Iterator[Ledger]:
    made = begin(results, storage=None if request.param == "journal" else f"sqlite:///{tmp_path / 'trials.db'}")
    yield made
    if request.param == "database":
        assert isinstance(made.storage, RDBStorage)
        made.storage.engine.dispose()


def test_new_trials_are_counted_and_taken_in_when_asked_for(ledger: Ledger, visit: Any) -> None:
    app = visit()
    assert shown(app) == "4 trials"
    assert button(app.run()) is None
    for number in (4, 5):
        finish(ledger, number)
    assert button(app.run()) == "2 new trials: show"
    assert shown(app) == "4 trials"
    app.button(key="take-in").click().run()
    assert shown(app) == "6 trials"
    assert button(app) is None


def test_a_longer_training_is_a_change_without_new_trials(ledger: Ledger, visit: Any) -> None:
    app = visit()
    ledger.add_training(3, dataclasses.replace(stage(1, 0, 0.9), score=0.5))
    assert button(app.run()) == "The study has changed: show"
    app.button(key="take-in").click().run()
    assert "1 network trained longer" in texts(app)


def test_two_visitors_may_be_at_different_states(ledger: Ledger, visit: Any) -> None:
    first = visit()
    finish(ledger, 4)
    second = visit()
    finish(ledger, 5)
    for app, trials, new in ((first, "4 trials", "2 new trials: show"), (second, "5 trials", "1 new trial: show")):
        assert button(app.run()) == new
        assert shown(app) == trials
    second.button(key="take-in").click().run()
    assert (shown(first.run()), shown(second)) == ("4 trials", "6 trials")


def test_a_state_that_fell_out_of_the_cache_is_read_again(results: Path, visit: Any) -> None:
    ledger = begin(results)
    app = visit()
    finish(ledger, 4)
    st.cache_resource.clear()
    assert shown(app.run()) == "4 trials"


def test_a_study_begun_anew_is_not_shown_as_the_old_one(results: Path, visit: Any) -> None:
    begin(results)
    app = visit()
    shutil.rmtree(results / "live")
    begin(results, 9)
    assert shown(visit()) == "9 trials"
    st.cache_resource.clear()
    assert "was created again since it was read: reload the page" in texts(app.run())


def test_what_is_worked_out_once_belongs_to_the_study_as_it_was_read(results: Path) -> None:
    ledger = begin(results)
    path = results / "live"
    at = load._look(path)
    frame, asked = load._read(path, at)
    study = load.PageStudy("live", "live", path, results, frame, asked, at)
    finish(ledger, 4)
    later = study._replace(at=load._look(path))
    assert load.once(study, ("count",), lambda: 4) == 4
    assert load.once(later, ("count",), lambda: 5) == 5
    assert load.once(study, ("count",), lambda: 6) == 4


def test_reading_a_large_study_keeps_no_garbage(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Thing:
        me: "Thing"

    write_study(results / "large", PLAIN, [row(number) for number in range(1001)])
    thing = Thing()
    thing.me = thing
    left = weakref.ref(thing)
    del thing
    alive = []
    monkeypatch.setattr(gc, "freeze", lambda: alive.append(left()))
    load.prepare(results / "large")
    assert alive == [None]
    assert gc.isenabled()


def test_a_line_that_is_being_written_is_not_there_yet(results: Path, visit: Any) -> None:
    ledger = begin(results)
    app = visit()
    journal = results / "live" / JOURNAL
    before = journal.read_bytes()
    finish(ledger, 4)
    after = journal.read_bytes()
    journal.write_bytes(after[: len(before) + 100])
    assert button(app.run()) is None
    journal.write_bytes(after)
    assert button(app.run()) == "1 new trial: show"


def test_a_study_that_is_being_created_is_empty_and_fills(results: Path, visit: Any) -> None:
    folder = results / "live"
    folder.mkdir(parents=True)
    assert "There is no study in" in texts(visit())
    write_json(folder / MANIFEST, live().to_dict())
    app = visit()
    assert "The study holds no trials yet." in texts(app)
    ledger = Ledger(folder, live(), None)
    finish(ledger, 0)
    finish(ledger, 1)
    assert button(app.run()) == "2 new trials: show"
    assert not list(folder.glob("*.lock"))


def test_a_study_that_vanishes_gets_a_sentence(results: Path, visit: Any) -> None:
    begin(results)
    app = visit("--study=live")
    shutil.rmtree(results / "live")
    app.run()
    assert not app.exception
    assert "no study 'live'" in texts(app)


def test_the_ledger_alone_may_vanish(results: Path, visit: Any) -> None:
    begin(results)
    app = visit()
    (results / "live" / JOURNAL).unlink()
    assert button(app.run()) == "The study has changed: show"
    (results / "live" / MANIFEST).write_text("{", encoding="utf-8")
    app.run()
    assert not app.exception
    assert "this page shows its last state" in texts(app)
    assert shown(app).startswith("The study can no longer be read")


def stored(storage: str) -> bytes:
    return json.dumps(live(storage).to_dict()).encode()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (JOURNAL, b'{"op_code":0,\n{"op_code":0}\n', "is damaged"),
        (JOURNAL, b'{"op_code":77}\n', "is damaged"),
        (JOURNAL, b"[]\n", "is damaged"),
        (MANIFEST, b"[]", "is not the manifest of a study"),
        (MANIFEST, b"{", "is not JSON"),
        (MANIFEST, b'{"study":"live"}', "is not the manifest of a study"),
        (MANIFEST, stored("sqlite:////nowhere/trials.db"), "there is no file /nowhere/trials.db"),
        (MANIFEST, stored("nonsense"), "cannot open the storage"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(
    results: Path, visit: Any, name: str, content: bytes, sentence: str
) -> None:
    begin(results)
    (results / "live" / name).write_bytes(content)
    app = visit()
    assert sentence in texts(app)


def test_a_frame_is_shared_but_no_page_can_change_it_for_another(results: Path, visit: Any) -> None:
    begin(results)
    visit()
    path = results / "live"
    frame, _ = load._read(path, load._look(path))
    copy = frame.copy(deep=False)
    copy["top1"] = 0.0
    copy.loc[0, "madds"] = 1.0
    assert load._read(path, load._look(path))[0] is frame
    assert frame["top1"].max() > 0.3
    assert frame["madds"].min() > 1.0


def test_looking_writes_nothing(results: Path, visit: Any) -> None:
    begin(results)
    folder = results / "live"
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    visit().run()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


needs_locks = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="this system has no table of locks")


@needs_locks
def test_whether_a_search_is_writing_is_read_off_its_lock(tmp_path: Path) -> None:
    assert is_being_written(tmp_path / "none") is False
    code = (
        "import sys; from pathlib import Path; from mfsearch.study.files import locked\n"
        f"with locked(Path({str(tmp_path)!r})): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    assert is_being_written(tmp_path) is True
    holder.stdin.close()
    holder.wait()
    holder.stdout.close()
    assert is_being_written(tmp_path) is False


@needs_locks
def test_asking_turns_no_search_away(tmp_path: Path) -> None:
    for _ in range(200):
        is_being_written(tmp_path)
        with locked(tmp_path):
            assert is_being_written(tmp_path) is True
    (tmp_path / LOCK).touch()
    assert is_being_written(tmp_path) is False


def test_where_locks_cannot_be_seen_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOCK).touch()
    read = Path.read_text

    def missing(self: Path, *args: Any, **kwargs: Any) -> str:
        if str(self) == "/proc/locks":
            raise FileNotFoundError(self)
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", missing)
    assert is_being_written(tmp_path) is None
    (tmp_path / LOCK).unlink()
    assert is_being_written(tmp_path) is False


def test_a_study_from_before_most_things_were_kept_opens(results: Path, visit: Any) -> None:
    kept = ("budget", "objectives", "space", "data", "recipe", "deployment", "sampler", "seed", "device")
    write_study(results / "old", Manifest.from_dict({"study": "old", **{name: VALUES[name] for name in kept}}), study())
    assert shown(visit()) == "12 trials"
