"""The options of a full training: train.yaml, which uses timm's keys, and the command line's changes to it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mfsearch.export.timm_keys import KEYS, check_key

MIN_SIZE, MAX_SIZE = 16, 1024  # pixels


@dataclass(frozen=True)
class Request:
    """The options of one full training.

    changes: of train.yaml, as `make_settings` takes them. weights: a file or a bundle to fine-tune from. teacher: NAME
    or NAME:FILE of timm. to: the training's own folder, by default beside the bundle. replace: whether the weights of
    another full training in the bundle may be lost. workers: processes that load images. threads: of each process on a
    CPU; by default those of the checkpoint, else what `choose_threads` finds. world_size, local_rank: how
    many processes torchrun started, and which of this machine's this one is.
    """

    bundle: Path
    data: str
    data_dir: Path | None = None
    download: bool = False
    samples: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)
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


@dataclass(frozen=True)
class TrainSettings:
    """The final numbers of a training. Names and meanings are those of timm's train.py, but for these:

    size: input side in pixels. batch: images a step, over all processes. micro_batch: images that go through the
    network together in one process; gradients are summed over batch / micro_batch of them, and each has BatchNorm
    statistics and a Mixup of its own. temperature and distill: of the teacher, where there is one: the share `distill`
    of the loss is temperature^2 KL(teacher / temperature, student / temperature).
    """

    size: int
    crop_pct: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    batch: int
    micro_batch: int
    epochs: int
    opt: str
    lr: float
    weight_decay: float
    opt_eps: float | None
    opt_betas: tuple[float, ...] | None
    momentum: float
    clip_grad: float | None
    clip_mode: str
    sched: str
    sched_on_updates: bool
    warmup_epochs: float
    warmup_lr: float
    warmup_prefix: bool
    min_lr: float
    cooldown_epochs: int
    drop: float
    drop_path: float
    smoothing: float
    mixup: float
    cutmix: float
    mixup_prob: float
    mixup_switch_prob: float
    mixup_mode: str
    mixup_off_epoch: int
    aa: str | None
    color_jitter: float
    reprob: float
    remode: str
    recount: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    hflip: float
    vflip: float
    train_interpolation: str
    model_ema: bool
    model_ema_decay: float
    model_ema_warmup: bool
    seed: int
    distill: float = 0.0
    temperature: float = 1.0

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
            raise ValueError(f"sched must be {' or '.join(SCHEDULES)}, got {self.sched!r}")
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
TEACHING = {"distill": 0.5, "temperature": 2.0}  # with a teacher, where nothing else is said

# What train.yaml has no key for, and the key whose values it takes.
_OWN = {
    "size": "batch_size",
    "batch": "batch_size",
    "micro_batch": "batch_size",
    "distill": "mixup_prob",
    "temperature": "kd_temperature",
}

# What timm's train.py takes where a file says nothing (timm 1.0.31).
_DEFAULTS: dict[str, Any] = {
    "crop_pct": 0.875,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bilinear",
    "batch_size": 128,
    "grad_accum_steps": 1,
    "epochs": 300,
    "opt": "sgd",
    "weight_decay": 2e-5,
    "opt_eps": None,
    "opt_betas": None,
    "momentum": 0.9,
    "clip_grad": None,
    "clip_mode": "norm",
    "sched": "cosine",
    "sched_on_updates": False,
    "warmup_epochs": 5,
    "warmup_lr": 1e-5,
    "warmup_prefix": False,
    "min_lr": 0.0,
    "cooldown_epochs": 0,
    "drop": 0.0,
    "drop_path": 0.0,
    "smoothing": 0.1,
    "mixup": 0.0,
    "cutmix": 0.0,
    "mixup_prob": 1.0,
    "mixup_switch_prob": 0.5,
    "mixup_mode": "batch",
    "mixup_off_epoch": 0,
    "aa": None,
    "color_jitter": 0.4,
    "reprob": 0.0,
    "remode": "pixel",
    "recount": 1,
    "scale": [0.08, 1.0],
    "ratio": [3 / 4, 4 / 3],
    "hflip": 0.5,
    "vflip": 0.0,
    "train_interpolation": "random",
    "model_ema": False,
    "model_ema_decay": 0.9998,
    "model_ema_warmup": False,
    "seed": 42,
}
# What names the network or steers timm's script without changing what is learned.
_ELSEWHERE = (
    *("model", "model_kwargs", "num_classes", "device_modules", "img_size", "input_size", "lr", "channels_last"),
    *("data", "data_dir", "dataset", "train_split", "val_split", "device", "amp", "amp_dtype", "dist_bn", "workers"),
    *("worker_seeding", "log_interval", "val_interval", "recovery_interval", "checkpoint_hist", "save_images"),
    *("pin_mem", "no_prefetcher", "output", "experiment", "eval_metric", "validation_batch_size", "log_wandb"),
    *("use_multi_epochs_loader", "model_ema_force_cpu", "synchronize_step", "no_ddp_bb", "local_rank"),
)
# Other keys may stand where they say what happens here anyway.
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
    """The training that train.yaml and changes to it ask for; a ValueError names the key, the value and the way out.

    training: as `load_training` gives it. resolution: the network's, where no size is said. changes: timm's keys, and
    size, batch, micro_batch, distill and temperature. With other `epochs` than the file's the schedule is fitted: it
    moves with every step, warms up for at most a tenth of the epochs and does not cool down, unless the changes say so.
    """
    for key, value in changes.items():
        if key not in _OWN:
            check_key(key, value)
        elif not KEYS[_OWN[key]].accepts(value):
            raise ValueError(f"{key} must be {KEYS[_OWN[key]].allowed}, got {value!r}")
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
        values[key] = values[key] or default  # null in timm's words
    values["interpolation"] = values["interpolation"] or "bilinear"
    del values["batch_size"], values["grad_accum_steps"]
    named = {key: changes[key] for key in ("distill", "temperature") if key in changes}
    return TrainSettings(size=size, batch=batch, micro_batch=micro_batch, lr=lr, **values, **named)


def _check_known(settings: Mapping[str, Any], place: str) -> None:
    for key, value in settings.items():
        if key in _DEFAULTS or key in _ELSEWHERE or value in _OFF or value in _AS_HERE.get(key, ()):
            continue
        raise ValueError(
            f"{place}: {key} is {value!r}, which timm's train.py can do and mfsearch train cannot; leave it out, or "
            "train with that script"
        )
