import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest

from mfsearch.analysis.figures.trajectories import draw_proposers, draw_reasons, draw_speed, draw_spent, speed_points
from mfsearch.analysis.front.outcomes import (
    Clock,
    TrainingTime,
    clock,
    grouped_reasons,
    proposer_name,
    proposers,
    spent_on_training,
    time_in_words,
)
from mfsearch.proxy.rungs import CUT
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import MANIFEST, MARKUP, changed, failed, longer, manifest, row, stage, study

BEGUN = manifest(created="2026-11-22T10:00:00+00:00")


def lost(number: int, reason: str | None, outcome: str = "rejected") -> Trial:
    return row(number, None, outcome=outcome, reason=reason, train_seconds=None)


# --- reasons ---


def test_reasons_that_differ_in_their_figures_are_one_and_figures_that_agree_stay() -> None:
    rows = [lost(k, f"latency {9 + k / 8:.2f} ms is over the limit 5 ms") for k in range(3)]
    rows += [lost(3, "loss is nan at step 7 of 31", "failed"), lost(4, "loss is inf at step 9 of 31", "failed"), row(5)]
    found = grouped_reasons(study_frame(rows))
    assert [(one.outcome, one.text, one.numbers) for one in found] == [
        ("rejected", "latency … ms is over the limit 5 ms", [0, 1, 2]),
        ("failed", "loss is … at step … of 31", [3, 4]),
    ]


def test_the_commonest_reason_of_an_outcome_comes_first() -> None:
    rows = [lost(0, "a", "failed"), lost(1, "b"), lost(2, "c"), lost(3, "c"), lost(4, None)]
    found = grouped_reasons(study_frame(rows))
    assert [one.text for one in found] == ["c", "b", "no reason recorded", "a"]


def test_a_reason_that_holds_the_sign_itself_and_one_over_several_lines() -> None:
    rows = [lost(0, "a … b 5"), lost(1, "a 3 b 5"), lost(2, "so\n  it\tgoes 1")]
    assert sorted(one.text for one in grouped_reasons(study_frame(rows))) == ["a 3 b 5", "a … b …", "so it goes 1"]


@pytest.mark.parametrize("rows", [[], [row(0)]], ids=["empty", "trained"])
def test_without_a_loss_there_is_no_reason(rows: list[Trial]) -> None:
    assert grouped_reasons(study_frame(rows)) == []


def test_reasons_are_text_in_the_figure() -> None:
    figure = draw_reasons(grouped_reasons(study_frame([lost(0, MARKUP), lost(1, "x" * 90)])))
    assert "<img" not in figure.to_json()
    assert figure.layout.yaxis.showgrid is False  # it would run through the numbers beside the bars
    (name,) = [name for name in figure.layout.yaxis.ticktext if name.startswith("x")]
    assert max(len(line) for line in name.split("<br>")) == 24
    assert name.endswith("…")


# --- proposers ---


def test_each_proposer_with_its_outcomes_and_what_it_brought_to_the_front() -> None:
    rows = [row(0, 0.3, origin="preset mf-26m"), row(1, 0.5, origin="gp"), lost(2, "x"), row(3, 0.4, origin="gp")]
    rows[2] = changed(rows[2], origin="gp")
    published, gp = proposers(study_frame(rows), [0, 1])
    assert (published.name, published.front, published.top1) == ("published", 1, 0.3)
    assert gp.counts == {"trained": 2, "stopped": 0, "rejected": 1, "failed": 0}
    assert (gp.front, gp.top1) == (1, 0.5)
    assert len(draw_proposers([published, gp]).data) == 2


def test_a_proposer_that_trained_nothing_has_no_top1() -> None:
    (only,) = proposers(study_frame(failed(2)), [])
    assert np.isnan(only.top1)
    assert proposers(study_frame([]), []) == []


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("preset mf-26m", "published"),
        ("fitted mf-26m", "published, fitted"),
        ("from flowers:12", "from flowers"),
        ("from a:b:3", "from a:b"),
        ("gp", "gp"),
        (None, "unknown"),
    ],
)
def test_origins_have_a_proposer(origin: object, name: str) -> None:
    assert proposer_name(origin) == name


# --- time ---


def test_a_training_that_went_on_is_counted_without_the_shorter_one() -> None:
    """40 s short; 90 s in all at 3x and at 9x, from the checkpoint; then 9x with another seed, all of its 90 s."""
    last = dataclasses.replace(stage(2, 0, 0.7), train_seconds=300.0)
    long = longer(row(0), [stage(1, 0, 0.6), last, stage(2, 1, 0.7)])
    rows = [long, row(1), row(2, 0.2, outcome="stopped", train_seconds=15.0), lost(3, "x")]
    found = spent_on_training(study_frame(rows), MANIFEST)
    assert found == [
        TrainingTime("short", 2, 80.0, 0),
        TrainingTime("short, stopped half way", 1, 15.0, 0),
        TrainingTime("3x", 1, 50.0, 0),
        TrainingTime("9x", 2, 210.0 + 90.0, 0),
    ]
    assert len(draw_spent(found).data[0].x) == 4


def test_seconds_that_were_not_recorded_are_said() -> None:
    unknown = dataclasses.replace(stage(1, 0, 0.6), top1=None, train_seconds=None)
    rows = [row(0, train_seconds=None), longer(row(1), [unknown])]
    found = spent_on_training(study_frame(rows), manifest(rungs=None))
    assert found == [TrainingTime("short", 2, 40.0, 1), TrainingTime("rung 1", 1, 0.0, 1)]
    assert "2 of them have no recorded time." in time_in_words(found, None)
    assert "did not record when trials finished" in time_in_words(found, None)


def test_the_clock_runs_from_the_beginning_to_the_last_result() -> None:
    rows = [row(k, finished=f"2026-11-22T10:0{k}:00+00:00") for k in (1, 2, 9)]
    utc = dataclasses.replace(stage(1, 0, 0.6), finished="2026-11-22T10:12:00")  # without a zone
    rows[0] = longer(rows[0], [utc])
    frame = study_frame(rows)
    last = datetime(2026, 11, 22, 10, 12, tzinfo=UTC)
    assert clock(frame, BEGUN) == Clock(720.0, 420.0, last)
    assert clock(frame, manifest(created="x")) == Clock(660.0, 420.0, last)
    words = time_in_words([TrainingTime("short", 3, 1440.0, 0)], clock(frame, BEGUN))
    assert "3 trainings took 24m 00s of core time. The study ran for 12m 00s from start to last result" in words
    assert "2.0 trainings at a time on average; the longest gap between two results was 7m 00s" in words


@pytest.mark.parametrize("rows", [[], failed(2), [row(0, finished="yesterday")]], ids=["empty", "old", "odd"])
def test_without_stamps_there_is_no_clock(rows: list[Trial]) -> None:
    assert clock(study_frame(rows), BEGUN) is None


def test_nothing_trained_takes_no_time() -> None:
    assert spent_on_training(study_frame(failed(2)), MANIFEST) == []
    assert "the time spent is unknown" in time_in_words([], None)
    cut = [TrainingTime(CUT, 6, 30.0, 0), TrainingTime("1x", 2, 90.0, 0)]
    assert time_in_words(cut, None).startswith("6 networks as cut and 2 trainings took 2m 00s of core time.")
    assert time_in_words(cut[:1], None).startswith("6 networks as cut took 30s of core time.")


def test_speed_is_of_trainings_that_recorded_it() -> None:
    rows = [row(0, images_per_second=100.0, origin=MARKUP), row(1, images_per_second=None), lost(2, "x")]
    (only,) = speed_points(study_frame(rows))
    assert [only.number, only.madds, only.images_per_second] == pytest.approx([0, 100, 100])
    assert "<img" not in only.hover
    assert len(draw_speed([only]).data) == 1
    assert speed_points(study_frame(study())) == []
