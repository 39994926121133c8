"""The page "Which knobs matter?" over real, empty, tiny, NaN-holding and failed studies."""

import json
import shutil
from pathlib import Path

import pytest

from mfsearch.cli import _parser
from mfsearch.commands.explore import app_path
from mfsearch.study.trial import Trial
from tests.analysis.rows import MARKUP, failed, manifest, row, study
from tests.app.explorer import BUDGET, PLAIN, REFERENCE, Explorer, texts

RESULTS = REFERENCE.parent
PAGE = "Knobs"


# Of a space with one knob.
SPACE = {"name": "made_up", "digest": "1", "knobs": {"other": [0, 1]}}
OTHER = manifest(objectives=["top1", "madds"], budget=BUDGET, latency_limit_ms=None, space=SPACE)


@pytest.fixture
def explorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    return Explorer(tmp_path / "results", monkeypatch)


def figures(app: object) -> list[str]:
    return [element.proto.spec for element in app.get("plotly_chart")]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "The study holds no trials yet."),
        (failed(3), "No network has been trained"),
        ([row(0, None), row(1, None)], "none has every metric"),
    ],
    ids=["empty", "failed", "no top1"],
)
def test_a_study_without_trained_trials_gets_a_sentence(explorer: Explorer, rows: list[Trial], sentence: str) -> None:
    explorer.add("odd", rows, PLAIN)
    app = explorer.open(page=PAGE)
    assert app.header[0].value == "Which knobs matter?"
    assert sentence in texts(app)
    assert figures(app) == []
    assert "No twins were trained here" in texts(app)


@pytest.mark.parametrize(
    "rows",
    [
        [row(0)],
        [*study(), row(12, float("nan")), row(13, 0.9, latency_ms=float("nan")), row(14, 0.3, params={})],
        [row(0, params={}), row(1, params={})],
        [row(k, 0.1 * k, params={MARKUP: k % 2}, origin=MARKUP) for k in range(8)],
    ],
    ids=["one", "NaN", "no knobs", "markup"],
)
def test_hardly_any_trials_bring_no_traceback(explorer: Explorer, rows: list[Trial]) -> None:
    explorer.add("small", rows, PLAIN)
    app = explorer.open(page=PAGE)
    assert "too few to relate" in texts(app) or "No knob has two values" in texts(app) or "hold no knobs" in texts(app)
    assert not any("<img" in element.value for element in app.markdown)


def test_the_page_says_what_goes_with_a_knob_and_what_kind_of_sample_it_is(explorer: Explorer) -> None:
    rows = [row(k, 0.3 + 0.1 * (k % 2) + 0.001 * k, (130 + k) * 1_000_000, width=1 + k / 90) for k in range(40)]
    rows += [row(40, 0.2, 30_000_000, origin="preset mf-26m", width=1.0)]
    explorer.add(
        "flowers",
        rows,
        manifest(
            objectives=["top1", "madds"],
            latency_limit_ms=None,
            budget={"low": 120_000_000, "high": 170_000_000, "stated": True},
        ),
    )
    app = explorer.open(page=PAGE)
    shown = texts(app)
    assert "40 of 40 proposals depend on earlier results" in shown
    assert "held between 130.0 and 169.0 M" in shown
    assert "1 trial below the budget's band" in shown
    assert "above what chance gives: token count" in shown
    assert app.selectbox(key="knob").value == "tokens.count"
    assert len(figures(app)) == 3
    assert "Share of top-1 after the short training (%)" in figures(app)[0]
    assert not app.toggle


def test_random_proposals_can_be_looked_at_alone(explorer: Explorer) -> None:
    rows = [row(k, 0.3 + 0.01 * (k % 7), origin="random" if k < 20 else "gp") for k in range(30)]
    explorer.add("mixed", rows, PLAIN)
    app = explorer.open(page=PAGE)
    assert "10 of 30 proposals" in texts(app)
    app.toggle(key="initial").set_value(True).run()
    assert not app.exception
    assert "no result influenced them" in texts(app)
    assert "20 trials" in texts(app)
    assert "20 trials" in texts(explorer.open(page=PAGE, initial="true"))


def test_the_real_study_shows_shares_slices_lines_and_the_twins_of_its_recipe(explorer: Explorer) -> None:
    explorer.results = RESULTS
    app = explorer.open(f"--study={REFERENCE / 'fast151'}", page=PAGE)
    assert len(figures(app)) == 3
    assert "14 trials so far: too few to relate" in texts(app)
    assert "8 on the front (thick lines with marks), 2 more not drawn" in texts(app)
    assert "3 trials below the budget's band" in texts(app)
    twins = app.selectbox(key="twins")
    assert [option.partition(":")[0] for option in twins.options] == ["mf-151m-time", "mf-151m-cifar10"]
    assert "this study's data and recipe" in twins.options[0]
    assert "no effect shown" in app.dataframe[-1].value["Top-1"].tolist()
    for measure in ("front", "latency_ms", "madds"):
        app.segmented_control(key="measure").set_value(measure).run()
        assert not app.exception
    assert "Latency differences are twin minus network, measured on AMD EPYC" in texts(app)
    twins.select_index(1).run()
    assert "measured on AMD EPYC" not in texts(app)  # these were not timed
    assert app.query_params["twins"] == "mf-151m-cifar10"
    again = explorer.open(f"--study={REFERENCE / 'fast151'}", page=PAGE, twins="mf-151m-cifar10")
    assert again.selectbox(key="twins").index == 1
    app.selectbox(key="knob").set_value("dyrelu.source").run()
    assert "DyReLU source" in figures(app)[0]
    app.multiselect(key="axes").set_value([]).run()
    assert not app.exception


def test_twins_of_another_recipe_come_later_and_say_so(explorer: Explorer) -> None:
    folder = explorer.add("flowers", study(), PLAIN)
    shutil.copytree(RESULTS / "twins" / "mf-151m-time", folder.parent / "twins" / "other")
    broken = folder.parent / "twins" / "broken"
    broken.mkdir()
    (broken / "twins.json").write_text(json.dumps({"parent": 3}), encoding="utf-8")
    app = explorer.open("--study=flowers", page=PAGE)
    assert app.selectbox(key="twins").options == ["other: mf-151m, other data, other recipe"]
    assert "cannot read" in texts(app)


def test_of_two_studies_of_twins_of_one_name_either_can_be_chosen(explorer: Explorer) -> None:
    top = explorer.results
    explorer.results = top / "reference"
    explorer.add("flowers", study())
    for folder in (top, explorer.results):
        shutil.copytree(RESULTS / "twins" / "mf-151m-time", folder / "twins" / "same")
    app = explorer.open("--study=flowers", page=PAGE)
    app.selectbox(key="twins").select_index(1).run()
    assert not app.exception
    assert app.selectbox(key="twins").index == 1
    assert app.query_params["twins"] == "same~2"


def test_the_lines_show_the_front_within_the_limit(explorer: Explorer) -> None:
    """Trial 0 is over the limit and beats the two others, of which neither beats the other."""
    rows = [
        row(0, 0.9, 90_000_000, latency_ms=9.0),
        row(1, 0.5, latency_ms=5.0),
        row(2, 0.6, 110_000_000, latency_ms=5.0),
    ]
    explorer.add("flowers", rows, manifest(objectives=["top1", "madds"], latency_limit_ms=6.0, budget=BUDGET))
    assert "; 2 on the front" in texts(explorer.open(page=PAGE))


def test_the_lines_mark_the_front_of_the_study_and_no_other(explorer: Explorer) -> None:
    """A published network below the band beats trial 1, which is the best in the band of the lower costs."""
    rows = [row(0, 0.6, 50_000_000), row(1, 0.5, 110_000_000), row(2, 0.7, 120_000_000)]
    budget = {"low": 100_000_000, "high": 150_000_000, "stated": True}
    explorer.add("flowers", rows, manifest(objectives=["top1", "madds"], latency_limit_ms=None, budget=budget))
    assert "; 1 on the front (thick lines with marks), 1 more not drawn" in texts(explorer.open(page=PAGE))


def test_the_command_for_twins_names_this_studys_images_and_network(explorer: Explorer) -> None:
    folder = explorer.add("flowers", study())
    command = explorer.open(page=PAGE).code[0].value
    assert command == f"mfsearch twins {folder}:9 --data digits --batch 64 --lr 0.0025 --seeds 3 --latency"
    _parser().parse_args(command.split()[1:])


@pytest.mark.parametrize("link", [{"knob": "gone"}, {"measure": "x"}, {"axes": "gone"}, {"tint": "x"}])
def test_a_link_to_what_is_not_there_opens_the_page_as_it_begins(explorer: Explorer, link: dict[str, str]) -> None:
    explorer.add("flowers", study())
    app = explorer.open(page=PAGE, **link)
    assert app.selectbox(key="knob").value in ("tokens.count", "dyrelu.source")
    assert app_path().is_file()


def test_another_study_has_its_own_knobs(explorer: Explorer) -> None:
    explorer.add("flowers", study())
    explorer.add("birds", [row(k, 0.1 * k, params={"other": k % 2}) for k in range(6)], OTHER)
    app = explorer.open("--study=flowers", page=PAGE, knob="tokens.count")
    app.selectbox(key="study").set_value("birds").run()
    assert not app.exception
    assert app.selectbox(key="knob").value == "other"
    assert app.multiselect(key="axes").value == ["other"]
