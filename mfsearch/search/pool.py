"""Worker processes with one piece of work each; if a process dies, only its piece of work is lost."""

import contextlib
import multiprocessing as mp
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, TypeVar

MAX_START_FAILURES = 2  # in a row, before the pool gives up
_MAIN_LOCK = threading.Lock()
GRACE_SECONDS = 5.0  # for a process to end before it is killed

J = TypeVar("J")  # the shared settings, sent once to each worker
W = TypeVar("W")  # one piece of work
R = TypeVar("R")  # its result

Report = Callable[[str, float], None]  # stage ("latency", "checking", "training"), share done
MakeWorker = Callable[[J], Callable[[W, Report], R]]  # called in the process; pickle must find it by its name


class WorkerError(RuntimeError):
    """No worker can be started; the message is the last reason."""


class DeviceLostError(RuntimeError):
    """Raised with its result by a worker whose process cannot continue; a new process replaces it."""


@dataclass(frozen=True)
class Event(Generic[R]):
    """News of a worker: `progress` with stage and share, `done` with its result, or `lost`.

    how: the end of a lost worker's process, such as "was killed by signal 9".
    """

    worker: int
    kind: Literal["progress", "done", "lost"]
    stage: str = ""
    share: float = 0.0
    result: R | None = None
    how: str = ""


class Pool(Generic[W, R]):
    """`count` worker processes. `submit` gives an idle one work; `wait` returns events and replaces dead processes."""

    def __init__(self, count: int, make_worker: MakeWorker[J, W, R], job: J) -> None:
        self._start = pickle.dumps((make_worker, job))
        self._failures, self._reason = 0, ""  # failed starts since a worker was last ready
        self._workers = [_Process(self._start) for _ in range(count)]

    def idle(self) -> list[int]:
        """Numbers of the workers that are ready for work."""
        return [number for number, worker in enumerate(self._workers) if worker.ready and not worker.busy]

    def submit(self, number: int, work: W) -> None:
        """Give an idle worker its work; if the worker has died, `wait` reports it."""
        self._workers[number].busy = True
        with contextlib.suppress(OSError):
            self._workers[number].pipe.send(work)

    def wait(self, timeout: float) -> list[Event[R]]:
        """Return events as soon as there are any, at most `timeout` seconds later.

        Raises WorkerError after too many failed starts in a row.
        """
        if self._failures > MAX_START_FAILURES:
            raise WorkerError(f"no worker can start: {self._reason}")
        numbers = {worker.pipe: number for number, worker in enumerate(self._workers)}
        events: list[Event[R]] = []
        for pipe in wait(list(numbers), timeout):
            assert isinstance(pipe, Connection)
            try:
                while not pipe.closed and pipe.poll():
                    events += self._read(numbers[pipe], *pipe.recv())
            except (EOFError, OSError):  # closed, or cut within a message
                events += self._replace(numbers[pipe])
        return events

    def close(self) -> None:
        """Terminate all workers, busy or not, and kill those that do not end in time."""
        for worker in self._workers:
            worker.process.terminate()
        end = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            worker.end(max(0.0, end - time.monotonic()))
        self._workers = []

    def _read(self, number: int, kind: str, content: Any) -> list[Event[R]]:
        worker = self._workers[number]
        if kind == "ready":
            worker.ready = True
            self._failures, self._reason = 0, ""
        elif kind == "unready":  # the process ends now; `_replace` counts it
            self._reason = content
        elif kind == "progress":
            return [Event(number, "progress", *content)]
        else:
            worker.busy = False
            if kind == "last":  # the process ends now
                self._replace(number)
            return [Event(number, "done", result=content)]
        return []

    def _replace(self, number: int) -> list[Event[R]]:
        worker = self._workers[number]
        how = worker.end(GRACE_SECONDS)
        if not worker.ready:
            self._failures += 1
            self._reason = self._reason or f"a worker process {how}"
        try:
            self._workers[number] = _Process(self._start)
        except OSError as error:  # the system starts no more processes; the next `wait` says so
            self._failures, self._reason = MAX_START_FAILURES + 1, str(error)
        return [Event(number, "lost", how=how)] if worker.busy else []


class _Process:
    def __init__(self, start: bytes) -> None:
        context = mp.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, start), daemon=True)
        # Ctrl-C is ignored from birth: the terminal sends it to the whole group
        with _interrupts(signal.SIG_IGN), _hidden_main(start):
            self.process.start()
        child.close()
        self.ready = self.busy = False

    def end(self, grace_seconds: float) -> str:
        """Wait for a process that is ending, kill it if it does not, and say how it ended."""
        self.process.join(grace_seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(GRACE_SECONDS)
        self.pipe.close()
        code = self.process.exitcode or 0
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _serve(pipe: Connection, start: bytes) -> None:
    """The worker's main function. It ignores Ctrl-C (the parent decides) and ends when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        make_worker, job = pickle.loads(start)
        do = make_worker(job)
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

        try:
            pipe.send(("done", do(work, report)))
        except DeviceLostError as lost:
            pipe.send(("last", lost.args[0]))
            return


@contextlib.contextmanager
def _hidden_main(start: bytes) -> Iterator[None]:
    """A process that starts does not run the main script again, so that a script needs no guard around its search.

    Where the workers need something that the script defines, it runs again.
    """
    main = vars(sys.modules["__main__"])
    names: tuple[str, ...] = () if b"__main__" in start else ("__spec__", "__file__")
    with _MAIN_LOCK:  # two threads may each run a search
        hidden = {name: main[name] for name in names if name in main}
        main.update(dict.fromkeys(hidden))
        try:
            yield
        finally:
            main.update(hidden)


def _follow_parent() -> None:
    parent = mp.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C was pressed. The loop can then end between two results, so nothing
    finished is lost; a second Ctrl-C raises KeyboardInterrupt at once."""
    pressed = False

    def note(_signal: int, _frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    with _interrupts(note):
        yield lambda: pressed


@contextlib.contextmanager
def _interrupts(handler: Callable[[int, Any], None] | signal.Handlers) -> Iterator[None]:
    """Send Ctrl-C to `handler`; does nothing outside the main thread, where Python does not allow it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
