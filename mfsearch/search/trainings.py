"""Runs a list of short trainings in worker processes; a file keeps one line each, and the same call resumes."""

import contextlib
import dataclasses
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mfsearch.config import MobileFormerConfig
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.short_train import DeviceData, TrainingError, short_train
from mfsearch.references import Reference
from mfsearch.search.cutter import Cutter, ParentWeights
from mfsearch.search.pool import DeviceLostError, Pool, Report, interruptible
from mfsearch.study.files import DiskError, locked
from mfsearch.study.settings import MAX_WORKERS, check_device
from mfsearch.study.task_file import TaskFile, TaskRecord


@dataclass(frozen=True)
class Task:
    """One training. key: its name in the file, made of letters, digits and ._=+-; points: see short_train."""

    key: str
    config: MobileFormerConfig | Reference
    seed: int
    points: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,199}", self.key):
            raise ValueError(f"a task's key must be letters, digits, '.', '_', '=', '+' and '-', got {self.key!r}")

    @property
    def record(self) -> TaskRecord:
        """The task's record before training."""
        return TaskRecord(self.key, self.config.arch_id, self.seed, self.points)


@dataclass(frozen=True)
class Proxy:
    """The settings that all trainings of a file share, sent once to each worker. data_seed: of the split into training
    and validation images; it is the same for all tasks, whatever their own seed. parent: see run_tasks."""

    data: str
    data_dir: Path | None
    data_seed: int
    recipe: Recipe
    device: str
    checkpoints: Path
    parent: ParentWeights | None = None

    def load_data(self) -> DeviceData:
        """The images, on the device."""
        # damaged files were refused, or skipped with a note, before any worker began
        images = self.recipe.load_images(
            self.data, data_dir=self.data_dir, seed=self.data_seed, skip_damaged=True, notes=False
        )
        return DeviceData(images, torch.device(self.device))


Trainer = Callable[[Task], TaskRecord]  # completes the task's record; an exception becomes a failed record's reason
MakeTrainer = Callable[[Proxy], Trainer]  # called once in each worker; pickle must find it by its name


def run_tasks(
    tasks: Iterable[Task],
    *,
    data: str,
    data_dir: Path | None,
    recipe: Recipe,
    workers: int,
    path: Path,
    identity: Mapping[str, Any],
    on_done: Callable[[Task, TaskRecord], None] | None = None,
    on_tick: Callable[[], None] = lambda: None,
    data_seed: int = 0,
    device: str = "cpu",
    make_trainer: MakeTrainer | None = None,
    parent: ParentWeights | None = None,
) -> dict[str, TaskRecord]:
    """The record of every task by its key, in the order of `tasks`; only tasks that are not yet in `path` are trained.

    A training that diverges has failed for good. A training whose worker is killed is tried once more at once; if that
    fails too, or if it ends with any other error, the next call tries again. on_done is called once a record is on
    disk, on_tick twice a second. identity: plain data that all trainings of the file must share. parent: the network
    that all are cut from, None to train from first weights.

    Raises ValueError if the file has another identity (the message names each difference), if two tasks have the same
    key, or if a key already names another training; WorkerError if no worker can start; DiskError; StudyBusyError. The
    first Ctrl-C ends the workers and raises KeyboardInterrupt; everything finished is kept.
    """
    check_device(device)
    tasks = list(tasks)
    keys = [task.key for task in tasks]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"each task must have its own key, got {twice[0]!r} twice")
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"--workers must be 1 to {MAX_WORKERS}, got {workers}")
    with locked(path.parent):
        file = TaskFile(path, identity)
        for task in tasks:
            file.check(task.record)
        pending = [task for task in tasks if task.key not in file.records or file.records[task.key].retry]
        if pending:
            checkpoints = path.parent / "checkpoints"  # of unfinished trainings
            try:
                checkpoints.mkdir(exist_ok=True)
            except OSError as error:
                raise DiskError(f"cannot write in {path.parent}: {error.strerror}") from None
            proxy = Proxy(data, data_dir, data_seed, recipe, device, checkpoints, parent)
            _train_all(pending, workers, proxy, make_trainer or short_trainer, file, on_done, on_tick)
            with contextlib.suppress(OSError):
                checkpoints.rmdir()
        return {task.key: file.records[task.key] for task in tasks}


def short_trainer(proxy: Proxy) -> Trainer:
    """A trainer on the proxy's images, which are loaded once."""
    torch.set_num_threads(1)
    data = proxy.load_data()
    return lambda task: train_task(task, data, proxy)


def train_task(task: Task, data: DeviceData, proxy: Proxy, cutter: Cutter | None = None) -> TaskRecord:
    """The record of one training; it resumes from its checkpoint. cutter: of the parent, if there is one."""
    result = short_train(
        task.config,
        data,
        proxy.recipe,
        seed=task.seed,
        start=None if cutter is None or isinstance(task.config, Reference) else cutter.start(task.config),
        points=task.points,
        checkpoint=proxy.checkpoints / f"{task.key}.pt",
    )
    return dataclasses.replace(
        task.record,
        top1=result.top1,
        curve=tuple(result.curve),
        train_seconds=result.train_seconds,
        images_per_second=result.images_per_second,
    )


def _train_all(
    tasks: Sequence[Task],
    count: int,
    proxy: Proxy,
    make_trainer: MakeTrainer,
    file: TaskFile,
    on_done: Callable[[Task, TaskRecord], None] | None,
    on_tick: Callable[[], None],
) -> None:
    """Train the tasks in order on `count` processes and keep each record, trained or failed."""
    pending = deque(tasks)
    running: dict[int, Task] = {}
    lost: set[str] = set()  # keys of tasks that lost their worker once
    job = (make_trainer, proxy)
    with interruptible() as interrupted, contextlib.closing(Pool(min(count, len(tasks)), _make_worker, job)) as pool:
        while pending or running:
            if interrupted():
                raise KeyboardInterrupt
            for number in pool.idle()[: len(pending)]:
                running[number] = pending.popleft()
                pool.submit(number, running[number])
            on_tick()
            for event in pool.wait(timeout=0.5):
                task = running.pop(event.worker)
                if event.result is None and task.key not in lost:
                    lost.add(task.key)
                    pending.appendleft(task)
                    continue
                result = event.result or _failed(task, f"its worker process {event.how}, twice", retry=True)
                record = file.add(result)
                if on_done is not None:
                    on_done(task, record)
                for name in (f"{task.key}.pt", f"{task.key}.pt.part"):
                    (proxy.checkpoints / name).unlink(missing_ok=True)


def _make_worker(job: tuple[MakeTrainer, Proxy]) -> Callable[[Task, Report], TaskRecord]:
    """A worker function that turns a trainer's errors into records."""
    make_trainer, proxy = job
    train = make_trainer(proxy)

    def work(task: Task, _report: Report) -> TaskRecord:
        try:
            return train(task)
        except TrainingError as error:
            return _failed(task, str(error))
        except Exception as error:  # such as out of memory: not the network's fault, so the next call retries
            words = str(error).partition("\n")[0] or "no message"
            record = _failed(task, f"{type(error).__name__}: {words}", retry=True)
            if proxy.device != "cpu" and not isinstance(error, torch.OutOfMemoryError):
                raise DeviceLostError(record) from error
            return record

    return work


def _failed(task: Task, reason: str, *, retry: bool = False) -> TaskRecord:
    return dataclasses.replace(task.record, outcome="failed", reason=reason, retry=retry)
