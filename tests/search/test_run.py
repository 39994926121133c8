"""Whole searches on small networks, in worker processes, as a user starts them."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from mfsearch.cli import main
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.search.study import JOURNAL, WEIGHTS, find_study, read_manifest, read_trials
from tests.conftest import TINY_SPACE


def arguments(images: Path, results: Path, *more: str, budget: str = "0.5M") -> list[str]:
    """A search over tiny networks: half a pass over 43 small images."""
    return [
        *("run", "--budget", budget, "--space", str(TINY_SPACE), "--data", str(images), "--study", "s"),
        *("--resolution", "32", "--classes", "2", "--results", str(results)),
        *("--proxy-resolution", "16", "--epochs", "0.5", "--batch", "8", *more),
    ]


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(capsys.readouterr().out)
    return out


def test_a_search_ends_with_a_front_inside_the_budget_and_goes_on(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--trials", "4", "--workers", "2", "--json")) == 0
    first = report(capsys)
    assert first["stopped"] == "trials"
    assert first["trained"] == 4
    assert first["duplicates"] == first["trained_outside_budget"] == 0
    rows = read_trials(tmp_path / "s")
    assert [row["number"] for row in rows] == [0, 1, 2, 3]
    for row in rows:
        assert count_madds(MobileFormerConfig.from_dict(row["config"])) == row["madds"] <= 500_000
        assert 0 <= row["top1"] <= 1
        assert len(row["curve"]) == 1
        assert row["resolution"] == 32
    assert (tmp_path / "s" / "report.html").read_text().startswith("<!")

    on_front = {row["arch_id"] for row in first["front"]}
    kept = {path.stem for path in (tmp_path / "s" / WEIGHTS).glob("*.safetensors")}
    assert kept == on_front
    weights = load_file(tmp_path / "s" / WEIGHTS / f"{min(kept)}.safetensors")
    assert weights["head.classifier.weight"].shape[0] == 2

    assert main(arguments(image_folder, tmp_path, "--trials", "6", "--json")) == 0
    second = report(capsys)
    assert second["trained"] == 6
    assert read_trials(tmp_path / "s")[:4] == rows
    assert main(arguments(image_folder, tmp_path, "--trials", "6")) == 0  # nothing left to do: the front again
    assert "All trials asked for are trained" in capsys.readouterr().out


def test_a_search_that_trains_nothing_ends_and_says_why(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ("--optimizer", "sgd", "--lr", "10", "--epochs", "20", "--workers", "2")
    assert main(arguments(image_folder, tmp_path, *wild)) == 1
    said = capsys.readouterr()
    assert "networks could be trained" in said.err
    assert "training diverged" in said.err
    assert {row["outcome"] for row in read_trials(tmp_path / "s")} == {"failed"}


def test_a_database_holds_one_study_of_a_name(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From another folder with other settings the trials in the database are not mixed; with the same they go on."""
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    assert main(arguments(image_folder, tmp_path / "a", "--storage", url, "--trials", "1", "--json")) == 0
    assert main(arguments(image_folder, tmp_path / "b", "--storage", url, "--trials", "2", "--seed", "7")) == 2
    assert "seed: the study has 0, this run says 7" in capsys.readouterr().err
    assert main(arguments(image_folder, tmp_path / "c", "--storage", url, "--trials", "2", "--json")) == 0
    assert report(capsys)["trained"] == 2
    assert len(read_trials(tmp_path / "a" / "s")) == 2


def test_two_runs_of_one_worker_are_the_same(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for name in ("a", "b"):
        assert main(arguments(image_folder, tmp_path / name, "--trials", "12", "--json")) == 0
        capsys.readouterr()
        rows = read_trials(tmp_path / name / "s")
        found.append([(row["arch_id"], row["top1"], [log["loss"] for log in row["curve"]]) for row in rows])
    assert found[0] == found[1]


def test_other_settings_under_the_same_name_are_refused(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--trials", "1", "--json")) == 0
    capsys.readouterr()
    assert main(arguments(image_folder, tmp_path, "--trials", "2", "--seed", "3", budget="0.6M")) == 2
    said = capsys.readouterr().err
    assert "budget.high: the study has 500000, this run says 600000" in said
    assert "seed: the study has 0, this run says 3" in said
    assert len(read_trials(tmp_path / "s")) == 1


def test_latency_is_a_third_objective_and_a_limit(
    image_folder: Path, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--latency", "10s", "--trials", "2", "--json")) == 0
    assert report(capsys)["manifest"]["objectives"] == ["top1", "madds", "latency_ms"]
    for row in read_trials(tmp_path / "s"):
        assert row["latency_low_ms"] <= row["latency_ms"] <= row["latency_high_ms"]
    assert read_manifest(tmp_path / "s")["passport"]["runtime"] == "onnxruntime"
    assert cache_dir.is_dir()


def test_a_latency_limit_that_nothing_meets_ends_early_and_says_the_fastest(
    image_folder: Path, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--latency", "0.0001ms", "--workers", "2")) == 2
    said = capsys.readouterr()
    assert "latency limit 0.0001 ms: none of" in said.err
    assert "the fastest takes" in said.err
    rows = read_trials(tmp_path / "s")
    assert {row["outcome"] for row in rows} == {"rejected"}  # measured, written, never trained
    assert all("is over the limit" in row["reason"] for row in rows)


@contextlib.contextmanager
def started(images: Path, results: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A search in a process of its own, killed at the end if it still runs."""
    command = [sys.executable, "-m", "mfsearch", *arguments(images, results, *more)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_trials(results: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if (results / "s" / JOURNAL).exists() and len(read_trials(results / "s")) >= count:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError(f"no {count} trials in a minute")


def children(process: subprocess.Popen[str]) -> list[int]:
    """Process numbers of its workers."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "spawn_main" in line]


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_ctrl_c_keeps_everything_and_a_second_process_is_refused(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(image_folder, tmp_path, "--trials", "500") as process:
        wait_for_trials(tmp_path, 2, process)
        assert main(arguments(image_folder, tmp_path, "--trials", "500")) == 1
        assert "is being written by another process" in capsys.readouterr().err
        workers = children(process)
        assert len(workers) == 1
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "every finished trial is kept" in out
    assert "Traceback" not in out
    kept = len(read_trials(tmp_path / "s"))
    assert kept >= 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not [*(tmp_path / "s" / WEIGHTS).glob("*.part")]
    assert main(arguments(image_folder, tmp_path, "--trials", str(kept + 1), "--json")) == 0
    assert report(capsys)["trained"] == kept + 1


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_a_killed_worker_costs_its_trial_and_a_killed_search_loses_nothing(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(image_folder, tmp_path, "--trials", "500") as process:
        wait_for_trials(tmp_path, 1, process)
        os.kill(children(process)[0], signal.SIGKILL)
        wait_for_trials(tmp_path, 4, process)
    rows = read_trials(find_study("s", tmp_path))
    lost = [row for row in rows if row["outcome"] == "failed"]
    assert [row["reason"] for row in lost] == ["its worker process was killed by signal 9"]
    assert len({row["arch_id"] for row in rows}) == len(rows)
    trained = len(rows) - 1
    assert main(arguments(image_folder, tmp_path, "--trials", str(trained + 1), "--json")) == 0
    assert report(capsys)["trained"] == trained + 1
    assert read_trials(tmp_path / "s")[: len(rows)] == rows
