import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app.early import page_with_plotly
from mfsearch.analysis.latency.kept_latency import append_lines, kept_line
from mfsearch.commands.explore import CONFIG, app_path, explore_command
from mfsearch.study.manifest import Manifest
from mfsearch.study.task_file import TaskFile, TaskRecord
from mfsearch.study.trained_references import shared_settings, trainings_path
from mfsearch.study.trial import Trial
from tests.analysis.rows import MARKUP, changed, failed, longer_study, manifest, row, study
from tests.app.explorer import PLAIN, Explorer, texts

ASKED: dict[str, object] = {
    "budget": {"low": 1, "high": 120_000_000, "stated": False},
    "latency_limit_ms": None,
    "objectives": ["top1", "madds"],
}


@pytest.fixture
def explorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    return Explorer(tmp_path / "results", monkeypatch)


def chosen(app: AppTest) -> int:
    (head,) = [element.value for element in app.subheader if element.value.startswith("Trial ")]
    return int(head.removeprefix("Trial "))


def front(app: AppTest) -> list[int]:
    return [int(number) for number in app.dataframe[0].value["trial"]]


def test_without_studies_the_page_says_how_to_make_one(explorer: Explorer) -> None:
    app = explorer.open()
    assert "There is no study in" in texts(app)
    assert app.code[0].value == "mfsearch run --budget 150M"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "The study holds no trials yet."),
        (failed(3), "No network has been trained"),
        ([row(0)], "a figure needs two"),
        ([row(0, None), row(1, None)], "none has every metric"),
        ([row(0, latency_ms=9.0), row(1, 0.6, latency_ms=9.5)], "none has every metric and meets every limit"),
    ],
    ids=["empty", "failed", "one", "no top1", "all over the limit"],
)
def test_a_study_without_points_gets_a_sentence(explorer: Explorer, rows: list[Trial], sentence: str) -> None:
    explorer.add("odd", rows)
    assert sentence in texts(explorer.open())


def test_a_study_that_holds_nan_shows_what_there_is(explorer: Explorer) -> None:
    nan = float("nan")
    rows = [*study(), row(12, nan, latency_ms=5.0), row(13, 0.9, latency_ms=nan), row(14, 0.3, curve=None)]
    explorer.add("holes", rows)
    app = explorer.open(trial="14")
    assert front(app) == [0, 3, 6, 9]
    assert "not measured" in [metric.value for metric in app.metric]


def test_the_page_answers_with_the_best_within_the_limits(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    app = explorer.open()
    assert app.header[0].value == "What can I get for my budget?"
    assert front(app) == [0, 3, 6, 9]
    assert "**49.0 ± 2.6 % top-1** at 123.0 M multiply-adds and 6.25 ms: trial 9" in texts(app)
    assert chosen(app) == 9
    assert app.metric[0].value == "49.0 ± 2.6 %"
    assert len(app.get("plotly_chart")) == 2


def test_a_slider_cuts_the_front_and_the_answer_follows(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    app = explorer.open()
    app.slider(key="madds").set_value(110).run()
    assert not app.exception
    assert front(app) == [0, 3, 6]
    assert chosen(app) == 6
    app.slider(key="latency_ms").set_value(4.8).run()
    assert front(app) == [0, 3]


def test_without_latency_there_is_one_slider_and_a_figure_against_parameters(explorer: Explorer) -> None:
    explorer.add("flowers", study(latency=False), PLAIN)
    app = explorer.open()
    assert [slider.key for slider in app.slider] == ["madds", "num_params"]
    assert "Parameters (M)" in app.get("plotly_chart")[1].proto.spec


def test_a_link_opens_the_page_in_the_same_state(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    again = explorer.open(trial="8", madds="110", pins="8,3", show="dominated")
    assert chosen(again) == 8
    assert again.slider(key="madds").value == 110
    assert front(again) == [0, 3, 6]
    assert "This trial is over the limits set above." in texts(again)
    assert again.button(key="pin").label == "Unpin"
    specs = [chart.proto.spec for chart in again.get("plotly_chart")]
    assert all('"pinned"' in spec and '"over a limit"' not in spec for spec in specs)
    again.button(key="pin").click().run()
    assert again.query_params["pins"] == "3"


def test_look_closer_opens_the_page_of_the_network(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    app = explorer.open()
    app.button(key="closer").click().run()
    assert not app.exception
    assert app.header[0].value == "Which network?"
    assert app.query_params["trial"] == "9"


@pytest.mark.parametrize("name", ["Take", "take", "TAKE"])
def test_a_page_opens_by_its_name_in_any_case(explorer: Explorer, name: str) -> None:
    explorer.add("flowers", study())
    assert explorer.open(page=name).header[0].value == "Take it with me"


def test_an_unknown_page_is_the_first(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    assert explorer.open(page="nowhere").header[0].value == "What can I get for my budget?"


def test_a_region_becomes_a_command(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    app = explorer.open(brush="madds:80:100:40:45")
    assert "--budget 80M..100M" in app.code[0].value
    assert "Marked region: multiply-adds 80 to 100 M, top-1 40.0 to 45.0 %" in texts(app)
    app.button(key="unmark").click().run()
    assert "brush" not in app.query_params


def test_three_dimensions_on_demand(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    (chart,) = explorer.open(show="3D").get("plotly_chart")
    assert "scatter3d" in chart.proto.spec


@pytest.mark.parametrize("limit", ["nan", "1e9", "-3", "x", ""])
def test_an_odd_limit_in_a_link_is_no_limit_of_ones_own(explorer: Explorer, limit: str) -> None:
    explorer.add("flowers", study())
    assert explorer.open(madds=limit).slider(key="madds").value == 150


def test_a_slider_that_nobody_moved_follows_new_trials(explorer: Explorer) -> None:
    folder = explorer.add("flowers", study(), PLAIN)
    app = explorer.open()
    assert app.slider(key="latency_ms").value == 6.8
    rows = [*study(), row(12, 0.9, latency_ms=9.0)]
    explorer.add("flowers", rows, PLAIN)
    app.run()
    app.button(key="take-in").click().run()
    assert folder.is_dir()
    assert (app.slider(key="latency_ms").value, app.slider(key="latency_ms").max) == (9, 9)
    assert chosen(app) == 12
    app.slider(key="latency_ms").set_value(5.0).run()
    explorer.add("flowers", [*rows, row(13, 0.9, latency_ms=12.0)], PLAIN)
    app.run()
    app.button(key="take-in").click().run()
    assert (app.slider(key="latency_ms").value, app.slider(key="latency_ms").max) == (5, 12)


def test_pins_and_notes_wait_for_their_study(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    explorer.add("birds", [row(0, 0.3), row(1, 0.4)], PLAIN)
    app = explorer.open("--study=flowers", pins="8,3", **{"note.8": "mine"})
    app.selectbox(key="study").set_value("birds").run()
    assert "pins" not in app.query_params
    app.selectbox(key="study").set_value("flowers").run()
    assert app.query_params["pins"] == "8,3"
    assert app.query_params["note.8"] == "mine"


def test_a_link_to_a_study_that_is_not_here_says_so(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    app = explorer.open(study="birds")
    assert "This link is for the study birds, which is not here." in texts(app)
    assert app.selectbox(key="study").value == "flowers"
    assert "which is not here" not in texts(explorer.open(study="flowers"))


def test_pinning_here_keeps_the_pin_of_a_rejected_trial(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    app = explorer.open(pins="4", trial="9", **{"note.4": "almost"})
    app.button(key="pin").click().run()
    assert app.query_params["pins"] == "4,9"
    assert app.query_params["note.4"] == "almost"


def test_a_trial_of_thousands_of_digits_is_none(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    assert chosen(explorer.open(trial="9" * 5000, pins="1" * 5000)) == 9


def test_a_limit_below_the_search_and_a_single_seed_are_said(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    app = explorer.open(madds="100")
    said = [caption.value for caption in app.caption]
    assert any("The search built no network below 120.0 M" in text for text in said)
    assert any("trained with one seed" in text for text in said)


@pytest.mark.parametrize("link", [{"trial": "4"}, {"trial": "x"}, {"trial": "-1"}, {"madds": "x"}, {"study": "gone"}])
def test_a_link_to_what_is_not_there_opens_the_best(explorer: Explorer, link: dict[str, str]) -> None:
    explorer.add("flowers", study())
    assert chosen(explorer.open(**link)) == 9


def test_another_study_is_asked_the_same_limits_of_other_trials(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    explorer.add("birds", [row(0, 0.3), row(1, 0.4, 120_000_000), row(8, 0.2)], manifest(**ASKED))
    app = explorer.open("--study=flowers", trial="8", madds="110")
    app.selectbox(key="study").set_value("birds").run()
    assert not app.exception
    assert app.slider(key="madds").value == 110
    assert chosen(app) == 0
    assert "trial" not in app.query_params
    again = explorer.open("--study=flowers")
    again.selectbox(key="study").set_value("birds").run()
    assert again.slider(key="madds").value == 120
    assert chosen(again) == 1


def test_the_study_given_opens_first_even_from_another_folder(explorer: Explorer, tmp_path: Path) -> None:
    explorer.add("flowers", study())
    explorer.results = tmp_path / "elsewhere"
    path = explorer.add("far", [row(0), row(1, 0.6)], PLAIN)
    explorer.results = tmp_path / "results"
    app = explorer.open(f"--study={path}", brush="madds:80:100:40:60")
    assert app.selectbox(key="study").value == "far"
    assert app.selectbox(key="study").options == ["far", "flowers"]
    assert app.code[0].value.endswith(f"--from {path}")


def test_a_study_that_is_not_there_gets_a_sentence(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    assert "no study 'gone'" in texts(explorer.open("--study=gone"))


def test_a_study_that_cannot_be_read_says_why_and_the_others_can_be_chosen(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    folder = explorer.add("odd", longer_study(), PLAIN)
    good = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(good | {"objectives": ["top1", "beauty"]}))
    app = explorer.open(study="odd")
    assert "objectives must be top1, madds, latency_ms, num_params, activation_bytes, onnx_bytes, got" in texts(app)
    assert "'beauty'" in texts(app)
    app.selectbox(key="study").set_value("flowers").run()
    assert chosen(app) == 9


@pytest.mark.parametrize("page", ["front", "take"])
def test_no_exception_leaves_a_page_empty(explorer: Explorer, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """The server keeps uncaught exceptions from visitors, so what is not shown is not seen."""
    explorer.add("flowers", study())

    def read(*_: object) -> None:
        raise KeyError("a stage without epochs")

    monkeypatch.setattr("mfsearch.study.reader.StudyReader.look", read)
    monkeypatch.setattr(sys, "argv", ["explorer.py", f"--results={explorer.results}"])
    app = AppTest.from_file(app_path(), default_timeout=60)
    app.query_params["page"] = page
    app.run()
    assert "This page cannot be shown, for this reason:" in texts(app)
    assert "a stage without epochs" in app.exception[0].value
    assert not list(app.exception[0].stack_trace)
    assert app.selectbox(key="study").options == ["flowers"]


def test_published_systems_have_a_figure_and_a_caption_of_their_own(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    plain, more = explorer.open(), explorer.open(show="published systems (ImageNet)")
    specs = [chart.proto.spec for chart in more.get("plotly_chart")]
    assert len(plain.get("plotly_chart")) == 2
    assert ["ImageNet" in spec for spec in specs] == [False, False, True]
    assert "Published results on ImageNet, after a full training." in texts(more)


def test_the_card_tells_the_seconds_of_both_trainings(explorer: Explorer) -> None:
    """Of a network that was trained longer, too, the short training's alone would mislead."""
    rows = longer_study()
    slow = [dataclasses.replace(one, train_seconds=120.0 * 3 ** (one.rung - 1)) for one in rows[4].longer]
    rows[4] = dataclasses.replace(rows[4], longer=tuple(slow))
    explorer.add("longer", rows, PLAIN)
    shown = {one.label: one.value for one in explorer.open(page="network", trial="4").metric}
    assert shown["Longest training"] == "360 s"


def test_new_trials_wait_behind_a_button(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    app = explorer.open()
    explorer.add("flowers", [*study(), row(12, 0.9, 130_000_000, latency_ms=5.0)])
    app.run()
    assert chosen(app) == 9
    assert app.button(key="take-in").label == "1 new trial: show"
    app.button(key="take-in").click().run()
    assert chosen(app) == 12
    assert "take-in" not in [button.key for button in app.button]


def test_texts_of_a_study_do_not_become_markdown(explorer: Explorer) -> None:
    rows = [changed(trial, origin=f"fitted {MARKUP} **bold** :red[x]") for trial in study()]
    data = {"name": MARKUP, "digest": "0", "classes": 10, "train_images": 1437, "val_images": 360}
    explorer.add("flowers", rows, manifest(data=data))
    shown = "\n".join(element.value for element in explorer.open().markdown)
    assert "\\<img" in shown
    assert "\\*\\*bold\\*\\* \\:red\\[x\\]" in shown


def test_the_command_serves_this_machine_alone_and_passes_the_study_on() -> None:
    command = explore_command(Path("results/flowers"), Path("results"), 8600)
    assert command[0] == sys.executable
    assert Path(command[1]).is_file()
    assert command[2:] == ["--port=8600", "--results=results", "--study=results/flowers"]
    assert explore_command(None, Path("results"), 8600)[-1] == "--results=results"
    assert CONFIG["server.address"] == "127.0.0.1"
    assert CONFIG["server.allowedHosts"] == ["127.0.0.1", "localhost"]
    assert CONFIG["browser.gatherUsageStats"] is False


def test_every_setting_is_known_to_streamlit() -> None:
    from streamlit import config

    assert set(CONFIG) <= set(config.get_config_options())


def test_the_page_has_plotly_code_run_early_where_streamlit_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_with_plotly()
    assert page is not None
    folder = Path(st.__file__).parent / "static"
    (code,) = re.findall(r'import\("\./(static/js/PlotlyChart\.[\w-]+\.js)"\)', page)
    assert (folder / code).is_file()
    early = re.findall(r'<link rel="modulepreload" crossorigin href="\./([^"]+)">', page)
    assert code in early
    assert all((folder / name).is_file() for name in early)
    # What it imports is all there before it runs: nothing is asked for one after the other.
    assert {f"static/js/{name}" for name in re.findall(r'from"\./([^"]+)"', (folder / code).read_text())} <= {
        *early,
        *re.findall(r'src="\./([^"]+)"', page),
    }
    monkeypatch.setattr("streamlit.__file__", str(tmp_path / "__init__.py"))
    assert page_with_plotly() is None
    shutil.copytree(folder, tmp_path / "static")
    assert page_with_plotly() == page
    for name in re.findall(r'src="\./([^"]+)"', page):
        script = tmp_path / "static" / name
        script.write_text(script.read_text().replace("data-test-connection-state", "data-state"))
    assert page_with_plotly() is None


def test_the_app_of_a_wheel_comes_before_that_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfsearch.commands.explore.__file__", str(tmp_path / "mfsearch" / "commands" / "explore.py"))
    with pytest.raises(FileNotFoundError, match="_app"):
        app_path()
    for folder in (tmp_path / "app", tmp_path / "mfsearch" / "_app"):
        folder.mkdir(parents=True)
        (folder / "explorer.py").touch()
        assert app_path() == folder / "explorer.py"


def test_longer_trainings_show_spread_seeds_probability_and_ties(explorer: Explorer) -> None:
    explorer.add("longer", longer_study(), PLAIN)
    app = explorer.open()
    assert "**72.0 ± 2.5 % top-1**" in texts(app)
    assert "same top-1 within the noise: 4" in texts(app)
    assert "One 9x training varies by" in texts(app)
    table = app.dataframe[0].value
    assert table["trained"].tolist()[-1] == "9x, 2 seeds"
    assert table["on the front"].tolist()[0] == "> 99 %"
    assert table["mark"].tolist()[-1] == "best"
    assert "tied" in table["mark"].tolist()
    assert "Lengths of training differ (1x, 3x, 9x)" in texts(app)


def test_a_study_of_short_trainings_has_no_words_on_seeds(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    app = explorer.open()
    assert "tied with" not in app.dataframe[0].value.columns


def test_a_link_to_a_trial_that_is_not_there_says_so(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    assert "This link is for trial 999, which is not in this study." in texts(explorer.open(trial="999"))
    assert "This link is for" not in texts(explorer.open(trial="1"))


def test_other_families_trained_as_the_study_and_measured_here_are_marked(explorer: Explorer) -> None:
    """On the front by their short training; in a figure of their own by what was published and measured here."""
    name, far = "MobileNetV3 Small 1.0", "DeiT Tiny"  # 59M and 1,258M
    folder = explorer.add("flowers", study())
    asked = Manifest.read(folder)
    assert asked.passport is not None
    shared = shared_settings(asked.to_dict()["data"], asked.recipe, asked.seed, asked.device)
    path = trainings_path(explorer.results, shared)
    path.parent.mkdir(parents=True)
    trained = TaskFile(path, shared)
    for each in (name, far):
        trained.add(TaskRecord(each.replace(" ", "-"), each, 0, top1=0.42))
    measured = {"latency_ms": 4.5, "latency_low_ms": 4.4, "latency_high_ms": 4.6, "batch": 1}
    line = kept_line(name, 224, measured, asked.passport, 1)
    append_lines(explorer.results / "references" / "here.jsonl", [line])
    app = explorer.open()
    app.pills(key="show").set_value(["dominated", "elsewhere"]).run()
    assert not app.exception
    madds, ms, _, of_device = [chart.proto.spec for chart in app.get("plotly_chart")]
    for spec in (madds, ms):
        assert "other families, trained here" in spec
        assert name in spec
        assert far not in spec
    assert "measured here: 4.50 ms" in of_device
    assert "what converges fast leads" in texts(app)
    assert chosen(app) == 9
    path.write_text("{\n")
    assert "cannot be read" in texts(explorer.open())
