"""A found network as files: config, weights and ONNX, all three the same network."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mfsearch.config import MobileFormerConfig, load_config
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.model import MobileFormer


class Exported(NamedTuple):
    """What was written. warm: tensors that come from the short training; fresh: those drawn anew (the classifier)."""

    folder: Path
    files: list[str]
    warm: int
    fresh: list[str]
    onnx_difference: float


def export_network(config: MobileFormerConfig, folder: Path, *, weights: Path | None, seed: int = 0) -> Exported:
    """Write arch.yaml, weights.safetensors and model.onnx (batch 1, at the deployment size) into a new folder.

    weights: those of the short training, None for first weights drawn by `seed`. Where the short training had other
    classes than config.classes, the classifier is drawn anew: good to start a full training from, not to deploy.
    Raises ValueError if the folder holds anything already, ExportError if ONNX Runtime disagrees with torch.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} must be a new or an empty folder")
    model = MobileFormer(config, seed=seed)
    warm, fresh = 0, []
    if weights is not None:
        trained = load_file(weights)
        state: dict[str, Tensor] = {}
        for name, value in model.state_dict().items():
            if name in trained and trained[name].shape == value.shape:
                state[name] = trained[name]
                warm += 1
            else:
                state[name] = value
                fresh.append(name)
        model.load_state_dict(state)
    folder.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        part = Path(place)
        config.save(part / "arch.yaml")
        try:
            save_file(tensors, part / "weights.safetensors")
        except SafetensorError as error:
            raise OSError(f"cannot write the weights to {folder}: {error}") from None
        difference = export_onnx(model, config.resolution, part / "model.onnx")
        folder.mkdir(exist_ok=True)
        for file in part.iterdir():
            file.replace(folder / file.name)
    return Exported(folder, ["arch.yaml", "weights.safetensors", "model.onnx"], warm, fresh, difference)


def load_network(folder: Path) -> MobileFormer:
    """The network that `export_network` wrote, with its weights, in eval mode."""
    model = MobileFormer(load_config(folder / "arch.yaml"))
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model.eval()
