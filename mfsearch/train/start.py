"""The initial weights of a training: random, or from a file with a classifier that fits the data."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from mfsearch.config import MobileFormerConfig
from mfsearch.export.weights_file import read_weights
from mfsearch.model import CLASSIFIER, MobileFormer
from mfsearch.train.training_folder import weights_facts


class Start(NamedTuple):
    """tensors: None for random weights. name: identifies them in checkpoints. note: a sentence for people."""

    tensors: dict[str, Tensor] | None
    name: str
    note: str


def first_weights(seed: int) -> Start:
    return Start(None, "first weights", f"first weights, drawn by seed {seed}")


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
    return Start(state, name, note)
