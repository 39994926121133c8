"""train.yaml: the paper's training of a network, as keys of timm's train.py.

Values that depend on size are the paper's at the seven published sizes. Between two sizes, numbers are interpolated
linearly in the logarithm of the multiply-adds, and other values come from the nearer size; beyond the ends they stay
constant. Size means multiply-adds at 224 px and 1000 classes, whatever the network is trained on.
"""

import bisect
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.export.timm_keys import TIMM, check_key
from mfsearch.presets import PRESETS
from mfsearch.space.yaml_lines import load_with_lines

PLUGIN = "mfsearch.export.timm_plugin"
_PAPER = "paper"
_DEFAULT = "default of timm's script as the paper used it"
_OURS = "not in the paper"


class _Setting(NamedTuple):
    """A value and its source, which becomes a comment in the YAML file."""

    value: Any
    source: str


# The recipe of arXiv:2108.05895 by published size.
_BY_SIZE: dict[str, dict[str, Any]] = {
    "mf-26m": {"lr": 8e-4, "weight_decay": 0.08, "drop": 0.1, "mixup": 0.2, "aa": "rand-m9-mstd0.5", "reprob": 0.0},
    "mf-52m": {"lr": 8e-4, "weight_decay": 0.10, "drop": 0.2, "mixup": 0.2, "aa": None, "reprob": 0.0},
    "mf-96m": {"lr": 8e-4, "weight_decay": 0.10, "drop": 0.2, "mixup": 0.0, "aa": "rand-m9-mstd0.5", "reprob": 0.0},
    "mf-151m": {"lr": 9e-4, "weight_decay": 0.10, "drop": 0.2, "mixup": 0.2, "aa": "rand-m9-mstd0.5", "reprob": 0.2},
    "mf-214m": {"lr": 9e-4, "weight_decay": 0.15, "drop": 0.2, "mixup": 0.2, "aa": "rand-m9-mstd0.5", "reprob": 0.2},
    "mf-294m": {"lr": 1e-3, "weight_decay": 0.20, "drop": 0.3, "mixup": 0.2, "aa": "rand-m9-mstd0.5", "reprob": 0.2},
    "mf-508m": {"lr": 1e-3, "weight_decay": 0.20, "drop": 0.3, "mixup": 0.2, "aa": "rand-m9-mstd0.5", "reprob": 0.2},
}


def _recipe(config: MobileFormerConfig) -> dict[str, _Setting]:
    """Every key of the file, in its order. Defaults are those of timm 0.3.4, which the published training used: today's
    script has a longer warm-up from a smaller rate, ends at 0 and has no cool-down."""
    sized = _of_size(config)
    side = config.resolution
    image = _PAPER if side == 224 else "of this network; the paper's is 224 px"
    network = "of this network"
    arch = config.to_dict()
    arch["blocks"] = list(arch["blocks"])  # as YAML has it
    return {
        "device_modules": _Setting([PLUGIN], "registers mobile_former"),
        "model": _Setting("mobile_former", network),
        "model_kwargs": _Setting({"arch": arch}, network),
        "num_classes": _Setting(config.classes, network),
        "input_size": _Setting([3, side, side], image),
        "mean": _Setting([0.485, 0.456, 0.406], _DEFAULT),
        "std": _Setting([0.229, 0.224, 0.225], _DEFAULT),
        "crop_pct": _Setting(0.875, _PAPER),
        "interpolation": _Setting("bilinear", _PAPER),
        "batch_size": _Setting(128, "paper: 1024 in all, 128 for each of 8 devices; this is for one device"),
        "grad_accum_steps": _Setting(8, "for one device; on 8 devices 1"),
        "epochs": _Setting(450, _PAPER),
        "opt": _Setting("adamw", _PAPER),
        "lr": sized["lr"],
        "weight_decay": sized["weight_decay"],
        "opt_eps": _Setting(1e-8, _DEFAULT),
        "opt_betas": _Setting([0.9, 0.999], _DEFAULT),
        "momentum": _Setting(0.9, f"{_DEFAULT}; AdamW has none"),
        "clip_grad": _Setting(None, _DEFAULT),
        "sched": _Setting("cosine", _PAPER),
        "sched_on_updates": _Setting(False, _DEFAULT),
        "warmup_epochs": _Setting(3, _DEFAULT),
        "warmup_lr": _Setting(1e-4, _DEFAULT),
        "warmup_prefix": _Setting(False, _DEFAULT),
        "min_lr": _Setting(1e-5, _DEFAULT),
        "cooldown_epochs": _Setting(10, f"{_DEFAULT}: so many more at min_lr"),
        "lr_cycle_limit": _Setting(1, _DEFAULT),
        "lr_k_decay": _Setting(1.0, _DEFAULT),
        "lr_noise": _Setting(None, _DEFAULT),
        "drop": sized["drop"],
        "drop_path": _Setting(0.0, _PAPER),
        "smoothing": _Setting(0.1, _DEFAULT),
        "mixup": sized["mixup"],
        "cutmix": _Setting(0.0, _DEFAULT),
        "mixup_prob": _Setting(1.0, _DEFAULT),
        "mixup_switch_prob": _Setting(0.5, _DEFAULT),
        "mixup_mode": _Setting("batch", _DEFAULT),
        "mixup_off_epoch": _Setting(0, _DEFAULT),
        "aa": sized["aa"],
        "color_jitter": _Setting(0.0, _PAPER),
        "reprob": sized["reprob"],
        "remode": _Setting("pixel", _PAPER),
        "recount": _Setting(1, _DEFAULT),
        "scale": _Setting([0.08, 1.0], _DEFAULT),
        "ratio": _Setting([3 / 4, 4 / 3], _DEFAULT),
        "hflip": _Setting(0.5, _DEFAULT),
        "vflip": _Setting(0.0, _DEFAULT),
        "train_interpolation": _Setting("random", _DEFAULT),
        "aug_repeats": _Setting(0, _DEFAULT),
        "aug_splits": _Setting(0, _DEFAULT),
        "amp": _Setting(False, _DEFAULT),
        "model_ema": _Setting(False, _DEFAULT),
        "model_ema_decay": _Setting(0.9998, f"{_DEFAULT}, where model_ema is on"),
        "dist_bn": _Setting("reduce", f"{_OURS}: running statistics are averaged over devices before evaluation"),
        "seed": _Setting(42, _DEFAULT),
    }


def _of_size(config: MobileFormerConfig) -> dict[str, _Setting]:
    """The settings that the paper chose by size: its own at a published size, else interpolated."""
    madds = count_madds(dataclasses.replace(config, resolution=224, classes=1000))
    sizes = {name: count_madds(PRESETS[name]) for name in _BY_SIZE}
    for name, size in sizes.items():
        if madds == size:
            return {key: _Setting(value, f"paper, {name}") for key, value in _BY_SIZE[name].items()}
    names = list(sizes)
    k = bisect.bisect(list(sizes.values()), madds)
    if k in (0, len(names)):
        name, which = (names[0], "smallest") if k == 0 else (names[-1], "largest")
        source = f"of {name}, the {which} published size"
        return {key: _Setting(value, source) for key, value in _BY_SIZE[name].items()}
    below, above = names[k - 1], names[k]
    share = math.log(madds / sizes[below]) / math.log(sizes[above] / sizes[below])
    nearer = below if share <= 0.5 else above
    found = {}
    for key, low in _BY_SIZE[below].items():
        high = _BY_SIZE[above][key]
        if low == high:
            found[key] = _Setting(low, f"paper, {below} and {above} alike")
        elif isinstance(low, float) and isinstance(high, float):
            value = float(f"{low + share * (high - low):.4g}")
            source = f"interpolated between {below} ({low:g}) and {above} ({high:g}), linear in log multiply-adds"
            found[key] = _Setting(value, source)
        else:
            found[key] = _Setting(_BY_SIZE[nearer][key], f"of {nearer}, nearer in log multiply-adds than the other")
    return found


def recommended_training(config: MobileFormerConfig) -> dict[str, Any]:
    """The paper's training of this network, as keys and values of timm's train.py."""
    return {key: setting.value for key, setting in _recipe(config).items()}


def save_training(settings: Mapping[str, Any], path: Path, *, header: str) -> None:
    """Write the settings as YAML, with `header` as the first comment and its source beside each recommended value.
    Raises ValueError for settings that `load_training` would refuse."""
    _check(settings, str(path), {})
    arch = settings.get("model_kwargs", {}).get("arch")
    recipe = _recipe(MobileFormerConfig.from_dict(arch)) if arch is not None else {}
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    for key, value in settings.items():
        flow = None if isinstance(value, list | dict) else False  # None: one line for a flat list or mapping
        text = yaml.safe_dump({key: value}, default_flow_style=flow, sort_keys=False, width=1000).rstrip("\n")
        if key in recipe and recipe[key].value == value:
            first, *rest = text.split("\n")
            text = "\n".join([f"{first}  # {recipe[key].source}", *rest])
        lines.append(text)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def load_training(path: Path) -> dict[str, Any]:
    """The settings in a train.yaml. ValueError, with file and line, for a key that timm's train.py does not know (with
    the nearest known key), a value of a wrong type or range, and a file that is not YAML or cannot be read."""
    settings, lines = load_with_lines(path, str(path))
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: must be a mapping of keys of timm's train.py ({TIMM}), got {settings!r:.80}")
    _check(settings, str(path), lines)
    return settings


def _check(settings: Mapping[str, Any], name: str, lines: Mapping[tuple[str, ...], int]) -> None:
    for key, value in settings.items():
        place = f"{name}:{lines[str(key),]}" if (str(key),) in lines else name
        try:
            check_key(str(key), value)
            if key == "model_kwargs" and "arch" in value:
                MobileFormerConfig.from_dict(value["arch"])
        except ValueError as error:
            raise ValueError(f"{place}: {error}{_text_hint(value)}") from None


def _text_hint(value: Any) -> str:
    """How to write a number that YAML 1.1 reads as text, such as 1e-3; "" for any other value."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    return f" (YAML takes this for text: write {yaml.safe_dump(number).splitlines()[0]})"
