"""The front measured again at the end of a search: by a made-up phone, so that every figure is known."""

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
from mfsearch.search.evaluate import latency_columns, measure_in_full
from mfsearch.search.front import contenders, front_in_search, front_numbers
from mfsearch.search.rungs import Rungs, as_searched, measured_again, short_row, standing, told
from mfsearch.study.ledger import WEIGHTS, read_trials
from tests.search.test_loop import arguments

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


def search(images: Path, phone: Path, answers: str, *more: str) -> list[dict[str, Any]]:
    """The rows of a search on the phone; the first answer of each run is for the reference network."""
    (phone / "calls").write_text("")
    (phone / "answers").write_text(answers)
    command = shlex.join([sys.executable, str(phone / "phone.py"), str(phone)])
    latency = ("--latency", "8ms", "--latency-cmd", command)
    assert main(arguments(images, phone / "results", *latency, *more)) == 0
    return read_trials(phone / "results" / "s")


def calls(phone: Path) -> int:
    return len((phone / "calls").read_text())


def front_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if "latency_final" in row]


def test_the_front_is_measured_again_and_both_figures_are_kept(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = search(image_folder, phone, "5 2 2 2 9 7", "--trials", "3")
    said = capsys.readouterr().out
    found = {row["number"]: row for row in front_of(rows)}
    front = front_numbers(rows, OBJECTIVES)
    slow = next(number for number, row in found.items() if row["latency_ms"] == 9.0)  # who is measured again first
    assert front
    assert {slow, *front} <= set(found)  # it leaves the front, and those who come on for it are measured as well
    assert calls(phone) == 1 + 3 + len(found)
    for number, row in found.items():
        assert row["latency_ms"] == (9.0 if number == slow else 7.0)
        assert row["latency_search"]["latency_ms"] == 2.0
        assert row["latency_final"]["over_limit"] == (number == slow)
        assert row["latency_final"]["window"].startswith("after 3 trials and 0 longer trainings, from 2")
    assert len({row["latency_final"]["window"] for row in found.values()}) == 1
    assert f"trial {slow:>3}  latency again   9.00 ms, 2.00 in the search, over the limit" in said
    assert main(["show", "s", "--results", str(phone / "results")]) == 0
    said = capsys.readouterr().out
    assert f"over the limit when measured again, so off the front: trial {slow} (9.00 ms)" in said
    assert "the front's were measured again in one go at the end" in said
    report = (phone / "results" / "s" / "report.html").read_text()
    assert f"Over the limit in the final measurement, so not on the front: trial {slow}." in report

    again = search(image_folder, phone, "5 6", "--trials", "3")
    assert calls(phone) == 1  # the reference: nothing was trained since
    assert again == rows

    more = search(image_folder, phone, "5 2 6", "--trials", "4")
    assert [short_row(row) for row in more[:3]] == [short_row(row) for row in rows]
    newest = [row for row in front_of(more) if row["latency_final"]["window"].startswith("after 4 ")]
    assert set(front_numbers(more, OBJECTIVES)) <= {row["number"] for row in newest}  # those measured before as well
    assert {row["latency_ms"] for row in newest} == {6.0}
    assert calls(phone) == 1 + 1 + len(newest)


def weights_of(rows: list[dict[str, Any]], phone: Path) -> dict[int, Path]:
    folder = phone / "results" / "s" / WEIGHTS
    return {row["number"]: folder / f"{row['arch_id']}.safetensors" for row in rows}


def test_all_on_the_final_front_have_weights(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those who come on for one that turns out slower, in a first run and in one that goes on."""
    for trials, answers in (("3", "5 2 2 2 9 7"), ("4", "5 2 9 9 7")):
        rows = search(image_folder, phone, answers, "--trials", trials)
        front, kept = front_numbers(rows, OBJECTIVES), weights_of(rows, phone)
        assert front
        assert all(kept[number].is_file() for number in front)
        assert set(front) - set(front_in_search(rows, OBJECTIVES))  # they came on at the end
        assert "without kept weights" not in capsys.readouterr().out

    kept[front[0]].unlink()
    assert main(["show", "s", "--results", str(phone / "results")]) == 0
    assert f"on the front without kept weights: trial {front[0]}\n" in capsys.readouterr().out
    assert main(["export", f"s:{front[0]}", "--to", str(phone / "to"), "--results", str(phone / "results")]) == 0
    assert f"trial {front[0]} is on the front, but the training's were not kept" in capsys.readouterr().out


def test_contenders_are_two_ranks_of_the_search_and_the_front() -> None:
    def row(number: int, latency_ms: float) -> dict[str, Any]:
        return {"number": number, "outcome": "trained", "top1": 0.5, "madds": 9, "latency_ms": latency_ms}

    rows = [row(number, number + 1.0) for number in range(4)]
    assert contenders(rows, OBJECTIVES) == {0, 1}
    assert contenders(rows, ["top1", "madds"]) == {0, 1, 2, 3}  # all alike
    rows[0], rows[1] = (measured_again(row, {"latency_ms": 9.0, "over_limit": True}) for row in rows[:2])
    assert contenders(rows, OBJECTIVES) == {0, 2, 3}  # 1 is off for good, 0 would be measured again


def test_a_phone_that_goes_away_at_the_end_is_asked_again_next_time(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = search(image_folder, phone, "5 4 3 2 1 x", "--trials", "3")  # faster and faster, so a front of several
    said = capsys.readouterr().out
    assert "not measured again: --latency-cmd must end with 0, got 1: no phone; the same command tries again" in said
    assert len(front_of(rows)) == 1
    again = search(image_folder, phone, "5 2.5", "--trials", "3")
    assert len(front_of(again)) > 1  # though by the one figure that is new the others are beaten
    assert {row["latency_ms"] for row in front_of(again)} == {2.5}  # all in one go, also what was measured before
    assert len({row["latency_final"]["window"] for row in front_of(again)}) == 1


@pytest.mark.parametrize("error", [ExportError("differs"), ValueError("no such operator"), OSError("no space")])
def test_a_network_that_cannot_be_measured_at_the_end_keeps_the_latency_of_the_search(
    image_folder: Path,
    phone: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    failed: list[str] = []

    def fails_at_first(config: MobileFormerConfig, meter: Runner, seed: int) -> Any:
        if not failed:
            failed.append(config.arch_id)
            raise error
        return measure_in_full(config, meter, seed)

    torch.set_num_threads(2)
    with monkeypatch.context() as patched:
        patched.setattr("mfsearch.search.remeasure.measure_in_full", fails_at_first)
        rows = search(image_folder, phone, "5 4 3 2", "--trials", "2")  # faster and faster, so a front of two
    assert torch.get_num_threads() == 1  # as `mfsearch latency` measures
    said = capsys.readouterr().out
    assert "report.html" in said
    assert "in one go" not in said
    lost, other = sorted(rows, key=lambda row: row["arch_id"] not in failed)
    assert f"trial {lost['number']}'s latency is not measured again: {error}; the same command tries again" in said
    assert "latency_final" not in lost
    assert other["latency_ms"] == other["latency_final"]["latency_ms"] == 2.0
    again = search(image_folder, phone, "5 1", "--trials", "2")
    assert [row["latency_ms"] for row in again] == [1.0, 1.0]
    assert len({row["latency_final"]["window"] for row in again}) == 1


def test_a_front_that_is_too_slow_in_the_end_is_empty_and_says_so(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = search(image_folder, phone, "5 2 9", "--trials", "1")
    assert front_numbers(rows, OBJECTIVES) == []
    assert "off the front: trial 0 (9.00 ms)" in capsys.readouterr().out


def test_over_the_limit_is_whose_whole_interval_is(image_folder: Path, phone: Path) -> None:
    rows = search(image_folder, phone, "5 2 9>7", "--trials", "1")
    assert rows[0]["latency_ms"] == 9.0
    assert front_numbers(rows, OBJECTIVES) == [0]
    (phone / "results").rename(phone / "other")
    assert front_numbers(search(image_folder, phone, "5 2 9>8.5", "--trials", "1"), OBJECTIVES) == []


def test_over_the_limit_on_a_disturbed_machine_is_measured_once_more_in_the_next_run(
    image_folder: Path, phone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = {"latency_disturbed": True}
    with monkeypatch.context() as patched:
        patched.setattr("mfsearch.search.remeasure.latency_columns", lambda found: latency_columns(found) | disturbed)
        assert front_numbers(search(image_folder, phone, "5 2 9", "--trials", "1"), OBJECTIVES) == []
    rows = search(image_folder, phone, "5 6", "--trials", "1")
    assert front_numbers(rows, OBJECTIVES) == [0]
    assert rows[0]["latency_ms"] == 6.0


def test_figures_of_the_end_change_nothing_of_what_is_proposed(image_folder: Path, phone: Path) -> None:
    """Two trials, an end that turns the order of latencies round, two more: as four without a stop."""
    whole = search(image_folder, phone, "5 2 3 4 5 1", "--trials", "4")
    (phone / "results").rename(phone / "whole")
    search(image_folder, phone, "5 2 3 7 1", "--trials", "2")
    parts = search(image_folder, phone, "5 4 5 1", "--trials", "4")

    def searched(rows: list[dict[str, Any]]) -> list[Any]:
        return [(row["arch_id"], row["outcome"], short_row(row)["latency_ms"], told(row)["top1"]) for row in rows]

    assert searched(parts) == searched(whole)


def test_a_row_measured_again_goes_back_to_what_the_search_saw() -> None:
    row = {"number": 1, "outcome": "trained", "top1": 0.5, "madds": 9, "latency_ms": 2.0, "latency_low_ms": 1.9}
    row["finished"] = "trained then"
    first = {"latency_ms": 3.0, "latency_low_ms": 2.5, "window": "a", "finished": "measured now", "over_limit": False}
    second = first | {"latency_ms": 4.0, "window": "b"}
    twice = measured_again(measured_again(row, first), second)
    assert (twice["latency_ms"], twice["latency_low_ms"]) == (4.0, 2.5)
    assert twice["latency_search"] == {"latency_ms": 2.0, "latency_low_ms": 1.9}
    assert twice["finished"] == "trained then"
    assert short_row(twice) == row
    assert (as_searched(twice, "latency_ms"), as_searched(twice, "madds")) == (2.0, 9.0)
    assert measured_again(row, None) is row


def test_promotions_see_the_latencies_of_the_search() -> None:
    rows: list[dict[str, Any]] = [
        {"number": k, "outcome": "trained", "top1": 0.5, "score": 0.5, "madds": 9, "latency_ms": float(k)}
        for k in range(6)
    ]
    rungs = Rungs((1, 3))
    again = [measured_again(row, {"latency_ms": 6.0 - row["number"], "window": "a"}) for row in rows]
    expected = [[row["number"] for row in ranked] for ranked in standing(rows, OBJECTIVES, rungs).ranked]
    found = [[row["number"] for row in ranked] for ranked in standing(again, OBJECTIVES, rungs).ranked]
    assert found == expected == [[0, 1, 2, 3, 4, 5]]
