"""The search: propose, evaluate in workers, write each finished trial at once, go on where the last run stopped."""

import contextlib
import dataclasses
import datetime
import itertools
import json
import operator
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import Prediction
from mfsearch.cost.runner import Runner
from mfsearch.data import ImageData
from mfsearch.proxy.short_train import CHECKPOINT_SECONDS
from mfsearch.search.calibration_file import find_calibration, trust_line
from mfsearch.search.evaluate import STRAY, Job, Work, kept_meter, make_evaluator
from mfsearch.search.front import contenders
from mfsearch.search.pool import Event, Pool, interruptible
from mfsearch.search.progress import TRAINED, Limits, Progress, Running, Watcher
from mfsearch.search.proposal import Proposal, Proposer, check_reachable
from mfsearch.search.remeasure import measure_front
from mfsearch.search.rungs import (
    READINGS,
    Promotion,
    Stop,
    finalists,
    measured_again,
    merged,
    next_final,
    next_promotion,
    quota,
    ranking,
    score_at,
    short_row,
    stop_rule,
    told,
)
from mfsearch.search.settings import IDENTITY, Settings, check_same_study, make_manifest
from mfsearch.study.files import DiskError, locked, without_password, write_json
from mfsearch.study.ledger import CHECKPOINTS, JOURNAL, MANIFEST, WEIGHTS, Ledger, read_manifest, read_trials

TAUGHT = 64  # best trials of another study that are kept as its lesson
FINALS = ("trials", "exhausted", "time", "latency", "failing")  # ends of the proposing that a final follows
LONGER = ("top1", "reason", "epochs", "curve", "train_seconds", "weights_lost")  # what is kept of a longer training
SPARE = 5  # checkpoints kept below those that go on: later results may let them up
RUNNING = "running.json"  # the proposals that are being tried
FINAL_SHARE = 0.5  # of a time limit, at most, is left for the final
MAX_LOST_IN_A_ROW = 30  # rejected or failed, before a search that trains nothing any more gives up
MAX_LOST_AT_FIRST = 12  # the same while nothing at all was trained and no prediction gives hope


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
        identity = {key: manifest.get(key) for key in (*IDENTITY, "passport")}
        ledger = Ledger(folder, settings.study, settings.objectives, storage, identity)
        if not (folder / MANIFEST).exists():
            write_json(folder / MANIFEST, manifest, private="@" in (storage or ""))  # the URL may hold a password
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # of a study that is gone
        trust = _trust(settings, folder.parent, manifest["data"]["digest"])
        return _Run(settings, limits, ledger, manifest, watcher, trust).run()


def _manifest(settings: Settings, images: ImageData, folder: Path, storage: str | None) -> dict[str, Any]:
    """The study's manifest: made if it is new, compared if it is not."""
    passport, baseline_ms = _latency_device(settings)
    facts = images.facts()
    wanted = make_manifest(settings, facts, passport) | {
        "baseline_ms": baseline_ms,
        "normalisation": {"mean": list(images.mean), "std": list(images.std)},
        "class_names": list(images.classes),
    }
    if (folder / MANIFEST).exists():
        manifest = read_manifest(folder)
        try:
            check_same_study(manifest, wanted)
        except ValueError as error:
            if storage is None and not read_trials(folder):
                raise ValueError(f"{error}\n(it has no trials: delete {folder} to begin it anew)") from None
            raise
        taught = (manifest.get("from") or {}).get("study")
        if settings.start_from is not None and settings.start_from.name != taught:
            raise ValueError(
                f"study {settings.study!r} was begun with --from {taught or 'nothing'}, this run says "
                f"{settings.start_from.name}: leave --from out or give another name with --study"
            )
        places = (manifest.get("storage"), storage)
        theirs, ours = (without_password(str(place or folder / JOURNAL)) for place in places)
        if theirs != ours:  # another password is no other place
            raise ValueError(
                f"study {settings.study!r} keeps its trials in {theirs}, this run says {ours}: give the same --storage"
            )
        return manifest
    start = {"from": _taught(settings)} if settings.start_from is not None else {}
    return wanted | start | {"storage": storage, "command": without_password(shlex.join(["mfsearch", *sys.argv[1:]]))}


def _latency_device(settings: Settings) -> tuple[dict[str, Any] | None, float | None]:
    """The passport of the device that latencies belong to and the reference network's milliseconds there; a user's
    runner that does not work ends the run here, before anything is trained."""
    if settings.latency_limit_ms is None:
        return None, None
    from mfsearch.cost.meter import LatencyMeter, reference_onnx

    if settings.runner is None:
        meter = LatencyMeter.open()
        return meter.passport.as_dict(), meter.baseline_ms
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        path = Path(folder) / "reference.onnx"
        path.write_bytes(reference_onnx())
        found = settings.runner.measure(path)
    return {"device": found.device}, found.latency_ms


def _trust(settings: Settings, results: Path, data_digest: str) -> str:
    """What a calibration says of the ranking, as a sentence; none that cannot be read stops a search."""
    try:
        found = find_calibration(results, settings.space.digest, data_digest, settings.recipe, settings.budget)
    except ValueError as error:
        return f"ranking   {error}"
    return trust_line(found, epochs=settings.recipe.epochs, reading=settings.rungs.rank_by)


def _taught(settings: Settings) -> dict[str, Any]:
    """What another study's best networks are, kept in the manifest: that study may go on or be deleted."""
    assert settings.start_from is not None
    manifest = read_manifest(settings.start_from)
    theirs, ours = manifest["space"]["knobs"], {knob.name: list(knob.choices) for knob in settings.space.knobs}
    if theirs != ours:
        raise ValueError(
            f"--from {settings.start_from.name}: its space {manifest['space']['name']} has other knobs than "
            f"{settings.space.name}"
        )
    fields = ("number", "origin", "params", "outcome", "top1", "madds", "arch_id")
    best = ranking(read_trials(settings.start_from), ["top1", "madds"], 0)[:TAUGHT]
    return {
        "study": settings.start_from.name,
        "trials": [{name: row[name] for name in fields} for row in map(told, best)],
    }


class _Run:
    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        ledger: Ledger,
        manifest: dict[str, Any],
        watcher: Watcher,
        trust: str,
    ) -> None:
        self.settings, self.limits, self.ledger = settings, limits, ledger
        self.manifest, self.watcher = manifest, watcher
        self.progress = Progress(settings.study, limits, settings.objectives, settings.rungs, trust)
        self.proposer = Proposer(
            settings.space,
            settings.budget,
            settings.objectives,
            settings.sampler,
            settings.seed,
            settings.latency_limit_ms,
        )
        if manifest.get("from") is not None:
            self.proposer.transfer(manifest["from"]["trials"], manifest["from"]["study"])
        for row in ledger.rows():
            self.proposer.learn(told(row))
            self.proposer.index = max(self.proposer.index, row["proposal"] + 1)
            self.progress.rows.append(row)
        self.again = self._unfinished()
        self.progress.before = len(self.progress.rows)
        self.progress.rank()
        self.final_for_time = False  # once it has begun nothing new is proposed
        self.exhausted = False
        self.dry = False  # the last ask found nothing new: no further one before a result comes
        self.interrupted: Callable[[], bool] = lambda: False
        outcomes = [row["outcome"] in TRAINED for row in self.progress.rows]
        self.lost_in_a_row = len(list(itertools.takewhile(operator.not_, reversed(outcomes))))
        self.killed: set[Promotion] = set()  # longer trainings whose worker died once

    def run(self) -> RunResult:
        progress = self.progress
        self.watcher.began(progress, self.manifest)
        with interruptible() as self.interrupted:
            if not self._over() or self._next_promotion() is not None:
                self._train()
            if self.settings.latency_limit_ms is not None and not self.interrupted():
                measure_front(
                    self.progress,
                    self.settings.latency_limit_ms,
                    ledger=self.ledger,
                    watcher=self.watcher,
                    open_meter=lambda: self._runner() or kept_meter(self.manifest["baseline_ms"]),
                    interrupted=self.interrupted,
                    seed=self.settings.seed,
                )
            return self._result()

    def _train(self) -> None:
        with contextlib.closing(Pool(self.limits.workers, make_evaluator, self._job())) as pool:
            while True:
                self._give_work(pool)
                if self._over() and (self.interrupted() or not self.progress.running):
                    return
                for event in pool.wait(timeout=0.5):
                    self._take(event)
                self.watcher.tick(self.progress)

    def _unfinished(self) -> list[tuple[Proposal, Stop | None]]:
        """Proposals that a killed run was working on, so that none is lost and each goes on from its checkpoint."""
        done = {row["proposal"] for row in self.progress.rows}
        try:
            kept = json.loads((self.ledger.folder / RUNNING).read_text(encoding="utf-8"))
            return [
                (
                    self.proposer.again(
                        item["proposal"],
                        item["origin"],
                        item["params"],
                        item["width"],
                        MobileFormerConfig.from_dict(item["config"]),
                        Prediction(*item["predicted"]) if item.get("predicted") else None,
                        item.get("turned_down", 0),
                    ),
                    None if item["stop"] is None else Stop(**item["stop"]),
                )
                for item in kept
                if item["proposal"] not in done
            ]
        except (OSError, ValueError, KeyError):  # none, or cut: they will be proposed anew
            return []

    def _note_running(self) -> None:
        """Keep what is being tried, for a run that goes on after a kill."""
        running = [(item.proposal, item.stop) for item in self.progress.running.values() if item.proposal is not None]
        kept = [
            {
                "proposal": proposal.index,
                "origin": proposal.origin,
                "params": proposal.params,
                "width": proposal.width,
                "config": proposal.config.to_dict(),
                "predicted": proposal.predicted,
                "turned_down": proposal.turned_down,
                "stop": None if stop is None else dataclasses.asdict(stop),
            }
            for proposal, stop in [*running, *self.again]
        ]
        with contextlib.suppress(DiskError):
            write_json(self.ledger.folder / RUNNING, kept)

    def _job(self) -> Job:
        settings = self.settings
        weights, checkpoints = (self.ledger.folder / name for name in (WEIGHTS, CHECKPOINTS))
        try:
            weights.mkdir(exist_ok=True)
            checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise DiskError(f"cannot write in {self.ledger.folder}: {error.strerror}") from None
        for stray in (
            *weights.glob(f"{STRAY}*"),
            *weights.glob("*.part"),
            *checkpoints.glob("*.part"),
        ):  # of a run that was killed
            shutil.rmtree(stray) if stray.is_dir() else stray.unlink()
        return Job(
            data=settings.data,
            data_dir=settings.data_dir,
            data_digest=self.manifest["data"]["digest"],
            recipe=settings.recipe,
            latency_limit_ms=settings.latency_limit_ms,
            baseline_ms=self.manifest.get("baseline_ms"),
            runner=self._runner(),
            device=settings.device,
            seed=settings.seed,
            objectives=tuple(settings.objectives),
            rungs=settings.rungs,
            weights=weights,
            checkpoints=checkpoints,
            checkpoint_seconds=float(os.environ.get("MFSEARCH_CHECKPOINT_SECONDS") or CHECKPOINT_SECONDS),
        )

    def _runner(self) -> Runner | None:
        """The user's runner, which must go on measuring on the device that the study began with."""
        runner = self.settings.runner
        return None if runner is None else dataclasses.replace(runner, device=self.manifest["passport"]["device"])

    def _result(self) -> RunResult:
        half_done = self.progress.running or self._next_promotion() is not None
        if self._search_over() in ("trials", "exhausted") and not half_done:
            shutil.rmtree(self.ledger.folder / CHECKPOINTS, ignore_errors=True)  # no training is half done
            (self.ledger.folder / RUNNING).unlink(missing_ok=True)
        return RunResult(self._over() or "", self.manifest, self.progress.rows)

    def _over(self) -> str | None:
        """Why no training begins any more, or None."""
        if self.interrupted():
            return "interrupted"
        if self.limits.seconds is not None and time.monotonic() - self.progress.started >= self.limits.seconds:
            return "time"
        over = self._search_over()
        return over if over not in FINALS or self._next_promotion() is None else None

    def _search_over(self) -> str | None:
        """Why no new network is proposed, or None."""
        limits, progress = self.limits, self.progress
        proposing = sum(running.proposal is not None for running in progress.running.values())
        if limits.trials is not None and progress.trained + proposing >= limits.trials:
            return "trials"
        if limits.seconds is not None:
            left = limits.seconds - (time.monotonic() - progress.started)
            self.final_for_time |= left <= min(progress.final_seconds() or 0.0, limits.seconds * FINAL_SHARE)
            if self.final_for_time:
                return "time"
        hope = progress.trained or (progress.rows and self._was_within_reach(progress.rows[-1]))
        if self.lost_in_a_row >= (MAX_LOST_IN_A_ROW if hope else MAX_LOST_AT_FIRST):
            last = [row["outcome"] for row in progress.rows[-self.lost_in_a_row :]]
            return "latency" if last.count("rejected") * 2 >= len(last) else "failing"
        return "exhausted" if self.exhausted else None

    def _was_within_reach(self, row: dict[str, Any]) -> bool:
        """Whether a network was measured because it might keep the latency limit, not for want of any that might."""
        limit_ms, low_ms = self.settings.latency_limit_ms, row.get("predicted_low_ms")
        return limit_ms is not None and low_ms is not None and float(low_ms) <= limit_ms

    def _next_promotion(self) -> Promotion | None:
        """The longer training that comes next: earned ones, and the final when the search has its networks."""
        progress, settings = self.progress, self.settings
        running = [item.promotion for item in progress.running.values() if item.promotion is not None]
        rule = (progress.standing, settings.rungs, running, settings.seed)
        earned = next_promotion(*rule)
        proposing = any(item.proposal is not None for item in progress.running.values())
        if earned is not None or proposing or self._search_over() not in FINALS:
            return earned
        # the last longer trainings decide who is in the final
        return None if any(promotion.rung < settings.rungs.last for promotion in running) else next_final(*rule)

    def _give_work(self, pool: Pool[Work, dict[str, Any]]) -> None:
        for number in pool.idle():
            if self._over() is not None:
                return
            promotion = self._next_promotion()
            if promotion is not None:
                self._train_longer(pool, number, promotion)
            elif self._search_over() is None and not self.dry:
                self._try_new(pool, number)

    def _train_longer(self, pool: Pool[Work, dict[str, Any]], number: int, promotion: Promotion) -> None:
        row = next(row for row in self.progress.rows if row["number"] == promotion.number)
        config = MobileFormerConfig.from_dict(row["config"])
        origin = f"trial {promotion.number} to {self.settings.rungs.factors[promotion.rung]:g}x"
        self.progress.running[number] = Running(config, row["madds"], origin, promotion=promotion)
        pool.submit(number, Work(config, promotion.rung, promotion.seed))

    def _try_new(self, pool: Pool[Work, dict[str, Any]], number: int) -> None:
        if self.again:
            proposal, stop = self.again.pop(0)
        else:
            new = self.proposer.next()
            self.progress.screened = self.proposer.screened
            if new is None:
                self.dry = True  # results to come may open new ground
                self.exhausted = not self.progress.running
                return
            proposal, stop = new, stop_rule(self.progress.rows, self.progress.objectives, self.settings.rungs)
        self.progress.running[number] = Running(
            proposal.config, proposal.costs.madds, proposal.origin, proposal=proposal, stop=stop
        )
        self._note_running()
        pool.submit(number, Work(proposal.config, 0, self.settings.seed, stop))

    def _take(self, event: Event[dict[str, Any]]) -> None:
        running = self.progress.running[event.worker]
        if event.kind == "progress":
            running.stage, running.share = event.stage, event.share
            return
        result = event.result or {"outcome": "failed", "reason": f"its worker process {event.how}"}
        if result.get("disk_full"):
            raise DiskError(f"cannot write in {self.ledger.folder}: {result['reason']}; finished trials are kept")
        del self.progress.running[event.worker]
        self.dry = False
        if running.proposal is not None:
            self._take_trial(running.proposal, result)
        else:
            assert running.promotion is not None
            if event.kind == "lost" and running.promotion not in self.killed:
                self.killed.add(running.promotion)  # comes up again, and goes on from its checkpoint
            else:
                self._take_longer(running.promotion, result)
        self._drop_files()

    def _score(self, result: dict[str, Any]) -> float | None:
        """What networks are compared by, at the end of a training's curve; None where there is none."""
        return READINGS[self.settings.rungs.rank_by](result["curve"][-1]) if result.get("curve") else None

    def _take_trial(self, proposal: Proposal, result: dict[str, Any]) -> None:
        progress = self.progress
        row = proposed(proposal) | result | {"score": self._score(result), "finished": _now()}
        row["number"] = self.ledger.add(row, self.proposer.choices)
        self.proposer.learn(told(row))
        self.lost_in_a_row = 0 if row["outcome"] in TRAINED else self.lost_in_a_row + 1
        progress.rows.append(row)
        progress.rank()
        self.watcher.finished(progress, row)

    def _take_longer(self, promotion: Promotion, result: dict[str, Any]) -> None:
        progress = self.progress
        stage = {
            **{key: result.get(key) for key in LONGER},
            "score": self._score(result),
            "rung": promotion.rung,
            "seed": promotion.seed,
            "finished": _now(),
        }
        self.ledger.add_stage(promotion.number, stage)
        place = next(i for i, row in enumerate(progress.rows) if row["number"] == promotion.number)
        row = progress.rows[place]
        longer = merged(short_row(row), [*row.get("stages", ()), stage])
        progress.rows[place] = measured_again(longer, row.get("latency_final"))
        progress.rank()
        self.watcher.longer(progress, progress.rows[place], stage)

    def _drop_files(self) -> None:
        """Only contenders for the front keep weights, and only trainings that may go on keep their checkpoint."""
        progress, rungs = self.progress, self.settings.rungs
        running = {item.config.arch_id for item in progress.running.values()}  # written, not yet told
        running |= {proposal.arch_id for proposal, _ in self.again}
        close = contenders(progress.rows, progress.objectives)
        front = {row["arch_id"] for row in progress.rows if row["number"] in close}
        may_go_on = {row["arch_id"] for row in finalists(progress.standing, rungs)}
        for rung, ranked in enumerate(progress.standing.ranked):
            better = ranked[: quota(len(ranked), rungs) + SPARE]
            may_go_on |= {row["arch_id"] for row in better if score_at(row, rung + 1) is None}
        kept = {WEIGHTS: front | running, CHECKPOINTS: may_go_on | running}
        for name, arch_ids in kept.items():
            for path in (self.ledger.folder / name).iterdir():
                if path.name.partition(".")[0].partition("-")[0] not in arch_ids and not path.name.startswith(STRAY):
                    path.unlink(missing_ok=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def proposed(proposal: Proposal) -> dict[str, Any]:
    """What is known of a trial before its evaluation."""
    costs, expected = proposal.costs, proposal.predicted
    prediction: dict[str, Any] = {}
    if expected is not None:
        prediction = {f"predicted_{name}": value for name, value in expected._asdict().items()}
        prediction["turned_down"] = proposal.turned_down
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
        **prediction,
    }
