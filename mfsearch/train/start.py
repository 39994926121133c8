"""The initial weights of a training: random, or from a file with a classifier that fits the data."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mfsearch.config import MobileFormerConfig
from mfsearch.export.bundle import Bundle, read_bundle
from mfsearch.export.bundle_manifest import MANIFEST, WEIGHTS
from mfsearch.export.weights_file import read_weights
from mfsearch.model import CLASSIFIER, MobileFormer
from mfsearch.train.train_options import Request
from mfsearch.train.training_folder import weights_facts

FIRST = "first weights"  # their name in checkpoints


class Start(NamedTuple):
    """tensors: None for random weights. name: identifies them in checkpoints. note: a sentence for people.
    new_classifier: whether the classifier is one that nothing trained."""

    tensors: dict[str, Tensor] | None
    name: str
    note: str
    new_classifier: bool = True


class TrainedWeights(NamedTuple):
    """Weights to fine-tune, and what is known of them if they are a bundle's. pixels: mean and std of its images."""

    file: Path
    class_names: Sequence[str] | None = None
    untrained_classifier: bool = False
    pixels: dict[str, Any] = {}  # noqa: RUF012


def find_weights(request: Request, bundle: Bundle, begun: Mapping[str, Any] | None) -> TrainedWeights | None:
    """The weights to fine-tune, None to train from first weights. begun: identity of the training to resume."""
    path = request.weights
    if request.scratch and path is not None:
        raise ValueError(f"--scratch trains from first weights, --weights {path} from these: say one of them")
    if path is None and not request.scratch and bundle.metrics.weights.trained_tensors:
        path = None if begun is not None and begun["weights"] == FIRST else bundle.folder
    if path is None:
        if request.new_classifier:
            raise ValueError(
                "--new-classifier is for --weights, or a bundle that is trained: this begins from first weights"
            )
        return None
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and not (path.name == WEIGHTS and (folder / MANIFEST).is_file()):
        return TrainedWeights(path)
    owner = read_bundle(folder)
    if owner.weights is None:
        raise ValueError(f"--weights {path}: this bundle holds none")
    told, fresh = owner.preprocessing, owner.metrics.weights.fresh_tensors
    pixels = {} if told.mean is None or told.std is None else {"mean": list(told.mean), "std": list(told.std)}
    return TrainedWeights(owner.weights, owner.metrics.class_names, bool(fresh), pixels)


def first_weights(seed: int) -> Start:
    return Start(None, FIRST, f"{FIRST}, drawn by seed {seed}")


def given_weights(
    path: Path,
    config: MobileFormerConfig,
    classes: Sequence[str],
    *,
    recorded: Sequence[str] | None = None,
    seed: int,
    new_classifier: bool = False,
) -> Start:
    """The weights in `path` to fine-tune; if the class count differs, the classifier is re-initialised.

    recorded: the class names of the weights, used if the file's header has none. Raises ValueError if the weights are
    of another network, or of as many other classes unless `new_classifier` is set, because that may be a mistake.
    """
    found = read_weights(path)
    state = MobileFormer(config, seed=seed).state_dict()
    missing = [name for name in state if name not in found and name not in CLASSIFIER]
    unknown = [name for name in found if name not in state]
    other = [n for n in found if n in state and n not in CLASSIFIER and found[n].shape != state[n].shape]
    for names, what in ((missing, "has no"), (unknown, "has an unknown"), (other, "has another shape of")):
        if names:
            raise ValueError(
                f"weights {path}: not of this network ({config.arch_id}): the file {what} {names[0]}"
                + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            )
    for name, value in found.items():
        if not value.isfinite().all():
            raise ValueError(f"weights {path}: {name} holds numbers that are not finite")
    fits = all(name in found and found[name].shape == state[name].shape for name in CLASSIFIER)
    told = weights_facts(path).get("classes")
    if isinstance(told, list) and len(told) == len(classes):  # else the header is not ours
        recorded = told
    if fits and not new_classifier and recorded is not None and list(recorded) != list(classes):
        own, theirs = next((a, b) for a, b in zip(classes, recorded, strict=True) if a != b)
        raise ValueError(
            f"weights {path}: trained on other classes, {theirs!r:.200} where the data has {own!r:.200}; "
            "--new-classifier re-initialises the classifier for those of the data"
        )
    anew = new_classifier or not fits
    state.update({name: value for name, value in found.items() if not (anew and name in CLASSIFIER)})
    name = f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}{', new classifier' if anew else ''}"
    note = f"fine-tuning from {path}"
    if anew:
        note += f", the classifier re-initialised for {len(classes)} classes"
    return Start(state, name, note, anew)
