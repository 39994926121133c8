"""The parent of a study in the study's own folder: its classes and normalisation are those of the study's images."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mfsearch.config import MobileFormerConfig
from mfsearch.model import CLASSIFIER, MobileFormer
from mfsearch.proxy.cutting import Score, by_weight, cut, mean_coefficients
from mfsearch.proxy.short_train import CHECKPOINT_SECONDS, DeviceData, InitialWeights, one_thread, short_train
from mfsearch.study.files import CHECKPOINTS, DiskError
from mfsearch.study.manifest import Manifest
from mfsearch.study.settings import Settings

PARENT = "parent.safetensors"  # in the study's folder
Pixels = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std by channel
MEAN_BATCH = 32  # images at once
MEAN_IMAGES = 256  # over which the slopes of DyReLUs that become static are averaged


@dataclass(frozen=True)
class ParentWeights:
    """The parent as the workers read it. config: with the classes of the data."""

    path: Path
    config: MobileFormerConfig
    digest: str


def prepare_parent(
    settings: Settings,
    manifest: Manifest,
    folder: Path,
    on_stage: Callable[[str], None],
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> ParentWeights | None:
    """The study's own copy of its parent, made at the study's start; None for a study without one.

    Where the parent has other classes than the images, its classifier is re-initialised and all of it is trained for as
    long as the study's longest training; after an interruption that goes on from a checkpoint.
    """
    parent = settings.parent
    if parent is None:
        return None
    config = dataclasses.replace(parent.config, classes=manifest.data.classes)
    kept = ParentWeights(folder / PARENT, config, parent.facts.digest)
    made = {"parent": parent.facts.digest, "data": manifest.data.digest, "seed": str(settings.seed)}
    if _made_of(kept.path) == made:
        return kept
    assert manifest.mean is not None
    assert manifest.std is not None
    state = adapted(load_file(parent.weights), (parent.mean, parent.std), (manifest.mean, manifest.std))
    if parent.class_names != manifest.class_names:
        on_stage("fine-tuning the parent on these images")
        state = _fine_tuned(state, config, settings, folder, checkpoint_seconds)
    network = MobileFormer(config)
    network.load_state_dict(state)
    if not network.eval()(torch.zeros(1, 3, config.resolution, config.resolution)).isfinite().all():
        raise ValueError(f"--parent {parent.weights.parent}: the network's logits are not finite")
    part = kept.path.with_name(kept.path.name + ".part")
    try:
        save_file(state, part, metadata=made)
        part.replace(kept.path)
        (folder / CHECKPOINTS / PARENT).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise DiskError(f"cannot write {kept.path}: {error}") from None
    return kept


def _made_of(path: Path) -> dict[str, str] | None:
    """What the file in a study was made of; None if there is none that can be read."""
    try:
        with safe_open(path, "pt") as file:
            told: dict[str, str] | None = file.metadata()
            return told
    except (OSError, SafetensorError):
        return None


def _fine_tuned(
    state: dict[str, Tensor], config: MobileFormerConfig, settings: Settings, folder: Path, checkpoint_seconds: float
) -> dict[str, Tensor]:
    fresh = MobileFormer(config, seed=settings.seed).state_dict()
    start = InitialWeights("parent", {**state, **{name: fresh[name] for name in CLASSIFIER}})
    longest = settings.recipe.epochs * max(settings.rungs.factors)
    checkpoint = folder / CHECKPOINTS / PARENT
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"cannot write in {folder}: {error.strerror}") from None
    images = settings.recipe.load_images(
        settings.data, data_dir=settings.data_dir, seed=settings.seed, skip_damaged=True
    )
    with one_thread():
        trained = short_train(
            config,
            DeviceData(images, torch.device(settings.device)),
            settings.recipe,
            seed=settings.seed,
            start=start,
            points=(longest,),
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
        )
    return trained.weights


def adapted(state: dict[str, Tensor], theirs: Pixels, ours: Pixels) -> dict[str, Tensor]:
    """A network's weights for pixels that are normalised with another mean and std.

    The stem computes the same from either, except that its padding is the mean colour.
    """
    (mean, std), (old_mean, old_std) = (torch.tensor(one, dtype=torch.float64) for one in (ours, theirs))
    weight = state["stem.conv.conv.weight"].double()
    added = weight.sum((2, 3)) @ ((mean - old_mean) / old_std)  # to every output of the convolution
    weight = weight * (std / old_std)[:, None, None]
    running = state["stem.conv.norm.running_mean"].double() - added
    return {**state, "stem.conv.conv.weight": weight.float(), "stem.conv.norm.running_mean": running.float()}


class Cutter:
    """Cuts networks from a study's parent, one after another."""

    def __init__(self, weights: ParentWeights, data: DeviceData) -> None:
        self.digest = weights.digest
        self.parent = MobileFormer(weights.config)
        self.parent.load_state_dict(load_file(weights.path))
        self.parent.eval()
        batches = torch.split(data.train_images[:MEAN_IMAGES], MEAN_BATCH)
        parts = [mean_coefficients(self.parent, data.normalized(batch).cpu()) for batch in batches]
        shares = [len(batch) / sum(map(len, batches)) for batch in batches]
        self.coefficients = {
            name: sum((share * part[name] for share, part in zip(shares, parts, strict=True)), start=torch.zeros(()))
            for name in parts[0]
        }
        self.score: Score = by_weight(self.parent)

    def start(self, config: MobileFormerConfig) -> InitialWeights:
        """The weights of a network inside the parent; ValueError if it does not lie inside."""
        model = cut(self.parent, config, score=self.score, coefficients=self.coefficients)
        return InitialWeights(self.digest, dict(model.state_dict()))
