"""The weights that the paper's authors released (PyTorch, AAboys/MobileFormer), as those of a preset.

Their state dict holds the same tensors as ours in the same layout, under other names.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mfsearch.config import MobileFormerConfig
from mfsearch.export.bundle_manifest import sha256_of
from mfsearch.export.bundle_metrics import PublishedFile
from mfsearch.export.origin import Origin, of_training
from mfsearch.export.weights_file import read_weights
from mfsearch.model import CLASSIFIER, MobileFormer
from mfsearch.presets import PRESETS, preset

TRAINED_SIZE = 224  # pixels a side
AUTHORS_CLASSIFIER = "classifier.classifier.1"

# our layer: the authors'
_TO_FORMER = {"query": "q", "gate": "alpha.0", "output": "proj", "norm": "layer_norm"}
_OUTSIDE = {
    "tokens": "tokens.weight",
    "stem.conv.conv": "stem.0",
    "stem.conv.norm": "stem.1",
    "lite.depthwise.conv": "features.0.conv.0",
    "lite.depthwise.norm": "features.0.conv.1",
    "lite.project.conv": "features.0.conv.4",
    "lite.project.norm": "features.0.conv.5",
    **{f"final.{ours}": f"local_global.{theirs}" for ours, theirs in _TO_FORMER.items()},
    "head.conv.conv": "classifier.conv.1",
    "head.conv.norm": "classifier.conv.2",
    "head.hidden": "classifier.fc.0",
    "head.norm": "classifier.fc.1",
    "head.classifier": AUTHORS_CLASSIFIER,
}
_BLOCK = {
    **{f"to_former.{ours}": f"local_global.{theirs}" for ours, theirs in _TO_FORMER.items()},
    "former.query": "global_block.q",
    "former.output": "global_block.channel_mlp",
    "former.norm1": "global_block.layer_norm",
    "former.ffn1": "global_block.ffn.0",
    "former.ffn2": "global_block.ffn.2",
    "former.norm2": "global_block.ffn_norm",
    "to_mobile.key": "global_local.k",
    "to_mobile.value": "global_local.proj",
}


def _convolutions(layers: Sequence[str], hypers: tuple[str, str]) -> dict[str, str]:
    """The Mobile part of a block: its layers in the authors' order, and their layers of the two DyReLUs."""
    names = dict[str, str]()
    for k, layer in enumerate(layers, 1):
        names |= {f"mobile.{layer}.conv": f"conv{k}.0", f"mobile.{layer}.norm": f"conv{k}.1"}
    for k, hyper in enumerate(hypers, 1):
        names |= {f"mobile.act{k}.squeeze": f"{hyper}.hyper.0", f"mobile.act{k}.expand": f"{hyper}.hyper.2"}
    return names


_BY_STRIDE = {
    1: _BLOCK | _convolutions(("expand", "depthwise", "project"), ("hyper1", "hyper2")),
    2: _BLOCK | _convolutions(("depthwise1", "project1", "depthwise2", "project2"), ("hyper1", "hyper3")),
}


def authors_name(name: str, config: MobileFormerConfig) -> str:
    """The authors' name of an entry of our state dict. Their numbers of a block's layers depend on its stride."""
    block = re.match(r"blocks\.(\d+)\.", name)
    names, place = _OUTSIDE, ""
    if block:
        k = int(block[1])
        names, place, name = _BY_STRIDE[config.blocks[k].stride], f"features.{k + 1}.", name[block.end() :]
    if name in names:
        return place + names[name]
    layer, _, kind = name.rpartition(".")
    return f"{place}{names[layer]}.{kind}"


def read_published(name: str, path: Path, classes: int | None = None) -> dict[str, Tensor]:
    """The authors' checkpoint in `path` as tensors by our names, for the preset `name`.

    classes: as many as the file's keep its classifier; of any other number the two tensors of the classifier are left
    out. By default they must be the preset's. ValueError names the file and a key that is unknown, missing, of another
    shape or not finite, or says which preset the file is of.
    """
    config = preset(name)
    given = read_weights(path)
    count = _classes(given, config.classes)
    if fault := _misfit(given, config, count):
        others = (other for other in PRESETS if other != name and not _misfit(given, PRESETS[other], count))
        of_other = next(others, None)
        fault = fault if of_other is None else f"these are the weights of {of_other}"
        raise ValueError(f"weights {path}: not of {name}: {fault}")
    if classes is None and count != config.classes:
        raise ValueError(
            f"weights {path}: {AUTHORS_CLASSIFIER}.bias is for {count} classes, {name} has {config.classes}: ask for "
            f"{count} classes to keep this classifier"
        )
    for key, value in given.items():
        counter = key.endswith("num_batches_tracked")
        plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_complex()
        if not plain or not (value.is_floating_point() or counter):
            raise ValueError(f"weights {path}: {key} must hold plain floating-point numbers, got {value.dtype}")
        if not value.double().isfinite().all():
            raise ValueError(f"weights {path}: {key} holds numbers that are not finite")
    dropped = CLASSIFIER if classes not in (None, count) else ()
    state = MobileFormer(config).state_dict()
    return {
        ours: given[authors_name(ours, config)].to(value.dtype) for ours, value in state.items() if ours not in dropped
    }


def of_published(name: str, path: Path, *, resolution: int | None = None, classes: int | None = None) -> Origin:
    """A preset with the authors' weights, to export; the ValueErrors of `read_published`."""
    config = preset(name)
    config = replace(
        config,
        resolution=config.resolution if resolution is None else resolution,
        classes=config.classes if classes is None else classes,
    )
    tensors = read_published(name, path, classes)
    facts = PublishedFile(path.name, sha256_of(path), TRAINED_SIZE, name)
    return Origin(name, config, tensors, "", 0, of_training(config, TRAINED_SIZE), published=facts)


def _classes(given: Mapping[str, Tensor], otherwise: int) -> int:
    """The number of classes of a checkpoint."""
    bias = given.get(f"{AUTHORS_CLASSIFIER}.bias")
    return len(bias) if bias is not None and bias.ndim == 1 else otherwise


def _misfit(given: Mapping[str, Tensor], config: MobileFormerConfig, classes: int) -> str | None:
    """The first key of a checkpoint that does not fit a preset, in words; None if all fit."""
    wanted = {authors_name(name, config): value.shape for name, value in MobileFormer(config).state_dict().items()}
    for kind in ("weight", "bias"):
        wanted[f"{AUTHORS_CLASSIFIER}.{kind}"] = torch.Size((classes, *wanted[f"{AUTHORS_CLASSIFIER}.{kind}"][1:]))
    for what, names in (
        ("unknown key", [key for key in given if key not in wanted]),
        ("missing key", [key for key in wanted if key not in given]),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            return f"{what} {names[0]!r:.200}{more}"
    for key, shape in wanted.items():
        if given[key].shape != shape:
            return f"{key} must be {list(shape)}, got {list(given[key].shape)}"
    return None
