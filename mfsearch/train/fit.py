"""`mfsearch train`: trains the network of a bundle on images and puts the weights into the bundle."""

import contextlib
import dataclasses
import json
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

from mfsearch.data.image_data import DamagedError, DataError
from mfsearch.export.bundle import Bundle, read_bundle, replace_weights
from mfsearch.export.bundle_manifest import TRAINING, changed, read_json
from mfsearch.study.files import DiskError, now
from mfsearch.train.board import Board, check_tensorboard
from mfsearch.train.distributed import Processes, open_processes
from mfsearch.train.draws import generators_kept
from mfsearch.train.images import TrainingImages, damaged_in, load_images
from mfsearch.train.parts import timm_version
from mfsearch.train.start import Start, TrainedWeights, find_weights, first_weights, given_weights
from mfsearch.train.teacher import find_teacher
from mfsearch.train.train_options import (
    CLASSIFIER_LR_RATIO,
    FINE_TUNING,
    TEACHING,
    Request,
    TrainSettings,
    make_settings,
    told_fine_tuning,
)
from mfsearch.train.training import FullTraining, StopSwitch, choose_threads
from mfsearch.train.training_folder import (
    BEST,
    CHECKPOINT,
    FILES,
    PART,
    RESULT,
    EpochRow,
    locked,
    stored_checkpoint,
    write_json,
)

SPLIT_SEED = 0  # every training has the validation images of a search with seed 0
RATIO = "classifier_lr_ratio"


class Session(NamedTuple):
    """A training that is ready for its first or next step. defaults: of a fine-tuning that are in force, in a line."""

    bundle: Bundle
    images: TrainingImages
    settings: TrainSettings
    start: Start
    training: FullTraining
    folder: Path
    processes: Processes
    threads_before: int | None = None  # of the checkpoint
    defaults: str = ""


class Callbacks(NamedTuple):
    """Called by the first process while a training runs."""

    began: Callable[[Session], None] = lambda _: None
    step: Callable[[FullTraining], None] = lambda _: None
    epoch: Callable[[EpochRow], None] = lambda _: None


def train_bundle(request: Request, watcher: Callbacks | None = None) -> dict[str, Any]:
    """Train the network of a bundle in full, put the best weights into it and return the result.

    The same request resumes an interrupted training. The bundle changes only at the end. Raises ValueError if the
    bundle, settings, weights, data (DataError) or checkpoint are invalid or do not belong together, DivergenceError,
    DiskError, and KeyboardInterrupt after Ctrl-C, with a checkpoint written.
    """
    watcher = watcher or Callbacks()
    if request.tensorboard:
        check_tensorboard()
    bundle = _read_whole(request.bundle)
    whole = bundle.folder.resolve()  # a name also for a bundle given as "."
    folder = request.to or whole.with_name(f"{whole.name}-training")
    _check_apart(folder, bundle.folder)
    stop = StopSwitch()
    with (
        open_processes(request.device, request.world_size, request.local_rank) as processes,
        generators_kept(),
        contextlib.ExitStack() as after,
    ):
        after.callback(torch.set_num_threads, torch.get_num_threads())
        first = processes.rank == 0
        begun = processes.from_first(lambda: (stored_checkpoint(folder / CHECKPOINT) or {}).get("identity"))
        given = find_weights(request, bundle, begun)
        tunes = given is not None and (begun is None or RATIO in begun)  # trainings before 2026-11-28 had no defaults
        settings = make_settings(
            bundle.training | (FINE_TUNING | given.pixels if given is not None and tunes else {}),
            bundle.config.resolution,
            _changes(request),
            place=str(bundle.folder / "train.yaml"),
        )
        images = load_images(
            request.data,
            data_dir=request.data_dir,
            seed=SPLIT_SEED,
            samples=request.samples,
            download=request.download,
            skip_damaged=request.skip_damaged,
        )
        _check_classes(bundle, images, request)
        processes.from_first(lambda: _check_replaces(bundle, folder, images, request))
        start = first_weights(settings.seed)
        if given is not None:
            start = given_weights(
                given.file,
                bundle.config,
                images.classes,
                recorded=given.class_names,
                seed=settings.seed,
                new_classifier=request.new_classifier,
            )
            if tunes and RATIO not in request.changes:
                fresh = CLASSIFIER_LR_RATIO if given.untrained_classifier or start.new_classifier else None
                settings = dataclasses.replace(settings, classifier_lr_ratio=begun[RATIO] if begun else fresh)
        teacher, teacher_name = None, request.teacher
        if teacher_name is not None:
            pixels = settings.mean, settings.std, processes.device
            teacher = find_teacher(teacher_name, images.classes, *pixels, download=request.download)
            if begun is None or begun["teacher"] != teacher_name:  # before 2026-11-28 that was its path
                teacher_name = teacher.name
        ended = processes.from_first(lambda: _tuned_before(bundle, folder, given, settings, images, teacher_name))
        if ended is not None:
            return ended
        if processes.summed([start.name != processes.from_first(lambda: start.name)])[0]:
            raise ValueError(
                f"{bundle.folder}: its weights differ between the machines; copy the first one's to the others"
            )
        with locked(folder) if first else contextlib.nullcontext():
            training = FullTraining(
                bundle.config,
                images,
                settings,
                processes,
                start=start.tensors,
                start_name=start.name,
                teacher=teacher,
                teacher_name=teacher_name,
                workers=request.workers,
                amp=_amp(request, bundle),
            )
            training.load(folder / CHECKPOINT)
            before = training.threads
            training.threads = request.threads or before or choose_threads(training)
            torch.set_num_threads(training.threads)
            if first:
                told = told_fine_tuning(settings, request.changes) if tunes else ""
                watcher.began(Session(bundle, images, settings, start, training, folder, processes, before, told))
            board = Board(folder, training.rows) if first and request.tensorboard else None

            def on_epoch(row: EpochRow) -> None:
                watcher.epoch(row)
                if board is not None:
                    board.add(row)

            facts = {"arch_id": bundle.config.arch_id, "classes": list(images.classes), "size": settings.size}
            with stop.listening(), contextlib.closing(board) if board is not None else contextlib.nullcontext():
                try:
                    training.run(
                        folder,
                        stop,
                        checkpoint_seconds=request.checkpoint_seconds,
                        facts=facts,
                        on_step=watcher.step if first else lambda _: None,
                        on_epoch=on_epoch if first else lambda _: None,
                    )
                except DataError:  # names one file; find all of them now, not before every training
                    if damaged := damaged_in(images.train, images.val):
                        raise DamagedError(images.name, damaged) from None
                    raise
            return _finish(Session(bundle, images, settings, start, training, folder, processes))


def _read_whole(folder: Path) -> Bundle:
    """The bundle; ValueError if any of its files was changed."""
    bundle = _bundle_to_train(folder)
    for name, told in bundle.manifest.files.items():
        if wrong := changed(folder, name, told):
            raise ValueError(f"{folder / name}: {wrong}")
    return bundle


def _check_apart(folder: Path, bundle: Path) -> None:
    if folder.resolve() == bundle.resolve():
        raise ValueError(f"--to must be another folder than the bundle, got {folder}")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--to must be a folder, {folder} is a file")
    if folder.is_dir() and not any((folder / name).exists() for name in (CHECKPOINT, RESULT)):
        others = sorted({path.name.removesuffix(PART) for path in folder.iterdir()} - FILES)
        if others:
            raise ValueError(f"--to must be a new folder or that of a training; {folder} holds {others[0]}")


def _changes(request: Request) -> Mapping[str, Any]:
    if request.teacher is None:
        for name in ("distill", "temperature"):
            if name in request.changes:
                raise ValueError(f"--{name} is for --teacher, which is not given")
        return request.changes
    return TEACHING | request.changes


def _amp(request: Request, bundle: Bundle) -> bool:
    if request.amp and request.device != "cuda":
        raise ValueError(f"--amp is for --device cuda, got {request.device}: half precision is slower on a processor")
    return request.amp or (request.device == "cuda" and bool(bundle.training.get("amp")))


def _check_classes(bundle: Bundle, images: TrainingImages, request: Request) -> None:
    if len(images.classes) != bundle.config.classes:
        raise ValueError(
            f"{bundle.folder} is for {bundle.config.classes} classes, {request.data} has {len(images.classes)}: export "
            f"the network for them, `{_export_for(bundle, len(images.classes))}`"
        )


def _bundle_to_train(folder: Path) -> Bundle:
    """The bundle; ValueError if it was changed or its weights could not be replaced at the end."""
    try:
        bundle = read_bundle(folder)
    except ValueError as error:
        way = "; one training's settings change with --set KEY=VALUE" if f"{TRAINING}: changed" in str(error) else ""
        raise ValueError(f"{error}{way}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{folder}: must be a folder that can be written: it gets the weights at the end")
    return bundle


def _export_for(bundle: Bundle, classes: int) -> str:
    """The command that exports the bundle's network again for another number of classes."""
    batch = " --dynamic-batch" if bundle.metrics.onnx.batch == "any" else ""
    return f"mfsearch export {shlex.quote(str(bundle.folder))}{batch} --classes {classes} --to DIR"


def _check_replaces(bundle: Bundle, folder: Path, images: TrainingImages, request: Request) -> None:
    """Raise ValueError if the weights of another training would be lost."""
    full, weights = bundle.metrics.full_training, bundle.metrics.weights
    released = weights.published is not None and not weights.fresh_tensors
    if request.replace or not (full or released) or (full is not None and full == _kept_result(folder)):
        return
    held = "the authors' published weights" if released else "the weights of another full training"
    names = bundle.metrics.class_names
    classes = ""
    if names is not None and names != images.classes:
        theirs, own = next((a, b) for a, b in zip(names, images.classes, strict=True) if a != b)
        classes = f" on other classes ({theirs!r} where {request.data} has {own!r})"
    raise ValueError(f"{bundle.folder} holds {held}{classes}: export the network anew, or say --replace to lose them")


def _kept_result(folder: Path) -> dict[str, Any] | None:
    """The result that a finished training in this folder put into its bundle; None without one."""
    try:
        kept = read_json(folder / RESULT)
    except ValueError:
        return None
    return {name: value for name, value in kept.items() if name != "class_names"}


def _ended_before(begun: Session) -> dict[str, Any] | None:
    """The result of this training if the bundle has it already; None otherwise."""
    kept = _kept_result(begun.folder)
    return kept if kept == begun.bundle.metrics.full_training else None


def _tuned_before(
    bundle: Bundle,
    folder: Path,
    given: TrainedWeights | None,
    settings: TrainSettings,
    images: TrainingImages,
    teacher: str | None,
) -> dict[str, Any] | None:
    """The result of this fine-tuning if it has replaced the weights that it began with; None otherwise."""
    kept = _kept_result(folder)
    own = given is not None and bundle.weights is not None and given.file.resolve() == bundle.weights.resolve()
    if not own or kept is None or kept != bundle.metrics.full_training:
        return None
    asked = json.loads(json.dumps(settings.as_dict()))
    same = (asked | kept["settings"], kept["data_digest"], kept.get("teacher")) == (asked, images.digest, teacher)
    return kept if same else None


def _best_weights(folder: Path) -> dict[str, torch.Tensor]:
    if not (folder / BEST).is_file():
        raise ValueError(f"{folder / BEST}: missing; put it back, or delete {folder} to train anew")
    return load_file(folder / BEST)


def _finish(begun: Session) -> dict[str, Any]:
    """The result of a finished training; the first process puts it and the best weights into the bundle."""
    training, images, processes = begun.training, begun.images, begun.processes
    ended = processes.from_first(lambda: _ended_before(begun))
    if ended is not None:
        return ended
    best = next(row for row in training.rows if row.epoch == training.best)
    weights = processes.from_first(lambda: _best_weights(begun.folder))
    deployed, side = None, begun.bundle.config.resolution
    if side != begun.settings.size:
        top1, top5, val_loss = training.evaluate_at(side, weights)
        deployed = {"size": side, "top1": top1, "top5": top5, "val_loss": val_loss}
    result = {
        "top1": best.top1,
        "top5": best.top5,
        "val_loss": best.val_loss,
        "epoch": best.epoch,
        "epochs": training.epochs,
        "size": begun.settings.size,
        "deployed": deployed,
        "data": images.name,
        "data_digest": images.digest,
        "train_images": len(images.train.labels),
        "val_images": len(images.val.labels),
        "val_from": images.val_from,
        "start": begun.start.note,
        "teacher": training.identity["teacher"],
        "seconds": round(sum(row.seconds for row in training.rows), 1),
        "processes": processes.size,
        "device": processes.device.type,
        "amp": training.amp_enabled,
        "timm": timm_version(),
        "finished": now(),
        "mean": list(begun.settings.mean),
        "std": list(begun.settings.std),
        "settings": begun.settings.as_dict(),
        "curve": [dataclasses.asdict(row) for row in training.rows],
        "class_names": list(images.classes),
    }
    if processes.rank == 0:
        write_json(begun.folder / RESULT, result)  # first: the bundle's own copy is known by it
        try:
            replace_weights(begun.bundle.folder, begun.folder / BEST, result=result)
        except OSError as error:
            raise DiskError(f"cannot write the weights into {begun.bundle.folder}: {error.strerror or error}") from None
    return {name: value for name, value in result.items() if name != "class_names"}
