"""A trial reads what a ledger holds, writes it again, and becomes a record with its last figures in front."""

import json
from pathlib import Path
from typing import Any

import pytest

from mfsearch.study.files import JOURNAL
from mfsearch.study.study import Study
from mfsearch.study.trial import FinalLatency, Training, Trial, TrialLatency

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
COMMITTED = sorted(path.parent for path in REFERENCE.glob(f"*/{JOURNAL}"))

POINT = {"epoch": 1.0, "loss": 2.0, "top1": 0.5, "val_loss": 1.5, "seconds": 40.0}
TRAINED: dict[str, Any] = {
    "proposal": 3,
    "origin": "tpe",
    "width": 1.25,
    "arch_id": "0123456789ab",
    "madds": 150_000_000,
    "macs": 140_000_000,
    "num_params": 6_000_000,
    "activation_bytes": 3_000_000,
    "resolution": 224,
    "predicted_latency_ms": 5.2,
    "predicted_low_ms": 5.0,
    "predicted_high_ms": 5.4,
    "turned_down": 2,
    "outcome": "trained",
    "reason": None,
    "seed": 0,
    "device": "cpu",
    "latency_ms": 5.0,
    "latency_low_ms": 4.9,
    "latency_high_ms": 5.1,
    "latency_ratio": 0.8,
    "latency_disturbed": False,
    "violation_ms": 0.0,
    "top1": 0.5,
    "epochs": 1.0,
    "curve": [POINT],
    "train_seconds": 40.0,
    "images_per_second": 100.0,
    "score": 0.25,
    "finished": "2026-11-22T10:00:00+00:00",
}


def journal_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / JOURNAL).read_text(encoding="utf-8").splitlines()]


def known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_committed_trials_are_written_as_their_ledger_holds_them(folder: Path) -> None:
    """Every value of the journal's own JSON comes back, and none is made up."""
    lines = journal_lines(folder)
    ledger = [line["user_attrs"] for line in lines if line["op_code"] == 4]
    trials = Study.open(folder).trials
    assert len(trials) == len(ledger) > 0
    for trial, values in zip(trials, ledger, strict=True):
        told = trial.to_dict()
        assert known(told) == known(values)
        assert {name for name in values if name in told} >= known(values).keys()
        assert Trial.from_dict(trial.number, trial.params, told).to_dict() == told
    later = {
        key: value for line in lines if line["op_code"] == 2 for key, value in line["user_attr"].items() if " " in key
    }
    assert len(later) == sum(len(trial.longer) + (trial.final is not None) for trial in trials)
    for key, values in later.items():
        kind, number, *which = key.split()
        trial = trials[int(number)]
        if kind == "latency":
            assert trial.final is not None
            assert known(trial.final.to_dict()) == known(values)
        else:
            (training,) = [one for one in trial.longer if [str(one.rung), str(one.seed)] == which]
            assert known(training.to_dict()) == known(values)


def test_there_are_committed_ledgers() -> None:
    searches = ["cifar10-150M-10ms", "fast151", "fast151-random", "living151", "living151-random"]
    assert [folder.name for folder in COMMITTED] == searches


def test_what_a_ledger_holds_of_a_trial_comes_back_whole() -> None:
    assert Trial.from_dict(3, {"knob": "a"}, TRAINED).to_dict() == TRAINED
    lost = {"origin": "gp", "outcome": "failed", "reason": "loss became NaN"}
    assert Trial.from_dict(0, {}, lost).to_dict() == lost


def test_a_record_of_a_short_training_is_the_ledger_s() -> None:
    trial = Trial.from_dict(3, {"knob": "a"}, TRAINED)
    assert trial.to_row() == {"number": 3, "params": {"knob": "a"}, **TRAINED}


def test_a_record_has_the_longest_training_and_the_last_latency_in_front() -> None:
    """Two seeds of 0.70 and 0.74: mean 0.72, standard deviation 0.04 / sqrt(2)."""
    stages = [
        {"rung": rung, "seed": seed, "top1": top1, "epochs": 3.0**rung, "score": top1, "curve": [POINT]}
        for rung, seed, top1 in ((1, 0, 0.6), (2, 0, 0.70), (2, 1, 0.74), (2, 2, None))
    ]
    trial = Trial.from_dict(3, {}, TRAINED)
    for stage in stages:
        trial = trial.with_training(Training.from_dict(stage))
    final = {
        "latency_ms": 4.8,
        "latency_low_ms": 4.75,
        "latency_high_ms": 4.85,
        "latency_ratio": 0.79,
        "latency_disturbed": True,
        "window": "one",
        "finished": "2026-11-22T11:00:00+00:00",
        "over_limit": False,
    }
    row = Trial(**{**vars(trial), "final": FinalLatency.from_dict(final)}).to_row()
    assert (row["top1"], row["top1_short"], row["rung"]) == (pytest.approx(0.72), 0.5, 2)
    assert row["top1_std"] == pytest.approx(0.04 / 2**0.5)
    assert [known(stage) for stage in row["stages"]] == [known(stage) for stage in stages]
    assert {name: row[name] for name in final if name.startswith("latency_")} == {
        name: value for name, value in final.items() if name.startswith("latency_")
    }
    assert row["latency_final"] == final
    assert row["latency_search"] == {name: value for name, value in TRAINED.items() if name.startswith("latency_")}
    assert (row["epochs"], row["train_seconds"]) == (1.0, 40.0)  # of the short training
    unchanged = TRAINED.keys() - {"top1"} - {name for name in TRAINED if name.startswith("latency_")}
    assert {name: row[name] for name in unchanged} == {name: TRAINED[name] for name in unchanged}


def test_a_metric_that_is_not_known_is_nan() -> None:
    bare = Trial(0, "rejected")
    for name in ("top1", "top1_std", "madds", "latency_ms", "latency_low_ms", "train_seconds", "epochs"):
        assert bare.metric(name) != bare.metric(name)
    trial = Trial.from_dict(3, {}, TRAINED)
    assert (trial.metric("madds"), trial.metric("latency_high_ms"), trial.metric("top1")) == (150e6, 5.1, 0.5)
    assert trial.latency == TrialLatency(5.0, 4.9, 5.1, 0.8, disturbed=False)


def test_a_trial_as_it_was_searched_has_nothing_later() -> None:
    trial = Trial.from_dict(3, {}, TRAINED)
    later = trial.with_training(Training(rung=1, seed=0, top1=0.6))
    assert (later.rung, later.trained_at(1, 0), later.trained_at(1, 1)) == (1, True, False)
    assert later.as_searched() == trial
    assert trial.as_searched() is trial


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"outcome": None}, "outcome must be one of trained, stopped, rejected, failed, got 'None'"),
        ({"outcome": "done"}, "got 'done'"),
        ({"madds": "many"}, "madds must be a whole number, got 'many'"),
        ({"madds": True}, "madds must be a whole number, got 'True'"),
        ({"madds": 1.5}, "madds must be a whole number, got '1.5'"),
        ({"num_params": [6]}, "num_params must be a whole number"),
        ({"top1": "half"}, "top1 must be a number, got 'half'"),
        ({"top1": True}, "top1 must be a number, got 'True'"),
        ({"latency_ms": "5 ms"}, "latency_ms must be a number, got '5 ms'"),
        ({"latency_low_ms": False}, "latency_low_ms must be a number, got 'False'"),
        ({"predicted_latency_ms": "5"}, "predicted_latency_ms must be a number"),
        ({"predicted_low_ms": None}, "predicted_low_ms must be a number, got 'None'"),
        ({"seed": "0"}, "seed must be a whole number, got '0'"),
        ({"train_seconds": "40 s"}, "train_seconds must be a number, got '40 s'"),
        ({"curve": {"epoch": 1.0}}, "curve must be a list of points, got \"{'epoch': 1.0}\""),
        ({"curve": "flat"}, "curve must be a list of points, got 'flat'"),
        (
            {"curve": [{"epoch": 1.0}]},
            "must have numbers for epoch, loss, top1 and seconds, got {'epoch': 1.0}",
        ),
        ({"curve": [7]}, "a point of a curve must have numbers for epoch, loss, top1 and seconds, got 7"),
    ],
)
def test_a_bad_value_is_an_error_that_names_trial_and_value(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="^trial 3: ") as caught:
        Trial.from_dict(3, {}, {**TRAINED, **values})
    assert words in str(caught.value)


@pytest.mark.parametrize("values", [{"rung": "1"}, {"seed": "0"}, {"rung": True}, {"seed": 0.5}])
def test_a_longer_training_of_no_rung_or_seed_is_an_error(values: dict[str, Any]) -> None:
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"{name} must be a whole number, got '{value}'"):
        Training.from_dict({"rung": 1, "seed": 0, "top1": 0.5, **values})


def test_a_latency_measured_again_needs_one() -> None:
    with pytest.raises(ValueError, match="must have latency_ms, got {'window': 'one'}"):
        FinalLatency.from_dict({"window": "one"})
