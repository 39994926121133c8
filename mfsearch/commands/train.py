"""train: the full training of a bundle, on one device or under torchrun."""

import argparse
import contextlib
import json
import math
import os
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from mfsearch.units import format_seconds

if TYPE_CHECKING:
    from mfsearch.train.files import EpochRow
    from mfsearch.train.fit import Begun
    from mfsearch.train.training import Training


def train(args: argparse.Namespace) -> int:
    """Train a bundle's network in full and put the weights into it; the same command again goes on."""
    from mfsearch.export.bundle_manifest import INT8, PTE
    from mfsearch.train.fit import Request, Watcher, train_bundle

    if not math.isfinite(args.checkpoint_minutes) or args.checkpoint_minutes <= 0:
        raise ValueError(f"--checkpoint-minutes must be above 0, got {args.checkpoint_minutes:g}")
    request = Request(
        bundle=args.bundle,
        data=args.data,
        data_dir=args.data_dir,
        download=args.download,
        samples=args.samples,
        changes=_changes(args),
        weights=args.weights,
        new_classifier=args.new_classifier,
        teacher=args.teacher,
        device=args.device,
        amp=args.amp,
        workers=args.workers,
        checkpoint_seconds=60 * args.checkpoint_minutes,
        tensorboard=args.tensorboard,
        to=args.to,
        replace=args.replace,
    )
    others = [name for name in (INT8, PTE) if (args.bundle / name).is_file()]
    with _Display(quiet=args.json) as display:
        result = train_bundle(request, Watcher(display.began, display.step, display.epoch))
    if int(os.environ.get("RANK", "0")):
        return 0
    if args.json:
        print(json.dumps(result, indent=1))
        return 0
    print(
        f"{args.bundle} holds the weights of epoch {result['epoch']} of {result['epochs']}: top1 {result['top1']:.2%}"
    )
    if gone := [name for name in others if not (args.bundle / name).is_file()]:
        print(
            f"gone, as made of the weights before: {', '.join(gone)}; `mfsearch export {args.bundle}` makes them anew"
        )
    return 0


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the options change of train.yaml; a named option overrules --set."""
    changes: dict[str, Any] = {}
    for text in args.set:
        key, found, value = text.partition("=")
        if not found:
            raise ValueError(f"--set must be KEY=VALUE like mixup=0.2, got {text!r}")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"--set {key}: {value!r} is not a value of YAML") from None
    for key in ("batch_size", "grad_accum_steps", "input_size", "img_size"):
        if key in changes:
            raise ValueError(f"--set {key}: say --batch, --micro-batch or --size")
    named = ("epochs", "size", "batch", "micro_batch", "lr", "seed", "distill", "temperature")
    return changes | {name: getattr(args, name) for name in named if getattr(args, name) is not None}


class _Display(contextlib.AbstractContextManager["_Display"]):
    """A bar on a terminal, a line an epoch everywhere, nothing where only JSON is wanted."""

    def __init__(self, *, quiet: bool) -> None:
        self.console, self.quiet, self.loss = Console(stderr=quiet, highlight=False), quiet, ""
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )

    def __exit__(self, *_: object) -> None:
        if self.bar.live.is_started:  # else it would print an empty line
            self.bar.stop()

    def began(self, begun: "Begun") -> None:
        if self.quiet:
            return
        training, settings, images = begun.training, begun.settings, begun.images
        name = begun.bundle.manifest.bundle
        self._say(f"network   {name} ({begun.bundle.config.arch_id}), {begun.start.note}")
        if begun.start.tensors is None and begun.bundle.metrics.weights.trained_tensors:
            self._say("          the bundle's own are not used; --weights fine-tunes from them")
        self._say(
            f"data      {images.name}: {len(images.train.labels)} training images, {len(images.val.labels)} for "
            f"validation ({images.val_from}), {len(images.classes)} classes"
        )
        size = f"{settings.size} px"
        if settings.size != begun.bundle.config.resolution:
            size += f" (the bundle's costs are at {begun.bundle.config.resolution} px)"
        self._say(
            f"training  {training.epochs} epochs at {size}, {settings.opt}, lr {settings.lr:g}, batch {settings.batch} "
            f"in parts of {settings.micro_batch}, {begun.processes.size} process(es) on {begun.processes.device.type}"
        )
        how = "step" if settings.sched_on_updates else "epoch"
        self._say(
            f"schedule  {settings.sched} by {how}, warm-up {settings.warmup_epochs:g} epochs, cooldown "
            f"{settings.cooldown_epochs}"
        )
        if training.teacher is not None:
            self._say(f"teacher   {settings.distill:.0%} of the loss, at temperature {settings.temperature:g}")
        self._say(f"folder    {begun.folder}")
        if training.step:
            self._say(f"goes on after step {training.step} of {training.steps}")
        self._say(f"\n{'epoch':>7} {'loss':>8} {'val loss':>9} {'top1':>8} {'top5':>8} {'lr':>10} {'time':>9}")
        if self.console.is_terminal:
            self.bar.start()
            self.task = self.bar.add_task("epoch", total=training.steps, completed=training.step, loss="")

    def step(self, training: "Training") -> None:
        if self.bar.live.is_started:
            done = (training.step - 1) % training.per_epoch + 1
            epoch = (training.step - 1) // training.per_epoch + 1
            self.loss = f"loss {float(training.loss_sum) / done:.4f}" if done % 8 == 1 else self.loss
            text = f"epoch {epoch}/{training.epochs}"
            self.bar.update(self.task, completed=training.step, description=text, loss=self.loss)

    def epoch(self, row: "EpochRow") -> None:
        if not self.quiet:
            self._say(
                f"{row.epoch:>7} {row.train_loss:>8.4f} {row.val_loss:>9.4f} {row.top1:>8.2%} {row.top5:>8.2%} "
                f"{row.lr:>10.3g} {format_seconds(row.seconds):>9}"
            )

    def _say(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)
