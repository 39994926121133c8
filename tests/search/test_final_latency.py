"""The front measured again at the end of a search: by a made-up phone, so that every figure is known."""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mfsearch.cli import main
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.onnx_export import ExportError
from mfsearch.cost.runner import Runner
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.evaluator import measure_in_full, trial_latency
from mfsearch.search.front import contenders, front_in_search
from mfsearch.search.promotion import standing
from mfsearch.study.files import WEIGHTS
from mfsearch.study.study import Study, front_trials
from mfsearch.study.trial import FinalLatency, Trial, TrialLatency
from tests.search.test_loop import arguments
from tests.trials import numbers, trial

OBJECTIVES = ["top1", "madds", "latency_ms"]

# The k-th call gives the k-th number in a file, the last one ever after; "9>7" has a lower end, "x" is a failure.
PHONE = """
import json, pathlib, sys
here = pathlib.Path(sys.argv[1])
with (here / "calls").open("a") as file:
    file.write(".")
calls = len((here / "calls").read_text())
answers = (here / "answers").read_text().split()
answer = answers[min(calls, len(answers)) - 1]
if answer == "x":
    sys.exit("no phone")
ms, _, low = answer.partition(">")
found = {"latency_ms": float(ms)}
if low:
    found |= {"latency_low_ms": float(low), "latency_high_ms": 2 * float(ms)}
print(json.dumps(found))
"""


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    (tmp_path / "phone.py").write_text(PHONE)
    return tmp_path


def search(images: Path, phone: Path, answers: str, *more: str) -> list[Trial]:
    """The trials of a search on the phone; the first answer of each run is for the reference network."""
    (phone / "calls").write_text("")
    (phone / "answers").write_text(answers)
    command = shlex.join([sys.executable, str(phone / "phone.py"), str(phone)])
    latency = ("--latency", "8ms", "--latency-cmd", command)
    assert main(arguments(images, phone / "results", *latency, *more)) == 0
    return list(Study.open(phone / "results" / "s").trials)


def calls(phone: Path) -> int:
    return len((phone / "calls").read_text())


def finals_of(trials: list[Trial]) -> dict[int, FinalLatency]:
    """What was measured again, by number."""
    return {trial.number: trial.final for trial in trials if trial.final is not None}


def front_of(trials: list[Trial]) -> list[int]:
    return numbers(front_trials(trials, OBJECTIVES))


def windows(trials: list[Trial]) -> set[str]:
    return {final.window for final in finals_of(trials).values()}


def test_the_front_is_measured_again_and_both_figures_are_kept(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = search(image_folder, phone, "5 2 2 2 9 7", "--trials", "3")
    said = capsys.readouterr().out
    found, front = finals_of(trials), front_of(trials)
    slow = next(number for number in found if trials[number].latency_ms == 9.0)  # who is measured again first
    assert front
    assert {slow, *front} <= set(found)  # it leaves the front, and those who come on for it are measured as well
    assert calls(phone) == 1 + 3 + len(found)
    for number, final in found.items():
        assert trials[number].latency_ms == final.latency.ms == (9.0 if number == slow else 7.0)
        assert trials[number].measured == TrialLatency(2.0)
        assert final.over_limit == trials[number].over_limit == (number == slow)
        assert final.window.startswith("after 3 trials and 0 longer trainings, from 2")
    assert len(windows(trials)) == 1
    assert f"trial {slow:>3}  latency again   9.00 ms, 2.00 in the search, over the limit" in said
    assert main(["show", "s", "--results", str(phone / "results")]) == 0
    said = capsys.readouterr().out
    assert f"over the limit when measured again, so off the front: trial {slow} (9.00 ms)" in said
    assert "the front's were measured again in one go at the end" in said
    report = (phone / "results" / "s" / "report.html").read_text()
    assert f"Over the limit in the final measurement, so not on the front: trial {slow}." in report

    again = search(image_folder, phone, "5 6", "--trials", "3")
    assert calls(phone) == 1  # the reference: nothing was trained since
    assert again == trials

    more = search(image_folder, phone, "5 2 6", "--trials", "4")
    assert [one.as_searched() for one in more[:3]] == [one.as_searched() for one in trials]
    newest = {number: final for number, final in finals_of(more).items() if final.window.startswith("after 4 ")}
    assert set(front_of(more)) <= set(newest)  # those measured before as well
    assert {final.latency.ms for final in newest.values()} == {6.0}
    assert calls(phone) == 1 + 1 + len(newest)


def weights_of(trials: list[Trial], phone: Path) -> dict[int, Path]:
    folder = phone / "results" / "s" / WEIGHTS
    return {trial.number: folder / f"{trial.arch_id}.safetensors" for trial in trials}


def test_all_on_the_final_front_have_weights(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those who come on for one that turns out slower, in a first run and in one that goes on."""
    for count, answers in (("3", "5 2 2 2 9 7"), ("4", "5 2 9 9 7")):
        trials = search(image_folder, phone, answers, "--trials", count)
        front, kept = front_of(trials), weights_of(trials, phone)
        assert front
        assert all(kept[number].is_file() for number in front)
        assert set(front) - set(front_in_search(trials, OBJECTIVES))  # they came on at the end
        assert "without kept weights" not in capsys.readouterr().out

    kept[front[0]].unlink()
    assert main(["show", "s", "--results", str(phone / "results")]) == 0
    said = f"on the front without kept weights, so exported with first ones: trial {front[0]}\n"
    assert said in capsys.readouterr().out
    assert main(["export", f"s:{front[0]}", "--to", str(phone / "to"), "--results", str(phone / "results")]) == 0
    assert f"trial {front[0]} is on the front, but the training's were not kept" in capsys.readouterr().out


def test_contenders_are_two_ranks_of_the_search_and_the_front() -> None:
    trials = [trial(number, top1=0.5, madds=9, latency_ms=number + 1.0) for number in range(4)]
    assert contenders(trials, OBJECTIVES) == {0, 1}
    assert contenders(trials, ["top1", "madds"]) == {0, 1, 2, 3}  # all alike
    slow = FinalLatency(TrialLatency(9.0), over_limit=True)
    trials[:2] = [dataclasses.replace(one, final=slow) for one in trials[:2]]
    assert contenders(trials, OBJECTIVES) == {0, 2, 3}  # 1 is off for good, 0 would be measured again


def test_a_phone_that_goes_away_at_the_end_is_asked_again_next_time(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = search(image_folder, phone, "5 4 3 2 1 x", "--trials", "3")  # faster and faster, so a front of several
    said = capsys.readouterr().out
    assert "not measured again: --latency-cmd must exit with 0, got 1: no phone; the same command tries again" in said
    assert len(finals_of(trials)) == 1
    again = search(image_folder, phone, "5 2.5", "--trials", "3")
    assert len(finals_of(again)) > 1  # though by the one figure that is new the others are beaten
    assert {final.latency.ms for final in finals_of(again).values()} == {2.5}  # all in one go, those of before too
    assert len(windows(again)) == 1


@pytest.mark.parametrize("error", [ExportError("differs"), ValueError("no such operator"), OSError("no space")])
def test_a_network_that_cannot_be_measured_at_the_end_keeps_the_latency_of_the_search(
    image_folder: Path,
    phone: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    failed: list[str] = []

    def fails_at_first(config: MobileFormerConfig, meter: Runner, seed: int, seconds: float | None = None) -> Any:
        if not failed:
            failed.append(config.arch_id)
            raise error
        return measure_in_full(config, meter, seed, seconds)

    torch.set_num_threads(2)
    with monkeypatch.context() as patched:
        patched.setattr("mfsearch.search.remeasure.measure_in_full", fails_at_first)
        trials = search(image_folder, phone, "5 4 3 2", "--trials", "2")  # faster and faster, so a front of two
    assert torch.get_num_threads() == 2  # one while measuring, then what the caller had
    said = capsys.readouterr().out
    assert "report.html" in said
    assert "in one go" not in said
    lost, other = sorted(trials, key=lambda one: one.arch_id not in failed)
    assert f"trial {lost.number}'s latency is not measured again: {error}; the same command tries again" in said
    assert lost.final is None
    assert other.final is not None
    assert other.latency_ms == other.final.latency.ms == 2.0
    again = search(image_folder, phone, "5 1", "--trials", "2")
    assert [one.latency_ms for one in again] == [1.0, 1.0]
    assert len(windows(again)) == 1
    assert len(finals_of(again)) == 2


def test_a_front_that_is_too_slow_in_the_end_is_empty_and_says_so(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert front_of(search(image_folder, phone, "5 2 9", "--trials", "1")) == []
    assert "off the front: trial 0 (9.00 ms)" in capsys.readouterr().out


def test_over_the_limit_is_whose_whole_interval_is(image_folder: Path, phone: Path) -> None:
    trials = search(image_folder, phone, "5 2 9>7", "--trials", "1")
    assert trials[0].latency_ms == 9.0
    assert front_of(trials) == [0]
    (phone / "results").rename(phone / "other")
    assert front_of(search(image_folder, phone, "5 2 9>8.5", "--trials", "1")) == []


def test_over_the_limit_on_a_disturbed_machine_is_measured_once_more_in_the_next_run(
    image_folder: Path, phone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            "mfsearch.search.remeasure.trial_latency",
            lambda found: dataclasses.replace(trial_latency(found), disturbed=True),
        )
        assert front_of(search(image_folder, phone, "5 2 9", "--trials", "1")) == []
    trials = search(image_folder, phone, "5 6", "--trials", "1")
    assert front_of(trials) == [0]
    assert trials[0].latency_ms == 6.0


def test_figures_of_the_end_change_nothing_of_what_is_proposed(image_folder: Path, phone: Path) -> None:
    """Two trials, an end that turns the order of latencies round, two more: as four without a stop."""
    whole = search(image_folder, phone, "5 2 3 4 5 1", "--trials", "4")
    (phone / "results").rename(phone / "whole")
    search(image_folder, phone, "5 2 3 7 1", "--trials", "2")
    parts = search(image_folder, phone, "5 4 5 1", "--trials", "4")

    def searched(trials: list[Trial]) -> list[Any]:
        return [(one.arch_id, one.outcome, one.measured, one.score()) for one in trials]

    assert searched(parts) == searched(whole)


def test_a_trial_measured_again_goes_back_to_what_the_search_saw() -> None:
    once = trial(1, top1=0.5, madds=9, latency_ms=2.0, latency_low_ms=1.9, finished="trained then")
    final = FinalLatency(TrialLatency(4.0, low_ms=2.5), window="b", finished="measured now")
    again = dataclasses.replace(once, final=final)
    assert again.latency == TrialLatency(4.0, low_ms=2.5)
    assert again.measured == TrialLatency(2.0, low_ms=1.9)
    row = again.to_row()
    assert (row["latency_ms"], row["latency_low_ms"]) == (4.0, 2.5)
    assert row["latency_search"] == TrialLatency(2.0, low_ms=1.9).to_dict()
    assert row["latency_final"] == final.to_dict()
    assert again.finished == row["finished"] == "trained then"
    assert again.as_searched() == once
    assert once.as_searched() is once


def test_promotions_see_the_latencies_of_the_search() -> None:
    trials = [trial(k, top1=0.5, score=0.5, madds=9, latency_ms=float(k)) for k in range(6)]
    rungs = Rungs((1, 3))
    again = [dataclasses.replace(one, final=FinalLatency(TrialLatency(6.0 - one.number), "a")) for one in trials]
    expected = [numbers(ranked) for ranked in standing(trials, OBJECTIVES, rungs).ranked]
    found = [numbers(ranked) for ranked in standing(again, OBJECTIVES, rungs).ranked]
    assert found == expected == [[0, 1, 2, 3, 4, 5]]
