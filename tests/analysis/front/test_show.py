"""What `mfsearch show` and the end of a run print and give as JSON."""

import argparse
import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from mfsearch.analysis.figures.tradeoff import tradeoff_points
from mfsearch.analysis.front.confidence import confidence, marks
from mfsearch.analysis.front.cut import best_number
from mfsearch.analysis.front.summary import study_front, summary
from mfsearch.analysis.ranking.trust import read_calibrations
from mfsearch.commands.display import Display, _cheaper_sentence, front_table, panel, print_front
from mfsearch.commands.run import _print_ending
from mfsearch.commands.show import summary_of
from mfsearch.presets import PRESETS, preset
from mfsearch.search.progress import Progress, SearchEvent
from mfsearch.study.manifest import StudyRequest
from mfsearch.study.prior import COLUMNS
from mfsearch.study.settings import Limits
from mfsearch.study.study import Study, best_trial, front_trials
from mfsearch.study.trial import Trial
from tests.analysis.rows import changed, longer_study, manifest, row, study

MANIFEST = manifest(
    objectives=["top1", "madds"], budget={"low": 1, "high": 200_000_000, "stated": False}, latency_limit_ms=None
)
RESULTS = Path(__file__).parents[3] / "results"
CONFIG = preset("mf-151m").to_dict()


def studied(trials: list[Trial]) -> Study:
    return Study(Path("s"), MANIFEST, tuple(changed(trial, config=CONFIG) for trial in trials))


def printed(trials: list[Trial], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")  # on 80 the cells wrap
        print_front(studied(trials))
    return capsys.readouterr().out


def test_a_front_of_longer_trainings_shows_spread_seeds_probability_and_ties(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(longer_study(), capsys)
    for part in (
        "72.00 ±2.46",
        "best",
        "tied",
        "differences under",
        "Lengths of training differ",
        "9x, 2 seeds",
        "on front",
        "tied with",
        "> 99 %",
        "One 9x training varies by 1.00",
    ):
        assert part in text
    assert (
        "search's own), 3 of them longer, 1 stopped half way, 0 rejected by latency, 0 failed; 6 on the front" in text
    )


def test_one_seed_each_shows_lengths_and_says_why_there_is_no_probability(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(longer_study()[:4], capsys)
    assert "3x" in text
    assert "one seed each" in text
    assert "on front" not in text


def test_a_front_of_short_trainings_reads_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(study(), capsys)
    assert text.split("\n")[1].split() == [
        "trial",
        "top1",
        "%",
        "best",
        "madds",
        "M",
        "params",
        "M",
        "tokens",
        "DyReLU",
        "origin",
    ]
    assert text.endswith(
        "\ns: 9 trained (7 the search's own), 2 rejected by latency, 1 failed; 4 on the front of top1, madds\n"
    )


def test_the_widest_table_keeps_within_100_columns() -> None:
    more = {"origin": "fitted mf-151m", "latency_ms": 17.25, "num_params": 11_000_000}
    trials = [
        changed(trial, number=trial.number + 1000, madds=int(trial.metric("madds")) + 1_000_000_000, **more)
        for trial in studied(longer_study()).trials
    ]
    objectives = ["top1", "madds", "latency_ms"]
    table = front_table(
        front_trials(trials, objectives), objectives, confidence(trials, objectives), marks(trials, {}, 9)
    )
    assert Console(width=200).measure(table).maximum <= 100


def test_the_summary_holds_probability_ties_and_noise_but_no_curves() -> None:
    found = summary_of(studied(longer_study()))
    last = found["front"][-1]
    assert found["top1_noise"][2] == pytest.approx({"std": 0.01, "degrees": 1})
    assert last["tied_with"][0] == 4
    assert 0.3 < last["front_probability"] < 0.7  # 360 images
    assert (last["mark"], found["front"][0]["mark"]) == ("best", "tied")
    assert last["top1_error"] == pytest.approx(0.0246, abs=1e-4)
    assert all("curve" not in stage for stage in last["stages"])
    assert (found["stopped_half_way"], found["trained_longer"]) == (1, 3)
    short = summary_of(studied(study()))
    assert short["top1_noise"] is None
    assert "front_probability" not in short["front"][0]


def test_the_start_names_the_prior_and_the_end_says_what_it_was_worth(capsys: pytest.CaptureFixture[str]) -> None:
    prior = {"tables": ["cifar10-30M", "x"], "weights": dict.fromkeys(COLUMNS, 0.0) | {"madds": 1.0}}
    asked = manifest(**MANIFEST.kept, prior="tables", prior_fit=prior)
    Display(Console(), live=False, quiet=False)(SearchEvent("began", Progress(asked, Limits(), "")))
    text = " ".join(capsys.readouterr().out.split())
    assert "prior networks trained on CIFAR-10 (cifar10-30M, x), as far as they agree with the study's own" in text
    sizes = [*PRESETS.values()]
    trials = [row(k, 0.5 + 0.01 * k, config=one.to_dict()) for k, one in enumerate(sizes)]
    print_front(Study(Path("s"), asked, tuple(trials)))
    assert (
        "prior: tau 1.00 with the 7 networks trained here; such trainings give it weight\n" in capsys.readouterr().out
    )
    turned = [changed(trial, top1=0.9 - trial.metric("top1")) for trial in trials]
    print_front(Study(Path("s"), asked, tuple(turned)))
    assert (
        "prior: tau -1.00 with the 7 networks trained here; such trainings give it no weight" in capsys.readouterr().out
    )
    for few in (trials[:3], [changed(trial, config=CONFIG) for trial in trials]):
        print_front(Study(Path("s"), asked, tuple(few)))
        assert "prior" not in capsys.readouterr().out
    print_front(Study(Path("s"), MANIFEST, tuple(trials)))
    assert "prior" not in capsys.readouterr().out


def test_a_run_says_at_its_start_what_difference_it_will_be_able_to_tell(capsys: pytest.CaptureFixture[str]) -> None:
    no_final = {"factors": [0.0, 1.0, 4.0], "finalists": 0}
    for rungs, seeds in ((None, "one seed"), ({"factors": [1.0, 3.0], "seeds": 2}, "2 seeds"), (no_final, "one seed")):
        asked = manifest(rungs=rungs, data={**MANIFEST.kept["data"], "val_images": 150})
        display = Display(Console(), live=False, quiet=False)
        display(SearchEvent("began", Progress(asked, Limits(), "")))
        text = capsys.readouterr().out
        assert f"150 validation images, {seeds}: differences under 8 points will not show, with the noise of" in text
    assert "one network in 3 is promoted to 1x the short training; no finalists\n" in text


def test_the_start_knows_the_seed_noise_of_the_study_or_else_of_its_calibration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = {**MANIFEST.kept["data"], "val_images": 150}
    progress = Progress(manifest(rungs={"factors": [1.0, 3.0, 9.0], "seeds": 2}, data=images), Limits(), "")
    progress.calibration = read_calibrations([RESULTS])[0][0].figures  # 1.26 points by three seeds
    show = Display(Console(), live=False, quiet=False)
    show(SearchEvent("began", progress))
    # sqrt((4.30 * 0.0126)^2 + (1.96 * 0.0403)^2): Student's t with two degrees of freedom
    assert "150 validation images, 2 seeds: differences under 10 points will not show\n" in capsys.readouterr().out
    progress.trials = longer_study()  # 1 point with one degree of freedom: sqrt((12.7 * 0.01)^2 + 0.079^2)
    show(SearchEvent("began", progress))
    assert "150 validation images, 2 seeds: differences under 15 points will not show\n" in capsys.readouterr().out


def test_the_best_is_one_network_wherever_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A cheaper one of the same top1, and a dearer one on the front for its latency alone."""
    trials = [
        changed(row(k, top1, madds), latency_ms=ms, config=CONFIG)
        for k, (top1, madds, ms) in enumerate([(0.5, 90, 5.0), (0.6, 100, 6.0), (0.6, 110, 5.5), (0.55, 120, 4.0)])
    ]
    asked = manifest(
        objectives=["top1", "madds", "latency_ms"],
        latency_limit_ms=9.0,
        budget=MANIFEST.kept["budget"],
        request=dataclasses.asdict(StudyRequest("my photos")),
    )
    one = Study(Path("results/s"), asked, tuple(trials))
    front = study_front(one.frame(), asked)
    assert front["number"].tolist() == [0, 1, 2, 3]
    best = one.best()
    assert best is not None
    assert best.number == best_number(front) == tradeoff_points(front, "madds", list(one.objectives)).best == 1
    assert f"by trial {best.number} " in summary(one.frame(), asked)
    told = {trial["number"]: trial.get("mark") for trial in summary_of(one)["front"]}
    assert [number for number, mark in told.items() if mark == "best"] == [best.number]
    arguments = argparse.Namespace(results=Path("results"), time=None)
    settings = SimpleNamespace(study="s", latency_limit_ms=9.0)
    _print_ending("trials", one, settings, Path("report.html"), arguments)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert f"export s --trial {best.number} " in said
    trained, side = asked.recipe.resolution, asked.resolution
    assert f" --resolution {trained} --to s-{best.number}-{trained}px    # as it was trained here\n" in said
    assert (
        f" --to s-{best.number}    # at {side} px, for which the budget counts\n  mfsearch train s-{best.number} "
        in said
    )
    assert " --data 'my photos' " in said


def test_the_end_names_the_cheapest_network_that_top1_cannot_tell_from_the_best() -> None:
    trials = [row(0, 0.58, 25_000_000), row(1, 0.59, 50_000_000), row(2, 0.60), row(3, 0.20, 9_000_000)]
    sure = confidence(trials, ["top1", "madds"], 150)
    best = best_trial(trials)
    assert _cheaper_sentence(trials, best, sure) == (
        "Trial 2 has the best top1, at 100.0M: take it to use the budget. Trial 0 (tpe) costs 25.0M, and top1 cannot "
        "tell them apart: take it to save cost, or train both in full."
    )
    assert _cheaper_sentence(trials, best, confidence(trials, ["top1", "madds"], 100_000)) == ""
    assert _cheaper_sentence(trials, None, sure) == ""


def test_a_line_of_the_live_display_is_never_two(capsys: pytest.CaptureFixture[str]) -> None:
    """Else the next frame erases a result that was printed above it."""
    progress = Progress(manifest(rungs={"factors": [1.0, 3.0, 9.0], "seeds": 2}), Limits(30), "")
    progress.trials = longer_study()
    progress.stage = "searching for networks with a long name " * 3
    Console(width=60).print(panel(progress))
    lines = capsys.readouterr().out.splitlines()
    assert "searching" in lines[0]
    assert lines[0].rstrip().endswith("…")
    assert "front" in lines[1]
