"""Measurements beside the search: the parent's at the start, and the front's latencies, again in one go, at the end."""

import contextlib
import dataclasses
import datetime
import math
import time
from collections.abc import Callable

import torch

from mfsearch.cost.madds import count_costs
from mfsearch.cost.meter import LatencyMeter
from mfsearch.cost.onnx_export import ExportError
from mfsearch.cost.runner import Runner, RunnerError
from mfsearch.data import ImageData
from mfsearch.proxy.batch_norm import restate_batch_norm
from mfsearch.proxy.short_train import EVAL_BATCH, DeviceData, evaluate, one_thread
from mfsearch.search.cutter import Cutter, ParentWeights
from mfsearch.search.evaluator import measure_in_full, trial_latency
from mfsearch.search.front import front_in_search
from mfsearch.search.progress import OnEvent, Progress, SearchEvent
from mfsearch.space.nested import NestedSpace
from mfsearch.study.files import now
from mfsearch.study.kept_parent import FINE_TUNED, KeptParent
from mfsearch.study.ledger import Ledger
from mfsearch.study.manifest import Manifest
from mfsearch.study.settings import Settings
from mfsearch.study.trial import FinalLatency, Training, Trial

PARENT_SECONDS = 13.0  # for the parent's latency


def measure_parent(
    settings: Settings,
    manifest: Manifest,
    weights: ParentWeights,
    images: ImageData,
    open_meter: Callable[[], LatencyMeter | Runner],
) -> KeptParent:
    """The parent's costs, its top1 on the study's validation images and, with a limit, its latency.

    BatchNorm statistics are re-estimated on the study's images, as for every network of the search. Without a latency
    if it cannot be measured.
    """
    parent, recipe = settings.parent, settings.recipe
    assert parent is not None
    assert isinstance(settings.space, NestedSpace)
    data = DeviceData(images, torch.device(settings.device))
    network = Cutter(weights).parent.to(data.device)
    first = data.train_images[: recipe.norm_images]
    with one_thread():
        restate_batch_norm(network, map(data.normalized, first.tensor_split(math.ceil(len(first) / EVAL_BATCH))))
        top1 = evaluate(network, data).top1
    config = dataclasses.replace(parent.config, resolution=manifest.resolution, classes=manifest.classes)
    costs, latency = count_costs(config), None
    if settings.latency_limit_ms is not None:
        with contextlib.suppress(RunnerError, ExportError, ValueError, OSError), one_thread():
            latency = trial_latency(measure_in_full(config, open_meter(), settings.seed, PARENT_SECONDS))
    trial = Trial(
        number=-1,
        outcome="trained",
        origin=f"parent {parent.facts.name}",
        reason=FINE_TUNED if parent.class_names != manifest.class_names else None,
        arch_id=parent.facts.arch_id,
        config_data=parent.config.to_dict(),
        madds=costs.madds,
        macs=costs.macs,
        num_params=costs.num_params,
        activation_bytes=costs.activation_bytes,
        resolution=manifest.resolution,
        measured=latency,
        short=Training(top1=top1),
    )
    return KeptParent(parent.facts, trial, settings.space.to_yaml())


def measure_front(
    progress: Progress,
    limit_ms: float,
    *,
    ledger: Ledger,
    on_event: OnEvent,
    open_meter: Callable[[], LatencyMeter | Runner],
    interrupted: Callable[[], bool],
    seed: int,
    deadline: float | None = None,
) -> None:
    """Measure all of the front again, with no training beside it, as `mfsearch latency` does; updates `progress`.

    Measures every network on the search's front, and any that the new figures bring onto it. Repeats this only if
    something was trained since, or the last run was interrupted. A network is over the limit if its whole interval is;
    a later run measures it again if the machine was disturbed. deadline: on the monotonic clock; the time until then is
    shared among the networks.
    """
    first = front_in_search(progress.trials, progress.objectives)
    stages = sum(len(trial.longer) for trial in progress.trials)
    trained = f"after {len(progress.trials)} trials and {stages} longer trainings, from "
    members = _to_measure(progress, first)
    finals = [progress.trials[place].final for place in members]
    windows = {"" if final is None else final.window for final in finals}
    if len(windows) == 1 and windows.pop().startswith(trained) and not any(map(_in_doubt, progress.trials)):
        return
    window = trained + datetime.datetime.now(datetime.UTC).isoformat()
    meter = None
    done: set[int] = set()
    while left := [place for place in _to_measure(progress, first) if place not in done]:
        for k, place in enumerate(left, 1):
            if interrupted():
                return
            done.add(place)
            trial = progress.trials[place]
            progress.stage = f"measuring the front's latencies again, {k} of {len(left)}"
            progress.to_measure = len(left) - k + 1
            on_event(SearchEvent("tick", progress))
            share = None if deadline is None else (deadline - time.monotonic()) / progress.to_measure
            try:
                meter = meter or open_meter()
                latency = trial_latency(measure_in_full(trial.config, meter, seed, share))
            except RunnerError as error:
                text = f"the front's latencies are not measured again: {error}; the same command tries again"
                on_event(SearchEvent("problem", progress, text=text))
                return
            except (ExportError, ValueError, OSError) as error:
                text = f"trial {trial.number}'s latency is not measured again: {error}; the same command tries again"
                on_event(SearchEvent("problem", progress, trial, text=text))
                continue
            lowest = latency.ms if latency.low_ms is None else latency.low_ms
            final = FinalLatency(latency, window, now(), over_limit=lowest > limit_ms)
            ledger.add_latency(trial.number, final)
            progress.trials[place] = dataclasses.replace(trial, final=final)
            on_event(SearchEvent("latency", progress, progress.trials[place], left=len(left) - k))
        progress.rank()


def _to_measure(progress: Progress, first: list[int]) -> list[int]:
    """Indices of the trials to measure: `first`, the front, and networks that may be over the limit by mistake."""
    numbers = {*first, *progress.front}
    return [place for place, one in enumerate(progress.trials) if one.number in numbers or _in_doubt(one)]


def _in_doubt(trial: Trial) -> bool:
    return trial.final is not None and trial.over_limit and bool(trial.final.latency.disturbed)
