import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from mfsearch.analysis.latency.kept_latency import append_lines, passport_id, read_kept
from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import Trial
from tests.analysis.latency.test_kept_latency import PASSPORT, line, with_parts
from tests.analysis.latency.test_milliseconds import again, predicted, timed
from tests.analysis.rows import MARKUP, changed, failed, longer_study, manifest, row, study
from tests.app.explorer import PLAIN, REFERENCE, Explorer, texts


@pytest.fixture
def explorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    return Explorer(tmp_path / "results", monkeypatch, "Milliseconds")


HERE = manifest(passport=PASSPORT)


def charts(app: AppTest) -> str:
    return "".join(chart.proto.spec for chart in app.get("plotly_chart"))


def bars(app: AppTest) -> list[str]:
    """The names of the first figure's bars, from above."""
    return list(json.loads(app.get("plotly_chart")[0].proto.spec)["layout"]["yaxis"]["ticktext"])


def test_a_real_study_with_the_figures_kept_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Explorer(REFERENCE, monkeypatch, "Milliseconds").open("--study=fast151")
    assert app.header[0].value == "Where do the milliseconds go?"
    said = texts(app)
    assert "47 of 48 measurements disturbed" in said
    assert "Of 40 networks predicted and then measured, 90 % were within 10 %" in said
    assert "Spearman's rank correlation of latency with multiply-adds is 0.46 [0.20, 0.66] over 48 networks" in said
    assert "10 networks measured again when the run ended" in said
    kept = read_kept([REFERENCE / "latency" / "breakdown.jsonl"]).rows
    assert {row.name for row in kept} >= {"mf-52m", "mf-151m", "mf-294m"}
    assert "trial 34" in charts(app)
    assert "mf-294m" in charts(app)
    assert "MobileNetV3-Large" in charts(app)
    assert "--breakdown" not in "".join(code.value for code in app.code)  # the best of the front has been measured
    other = Explorer(REFERENCE, monkeypatch, "Milliseconds").open("--study=fast151", trial="28")
    assert '"fast151:34"' in charts(Explorer(REFERENCE, monkeypatch, "Milliseconds").open("--study=living151"))
    assert other.code[0].value == f"mfsearch latency {REFERENCE / 'fast151'}:28 --breakdown --results {REFERENCE}"


def test_an_old_study_shows_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Explorer(REFERENCE, monkeypatch, "Milliseconds").open("--study=cifar10-150M-10ms")
    assert "No latency was predicted in this study" in texts(app)
    assert "over 43 networks: a moderate relation" in texts(app)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "The study holds no trials yet."),
        (failed(3), "needs two networks that differ"),
        ([row(0)], "needs two networks that differ"),
        ([timed(0, 5.0)], "None of 1 measurement was disturbed."),
        ([row(0, latency_ms=float("nan")), timed(1, 5.0, latency_low_ms=float("nan"))], "None of 1 measurement"),
        ([row(0, None), row(1, float("nan"))], "No latency was predicted"),
        (study(), "over 12 networks: a strong relation"),
        (longer_study(), "No network was measured by part yet."),
    ],
    ids=["empty", "failed", "untimed", "one", "NaN", "no top1", "study", "longer"],
)
@pytest.mark.parametrize(
    "asked",
    [HERE, PLAIN, manifest(passport=None), manifest(passport={"device": "my phone"})],
    ids=["here", "plain", "untimed", "phone"],
)
def test_a_study_of_any_kind_gets_a_sentence(
    explorer: Explorer, rows: list[Trial], sentence: str, asked: Manifest
) -> None:
    explorer.add("odd", rows, asked)
    assert sentence in texts(explorer.open())


def test_kept_figures_of_the_study_s_device_come_first_and_others_on_demand(explorer: Explorer) -> None:
    explorer.add("mine", study(), HERE)
    other = PASSPORT | {"runtime_version": "1.33.0"}
    parts = explorer.results / "latency" / "breakdown.jsonl"
    append_lines(parts, [with_parts("mf-52m"), with_parts("mf-96m", passport=other, measured="2030-01-01")])
    append_lines(parts, [with_parts("mine:9", arch_id="00000009"), with_parts("batch", batch=8)])
    app = explorer.open()
    assert "mf-52m" in charts(app)
    assert "mf-96m" not in charts(app)
    assert "batch" not in bars(app)
    assert bars(app) == ["trial 9", "mf-52m"]
    assert "Measured on the device of this study." in texts(app)
    app.selectbox(key="device-parts").set_value(0).run()
    assert not app.exception
    assert bars(app) == ["mf-96m"]
    link = {"device-parts": passport_id(other)}
    assert app.query_params["device-parts"] == link["device-parts"]
    assert bars(explorer.open(**link)) == ["mf-96m"]
    assert bars(explorer.open(**{"device-parts": "gone"})) == ["trial 9", "mf-52m"]
    assert (
        "This is not the device of the study's latencies: runtime_version: 1.32.0 in the study, 1.33.0 here."
        in texts(app)
    )


def test_the_chosen_trial_and_the_pinned_ones_come_first(explorer: Explorer) -> None:
    explorer.add("mine", study(), HERE)
    append_lines(
        explorer.results / "latency" / "breakdown.jsonl",
        [with_parts(f"mine:{k}", arch_id=f"{k:08x}", latency_ms=float(k)) for k in (1, 2, 3, 8)],
    )
    app = explorer.open(trial="8", pins="3")
    assert bars(app) == [
        "trial 8",
        "trial 3",
        "trial 1",
        "trial 2",
    ]
    assert "--breakdown" not in "".join(code.value for code in app.code)
    app.selectbox(key="trial").set_value(6).run()
    assert app.query_params["trial"] == "6"
    assert (
        app.code[0].value == f"mfsearch latency {explorer.results / 'mine'}:6 --breakdown --results {explorer.results}"
    )


def test_latency_by_size_is_of_one_device_and_one_batch(explorer: Explorer) -> None:
    explorer.add("mine", study(), HERE)
    lines = [line("mf-52m", side, batch=batch) for side in (160, 224) for batch in (1, 8)]
    append_lines(explorer.results / "latency" / "by-size.jsonl", lines)
    app = explorer.open()
    assert app.selectbox(key="batch").options == ["1", "8"]
    assert "1 image per batch, 1 thread" in charts(app)
    app.selectbox(key="batch").set_value(8).run()
    assert not app.exception
    assert "8 images per batch, 1 thread" in charts(app)
    assert "8 images per batch" in charts(explorer.open(batch="8"))
    assert "1 image per batch" in charts(explorer.open(batch="x"))


def test_what_was_measured_with_two_threads_says_so(explorer: Explorer) -> None:
    two = PASSPORT | {"threads": 2}
    explorer.add("mine", study(), manifest(passport=two))
    folder = explorer.results / "latency"
    append_lines(folder / "by-size.jsonl", [line("mf-52m", passport=two, threads=2)])
    append_lines(folder / "breakdown.jsonl", [with_parts("mf-52m", passport=two, threads=2)])
    app = explorer.open()
    assert "1 image per batch, 2 threads" in charts(app)
    assert "(1 image per batch, 2 threads)" in texts(app)


def test_kept_figures_that_cannot_be_read_are_counted(explorer: Explorer) -> None:
    explorer.add("mine", study(), HERE)
    append_lines(explorer.results / "latency" / "by-size.jsonl", [{"name": "x"}, line("mf-52m")])
    assert "1 line of saved measurements could not be read." in texts(explorer.open())


def test_what_was_measured_twice_and_predicted_is_drawn(explorer: Explorer) -> None:
    rows = [again(predicted(k, 5.0 + k / 10, 5.1 + k / 10, madds=10**8 + k), 4.9 + k / 10) for k in range(4)]
    explorer.add("mine", rows, HERE)
    app = explorer.open()
    assert "4 networks measured again when the run ended" in texts(app)
    assert "Of 4 networks predicted and then measured, 100 % were within 10 %" in texts(app)
    assert len(app.get("plotly_chart")) == 3


def test_names_of_networks_and_devices_stay_text(explorer: Explorer) -> None:
    passport = {"device": MARKUP}
    explorer.add("mine", [changed(trial, origin=MARKUP) for trial in study()], manifest(passport=passport))
    folder = explorer.results / "latency"
    append_lines(folder / "breakdown.jsonl", [with_parts(MARKUP, passport=passport)])
    append_lines(folder / "by-size.jsonl", [line(MARKUP, passport=passport)])
    app = explorer.open()
    assert "<img" not in "\n".join(element.value for element in (*app.markdown, *app.caption))
    assert "<img" not in charts(app)


def test_published_systems_stand_where_this_device_runs_them(explorer: Explorer) -> None:
    explorer.add("odd", study(), HERE)
    app = explorer.open()
    assert f"mfsearch references --measure --results {explorer.results}" in [code.value for code in app.code]
    append_lines(explorer.results / "references" / "digest.jsonl", [line("LeViT 128S", arch_id=None)])
    app = explorer.open()
    assert "accuracy on ImageNet as published" in "".join(caption.value for caption in app.caption)
    assert "LeViT 128S" in charts(app)
    assert "references --measure" not in "".join(code.value for code in app.code)
