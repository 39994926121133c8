import os
from pathlib import Path

import pytest

from mfsearch.analysis.front.report import write_report
from mfsearch.analysis.front.summary import (
    study_front,
    summary,
    why_no_figure,
    why_no_front,
)
from mfsearch.study.frame import study_frame
from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import Trial
from tests.analysis.rows import MANIFEST, MARKUP, changed, failed, kept_parent, longer_study, manifest, row, study

NO_LIMIT = manifest(objectives=["top1", "madds"], latency_limit_ms=None)
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]


def report(tmp_path: Path, rows: list[Trial], about: Manifest) -> str:
    path = tmp_path / "report.html"
    write_report(study_frame(rows), about, path)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "The study holds no trials yet."),
        (
            failed(2),
            "No network has been trained yet, so there is nothing to choose from. Most common reason (2 times): loss",
        ),
        ([row(0)], "1 trained trial with a top-1 so far; a figure needs two."),
        ([row(0, None), row(1, None)], "2 trials trained, but none has every metric and meets every limit."),
    ],
    ids=["empty", "failed", "one", "no top1"],
)
def test_a_study_without_points_gets_a_sentence_and_no_figure(tmp_path: Path, rows: list[Trial], sentence: str) -> None:
    for about in (NO_LIMIT, manifest(latency_limit_ms=None, passport=None)):
        html = report(tmp_path, rows, about)
        assert sentence in html
        assert "plotly-graph-div" not in html
        assert "mfsearch explore" in html


def test_a_study_whose_every_trial_is_over_a_limit_says_so(tmp_path: Path) -> None:
    html = report(tmp_path, [row(0, latency_ms=9.0), row(1, latency_ms=9.5)], MANIFEST)
    assert "2 trials trained, but none has every metric and meets every limit." in html


def test_the_report_has_front_figures_manifest_and_next_steps(tmp_path: Path) -> None:
    html = report(tmp_path, study(), MANIFEST)
    assert html.count('class="plotly-graph-div"') == 4
    for part in ("Top-1 against multiply-adds", "Top-1 against latency", "Training curves", "Trials over time"):
        assert part in html
    # top1 of trial 12k + 0 mod 3 rises with every cost: 0, 3, 6, 9 are the front, of which 9 takes 6.25 ms
    assert "4 trials that no other trial beats in top-1, multiply-adds and latency together." in html
    assert "mfsearch explore flowers" in html
    assert "mfsearch export flowers --trial 9 --to flowers-9" in html
    assert "A slow CPU" in html


def test_without_latency_the_second_figure_is_against_parameters(tmp_path: Path) -> None:
    html = report(tmp_path, study(latency=False), NO_LIMIT)
    assert "Top-1 against parameters" in html
    assert "Top-1 against latency" not in html


def test_a_name_that_is_markup_stays_text(tmp_path: Path) -> None:
    odd = {"origin": f"preset {MARKUP}", "params": {MARKUP: MARKUP}}
    rows = [changed(trial, **odd, reason=MARKUP if trial.reason else None) for trial in study()]
    data = {**MANIFEST.kept["data"], "name": MARKUP}
    html = report(tmp_path, rows, manifest(study=MARKUP, data=data, command="</pre>" + MARKUP))
    assert MARKUP not in html
    assert "<title>&lt;img" in html


def test_a_password_in_the_storage_url_stays_out(tmp_path: Path) -> None:
    url = "postgresql://me:s3cr@t@db:5432/x"
    html = report(tmp_path, study(), manifest(storage=url, command=f"mfsearch run --storage {url}"))
    assert "s3cr" not in html
    assert "postgresql://***@db:5432/x" in html


def test_the_report_replaces_an_older_one_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(study_frame([]), manifest(study="old"), path)

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full_disk)
        with pytest.raises(OSError, match="no space"):
            write_report(study_frame([]), manifest(study="new"), path)
    assert "old" in path.read_text(encoding="utf-8")
    assert os.listdir(path.parent) == ["report.html"]  # noqa: PTH208  # hidden files, too


def test_the_front_of_a_study_keeps_its_limits_and_what_is_over_them_hides_nothing() -> None:
    """At 7.25 ms: 3 is beaten by none, 4 is over the limit and would beat 3, 5 has no latency."""
    rows = [row(3, 0.6, 140_000_000, latency_ms=7.0), row(4, 0.7, 130_000_000, latency_ms=7.3), row(5, 0.9)]
    assert study_front(study_frame(rows), MANIFEST)["number"].tolist() == [3]
    assert study_front(study_frame(rows), NO_LIMIT)["number"].tolist() == [5]
    untimed = [row(0, 0.6, 140_000_000), row(1, 0.5, 130_000_000), row(2, 0.5, 150_000_000)]
    assert study_front(study_frame(untimed), manifest(latency_limit_ms=None))["number"].tolist() == [1, 0]
    assert study_front(study_frame([]), MANIFEST).empty
    assert study_front(study_frame(failed(2)), MANIFEST).empty


def test_summary_counts_and_names_limits_data_and_device() -> None:
    assert summary(study_frame(study()), MANIFEST) == (
        "12 trials: 9 trained, 2 rejected before training, 1 failed. Budget: at most 150 M multiply-adds. "
        "Latency: at most 7.25 ms. Data: digits. Device: A slow CPU. "
        "The highest top-1 is 49.0 % at 123.0 M multiply-adds, by trial 9 (tpe). "
        "It comes from a short training: enough to compare networks, but no estimate of a full training."
    )
    assert summary(study_frame([]), manifest(latency_limit_ms=None, passport=None)) == (
        "0 trials: 0 trained, 0 rejected before training, 0 failed. Budget: at most 150 M multiply-adds. "
        "Data: digits. Device: cpu."
    )


def test_a_budget_whose_lower_end_was_stated_shows_both() -> None:
    stated = manifest(budget={"low": 120_000_000, "high": 150_000_000, "stated": True})
    assert "Budget: 120 M to 150 M multiply-adds." in summary(study_frame([row(0)]), stated)


def test_sentences_for_studies_with_and_without_points() -> None:
    assert why_no_figure(study_frame(study())) is None
    assert why_no_figure(study_frame([])) == "0 trained trials with a top-1 so far; a figure needs two."
    assert why_no_front(study_frame([Trial(0, "failed")])).endswith("nothing to choose from.")


@pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed")
def test_the_report_draws_in_a_browser_without_network_or_complaint(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    write_report(study_frame(study()), manifest(study=MARKUP), path)
    complaints: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("dialog", lambda dialog: complaints.append(dialog.message))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(path.as_uri())
            page.wait_for_selector(".js-plotly-plot .scatterlayer .points path")
            assert page.locator(".js-plotly-plot .main-svg").count() >= 4
            assert page.locator("h1").inner_text() == MARKUP
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert complaints == []
    assert set(requests) == {path.as_uri()}


def test_the_front_of_longer_trainings_shows_spread_seeds_probability_and_ties(tmp_path: Path) -> None:
    html = report(tmp_path, longer_study(), NO_LIMIT)
    for part in ("on the front</th>", "tied with</th>", "<td>72.0 ± 2.5 </td>", "9x, 2 seeds", "&gt; 99 %"):
        assert part in html
    assert "One 9x training varies by 1.00 points, 1 degree of freedom" in html
    assert "<li>1 stopped half way: " in html
    short = report(tmp_path, study(), MANIFEST)
    assert "on the front</th>" not in short
    assert "trained</th>" not in short


def test_longer_trainings_with_one_seed_each_say_why_there_is_no_probability(tmp_path: Path) -> None:
    html = report(tmp_path, longer_study()[:4], NO_LIMIT)
    assert "one seed each" in html
    assert "on the front</th>" not in html
    assert '<td class="text">3x</td>' in html


def test_summary_counts_longer_and_stopped_trainings() -> None:
    assert summary(study_frame(longer_study()), NO_LIMIT) == (
        "7 trials: 6 trained, 1 stopped half way, 0 rejected before training, 0 failed. "
        "3 networks trained longer, 2 of these with several seeds. "
        "Budget: at most 150 M multiply-adds. Data: digits. Device: A slow CPU. "
        "The highest top-1 is 72.0 ± 0.7 % at 150.0 M multiply-adds, by trial 5 (tpe). It comes from a training of "
        "9 epochs (9x, 2 seeds): enough to compare networks, but no estimate of a full training."
    )


def test_the_parent_is_told_and_marked(tmp_path: Path) -> None:
    write_report(study_frame(study()), MANIFEST, tmp_path / "report.html", kept_parent())
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    told = "Parent: bundle, 120.0 M multiply-adds, 8.00 ms, 60.0 % top-1 on the validation images"
    assert f"{told} (which may be among its training images)." in html
    assert html.count('"name":"parent"') == 2
    assert "Parent:" not in report(tmp_path, study(), MANIFEST)
