"""The search loop: propose networks, evaluate them in workers, write each finished trial at once; resumable."""

import contextlib
import dataclasses
import itertools
import math
import operator
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import Prediction
from mfsearch.cost.meter import LatencyMeter, reference_onnx
from mfsearch.cost.runner import Runner
from mfsearch.data import ImageData
from mfsearch.plain_files import read_json
from mfsearch.proxy.short_train import CHECKPOINT_SECONDS, one_thread
from mfsearch.search.cutter import PARENT, ParentWeights, prepare_parent
from mfsearch.search.estimate import settle
from mfsearch.search.evaluator import STRAY, Job, TrialResult, Work, kept_meter, make_evaluator
from mfsearch.search.front import contenders
from mfsearch.search.plan import LATENCY_SHARE
from mfsearch.search.pool import Event, Pool, interruptible
from mfsearch.search.progress import FULL_SECONDS, TRAINED, OnEvent, Progress, Running, SearchEvent
from mfsearch.search.promotion import (
    Promotion,
    Stop,
    finalists,
    least_explored,
    next_final,
    next_promotion,
    quota,
    ranking,
    stop_rule,
)
from mfsearch.search.proposal import Proposal, Proposer, check_reachable
from mfsearch.search.remeasure import measure_front, measure_parent
from mfsearch.search.screen import LatencyScreen
from mfsearch.study.calibration_file import CalibrationFile, study_calibration, trust_line
from mfsearch.study.files import (
    CHECKPOINTS,
    JOURNAL,
    MANIFEST,
    WEIGHTS,
    DiskError,
    locked,
    now,
    without_password,
    write_json,
)
from mfsearch.study.kept_parent import KEPT_PARENT, KeptParent
from mfsearch.study.ledger import Ledger
from mfsearch.study.manifest import Lesson, Manifest, StudyRequest, check_same_study, make_manifest
from mfsearch.study.parent import Parent
from mfsearch.study.prior import LEARNED_FROM, Prior, fit_prior
from mfsearch.study.settings import MODELLED, Limits, Settings, check_device
from mfsearch.study.study import Study
from mfsearch.study.table_file import known_tables, load_table
from mfsearch.study.trial import Training, Trial
from mfsearch.units import format_seconds

TAUGHT = 64  # best trials of another study that become its lesson
FINALS = ("trials", "exhausted", "time", "latency", "failing")  # reasons to stop proposing that lead to the final
SPARE = 5  # checkpoints kept below the promoted ranks, because later results may promote them
RUNNING = "running.json"  # the proposals being evaluated
FINAL_SHARE = 0.5  # largest share of a time limit that is reserved for the final
LATE = 0.05  # a training may be expected to end late by this share of the time limit
MAX_LOST_IN_A_ROW = 30  # rejected or failed trials in a row before the search gives up
MAX_LOST_AT_FIRST = 12  # the same if nothing was ever trained and no prediction was within the limit


@dataclass(frozen=True)
class RunResult:
    """The end of a run. stopped: `trials`, `time`, `interrupted`, `exhausted`, `latency` or `failing`."""

    stopped: str
    study: Study


def run_search(
    settings: Settings,
    limits: Limits,
    folder: Path,
    on_event: OnEvent,
    storage: str | None = None,
    command: str | None = None,
    *,
    fixed: frozenset[str] = frozenset(),
    on_stage: Callable[[str], None] = lambda _: None,
    started: float | None = None,
) -> RunResult:
    """Start or resume the study in `folder`; ends at a limit, at Ctrl-C or when the space is exhausted.

    command: the user's command line, for the manifest. on_event: called in this thread. fixed: see `settle`. on_stage:
    called with the name of each slow step before the first event. started: the command's start on the monotonic clock,
    from which a time limit counts. Raises ValueError for settings that cannot work (before anything is written) or that
    differ from the study's, StudyBusyError, DiskError, and WorkerError if no worker can start.
    """
    started = time.monotonic() if started is None else started
    with contextlib.ExitStack() as lock:
        settings, images, progress = prepare(
            settings, limits, folder, storage, command, fixed=fixed, on_stage=on_stage, started=started, lock=lock
        )
        manifest = progress.manifest
        if (folder / MANIFEST).exists():
            Study.open(folder).check_whole()
        try:
            ledger = Ledger(folder, manifest, storage)
        except (TypeError, LookupError, AttributeError, AssertionError) as error:
            raise ValueError(f"the ledger of {folder} cannot be read whole: {error!r:.200}") from None
        if not (folder / MANIFEST).exists():
            private = "@" in (storage or "")  # the URL may hold a password
            write_json(folder / MANIFEST, manifest.to_dict(), private=private)
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # of a deleted study
            (folder / PARENT).unlink(missing_ok=True)
        about = f", {format_seconds(plan.parent_seconds)}" if (plan := progress.plan) and plan.parent_seconds else ""
        parent = prepare_parent(
            settings,
            manifest,
            folder,
            lambda text: on_stage(text + about),
            limits.checkpoint_seconds or CHECKPOINT_SECONDS,
            images,
        )
        run = _Run(settings, limits, ledger, progress, on_event, parent)
        if parent is not None and not (folder / KEPT_PARENT).exists():
            on_stage("evaluating the parent")
            kept = measure_parent(settings, manifest, parent, images, run.open_meter)
            write_json(folder / KEPT_PARENT, kept.to_dict())
        del images  # each worker loads its own
        return run.run()


def prepare(
    settings: Settings,
    limits: Limits,
    folder: Path,
    storage: str | None = None,
    command: str | None = None,
    *,
    fixed: frozenset[str] = frozenset(),
    on_stage: Callable[[str], None] = lambda _: None,
    started: float | None = None,
    lock: contextlib.ExitStack | None = None,
) -> tuple[Settings, ImageData, Progress]:
    """Everything before the first proposal, as in `run_search`; writes nothing. lock: gets the study's lock."""
    check_device(settings.device)
    check_reachable(settings.space, settings.budget)
    settings, plan = settle(settings, limits, folder, fixed, on_stage)
    on_stage("loading images")
    images = settings.recipe.load_images(
        settings.data,
        data_dir=settings.data_dir,
        seed=settings.seed,
        download=settings.download,
        skip_damaged=settings.skip_damaged,
    )
    request = StudyRequest(
        data=settings.data,
        data_dir=None if settings.data_dir is None else str(settings.data_dir),
        space=settings.space_given,
        trials=limits.trials,
        workers=limits.workers,
        time=limits.seconds,
        networks=None if plan is None else plan.networks,
        parent=None if settings.parent is None else str(settings.parent.weights.parent),
        skip_damaged=settings.skip_damaged,
    )
    if lock is not None:
        lock.enter_context(locked(folder))
    if settings.latency_limit_ms is not None:
        on_stage("measuring the reference network's latency")
    manifest = _manifest(settings, images, request, folder, storage, command)
    calibration, trust = _trust(settings, folder.parent, manifest)
    started = time.monotonic() if started is None else started
    notes = images.notes
    if settings.parent is not None:
        if (seen := seen_note(settings.parent, images, settings.seed)) is not None:
            notes = (*notes, seen)
        space, screen = settings.space, LatencyScreen(settings.latency_limit_ms, manifest.baseline_ms)
        whole = dataclasses.replace(settings.parent.config, resolution=space.resolution, classes=space.classes)
        if (expected := screen.predict(whole)) is not None:
            notes = (*notes, f"the whole parent would take about {expected.latency_ms:.1f} ms, by prediction")
    return settings, images, Progress(manifest, limits, trust, plan, notes, started, calibration)


def seen_note(parent: Parent, images: ImageData, seed: int) -> str | None:
    """A sentence if the parent was, or may have been, trained on the validation images; None if not."""
    if parent.class_names != images.classes:
        return None
    told = "it has seen validation images: top1 reads too high and favours networks that keep more of it"
    if parent.data != images.name:
        return f"if the parent was trained on these images, {told}"
    if parent.split_seed is None:
        return f"the parent was trained on all of train/, so {told}"
    if parent.split_seed == seed:
        return None
    return f"the parent was trained with the split of seed {parent.split_seed}, not of seed {seed}, so {told}"


def _manifest(
    settings: Settings, images: ImageData, request: StudyRequest, folder: Path, storage: str | None, command: str | None
) -> Manifest:
    """The study's manifest: a new one for a new study; otherwise the old one, checked against the settings."""
    passport, baseline_ms = _latency_device(settings)
    is_new = not (folder / MANIFEST).exists()
    wanted = make_manifest(
        settings,
        images,
        request,
        passport=passport,
        baseline_ms=baseline_ms,
        lesson=_lesson(settings) if is_new else None,
        prior=_prior(settings) if is_new else None,
        storage=storage,
        command=command,
    )
    if is_new:
        return wanted
    manifest = Manifest.read(folder)
    try:
        check_same_study(manifest.study, manifest.identity, wanted.identity)
    except ValueError as error:
        if storage is None and not Study.open(folder).trials:
            raise ValueError(f"{error}\n(it has no trials: delete {folder} to start again)") from None
        raise
    taught = None if manifest.lesson is None else manifest.lesson.study
    if settings.start_from is not None and settings.start_from.name != taught:
        raise ValueError(
            f"study {settings.study!r} was started with --from {taught or 'nothing'}, this run says "
            f"--from {settings.start_from.name}: leave --from out or give another name with --study"
        )
    theirs, ours = (without_password(str(place or folder / JOURNAL)) for place in (manifest.storage, storage))
    if theirs != ours:  # compared without passwords
        raise ValueError(
            f"study {settings.study!r} keeps its trials in {theirs}, this run says {ours}: give the same --storage"
        )
    return manifest


def _latency_device(settings: Settings) -> tuple[Mapping[str, object] | None, float | None]:
    """The passport of the device that latencies are measured on, and the reference network's milliseconds there. A
    user's runner that does not work ends the run here, before any training."""
    if settings.latency_limit_ms is None:
        return None, None
    if settings.runner is None:
        meter = LatencyMeter.open(cache_dir=settings.cache_dir)
        return meter.passport.as_dict(), meter.baseline_ms
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        path = Path(folder) / "reference.onnx"
        path.write_bytes(reference_onnx())
        latency = settings.runner.measure(path)
    return {"device": latency.device}, latency.latency_ms


def _trust(settings: Settings, results: Path, manifest: Manifest) -> tuple[CalibrationFile | None, str]:
    """The calibration that fits, and a sentence on it; an unreadable calibration does not stop the search."""
    try:
        calibration = study_calibration(results, manifest, settings.space)
    except ValueError as error:
        return None, f"ranking   {error}"
    return calibration, trust_line(calibration, epochs=manifest.first_epochs, reading=settings.rungs.rank_by)


def _lesson(settings: Settings) -> Lesson | None:
    """The best networks of the study given by --from."""
    if settings.start_from is None:
        return None
    theirs = Study.open(settings.start_from)
    knobs, ours = theirs.manifest.space.knobs, {knob.name: knob.choices for knob in settings.space.knobs}
    if knobs != ours:
        raise ValueError(
            f"--from {settings.start_from.name} must have the same knobs as space {settings.space.name}, got those of "
            f"space {theirs.manifest.space.name}"
        )
    return Lesson(settings.start_from.name, tuple(ranking(theirs.trials, ["top1", "madds"], 0)[:TAUGHT]))


def _prior(settings: Settings) -> Prior | None:
    """What the sampler's model begins with. The tables are of trainings from first weights, so a parent has none."""
    asked = settings.prior == "tables" and settings.sampler in MODELLED and settings.parent is None
    tables = [load_table(name) for name in LEARNED_FROM if name in known_tables()] if asked else []
    return fit_prior(tables) if tables else None


class _Run:
    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        ledger: Ledger,
        progress: Progress,
        on_event: OnEvent,
        parent: ParentWeights | None = None,
    ) -> None:
        self.parent = parent
        self.settings, self.limits, self.ledger = settings, limits, ledger
        self.manifest, self.on_event, self.progress = progress.manifest, on_event, progress
        manifest = progress.manifest
        self.progress.trials += ledger.trials()
        self.proposer = Proposer.of(settings, manifest)
        if manifest.lesson is not None:
            self.proposer.transfer(manifest.lesson.trials, manifest.lesson.study)
        for trial in self.progress.trials:
            self.proposer.learn(trial)
            self.proposer.index = max(self.proposer.index, (trial.proposal or 0) + 1)
        self.again = self._unfinished()
        self.progress.before = len(self.progress.trials)
        self.progress.rank()
        self.final_for_time = False  # once True, nothing new is proposed
        self.too_late = False  # once True, nothing new is started
        self.tried = False  # whether this call has given a worker something to do
        self.begun = False  # whether this call has finished a training
        self.exhausted = False
        self.dry = False  # the last ask found nothing new; ask again after the next result
        self.used_up = False  # whether any ask found nothing new
        self.interrupted: Callable[[], bool] = lambda: False
        outcomes = [trial.outcome in TRAINED for trial in self.progress.trials]
        self.lost_in_a_row = len(list(itertools.takewhile(operator.not_, reversed(outcomes))))
        self.killed: set[Promotion | int] = set()  # longer trainings, and proposals, that lost their worker once

    def run(self) -> RunResult:
        self.on_event(SearchEvent("began", self.progress))
        with interruptible() as self.interrupted:
            if not self._over() or self._next_promotion() is not None:
                self._train()
            if self.settings.latency_limit_ms is not None and not self.interrupted():
                with one_thread():
                    measure_front(
                        self.progress,
                        self.settings.latency_limit_ms,
                        ledger=self.ledger,
                        on_event=self.on_event,
                        open_meter=self.open_meter,
                        interrupted=self.interrupted,
                        seed=self.settings.seed,
                        deadline=None if self.limits.seconds is None else self.progress.started + self.limits.seconds,
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
                self.on_event(SearchEvent("tick", self.progress))

    def _unfinished(self) -> list[tuple[Proposal, Stop | None]]:
        """The proposals of a killed run, so that none is lost and each resumes from its checkpoint."""
        done = {trial.proposal for trial in self.progress.trials}
        try:
            kept = read_json(self.ledger.folder / RUNNING)
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
        except (ValueError, KeyError, TypeError, AttributeError):  # missing or damaged: they will be proposed again
            return []

    def _note_running(self) -> None:
        """Write the running proposals, for a run that resumes after a kill."""
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
        ):  # of a killed run
            shutil.rmtree(stray) if stray.is_dir() else stray.unlink()
        return Job(
            data=settings.data,
            data_dir=settings.data_dir,
            data_digest=self.manifest.data.digest,
            recipe=settings.recipe,
            latency_limit_ms=settings.latency_limit_ms,
            baseline_ms=self.manifest.baseline_ms,
            runner=self._runner(),
            device=settings.device,
            seed=settings.seed,
            objectives=tuple(settings.objectives),
            rungs=settings.rungs,
            weights=weights,
            checkpoints=checkpoints,
            checkpoint_seconds=self.limits.checkpoint_seconds or CHECKPOINT_SECONDS,
            cache_dir=settings.cache_dir,
            parent=self.parent,
        )

    def open_meter(self) -> LatencyMeter | Runner:
        return self._runner() or kept_meter(self._baseline_ms(), self.settings.cache_dir)

    def _runner(self) -> Runner | None:
        """The user's runner, bound to the device of the study's start."""
        runner = self.settings.runner
        return None if runner is None else dataclasses.replace(runner, device=(self.manifest.passport or {})["device"])

    def _baseline_ms(self) -> float:
        assert self.manifest.baseline_ms is not None  # set for every study with a limit
        return self.manifest.baseline_ms

    def _result(self) -> RunResult:
        half_done = self.progress.running or self._next_promotion() is not None
        if self._search_over() in ("trials", "exhausted") and not half_done:
            shutil.rmtree(self.ledger.folder / CHECKPOINTS, ignore_errors=True)  # no training can be resumed
            (self.ledger.folder / RUNNING).unlink(missing_ok=True)
        parent = KeptParent.read(self.ledger.folder, self.manifest.parent)
        study = Study(self.ledger.folder, self.manifest, tuple(self.progress.trials), parent=parent)
        return RunResult(self._over() or "", study)

    def _over(self) -> str | None:
        """Why no more training starts, or None."""
        if self.interrupted():
            return "interrupted"
        # the first work of a call starts in any case: else short calls would never get anywhere
        if self.too_late or (self.tried and self._left() <= 0):
            return "time"
        over = self._search_over()
        return over if over not in FINALS or self._next_promotion() is None else None

    def _left(self) -> float:
        """Seconds until the time limit, less what the latencies at the end may take."""
        limits = self.limits
        if limits.seconds is None:
            return math.inf
        left = limits.seconds - (time.monotonic() - self.progress.started)
        if self.settings.latency_limit_ms is None or not self.progress.trained:
            return left
        return left - min(LATENCY_SHARE * limits.seconds, FULL_SECONDS * max(1, len(self.progress.front)))

    def _search_over(self) -> str | None:
        """Why no more networks are proposed, or None."""
        limits, progress = self.limits, self.progress
        proposing = sum(running.proposal is not None for running in progress.running.values())
        if limits.trials is not None and progress.trained + proposing >= limits.trials:
            return "trials"
        if limits.seconds is not None:
            final = min(progress.final_seconds() or 0.0, limits.seconds * FINAL_SHARE)
            self.final_for_time |= self.begun and self._left() - progress.training_seconds(None) / 2 <= final
            if self.final_for_time:
                return "time"
        hope = progress.trained or (progress.trials and self._was_within_reach(progress.trials[-1]))
        if self.lost_in_a_row >= (MAX_LOST_IN_A_ROW if hope else MAX_LOST_AT_FIRST):
            last = [trial.outcome for trial in progress.trials[-self.lost_in_a_row :]]
            return "latency" if last.count("rejected") * 2 >= len(last) else "failing"
        return "exhausted" if self.exhausted else None

    def _was_within_reach(self, trial: Trial) -> bool:
        """Whether the network was predicted to be possibly within the latency limit; False without a prediction."""
        limit_ms, predicted = self.settings.latency_limit_ms, trial.predicted
        return limit_ms is not None and predicted is not None and predicted.low_ms <= limit_ms

    def _next_promotion(self) -> Promotion | None:
        """The next longer training: earned promotions, then the final once the search has its networks."""
        progress, settings = self.progress, self.settings
        running = [item.promotion for item in progress.running.values() if item.promotion is not None]
        rule = (progress.standing, settings.rungs, running, settings.seed)
        over = self._search_over()
        exploring = not self.used_up and over is None
        earned = next_promotion(*rule, explored=least_explored(self.manifest.afforded if exploring else None))
        proposing = any(item.proposal is not None for item in progress.running.values())
        if earned is not None or proposing or over not in FINALS:
            return earned
        # the last promotions decide which networks are in the final
        return None if any(promotion.rung < settings.rungs.last for promotion in running) else next_final(*rule)

    def _give_work(self, pool: Pool[Work, TrialResult]) -> None:
        for number in pool.idle():
            if self._over() is not None:
                return
            promotion, proposing = self._next_promotion(), self._search_over() is None and not self.dry
            if promotion is not None and proposing and self._is_late(promotion):
                promotion = None  # a short training may still fit
            if promotion is None and not proposing:
                return  # until a running training ends
            if self._is_late(promotion):
                # where the space is used up, what runs may still earn a longer training that fits
                self.too_late = not (self.used_up and promotion is None and self.progress.running)
                return
            if promotion is not None:
                self._train_longer(pool, number, promotion)
            else:
                self._try_new(pool, number)

    def _is_late(self, promotion: Promotion | None) -> bool:
        """Whether the training would end too far beyond the time limit; False until one has ended in this call."""
        seconds = self.limits.seconds
        if seconds is None or not self.begun:
            return False
        return self.progress.training_seconds(promotion) - self._left() > LATE * seconds

    def _train_longer(self, pool: Pool[Work, TrialResult], number: int, promotion: Promotion) -> None:
        trial = self.progress.trials[promotion.number]
        self.progress.stage = "final" if promotion.rung == self.settings.rungs.last else "searching"
        origin = f"trial {promotion.number} to {self.settings.rungs.factors[promotion.rung]:g}x"
        self.progress.running[number] = Running(trial.config, trial.madds or 0, origin, promotion=promotion)
        self._submit(pool, number, Work(trial.config, promotion.rung, promotion.seed))

    def _try_new(self, pool: Pool[Work, TrialResult], number: int) -> None:
        if self.again:
            proposal, stop = self.again.pop(0)
        else:
            new = self.proposer.next()
            self.progress.screened = self.proposer.screened
            if new is None:
                self.dry = self.used_up = True  # running trials may still change the first
                self.exhausted = not self.progress.running
                return
            proposal, stop = new, stop_rule(self.progress.trials, self.progress.objectives, self.settings.rungs)
        self.progress.running[number] = Running(
            proposal.config, proposal.costs.madds, proposal.origin, proposal=proposal, stop=stop
        )
        self.progress.stage = "searching"
        self._note_running()
        self._submit(pool, number, Work(proposal.config, 0, self.settings.seed, stop))

    def _submit(self, pool: Pool[Work, TrialResult], number: int, work: Work) -> None:
        self.tried = True
        pool.submit(number, work)

    def _take(self, event: Event[TrialResult]) -> None:
        running = self.progress.running[event.worker]
        if event.kind == "progress":
            running.stage, running.share = event.stage, event.share
            return
        result = event.result or TrialResult("failed", f"its worker process {event.how}, twice")
        if result.disk_full:
            raise DiskError(f"cannot write in {self.ledger.folder}: {result.reason}; finished trials are kept")
        del self.progress.running[event.worker]
        self.begun |= result.outcome in TRAINED
        self.dry = False
        if running.proposal is not None:
            if event.kind == "lost" and running.proposal.index not in self.killed:
                self.killed.add(running.proposal.index)
                self.again.insert(0, (running.proposal, running.stop))  # resumes from its checkpoint
            else:
                self._take_trial(running.proposal, result)
        else:
            assert running.promotion is not None
            if event.kind == "lost" and running.promotion not in self.killed:
                self.killed.add(running.promotion)  # it will be chosen again and resume from its checkpoint
            else:
                self._take_longer(running.promotion, result)
        self._drop_files()

    def _take_trial(self, proposal: Proposal, result: TrialResult) -> None:
        progress = self.progress
        trial = finished_trial(proposal, result)
        if "onnx_bytes" in (*self.manifest.limits, *progress.objectives):
            trial = dataclasses.replace(trial, onnx_bytes=proposal.costs.onnx_bytes)
        trial = dataclasses.replace(trial, number=self.ledger.add(trial, self.proposer.choices))
        self.proposer.learn(trial)
        self.lost_in_a_row = 0 if trial.outcome in TRAINED else self.lost_in_a_row + 1
        progress.trials.append(trial)
        progress.rank()
        self.on_event(SearchEvent("trial", progress, trial))

    def _take_longer(self, promotion: Promotion, result: TrialResult) -> None:
        progress = self.progress
        failed = Training(rung=promotion.rung, seed=promotion.seed, reason=result.reason)
        training = dataclasses.replace(result.short or failed, finished=now())
        self.ledger.add_training(promotion.number, training)
        trial = progress.trials[promotion.number].with_training(training)
        progress.trials[promotion.number] = trial
        progress.rank()
        self.on_event(SearchEvent("training", progress, trial, training))

    def _drop_files(self) -> None:
        """Keep weights only for contenders for the front and for finalists, which another seed may bring back onto it,
        and checkpoints only for trainings that may resume."""
        progress, rungs = self.progress, self.settings.rungs
        running = {item.config.arch_id for item in progress.running.values()}  # files written before the result
        running |= {proposal.arch_id for proposal, _ in self.again}
        close = contenders(progress.trials, progress.objectives)
        front = {trial.arch_id for trial in progress.trials if trial.number in close or 0 < rungs.last == trial.rung}
        may_go_on = {trial.arch_id for trial in finalists(progress.standing, rungs)}
        for rung, ranked in enumerate(progress.standing.ranked):
            better = ranked[: quota(len(ranked), rungs) + SPARE]
            may_go_on |= {trial.arch_id for trial in better if trial.score(rung + 1) is None}
        for name, arch_ids in {WEIGHTS: front | running, CHECKPOINTS: may_go_on | running}.items():
            for path in (self.ledger.folder / name).iterdir():
                if path.name.partition(".")[0].partition("-")[0] not in arch_ids and not path.name.startswith(STRAY):
                    path.unlink(missing_ok=True)


def finished_trial(proposal: Proposal, result: TrialResult) -> Trial:
    """The trial of an evaluated proposal; the ledger sets its number."""
    costs, finished = proposal.costs, now()
    return Trial(
        number=-1,
        outcome=result.outcome,
        origin=proposal.origin,
        params=proposal.params,
        reason=result.reason,
        proposal=proposal.index,
        width=proposal.width,
        arch_id=proposal.arch_id,
        config_data=proposal.config.to_dict(),
        madds=costs.madds,
        macs=costs.macs,
        num_params=costs.num_params,
        activation_bytes=costs.activation_bytes,
        resolution=proposal.config.resolution,
        predicted=proposal.predicted,
        turned_down=None if proposal.predicted is None else proposal.turned_down,
        seed=result.seed,
        device=result.device,
        measured=result.measured,
        violation_ms=result.violation_ms,
        short=result.short and dataclasses.replace(result.short, reason=result.reason, finished=finished),
        finished=finished,
    )
