"""The parts of a training that come from timm: transforms, Mixup, losses, optimizer, schedule, weight averaging.

No other file in this folder imports timm.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mfsearch.model import CLASSIFIER
from mfsearch.references.libraries import import_library
from mfsearch.train.train_options import TrainSettings

if TYPE_CHECKING:
    from PIL import Image

Transform = Callable[["Image.Image"], Tensor]


def import_timm(module: str = "timm") -> Any:
    """A module of timm; ValueError with the install command if it is missing."""
    return import_library(module, "a full training", "train")


def _asked(what: str, create: Callable[..., Any]) -> Callable[..., Any]:
    """`create`, with errors of any kind turned into a ValueError that names the request."""

    def made(*args: Any, **options: Any) -> Any:
        try:
            return create(*args, **options)
        except Exception as error:  # timm asserts, and its parsers can raise anything
            raise ValueError(f"{what}, which timm {timm_version()} cannot make: {error}") from None

    return made


def train_transform(settings: TrainSettings, *, flip: bool) -> Transform:
    """Random crop, flip, colour and erasing, to a normalised tensor [3, S, S]; uses the global generators."""
    create = import_timm("timm.data").create_transform
    return _asked(f"aa is {settings.aa!r}", create)(  # type: ignore[no-any-return]
        input_size=settings.size,
        is_training=True,
        scale=settings.scale,
        ratio=settings.ratio,
        hflip=settings.hflip if flip else 0.0,
        vflip=settings.vflip if flip else 0.0,
        color_jitter=settings.color_jitter or None,
        auto_augment=settings.aa,
        interpolation=settings.train_interpolation,
        mean=settings.mean,
        std=settings.std,
        re_prob=settings.reprob,
        re_mode=settings.remode,
        re_count=settings.recount,
    )


def eval_transform(settings: TrainSettings, size: int) -> Transform:
    """Resize the shorter side to size / crop_pct and crop the centre, to a normalised tensor [3, size, size]."""
    return import_timm("timm.data").create_transform(  # type: ignore[no-any-return]
        input_size=size,
        is_training=False,
        interpolation=settings.interpolation,
        mean=settings.mean,
        std=settings.std,
        crop_pct=settings.crop_pct,
    )


def make_mixup(settings: TrainSettings, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Mixup and CutMix of a batch [B, 3, S, S] in place, with labels as fractions [B, K]; None if both are off."""
    if not settings.mixes:
        return None
    return import_timm("timm.data").Mixup(  # type: ignore[no-any-return]
        mixup_alpha=settings.mixup,
        cutmix_alpha=settings.cutmix,
        prob=settings.mixup_prob,
        switch_prob=settings.mixup_switch_prob,
        mode=settings.mixup_mode,
        label_smoothing=settings.smoothing,
        num_classes=classes,
    )


def make_losses(settings: TrainSettings) -> tuple[nn.Module, nn.Module]:
    """The losses for labels [B], with smoothing, and for labels as fractions [B, K]."""
    losses = import_timm("timm.loss")
    return losses.LabelSmoothingCrossEntropy(settings.smoothing), losses.SoftTargetCrossEntropy()


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """timm's optimizer, without weight decay on biases and norms; the last groups are a faster classifier's."""
    given = {"eps": settings.opt_eps, "betas": settings.opt_betas}
    create = import_timm("timm.optim").create_optimizer_v2
    what = f"opt is {settings.opt!r}, opt_betas {settings.opt_betas}"
    optimizer: torch.optim.Optimizer = _asked(what, create)(
        model,
        opt=settings.opt,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        **{key: value for key, value in given.items() if value is not None},
    )
    if settings.classifier_lr_ratio is not None:
        own = {parameter for name, parameter in model.named_parameters() if name in CLASSIFIER}
        for group in list(optimizer.param_groups):
            parts = [[one for one in group["params"] if (one in own) == chosen] for chosen in (False, True)]
            group["params"] = parts[0]
            optimizer.add_param_group({**group, "params": parts[1], "lr": settings.lr * settings.classifier_lr_ratio})
    return optimizer


def make_schedule(optimizer: torch.optim.Optimizer, settings: TrainSettings, per_epoch: int) -> tuple[Any, int]:
    """The scheduler, and its number of epochs with the cool-down."""
    schedule, epochs = import_timm("timm.scheduler").create_scheduler_v2(
        optimizer,
        sched=settings.sched,
        num_epochs=settings.epochs,
        warmup_epochs=settings.warmup_epochs,
        warmup_lr=settings.warmup_lr,
        warmup_prefix=settings.warmup_prefix,
        min_lr=settings.min_lr,
        cooldown_epochs=settings.cooldown_epochs,
        step_on_epochs=not settings.sched_on_updates,
        updates_per_epoch=per_epoch,
    )
    return schedule, round(epochs if settings.sched == "cosine" else settings.epochs + settings.cooldown_epochs)


def make_average(model: nn.Module, settings: TrainSettings) -> Any:
    """timm's running average of parameters and buffers; None if it is off."""
    if not settings.model_ema:
        return None
    return import_timm("timm.utils").ModelEmaV3(
        model, decay=settings.model_ema_decay, use_warmup=settings.model_ema_warmup
    )


def clip_gradients(model: nn.Module, settings: TrainSettings) -> None:
    if settings.clip_grad is not None:
        import_timm("timm.utils").dispatch_clip_grad(
            list(model.parameters()), value=settings.clip_grad, mode=settings.clip_mode
        )


def timm_version() -> str:
    return str(import_timm().__version__)
