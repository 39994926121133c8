import dataclasses

import numpy as np
import pytest

from mfsearch.analysis.front.confidence import shown_noise, shown_training
from mfsearch.analysis.metrics import (
    METRICS,
    knob_names,
    label,
    noise_sentence,
    ranked_trials,
    shown,
    shown_limit,
    shown_top1,
    telling_knobs,
    training_lengths,
    with_confidence,
)
from mfsearch.study.frame import COLUMNS, study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import failed, longer, longer_study, row, stage, study


@pytest.mark.parametrize("rows", [[], failed(3), [row(0)], study()], ids=["empty", "failed", "one", "study"])
def test_columns_and_dtypes_are_the_same_for_every_study(rows: list[Trial]) -> None:
    frame = study_frame(rows)
    assert {name: str(frame[name].dtype) for name in COLUMNS} == {name: dtype for name, (dtype, _) in COLUMNS.items()}
    assert frame["trial"].tolist() == rows
    assert len(frame) == len(rows)


def test_rows_come_out_by_number_and_stay_as_they_were_given() -> None:
    rows = [row(2), row(0), row(1)]
    assert study_frame(rows)["number"].tolist() == [0, 1, 2]
    assert [given.number for given in rows] == [2, 0, 1]


def test_what_is_missing_is_nan_or_none() -> None:
    frame = study_frame([Trial(0, "failed")])
    assert np.isnan(frame["madds"][0])
    assert np.isnan(frame["top1"][0])
    assert frame["reason"][0] is None


# 1.15, which numpy rounds up
ODD = longer(row(0, epochs=20.0), [dataclasses.replace(stage(1, 0, 0.5), epochs=23.0)])


@pytest.mark.parametrize("rows", [[], failed(2), [row(0)], study(), longer_study(), [ODD]])
def test_lengths_are_those_of_each_row(rows: list[Trial]) -> None:
    frame = study_frame(rows)
    assert training_lengths(frame) == [shown_training(each).partition(",")[0] for each in rows]
    assert noise_sentence(frame) == shown_noise(rows)


def test_ranked_trials_hold_the_trials_of_the_rows_and_their_places() -> None:
    rows = longer_study()
    ranked = ranked_trials(with_confidence(study_frame(rows), ["top1", "madds"]))
    assert [one.trial for one in ranked] == rows
    assert ranked[5].tied_with.startswith("4")
    assert 0 < ranked[5].front_probability < 1
    assert (ranked[6].tied_with, np.isnan(ranked[6].front_probability)) == ("", True)  # it was stopped half way
    assert {one.tied_with for one in ranked_trials(study_frame(rows))} == {""}
    assert ranked_trials(study_frame([])) == []


def test_knobs_are_columns_of_their_own_values() -> None:
    frame = study_frame([row(0, params={"count": 3, "on": True}), row(1, params={"count": [1, 2], "top1": "x"})])
    assert knob_names(frame) == ["count", "on", "top1"]
    assert frame["knob:count"].tolist() == [3, [1, 2]]
    assert frame["knob:on"].tolist() == [True, None]
    assert frame["top1"].tolist() == [0.5, 0.5]  # a knob of that name does not meet the metric


def test_telling_knobs_puts_the_one_that_splits_top1_first() -> None:
    settings = [("a", 1, 0.30), ("a", 2, 0.31), ("b", 1, 0.50), ("b", 2, 0.52), ("a", 1, 0.29), ("b", 2, 0.50)]
    rows = [
        row(number, top1, params={"noise": noise, "split": split, "fixed": 7, "unique": number})
        for number, (split, noise, top1) in enumerate(settings)
    ]
    # "fixed" tells nothing; "unique" explains everything and means nothing, so it comes last
    assert telling_knobs(study_frame(rows), 9) == ["split", "noise", "unique"]
    assert telling_knobs(study_frame(rows), 1) == ["split"]


@pytest.mark.parametrize("rows", [[], failed(3), [row(0)], [row(0), row(1)]])
def test_telling_knobs_needs_no_minimum_of_trials(rows: list[Trial]) -> None:
    assert set(telling_knobs(study_frame(rows), 3)) <= {"tokens.count"}


def test_numbers_are_shown_with_their_units() -> None:
    assert shown("top1", 0.6134) == "61.3 %"
    assert shown("madds", 149_812_345) == "149.8 M"
    assert shown("madds", 1_234_500_000) == "1,234.5 M"
    assert shown("latency_ms", 7.906) == "7.91 ms"
    assert shown("latency_ms", np.nan) == "not measured"
    assert shown_limit("madds", 150e6) == "150 M"
    assert shown_limit("latency_ms", 7.25) == "7.25 ms"


def test_every_label_has_a_unit() -> None:
    assert label("madds") == "Multiply-adds (M)"
    assert label("latency_ms") == "Latency (ms)"
    assert all(metric.unit in label(name) for name, metric in METRICS.items() if name != "train_seconds")


def test_telling_knobs_compares_short_trainings_whoever_was_trained_longer() -> None:
    def trial(number: int, top1: float, knob: str, luck: int) -> Trial:
        return row(number, top1, params={"good": knob, "luck": luck}, epochs=1.0)

    rows = [trial(k, 0.3 + 0.1 * (k % 2) + 0.001 * k, "ab"[k % 2], k // 4) for k in range(8)]
    rows[4:] = [longer(each, [stage(2, 0, 0.9)]) for each in rows[4:]]  # those of luck 1 were trained longer
    assert telling_knobs(study_frame(rows), 1) == ["good"]


def test_top1_is_shown_with_its_spread_where_there_is_one() -> None:
    assert shown_top1(0.6134, np.nan) == "61.3 %"
    assert shown_top1(0.6134, 0.0042) == "61.3 ± 0.4 %"
