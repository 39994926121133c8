"""Whole searches on small networks, in worker processes, as a user starts them."""

import contextlib
import dataclasses
import json
import os
import re
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
from mfsearch.cost.madds import count_costs, count_madds
from mfsearch.export.bundle import trial_onnx
from mfsearch.proxy.curve import SCORES, EpochLog
from mfsearch.proxy.recipe import default_recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.evaluator import Job, TrialResult, Work
from mfsearch.search.loop import _prior
from mfsearch.search.pool import Event, MakeWorker
from mfsearch.search.promotion import finalists, next_final, standing
from mfsearch.space import find_space
from mfsearch.study.files import CHECKPOINTS, JOURNAL, MANIFEST, WEIGHTS, find_study
from mfsearch.study.settings import Settings
from mfsearch.study.study import Study
from mfsearch.study.table_file import known_tables
from mfsearch.study.trial import Training, Trial
from mfsearch.units import CostLimits, parse_budget
from tests.conftest import TINY_SPACE
from tests.trials import numbers


def arguments(images: Path, results: Path, *more: str, budget: str = "0.5M", rungs: str = "1") -> list[str]:
    """A search over tiny networks: half a pass over 43 small images, without longer trainings."""
    return [
        *("run", "--budget", budget, "--space", str(TINY_SPACE), "--data", str(images), "--study", "s"),
        *("--resolution", "32", "--classes", "2", "--results", str(results)),
        *("--proxy-resolution", "16", "--epochs", "0.5", "--batch", "8", "--rungs", rungs, *more),
    ]


def trials_in(results: Path, name: str = "s") -> list[Trial]:
    return list(Study.open(results / name).trials)


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
    trials = trials_in(tmp_path)
    assert numbers(trials) == [0, 1, 2, 3]
    for trial in trials:
        assert count_madds(trial.config) == trial.madds
        assert trial.metric("madds") <= 500_000
        assert 0 <= trial.metric("top1") <= 1
        assert trial.short is not None
        assert [log.epoch for log in trial.short.curve] == [0.2, 0.4]  # steps 1 and 2 of 5 a pass: half way and the end
        assert trial.resolution == 32
    assert (tmp_path / "s" / "report.html").read_text().startswith("<!")

    on_front = {row["arch_id"] for row in first["front"]}
    kept = {path.stem for path in (tmp_path / "s" / WEIGHTS).glob("*.safetensors")}
    assert kept == on_front
    weights = load_file(tmp_path / "s" / WEIGHTS / f"{min(kept)}.safetensors")
    assert weights["head.classifier.weight"].shape[0] == 2

    assert main(arguments(image_folder, tmp_path, "--trials", "6", "--json")) == 0
    second = report(capsys)
    assert second["trained"] == 6
    assert trials_in(tmp_path)[:4] == trials
    assert main(arguments(image_folder, tmp_path, "--trials", "6")) == 0  # nothing left to do: the front again
    assert "All --trials are trained" in capsys.readouterr().out


def test_a_search_that_trains_nothing_ends_and_says_why(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ("--optimizer", "sgd", "--lr", "10", "--epochs", "20", "--workers", "2")
    assert main(arguments(image_folder, tmp_path, *wild)) == 1
    said = capsys.readouterr()
    assert "networks could be trained" in said.err
    assert "training diverged" in said.err
    assert {trial.outcome for trial in trials_in(tmp_path)} == {"failed"}


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
    assert len(trials_in(tmp_path / "a")) == 2


def test_damaged_images_stop_a_run_unless_they_are_skipped_and_a_resumed_run_must_agree(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(image_folder, tmp_path / "data"))
    (data / "train" / "dark" / "a.gif").touch()
    for name in ("3.png", "5.png"):
        (data / "train" / "dark" / name).write_bytes(b"broken")
    assert main(arguments(data, tmp_path, "--dry-run", "--trials", "1", "--skip-damaged")) == 0
    assert "left out: 1 GIF file;" in capsys.readouterr().out
    assert main(arguments(data, tmp_path, "--dry-run", "--trials", "1")) == 2
    assert main(arguments(data, tmp_path, "--trials", "1")) == 2
    said = capsys.readouterr().err
    assert "2 damaged, which --skip-damaged leaves out" in said
    assert "3.png" in said
    assert "5.png" in said
    assert not (tmp_path / "s").exists()
    skipping = arguments(data, tmp_path, "--skip-damaged", "--trials")
    assert main([*skipping, "1"]) == 0
    head = capsys.readouterr().out.partition("training  ")[0]
    assert "left out: 1 GIF file;" in head
    assert "skipped: 2 damaged files" in head
    assert f"{data}/train/dark/3.png: not a readable image" in head
    assert "skip-damaged" in Study.open(tmp_path / "s").manifest.options()
    (data / "train" / "dark" / "7.png").write_bytes(b"broken")
    assert main([*skipping, "3"]) == 2
    assert "data.digest: the study has" in capsys.readouterr().err


@pytest.mark.slow
def test_two_runs_of_one_worker_are_the_same_longer_trainings_included(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for name in ("a", "b"):
        assert main(arguments(image_folder, tmp_path / name, "--trials", "12", "--json", rungs="1,2,4")) == 0
        capsys.readouterr()
        found.append(
            [
                (
                    *(trial.arch_id, trial.outcome, trial.top1, losses(trial.short)),
                    [(one.rung, one.seed, one.top1, losses(one)) for one in trial.longer],
                )
                for trial in trials_in(tmp_path / name)
            ]
        )
    assert found[0] == found[1]
    rungs = [rung for *_, stages in found[0] for rung, *_ in stages]
    assert rungs.count(1) >= 2  # of the first six one in three, and later ones
    assert rungs.count(2) == 4 * 2  # one in three of twelve, two seeds each


def losses(training: Training | None) -> list[float]:
    assert training is not None
    return [log.loss for log in training.curve]


@pytest.mark.slow
def test_the_better_networks_are_trained_longer_and_their_trials_say_so(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = ("--finalists", "2", "--final-seeds", "2")
    assert main(arguments(image_folder, tmp_path, "--trials", "6", *final, rungs="1,5", budget="0.6M")) == 0
    assert "final" not in capsys.readouterr().err
    trials = trials_in(tmp_path)
    longer = [trial for trial in trials if trial.longer]
    assert len(trials) == 6
    assert len(longer) == 2  # one in three of those tried
    for trial in longer:
        assert [(one.rung, one.seed) for one in trial.longer] == [(1, 0), (1, 1)]
        for one in trial.longer:
            assert [log.epoch for log in one.curve] == [0.2, 0.4, 2.4]  # steps 1, 2 and 5 * 0.5 * 5 = 12.5
            assert one.epochs == 2.4
        first, second = (one.top1 or 0.0 for one in trial.longer)
        assert trial.top1 == (first + second) / 2
        assert trial.rung == 1
        assert trial.top1_std == pytest.approx(abs(first - second) / 2**0.5)
        assert losses(trial.longer[0])[:2] == losses(trial.short)  # the short training went on
        assert losses(trial.longer[1])[:2] != losses(trial.short)
        assert trial.short is not None
        assert trial.top1_short == trial.short.curve[-1].top1
    assert not (tmp_path / "s" / CHECKPOINTS).exists()
    for path in (tmp_path / "s" / WEIGHTS).iterdir():  # of the study's seed, as long as that was trained
        assert path.stem in {trial.arch_id for trial in trials}

    more = arguments(image_folder, tmp_path, "--trials", "9", *final, rungs="1,5", budget="0.6M")
    assert main(more) == 0
    again = trials_in(tmp_path)
    assert len(again) == 9
    assert [trial.as_searched() for trial in again[:6]] == [trial.as_searched() for trial in trials]
    for old, new in zip(trials, again[:6], strict=True):
        assert new.longer[: len(old.longer)] == old.longer
    best = finalists(standing(again, ["top1", "madds"], Rungs((1, 5))), Rungs((1, 5), finalists=2))
    assert all(len(trial.longer) == 2 for trial in best)
    assert not (tmp_path / "s" / CHECKPOINTS).exists()


def test_other_settings_under_the_same_name_are_refused(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--trials", "1", "--json")) == 0
    capsys.readouterr()
    assert main(arguments(image_folder, tmp_path, "--trials", "2", "--seed", "3", budget="0.6M")) == 2
    said = capsys.readouterr().err
    assert "budget.high: the study has 500000, this run says 600000" in said
    assert "seed: the study has 0, this run says 3" in said
    for prior, words in (
        ("none", "prior: the study has tables, this run says none"),
        ("all", "tables or none, got 'all'"),
    ):
        assert main(arguments(image_folder, tmp_path, "--trials", "2", "--prior", prior)) == 2
        assert words in capsys.readouterr().err
    prior_fit = Study.open(tmp_path / "s").manifest.prior_fit
    assert prior_fit is not None
    assert prior_fit.tables == tuple(known_tables())
    assert len(trials_in(tmp_path)) == 1


@pytest.mark.parametrize(
    ("changes", "has"), [({}, True), ({"sampler": "random"}, False), ({"prior": "none"}, False), ({"inside": 1}, False)]
)
def test_a_model_of_networks_from_first_weights_begins_with_what_tables_say(changes: dict[str, Any], has: bool) -> None:
    inside: dict[str, Any] = {"parent": object()} if changes.pop("inside", None) else {}
    space, recipe = find_space("mobile_former_small"), default_recipe("digits")
    settings = Settings("s", parse_budget("30M"), None, space, "digits", recipe, **changes, **inside)
    assert (_prior(settings) is not None) is has


def test_limits_hold_for_all_that_is_trained_and_for_the_written_files(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--params", "45K", "--memory", "26KB", "--size", "200KB", "--objectives", "top1,params,memory,size")
    assert main(arguments(image_folder, tmp_path, *given, "--trials", "2")) == 0
    said = capsys.readouterr().out
    assert "limits    parameters at most 0.045M, peak activations at most 0.026MB, ONNX file at most 0.2MB" in said
    assert "on the front of top1, num_params, activation_bytes, onnx_bytes" in said
    assert main(arguments(image_folder, tmp_path, *given, "--trials", "3", "--json")) == 0  # resumes
    assert report(capsys)["trained_outside_budget"] == 0
    study = Study.open(tmp_path / "s")
    limits = study.manifest.cost_limits
    assert limits == CostLimits(45_000, 26_000, 200_000)
    assert {name: study.manifest.options()[name] for name in ("params", "size")} == {
        "params": "0.045M",
        "size": "0.2MB",
    }
    assert study.count("trained") == len(study.trials) == 3
    assert all(limits.hold(trial) and limits.hold(count_costs(trial.config)) for trial in study.trials)
    for trial in study.front():
        assert len(trial_onnx(tmp_path / "s", trial.number)) <= trial.metric("onnx_bytes")
    assert str(limits) in (tmp_path / "s" / "report.html").read_text()
    assert main(["show", str(tmp_path / "s")]) == 0
    assert f"limits: {limits}" in capsys.readouterr().out

    other = ("--params", "40K", "--memory", "26KB", *given[6:])
    assert main(arguments(image_folder, tmp_path, *other, "--trials", "4")) == 2
    said = capsys.readouterr().err
    assert "limits.num_params: the study has 45000, this run says 40000" in said
    assert "limits.onnx_bytes: the study has 200000, this run says None" in said
    assert main(arguments(image_folder, tmp_path, "--size", "9KB", "--dry-run", "--study", "t")) == 2
    assert "--size 0.009MB: nothing in space tiny is that small; the least found at 32 px for 2 classes is" in (
        capsys.readouterr().err
    )


def test_latency_is_a_third_objective_and_a_limit(
    image_folder: Path, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--latency", "10s", "--trials", "2", "--json")) == 0
    said = report(capsys)
    assert said["manifest"]["objectives"] == ["top1", "madds", "latency_ms"]
    assert all(row["latency_ms"] == row["latency_final"]["latency_ms"] for row in said["front"])
    for trial in trials_in(tmp_path):
        assert trial.latency is not None
        assert trial.latency.low_ms is not None
        assert trial.latency.high_ms is not None
        assert trial.latency.low_ms <= trial.latency.ms <= trial.latency.high_ms
    assert (Study.open(tmp_path / "s").manifest.passport or {})["runtime"] == "onnxruntime"
    assert cache_dir.is_dir()


def test_a_latency_limit_that_nothing_meets_ends_early_and_says_the_fastest(
    image_folder: Path, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(image_folder, tmp_path, "--latency", "0.0001ms", "--workers", "2")) == 2
    said = capsys.readouterr()
    assert "latency limit 0.0001 ms: none of" in said.err
    assert "the fastest takes" in said.err
    trials = trials_in(tmp_path)
    assert {trial.outcome for trial in trials} == {"rejected"}  # measured, written, never trained
    assert all("is over the limit" in str(trial.reason) for trial in trials)


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
        if (results / "s" / MANIFEST).exists() and len(trials_in(results)) >= count:
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
    kept = len(trials_in(tmp_path))
    assert kept >= 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not [*(tmp_path / "s" / WEIGHTS).glob("*.part")]
    assert main(arguments(image_folder, tmp_path, "--trials", str(kept + 1), "--json")) == 0
    assert report(capsys)["trained"] == kept + 1


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_a_killed_worker_costs_nothing_and_a_killed_search_loses_nothing(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(image_folder, tmp_path, "--trials", "500") as process:
        wait_for_trials(tmp_path, 1, process)
        os.kill(children(process)[0], signal.SIGKILL)
        wait_for_trials(tmp_path, 4, process)
    trials = list(Study.open(find_study("s", tmp_path)).trials)
    assert [trial.reason for trial in trials if trial.outcome == "failed"] == []  # its training was tried once more
    assert len({trial.arch_id for trial in trials}) == len(trials)
    trained = len(trials)
    assert main(arguments(image_folder, tmp_path, "--trials", str(trained + 1), "--json")) == 0
    assert report(capsys)["trained"] == trained + 1
    assert trials_in(tmp_path)[: len(trials)] == trials


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_ctrl_c_in_the_final_keeps_everything_and_the_final_goes_on(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one training of the final is cut in its middle: its checkpoint and all trials stay."""
    monkeypatch.setenv("MFSEARCH_CHECKPOINT_SECONDS", "0.05")
    more = ("--trials", "2", "--finalists", "1", "--final-seeds", "1", "--rungs", "1,150")
    with started(image_folder, tmp_path, *more) as process:
        wait_for_trials(tmp_path, 2, process)
        wait_for_longer(tmp_path, process)
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "every finished trial is kept" in out
    trials = trials_in(tmp_path)
    assert [trial.longer for trial in trials] == [(), ()]
    assert len([*(tmp_path / "s" / CHECKPOINTS).glob("*.pt")]) >= 1
    assert main([*arguments(image_folder, tmp_path, *more), "--json"]) == 0
    assert report(capsys)["trained"] == 2
    after = trials_in(tmp_path)
    assert [trial.as_searched() for trial in after] == trials
    assert sorted(len(trial.longer) for trial in after) == [0, 1]
    assert not (tmp_path / "s" / CHECKPOINTS).exists()


def wait_for_longer(results: Path, process: subprocess.Popen[str]) -> None:
    """Until a training has written a checkpoint since the last result."""
    folder = results / "s"
    for _ in range(6000):
        told = (folder / JOURNAL).stat().st_mtime_ns
        with contextlib.suppress(FileNotFoundError):
            if any(path.stat().st_mtime_ns > told for path in (folder / CHECKPOINTS).glob("*.pt")):
                return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    raise AssertionError("no checkpoint in a minute")


SHORT = 10.0  # seconds of a short training in the tests of time below
TICK = 5.0  # seconds that a search waits for a result before it looks around


class Clock:
    """Stands still unless a training is waited for."""

    def __init__(self) -> None:
        self.now = self.begun = time.monotonic()

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


class PretendPool:
    """Workers that train nothing: every training takes its time on the clock and ends with an accuracy of its own."""

    clock: Clock
    limit = 500  # trainings

    def __init__(self, count: int, _make_worker: MakeWorker[Job, Work, TrialResult], job: Job) -> None:
        self.job, self.count = job, count
        self.working: dict[int, tuple[float, Work]] = {}
        self.waits = 0

    def idle(self) -> list[int]:
        return [number for number in range(self.count) if number not in self.working]

    def submit(self, number: int, work: Work) -> None:
        factors = self.job.rungs.factors
        goes_on = work.rung > 0 and work.seed == self.job.seed
        factor = factors[work.rung] - (factors[work.rung - 1] if goes_on else 0)
        self.working[number] = (self.clock.now + SHORT * factor, work)

    def wait(self, timeout: float) -> list[Event[TrialResult]]:
        self.waits += 1
        assert self.waits < self.limit, "the search does not end"
        if not self.working:
            self.clock.now += timeout
            return []
        number, (end, work) = min(self.working.items(), key=lambda item: item[1][0])
        if end - self.clock.now > TICK:
            self.clock.now += TICK
            return []
        del self.working[number]
        self.clock.now = end
        top1 = int(work.config.arch_id[:4], 16) / 0x10000
        log = EpochLog(epoch=1.0, loss=2 - top1, val_loss=2 - top1, top1=top1, seconds=SHORT)
        short = Training(work.rung, work.seed, top1, curve=(log,), train_seconds=SHORT)
        short = dataclasses.replace(short, score=SCORES[self.job.rungs.rank_by](log))
        return [Event(number, "done", result=TrialResult("trained", short=short))]

    def close(self) -> None:
        pass


def few_networks(folder: Path) -> Path:
    """A space of nine networks."""
    text = re.sub(r"\[([^],]+), [^]]*\]", r"\1", TINY_SPACE.read_text())  # the first choice of each knob
    text = text.replace("count: 1", "count: [1, 2, 3]").replace("hidden: 32", "hidden: [32, 48, 64]")
    space = folder / "few.yaml"
    space.write_text(text.replace("width: solve", "width: 1"))
    return space


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A search in this process on a clock of its own."""
    clock = Clock()
    monkeypatch.setattr(PretendPool, "clock", clock, raising=False)
    monkeypatch.setattr("mfsearch.search.loop.Pool", PretendPool)
    for module in ("mfsearch.search.loop", "mfsearch.commands.run"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seconds", [100, 1000])
def test_a_time_limit_leaves_room_for_the_final(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pretended: Clock, workers: int, seconds: int
) -> None:
    """The limit is kept to one training of each worker, which takes 30 s at the most; half of it is for new networks,
    and in the other half the final is whole if it can be."""
    more = ("--time", f"{seconds}s", "--sampler", "random", "--workers", str(workers), "--json")
    assert main(arguments(image_folder, tmp_path, *more, rungs="1,3")) == 0
    assert report(capsys)["stopped"] == "time"
    taken = pretended.now - pretended.begun
    assert taken <= seconds + 30
    trials = trials_in(tmp_path)
    assert len(trials) * SHORT / workers >= seconds / 2 - 2 * SHORT
    if seconds == 1000:
        at, rungs = standing(trials, ["top1", "madds"], Rungs((1, 3))), Rungs((1, 3))
        assert len(finalists(at, rungs)) >= 5
        assert next_final(at, rungs, [], seed=0) is None
        assert taken > seconds - 45


@pytest.mark.parametrize(
    ("workers", "seconds", "trained"), [(1, 35, 3), (1, 39.5, 4), (2, 35, 6), (1, 4, 1), (2, 4, 2)]
)
def test_a_training_starts_only_if_it_is_expected_to_end_in_time_but_the_first_always_does(
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    pretended: Clock,
    workers: int,
    seconds: float,
    trained: int,
) -> None:
    """Every training takes 10 s, and may end late by a twentieth of the limit; a second call counts afresh."""
    command = arguments(image_folder, tmp_path, "--time", f"{seconds}s", "--workers", str(workers), "--json")
    for call in (1, 2):
        began = pretended.now
        assert main(command) == 0
        said = report(capsys)
        assert (said["stopped"], said["trained"]) == ("time", call * trained)
        assert pretended.now - began == SHORT * trained / workers


def test_a_call_whose_time_is_gone_before_its_first_training_trains_one_network(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pretended: Clock
) -> None:
    command = arguments(image_folder, tmp_path, "--time", "30s", "--workers", "2", "--json")
    for call in (1, 2):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("mfsearch.search.loop.check_device", lambda _: pretended.wait(40))  # a slow start
            assert main(command) == 0
        said = report(capsys)
        assert (said["stopped"], said["trained"]) == ("time", call)


def test_a_short_training_takes_the_time_that_a_longer_one_does_not_fit(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pretended: Clock
) -> None:
    """Six networks earn the first longer training of 20 s, when 15 s are left."""
    more = ("--time", "75s", "--finalists", "0", "--sampler", "random", "--json")
    assert main(arguments(image_folder, tmp_path, *more, rungs="1,3,9")) == 0
    assert report(capsys)["stopped"] == "time"
    assert [len(trial.trainings) for trial in trials_in(tmp_path)] == [1] * 7


def test_a_worker_that_finds_nothing_new_does_not_end_the_search_for_want_of_time(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pretended: Clock
) -> None:
    """From 44 s on a worker waits for the last of nine networks, which at 50 s earns a longer training of 2 s; at 49 s
    no short training would fit any more."""
    space = few_networks(tmp_path)
    more = ("--time", "55.5s", "--workers", "2", "--finalists", "0", "--space", str(space), "--json")
    assert main(arguments(image_folder, tmp_path, *more, rungs="1,1.2,9", budget="1K..100M")) == 0
    assert report(capsys)["trained"] == 9
    assert sum(len(trial.longer) for trial in trials_in(tmp_path)) == 3


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_space_that_is_used_up_ends_the_search_whatever_is_running(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pretended: Clock, workers: int
) -> None:
    """Nine networks in all: the last ask finds nothing new while the third longer training, which the ninth network
    made room for, is all that runs."""
    more = ("--space", str(few_networks(tmp_path)), "--trials", "100", "--workers", str(workers), "--json")
    assert main(arguments(image_folder, tmp_path, *more, rungs="1,2,4", budget="1K..100M")) == 0
    assert report(capsys)["stopped"] == "exhausted"
    trials = trials_in(tmp_path)
    assert len({trial.arch_id for trial in trials}) == len(trials) == 9


@pytest.mark.parametrize("workers", [1, 3])
def test_no_longer_training_comes_twice_and_the_final_waits_for_those_that_decide_it(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pretended: Clock, workers: int
) -> None:
    more = ("--trials", "30", "--sampler", "random", "--workers", str(workers), "--json")
    assert main(arguments(image_folder, tmp_path, *more, rungs="1,3,9")) == 0
    assert report(capsys)["stopped"] == "trials"
    trials = trials_in(tmp_path)
    stages = [(one.rung, trial.number, one.seed) for trial in trials for one in trial.longer]
    assert len(stages) == len(set(stages))
    assert len([s for s in stages if s[0] == 1]) >= 10
    assert next_final(standing(trials, ["top1", "madds"], Rungs()), Rungs(), [], seed=0) is None
    finals = {number: [s[2] for s in stages if s[:2] == (2, number)] for rung, number, _ in stages if rung == 2}
    assert len(finals) >= 5
    assert all(seeds == [0, 1] for seeds in finals.values())
