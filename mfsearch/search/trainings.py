"""A list of short trainings, run by worker processes and kept one JSON line each; the same call again goes on.

The file's first line says which settings all its trainings share; every further line is one finished training. Only
`run_tasks` writes it, under the lock of its folder. Half-done trainings lie as checkpoints beside it.
"""

import contextlib
import dataclasses
import datetime
import json
import multiprocessing as mp
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from mfsearch.config import MobileFormerConfig
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.short_train import DeviceData, TrainingError, short_train
from mfsearch.search.processes import deaf_to_interrupts, interruptible, serve_parent
from mfsearch.search.workers import MAX_START_FAILURES, WorkerError
from mfsearch.study.files import DiskError, locked, versions

SCHEMA = 1
CHECKPOINTS = "checkpoints"
MAX_WORKERS = 256

Record = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One training. key names it in the file: letters, digits, '.', '_', '=', '+' and '-'. points: see short_train."""

    key: str
    config: MobileFormerConfig
    seed: int
    points: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Proxy:
    """What all trainings of a file share, sent once to each worker. data_seed: of the split into training and
    validation images, the same for all, whatever a task's own seed."""

    data: str
    data_dir: Path | None
    data_seed: int
    recipe: Recipe
    device: str
    checkpoints: Path


Trainer = Callable[[Task], Record]  # what it returns enters the record: top1, curve; what it raises is the reason
MakeTrainer = Callable[[Proxy], Trainer]  # called once in each worker, so a function that pickle finds by its name


def run_tasks(
    tasks: Iterable[Task],
    *,
    data: str,
    data_dir: Path | None,
    recipe: Recipe,
    workers: int,
    path: Path,
    identity: Mapping[str, Any],
    on_done: Callable[[Task, Record], None] | None = None,
    data_seed: int = 0,
    device: str = "cpu",
    make_trainer: MakeTrainer | None = None,
) -> dict[str, Record]:
    """The record of every task by its key, in the order of `tasks`; only those not yet in `path` are trained.

    A record holds key, arch_id, seed, points, outcome ("trained" or "failed"), reason, finished, and for a trained one
    top1, curve, train_seconds and images_per_second. A training that diverges is a record
    and is not tried again; one whose worker was killed is tried once more at once; it and one that ended with another
    error are tried again by the next call. on_done is called after a record is
    on the disk. identity: plain data that all trainings of the file must share.

    Raises ValueError for another identity than the file's (each difference named), for two tasks of one key, and for a
    key that holds another network; WorkerError where no worker can start; DiskError; StudyBusyError. The first Ctrl-C
    ends the workers and raises KeyboardInterrupt with everything finished kept.
    """
    tasks = list(tasks)
    _check_tasks(tasks)
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"--workers must be 1 to {MAX_WORKERS}, got {workers}")
    with locked(path.parent):
        ledger = _Ledger(path, identity)
        for task in tasks:
            ledger.check(task)
        pending = [task for task in tasks if task.key not in ledger.records or ledger.records[task.key].get("retry")]

        def keep(task: Task, result: Record) -> None:
            record = ledger.add(task, result)
            if on_done is not None:
                on_done(task, record)

        if pending:
            checkpoints = path.parent / CHECKPOINTS
            try:
                checkpoints.mkdir(exist_ok=True)
            except OSError as error:
                raise DiskError(f"cannot write in {path.parent}: {error.strerror}") from None
            proxy = Proxy(data, data_dir, data_seed, recipe, device, checkpoints)
            _train_all(pending, workers, proxy, make_trainer or short_trainer, keep)
            with contextlib.suppress(OSError):
                checkpoints.rmdir()
        return {task.key: ledger.records[task.key] for task in tasks}


def read_trainings(path: Path) -> tuple[dict[str, Any], dict[str, Record]]:
    """Identity and records of a file, by key; also while it is being written: half a line at its end is no record."""
    identity, records, _ = _read(path)
    return identity, records


def short_trainer(proxy: Proxy) -> Trainer:
    """short_train on the proxy's images, loaded once; a training cut by a kill goes on from its checkpoint."""
    torch.set_num_threads(1)
    images = proxy.recipe.load_images(proxy.data, data_dir=proxy.data_dir, seed=proxy.data_seed)
    data = DeviceData(images, torch.device(proxy.device))

    def train(task: Task) -> Record:
        checkpoint = proxy.checkpoints / f"{task.key}.pt"
        result = short_train(task.config, data, proxy.recipe, seed=task.seed, points=task.points, checkpoint=checkpoint)
        return {
            "top1": result.top1,
            "curve": [dataclasses.asdict(log) for log in result.curve],
            "train_seconds": result.train_seconds,
            "images_per_second": result.images_per_second,
        }

    return train


def _check_tasks(tasks: Sequence[Task]) -> None:
    seen = set()
    for task in tasks:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,199}", task.key):
            raise ValueError(f"a task's key must be letters, digits, '.', '_', '=', '+' and '-', got {task.key!r}")
        if task.key in seen:
            raise ValueError(f"two tasks have the key {task.key!r}")
        seen.add(task.key)


class _Ledger:
    """The file, open for writing by the one process that holds the folder's lock."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        wanted = json.loads(json.dumps(dict(identity)))  # as it reads back: tuples are lists
        try:
            kept, self.records, whole = _read(path) if path.exists() else ({}, {}, 0)
            if path.exists():
                os.truncate(path, whole)  # half a line of a kill
            if whole == 0:
                self._append({"schema": SCHEMA, "identity": wanted, "created": _now(), "versions": versions()})
                return
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror}") from None
        differences = list(_differences("", kept, wanted))
        if differences:
            lines = "\n  ".join(differences)
            raise ValueError(
                f"{path} was begun with other settings:\n  {lines}\ngive its settings again or another name"
            )

    def check(self, task: Task) -> None:
        """ValueError where the task's key already names another training."""
        record = self.records.get(task.key)
        facts = _facts(task)
        for name in ("arch_id", "seed", "points"):
            if record is not None and record.get(name) != facts[name]:
                theirs, ours = record.get(name), facts[name]
                raise ValueError(f"{self.path}: training {task.key} has {name} {theirs}, this run says {ours}")

    def add(self, task: Task, result: Record) -> Record:
        record = _facts(task) | {"outcome": "trained", "reason": None} | result | {"finished": _now()}
        try:
            self._append(record)
        except OSError as error:
            raise DiskError(f"cannot write {self.path}: {error.strerror}") from None
        self.records[task.key] = record
        return record

    def _append(self, line: dict[str, Any]) -> None:
        """One whole line, on the disk when this returns, or none."""
        text = json.dumps(line) + "\n"
        with self.path.open("ab") as file:
            size = file.seek(0, os.SEEK_END)
            try:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self.path, size)
                raise


def _facts(task: Task) -> Record:
    points = None if task.points is None else list(task.points)
    return {"key": task.key, "arch_id": task.config.arch_id, "seed": task.seed, "points": points}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Record], int]:
    """Identity, records by key (the last of a key counts) and the bytes of whole lines."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    whole = content.rfind(b"\n") + 1
    rows = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number} is not JSON: {error}") from None
        if not isinstance(row, dict) or ("identity" if number == 1 else "key") not in row:
            raise ValueError(f"{path}:{number} is no line of a file of trainings")
        rows.append(row)
    if rows and rows[0].get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema must be {SCHEMA}, got {rows[0].get('schema')!r}: another version of mfsearch")
    identity = rows[0]["identity"] if rows else {}
    return identity, {row["key"]: row for row in rows[1:]}, whole


def _differences(name: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(f"{name}.{key}".strip("."), old.get(key), new.get(key))
    elif old != new:
        yield f"{name}: the file has {old}, this run says {new}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class _Worker:
    def __init__(self, proxy: Proxy, make_trainer: MakeTrainer) -> None:
        context = mp.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, proxy, make_trainer), daemon=True)
        with deaf_to_interrupts():
            self.process.start()
        child.close()
        self.ready = False
        self.task: Task | None = None


def _train_all(
    tasks: Sequence[Task],
    count: int,
    proxy: Proxy,
    make_trainer: MakeTrainer,
    keep: Callable[[Task, Record], None],
) -> None:
    """Train the tasks in their order on `count` processes; `keep` gets each result, trained or failed."""
    pending = deque(tasks)
    killed: set[str] = set()  # their worker died once
    start_failures, start_reason = 0, ""
    workers: list[_Worker] = []

    def finish(task: Task, result: Record) -> None:
        keep(task, result)
        for name in (f"{task.key}.pt", f"{task.key}.pt.part"):
            (proxy.checkpoints / name).unlink(missing_ok=True)

    with interruptible() as interrupted:
        try:
            while pending or any(worker.task for worker in workers):
                if interrupted():
                    raise KeyboardInterrupt
                if start_failures > MAX_START_FAILURES:
                    raise WorkerError(f"no worker can start: {start_reason}")
                busy = sum(worker.task is not None for worker in workers)
                while len(workers) < min(count, busy + len(pending)):
                    workers.append(_Worker(proxy, make_trainer))
                for pipe in wait([worker.pipe for worker in workers], timeout=0.5):
                    worker = next(one for one in workers if one.pipe is pipe)
                    try:
                        kind, content = worker.pipe.recv()
                    except (EOFError, OSError):  # closed, or cut in the middle of a message
                        how = _bury(worker)
                        workers.remove(worker)
                        if not worker.ready:
                            start_failures += 1
                            start_reason = start_reason or f"a worker process {how}"
                        elif worker.task is not None and worker.task.key not in killed:
                            killed.add(worker.task.key)
                            pending.appendleft(worker.task)
                        elif worker.task is not None:
                            reason = f"its worker process {how}, twice"
                            finish(worker.task, {"outcome": "failed", "reason": reason, "retry": True})
                        continue
                    if kind == "unready":  # it ends now; the EOF counts it
                        start_reason = content
                        continue
                    if kind == "ready":
                        worker.ready, start_failures = True, 0
                    else:
                        assert worker.task is not None
                        task, worker.task = worker.task, None
                        finish(task, content)
                for worker in workers:
                    if worker.ready and worker.task is None and pending:
                        worker.task = pending.popleft()
                        with contextlib.suppress(OSError):  # its death is seen by `wait`
                            worker.pipe.send(worker.task)
        finally:
            for worker in workers:
                worker.process.terminate()
            for worker in workers:
                _bury(worker)


def _bury(worker: _Worker) -> str:
    """Wait for the end of a process that is ending, and say how it ended."""
    worker.process.join(timeout=5)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    worker.pipe.close()
    code = worker.process.exitcode or 0
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _serve(pipe: Any, proxy: Proxy, make_trainer: MakeTrainer) -> None:
    """The worker's main: deaf to Ctrl-C (the parent decides), gone when the parent is."""
    serve_parent()
    try:
        train = make_trainer(proxy)
    except Exception as error:
        pipe.send(("unready", f"{type(error).__name__}: {error}"))
        return
    pipe.send(("ready", None))
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        broken = False
        try:
            result = train(task)
        except TrainingError as error:
            result = {"outcome": "failed", "reason": str(error)}
        except Exception as error:  # out of memory, a full disk: no word on the network, so the next call tries again
            words = str(error).partition("\n")[0] or "no message"
            result = {"outcome": "failed", "reason": f"{type(error).__name__}: {words}", "retry": True}
            broken = proxy.device != "cpu" and not isinstance(error, torch.OutOfMemoryError)
        pipe.send(("done", result))
        if broken:  # the device is lost to this process; a new one takes its place
            return
