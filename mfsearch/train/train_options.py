"""The options of a full training: train.yaml, which uses timm's keys, and the command line's changes to it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mfsearch.export.timm_keys import KEYS, check_key

MIN_SIZE, MAX_SIZE = 16, 1024  # pixels


@dataclass(frozen=True)
class Request:
    """The options of one full training.

    changes: to train.yaml, as in `make_settings`. scratch: train from first weights even if the bundle's are trained.
    weights: a file or a bundle to fine-tune instead of this one. teacher: a bundle, a study inside a parent, or NAME or
    NAME:FILE of timm. to: the training's folder, by default beside the bundle. replace: allows to overwrite the weights
    of another full training in the bundle. workers: processes that load images. threads: of each process on a CPU, by
    default the checkpoint's, else as `choose_threads` finds. world_size, local_rank: the number of processes that
    torchrun started, and this one's number on its machine.
    """

    bundle: Path
    data: str
    data_dir: Path | None = None
    download: bool = False
    samples: int | None = None
    skip_damaged: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    scratch: bool = False
    weights: Path | None = None
    new_classifier: bool = False
    teacher: str | None = None
    device: str = "cpu"
    amp: bool = False
    workers: int = 0
    threads: int | None = None
    checkpoint_seconds: float = 600.0
    tensorboard: bool = False
    to: Path | None = None
    replace: bool = False
    world_size: int = 1
    local_rank: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The final numbers of a training. Names, meanings and defaults are those of timm's train.py (1.0.31), except:

    size: input side in pixels. batch: images per step, over all processes. micro_batch: images per forward pass in one
    process; gradients are summed over batch / micro_batch passes, each with its own BatchNorm statistics and Mixup.
    distill, temperature: with a teacher, temperature^2 KL(teacher / temperature, student / temperature) makes up the
    fraction `distill` of the loss. classifier_lr_ratio: of the classifier's learning rate to that of the rest; None: 1.
    """

    size: int
    crop_pct: float = 0.875
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    batch: int
    micro_batch: int
    epochs: int = 300
    opt: str = "sgd"
    lr: float
    weight_decay: float = 2e-5
    opt_eps: float | None = None
    opt_betas: tuple[float, ...] | None = None
    momentum: float = 0.9
    clip_grad: float | None = None
    clip_mode: str = "norm"
    sched: str = "cosine"
    sched_on_updates: bool = False
    warmup_epochs: float = 5
    warmup_lr: float = 1e-5
    warmup_prefix: bool = False
    min_lr: float = 0.0
    cooldown_epochs: int = 0
    drop: float = 0.0
    drop_path: float = 0.0
    smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    mixup_prob: float = 1.0
    mixup_switch_prob: float = 0.5
    mixup_mode: str = "batch"
    mixup_off_epoch: int = 0
    aa: str | None = None
    color_jitter: float = 0.4
    reprob: float = 0.0
    remode: str = "pixel"
    recount: int = 1
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    vflip: float = 0.0
    train_interpolation: str = "random"
    model_ema: bool = False
    model_ema_decay: float = 0.9998
    model_ema_warmup: bool = False
    seed: int = 42
    distill: float = 0.0
    temperature: float = 1.0
    classifier_lr_ratio: float | None = None

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ValueError(f"size must be {MIN_SIZE} to {MAX_SIZE} pixels, got {self.size}")
        if self.micro_batch < 2:
            raise ValueError(f"micro_batch must be 2 or more, as BatchNorm needs, got {self.micro_batch}")
        if self.batch < 1 or self.batch % self.micro_batch:
            raise ValueError(f"batch must be a multiple of micro_batch, got {self.batch} and {self.micro_batch}")
        if self.mixes and self.micro_batch % 2:
            raise ValueError(f"micro_batch must be even, as Mixup pairs its images, got {self.micro_batch}")
        if self.sched not in SCHEDULES:
            raise ValueError(f"sched must be {' or '.join(SCHEDULES)}, got {self.sched!r:.200}")
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs must be at most epochs, {self.epochs}, got {self.warmup_epochs}")
        for name in ("warmup_lr", "min_lr"):
            used = self.warmup_epochs > 0 if name == "warmup_lr" else self.sched == "cosine"
            if used and getattr(self, name) > self.lr:
                raise ValueError(
                    f"{name} must be at most lr, {self.lr:g}, which is the peak, got {getattr(self, name):g}: say "
                    f"--set {name}=NUMBER"
                )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, got {list(self.std)}")

    @property
    def mixes(self) -> bool:
        """Whether Mixup or CutMix is on."""
        return self.mixup > 0 or self.cutmix > 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


SCHEDULES = ("cosine", "constant")
TEACHING = {"distill": 0.5, "temperature": 2.0}  # defaults with a teacher
# Defaults of a fine-tuning, in place of those of train.yaml, which are for 1.3 million images and first weights.
FINE_TUNING: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 64,
    "grad_accum_steps": 1,
    "lr": 5e-4,
    "warmup_lr": 1e-5,
    "min_lr": 1e-6,
    "warmup_epochs": 1,
    "cooldown_epochs": 0,
    "sched_on_updates": True,
    "mixup": 0.0,
    "aa": None,
    "reprob": 0.0,
    "scale": [0.35, 1.0],
}
CLASSIFIER_LR_RATIO = 10.0  # of a fine-tuning with a new classifier

# Settings without a key in train.yaml, each with the key whose rule its values follow.
_OWN = {
    "size": "batch_size",
    "batch": "batch_size",
    "micro_batch": "batch_size",
    "distill": "mixup_prob",
    "temperature": "kd_temperature",
    "classifier_lr_ratio": "kd_temperature",
}

# The defaults of timm's train.py (timm 1.0.31).
_DEFAULTS: dict[str, Any] = {"batch_size": 128, "grad_accum_steps": 1} | {
    one.name: one.default for one in fields(TrainSettings) if one.name not in (*_OWN, "lr")
}
# Keys that name the network or control timm's script, and do not change what is learned.
_ELSEWHERE = (
    *("model", "model_kwargs", "num_classes", "device_modules", "img_size", "input_size", "lr", "channels_last"),
    *("data", "data_dir", "dataset", "train_split", "val_split", "device", "amp", "amp_dtype", "dist_bn", "workers"),
    *("worker_seeding", "log_interval", "val_interval", "recovery_interval", "checkpoint_hist", "save_images"),
    *("pin_mem", "no_prefetcher", "output", "experiment", "eval_metric", "validation_batch_size", "log_wandb"),
    *("use_multi_epochs_loader", "model_ema_force_cpu", "synchronize_step", "no_ddp_bb", "local_rank"),
)
# Other keys are allowed with the values that hold here anyway.
_AS_HERE: dict[str, tuple[Any, ...]] = {
    "lr_cycle_limit": (1,),
    "lr_k_decay": (1, 1.0),
    "lr_cycle_mul": (1, 1.0),
    "in_chans": (3,),
    "task": ("classification",),
    "train_crop_mode": ("rrc",),
}
_OFF: tuple[Any, ...] = (None, False, 0, 0.0, "", [], {})


def make_settings(
    training: Mapping[str, Any], resolution: int, changes: Mapping[str, Any], *, place: str = "train.yaml"
) -> TrainSettings:
    """The settings of train.yaml with some changes; ValueError names the key, the value and the way out.

    training: from `load_training`, for a fine-tuning with FINE_TUNING over it. resolution: of the network, the default
    size. changes: timm's keys, and size, batch, micro_batch, distill, temperature and classifier_lr_ratio. If `epochs`
    differ from the file's, the schedule is adapted unless the changes set it: it moves with every step, warms up for at
    most a tenth of the epochs and has no cool-down.
    """
    for key, value in changes.items():
        if key not in _OWN:
            check_key(key, value)
        elif not KEYS[_OWN[key]].accepts(value):
            raise ValueError(f"{key} must be {KEYS[_OWN[key]].allowed}, got {value!r:.200}")
    _check_known(training, place)
    _check_known({key: value for key, value in changes.items() if key not in _OWN}, "--set")
    values = _DEFAULTS | {key: value for key, value in training.items() if key in _DEFAULTS}
    if changes.get("epochs", values["epochs"]) != values["epochs"]:
        epochs = changes["epochs"]
        values |= {"sched_on_updates": True, "cooldown_epochs": 0}
        values["warmup_epochs"] = min(values["warmup_epochs"], epochs / 10)
    values |= {key: value for key, value in changes.items() if key in _DEFAULTS}
    lr = changes.get("lr", training.get("lr"))
    if lr is None:
        raise ValueError(f"{place}: lr must be given; lr_base is not used here")
    batch = changes.get("batch", values["batch_size"] * values["grad_accum_steps"])
    micro_batch = changes.get("micro_batch", min(values["batch_size"], batch))
    input_size = training.get("input_size")
    size = changes.get("size", training.get("img_size") or (input_size[-1] if input_size else resolution))
    for key in ("mean", "std", "opt_betas", "scale", "ratio"):
        values[key] = None if values[key] is None else tuple(values[key])
    for key in ("mean", "std"):
        values[key] = values[key] or tuple(_DEFAULTS[key])
        values[key] *= 3 // len(values[key])  # one value is for R, G and B
    for key, default in (("drop_path", 0.0), ("smoothing", 0.0), ("color_jitter", 0.0), ("crop_pct", 0.875)):
        values[key] = values[key] or default  # timm's null
    values["interpolation"] = values["interpolation"] or "bilinear"
    del values["batch_size"], values["grad_accum_steps"]
    named = {key: changes[key] for key in ("distill", "temperature", "classifier_lr_ratio") if key in changes}
    return TrainSettings(size=size, batch=batch, micro_batch=micro_batch, lr=lr, **values, **named)


def told_fine_tuning(settings: TrainSettings, changes: Mapping[str, Any]) -> str:
    """The defaults of a fine-tuning that the changes leave in force, in a line as KEY VALUE."""
    faster = ("classifier_lr_ratio",) if settings.classifier_lr_ratio else ()
    keys = ("lr", *faster, "batch", "warmup_epochs", "mixup", "aa", "reprob", "scale")
    told = [] if "epochs" in changes else [f"{settings.epochs} epochs"]
    return ", ".join([*told, *(f"{key} {json.dumps(getattr(settings, key))}" for key in keys if key not in changes)])


def _check_known(settings: Mapping[str, Any], place: str) -> None:
    for key, value in settings.items():
        if key in _DEFAULTS or key in _ELSEWHERE or value in _OFF or value in _AS_HERE.get(key, ()):
            continue
        raise ValueError(
            f"{place}: {key} is {value!r:.200}, which timm's train.py can do and mfsearch train cannot; leave it out, "
            "or train with that script"
        )
