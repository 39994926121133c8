"""Evaluates one network, cheapest check first: latency, smoke test, training.

Runs in a worker process. A failed evaluation records its reason and never ends the search.
"""

import contextlib
import dataclasses
import errno
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import save_file

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_costs
from mfsearch.cost.meter import MIN_VALUES, Latency, LatencyMeter
from mfsearch.cost.onnx_export import ExportError, export_onnx
from mfsearch.cost.runner import Runner, RunnerError, RunnerLatency
from mfsearch.model import MobileFormer
from mfsearch.plain_files import read_json
from mfsearch.proxy.curve import SCORES, EpochLog
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.proxy.short_train import DeviceData, TrainingError, short_train
from mfsearch.proxy.smoke_test import SmokeTestError, smoke_test
from mfsearch.search.cutter import Cutter, ParentWeights
from mfsearch.search.pool import DeviceLostError, Report
from mfsearch.search.promotion import Stop
from mfsearch.study.files import DiskError, write_json
from mfsearch.study.trial import Training, TrialLatency

# A trial's latency is measured to within 2 %, or for eight seconds
MIN_ROUNDS, MEASURE_SECONDS, MEASURE_TARGET = 10, 8.0, 0.02

RUNNER_LOCK = "runner.lock"  # in the study's folder
STRAY = "export-"  # prefix of export folders; leftovers of a killed run are deleted at the next start


@dataclass(frozen=True)
class Job:
    """The settings that all evaluations of a study share, sent once to each worker."""

    data: str
    data_dir: Path | None
    data_digest: str
    recipe: Recipe
    latency_limit_ms: float | None
    baseline_ms: float | None  # the reference network's time on this device, kept with the study
    runner: Runner | None  # a user's program that measures instead of ONNX Runtime on this machine
    device: str
    seed: int
    objectives: tuple[str, ...]
    rungs: Rungs
    weights: Path
    checkpoints: Path
    checkpoint_seconds: float
    cache_dir: Path | None
    parent: ParentWeights | None = None


@dataclass(frozen=True)
class Work:
    """One training. rung 0 takes a new network, a higher rung resumes a promoted one; seed: of the training."""

    config: MobileFormerConfig
    rung: int
    seed: int
    stop: Stop | None = None

    @property
    def key(self) -> str:
        """The stem of the names of the training's files."""
        return f"{self.config.arch_id}-{self.seed}"


@dataclass(frozen=True)
class TrialResult:
    """The result of an evaluation; a trial copies its fields. disk_full: a full disk failed it, not the network."""

    outcome: str
    reason: str | None = None
    seed: int | None = None
    device: str | None = None
    measured: TrialLatency | None = None
    violation_ms: float | None = None
    short: Training | None = None  # the training, of any length
    disk_full: bool = False


class Evaluator:
    """Keeps the images on the device and the latency meter open; evaluates one config after another."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.device = torch.device(job.device)
        # damaged files were refused, or skipped with a note, before any worker began
        images = job.recipe.load_images(job.data, data_dir=job.data_dir, seed=job.seed, skip_damaged=True, notes=False)
        if images.digest != job.data_digest:
            raise RuntimeError(f"the images of {job.data} changed while the search ran")
        self.data = DeviceData(images, self.device)
        self.cutter = None if job.parent is None else Cutter(job.parent)
        self.meter = None
        if job.latency_limit_ms is not None and job.baseline_ms is not None and job.runner is None:
            self.meter = kept_meter(job.baseline_ms, job.cache_dir)

    def evaluate(self, work: Work, report: Report) -> TrialResult:
        """The outcome with its reason and measurements. Raises DeviceLostError if this process cannot continue."""
        result = TrialResult("failed", seed=work.seed, device=self.device.type)
        try:
            if work.rung == 0:
                report("checking" if self.job.latency_limit_ms is None else "latency", 0.0)
                result = self._measured_before(work, result) or self._export_and_measure(work, result)
                if result.outcome == "rejected":
                    return result
                report("checking", 0.0)
                smoke_test(work.config, self.data, seed=work.seed)
            report("training", 0.0)
            return self._train(work, result, report)
        except (ExportError, RunnerError, SmokeTestError, TrainingError) as error:
            reason, full = str(error), False
        except OSError as error:
            reason = f"{type(error).__name__}: {error.strerror or error}"
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        except Exception as error:  # such as out of memory: fails this trial only
            reason, full = f"{type(error).__name__}: {str(error).partition(chr(10))[0] or 'no message'}", False
            if self.device.type == "cuda" and not isinstance(error, torch.OutOfMemoryError):
                raise DeviceLostError(dataclasses.replace(result, outcome="failed", reason=reason)) from error
        return dataclasses.replace(result, outcome="failed", reason=reason, disk_full=full)

    def _measured_before(self, work: Work, result: TrialResult) -> TrialResult | None:
        """The latency that a killed run already measured for this training, so that a resumed run repeats it."""
        try:
            kept = read_json(self._latency_path(work))
            if kept["for"] != self._conditions():
                return None
            row = kept["row"]
            return dataclasses.replace(
                result,
                outcome=row.get("outcome", result.outcome),  # only a rejected one records it
                reason=row.get("reason"),
                measured=TrialLatency.from_dict(row),
                violation_ms=row.get("violation_ms"),
            )
        except (ValueError, TypeError, KeyError):
            return None

    def _conditions(self) -> list[float | None]:
        """The conditions of a latency; a kept latency counts only if they are equal."""
        return [self.job.latency_limit_ms, self.job.baseline_ms]

    def _latency_path(self, work: Work) -> Path:
        return self.job.checkpoints / f"{work.key}.json"

    def _export_and_measure(self, work: Work, result: TrialResult) -> TrialResult:
        """Check that ONNX Runtime and torch agree; with a latency limit, measure at the deployment size."""
        config, limit_ms = work.config, self.job.latency_limit_ms
        side = self.job.recipe.resolution if limit_ms is None else config.resolution
        with tempfile.TemporaryDirectory(prefix=STRAY, dir=self.job.weights) as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(MobileFormer(config, seed=self.job.seed), side, path)
            if limit_ms is None:
                return result
            measured = trial_latency(self._measure(path, limit_ms))
        result, kept = dataclasses.replace(result, measured=measured), measured.to_dict()
        if measured.ms > limit_ms:
            reason = f"latency {measured.ms:.2f} ms is over the limit {limit_ms:g} ms"
            over = measured.ms - limit_ms
            result = dataclasses.replace(result, outcome="rejected", reason=reason, violation_ms=over)
            kept |= {"outcome": "rejected", "reason": reason, "violation_ms": over}
        with contextlib.suppress(DiskError):
            write_json(self._latency_path(work), {"for": self._conditions(), "row": kept})
        return result

    def _measure(self, path: Path, limit_ms: float) -> Latency | RunnerLatency:
        if self.job.runner is not None:
            with FileLock(self.job.weights.parent / RUNNER_LOCK):  # two workers would disturb each other on one device
                return self.job.runner.measure(path)
        assert self.meter is not None
        latency = self.meter.measure(path, min_rounds=MIN_VALUES, max_rounds=MIN_VALUES)
        if latency.latency_low_ms > limit_ms:  # certainly too slow
            return latency
        return self.meter.measure(path, min_rounds=MIN_ROUNDS, time_limit_s=MEASURE_SECONDS, target=MEASURE_TARGET)

    def _train(self, work: Work, result: TrialResult, report: Report) -> TrialResult:
        job = self.job
        epochs = job.recipe.epochs
        # a point half way, where a hopeless short training is stopped, then one at each rung
        half = () if job.rungs.starts_cut else (epochs / 2,)
        points = (*half, *(epochs * factor for factor in job.rungs.factors[: work.rung + 1]))
        score = SCORES[job.rungs.rank_by]
        latency_ms = math.nan if result.measured is None else result.measured.ms
        costs = {**count_costs(work.config)._asdict(), "latency_ms": latency_ms}

        def worth_going_on(log: EpochLog) -> bool:
            if work.stop is None or log.epoch > epochs * 0.75:
                return True
            return not work.stop.hopeless(score(log), [costs[name] for name in job.objectives if name != "top1"])

        trained = short_train(
            work.config,
            self.data,
            job.recipe,
            seed=work.seed,
            start=None if self.cutter is None else self.cutter.start(work.config),
            points=points,
            checkpoint=job.checkpoints / f"{work.key}.pt",
            checkpoint_seconds=job.checkpoint_seconds,
            on_step=lambda step, steps: report("training", step / steps),
            on_point=worth_going_on,
        )
        training = Training(
            rung=work.rung,
            seed=work.seed,
            top1=trained.top1,
            score=score(trained.curve[-1]),
            epochs=trained.curve[-1].epoch,
            curve=tuple(trained.curve),
            train_seconds=trained.train_seconds,
            images_per_second=trained.images_per_second or None,
        )
        if not trained.finished:
            reason = (
                f"top1 {trained.top1:.2%} half way: with the most that is still to come it would not be among those "
                "that go on"
            )
            return dataclasses.replace(result, outcome="stopped", reason=reason, short=training)
        if work.seed == job.seed:
            training = dataclasses.replace(training, weights_lost=self._keep_weights(work, trained.weights, training))
        return dataclasses.replace(result, outcome="trained", short=training)

    def _keep_weights(self, work: Work, weights: dict[str, torch.Tensor], training: Training) -> str | None:
        """Write the weights; if that fails, return the reason and keep the trial, whose figures matter more."""
        path = self.job.weights / f"{work.config.arch_id}.safetensors"
        part = path.with_name(path.name + ".part")
        try:
            save_file(weights, part, metadata={"epochs": f"{training.epochs:g}", "seed": str(work.seed)})
            part.replace(path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            path.unlink(missing_ok=True)  # weights of a shorter training
            return str(error)
        return None


def make_evaluator(job: Job) -> Callable[[Work, Report], TrialResult]:
    """Build a worker's function, which evaluates one network after another on one thread."""
    torch.set_num_threads(1)
    return Evaluator(job).evaluate


def kept_meter(baseline_ms: float, cache_dir: Path | None) -> LatencyMeter:
    """A meter for this device with the baseline from the study's start."""
    return dataclasses.replace(LatencyMeter.open(cache_dir=cache_dir), baseline_ms=baseline_ms)


def measure_in_full(
    config: MobileFormerConfig, meter: LatencyMeter | Runner, seed: int, seconds: float | None = None
) -> Latency | RunnerLatency:
    """A network's latency at the deployment size, to within 1 % or for half a minute, or `seconds` if that is less."""
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(MobileFormer(config, seed=seed), config.resolution, path)
        if isinstance(meter, Runner) or seconds is None or seconds > 40:
            return meter.measure(path)
        return meter.measure(path, min_rounds=MIN_ROUNDS, time_limit_s=max(1.0, seconds - 5))


def trial_latency(latency: Latency | RunnerLatency) -> TrialLatency:
    """A measured latency in the form of a trial's record."""
    return TrialLatency(
        ms=latency.latency_ms,
        low_ms=latency.latency_low_ms,
        high_ms=latency.latency_high_ms,
        ratio=latency.ratio,
        disturbed=latency.disturbed,
    )
