import numpy as np
import pandas as pd
import pytest

from mfsearch.analysis.figures.trajectories import draw_history, history_line, median_line
from mfsearch.analysis.front.trajectory import (
    Box,
    Trajectory,
    comparison,
    differences,
    is_control,
    share_after,
    shared_box,
    shared_objectives,
    study_history,
    without_top1_below_band,
)
from mfsearch.study.frame import study_frame
from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import Trial
from tests.analysis.rows import changed, failed, longer, manifest, measured_again, row, stage, study

TWO = ["top1", "madds"]


def made(name: str, *shares: float) -> Trajectory:
    """A study of trainings of ten core-seconds each, with the share of the box after each; top1 rises by a point."""
    count = len(shares)
    numbers = np.arange(1, count + 1)
    seconds, top1 = (np.array([scale * k for k in range(count)], dtype=np.float64) for scale in (10, 0.01))
    return Trajectory(name, numbers, seconds + 10, np.array(shares), top1 + 0.3)


# --- box and history ---


def test_the_box_reaches_from_the_best_to_a_tenth_of_the_range_beyond_the_worst_of_all_studies() -> None:
    one = study_frame([row(0, 0.3, 100_000_000), row(1, 0.5, 140_000_000)])
    other = study_frame([row(0, 0.4, 150_000_000), row(1, None, 900_000_000, outcome="rejected")])
    box = shared_box([one, other], TWO)
    assert box is not None
    assert box.ideal.tolist() == [-0.5, 100e6]
    assert box.reference == pytest.approx([-0.3 + 0.02, 150e6 + 5e6])


@pytest.mark.parametrize("rows", [[], failed(3), [row(0, None)]], ids=["empty", "failed", "no top1"])
def test_without_a_trained_network_there_is_no_box(rows: list[Trial]) -> None:
    assert shared_box([study_frame(rows)], TWO) is None
    assert shared_box([], TWO) is None


def test_one_network_fills_its_own_box() -> None:
    frame = study_frame([row(0)])
    box = shared_box([frame], TWO)
    assert box is not None
    own = study_history("one", frame, TWO, box)
    # its top1 of 0.5 and 100M are moved out by a tenth of themselves, so that box and dominated room are the same
    assert own.share == pytest.approx([(0.05 * 10e6) / (0.05 * 10e6)])


def test_a_study_counts_trainings_seconds_and_the_top1_of_the_short_training() -> None:
    rows = [row(k, 0.4 + 0.1 * k, 100_000_000 + k) for k in range(4)]
    rows[1] = changed(rows[1], outcome="rejected", top1=None, train_seconds=None)
    rows[2] = changed(rows[2], outcome="stopped", train_seconds=20.0)  # 0.6 half way: no result
    rows[3] = longer(rows[3], [stage(1, 0, 0.99)])
    frame = study_frame(rows)
    found = study_history("s", frame, TWO, Box(np.array([-1.0, 0.0]), np.array([0.0, 200_000_000.0])))
    assert found.trainings.tolist() == [1, 1, 2, 3]
    assert found.core_seconds.tolist() == [40, 40, 60, 100]
    assert found.top1 == pytest.approx([0.4, 0.4, 0.4, 0.7])
    assert found.share == pytest.approx([0.2, 0.2, 0.2, 0.2 + 0.3 * (100e6 - 3) / 200e6])


def test_what_was_over_the_limit_at_the_end_does_not_count() -> None:
    rows = [row(0, 0.5), measured_again(row(1, 0.9), 9.0, over_limit=True), measured_again(row(2, 0.5), 5.0)]
    found = study_history("s", study_frame(rows), TWO, Box(np.array([-1.0, 0.0]), np.array([0.0, 200e6])))
    assert found.share == pytest.approx([0.25, 0.25, 0.25])


def test_networks_below_the_band_take_their_training_and_cover_nothing() -> None:
    frame = study_frame([row(0, 0.4, 20_000_000), row(1, 0.5, 100_000_000)])
    band = manifest(budget={"low": 90_000_000, "high": 110_000_000, "stated": False})
    kept = without_top1_below_band(frame, band)
    assert np.isnan(kept["top1"][0])
    assert kept["top1"][1] == 0.5
    found = study_history("s", kept, TWO, Box(np.array([-1.0, 0.0]), np.array([0.0, 200e6])))
    assert found.share == pytest.approx([0.0, 0.25])
    assert found.trainings.tolist() == [1, 2]


def test_an_objective_that_one_study_never_measured_is_left_out() -> None:
    three = ["top1", "madds", "latency_ms"]
    timed, untimed = study_frame(study()), study_frame(study(latency=False))
    assert shared_objectives([timed], three) == three
    assert shared_objectives([timed, untimed, study_frame([])], three) == TWO


# --- controls ---

SETTINGS: dict[str, object] = {
    "study": "one",
    "budget": {"low": 129_285_000, "high": 152_100_000, "stated": False},
    "latency_limit_ms": 5.0,
    "data": {"name": "cifar10", "digest": "a", "classes": 10, "train_images": 50000, "val_images": 5000},
    "recipe": {"resolution": 48, "epochs": 0.1},
    "rungs": {"factors": [1.0], "keep": 3.0, "finalists": 3, "seeds": 3, "rank_by": "val_loss"},
    "sampler": "auto",
    "seed": 0,
}


def with_settings(**values: object) -> Manifest:
    return manifest(**{**SETTINGS, **values})


def test_a_control_differs_in_the_sampler_and_in_what_has_no_effect() -> None:
    rungs = {"factors": [1.0], "keep": 4.0, "finalists": 5, "seeds": 2, "rank_by": "val_loss"}
    own, control = with_settings(), with_settings(study="two", sampler="random", seed=7, rungs=rungs)
    assert differences(own, control) == []
    assert is_control(own, control)
    assert not is_control(control, own)
    assert not is_control(control, control)
    assert not is_control(own, own)


def test_differences_are_named_in_words() -> None:
    other = with_settings(
        sampler="random",
        budget={"low": 129_285_000, "high": 150_000_000, "stated": True},
        latency_limit_ms=None,
        recipe={"resolution": 48, "epochs": 1.0},
        rungs={"factors": [1.0, 3.0], "keep": 3.0, "finalists": 3, "seeds": 3, "rank_by": "val_loss"},
    )
    assert differences(with_settings(), other) == [
        "budget, high: 152.1M here, 150.0M there",
        "latency limit: 5 ms here, nothing there",
        "recipe, epochs: 0.1 here, 1.0 there",
        "rungs, factors: 1.0 here, 1.0, 3.0 there",
        "rungs, keep: nothing here, 3.0 there",
        "rungs, finalists: nothing here, 3 there",
        "rungs, seeds: nothing here, 3 there",
    ]
    assert not is_control(with_settings(), other)


def test_a_study_from_before_rungs_had_one() -> None:
    old = with_settings(rungs=None)
    assert differences(old, with_settings()) == ["rungs, rank_by: nothing here, val_loss there"]
    assert differences(old, old) == []


# --- in words ---


def test_a_comparison_is_made_after_equally_many_trainings() -> None:
    words = comparison(made("mine", 0.0, 0.3, 0.6, 0.9), [made("chance", 0.1, 0.2, 0.3)])
    assert "After 3 trainings each, mine covers 60.0 % of the box and chance 30.0 %: 2.00 times as much." in words
    assert "The best top-1 after a short training is then 32.0 % against 32.0 %." in words
    assert "mine covered after 2 what chance covered at its end, after 3." in words
    assert "one run of each" in words


def test_of_several_studies_the_median_is_compared_and_the_range_told() -> None:
    words = comparison(made("mine", 0.4, 0.5), [made(f"at {share}", 0.1, share) for share in (0.6, 0.7, 0.8)])
    assert "the median of 3 other studies 70.0 %: 0.71 times as much" in words
    assert "mine has not yet covered what the median of 3 other studies covered at their end." in words
    assert "The others range from 60.0 % to 80.0 %; mine is a single run." in words


def test_what_covers_nothing_is_compared_without_a_ratio() -> None:
    words = comparison(made("mine", 0.4), [made("chance", 0.0)])
    assert "mine covers 40.0 % of the box and chance 0.0 %." in words
    assert "times" not in words
    nothing = Trajectory("none", np.array([], dtype=np.int64), np.array([]), np.array([]), np.array([]))
    for own, other in ((made("mine", 0.4), nothing), (nothing, made("chance", 0.1))):
        assert "nothing to compare yet" in comparison(own, [other])


def test_trials_that_were_rejected_after_a_training_do_not_put_it_off() -> None:
    history = Trajectory("s", np.array([1, 1, 1, 2]), np.zeros(4), np.array([0.1, 0.1, 0.1, 0.5]), np.zeros(4))
    assert share_after(history, 1) == 0.1
    assert share_after(history, 2) == 0.5


# --- lines ---


def test_a_line_has_the_corners_alone() -> None:
    history = made("s", 0.1, 0.1, 0.1, 0.4, 0.4)
    line = history_line(history, "trainings")
    assert line.x == [0.0, 1.0, 4.0, 5.0]
    assert line.share == pytest.approx([0.0, 10.0, 40.0, 40.0])
    assert history_line(history, "core_seconds").x == [0.0, 10.0, 40.0, 50.0]
    assert history_line(history, "trials").x == [0.0, 1.0, 4.0, 5.0]


def test_the_median_line_reaches_as_far_as_all() -> None:
    line = median_line([made("a", 0.1, 0.2), made("b", 0.3, 0.4, 0.9), made("c", 0.5, 0.6, 0.7)], "trainings")
    assert line.x == [0.0, 1.0, 2.0]
    assert line.share == pytest.approx([0.0, 30.0, 40.0])


def test_the_figure_shows_the_study_its_controls_and_their_median() -> None:
    lines = [history_line(made(name, 0.1, 0.2), "trainings") for name in ("mine", "<b>a</b>", "c")]
    figure = draw_history(lines[0], lines[1:], median_line([made("a", 0.1), made("b", 0.2)], "trainings"), "trainings")
    assert {trace.name for trace in figure.data} == {"mine", "&lt;b&gt;a&lt;/b&gt;", "c", "median of 2"}
    assert figure.layout.yaxis.title.text == "Hypervolume (% of the box)"
    assert figure.layout.xaxis.title.text == "Short trainings"


def test_an_empty_study_has_a_line_at_nothing() -> None:
    empty = study_history("none", study_frame([]), TWO, Box(np.array([-1.0, 0.0]), np.array([0.0, 1.0])))
    assert history_line(empty, "trials") == ("none", [0.0], [0.0])
    assert isinstance(study_frame([]), pd.DataFrame)
