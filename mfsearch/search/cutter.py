"""The parent of a study in the study's own folder: its classes and normalisation are those of the study's images."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mfsearch.config import MobileFormerConfig
from mfsearch.data import ImageData
from mfsearch.model import CLASSIFIER, MobileFormer
from mfsearch.proxy.cutting import Score, by_weight, cut, mean_coefficients
from mfsearch.proxy.short_train import CHECKPOINT_SECONDS, DeviceData, InitialWeights, one_thread, short_train
from mfsearch.study.files import CHECKPOINTS, DiskError
from mfsearch.study.manifest import Manifest
from mfsearch.study.settings import Settings

PARENT = "parent.safetensors"  # in the study's folder: weights, and the slopes of DyReLUs that become static
TUNING = "parent.pt"  # the checkpoint of its fine-tuning: torch takes any name in .safetensors for another format
SLOPES = "slopes:"  # before the name of a DyReLU, in that file
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
    images: ImageData | None = None,
) -> ParentWeights | None:
    """The study's own copy of its parent, made at the study's start; None for a study without one.

    Where the parent has other classes than the images, its classifier is re-initialised and all of it is trained for as
    long as the study's longest training; after an interruption that goes on from a checkpoint. images: the study's,
    loaded if None. ValueError if the copy is there and was altered, or is of another network.
    """
    parent = settings.parent
    if parent is None:
        return None
    config = dataclasses.replace(parent.config, classes=manifest.data.classes)
    kept = ParentWeights(folder / PARENT, config, parent.facts.digest)
    if kept.path.exists():
        check_copy(kept.path, manifest)
        return kept
    assert manifest.mean is not None
    assert manifest.std is not None
    state = adapted(load_file(parent.weights), (parent.mean, parent.std), (manifest.mean, manifest.std))
    if images is None:
        images = settings.recipe.load_images(
            settings.data, data_dir=settings.data_dir, seed=settings.seed, skip_damaged=True
        )
    data = DeviceData(images, torch.device(settings.device))
    with one_thread():
        if parent.class_names != manifest.class_names:
            on_stage("fine-tuning the parent on these images")
            state = _fine_tuned(state, config, data, settings, folder, checkpoint_seconds)
        network = MobileFormer(config, seed=None).eval()
        network.load_state_dict(state)
        slopes = _mean_slopes(network, data)
    if not network(torch.zeros(1, 3, config.resolution, config.resolution)).isfinite().all():
        raise ValueError(f"--parent {parent.weights.parent}: the network's logits are not finite")
    state = {**state, **{f"{SLOPES}{name}": mean for name, mean in slopes.items()}}
    part = kept.path.with_name(kept.path.name + ".part")
    try:
        save_file(state, part, metadata=_made_from(manifest) | {"sha256": _digest(state)})
        part.replace(kept.path)
        (folder / CHECKPOINTS / TUNING).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise DiskError(f"cannot write {kept.path}: {error}") from None
    return kept


def _made_from(manifest: Manifest) -> dict[str, str]:
    assert manifest.parent is not None
    return {"parent": manifest.parent.digest, "data": manifest.data.digest, "seed": str(manifest.seed)}


def check_copy(path: Path, manifest: Manifest) -> str:
    """The hash of a study's copy of its parent; ValueError unless it is whole and was made for this study."""
    way = "delete it, and the command that made it makes it again"
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path}: must be a plain file; {way}")
    try:
        with safe_open(path, "pt") as file:
            told: dict[str, str] = file.metadata() or {}
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not readable as safetensors ({error}); {way}") from None
    for name, wanted in _made_from(manifest).items():
        if told.get(name) != wanted:
            raise ValueError(f"{path}: {name} must be {wanted:.16}, got {told.get(name, 'none')!s:.16}; {way}")
    if told.get("sha256") != _digest(state):
        raise ValueError(f"{path}: changed since it was written; {way}")
    return told["sha256"]


def _digest(state: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name, value in sorted(state.items()):
        sha.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        sha.update(value.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _fine_tuned(
    state: dict[str, Tensor],
    config: MobileFormerConfig,
    data: DeviceData,
    settings: Settings,
    folder: Path,
    checkpoint_seconds: float,
) -> dict[str, Tensor]:
    fresh = MobileFormer(config, seed=settings.seed).state_dict()
    start = InitialWeights("parent", {**state, **{name: fresh[name] for name in CLASSIFIER}})
    longest = settings.recipe.epochs * max(settings.rungs.factors)
    checkpoint = folder / CHECKPOINTS / TUNING
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"cannot write in {folder}: {error.strerror}") from None
    trained = short_train(
        config,
        data,
        settings.recipe,
        seed=settings.seed,
        start=start,
        points=(longest,),
        checkpoint=checkpoint,
        checkpoint_seconds=checkpoint_seconds,
    )
    return trained.weights


def _mean_slopes(network: MobileFormer, data: DeviceData) -> dict[str, Tensor]:
    """The mean coefficients of each dynamic DyReLU over the first training images, by its name."""
    images = data.train_images[:MEAN_IMAGES]
    means: dict[str, Tensor] = {}
    for batch in torch.split(images, MEAN_BATCH):
        share = len(batch) / len(images)
        for name, mean in mean_coefficients(network, data.normalized(batch).cpu()).items():
            means[name] = means.get(name, torch.zeros(())) + share * mean
    return means


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


def read_copy(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights in a study's copy of its parent, and the slopes of its DyReLUs."""
    state = load_file(path)
    slopes = {name.removeprefix(SLOPES): state.pop(name) for name in [*state] if name.startswith(SLOPES)}
    return state, slopes


class Cutter:
    """Cuts networks from a study's parent, one after another."""

    def __init__(self, weights: ParentWeights) -> None:
        self.digest = weights.digest
        self.parent = MobileFormer(weights.config, seed=None).eval()
        state, self.coefficients = read_copy(weights.path)
        self.parent.load_state_dict(state)
        self.score: Score = by_weight(self.parent)

    def start(self, config: MobileFormerConfig) -> InitialWeights:
        """The weights of a network inside the parent; ValueError if it does not lie inside."""
        model = cut(self.parent, config, score=self.score, coefficients=self.coefficients)
        return InitialWeights(self.digest, dict(model.state_dict()))
