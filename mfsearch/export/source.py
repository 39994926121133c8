"""Writes a bundle's network in all its formats, and collects its figures."""

import importlib.metadata
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.judge import judge_madds
from mfsearch.cost.madds import count_costs
from mfsearch.cost.meter import Latency, LatencyMeter
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.data import ImageData
from mfsearch.export.bundle_manifest import INT8, MODEL, ONNX, PREPROCESS, WEIGHTS, write_json
from mfsearch.export.bundle_metrics import BundleCosts, BundleLatency, Int8File
from mfsearch.export.int8 import quantised
from mfsearch.export.origin import PROTOCOL
from mfsearch.export.standalone import Normalisation, Preprocessing, write_standalone
from mfsearch.model import MobileFormer
from mfsearch.study.files import now


def onnx_metadata(
    config: MobileFormerConfig, normalisation: Normalisation | None, preprocessing: Preprocessing | None
) -> dict[str, str]:
    """The metadata of a bundle's ONNX files. preprocessing: None for bundles older than preprocess.json."""
    told = json.dumps(normalisation._asdict()) if normalisation else "not known"
    facts = {} if preprocessing is None else preprocessing.facts()
    return {"arch_id": config.arch_id, "normalisation": told} | {name: json.dumps(one) for name, one in facts.items()}


def write_network(model: MobileFormer, folder: Path, preprocessing: Preprocessing, batch: int | None) -> float:
    """Write weights, ONNX file, model.py and preprocess.json; returns the deviation of ONNX Runtime from torch."""
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    try:
        save_file(tensors, folder / WEIGHTS)
    except SafetensorError as error:
        raise OSError(f"cannot write the weights: {error}") from None
    (folder / WEIGHTS).chmod(0o644)  # safetensors keeps them from others
    normalisation = preprocessing.normalisation
    (folder / MODEL).write_text(write_standalone(model.config, normalisation, preprocessing), encoding="utf-8")
    write_json(folder / PREPROCESS, preprocessing.to_dict())
    metadata = onnx_metadata(model.config, normalisation, preprocessing)
    difference = export_onnx(model, model.config.resolution, folder / ONNX, batch=batch, metadata=metadata)
    (folder / ONNX).chmod(0o644)
    return difference


def write_int8(
    model: MobileFormer, folder: Path, preprocessing: Preprocessing, images: ImageData, *, judge: bool
) -> Int8File:
    """Write model.int8.onnx; returns how far its predictions agree with fp32."""
    side = model.config.resolution
    with tempfile.TemporaryDirectory(dir=folder) as place:
        fp32, int8 = Path(place) / ONNX, Path(place) / INT8
        export_onnx(model, side, fp32, check=False)
        normalisation = preprocessing.normalisation
        found = quantised(fp32, int8, images, side, normalisation, judge=judge)
        written = onnx.load(str(int8))
        onnx.helper.set_model_props(written, onnx_metadata(model.config, normalisation, preprocessing))
        (folder / INT8).write_bytes(written.SerializeToString())
    return found


def costs_of(model: MobileFormer) -> BundleCosts:
    """The costs by closed form, with fvcore's count of the built network."""
    config = model.config
    costs, judged = count_costs(config), judge_madds(model, config.resolution)
    versions = {name: importlib.metadata.version(name) for name in ("mfsearch", "fvcore")}
    return BundleCosts(
        madds=costs.madds,
        macs=costs.macs,
        num_params=costs.num_params,
        activation_bytes=costs.activation_bytes,
        resolution=config.resolution,
        classes=config.classes,
        counter=f"closed form of mfsearch {versions['mfsearch']}",
        fvcore_madds=judged.madds,
        fvcore=versions["fvcore"],
    )


def measured_here(model: MobileFormer, cache_dir: Path | None) -> BundleLatency:
    """The network's latency on this device, in the form of metrics.json."""
    meter = LatencyMeter.open(cache_dir=cache_dir)
    found = measured(model, meter)
    return BundleLatency(
        latency_ms=found.latency_ms,
        latency_low_ms=found.latency_low_ms,
        latency_high_ms=found.latency_high_ms,
        latency_ratio=found.ratio,
        latency_disturbed=found.disturbed,
        passport=found.passport.as_dict(),
        protocol=PROTOCOL,
        baseline_ms=meter.baseline_ms,
        measured=now(),
    )


def measured(model: MobileFormer, meter: LatencyMeter) -> Latency:
    """The latency of one image, by an ONNX file that is made for it."""
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as place:
        path = Path(place) / ONNX
        export_onnx(model, model.config.resolution, path, check=False)
        return meter.measure(path)


def take_weights(model: MobileFormer, trained: Path | Mapping[str, Tensor]) -> tuple[int, list[str]]:
    """Load the tensors that fit, of a safetensors file or by name; returns their number and the names of the others."""
    trained = read_tensors(trained) if isinstance(trained, Path) else trained
    state = dict(model.state_dict())
    fits = {name: value for name, value in trained.items() if name in state and state[name].shape == value.shape}
    model.load_state_dict({**state, **fits})
    return len(fits), [name for name in state if name not in fits]


def stored_numbers(path: Path) -> int:
    """How many numbers a safetensors file holds, by its header; ValueError names it."""
    try:
        with safe_open(path, framework="pt") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118, no mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not readable as safetensors: {error}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; ValueError names it."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not readable as safetensors: {error}") from None


def check_fit(model: MobileFormer, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise ValueError if a tensor's name or shape is not the network's, or a value is not finite."""
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    classes = tensors.get("head.classifier.bias")
    if classes is not None and len(classes) != model.config.classes:
        raise ValueError(f"{path}: for {len(classes)} classes, the network has {model.config.classes}")
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            ours, theirs = (str(each.get(name, "none")) for each in (wanted, found))
            raise ValueError(f"{path}: weights of another network: {name} is {theirs} there, {ours} here")
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{path}: {name} holds numbers that are not finite")
