"""Knowledge distillation (arXiv:1503.02531) from the network of a bundle, a study's parent, or any of timm."""

import dataclasses
import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.export.bundle_manifest import StudyOrigin
from mfsearch.export.bundle_metrics import BundleMetrics
from mfsearch.export.parent_bundle import read_parent
from mfsearch.export.source import read_tensors
from mfsearch.export.weights_file import read_weights
from mfsearch.model import MobileFormer
from mfsearch.search.cutter import PARENT, Cutter, ParentWeights, check_copy
from mfsearch.study.files import JOURNAL, RESULTS, list_studies
from mfsearch.study.kept_parent import KeptParent
from mfsearch.study.manifest import Manifest
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
    """The teacher that is asked for: a bundle, a study by its folder or by its name under results/, or one of timm."""
    folder = Path(spec) if Path(spec).is_dir() else RESULTS / spec
    if any((folder / name).exists() for name in (PARENT, JOURNAL)):
        return study_teacher(folder, classes, mean, std, device)
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
    _check_classes(folder, classes, parent.config.classes, parent.class_names)
    model = MobileFormer(parent.config)
    model.load_state_dict(read_tensors(parent.weights))
    own = {"mean": parent.mean, "std": parent.std}
    return Teacher(model, mean, std, device, name=f"bundle {parent.facts.digest[:16]}", config=own)


def study_teacher(
    folder: Path, classes: Sequence[str], mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> Teacher:
    """The parent as a study inside it keeps it, with the classes of the study's images; ValueError without a whole one,
    or if the data has other classes."""
    manifest = Manifest.read(folder)
    kept = KeptParent.read(folder, manifest.parent)
    if kept is None or not (folder / PARENT).exists():
        raise ValueError(f"--teacher {folder}: this study keeps no trained parent; give the folder of a bundle")
    _check_classes(folder, classes, manifest.data.classes, manifest.class_names)
    digest = check_copy(folder / PARENT, manifest)
    config = dataclasses.replace(kept.network.config, classes=len(classes))
    model = Cutter(ParentWeights(folder / PARENT, config, digest)).parent
    own = {"mean": manifest.mean, "std": manifest.std}
    return Teacher(model, mean, std, device, name=f"parent {digest[:16]}", config=own)


def study_of_parent(study: StudyOrigin | None) -> str | None:
    """The name of the study that a network was cut in, if it is under results/ and keeps a parent of the same hash."""
    if study is None or study.parent is None or study.name not in list_studies():
        return None
    folder = RESULTS / study.name
    try:
        parent = Manifest.read(folder).parent
    except ValueError:  # damaged; it is not needed
        return None
    same = parent is not None and parent.digest == study.parent.digest
    return study.name if same and (folder / PARENT).is_file() else None


def _check_classes(folder: Path, classes: Sequence[str], count: int, names: tuple[str, ...] | None) -> None:
    if len(classes) != count or (names is not None and tuple(classes) != names):
        told = f" ({', '.join(names)!s:.200})" if names else ""
        raise ValueError(
            f"--teacher {folder}: must have the classes of the data, {len(classes)} ({', '.join(classes)!s:.200}), got "
            f"{count}{told}"
        )


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
