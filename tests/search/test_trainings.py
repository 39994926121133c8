"""The list of trainings: kept line by line, gone on with, and what becomes of failures, kills and Ctrl-C."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mfsearch.config import MobileFormerConfig
from mfsearch.presets import PRESETS
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.short_train import TrainingError
from mfsearch.search.pool import WorkerError
from mfsearch.search.trainings import Proxy, Task, Trainer, run_tasks
from mfsearch.study.task_file import TaskRecord, read_trainings

MF_26M = PRESETS["mf-26m"]
RECIPE = Recipe(resolution=32, epochs=1)
IDENTITY = {"data": {"name": "digits", "digest": "00"}, "recipe": {"epochs": 1, "lr": 0.1}}


def easy(_proxy: Proxy) -> Trainer:
    """top1 is a hundredth of the seed; seed 7 diverges, seed 8 is a bug."""

    def train(task: Task) -> TaskRecord:
        if task.seed == 7:
            raise TrainingError("training diverged: loss is nan at step 3 of 9")
        if task.seed == 8:
            raise KeyError("missing\nsecond line")
        return dataclasses.replace(task.record, top1=task.seed / 100)

    return train


def deadly(proxy: Proxy) -> Trainer:
    """Seed 9 kills its process every time, seed 5 the first time alone."""

    def train(task: Task) -> TaskRecord:
        mark = proxy.checkpoints / f"{task.key}.pt"
        if task.seed == 9 or (task.seed == 5 and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return dataclasses.replace(task.record, top1=task.seed / 100)

    return train


def unready(_proxy: Proxy) -> Trainer:
    raise RuntimeError("no images today")


def slow(_proxy: Proxy) -> Trainer:
    def train(task: Task) -> TaskRecord:
        time.sleep(0.0 if task.seed < 2 else 60)
        return dataclasses.replace(task.record, top1=0.5)

    return train


def tasks(*seeds: int, config: MobileFormerConfig = MF_26M) -> list[Task]:
    return [Task(f"{config.arch_id}-{seed}", config, seed) for seed in seeds]


def run(
    path: Path,
    todo: list[Task],
    make_trainer: Callable[[Proxy], Trainer] = easy,
    identity: dict[str, Any] = IDENTITY,
    on_done: Callable[[Task, TaskRecord], None] | None = None,
) -> dict[str, TaskRecord]:
    settings = {"data": "digits", "data_dir": None, "recipe": RECIPE, "workers": 1}
    return run_tasks(
        todo,
        path=path,
        identity=identity,
        on_done=on_done,
        make_trainer=make_trainer,
        **settings,  # type: ignore[arg-type]
    )


def test_every_training_is_a_line_and_the_same_call_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t" / "trainings.jsonl"
    told: list[int] = []
    first = run(path, tasks(1, 7, 8), on_done=lambda task, _record: told.append(task.seed))
    assert told == [1, 7, 8]
    assert [(row.outcome, row.reason) for row in first.values()] == [
        ("trained", None),
        ("failed", "training diverged: loss is nan at step 3 of 9"),
        ("failed", "KeyError: 'missing\\nsecond line'"),
    ]
    assert first[f"{MF_26M.arch_id}-1"].top1 == 0.01
    lines = path.read_text().splitlines()
    assert json.loads(lines[0])["identity"] == IDENTITY
    assert len(lines) == 4

    told.clear()
    again = run(path, tasks(7, 1, 8, 2), on_done=lambda task, _record: told.append(task.seed))
    assert told == [8, 2]  # what diverged is not tried again; an error says nothing of the network
    assert [row.seed for row in again.values()] == [7, 1, 8, 2]
    assert path.read_text().splitlines()[:4] == lines
    assert read_trainings(path) == (IDENTITY, first | again)


def test_half_a_line_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "trainings.jsonl"
    run(path, tasks(1, 2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert [row.seed for row in read_trainings(path)[1].values()] == [1]
    told: list[int] = []
    run(path, tasks(1, 2), on_done=lambda task, _record: told.append(task.seed))
    assert told == [2]
    assert len(path.read_text().splitlines()) == 3
    path.write_bytes(whole[:20])  # not even the first line is whole
    run(path, tasks(1))
    assert read_trainings(path)[0] == IDENTITY


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "trainings.jsonl"
    run(path, [])
    other = {"data": {"name": "digits", "digest": "11"}, "recipe": {"epochs": 2, "lr": 0.1}}
    with pytest.raises(
        ValueError, match=r"(?s)data\.digest: the file has 00, this run says 11.*recipe\.epochs: .*1.*2"
    ):
        run(path, [], identity=other)
    path.write_bytes(path.read_bytes() + b"{]\n")
    with pytest.raises(ValueError, match="trainings.jsonl:2 is not JSON"):
        run(path, [])


def test_a_key_names_one_training(tmp_path: Path) -> None:
    path = tmp_path / "trainings.jsonl"
    with pytest.raises(ValueError, match="each task must have its own key"):
        run(path, [*tasks(1), *tasks(1)])
    with pytest.raises(ValueError, match="a task's key must be letters"):
        run(path, [Task("../up", MF_26M, 0)])
    run(path, tasks(1))
    key = f"{MF_26M.arch_id}-1"
    with pytest.raises(ValueError, match=f"training {key} has seed 1, this run says 2"):
        run(path, [Task(key, MF_26M, 2)])
    with pytest.raises(ValueError, match=f"training {key} has arch_id"):
        run(path, [Task(key, PRESETS["mf-52m"], 1)])
    with pytest.raises(ValueError, match=rf"training {key} has points None, this run says \[0\.5, 1\.0\]"):
        run(path, [dataclasses.replace(tasks(1)[0], points=(0.5, 1.0))])


def test_a_killed_worker_costs_one_retry_then_its_training_alone(tmp_path: Path) -> None:
    path = tmp_path / "trainings.jsonl"
    rows = list(run(path, tasks(5, 9, 1), make_trainer=deadly).values())
    assert [row.outcome for row in rows] == ["trained", "failed", "trained"]
    assert rows[1].reason == "its worker process was killed by signal 9, twice"
    assert not (tmp_path / "checkpoints").exists()
    again = run(path, tasks(5, 9, 1))  # this time nothing kills it
    assert [row.outcome for row in again.values()] == ["trained"] * 3


def test_no_worker_that_starts_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="no worker can start: RuntimeError: no images today"):
        run(tmp_path / "trainings.jsonl", tasks(1), make_trainer=unready)


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "trainings.jsonl"
    code = f"from tests.search.test_trainings import *; run(Path({str(path)!r}), tasks(0, 1, 2, 3), slow)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (path.exists() and len(path.read_text().splitlines()) == 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert [row.seed for row in read_trainings(path)[1].values()] == [0, 1]
