"""The page of one network: its card, its costs, its neighbours, and networks side by side."""

import dataclasses
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from mfsearch.analysis.latency.kept_latency import append_lines, kept_line
from mfsearch.config import MobileFormerConfig, TokenConfig
from mfsearch.cost.madds import count_costs
from mfsearch.presets import MF_52M, MF_151M, PRESETS
from mfsearch.study.files import write_json
from mfsearch.study.kept_parent import KEPT_PARENT
from mfsearch.study.trial import Trial
from tests.analysis.rows import LOST, MARKUP, changed, failed, kept_parent, longer_study, manifest, row, study
from tests.app.explorer import REFERENCE, Explorer, texts
from tests.random_configs import SMALL, random_config

FAST151 = REFERENCE / "fast151"
NAN = float("nan")


@pytest.fixture
def explorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    return Explorer(tmp_path / "results", monkeypatch, "Network")


def trial(number: int, config: MobileFormerConfig, top1: float | None = 0.5, **more: object) -> Trial:
    costs = count_costs(config)
    known = {"arch_id": config.arch_id, "config": config.to_dict(), "num_params": costs.num_params, "macs": costs.macs}
    return row(number, top1, costs.madds, **known | {"activation_bytes": costs.activation_bytes} | more)


def real_study() -> list[Trial]:
    """The published networks up to 151M, a near relative, and one each that was rejected, failed and stopped; timed."""
    near = dataclasses.replace(MF_151M, tokens=TokenConfig(3, 192))
    configs = [*list(PRESETS.values())[:4], near]
    rows = [trial(k, config, 0.5 + 0.02 * k) for k, config in enumerate(configs)]
    for k, ms in enumerate((3.0, 4.0, 6.0, 9.0, 8.0)):
        rows[k] = changed(rows[k], latency_ms=ms, latency_low_ms=ms - 0.1, latency_high_ms=ms + 0.1)
    rows[3] = changed(rows[3], origin="preset mf-151m")
    slow = {"outcome": "rejected", "reason": "latency 12 ms is over the limit", "latency_ms": 12.0}
    return [
        *rows,
        changed(trial(5, PRESETS["mf-214m"]), **LOST | slow),
        changed(trial(6, PRESETS["mf-294m"]), **LOST | {"outcome": "failed", "reason": f"loss became NaN {MARKUP}"}),
        trial(7, MF_52M, 0.2, outcome="stopped", reason="top1 20.00% half way"),
    ]


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def table(app: AppTest, column: str, *others: str) -> list[list[str]]:
    """The cells of the first table with these columns."""
    for frame in app.dataframe:
        if {column, *others} <= set(frame.value.columns):
            return [[str(cell) for cell in cells] for cells in frame.value.to_numpy().tolist()]
    raise AssertionError(f"no table with {column}")


def address(app: AppTest, name: str) -> str:
    """What the address has under a name: AppTest holds what a script set as text, and what it was given as a list."""
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def box(app: AppTest) -> list[str]:
    (found,) = [one for one in app.selectbox if one.label.startswith("Trial")]
    return list(found.options)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "The study holds no trials yet."),
        (failed(3), "Failed (loss became NaN). Its evaluation failed"),
        ([row(0)], "The network cannot be shown: unknown key 'name'"),
        ([row(0, NAN, config=None, curve=None, latency_ms=NAN)], "No top-1 was recorded for this trial."),
        ([trial(0, MF_151M, curve=[])], "No training curve was recorded."),
    ],
    ids=["empty", "failed", "unreadable", "NaN", "one"],
)
def test_a_study_without_much_gets_sentences(explorer: Explorer, rows: list[Trial], sentence: str) -> None:
    explorer.add("odd", rows)
    assert sentence in texts(explorer.open())


@pytest.mark.parametrize("rows", [study(), longer_study(), [*study(), row(12, NAN), row(13, latency_ms=NAN)]])
def test_made_up_configs_leave_the_rest_of_the_card(explorer: Explorer, rows: list[Trial]) -> None:
    explorer.add("made-up", rows)
    app = explorer.open(trial="3", compare="3,6")
    assert "The network cannot be shown: unknown key 'name'" in texts(app)
    assert "Top-1" in metrics(app)
    assert "Only metrics are compared for networks that cannot be read: trial 3, trial 6." in texts(app)


def test_the_card_shows_the_network_and_its_costs(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    app = explorer.open(trial="3")
    assert app.header[0].value == "Which network?"
    assert metrics(app)["Top-1"] == "56.0 ± 2.6 %"
    assert metrics(app)["Latency"] == "9.00 ms"
    (latency,) = [metric for metric in app.metric if metric.label == "Latency"]
    assert latency.delta == "8.90 to 9.10"
    assert app.code[0].value == MF_151M.table()
    assert "Identical to mf-151m." in texts(app)
    costs = table(app, "Place", "Part", "Multiply-adds (M)")
    assert sum(float(cells[2]) for cells in costs) == pytest.approx(count_costs(MF_151M).madds / 1e6)
    assert "8 are needed, this study has 6" in texts(app)


def test_the_best_on_the_front_is_shown_first_and_a_link_opens_its_trial(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    assert box(explorer.open())[0].startswith("2: 54.0 %, 96.3 M, 6.00 ms")  # the limit is 7.25 ms
    assert metrics(explorer.open(trial="1"))["Top-1"] == "52.0 ± 2.6 %"
    assert metrics(explorer.open(trial="99"))["Top-1"] == "54.0 ± 2.6 %"


@pytest.mark.parametrize(
    ("number", "outcome", "missing"),
    [("5", "Rejected (latency 12 ms", "never trained"), ("6", "Failed (loss", "failed"), ("7", "Stopped", "half way")],
)
def test_trials_that_were_not_trained_can_be_looked_at(
    explorer: Explorer, number: str, outcome: str, missing: str
) -> None:
    explorer.add("real", real_study())
    app = explorer.open(trial=number)
    assert outcome in texts(app)
    assert missing in texts(app)
    assert ("Top-1" in metrics(app)) is False
    assert ("Top-1 half way" in metrics(app)) == (number == "7")
    assert "Multiply-adds" in metrics(app)
    assert app.code[0].value.startswith("tokens ")


def test_the_nearest_faster_network_is_named_with_its_price_and_chosen_by_its_button(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    app = explorer.open(trial="3")
    assert "Trial 4 (tpe): 8.00 ms, \N{MINUS SIGN}11 % latency, +2.0 points of top-1." in texts(app)
    assert table(app, "knob", "trial 3", "trial 4") == [["tokens.count", "6", "3"]]
    app.button(key="cheaper").click().run()
    assert address(app, "trial") == "4"
    assert metrics(app)["Top-1"] == "58.0 ± 2.6 %"
    assert table(app, "knob", "mf-151m", "trial 4") == [["tokens.count", "6", "3"]]


def test_a_trial_without_a_cheaper_one_says_so(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    assert "No trained network saves at least 10 %." in texts(explorer.open(trial="0"))


def test_pins_come_first_and_notes_live_in_the_address(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    app = explorer.open(trial="1")
    app.button(key="pin").click().run()
    assert address(app, "pins") == "1"
    assert box(app)[0].startswith("pinned 1: 52.0 %")
    app.text_input(key="note-1").input(f"small {MARKUP}").run()
    assert address(app, "note.1") == f"small {MARKUP}"
    again = explorer.open(trial="1", pins="1", **{"note.1": "small"})
    assert again.text_input(key="note-1").value == "small"
    again.button(key="pin").click().run()
    assert "pins" not in again.query_params
    assert "note.1" not in again.query_params


def test_a_note_pins_its_trial(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    app = explorer.open(trial="2", pins="0")
    app.text_input(key="note-2").input("why not").run()
    assert address(app, "pins") == "0,2"
    assert address(app, "note.2") == "why not"


def test_pinned_networks_are_compared_and_only_what_differs_is_shown(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    app = explorer.open(trial="3", pins="3,4")
    assert app.multiselect(key="compare").value == ["3", "4"]
    facts = {cells[0]: cells[1:] for cells in table(app, "metric", "trial 3", "trial 4")}
    assert facts["Top-1"] == ["56.0 ± 2.6 %", "58.0 ± 2.6 %"]
    assert facts["Latency"] == ["9.00 ms (8.90 to 9.10)", "8.00 ms (7.90 to 8.10)"]
    assert "Outcome" not in facts
    blocks = {cells[1]: cells for cells in table(app, "mark", "trial 3", "trial 4")}
    assert blocks["tokens"] == ["≠", "tokens", "6 tokens, of 192", "3 tokens, of 192", "count"]
    assert {cells[0] for name, cells in blocks.items() if name != "tokens"} == {""}


def test_of_many_pinned_networks_the_first_six_are_compared_and_it_is_said(explorer: Explorer) -> None:
    explorer.add("real", [trial(k, MF_151M, 0.5 + k / 100) for k in range(9)])
    app = explorer.open(pins="8,0,7,1,6,2,5")
    assert app.multiselect(key="compare").value == ["8", "0", "7", "1", "6", "2"]
    assert "6 of 7 pinned networks are compared." in texts(app)
    assert "are compared" not in texts(explorer.open(pins="8,0,7,1,6,2"))
    linked = explorer.open(pins="8", compare="0,1,2,3,4,5,6,7")
    assert "6 of 8 named networks are compared." in texts(linked)


def test_a_link_compares_trials_and_published_networks(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    app = explorer.open(compare=f"3,mf-52m,99,{MARKUP},3")
    assert app.multiselect(key="compare").value == ["3", "mf-52m"]
    facts = {cells[0]: cells[1:] for cells in table(app, "metric", "trial 3", "mf-52m")}
    assert facts["Multiply-adds"] == ["152.0 M", "51.8 M"]
    assert facts["Origin"] == ["preset mf-151m", "published"]
    assert "s2_down" in {cells[1] for cells in table(app, "mark", "trial 3", "mf-52m")}
    app.multiselect(key="compare").set_value(["3", "4"]).run()
    assert address(app, "compare") == "3,4"


def test_a_comparison_that_was_emptied_stays_empty(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    app = explorer.open(pins="3,4")
    app.multiselect(key="compare").set_value([]).run()
    assert app.multiselect(key="compare").value == []
    assert "Choose at least two networks" in texts(app)
    assert explorer.open(pins="3,4", compare=address(app, "compare")).multiselect(key="compare").value == []


def test_the_same_network_twice_differs_in_nothing(explorer: Explorer) -> None:
    explorer.add("real", [trial(0, MF_151M), trial(1, MF_151M, 0.6)])
    app = explorer.open(compare="0,1")
    assert "The networks are identical." in texts(app)


def test_large_studies_offer_the_best_and_any_by_its_number(explorer: Explorer) -> None:
    configs = [random_config(seed).to_dict() for seed in range(5)]
    explorer.add("large", [row(k, 0.2 + k / 1000, config=configs[k % 5]) for k in range(400)])
    app = explorer.open(trial="5")
    assert len(box(app)) == 300
    assert box(app)[:2] == ["5: 20.5 %, 100.0 M, tpe", "399: 59.9 %, 100.0 M, tpe"]
    app.text_input(key="by-number").input("7").run()
    assert address(app, "trial") == "7"
    app.text_input(key="by-number").input(" 12 ").run()
    assert address(app, "trial") == "12"
    assert "There is no trial" not in texts(app)
    app.text_input(key="by-number").input("9" * 5000).run()
    assert not app.exception
    assert address(app, "trial") == "12"
    app.text_input(key="by-number").input("4000").run()
    assert "There is no trial '4000' in this study." in texts(app)


def test_parts_that_were_measured_are_shown_with_their_device(explorer: Explorer) -> None:
    explorer.add("real", real_study())
    measured = {
        "arch_id": MF_151M.arch_id,
        "batch": 1,
        "latency_ms": 9.0,
        "breakdown": {"parts_ms": {"mobile": 5.0, "head": 1.5}, "sum_ms": 6.5, "whole_ms": 7.0, "nodes": 300},
    }
    passport: dict[str, object] = {"cpu": "A slow CPU", "threads": 1, "cores": 2}
    append_lines(explorer.results / "latency" / "breakdown.jsonl", [kept_line("mf-151m", 224, measured, passport, 1)])
    app = explorer.open(trial="3")
    assert "Latency by part, measured on A slow CPU, 2 cores" in texts(app)
    assert "Shares of a typical profiled run (7.0 ms), scaled to the measured latency of 9.0 ms." in texts(app)
    shown = [[part, float(ms)] for part, ms in table(app, "Part", "Latency (ms)")]
    assert shown == [
        ["Mobile", pytest.approx(45 / 7)],
        ["head", pytest.approx(13.5 / 7)],
        ["rest", pytest.approx(4.5 / 7)],
    ]
    assert "Latency by part, measured" not in texts(explorer.open(trial="4"))


def test_a_real_study_predicts_where_the_milliseconds_go(explorer: Explorer) -> None:
    app = explorer.open(f"--study={FAST151}", trial="22", bars="predicted_ms", compare="22,31,mf-151m")
    said = texts(app)
    assert "Predicted from 48 networks that this study measured." in said
    assert "Measured: 4.99 ms." in said
    assert "mf-151m, " in said
    assert "Trial 31 (gp): 4.45 ms" in said
    predicted = {cells[0]: cells[1:] for cells in table(app, "metric", "trial 22", "mf-151m")}["Predicted latency"]
    assert all(" ms (" in text for text in predicted)
    for number in (0, 3, 47):  # published, rejected, found
        assert not explorer.open(f"--study={FAST151}", trial=str(number)).exception


def test_networks_that_are_only_cut_are_not_called_trained(explorer: Explorer) -> None:
    rungs = {"factors": [0.0, 1.0, 4.0]}
    explorer.add(
        "inside", [trial(0, SMALL, 0.4)], manifest(parent=dataclasses.asdict(kept_parent().facts), rungs=rungs)
    )
    labels = [metric.label for metric in explorer.open().metric]
    assert "Cut and evaluated" in labels
    assert "Short training" not in labels
    told = texts(explorer.open(page="Search"))
    assert "1 trial, 1 network evaluated." in told
    assert "None was." in told


def test_a_network_inside_a_parent_tells_its_lineage_and_the_parent_stands_on_the_front(explorer: Explorer) -> None:
    kept = kept_parent()
    rows = [trial(k, SMALL, 0.4 + 0.1 * k, latency_ms=4.0 + k) for k in range(2)]
    about = manifest(parent=dataclasses.asdict(kept.facts))
    folder = explorer.add("inside", rows, about)
    assert "Cut from bundle (weights 0123456789ab)." in texts(explorer.open())
    assert "Parent:" not in texts(explorer.open(page="Budget"))
    write_json(folder / KEPT_PARENT, kept.to_dict())
    assert "Cut from bundle (weights 0123456789ab): " in texts(explorer.open())
    app = explorer.open(page="Budget")
    assert "Parent: bundle, 120.0 M multiply-adds, 8.00 ms, 60.0 % top-1" in texts(app)
    assert [chart.proto.spec.count('"name":"parent"') for chart in app.get("plotly_chart")] == [1, 1]
    (folder / KEPT_PARENT).write_text("{}")
    app = explorer.open(page="Budget")
    assert f"{KEPT_PARENT} does not describe the study's parent" in texts(app)
    assert len(app.get("plotly_chart")) == 2
