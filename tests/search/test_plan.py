"""The plan of a search: by hand from made-up paces, and kept by the study that it is made for."""

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from mfsearch.cli import main
from mfsearch.commands.display import panel
from mfsearch.commands.options import TimeLeft
from mfsearch.proxy.recipe import Recipe, default_recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.plan import Pace, make_plan
from mfsearch.search.progress import Progress, Running
from mfsearch.search.promotion import Promotion
from mfsearch.study.manifest import Manifest
from mfsearch.study.settings import Limits
from mfsearch.study.study import Study
from tests.conftest import TINY_SPACE
from tests.random_configs import SMALL
from tests.search.test_loop import Clock, pretended
from tests.trials import training, trial

__all__ = ["pretended"]  # a fixture

PHOTOS = default_recipe("photos")  # batch 32
PACE = Pace({48: 0.01, 64: 0.02}, load_seconds=0.0, network_seconds=0.0)
IMAGES = (1000, 100)
REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def test_the_fullest_search_that_fits_is_planned_by_hand() -> None:
    """900 of 1000 s less 8 to start. Evaluating costs 2 * 0.4 * (256 + 100) = 284.8 images. 30 and 20 networks with
    1,3,9 are 95 and 63.3 short trainings: 20 and 35 steps at 48 px. 16 with 1,3 are 31: 36 steps at 64 px, too few, and
    81 at 48 px, 2.6 epochs of 28.85 s each."""
    plan = make_plan(PACE, IMAGES, 1000, PHOTOS, Rungs())
    assert (plan.networks, plan.rungs.factors, plan.rungs.finalists, plan.rungs.seeds) == (16, (1.0, 3.0), 3, 2)
    assert (plan.recipe.resolution, plan.recipe.epochs, plan.recipe.crop) == (48, 2.6, 6)
    assert plan.short_seconds == pytest.approx(0.01 * (2600 + 284.8))
    assert plan.seconds == pytest.approx(8 + 31 * 28.848)


def test_inside_a_parent_all_networks_are_cut_and_the_time_is_for_the_promoted() -> None:
    """30 cuts of 0.4 * (256 + 100) images take 42.72 s at 48 px. Ten short trainings and three finalists of 2 * 4 - 1
    are 31 short ones: 849.28 / 31 s each, 2.5 epochs. 31 networks would take 925 of 900 s."""
    plan = make_plan(PACE, IMAGES, 1000, PHOTOS, Rungs((0, 1, 4)))
    assert (plan.networks, plan.rungs.factors, plan.rungs.finalists, plan.rungs.seeds) == (30, (0.0, 1.0, 4.0), 3, 2)
    assert (plan.recipe.resolution, plan.recipe.epochs) == (48, 2.5)
    assert plan.seconds == pytest.approx(8 + 42.72 + 31 * 27.848)
    words = "about 30 networks, cut and ranked; then trainings worth 31 short ones, 28s each (2.5 epochs at 48 px)"
    assert words in plan.lines(1000)[0]
    least = make_plan(PACE, IMAGES, 20, PHOTOS, Rungs((0, 1, 4)))
    assert (least.networks, least.rungs.factors, least.rungs.finalists) == (8, (0.0, 1.0), 2)
    every = frozenset(("resolution", "epochs", "rungs"))
    recipe = Recipe(resolution=48, epochs=1.0, batch=32)
    none = make_plan(Pace({48: 0.01}, 0, 0), IMAGES, None, recipe, Rungs((0, 1), finalists=0), networks=10, fixed=every)
    assert none.seconds == pytest.approx(8 + 10 * 0.01 * 0.4 * (1000 + 100))  # trains nothing


def test_the_time_left_counts_cuts_and_trainings_apart() -> None:
    """Three of nine are cut in 2 s each, one is trained: six cuts are left, and nine of ten short trainings of 30 s."""
    rungs = Rungs((0, 1, 4), finalists=1, seeds=2)
    manifest = dataclasses.replace(Manifest.read(REFERENCE / "fast151"), rungs=rungs)
    progress = Progress(manifest, Limits(9), "")
    assert progress.seconds_left() is None
    progress.trials = [trial(number, top1=0.5, epochs=0.0, train_seconds=2.0) for number in range(3)]
    assert (progress.training_seconds(None), progress.short_seconds()) == (2.0, None)
    progress.trials[0] = progress.trials[0].with_training(training(1, 0.6, train_seconds=30.0))
    assert (progress.training_seconds(None), progress.short_seconds()) == (2.0, 30.0)
    assert progress.training_seconds(Promotion(1, 1, manifest.seed)) == 30.0
    assert progress.training_seconds(Promotion(0, 2, manifest.seed)) == 90.0
    assert progress.work() == (1.0, 10.0)
    assert progress.seconds_left() == pytest.approx(6 * 2 + 9 * 30, abs=0.5)


def test_what_the_user_gave_stays() -> None:
    """One epoch with 1,3,9, five finalists, two seeds: 18.8 s at 48 px; six networks are 40 of them, eight 58."""
    recipe = Recipe(resolution=40, epochs=1.0, batch=32, crop=5)
    plan = make_plan(PACE, IMAGES, 1000, recipe, Rungs(), fixed=frozenset(("epochs", "rungs")))
    assert (plan.networks, plan.recipe.resolution, plan.recipe.epochs, plan.rungs) == (6, 48, 1.0, Rungs())
    assert plan.seconds == pytest.approx(8 + 40 * 18.8)
    assert make_plan(PACE, IMAGES, 1000, PHOTOS, Rungs(), networks=9).networks == 9
    every = frozenset(("resolution", "epochs", "rungs"))
    alone = make_plan(Pace({40: 0.01}, 0, 0), IMAGES, None, recipe, Rungs((1,)), networks=30, fixed=every)
    assert (alone.recipe, alone.rungs, alone.networks) == (recipe, Rungs((1,)), 30)
    assert alone.seconds == pytest.approx(8 + 30 * 18.8)


def test_finalists_or_seeds_that_the_user_gave_stay_and_the_lengths_are_chosen() -> None:
    """One finalist: 30 and 20 networks with 1,3,9 are 65 and 48.3 short trainings, too many for 60 steps; 16 with 1,3
    are 16 + 2 * 3 - 1 = 21, 892 / 21 s each: 4 epochs of 0.01 s an image."""
    one = Rungs(finalists=1)
    plan = make_plan(PACE, IMAGES, 1000, PHOTOS, one, fixed=frozenset(("finalists",)))
    assert (plan.networks, plan.recipe.epochs) == (16, 4.0)
    assert plan.rungs == Rungs((1.0, 3.0), finalists=1, seeds=2)
    seeds = make_plan(PACE, IMAGES, 1000, PHOTOS, Rungs(seeds=1), fixed=frozenset(("seeds",)))
    assert (len(seeds.rungs.factors) > 1, seeds.rungs.seeds) == (True, 1)
    least = make_plan(PACE, IMAGES, 20, PHOTOS, one, fixed=frozenset(("finalists",)))
    assert least.rungs == Rungs((1.0, 3.0), finalists=1, seeds=1)  # the smallest search that has a final
    none = make_plan(PACE, IMAGES, 20, PHOTOS, Rungs(finalists=0), fixed=frozenset(("finalists",)))
    assert none.rungs.factors == (1.0,)


@pytest.mark.usefixtures("pretended")
def test_a_run_with_finalists_given_chooses_the_lengths_and_resumes(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(image_folder, tmp_path, "--time", "9s", "--finalists", "1", "--json")
    for _ in range(2):
        assert main(words) == 0, capsys.readouterr().err
    rungs = Study.open(tmp_path / "s").manifest.rungs
    assert (rungs.factors, rungs.finalists) == ((1.0, 3.0), 1)


def test_workers_share_and_latencies_count() -> None:
    """Two workers: 21 latencies of 5 s for the 15 networks that keep the limit, three at the end of 15 s each."""
    every = frozenset(("resolution", "epochs", "rungs"))
    recipe, rungs = Recipe(resolution=48, epochs=1.0, batch=32), Rungs((1.0, 3.0), finalists=1, seeds=1)
    pace = Pace({48: 0.01}, 0.001, 1.0, latency_seconds=5.0, workers=2)
    plan = make_plan(pace, IMAGES, 1000, recipe, rungs, networks=15, fixed=every)
    assert plan.latencies == 21 + 3
    assert plan.latency_seconds == pytest.approx(21 * 5 / 2 + 45)
    assert plan.seconds == pytest.approx(8 + 2 * 1.1 + 45 + (15 * 1 + 21 * 5) / 2 + 17 * 18.8 / 2)


def test_the_parents_own_training_counts() -> None:
    """Two workers, a parent of twice the pace: one process trains it three epochs at 0.02 s an image, and judges it at
    twice the pace too. Six networks with 1,3 are 6 + 2 * 3 - 1 = 11 of 18.8 s, shared by both workers."""
    every = frozenset(("resolution", "epochs", "rungs"))
    recipe, rungs = Recipe(resolution=48, epochs=1.0, batch=32), Rungs((1.0, 3.0), finalists=1, seeds=2)
    plan = make_plan(
        Pace({48: 0.01}, 0, 0, workers=2, parent=2.0), IMAGES, None, recipe, rungs, networks=6, fixed=every
    )
    assert plan.parent_seconds == pytest.approx(0.02 * (3000 + 0.8 * 1100))
    assert plan.seconds == pytest.approx(8 + plan.parent_seconds + 11 * 18.8 / 2)
    assert "before that the parent is fine-tuned, as its classes are not these: 1m 18s" in "\n".join(plan.lines(None))
    fitted = make_plan(dataclasses.replace(PACE, parent=2.0), IMAGES, 3600, PHOTOS, Rungs())
    alone = make_plan(PACE, IMAGES, 3600, PHOTOS, Rungs())
    assert 0.8 * 3600 < fitted.seconds <= 0.9 * 3600
    assert fitted.recipe.epochs < alone.recipe.epochs or fitted.networks < alone.networks


def test_more_time_is_never_less_of_a_search_and_too_little_is_said() -> None:
    plans = [make_plan(PACE, IMAGES, seconds, PHOTOS, Rungs()) for seconds in (20, 60, 240, 1800, 7200, 86_400)]
    trained = [plan.rungs.short_trainings(plan.networks) * plan.recipe.epochs for plan in plans]
    assert trained == sorted(trained)
    assert all(plan.seconds <= seconds for plan, seconds in zip(plans[2:], (240, 1800, 7200, 86_400), strict=True))
    assert "the limit is 20s: only the first networks will be trained" in "\n".join(plans[0].lines(20))
    assert "only the first networks" not in "\n".join(plans[-1].lines(86_400))


@pytest.mark.parametrize(("slow", "size"), [(0.105, 64), (0.2, 48)])
def test_where_time_is_short_a_larger_image_is_taken_if_it_costs_little(slow: float, size: int) -> None:
    """(0.9 * 120 - 8) / 6 networks is 16.7 s, too little for 60 steps of 32 images at 0.1 s."""
    plan = make_plan(Pace({48: 0.01, 64: slow / 10}, 0.0, 0.0), IMAGES, 120, PHOTOS, Rungs())
    assert (plan.networks, plan.recipe.resolution) == (6, size)


def arguments(images: Path, results: Path, *more: str) -> list[str]:
    """A search of tiny networks that leaves open all that a plan chooses."""
    words = ("run", "--budget", "0.5M", "--space", str(TINY_SPACE), "--data", str(images), "--study", "s")
    return [*words, "--resolution", "32", "--results", str(results), "--sampler", "random", *more]


@pytest.mark.usefixtures("pretended")
def test_a_study_keeps_its_plan_and_its_classes(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--time", "1m")) == 0
    said = capsys.readouterr().out
    assert "multiply-adds at 32 px for 2 classes" in said
    assert "expected end after" in said
    assert "of 1m 00s" in said
    assert "differences under" in said
    first = Study.open(tmp_path / "s").manifest
    assert first.classes == 2
    assert first.request is not None
    assert first.request.time == 60
    assert first.recipe.epochs != PHOTOS.epochs
    assert main(arguments(image_folder, tmp_path, "--trials", "1", "--json")) == 0  # as planned the first time
    capsys.readouterr()
    assert main(arguments(image_folder, tmp_path, "--time", "1m", "--epochs", "77")) == 2
    assert "recipe.epochs: the study has" in capsys.readouterr().err


@pytest.mark.usefixtures("pretended")
def test_an_earlier_study_keeps_its_class_count(image_folder: Path, tmp_path: Path) -> None:
    given = ("--epochs", "0.5", "--proxy-resolution", "16", "--rungs", "1", "--trials")
    assert main(arguments(image_folder, tmp_path, "--classes", "1000", *given, "2", "--json")) == 0
    assert main(arguments(image_folder, tmp_path, *given, "3", "--json")) == 0
    assert {trial.config.classes for trial in Study.open(tmp_path / "s").trials} == {1000}


def test_a_dry_run_prints_the_header_and_refuses_data_that_is_not_there(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--dry-run", "--time", "30s", "--epochs", "1")) == 0
    said = capsys.readouterr().out
    for part in ("study     s", "budget    at most", "training  1 epoch ", "plan      about", "none trained"):
        assert part in said
    assert not (tmp_path / "s").exists()
    assert main(arguments(tmp_path / "nowhere", tmp_path, "--dry-run")) == 2
    assert "no data set or folder" in capsys.readouterr().err


def test_the_panel_names_the_stage_the_epoch_and_the_time() -> None:
    manifest = dataclasses.replace(Manifest.read(REFERENCE / "fast151"), rungs=Rungs())
    progress = Progress(manifest, Limits(30), "", stage="searching")
    longer = Promotion(0, 1, 0)
    progress.running = {
        0: Running(SMALL, 1_000_000, "spread", stage="latency"),
        1: Running(SMALL, 1_000_000, "trial 0 to 3x", promotion=longer, stage="training", share=0.5),
    }
    console = Console(file=io.StringIO(), width=200)
    console.print(panel(progress))
    assert isinstance(console.file, io.StringIO)
    head, first, second, *_ = console.file.getvalue().splitlines()
    assert head.startswith("searching   0 of 30 trained")
    assert "0s gone" in head
    assert "latency" in first
    epochs = manifest.recipe.epochs * manifest.rungs.factors[1]
    assert f"epoch {epochs / 2:.2g} of {epochs:g}" in second


def test_the_time_left_goes_down_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten trainings, expected in 100 s; two of them take 40 s, so the other eight take 160."""
    clock = Clock()
    begun = clock.now
    monkeypatch.setattr("mfsearch.commands.options.time", clock)
    left = TimeLeft(100, 10)
    assert left.text() == "0s gone, about 1m 40s left"
    clock.now = begun + 30
    assert left.text() == "30s gone, about 1m 10s left"
    clock.now = begun + 40
    left.done(2)
    clock.now = begun + 50
    assert left.text() == "50s gone, about 2m 30s left"
    manifest = dataclasses.replace(Manifest.read(REFERENCE / "fast151"), rungs=Rungs())
    monkeypatch.setattr("mfsearch.search.progress.time", clock)
    plan = make_plan(PACE, IMAGES, None, PHOTOS, manifest.rungs, networks=5)
    progress = Progress(manifest, Limits(5), "", plan, started=clock.now)
    before = progress.seconds_left()
    assert before is not None
    clock.now += 7
    assert progress.seconds_left() == pytest.approx(before - 7)
    clock.now += before - 7 - 20
    assert progress.time_left() == "about 20s left"
    clock.now += 45
    assert progress.time_left() == "25s longer than estimated"


def test_a_dry_run_counts_latency_measuring_in_and_tells_a_limit_out_of_reach(
    image_folder: Path, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cache_dir
    given = ("--latency", "1us", "--trials", "1", "--dry-run", "--rungs", "1", "--epochs", "1")
    assert main(arguments(image_folder, tmp_path, *given)) == 0
    said = capsys.readouterr().out
    assert "about 9 latency measurements, " in said  # two for a network that keeps the limit, seven at the end
    assert "latency limit 0.001 ms: no network proposed is likely to keep it; the fastest takes about" in said


def test_with_a_time_limit_alone_the_time_left_is_the_most_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("mfsearch.search.progress.time", clock)
    manifest = dataclasses.replace(Manifest.read(REFERENCE / "fast151"), rungs=Rungs())
    progress = Progress(manifest, Limits(None, 1200), "", started=clock.now)
    clock.now += 18
    assert progress.time_left() == "at most 19m 42s left"
    clock.now += 1223
    assert progress.time_left() == "41s over the limit"
