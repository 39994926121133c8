"""Knowledge distillation (arXiv:1503.02531) from the network of a bundle, or any of timm."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.export.bundle_metrics import BundleMetrics
from mfsearch.export.parent_bundle import read_parent
from mfsearch.export.source import read_tensors
from mfsearch.export.weights_file import read_weights
from mfsearch.model import MobileFormer
from mfsearch.train.parts import import_timm


class Teacher:
    """A network in eval mode that gets the student's images, converted to its own normalisation and size."""

    def __init__(
        self,
        model: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        *,
        name: str,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """mean, std: of the student's images. name: identifies the teacher in checkpoints, by the hash of its weights.
        config: its own normalisation, by default as timm keeps it in the model."""
        self.name = name
        config = config or getattr(model, "pretrained_cfg", None) or {}
        self.model = model.to(device).eval().requires_grad_(False)
        self.side = config["input_size"][-1] if config.get("fixed_input_size") else None
        of_student, own = (mean, std), (config.get("mean", mean), config.get("std", std))
        values = [torch.tensor(value, device=device)[:, None, None] for pair in (of_student, own) for value in pair]
        self.scale = values[1] / values[3]
        self.shift = (values[0] - values[2]) / values[3]

    @torch.no_grad()
    def logits(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = x_BCHW * self.scale + self.shift
        if self.side is not None and x_BCHW.shape[-1] != self.side:
            x_BCHW = F.interpolate(x_BCHW, size=(self.side, self.side), mode="bilinear", antialias=True)
        return self.model(x_BCHW)  # type: ignore[no-any-return]


def find_teacher(
    spec: str,
    classes: Sequence[str],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    *,
    download: bool,
) -> Teacher:
    """The teacher that is asked for: a bundle, or a network of timm."""
    if Path(spec).is_dir():
        return bundle_teacher(Path(spec), classes, mean, std, device)
    return load_teacher(spec, len(classes), mean, std, device, download=download)


def bundle_teacher(
    folder: Path, classes: Sequence[str], mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> Teacher:
    """The network of a bundle as the teacher; ValueError if a file was altered, its weights or its classifier are not
    trained, or its classes are not those of the data."""
    parent = read_parent(folder, "--teacher")
    if BundleMetrics.read(folder).weights.fresh_tensors:
        raise ValueError(f"--teacher {folder}: its classifier is re-initialised, not trained")
    names = parent.class_names
    if len(classes) != parent.config.classes or (names is not None and tuple(classes) != names):
        told = f" ({', '.join(names)!s:.200})" if names else ""
        raise ValueError(
            f"--teacher {folder}: must have the classes of the data, {len(classes)} ({', '.join(classes)!s:.200}), got "
            f"{parent.config.classes}{told}"
        )
    model = MobileFormer(parent.config)
    model.load_state_dict(read_tensors(parent.weights))
    own = {"mean": parent.mean, "std": parent.std}
    return Teacher(model, mean, std, device, name=f"bundle {parent.facts.digest[:16]}", config=own)


def load_teacher(
    spec: str, classes: int, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, *, download: bool
) -> Teacher:
    """The teacher NAME or NAME:FILE; ValueError if it is unknown, has other classes, or needs a download.

    FILE: its weights, as safetensors or from torch.save (read with weights_only). NAME alone uses timm's pretrained
    weights and needs `download`. The teacher must have the classes of the data, in the same order.
    """
    timm = import_timm()
    name, _, file = spec.partition(":")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"; near are {', '.join(near)}" if near else ""
        raise ValueError(f"teacher {name!r} is not a model of timm{hint}; a bundle is given by its folder")
    if not file:
        if not download:
            raise ValueError(f"teacher {name}: give its weights as {name}:FILE, or --download to fetch timm's own")
        if not timm.is_model_pretrained(name):
            raise ValueError(f"teacher {name}: timm has no weights of it; give yours as {name}:FILE")
        model = timm.create_model(name, pretrained=True)
    else:
        model = timm.create_model(name, num_classes=classes)
        state = read_weights(Path(file))
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split()[:40])
            raise ValueError(
                f"teacher {file}: not the weights of {name} with {classes} classes, those of the data: {reason}"
            ) from None
    if model.num_classes != classes:
        raise ValueError(
            f"teacher {name} has {model.num_classes} classes, the data {classes}: give weights trained on them, "
            f"{name}:FILE"
        )
    identity = f"{name}:{hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]}" if file else name
    return Teacher(model, mean, std, device, name=identity)


def distilled(loss: Tensor, logits_BK: Tensor, teacher_BK: Tensor, *, share: float, temperature: float) -> Tensor:
    """(1 - share) loss + share T^2 KL(teacher / T, student / T), the mean over the batch."""
    student = F.log_softmax(logits_BK / temperature, dim=1)
    target = F.log_softmax(teacher_BK.float() / temperature, dim=1)
    divergence = F.kl_div(student, target, reduction="batchmean", log_target=True)
    return (1 - share) * loss + share * temperature**2 * divergence
