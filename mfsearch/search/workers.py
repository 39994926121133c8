"""Worker processes: one network at a time on one thread each; a dead worker costs its trial, not the search."""

import contextlib
import multiprocessing as mp
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Literal

from mfsearch.search.evaluate import Job, TrialResult, Work
from mfsearch.search.processes import deaf_to_interrupts, serve_parent

MAX_START_FAILURES = 2  # in a row, before the search gives up


@dataclass(frozen=True)
class Event:
    """What a worker says. kind: `progress` with stage and share, or `done` with a row."""

    worker: int
    kind: Literal["progress", "done"]
    stage: str = ""
    share: float = 0.0
    row: TrialResult | None = None
    killed: bool = False


class WorkerError(RuntimeError):
    """No worker can be started; the message is the last reason."""


class _Worker:
    def __init__(self, job: Job) -> None:
        context = mp.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, job), daemon=True)
        with deaf_to_interrupts():
            self.process.start()
        child.close()
        self.busy = False
        self.ready = False


class WorkerPool:
    """`count` processes; `submit` gives an idle one a network, `wait` returns what they say."""

    def __init__(self, count: int, job: Job) -> None:
        self.job = job
        self.start_failures = 0
        self.start_reason = ""
        self.workers = [_Worker(job) for _ in range(count)]

    def idle(self) -> list[int]:
        """Numbers of the workers that are ready for a network."""
        return [number for number, worker in enumerate(self.workers) if worker.ready and not worker.busy]

    def submit(self, number: int, work: Work) -> None:
        worker = self.workers[number]
        worker.busy = True
        with contextlib.suppress(OSError):  # its death is seen by `wait`
            worker.pipe.send(work)

    def wait(self, timeout: float) -> list[Event]:
        """Events of the workers within `timeout` seconds; a worker that died ends its network as failed.

        Raises WorkerError once workers failed to start too often in a row.
        """
        if self.start_failures > MAX_START_FAILURES:
            raise WorkerError(f"no worker can start: {self.start_reason}")
        by_pipe: dict[Any, int] = {worker.pipe: number for number, worker in enumerate(self.workers)}
        events: list[Event] = []
        for pipe in wait(list(by_pipe), timeout):
            number = by_pipe[pipe]
            try:
                while self.workers[number].pipe.poll():
                    events += self._read(number, self.workers[number].pipe.recv())
            except (EOFError, OSError):  # closed, or cut in the middle of a message
                events += self._bury(number)
        return events

    def _read(self, number: int, message: tuple[str, Any]) -> list[Event]:
        worker = self.workers[number]
        kind, content = message
        if kind == "ready":
            worker.ready = True
            self.start_failures = 0
        elif kind == "unready":  # it ends now; `_bury` counts it
            self.start_reason = str(content)
        elif kind == "progress":
            return [Event(number, "progress", *content)]
        else:
            worker.busy = False
            return [Event(number, "done", row=content)]
        return []

    def _bury(self, number: int) -> list[Event]:
        worker = self.workers[number]
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if not worker.ready:
            self.start_failures += 1
            self.start_reason = self.start_reason or f"a worker process {how}"
        events = []
        if worker.busy:
            row = TrialResult("failed", f"its worker process {how}")
            events.append(Event(number, "done", row=row, killed=True))
        worker.pipe.close()
        self.workers[number] = _Worker(self.job)
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


def _serve(pipe: Any, job: Job) -> None:
    """The worker's main: one thread, deaf to Ctrl-C (the parent decides), gone when the parent is."""
    serve_parent()
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
            work = pipe.recv()
        except EOFError:
            return
        last = 0.0

        def report(stage: str, share: float) -> None:
            nonlocal last
            now = time.monotonic()
            if share in (0, 1) or now - last > 0.5:
                pipe.send(("progress", (stage, share)))
                last = now

        row = evaluator.evaluate(work, report)
        pipe.send(("done", row))
        if evaluator.broken:  # the device is lost to this process; a new one takes its place
            return
