"""The short training that ranks networks: same images, same order, same draws for all that share a seed.

Shapes: B images, C channels, H x W positions, K classes.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import MobileFormerConfig
from mfsearch.data import ImageData
from mfsearch.data.augment import augment, normalize
from mfsearch.model import MobileFormer
from mfsearch.proxy.recipe import Recipe

EVAL_BATCH = 256


class TrainingError(RuntimeError):
    """The training cannot go on; the message is the trial's reason."""


@dataclass(frozen=True)
class EpochLog:
    """One line of the curve. epoch: passes over the samples so far; loss: mean over this pass; top1: a fraction."""

    epoch: float
    loss: float
    top1: float
    seconds: float


@dataclass(frozen=True)
class ShortTraining:
    """What a short training taught: the last top1 on the validation split, its curve and the weights."""

    top1: float
    curve: list[EpochLog]
    train_seconds: float
    images_per_second: float
    weights: dict[str, Tensor] = field(repr=False)


class DeviceData:
    """ImageData as tensors that stay on the device, so that a batch is an index away."""

    def __init__(self, data: ImageData, device: torch.device) -> None:
        self.data = data
        self.train_images = torch.from_numpy(data.train_images).to(device)
        self.train_labels = torch.from_numpy(data.train_labels).to(device)
        self.val_images = torch.from_numpy(data.val_images).to(device)
        self.val_labels = torch.from_numpy(data.val_labels).to(device)
        self.device = device

    def normalized(self, images_BCHW: Tensor) -> Tensor:
        x_BCHW = normalize(images_BCHW, self.data.mean, self.data.std)
        return x_BCHW.contiguous(memory_format=torch.channels_last)


def short_train(
    config: MobileFormerConfig,
    data: DeviceData,
    recipe: Recipe,
    *,
    seed: int,
    on_step: Callable[[int, int], None] | None = None,
) -> ShortTraining:
    """Train the network of `config` on the proxy's images; raises TrainingError on a loss that is not finite.

    The network is built for the data's classes whatever config.classes says. Draws depend on `seed` alone, not on the
    network: two networks see the same crops in the same order. on_step gets (step, steps).
    """
    device = data.device
    model = build_proxy(config, data.data, seed).to(device)
    optimizer = _optimizer(model, recipe)
    count = len(data.train_images)
    batch = min(recipe.batch, count)
    per_epoch = max(1, count // batch)
    steps = max(1, round(recipe.epochs * per_epoch))
    warmup = max(recipe.warmup, 2 / (steps + 1))  # OneCycleLR divides by the steps of its rise less one
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=steps + 1, pct_start=warmup, cycle_momentum=False
    )
    amp = torch.autocast(device.type, enabled=device.type == "cuda", dtype=torch.bfloat16)
    order_generator = torch.Generator().manual_seed(seed)
    crop_generator = torch.Generator().manual_seed(seed + 1)
    curve: list[EpochLog] = []
    start = time.perf_counter()
    trained = 0.0
    loss_sum = torch.zeros((), device=device)
    in_epoch = 0
    order = torch.empty(0)
    for step in range(steps):
        k = step % per_epoch
        if k == 0:
            order = torch.randperm(count, generator=order_generator).to(device)
            loss_sum.zero_()
            in_epoch = 0
        begin = time.perf_counter()
        chosen = order[k * batch : (k + 1) * batch]
        images = augment(data.train_images[chosen], crop_generator, flip=data.data.flip, pad=recipe.crop)
        with amp:
            logits_BK = model(data.normalized(images))
            loss = F.cross_entropy(logits_BK, data.train_labels[chosen], label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        loss_sum += loss.detach()
        in_epoch += 1
        if step % 16 == 0 or k == per_epoch - 1 or step == steps - 1:
            _check_finite(loss.item(), step, steps)
        trained += time.perf_counter() - begin
        if on_step is not None:
            on_step(step + 1, steps)
        if k == per_epoch - 1 or step == steps - 1:
            top1 = evaluate(model, data)
            seconds = time.perf_counter() - start
            curve.append(EpochLog((step + 1) / per_epoch, loss_sum.item() / in_epoch, top1, seconds))
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    _check_weights(weights)
    return ShortTraining(
        top1=curve[-1].top1,
        curve=curve,
        train_seconds=time.perf_counter() - start,
        images_per_second=steps * batch / max(trained, 1e-9),
        weights=weights,
    )


def build_proxy(config: MobileFormerConfig, data: ImageData, seed: int) -> nn.Module:
    """The network with as many outputs as the data has classes, channels-last."""
    model = MobileFormer(dataclasses.replace(config, classes=len(data.classes)), seed=seed)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def evaluate(model: nn.Module, data: DeviceData) -> float:
    """top1 on the validation split, a fraction, in eval mode; the model's own mode is kept."""
    training = model.training
    model.eval()
    right = 0
    for begin in range(0, len(data.val_images), EVAL_BATCH):
        x_BCHW = data.normalized(data.val_images[begin : begin + EVAL_BATCH])
        right += int((model(x_BCHW).argmax(1) == data.val_labels[begin : begin + EVAL_BATCH]).sum())
    model.train(training)
    return right / len(data.val_images)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels only: not on biases, norms and tokens."""
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and name != "tokens"]
    plain = [p for name, p in model.named_parameters() if p.ndim <= 1 or name == "tokens"]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay, nesterov=True)
    return torch.optim.AdamW(groups, recipe.lr, weight_decay=recipe.weight_decay, foreach=True)


def _check_finite(loss: float, step: int, steps: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"training diverged: loss is {loss} at step {step + 1} of {steps}")


def _check_weights(weights: dict[str, Tensor]) -> None:
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise TrainingError(f"training diverged: weights {name} are not finite")
