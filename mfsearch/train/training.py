"""The full training of a network: its state, its steps, and how it resumes from a checkpoint.

Shapes: B images, K classes.
"""

import contextlib
import copy
import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import MobileFormerConfig
from mfsearch.data import DataError
from mfsearch.model import MobileFormer
from mfsearch.train import parts
from mfsearch.train.batches import Order, eval_loader, train_loader
from mfsearch.train.distributed import Processes
from mfsearch.train.draws import seed_draws
from mfsearch.train.images import TrainingImages
from mfsearch.train.teacher import Teacher, distilled
from mfsearch.train.train_options import TrainSettings
from mfsearch.train.training_folder import (
    BEST,
    CHECKPOINT,
    LAST,
    SUMMARY,
    EpochRow,
    read_checkpoint,
    write_checkpoint,
    write_summary,
    write_weights,
)

BUSY = 0.5  # load average per core from which the machine counts as busy
LOOK_EVERY = 8  # steps between two looks at the loss on a GPU, which has to wait for it


class DivergenceError(RuntimeError):
    """The training cannot continue; the message says where it stopped and suggests a way on."""


class StopSwitch:
    """Notes Ctrl-C and SIGTERM, so that a training can stop between two steps; a second one interrupts at once."""

    def __init__(self) -> None:
        self.wanted = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # Python catches signals only there
            yield
            return
        before = {number: signal.signal(number, self._caught) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


class FullTraining:
    """A training between two steps, when all of its processes hold the same state."""

    def __init__(
        self,
        config: MobileFormerConfig,
        images: TrainingImages,
        settings: TrainSettings,
        processes: Processes,
        *,
        start: Mapping[str, Tensor] | None = None,
        start_name: str = "first weights",
        teacher: Teacher | None = None,
        teacher_name: str | None = None,
        workers: int = 0,
        amp: bool = False,
    ) -> None:
        """start: initial weights, drawn by the seed if None; start_name and teacher_name identify them in checkpoints.

        workers: loader processes per training process, 0 to load in the process itself. amp: mixed precision on a GPU.
        Raises ValueError if the settings do not fit the images or the number of processes.
        """
        count, share = len(images.train.labels), settings.micro_batch * processes.size
        if settings.batch % share:
            raise ValueError(
                f"batch must be a multiple of micro_batch x processes, {settings.micro_batch} x {processes.size}, "
                f"got {settings.batch}"
            )
        if count < settings.batch:
            raise ValueError(f"batch is {settings.batch}, but {images.name} has {count} training images: say --batch")
        if len(images.classes) != config.classes:
            raise ValueError(f"the network has {config.classes} classes, {images.name} {len(images.classes)}")
        self.images, self.settings, self.processes, self.teacher = images, settings, processes, teacher
        self.identity = {"schema": 1, "arch_id": config.arch_id, "classes": config.classes, "data": images.digest}
        self.identity |= {"weights": start_name, "teacher": teacher_name} | settings.as_dict()
        model = MobileFormer(config, seed=settings.seed, dropout=settings.drop, drop_path=settings.drop_path)
        self.fine_tunes = start is not None
        if start is not None:
            model.load_state_dict(dict(start))
        self.model = model.to(processes.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = parts.make_average(self.model, settings)
        self.optimizer = parts.make_optimizer(self.model, settings)
        self.order = Order(
            count,
            batch=settings.batch,
            micro_batch=settings.micro_batch,
            rank=processes.rank,
            size=processes.size,
            seed=settings.seed,
        )
        self.per_epoch = self.order.steps
        self.schedule, self.epochs = parts.make_schedule(self.optimizer, settings, self.per_epoch)
        self.mixup = parts.make_mixup(settings, config.classes)
        self.of_labels, self.of_shares = parts.make_losses(settings)
        on_gpu = processes.device.type == "cuda"
        precision = torch.bfloat16
        if on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):  # emulated it is slower than fp32
            precision = torch.float16
        self.amp_enabled = amp
        self.amp = torch.autocast(processes.device.type, dtype=precision, enabled=amp)
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=amp and precision == torch.float16)
        self.train_batches = train_loader(
            images.train,
            parts.train_transform(settings, flip=images.flip),
            self.order,
            workers=workers,
            pinned=on_gpu,
        )
        self.eval_loading: dict[str, Any] = {"rank": processes.rank, "size": processes.size}
        self.eval_loading |= {"workers": workers, "pinned": on_gpu}
        self.val_batches = eval_loader(images.val, parts.eval_transform(settings, settings.size), **self.eval_loading)
        self.step = 0
        self.loss_sum = torch.zeros((), device=processes.device)  # of the epoch's steps so far
        self.seconds = 0.0  # of the epoch so far, over all pieces of the training
        self.rows: list[EpochRow] = []
        self.best = -1
        self.kept_step: int | None = None  # of the checkpoint on disk
        self.threads: int | None = None  # of this process, on a CPU; another number may change the last digits

    @property
    def steps(self) -> int:
        """The number of steps in the whole training."""
        return self.epochs * self.per_epoch

    @property
    def network(self) -> nn.Module:
        """The network that is evaluated and written: the averaged one if the training averages weights."""
        return self.model if self.average is None else self.average.module  # type: ignore[no-any-return]

    def run(
        self,
        folder: Path,
        stop: StopSwitch,
        *,
        checkpoint_seconds: float,
        facts: Mapping[str, Any],
        on_step: Callable[["FullTraining"], None] = lambda _: None,
        on_epoch: Callable[[EpochRow], None] = lambda _: None,
    ) -> None:
        """Train from the present step to the end; call `load` first to resume from a checkpoint in `folder`.

        Given weights are judged first, as epoch 0. Each epoch ends with a checkpoint, the last and the best weights
        (with `facts` in their headers) and a summary; within an epoch a checkpoint is written every
        `checkpoint_seconds`. Raises KeyboardInterrupt (after a checkpoint) if `stop` is set, DivergenceError for a loss
        that is not finite, DiskError and DataError.
        """
        if self.fine_tunes and not self.step and not self.rows:
            begin = time.perf_counter()
            top1, top5, val_loss = self.evaluate(stop)
            row = EpochRow(0, None, val_loss, top1, top5, 0.0, time.perf_counter() - begin)
            self._keep(row, folder, facts)
            on_epoch(row)
        while self.step < self.steps:
            epoch, done = divmod(self.step, self.per_epoch)
            saved = begin = time.perf_counter()
            before = self.seconds
            self.order.epoch, self.order.first = epoch, done
            batches = iter(self.train_batches)
            for _ in range(done, self.per_epoch):
                stopping = self.train_step(batches, stop)
                now = time.perf_counter()
                self.seconds = before + now - begin
                on_step(self)
                ended = self.step % self.per_epoch == 0
                if not ended and (stopping or now - saved > checkpoint_seconds):
                    self.save(folder / CHECKPOINT)
                    saved = now
                if stopping and not ended:
                    raise KeyboardInterrupt
            row = self.end_epoch(before, begin)
            self._keep(row, folder, facts)
            on_epoch(row)
            if self.processes.summed([stop.wanted])[0] and self.step < self.steps:
                raise KeyboardInterrupt

    def _keep(self, row: EpochRow, folder: Path, facts: Mapping[str, Any]) -> None:
        """Add the row of an epoch, and write its weights, checkpoint and summary in the first process."""
        if not self.rows or row.top1 > max(earlier.top1 for earlier in self.rows):
            self.best = row.epoch
        self.rows.append(row)
        if self.processes.rank == 0:
            found = {**facts, "epoch": row.epoch, "top1": row.top1}
            if self.best == row.epoch:
                write_weights(folder / BEST, self.network.state_dict(), found)
            write_weights(folder / LAST, self.network.state_dict(), found)
            self.save(folder / CHECKPOINT)
            write_summary(folder / SUMMARY, self.rows)

    def train_step(self, batches: Iterator[Any], stop: StopSwitch) -> bool:
        """Take one step of the optimizer; returns whether all processes should stop after it."""
        settings, processes = self.settings, self.processes
        epoch = self.step // self.per_epoch
        if settings.sched_on_updates:
            self.schedule.step_update(self.step)
        else:
            self.schedule.step(epoch)
        mixing = self.mixup is not None and not 0 < settings.mixup_off_epoch <= epoch
        own = list(self.order.parts)
        total = torch.zeros((), device=processes.device)
        self.optimizer.zero_grad(set_to_none=True)
        for part in own:
            images, labels_B = _next(batches)
            images = images.to(processes.device, memory_format=torch.channels_last, non_blocking=True)
            labels_B = labels_B.to(processes.device, non_blocking=True)
            seed_draws(settings.seed, "step", self.step, part)
            if self.mixup is not None and mixing:
                images, labels_B = self.mixup(images, labels_B)  # labels become shares [B, K]
            with self.amp:
                logits_BK = self.model(images)
            logits_BK = logits_BK.float()
            loss = (self.of_shares if labels_B.ndim == 2 else self.of_labels)(logits_BK, labels_B)
            if self.teacher is not None:
                with self.amp:
                    teacher_BK = self.teacher.logits(images)
                loss = distilled(loss, logits_BK, teacher_BK, share=settings.distill, temperature=settings.temperature)
            self.scaler.scale(loss / len(own)).backward()
            total += loss.detach() / len(own)
        wanted = torch.tensor(float(stop.wanted), device=processes.device)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        processes.average_([*gradients, *self._statistics(), total, wanted])
        self.scaler.unscale_(self.optimizer)
        parts.clip_gradients(self.model, settings)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        if self.average is not None:
            self.average.update(self.model, step=self.step)
        self.loss_sum += total
        if processes.device.type == "cpu" or self.step % LOOK_EVERY == 0:
            self._check_finite(total.item())
            return wanted.item() > 0
        return False

    def _statistics(self) -> list[Tensor]:
        """Running means and variances, which are averaged over processes like gradients."""
        return [b for name, b in self.model.named_buffers() if name.endswith(("running_mean", "running_var"))]

    def end_epoch(self, before: float, begin: float) -> EpochRow:
        """Evaluate and reset the sums. before: the epoch's seconds up to the time `begin`."""
        train_loss = self.loss_sum.item() / self.per_epoch
        self._check_finite(train_loss)
        top1, top5, val_loss = self.evaluate()
        self.seconds = before + time.perf_counter() - begin
        lr = float(self.optimizer.param_groups[0]["lr"])
        row = EpochRow(self.step // self.per_epoch, train_loss, val_loss, top1, top5, lr, self.seconds)
        self.loss_sum.zero_()
        self.seconds = 0.0
        return row

    @torch.no_grad()
    def evaluate(self, stop: StopSwitch | None = None) -> tuple[float, float, float]:
        """top1, top5 (fractions) and mean cross-entropy on the validation images, over all processes.

        stop: raises KeyboardInterrupt between two batches, if there is but one process.
        """
        network = self.network.eval()
        right1, right5, loss, count = 0, 0, 0.0, 0
        batches = iter(self.val_batches)
        for _ in range(len(self.val_batches)):
            if stop is not None and stop.wanted and self.processes.size == 1:
                raise KeyboardInterrupt
            images, labels_B = _next(batches)
            labels_B = labels_B.to(self.processes.device)
            with self.amp:
                logits_BK = network(images.to(self.processes.device, memory_format=torch.channels_last))
            logits_BK = logits_BK.float()
            ranked = logits_BK.topk(min(5, logits_BK.shape[1]), dim=1).indices == labels_B[:, None]
            right1 += int(ranked[:, 0].sum())
            right5 += int(ranked.sum())
            loss += float(F.cross_entropy(logits_BK, labels_B, reduction="sum"))
            count += len(labels_B)
        self.model.train()
        right1, right5, loss, count = self.processes.summed([right1, right5, loss, count])  # type: ignore[assignment]
        if not math.isfinite(loss):
            raise DivergenceError(self._advice(f"the loss on the validation images is {loss}"))
        return right1 / count, right5 / count, loss / count

    def evaluate_at(self, size: int, weights: Mapping[str, Tensor]) -> tuple[float, float, float]:
        """The result of `evaluate` for other weights at another size; they replace the training's own, so call it
        last."""
        self.network.load_state_dict(dict(weights))
        self.val_batches = eval_loader(self.images.val, parts.eval_transform(self.settings, size), **self.eval_loading)
        return self.evaluate()

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise DivergenceError(self._advice(f"the loss is {loss}"))

    def _advice(self, what: str) -> str:
        epoch = (self.step - 1) // self.per_epoch + 1
        lr = self.settings.lr
        return (
            f"training diverged: {what} at step {self.step} of {self.steps}, in epoch {epoch}; try a lower --lr (it "
            f"was {lr:g}), a longer warm-up (--set warmup_epochs=N) or --set clip_grad=1, with another --to"
        )

    def save(self, path: Path) -> None:
        """Write the state in the first process; raises DiskError."""
        if self.processes.rank:
            return
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "loss_sum": self.loss_sum,
            "seconds": self.seconds,
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "best": self.best,
            "threads": self.threads,
        }
        self._check_finite(float(self.loss_sum))
        write_checkpoint(path, state)
        self.kept_step = self.step

    def load(self, path: Path) -> None:
        """Resume from the first process's checkpoint, if it has one; ValueError if that is of another training."""
        state = self.processes.from_first(lambda: read_checkpoint(path, self.identity))
        if state is None:
            return
        self.identity = state["identity"]  # an earlier version's has fewer keys, by which it is known
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = self.kept_step = state["step"]
        self.seconds, self.best = state["seconds"], state["best"]
        self.loss_sum.copy_(state["loss_sum"])
        self.rows = [EpochRow(**row) for row in state["rows"]]
        self.threads = state.get("threads")  # None in checkpoints of earlier versions


def choose_threads(training: FullTraining) -> int:
    """One thread beside other work, and on a quiet machine the fastest number up to torch's own, as OMP_NUM_THREADS.

    The fastest is found by steps of a copy of the network, with 1, 2, 4 threads and so on while it helps.
    """
    most = torch.get_num_threads()
    if training.processes.device.type != "cpu" or most == 1:
        return most
    if training.processes.size > 1 or not hasattr(os, "getloadavg") or os.getloadavg()[0] >= BUSY * most:
        return 1
    network, size = copy.deepcopy(training.model), training.settings.size
    images = torch.zeros(training.settings.micro_batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    best, count, chosen = math.inf, 1, 1
    while count <= most:
        torch.set_num_threads(count)
        for _ in range(2):  # the second counts
            begin = time.perf_counter()
            network(images).sum().backward()
            seconds = time.perf_counter() - begin
        if seconds >= best:
            break
        best, chosen, count = seconds, count, 2 * count
    return chosen


def _next(batches: Iterator[Any]) -> tuple[Tensor, Tensor]:
    """The next batch; the DataError of a loader process is raised without the wrapper's text."""
    try:
        return next(batches)  # type: ignore[no-any-return]
    except DataError as error:
        raise DataError(str(error).rpartition("DataError: ")[2].strip()) from None
