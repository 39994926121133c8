"""Train a bundle's network in full; the same command again resumes."""

import argparse
import contextlib
import json
import math
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfsearch.commands import options
from mfsearch.references.libraries import check_libraries
from mfsearch.train.train_options import TEACHING, Request
from mfsearch.units import counted, format_seconds

if TYPE_CHECKING:
    from mfsearch.train.fit import Session
    from mfsearch.train.training import FullTraining
    from mfsearch.train.training_folder import EpochRow


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder that `mfsearch export` wrote")
    options.add_data(parser, "folder of train/CLASS/*.jpg, cifar10, cifar100 or digits", required=True)
    parser.add_argument("--samples", type=options.whole, help="training images used (default: all)")
    parser.add_argument("--to", type=Path, help="folder for checkpoint, weights and logs (default: BUNDLE-training)")
    parser.add_argument("--replace", action="store_true", help="overwrite another full training's weights in BUNDLE")
    options.add_default(parser, "--device", Request.device, "cpu or cuda; several by torchrun")
    parser.add_argument("--amp", action="store_true", help="mixed precision, on cuda")
    options.add_default(parser, "--workers", Request.workers, "processes that load images")
    text = "threads of each process on a CPU (default: 1 on a busy machine, else as many as are fastest; kept)"
    parser.add_argument("--threads", type=options.whole, help=text)
    minutes = Request.checkpoint_seconds / 60
    options.add_default(parser, "--checkpoint-minutes", minutes, "minutes between checkpoints within an epoch")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard logs")
    options.add_json(parser)
    recipe = parser.add_argument_group("recipe (defaults: the bundle's train.yaml; a fine-tuning prints its own)")
    recipe.add_argument("--epochs", type=options.whole, help="passes over the images; the schedule adapts")
    recipe.add_argument("--size", type=options.whole, help="input side in pixels")
    recipe.add_argument("--batch", type=options.whole, help="images per step, over all processes")
    recipe.add_argument("--micro-batch", type=options.whole, help="images at once in one process")
    recipe.add_argument("--lr", type=float, help="peak learning rate, for the whole batch")
    recipe.add_argument("--seed", type=options.whole, help="seed of first weights, order and augmentation")
    recipe.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other key of train.yaml")
    begin = parser.add_argument_group("fine-tuning and distillation")
    begin.add_argument("--weights", type=Path, help="file or bundle to fine-tune (default: BUNDLE, if it is trained)")
    begin.add_argument("--scratch", action="store_true", help="train from first weights, by the recipe of train.yaml")
    begin.add_argument("--new-classifier", action="store_true", help="re-initialise the classifier of these weights")
    text = "learn from a bundle, a study's parent, or a timm model; --download gets the weights of a NAME alone"
    begin.add_argument("--teacher", metavar="BUNDLE|STUDY|NAME[:FILE]", help=text)
    for name, text in (("distill", "the teacher's share of the loss"), ("temperature", "of the teacher's logits")):
        begin.add_argument(f"--{name}", type=float, help=f"{text} (default: {TEACHING[name]:g})")


def run(args: argparse.Namespace) -> int:
    """Train, put the weights into the bundle and print its top-1."""
    options.begin("train", args.bundle, args.data)
    check_libraries("a full training", "train")
    from mfsearch.export.bundle_manifest import INT8, PTE
    from mfsearch.train.fit import Callbacks, train_bundle

    if not math.isfinite(args.checkpoint_minutes) or args.checkpoint_minutes <= 0:
        raise ValueError(f"--checkpoint-minutes must be above 0, got {args.checkpoint_minutes:g}")
    if args.threads is not None and not 1 <= args.threads <= 256:
        raise ValueError(f"--threads must be 1 to 256, got {args.threads}")
    request = Request(
        bundle=args.bundle,
        data=args.data,
        data_dir=args.data_dir or args.data_home,
        download=args.download,
        samples=args.samples,
        skip_damaged=args.skip_damaged,
        changes=_changes(args),
        scratch=args.scratch,
        weights=args.weights,
        new_classifier=args.new_classifier,
        teacher=args.teacher,
        device=args.device,
        amp=args.amp,
        workers=args.workers,
        threads=args.threads,
        checkpoint_seconds=60 * args.checkpoint_minutes,
        tensorboard=args.tensorboard,
        to=args.to,
        replace=args.replace,
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
    )
    others = [name for name in (INT8, PTE) if (args.bundle / name).is_file()]
    try:
        with _Display(quiet=args.json) as display:
            result = train_bundle(request, Callbacks(display.began, display.step, display.epoch))
    except KeyboardInterrupt:
        if display.session is None:  # before the first step, or not the first process
            raise
        print(_interrupted(display.session, args), file=sys.stderr)
        return 130
    if int(os.environ.get("RANK", "0")):
        return 0
    if args.json:
        print(json.dumps(result, indent=1))
        return 0
    print(
        f"{args.bundle} holds the weights of epoch {result['epoch']} of {result['epochs']}: top1 {result['top1']:.2%}"
        + ("" if result["epoch"] else ", with which it began, as no epoch was better")
    )
    if (deployed := result.get("deployed")) is not None:
        size = result["size"]
        print(
            f"model.onnx is for {deployed['size']} px, and top1 is {deployed['top1']:.2%} there; "
            f"`mfsearch export {args.bundle} --resolution {size} --to DIR` writes it for {size} px"
        )
    if gone := [name for name in others if not (args.bundle / name).is_file()]:
        print(
            f"deleted, as made from the old weights: {', '.join(gone)}; `mfsearch export {args.bundle}` makes new ones"
        )
    return 0


def _interrupted(session: "Session", args: argparse.Namespace) -> str:
    """What is on disk of a training that Ctrl-C ended, and the command that resumes it."""
    from mfsearch.train.training_folder import BEST, weights_facts

    training, folder = session.training, session.folder
    step, best = training.kept_step, weights_facts(folder / BEST)
    if step is None:
        return f"interrupted before the first checkpoint: nothing is kept, {args.bundle} is unchanged"
    kept = f"step {step} of {training.steps} (epoch {math.ceil(step / training.per_epoch)} of {training.epochs})"
    if best:
        kept += f" and the best weights so far (epoch {best['epoch']}, top1 {best['top1']:.2%})"
    again = args.command_line if session.processes.size == 1 else "the same torchrun command"
    return f"interrupted; {folder} keeps {kept}, {args.bundle} is unchanged. To resume:\n  {again}"


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """The options' changes to train.yaml; a named option overrules --set."""
    from mfsearch.plain_files import parse_yaml

    changes: dict[str, Any] = {}
    for text in args.set:
        key, found, value = text.partition("=")
        if not found:
            raise ValueError(f"--set must be KEY=VALUE like mixup=0.2, got {text!r:.200}")
        try:
            changes[key.strip()] = parse_yaml(value, key)[0]
        except ValueError:
            raise ValueError(f"--set {key:.200}: {value!r:.200} is not a value of YAML") from None
    for key in ("batch_size", "grad_accum_steps", "input_size", "img_size"):
        if key in changes:
            raise ValueError(f"--set {key}: say --batch, --micro-batch or --size")
    named = ("epochs", "size", "batch", "micro_batch", "lr", "seed", "distill", "temperature")
    return changes | {name: getattr(args, name) for name in named if getattr(args, name) is not None}


class _Display(contextlib.AbstractContextManager["_Display"]):
    """A bar on a terminal, a line an epoch everywhere, nothing where only JSON is wanted."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.console, self.quiet, self.loss = Console(stderr=quiet, highlight=False), quiet, ""
        self.session: Session | None = None
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )

    def __exit__(self, *_: object) -> None:
        if self.bar.live.is_started:  # else it would print an empty line
            self.bar.stop()

    def began(self, begun: "Session") -> None:
        self.session = begun
        training, settings, images = begun.training, begun.settings, begun.images
        before, threads = begun.threads_before, training.threads
        if before not in (None, threads):
            self._say(f"threads   {threads}, before {before}: the last digits may differ from an uninterrupted run")
        if self.quiet:
            return
        self.started, self.first, self.steps = time.monotonic(), training.step, training.steps
        self._say(f"network   {begun.bundle.manifest.bundle} ({begun.bundle.config.arch_id}), {begun.start.note}")
        if begun.start.tensors is None and begun.bundle.metrics.weights.trained_tensors:
            self._say("          the bundle's own are not used; another --to, without --scratch, fine-tunes them")
        if begun.defaults:
            self._say(f"          fine-tuning: {begun.defaults}")
        self._say(
            f"data      {images.name}: {len(images.train.labels)} training images, {len(images.val.labels)} for "
            f"validation ({images.val_from}), {len(images.classes)} classes"
        )
        size = f"{settings.size} px"
        if settings.size != begun.bundle.config.resolution:
            size += f" (the bundle's costs are at {begun.bundle.config.resolution} px)"
        for note in images.notes:
            self._say(f"          {note}".replace("\n", "\n          "))
        self._say(
            f"training  {counted(training.epochs, 'epoch')} at {size}, {settings.opt}, lr {settings.lr:g}, batch "
            f"{settings.batch} in parts of {settings.micro_batch}, {begun.processes.size} process(es) of "
            f"{counted(threads or 1, 'thread')} on "
            f"{begun.processes.device.type}"
        )
        how = "step" if settings.sched_on_updates else "epoch"
        self._say(
            f"schedule  {settings.sched} by {how}, warm-up {counted(settings.warmup_epochs, 'epoch')}, cooldown "
            f"{settings.cooldown_epochs}"
        )
        if training.teacher is not None:
            name = training.identity["teacher"]
            self._say(f"teacher   {name}, {settings.distill:.0%} of the loss, temperature {settings.temperature:g}")
        elif (study := begun.bundle.manifest.study) is not None and (parent := study.parent) is not None:
            from mfsearch.train.teacher import study_of_parent

            name = shlex.quote(study_of_parent(study) or "BUNDLE")
            self._say(
                f"          cut from {parent.name} (weights {parent.digest[:16]}): --teacher {name} learns from it"
            )
        self._say(f"folder    {begun.folder}")
        if training.step:
            self._say(f"resumes after step {training.step} of {training.steps}")
        self._say(f"\n{'epoch':>7} {'loss':>8} {'val loss':>9} {'top1':>8} {'top5':>8} {'lr':>10} {'time':>9}")
        if self.console.is_terminal:
            self.bar.start()
            self.task = self.bar.add_task("epoch", total=training.steps, completed=training.step, loss="")

    def step(self, training: "FullTraining") -> None:
        self.at = training.step
        if not self.quiet and self.at == self.first + 3:
            self._say(f"{self._left()} of {counted(training.epochs, 'epoch')}, by the first steps")
        if self.bar.live.is_started:
            done = (training.step - 1) % training.per_epoch + 1
            epoch = (training.step - 1) // training.per_epoch + 1
            self.loss = f"loss {float(training.loss_sum) / done:.4f}" if done % 8 == 1 else self.loss
            text = f"epoch {epoch}/{training.epochs}"
            self.bar.update(self.task, completed=training.step, description=text, loss=self.loss)

    def epoch(self, row: "EpochRow") -> None:
        if not self.quiet:
            loss = "" if row.train_loss is None else f"{row.train_loss:.4f}"
            self._say(
                f"{row.epoch:>7} {loss:>8} {row.val_loss:>9.4f} {row.top1:>8.2%} {row.top5:>8.2%} "
                f"{row.lr:>10.3g} {format_seconds(row.seconds):>9}  {self._left() if row.epoch else 'as it begins'}"
            )

    def _left(self) -> str:
        """By the steps of this piece."""
        seconds = (time.monotonic() - self.started) / (self.at - self.first) * (self.steps - self.at)
        return f"about {format_seconds(seconds)} left"

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, emoji=False, soft_wrap=True)
