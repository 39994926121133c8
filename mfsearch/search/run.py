"""The search: propose, evaluate in workers, write each finished trial at once, go on where the last run stopped."""

import contextlib
import datetime
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mfsearch.data import ImageData
from mfsearch.search.evaluate import STRAY, Job
from mfsearch.search.front import front_numbers
from mfsearch.search.proposal import Proposal, Proposer, check_reachable
from mfsearch.search.settings import IDENTITY, Settings, check_same_study, make_manifest, without_password
from mfsearch.search.study import (
    JOURNAL,
    MANIFEST,
    WEIGHTS,
    DiskError,
    Ledger,
    locked,
    read_manifest,
    write_json,
)
from mfsearch.search.workers import Event, WorkerPool

MAX_LOST_IN_A_ROW = 30  # rejected or failed, before a search that trains nothing any more gives up
MAX_LOST_AT_FIRST = 12  # the same while nothing at all was trained


@dataclass(frozen=True)
class Limits:
    """When to stop: trained trials in the study as a whole, seconds of this run; workers to do it with."""

    trials: int | None
    seconds: float | None
    workers: int

    def __post_init__(self) -> None:
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"--trials must be 1 or more, got {self.trials}")
        if not 1 <= self.workers <= 256:
            raise ValueError(f"--workers must be 1 to 256, got {self.workers}")


@dataclass
class Progress:
    """What a display shows, kept up to date by the run."""

    study: str
    limits: Limits
    objectives: list[str]
    started: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    running: dict[int, tuple[Proposal, str, float]] = field(default_factory=dict)  # by worker: proposal, stage, share
    screened: int = 0
    before: int = 0  # trials that were there when this run began

    @property
    def trained(self) -> int:
        return sum(row["outcome"] == "trained" for row in self.rows)

    def seconds_left(self) -> float | None:
        """Until the stop, by this run's pace and its time limit; None before there is a pace."""
        elapsed = time.monotonic() - self.started
        left = []
        done = sum(row["outcome"] == "trained" for row in self.rows[self.before :])
        if self.limits.trials is not None and done:
            left.append((self.limits.trials - self.trained) * elapsed / done)
        if self.limits.seconds is not None:
            left.append(self.limits.seconds - elapsed)
        return max(0.0, min(left)) if left else None


class Watcher(Protocol):
    """A display. `finished` comes once a trial, `tick` about twice a second."""

    def began(self, progress: Progress, manifest: dict[str, Any]) -> None: ...

    def finished(self, progress: Progress, row: dict[str, Any]) -> None: ...

    def tick(self, progress: Progress) -> None: ...


@dataclass(frozen=True)
class RunResult:
    """How a run ended. stopped: `trials`, `time`, `interrupted`, `exhausted`, `latency` or `failing`."""

    stopped: str
    manifest: dict[str, Any]
    rows: list[dict[str, Any]]


def run_search(settings: Settings, limits: Limits, folder: Path, watcher: Watcher, storage: str | None) -> RunResult:
    """Begin or go on with the study in `folder` until a limit, Ctrl-C or the end of the space.

    Raises ValueError for settings that cannot work (before anything is written) or differ from the study's,
    StudyBusyError, DiskError, and WorkerError when no worker can start.
    """
    check_reachable(settings.space, settings.budget)
    images = settings.recipe.load_images(
        settings.data, data_dir=settings.data_dir, seed=settings.seed, download=settings.download
    )
    with locked(folder):
        manifest = _manifest(settings, images, folder, storage)
        del images  # each worker has its own
        identity = {key: manifest[key] for key in IDENTITY}
        ledger = Ledger(folder, settings.study, settings.objectives, storage, identity)
        if not (folder / MANIFEST).exists():
            write_json(folder / MANIFEST, manifest, private="@" in (storage or ""))  # the URL may hold a password
        return _Run(settings, limits, ledger, manifest, watcher).run()


def _manifest(settings: Settings, images: ImageData, folder: Path, storage: str | None) -> dict[str, Any]:
    """The study's manifest: made if it is new, compared if it is not."""
    passport = baseline_ms = None
    if settings.latency_limit_ms is not None:
        from mfsearch.cost.latency import LatencyMeter

        meter = LatencyMeter.open()
        passport, baseline_ms = meter.passport.as_dict(), meter.baseline_ms
    facts = {
        "name": images.name,
        "digest": images.digest,
        "classes": len(images.classes),
        "train_images": len(images.train_labels),
        "val_images": len(images.val_labels),
    }
    wanted = make_manifest(settings, facts, passport) | {"baseline_ms": baseline_ms}
    if (folder / MANIFEST).exists():
        manifest = read_manifest(folder)
        check_same_study(manifest, wanted)
        places = (manifest.get("storage"), storage)
        theirs, ours = (without_password(str(place or folder / JOURNAL)) for place in places)
        if theirs != ours:  # another password is no other place
            raise ValueError(
                f"study {settings.study!r} keeps its trials in {theirs}, this run says {ours}: give the same --storage"
            )
        return manifest
    return wanted | {"storage": storage, "command": without_password(shlex.join(["mfsearch", *sys.argv[1:]]))}


class _Run:
    def __init__(
        self, settings: Settings, limits: Limits, ledger: Ledger, manifest: dict[str, Any], watcher: Watcher
    ) -> None:
        self.settings, self.limits, self.ledger = settings, limits, ledger
        self.manifest, self.watcher = manifest, watcher
        self.progress = Progress(settings.study, limits, settings.objectives)
        self.proposer = Proposer(settings.space, settings.budget, settings.objectives, settings.sampler, settings.seed)
        for row in ledger.rows():
            self.proposer.learn(row)
            self.proposer.index = max(self.proposer.index, row["proposal"] + 1)
            self.progress.rows.append(row)
        self.progress.before = len(self.progress.rows)
        self.progress.front = front_numbers(self.progress.rows, settings.objectives)
        self.exhausted = False
        self.dry = False  # the last ask found nothing new: no further one before a result comes
        self.interrupted = False
        self.lost_in_a_row = 0

    def run(self) -> RunResult:
        progress = self.progress
        self.watcher.began(progress, self.manifest)
        stopped = self._reason_to_stop()
        if stopped is not None:
            return self._result(stopped)
        with self._interruptible():
            pool = WorkerPool(self.limits.workers, self._job())
            try:
                while True:
                    self._give_work(pool)
                    stopped = self._reason_to_stop()
                    if stopped is not None and (self.interrupted or not progress.running):
                        return self._result(stopped)
                    for event in pool.wait(timeout=0.5):
                        self._take(event)
                    self.watcher.tick(progress)
            finally:
                pool.close()

    def _job(self) -> Job:
        settings = self.settings
        weights = self.ledger.folder / WEIGHTS
        try:
            weights.mkdir(exist_ok=True)
        except OSError as error:
            raise DiskError(f"cannot write in {self.ledger.folder}: {error.strerror}") from None
        for stray in (*weights.glob(f"{STRAY}*"), *weights.glob("*.part")):  # of a run that was killed
            shutil.rmtree(stray) if stray.is_dir() else stray.unlink()
        return Job(
            data=settings.data,
            data_dir=settings.data_dir,
            data_digest=self.manifest["data"]["digest"],
            recipe=settings.recipe,
            latency_limit_ms=settings.latency_limit_ms,
            baseline_ms=self.manifest.get("baseline_ms"),
            device=settings.device,
            seed=settings.seed,
            weights=weights,
        )

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C ends the loop between two events, so that nothing finished is lost; a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(_signal: int, _frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _result(self, stopped: str) -> RunResult:
        return RunResult(stopped, self.manifest, self.progress.rows)

    def _reason_to_stop(self) -> str | None:
        """Why no new trial begins, or None."""
        limits, progress = self.limits, self.progress
        if self.interrupted:
            return "interrupted"
        if limits.trials is not None and progress.trained + len(progress.running) >= limits.trials:
            return "trials"
        if limits.seconds is not None and time.monotonic() - progress.started >= limits.seconds:
            return "time"
        if self.lost_in_a_row >= (MAX_LOST_IN_A_ROW if progress.trained else MAX_LOST_AT_FIRST):
            last = [row["outcome"] for row in progress.rows[-self.lost_in_a_row :]]
            return "latency" if last.count("rejected") * 2 >= len(last) else "failing"
        return "exhausted" if self.exhausted else None

    def _give_work(self, pool: WorkerPool) -> None:
        for number in pool.idle():
            if self.dry or self._reason_to_stop() is not None:
                return
            proposal = self.proposer.next()
            self.progress.screened = self.proposer.screened
            if proposal is None:
                self.dry = True  # results to come may open new ground
                self.exhausted = not self.progress.running
                return
            self.progress.running[number] = (proposal, "waiting", 0.0)
            pool.submit(number, proposal.config)

    def _take(self, event: Event) -> None:
        proposal, _, _ = self.progress.running[event.worker]
        if event.kind == "progress":
            self.progress.running[event.worker] = (proposal, event.stage, event.share)
            return
        assert event.row is not None
        del self.progress.running[event.worker]
        row = _proposed(proposal) | event.row | {"finished": _now()}
        row["number"] = self.ledger.add(row, self.proposer.choices)
        self.proposer.learn(row, proposal.shadow_number)
        self.dry = False
        self.lost_in_a_row = 0 if row["outcome"] == "trained" else self.lost_in_a_row + 1
        progress = self.progress
        progress.rows.append(row)
        progress.front = front_numbers(progress.rows, progress.objectives)
        self._drop_weights()
        self.watcher.finished(progress, row)

    def _drop_weights(self) -> None:
        """Only members of the front keep their weights: the others can be trained again in a minute."""
        kept = {row["arch_id"] for row in self.progress.rows if row["number"] in self.progress.front}
        kept |= {proposal.arch_id for proposal, _, _ in self.progress.running.values()}  # written, not yet told
        for path in (self.ledger.folder / WEIGHTS).glob("*.safetensors"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _proposed(proposal: Proposal) -> dict[str, Any]:
    """What is known of a trial before its evaluation."""
    costs = proposal.costs
    return {
        "proposal": proposal.index,
        "origin": proposal.origin,
        "params": proposal.params,
        "width": proposal.width,
        "config": proposal.config.to_dict(),
        "arch_id": proposal.arch_id,
        "madds": costs.madds,
        "macs": costs.macs,
        "num_params": costs.num_params,
        "activation_bytes": costs.activation_bytes,
        "resolution": proposal.config.resolution,
    }
