"""Worker processes: one network at a time on one thread each; a dead worker costs its trial, not the search."""

import contextlib
import multiprocessing as mp
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from mfsearch.config import MobileFormerConfig
from mfsearch.search.evaluate import Job

MAX_START_FAILURES = 2


@dataclass(frozen=True)
class Event:
    """What a worker says. kind: `progress` with stage and share, or `done` with a row."""

    worker: int
    kind: Literal["progress", "done"]
    stage: str = ""
    share: float = 0.0
    row: dict[str, Any] | None = None


class WorkerError(RuntimeError):
    """No worker can be started; the message is the first reason."""


class _Worker:
    def __init__(self, number: int, job: Job) -> None:
        context = mp.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, job, number), daemon=True)
        self.process.start()
        child.close()
        self.busy = False
        self.ready = False


class WorkerPool:
    """`count` processes; `submit` gives an idle one a network, `wait` returns what they say."""

    def __init__(self, count: int, job: Job) -> None:
        self.job = job
        self.start_failures = 0
        self.workers = [_Worker(number, job) for number in range(count)]

    def idle(self) -> list[int]:
        return [number for number, worker in enumerate(self.workers) if not worker.busy]

    def submit(self, number: int, config: MobileFormerConfig) -> None:
        worker = self.workers[number]
        worker.busy = True
        with contextlib.suppress(ConnectionError):  # its death is seen by `wait`
            worker.pipe.send(config.to_dict())

    def wait(self, timeout: float) -> list[Event]:
        """Events of the workers within `timeout` seconds; a worker that died ends its network as failed."""
        by_pipe: dict[Any, int] = {worker.pipe: number for number, worker in enumerate(self.workers)}
        events: list[Event] = []
        for pipe in wait(list(by_pipe), timeout):
            assert isinstance(pipe, Connection)
            number = by_pipe[pipe]
            try:
                while pipe.poll():
                    event = self._read(number, pipe.recv())
                    if event is not None:
                        events.append(event)
            except (EOFError, ConnectionError):
                events += self._bury(number)
        return events

    def _read(self, number: int, message: tuple[str, Any]) -> Event | None:
        worker = self.workers[number]
        kind, content = message
        if kind == "ready":
            worker.ready = True
            return None
        if kind == "unready":
            raise WorkerError(str(content))
        if kind == "progress":
            return Event(number, "progress", *content)
        worker.busy = False
        return Event(number, "done", row=content)

    def _bury(self, number: int) -> list[Event]:
        worker = self.workers[number]
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if not worker.ready:
            self.start_failures += 1
            if self.start_failures > MAX_START_FAILURES:
                raise WorkerError(f"a worker process {how} before it could begin")
        events = []
        if worker.busy:
            events.append(Event(number, "done", row={"outcome": "failed", "reason": f"its worker process {how}"}))
        worker.pipe.close()
        self.workers[number] = _Worker(number, self.job)
        return events

    def close(self) -> None:
        """End all workers at once, whatever they are doing."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()


def _follow(parent: mp.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _serve(pipe: Connection, job: Job, number: int) -> None:
    """The worker's main: one thread, deaf to Ctrl-C (the parent decides), gone when the parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = mp.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    try:
        import torch

        torch.set_num_threads(1)
        from mfsearch.search.evaluate import Evaluator

        evaluator = Evaluator(job)
    except Exception as error:
        pipe.send(("unready", f"{type(error).__name__}: {error}"))
        return
    pipe.send(("ready", None))
    while True:
        try:
            config = MobileFormerConfig.from_dict(pipe.recv())
        except EOFError:
            return
        last = 0.0

        def report(stage: str, share: float) -> None:
            nonlocal last
            now = time.monotonic()
            if share == 0 or share == 1 or now - last > 0.5:
                pipe.send(("progress", (stage, share)))
                last = now

        pipe.send(("done", evaluator.evaluate(config, report)))
