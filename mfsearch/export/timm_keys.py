"""The keys that timm's train.py takes from `-c train.yaml`, with the allowed values of each.

The script only warns of an unknown key (older versions ignore it), so a misspelt `lr` would waste a training. The keys
are the `dest` names of its arguments. No wheel contains the script: the keys come from the repository between 1.0.30
and 1.0.31 (commit 3034f27b), and later ones from the tests in the source distribution of 1.0.31. A test compares this
table with the train.py that TIMM_TRAIN_PY names, or else with the arguments of timm's own factories.
"""

import difflib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

TIMM = "1.0.31"  # the table's version


class Rule(NamedTuple):
    """allowed: the values in words. accepts: whether a value read from YAML is one of them."""

    allowed: str
    accepts: Callable[[Any], bool]


def _number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Rule:
    """A finite int or float, no bool; `above` excludes `low` itself."""
    if math.isinf(low):
        allowed = "a number"
    elif math.isinf(high):
        allowed = f"a number above {low:g}" if above else f"a number from {low:g} up"
    else:
        allowed = f"a number above {low:g} and up to {high:g}" if above else f"a number from {low:g} to {high:g}"

    def accepts(value: Any) -> bool:
        if type(value) not in (int, float) or not math.isfinite(value):
            return False
        return (low < value if above else low <= value) and bool(value <= high)

    return Rule(allowed, accepts)


def _whole(low: int) -> Rule:
    return Rule(f"a whole number from {low} up", lambda value: type(value) is int and value >= low)


def _text(*choices: str) -> Rule:
    if choices:
        return Rule(f"{', '.join(choices[:-1])} or {choices[-1]}", lambda value: value in choices)
    return Rule("text", lambda value: isinstance(value, str))


def _list(rule: Rule, lengths: tuple[int, ...] = ()) -> Rule:
    """A list of values of one rule; lengths: those allowed, () for any but empty."""
    size = f"{' or '.join(map(str, lengths))} values" if lengths else "at least one value"

    def accepts(value: Any) -> bool:
        if not isinstance(value, list) or not value or (lengths and len(value) not in lengths):
            return False
        return all(rule.accepts(item) for item in value)

    return Rule(f"a list of {size}, each {rule.allowed}", accepts)


def _or_null(rule: Rule) -> Rule:
    return Rule(f"{rule.allowed}, or null", lambda value: value is None or rule.accepts(value))


_FLAG = Rule("true or false", lambda value: type(value) is bool)
_TEXT = _text()
_TEXT_OR_NULL = _or_null(_TEXT)
_SHARE = _number(0, 1)
_SHARE_OR_NULL = _or_null(_SHARE)
_RATE = Rule("a number from 0 and below 1", lambda value: _SHARE.accepts(value) and value < 1)  # of dropout
_POSITIVE = _number(0, above=True)
_NOT_NEGATIVE = _number(0)
_COUNT_OR_NULL = _or_null(_whole(1))
_MAPPING = Rule("a mapping", lambda value: isinstance(value, dict) and all(isinstance(key, str) for key in value))
_LEVELS = _or_null(_list(_number(), (1, 3)))

KEYS: dict[str, Rule] = {
    # data
    "data": _TEXT_OR_NULL,
    "data_dir": _TEXT_OR_NULL,
    "dataset": _TEXT,
    "train_split": _TEXT,
    "val_split": _TEXT,
    "train_num_samples": _COUNT_OR_NULL,
    "val_num_samples": _COUNT_OR_NULL,
    "dataset_download": _FLAG,
    "class_map": _TEXT,
    "input_img_mode": _TEXT_OR_NULL,
    "input_key": _TEXT_OR_NULL,
    "target_key": _TEXT_OR_NULL,
    "target_format": _or_null(_text("indices", "multihot")),
    "dataset_trust_remote_code": _FLAG,
    # network
    "model": _TEXT,
    "pretrained": _FLAG,
    "pretrained_path": _TEXT_OR_NULL,
    "pretrained_cfg_overlay": _MAPPING,
    "initial_checkpoint": _TEXT,
    "resume": _TEXT,
    "no_resume_opt": _FLAG,
    "num_classes": _COUNT_OR_NULL,
    "gp": _TEXT_OR_NULL,
    "img_size": _COUNT_OR_NULL,
    "in_chans": _COUNT_OR_NULL,
    "input_size": _or_null(_list(_whole(1), (3,))),
    "crop_pct": _or_null(_number(0, above=True)),
    "mean": _LEVELS,
    "std": _LEVELS,
    "interpolation": _text("", "random", "bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"),
    "batch_size": _whole(1),
    "validation_batch_size": _COUNT_OR_NULL,
    "channels_last": _FLAG,
    "fuser": _TEXT,
    "grad_accum_steps": _whole(1),
    "grad_checkpointing": _FLAG,
    "fast_norm": _FLAG,
    "model_kwargs": _MAPPING,
    "head_init_scale": _or_null(_number()),
    "head_init_bias": _or_null(_number()),
    "torchscript": _FLAG,
    "torchcompile": _TEXT_OR_NULL,
    "torchcompile_mode": _TEXT_OR_NULL,
    # device
    "device": _TEXT,
    "amp": _FLAG,
    "amp_dtype": _text("float16", "bfloat16"),
    "model_dtype": _TEXT_OR_NULL,
    "no_ddp_bb": _FLAG,
    "synchronize_step": _FLAG,
    "local_rank": _whole(0),
    "device_modules": _or_null(_list(_TEXT)),
    # optimizer
    "opt": _TEXT,
    "opt_eps": _or_null(_POSITIVE),
    "opt_betas": _or_null(_list(_RATE)),
    "momentum": _SHARE,
    "weight_decay": _NOT_NEGATIVE,
    "clip_grad": _or_null(_POSITIVE),
    "clip_mode": _text("norm", "value", "agc"),
    "layer_decay": _or_null(_POSITIVE),
    "layer_decay_min_scale": _NOT_NEGATIVE,
    "layer_decay_no_opt_scale": _or_null(_NOT_NEGATIVE),
    "opt_kwargs": _MAPPING,
    # learning rate; lr is for the whole batch, batch_size x grad_accum_steps x processes, and overrules lr_base
    "sched": _TEXT,
    "sched_on_updates": _FLAG,
    "lr": _or_null(_POSITIVE),
    "lr_base": _POSITIVE,
    "lr_base_size": _whole(1),
    "lr_base_scale": _text("", "linear", "sqrt"),
    "lr_noise": _or_null(_list(_SHARE)),
    "lr_noise_pct": _NOT_NEGATIVE,
    "lr_noise_std": _NOT_NEGATIVE,
    "lr_cycle_mul": _POSITIVE,
    "lr_cycle_decay": _NOT_NEGATIVE,
    "lr_cycle_limit": _whole(1),
    "lr_k_decay": _POSITIVE,
    "lr_decay_fn": _TEXT_OR_NULL,
    "lr_stable_timescale": _or_null(_POSITIVE),
    "warmup_lr": _NOT_NEGATIVE,
    "min_lr": _NOT_NEGATIVE,
    "epochs": _whole(1),
    "epoch_repeats": _NOT_NEGATIVE,
    "start_epoch": _or_null(_whole(0)),
    "stop_epoch": _COUNT_OR_NULL,
    "save_epochs": _or_null(_list(_whole(1))),
    "decay_milestones": _list(_whole(1)),
    "decay_epochs": _or_null(_POSITIVE),
    "warmup_epochs": _whole(0),
    "warmup_prefix": _FLAG,
    "cooldown_epochs": _whole(0),
    "patience_epochs": _whole(0),
    "decay_rate": _POSITIVE,
    # augmentation and regularisation
    "no_aug": _FLAG,
    "train_crop_mode": _TEXT_OR_NULL,
    "scale": _list(_number(0, above=True), (2,)),
    "ratio": _list(_number(0, above=True), (2,)),
    "hflip": _SHARE,
    "vflip": _SHARE,
    "color_jitter": _or_null(_NOT_NEGATIVE),
    "color_jitter_prob": _SHARE_OR_NULL,
    "grayscale_prob": _SHARE_OR_NULL,
    "gaussian_blur_prob": _SHARE_OR_NULL,
    "aa": _TEXT_OR_NULL,
    "aug_repeats": _NOT_NEGATIVE,
    "aug_splits": Rule("0 or a whole number from 2 up", lambda value: type(value) is int and value >= 0 and value != 1),
    "jsd_loss": _FLAG,
    "bce_loss": _FLAG,
    "bce_sum": _FLAG,
    "bce_target_thresh": _SHARE_OR_NULL,
    "bce_pos_weight": _or_null(_POSITIVE),
    "reprob": _SHARE,
    "remode": _text("pixel", "rand", "const"),
    "recount": _whole(1),
    "resplit": _FLAG,
    "mixup": _NOT_NEGATIVE,
    "cutmix": _NOT_NEGATIVE,
    "cutmix_minmax": _or_null(_list(_SHARE, (2,))),
    "mixup_prob": _SHARE,
    "mixup_switch_prob": _SHARE,
    "mixup_mode": _text("batch", "pair", "elem"),
    "mixup_off_epoch": _whole(0),
    "smoothing": _or_null(_RATE),
    "train_interpolation": _text("random", "bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"),
    "drop": _RATE,
    "drop_connect": _or_null(_RATE),
    "drop_path": _or_null(_RATE),
    "drop_block": _or_null(_RATE),
    # loss
    "task": _text("classification", "multilabel"),
    "loss": _TEXT_OR_NULL,
    "loss_pos_weight": _TEXT_OR_NULL,
    "loss_class_weight": _TEXT_OR_NULL,
    "loss_weight_power": _or_null(_number()),
    "loss_weight_beta": _SHARE_OR_NULL,
    "loss_weight_max": _or_null(_POSITIVE),
    "class_stats": _TEXT_OR_NULL,
    "poly_gamma": _or_null(_number()),
    "poly_epsilon": _or_null(_number()),
    "multilabel_threshold": _SHARE,
    # batch normalisation
    "bn_momentum": _SHARE_OR_NULL,
    "bn_eps": _or_null(_POSITIVE),
    "sync_bn": _FLAG,
    "dist_bn": _text("", "broadcast", "reduce"),
    "split_bn": _FLAG,
    # averaged weights
    "model_ema": _FLAG,
    "model_ema_force_cpu": _FLAG,
    "model_ema_decay": _SHARE,
    "model_ema_warmup": _FLAG,
    # the run
    "seed": _whole(0),
    "worker_seeding": _TEXT,
    "log_interval": _whole(1),
    "val_interval": _whole(1),
    "recovery_interval": _whole(0),
    "checkpoint_hist": _whole(1),
    "workers": _whole(0),
    "persistent_workers": _FLAG,
    "save_images": _FLAG,
    "pin_mem": _FLAG,
    "no_prefetcher": _FLAG,
    "output": _TEXT,
    "experiment": _TEXT,
    "eval_metric": _TEXT_OR_NULL,
    "tta": _whole(0),
    "use_multi_epochs_loader": _FLAG,
    "log_wandb": _FLAG,
    "wandb_project": _TEXT_OR_NULL,
    "wandb_tags": Rule("a list of text", lambda value: isinstance(value, list) and all(map(_TEXT.accepts, value))),
    "wandb_resume_id": _TEXT,
    # image sizes that change between batches
    "train_img_sizes": _or_null(_list(_whole(1))),
    "train_batch_sizes": _or_null(_list(_whole(1))),
    "train_size_probs": _or_null(_list(_NOT_NEGATIVE)),
    "train_size_schedule": _text("constant", "progressive"),
    "train_size_schedule_spread": _POSITIVE,
    "train_size_random_mix": _SHARE,
    "train_batches_per_epoch": _COUNT_OR_NULL,
    "variable_batch_loss_scale": _text("none", "sqrt", "linear"),
    # batches of one number of patches, for networks that take them
    "naflex_loader": _FLAG,
    "naflex_train_seq_lens": _list(_whole(1)),
    "naflex_max_seq_len": _whole(1),
    "naflex_patch_sizes": _or_null(_list(_whole(1))),
    "naflex_patch_size_probs": _or_null(_list(_SHARE)),
    "naflex_loss_scale": _text("none", "sqrt", "linear"),
    "naflex_patchify_channels_first": _FLAG,
    # distillation
    "kd_model_name": _TEXT_OR_NULL,
    "kd_distill_type": _text("logit", "feature", "token"),
    "kd_loss_type": _TEXT,
    "distill_loss_weight": _or_null(_NOT_NEGATIVE),
    "task_loss_weight": _or_null(_NOT_NEGATIVE),
    "kd_temperature": _POSITIVE,
    "kd_student_feature_dim": _COUNT_OR_NULL,
    "kd_teacher_feature_dim": _COUNT_OR_NULL,
    "kd_token_distill_type": _text("soft", "hard"),
    # planned runs
    "sweep_locks": _or_null(_list(_TEXT)),
    "sweep_attempt": _TEXT_OR_NULL,
}


def check_key(name: str, value: Any) -> None:
    """Raise ValueError for a key that timm's script does not know, with the nearest known key, or an invalid value."""
    if name not in KEYS:
        near = difflib.get_close_matches(name.replace("-", "_"), KEYS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown key {name!r:.200}: the nearest of the {len(KEYS)} that timm {TIMM} takes is {near}")
    rule = KEYS[name]
    if not rule.accepts(value):
        raise ValueError(f"{name} must be {rule.allowed}, got {value!r:.200}")
