"""One network from config to result, cheap before dear: measured latency, smoke test, training.

Runs in a worker process. What comes out is a plain dict that the ledger keeps; an evaluation that fails says why and
never ends the search.
"""

import contextlib
import dataclasses
import errno
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import save_file

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.cost.meter import MIN_VALUES, Latency, LatencyMeter
from mfsearch.cost.onnx_export import ExportError, export_onnx
from mfsearch.cost.runner import Runner, RunnerError, RunnerLatency
from mfsearch.model import MobileFormer
from mfsearch.proxy.curve import EpochLog
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.short_train import DeviceData, TrainingError, short_train
from mfsearch.proxy.smoke_test import SmokeTestError, smoke_test
from mfsearch.search.pool import DeviceLostError, Report
from mfsearch.search.rungs import READINGS, Rungs, Stop
from mfsearch.study.files import DiskError, write_json

# a trial's latency: within 2 %, or what eight seconds give
MIN_ROUNDS, MEASURE_SECONDS, MEASURE_TARGET = 10, 8.0, 0.02

RUNNER_LOCK = "runner.lock"  # in the study's folder
STRAY = "export-"  # folders of exports; what a kill leaves of them is swept at the next start


@dataclass(frozen=True)
class Job:
    """What every evaluation of a study has in common, sent once to each worker."""

    data: str
    data_dir: Path | None
    data_digest: str
    recipe: Recipe
    latency_limit_ms: float | None
    baseline_ms: float | None  # the reference network's time on this device, kept with the study
    runner: Runner | None  # a user's program that measures in the place of ONNX Runtime here
    device: str
    seed: int
    objectives: tuple[str, ...]
    rungs: Rungs
    weights: Path
    checkpoints: Path
    checkpoint_seconds: float


@dataclass(frozen=True)
class Work:
    """One training to do. rung 0 is a new network, any other goes on with one that earned it; seed: of the training."""

    config: MobileFormerConfig
    rung: int
    seed: int
    stop: Stop | None = None

    @property
    def key(self) -> str:
        """The stem of the files that the training leaves beside the ledger."""
        return f"{self.config.arch_id}-{self.seed}"


class Evaluator:
    """Holds the images on the device and the latency meter; evaluates one config after another."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.device = torch.device(job.device)
        images = job.recipe.load_images(job.data, data_dir=job.data_dir, seed=job.seed)
        if images.digest != job.data_digest:
            raise RuntimeError(f"the images of {job.data} changed while the search ran")
        self.data = DeviceData(images, self.device)
        self.meter = None
        if job.latency_limit_ms is not None and job.baseline_ms is not None and job.runner is None:
            self.meter = kept_meter(job.baseline_ms)

    def evaluate(self, work: Work, report: Report) -> dict[str, Any]:
        """outcome with reason, and what was measured on the way: latency_*, top1, curve, train_seconds.

        Raises DeviceLostError with the same where the device can do no more in this process.
        """
        row: dict[str, Any] = {"outcome": "failed", "reason": None, "seed": work.seed, "device": self.device.type}
        try:
            if work.rung == 0:
                report("measuring", 0.0)
                row |= self._measured_before(work) or self._export_and_measure(work)
                if row["outcome"] == "rejected":
                    return row
                smoke_test(work.config, self.data, seed=work.seed)
            row |= self._train(work, row, report)
        except (ExportError, RunnerError, SmokeTestError, TrainingError) as error:
            row["reason"] = str(error)
        except OSError as error:
            row["outcome"], row["reason"] = "failed", f"{type(error).__name__}: {error.strerror or error}"
            row["disk_full"] = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no fault of the network's
        except Exception as error:  # out of memory: this trial's end alone
            row["outcome"] = "failed"
            row["reason"] = f"{type(error).__name__}: {str(error).partition(chr(10))[0] or 'no message'}"
            if self.device.type == "cuda" and not isinstance(error, torch.OutOfMemoryError):
                raise DeviceLostError(row) from error
        return row

    def _measured_before(self, work: Work) -> dict[str, Any] | None:
        """The latency that a training of this network was begun with, so that going on after a kill repeats it."""
        try:
            kept = dict(json.loads(self._latency_path(work).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None
        return dict(kept["row"]) if kept.get("for") == self._conditions() else None

    def _conditions(self) -> list[float | None]:
        """What a latency was judged under; a file of other conditions is none."""
        return [self.job.latency_limit_ms, self.job.baseline_ms]

    def _latency_path(self, work: Work) -> Path:
        return self.job.checkpoints / f"{work.key}.json"

    def _export_and_measure(self, work: Work) -> dict[str, Any]:
        """The ONNX file equals torch; where latency is asked for it is measured at the deployment size."""
        config = work.config
        measured = self.job.latency_limit_ms is not None
        side = config.resolution if measured else self.job.recipe.resolution
        with tempfile.TemporaryDirectory(prefix=STRAY, dir=self.job.weights) as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(MobileFormer(config, seed=self.job.seed), side, path)
            if self.job.latency_limit_ms is None:
                return {}
            row = latency_columns(self._measure(path, self.job.latency_limit_ms))
        over = row["latency_ms"] - self.job.latency_limit_ms
        if over > 0:
            row["outcome"] = "rejected"
            row["violation_ms"] = over
            row["reason"] = f"latency {row['latency_ms']:.2f} ms is over the limit {self.job.latency_limit_ms:g} ms"
        with contextlib.suppress(DiskError):
            write_json(self._latency_path(work), {"for": self._conditions(), "row": row})
        return row

    def _measure(self, path: Path, limit_ms: float) -> Latency | RunnerLatency:
        if self.job.runner is not None:
            with FileLock(self.job.weights.parent / RUNNER_LOCK):  # two workers would disturb each other on one device
                return self.job.runner.measure(path)
        assert self.meter is not None
        latency = self.meter.measure(path, min_rounds=MIN_VALUES, max_rounds=MIN_VALUES)
        if latency.latency_low_ms > limit_ms:  # already certain to be too slow
            return latency
        return self.meter.measure(path, min_rounds=MIN_ROUNDS, time_limit_s=MEASURE_SECONDS, target=MEASURE_TARGET)

    def _train(self, work: Work, row: dict[str, Any], report: Report) -> dict[str, Any]:
        job = self.job
        epochs = job.recipe.epochs
        # one point half way, where a hopeless short training ends, then one at each rung
        points = (epochs / 2, *(epochs * factor for factor in job.rungs.factors[: work.rung + 1]))
        known = {**row, "madds": count_madds(work.config)}

        def worth_going_on(log: EpochLog) -> bool:
            if work.stop is None or log.epoch > epochs * 0.75:
                return True
            costs = [float(known[name]) for name in job.objectives if name != "top1"]
            return not work.stop.hopeless(READINGS[job.rungs.rank_by](dataclasses.asdict(log)), costs)

        result = short_train(
            work.config,
            self.data,
            job.recipe,
            seed=work.seed,
            points=points,
            checkpoint=job.checkpoints / f"{work.key}.pt",
            checkpoint_seconds=job.checkpoint_seconds,
            on_step=lambda step, steps: report("training", step / steps),
            on_point=worth_going_on,
        )
        done: dict[str, Any] = {
            "outcome": "trained" if result.finished else "stopped",
            "top1": result.top1,
            "epochs": result.curve[-1].epoch,
            "curve": [dataclasses.asdict(log) for log in result.curve],
            "train_seconds": result.train_seconds,
            "images_per_second": result.images_per_second,
        }
        if not result.finished and work.stop is not None:
            done["reason"] = (
                f"top1 {result.top1:.2%} half way: with the most that is still to come it would not be among those "
                "that go on"
            )
        if work.seed != job.seed or not result.finished:
            return done
        path = job.weights / f"{work.config.arch_id}.safetensors"
        part = path.with_name(path.name + ".part")
        try:
            save_file(result.weights, part, metadata={"epochs": f"{done['epochs']:g}", "seed": str(work.seed)})
            part.replace(path)
        except (OSError, SafetensorError) as error:  # a full disk: the trial's figures are worth more than its weights
            part.unlink(missing_ok=True)
            path.unlink(missing_ok=True)  # those of a shorter training
            done["weights_lost"] = str(error)
        return done


def make_evaluator(job: Job) -> Callable[[Work, Report], dict[str, Any]]:
    """What a worker process does with each work of a study, on one thread."""
    torch.set_num_threads(1)
    return Evaluator(job).evaluate


def kept_meter(baseline_ms: float) -> LatencyMeter:
    """A meter of this device with the baseline that a study began with."""
    return dataclasses.replace(LatencyMeter.open(), baseline_ms=baseline_ms)


def measure_in_full(config: MobileFormerConfig, meter: LatencyMeter | Runner, seed: int) -> Latency | RunnerLatency:
    """The latency of a network at the deployment size, within 1 % or what half a minute gives."""
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(MobileFormer(config, seed=seed), config.resolution, path)
        return meter.measure(path)


def latency_columns(found: Latency | RunnerLatency) -> dict[str, Any]:
    """A measured latency as the columns of a trial."""
    return {
        "latency_ms": found.latency_ms,
        "latency_low_ms": found.latency_low_ms,
        "latency_high_ms": found.latency_high_ms,
        "latency_ratio": found.ratio,
        "latency_disturbed": found.disturbed,
    }
