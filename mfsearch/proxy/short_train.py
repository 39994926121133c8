"""The short training that ranks networks; with one seed, all see the same images, order and random draws.

The learning rate is constant after its warm-up and the evaluated weights are a running average. So every point of a
curve is as good as the end of a training planned to stop there, and a longer training resumes from a shorter one.
Shapes: B images, C channels, H x W positions, K classes.
"""

import contextlib
import copy
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import MobileFormerConfig
from mfsearch.data import ImageData
from mfsearch.data.augment import augment, normalize
from mfsearch.model import MobileFormer
from mfsearch.model.mobile import LiteBottleneck, Mobile, MobileDown
from mfsearch.proxy.batch_norm import restate_batch_norm
from mfsearch.proxy.curve import EpochLog
from mfsearch.proxy.recipe import Recipe
from mfsearch.references import Reference

EVAL_BATCH = 256
CHECKPOINT_SECONDS = 15.0  # between two checkpoints; a kill loses at most this much training
CHECKPOINT_SCHEMA = 1


class TrainingError(RuntimeError):
    """The training cannot continue; the message becomes the trial's reason."""


class Evaluation(NamedTuple):
    """top1 (a fraction) and mean cross-entropy on the validation split."""

    top1: float
    loss: float


class InitialWeights(NamedTuple):
    """The weights that a training begins with, for the classes of the data; the name identifies them in checkpoints."""

    name: str
    tensors: dict[str, Tensor]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread, as the workers are, then as it was before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class ShortTraining:
    """The result of a short training: top1 at its last point, its curve and the averaged weights.

    finished: False if on_point ended it early.
    """

    top1: float
    curve: list[EpochLog]
    train_seconds: float
    images_per_second: float
    finished: bool
    weights: dict[str, Tensor] = field(repr=False)


class DeviceData:
    """ImageData as tensors that stay on the device, so that a batch is one indexing operation."""

    def __init__(self, data: ImageData, device: torch.device) -> None:
        self.data = data
        self.train_images = torch.from_numpy(data.train_images).to(device)
        self.train_labels = torch.from_numpy(data.train_labels).to(device)
        self.val_images = torch.from_numpy(data.val_images).to(device)
        self.val_labels = torch.from_numpy(data.val_labels).to(device)
        self.device = device

    def normalized(self, images_BCHW: Tensor) -> Tensor:
        return normalize(images_BCHW, self.data.mean, self.data.std).contiguous(memory_format=torch.channels_last)


def short_train(
    network: MobileFormerConfig | Reference,
    data: DeviceData,
    recipe: Recipe,
    *,
    seed: int,
    start: InitialWeights | None = None,
    points: Sequence[float] | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_step: Callable[[int, int], None] | None = None,
    on_point: Callable[[EpochLog], bool] | None = None,
) -> ShortTraining:
    """Train a network on the proxy's images; raises TrainingError on a loss that is not finite.

    The network is built for the data's classes, whatever those of its config are. Random draws depend on `seed` alone:
    two networks see the same crops in the same order.

    start: the weights to begin with, None for first weights.
    points: rising epochs at which the network is evaluated; the last one ends the training. Default: recipe.epochs. At
    0 it is evaluated as it starts, with BatchNorm's statistics of these images.
    checkpoint: a file written every `checkpoint_seconds` and at each point. The training resumes from it if it is of
    the same training, or of a shorter one with the same first points; the resumed numbers equal those of an
    uninterrupted run. on_step receives (step, steps); on_point may end the training by returning False.
    """
    points = (recipe.epochs,) if points is None else tuple(points)
    if not points or not points[0] >= 0 or any(b <= a for a, b in itertools.pairwise(points)):
        raise ValueError(f"points must be 0 or more and rise, got {points}")
    run = _Training(network, data, recipe, seed, start)
    steps = (max(1, round(point * run.per_epoch)) if point else 0 for point in points)
    ends = list(dict.fromkeys(steps))  # near points merge
    if checkpoint is not None:
        run.load(checkpoint, ends)
    finished = True
    saved = time.perf_counter()
    for k, end in enumerate(ends):
        if run.step > end:
            continue  # the checkpoint is already past this point
        while run.step < end:
            run.train_step(ends[-1])
            if on_step is not None:
                on_step(run.step, ends[-1])
            if checkpoint is not None and time.perf_counter() - saved > checkpoint_seconds:
                run.save(checkpoint)
                saved = time.perf_counter()
        if k == len(run.curve):
            run.log_point()
            if checkpoint is not None:
                run.save(checkpoint)
                saved = time.perf_counter()
        if on_point is not None and not on_point(run.curve[k]) and end < ends[-1]:
            finished = False
            break
    return run.result(finished)


class _Training:
    """The state of a training between two steps."""

    def __init__(
        self,
        network: MobileFormerConfig | Reference,
        data: DeviceData,
        recipe: Recipe,
        seed: int,
        start: InitialWeights | None = None,
    ) -> None:
        self.data, self.recipe, self.seed = data, recipe, seed
        self.identity = {"schema": CHECKPOINT_SCHEMA, "arch_id": network.arch_id, "seed": seed} | {
            f"recipe.{name}": value for name, value in recipe.as_dict().items()
        }
        self.identity |= {"data": data.data.digest, "torch": str(torch.__version__), "device": data.device.type}
        self.model = build_proxy(network, data.data, seed if start is None else None).to(data.device)
        if start is not None:
            self.identity["start"] = start.name
            self.model.load_state_dict(start.tensors)
        elif recipe.zero_residual:
            zero_residuals(self.model)
        self.optimizer = _optimizer(self.model, recipe)
        count = len(data.train_images)
        self.batch = min(recipe.batch, count)
        self.per_epoch = max(1, count // self.batch)
        self.warmup = max(1, round(recipe.warmup * self.per_epoch))
        self.amp = torch.autocast(data.device.type, enabled=data.device.type == "cuda", dtype=torch.bfloat16)
        self.params: list[Tensor] = list(self.model.parameters())
        self.average = [p.detach().clone() for p in self.params]
        self.step = 0
        self.loss_sum = torch.zeros((), device=data.device)
        self.loss_steps = 0
        self.seconds = 0.0  # of steps and evaluations, including those before a resume
        self.step_seconds = 0.0
        self.curve: list[EpochLog] = []
        self.order_epoch, self.order = -1, torch.empty(0)
        self.evaluated: tuple[int, nn.Module] | None = None

    def train_step(self, steps: int) -> None:
        """One step on the next batch; an epoch's order and a step's crops depend on the seed alone."""
        begin = time.perf_counter()
        data, recipe = self.data, self.recipe
        epoch, k = divmod(self.step, self.per_epoch)
        if epoch != self.order_epoch:
            generator = torch.Generator().manual_seed(_mixed(self.seed, 0, epoch))
            self.order = torch.randperm(len(data.train_images), generator=generator).to(data.device)
            self.order_epoch = epoch
        chosen = self.order[k * self.batch : (k + 1) * self.batch]
        generator = torch.Generator().manual_seed(_mixed(self.seed, 1, self.step))
        images = augment(data.train_images[chosen], generator, flip=data.data.flip, pad=recipe.crop)
        with self.amp:
            logits_BK = self.model(data.normalized(images))
            loss = F.cross_entropy(logits_BK, data.train_labels[chosen], label_smoothing=recipe.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * min(1.0, (self.step + 1) / self.warmup)
        self.optimizer.step()
        self.step += 1
        # polynomial-decay averaging (arXiv:1212.1824): step t has weight t ** average, whatever the length
        weight = (recipe.average + 1) / (self.step + recipe.average) if recipe.average else 1.0
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.params, weight)
        self.loss_sum += loss.detach()
        self.loss_steps += 1
        if self.step % 16 == 1:
            _check_finite(loss.item(), self.step, steps)
        elapsed = time.perf_counter() - begin
        self.seconds += elapsed
        self.step_seconds += elapsed

    def log_point(self) -> None:
        """Evaluate the averaged weights and add a point to the curve."""
        begin = time.perf_counter()
        loss = math.nan  # before the first step
        if self.step:
            loss = self.loss_sum.item() / self.loss_steps
            _check_finite(loss, self.step, self.step)
        result = evaluate(self.averaged(), self.data)
        if not self.step:
            _check_finite(result.loss, self.step, self.step)
        self.seconds += time.perf_counter() - begin
        self.curve.append(EpochLog(self.step / self.per_epoch, loss, result.top1, result.loss, self.seconds))
        self.loss_sum.zero_()
        self.loss_steps = 0

    @torch.no_grad()
    def averaged(self) -> nn.Module:
        """The network with averaged weights; its BatchNorm statistics are recomputed on the first training images."""
        if self.evaluated is not None and self.evaluated[0] == self.step:
            return self.evaluated[1]
        model = copy.deepcopy(self.model) if self.evaluated is None else self.evaluated[1]
        for target, value in zip(model.parameters(), self.average, strict=True):
            target.copy_(value)
        images = self.data.train_images[: self.recipe.norm_images]
        batches = images.tensor_split(math.ceil(len(images) / EVAL_BATCH))  # similar sizes, so similar weights
        restate_batch_norm(model, map(self.data.normalized, batches))
        self.evaluated = self.step, model
        return model

    def result(self, finished: bool) -> ShortTraining:
        state = self.averaged().state_dict()
        weights = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
        for name, value in weights.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise TrainingError(f"training diverged: weights {name} are not finite")
        return ShortTraining(
            top1=self.curve[-1].top1,
            curve=self.curve,
            train_seconds=self.seconds,
            images_per_second=self.step * self.batch / max(self.step_seconds, 1e-9),
            finished=finished,
            weights=weights,
        )

    def save(self, path: Path) -> None:
        """Write the checkpoint whole or not at all; on a full disk the training continues without it."""
        part = path.with_name(path.name + ".part")
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "loss_steps": self.loss_steps,
            "seconds": self.seconds,
            "step_seconds": self.step_seconds,
            "curve": [dataclasses.asdict(log) for log in self.curve],
        }
        try:
            torch.save(state, part)
            part.replace(path)
        except (OSError, RuntimeError):  # torch's writer raises RuntimeError on a full disk
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def load(self, path: Path, ends: list[int]) -> None:
        """Resume from a checkpoint of the same training with points at these steps; ignore any other file."""
        if not path.is_file():
            return
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.data.device, weights_only=True)
        except Exception:  # truncated or not ours; torch's readers can raise anything
            return
        if not isinstance(state, dict) or state.get("identity") != self.identity:
            return
        reached = [round(log["epoch"] * self.per_epoch) for log in state["curve"]]
        if reached != ends[: len(reached)] or state["step"] > [*ends, ends[-1]][len(reached)]:
            return  # it has other points, or is longer
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for own, value in zip(self.average, state["average"], strict=True):
            own.copy_(value)
        self.step, self.loss_steps = state["step"], state["loss_steps"]
        self.loss_sum.copy_(state["loss_sum"])
        self.seconds, self.step_seconds = state["seconds"], state["step_seconds"]
        self.curve = [EpochLog(**log) for log in state["curve"]]


def _mixed(seed: int, stream: int, index: int) -> int:
    """A separate seed for each stream and index."""
    return (seed * 2 + stream) * 1_000_003 + index


def build_proxy(network: MobileFormerConfig | Reference, data: ImageData, seed: int | None) -> nn.Module:
    """The network with one output per class of the data, in channels-last format. seed: None if weights are loaded."""
    classes = len(data.classes)
    if isinstance(network, Reference):
        from mfsearch.references.build import build_to_train  # needs timm

        try:
            model = build_to_train(network, data.train_images.shape[-1], classes, seed or 0)
        except ValueError as error:  # this network cannot take images of that size
            raise TrainingError(str(error)) from None
    else:
        model = MobileFormer(dataclasses.replace(network, classes=classes), seed=seed)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def zero_residuals(model: nn.Module) -> None:
    """Make every mobile block with a skip the identity at the start: the last BatchNorm of its branch has weight 0.

    A branch that ends in an activation is left as it is: behind a ReLU a weight of 0 would never learn.
    """
    for module in model.modules():
        if isinstance(module, MobileDown):
            module.project2.norm.weight.zero_()
        elif isinstance(module, Mobile) and module.depthwise is None and module.act2 is not None:
            continue
        elif isinstance(module, Mobile | LiteBottleneck) and module.skip:
            module.project.norm.weight.zero_()


@torch.no_grad()
def evaluate(model: nn.Module, data: DeviceData) -> Evaluation:
    """top1 and loss on the validation split in eval mode; the model's own mode is restored."""
    training = model.training
    model.eval()
    right, loss = 0, 0.0
    for begin in range(0, len(data.val_images), EVAL_BATCH):
        labels = data.val_labels[begin : begin + EVAL_BATCH]
        logits_BK = model(data.normalized(data.val_images[begin : begin + EVAL_BATCH])).float()
        right += int((logits_BK.argmax(1) == labels).sum())
        loss += float(F.cross_entropy(logits_BK, labels, reduction="sum"))
    model.train(training)
    return Evaluation(right / len(data.val_images), loss / len(data.val_images))


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; weight decay only on matrices and kernels, not on biases, norms and tokens."""
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and name != "tokens"]
    plain = [p for name, p in model.named_parameters() if p.ndim <= 1 or name == "tokens"]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay, nesterov=True)
    return torch.optim.AdamW(groups, recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def _check_finite(loss: float, step: int, steps: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"training diverged: loss is {loss} at step {step} of {steps}")
