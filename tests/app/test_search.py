import fcntl
import json
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from streamlit.testing.v1 import AppTest

from mfsearch.study.files import write_json
from mfsearch.study.ledger import Ledger
from mfsearch.study.trial import Trial
from tests.analysis.rows import MARKUP, changed, failed, longer_study, manifest, row, study
from tests.app.explorer import REFERENCE, Explorer, texts


@pytest.fixture
def explorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    return Explorer(tmp_path / "results", monkeypatch, "Search")


def lines(app: AppTest) -> list[str]:
    """The names of the lines of hypervolume, by the alphabet, and that each has its name in the legend."""
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert spec["layout"]["showlegend"] is True
    return sorted(line["name"] for line in spec["data"] if line["y"][-1] > 0)


BUDGET = {"low": 60_000_000, "high": 150_000_000, "stated": True}
SEARCHED = manifest(sampler="gp", budget=BUDGET)
CHANCE = manifest(sampler="random", budget=BUDGET, seed=3)
WIDE = manifest(sampler="random", budget=BUDGET, seed=3, latency_limit_ms=9.0)


def test_a_real_study_stands_beside_its_control(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Explorer(REFERENCE, monkeypatch, "Search").open("--study=fast151")
    assert app.header[0].value == "Was the search any good?"
    assert app.multiselect(key="beside").value == ["fast151-random"]
    said = texts(app)
    assert "After 13 trainings each, fast151 covers" in said
    assert "one run of each" in said
    assert "all other settings agree, except perhaps the seed" in said
    assert "2 networks below the budget's band left out" in said
    assert "48 trials, 16 networks trained." in said
    assert "16 trainings took 12m 29s of core time." in said
    assert "187 draws predicted to be too slow were turned down" in said
    assert "latency \\u2026 ms is over the limit 5 ms" in "".join(chart.proto.spec for chart in app.get("plotly_chart"))
    assert len(app.dataframe[0].value) == 32


def test_an_old_study_says_what_it_did_not_record(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Explorer(REFERENCE, monkeypatch, "Search").open("--study=cifar10-150M-10ms")
    said = texts(app)
    assert app.multiselect(key="beside").value == []
    assert "This study has no random control" in said
    assert "did not record when trials finished" in said
    app.multiselect(key="beside").set_value(["fast151"]).run()
    assert not app.exception
    assert "fast151: sampler auto, here tpe; budget, low:" in texts(app)
    assert "latency limit: 10 ms here, 5 ms there" in texts(app)
    assert app.query_params["beside"] == "fast151"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "The study holds no trials yet."),
        (failed(3), "No network has been trained"),
        ([row(0)], "1 trial, 1 network trained."),
        ([row(0, None), row(1, float("nan"))], "none has every metric"),
        ([row(0, latency_ms=9.0), row(1, 0.6, latency_ms=9.5)], "2 networks trained"),
        (
            [row(0, float("nan")), *study()[1:], row(12, latency_ms=float("nan"), train_seconds=float("nan"))],
            "13 trials",
        ),
        (longer_study(), "3x"),
    ],
    ids=["empty", "failed", "one", "no top1", "over the limit", "NaN", "longer"],
)
def test_a_study_of_any_kind_gets_a_sentence(explorer: Explorer, rows: list[Trial], sentence: str) -> None:
    explorer.add("odd", rows)
    app = explorer.open()
    charts = "".join(chart.proto.spec for chart in app.get("plotly_chart"))
    assert sentence in texts(app) + charts


def test_failures_are_shown_with_their_reason(explorer: Explorer) -> None:
    explorer.add("odd", failed(3))
    app = explorer.open()
    assert app.dataframe[0].value["reason"].tolist() == ["loss became NaN"] * 3
    assert "0 on the front" in app.get("plotly_chart")[0].proto.spec
    assert "so the time spent is unknown" in texts(app)


def test_several_controls_are_shown_with_their_median(explorer: Explorer) -> None:
    explorer.add("mine", study(), SEARCHED)
    for name in ("a", "b"):
        explorer.add(name, study(8), CHANCE)
    explorer.add("wide", study(8), WIDE)
    app = explorer.open("--study=mine")
    assert sorted(app.multiselect(key="beside").value) == ["a", "b"]
    assert "the median of 2 other studies" in texts(app)
    assert '"median of 2"' in app.get("plotly_chart")[0].proto.spec
    app.multiselect(key="beside").set_value(["wide"]).run()
    assert "latency limit: 7.25 ms here, 9 ms there" in texts(app)
    assert explorer.open("--study=mine", beside="wide,gone").multiselect(key="beside").value == ["wide"]


def test_a_control_stands_beside_the_searches_it_is_of(explorer: Explorer) -> None:
    explorer.add("mine", study(), SEARCHED)
    explorer.add("chance", study(8), CHANCE)
    app = explorer.open("--study=chance")
    assert app.multiselect(key="beside").value == ["mine"]
    explorer.add("alone", study(8), WIDE)
    assert "no study beside it differs only in the sampler" in texts(explorer.open("--study=alone"))


def test_a_control_without_trials_is_compared_with_nothing(explorer: Explorer) -> None:
    explorer.add("mine", study(), SEARCHED)
    explorer.add("chance", [], CHANCE)
    assert "There is nothing to compare yet" in texts(explorer.open("--study=mine"))


def test_a_manifest_beside_it_that_is_none_is_passed_over(explorer: Explorer) -> None:
    explorer.add("mine", study(), SEARCHED)
    (explorer.results / "broken").mkdir()
    (explorer.results / "broken" / "manifest.json").write_text("[]", encoding="utf-8")
    assert not explorer.open("--study=mine").multiselect


@pytest.mark.parametrize("axis", ["trainings", "core_seconds", "trials"])
def test_the_history_may_be_drawn_against_each_axis(explorer: Explorer, axis: str) -> None:
    explorer.add("mine", study(), SEARCHED)
    app = explorer.open()
    app.selectbox(key="against").set_value(axis).run()
    assert not app.exception


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who holds a lock")
def test_the_page_says_whether_a_search_is_writing_and_takes_no_lock(explorer: Explorer) -> None:
    folder = explorer.add(
        "mine", study(), manifest(sampler="gp", budget=BUDGET, request={"data": "digits", "trials": 30})
    )
    assert "No search on this machine is writing it. 12 trials, 9 networks trained of 30 requested" in texts(
        explorer.open()
    )
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert "A search is writing this study." in texts(explorer.open())


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who holds a lock")
def test_of_a_database_that_other_machines_may_write_no_lock_is_said_to_be_missing(
    explorer: Explorer, tmp_path: Path
) -> None:
    folder = explorer.results / "shared"
    folder.mkdir(parents=True)
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    asked = manifest(study="shared", storage=storage, objectives=["top1", "madds"])
    write_json(folder / "manifest.json", asked.to_dict())
    ledger = Ledger(folder, asked, storage)
    for each in study(latency=False):
        ledger.add(each, {"tokens.count": (3, 6), "dyrelu.source": ("pooled",)})
    said = texts(explorer.open())
    assert "12 trials, 9 networks trained." in said
    assert "writing" not in said
    assert isinstance(ledger.storage, RDBStorage)
    ledger.storage.engine.dispose()


def test_a_neighbour_that_cannot_be_read_is_named_and_the_page_goes_on(explorer: Explorer) -> None:
    explorer.add("mine", study(), SEARCHED)
    for name in ("broken", "chance"):
        explorer.add(name, study(8), CHANCE)
    (explorer.results / "broken" / "journal.log").write_bytes(b'{"op_code":0,\n{"op_code":0}\n')
    app = explorer.open("--study=mine")
    assert sorted(app.multiselect(key="beside").value) == ["broken", "chance"]
    assert "broken is not compared: " in texts(app)
    assert "is damaged" in texts(app)
    assert "mine covers" in texts(app)
    assert lines(app) == ["chance", "mine"]


def test_a_neighbour_is_shown_as_it_is_now(explorer: Explorer) -> None:
    explorer.add("mine", study(), SEARCHED)
    explorer.add("chance", study(8), CHANCE)
    app = explorer.open("--study=mine")
    assert "After 5 trainings each" in texts(app)
    explorer.add("chance", study(12), CHANCE)
    app.run()
    assert "After 9 trainings each" in texts(app)


def test_a_study_stands_alone_where_nothing_is_beside_it(explorer: Explorer) -> None:
    explorer.add("mine", study(), SEARCHED)
    assert lines(explorer.open()) == ["mine"]
    explorer.add("chance", study(8), CHANCE)
    app = explorer.open("--study=mine")
    assert lines(app) == ["chance", "mine"]
    app.multiselect(key="beside").set_value([]).run()
    assert not app.exception
    assert lines(app) == ["mine"]
    assert "covers" not in texts(app)
    again = explorer.open("--study=mine", beside=app.query_params["beside"])
    assert again.multiselect(key="beside").value == []
    assert lines(explorer.open("--study=mine", beside="gone")) == ["chance", "mine"]


def test_texts_of_a_study_stay_text(explorer: Explorer) -> None:
    rows = [changed(trial, origin=MARKUP, reason=MARKUP if trial.reason else None) for trial in study()]
    explorer.add("mine", rows, manifest(sampler=MARKUP, budget=BUDGET))
    app = explorer.open()
    assert "<img" not in "".join(chart.proto.spec for chart in app.get("plotly_chart"))
    assert "<img" not in "\n".join(element.value for element in (*app.markdown, *app.caption))


def test_another_study_starts_with_its_own_control(explorer: Explorer) -> None:
    explorer.add("mine", study(), SEARCHED)
    explorer.add("chance", study(8), CHANCE)
    explorer.add("other", study(8), manifest(sampler="gp", budget=BUDGET, latency_limit_ms=9.0))
    app = explorer.open("--study=mine", beside="other")
    app.selectbox(key="study").set_value("chance").run()
    assert not app.exception
    assert app.multiselect(key="beside").value == ["mine"]


def test_of_many_objectives_three_make_the_hypervolume(explorer: Explorer) -> None:
    goals = ["top1", "num_params", "activation_bytes", "madds"]
    explorer.add("many", study(), manifest(objectives=goals, budget=BUDGET))
    app = explorer.open()
    assert len(app.get("plotly_chart")) >= 2
    assert "Hypervolume is the region" in texts(app)
