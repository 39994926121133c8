"""Verifies a bundle: files, network, costs, three ways to run it, training, latency.

No code of a bundle runs unless its hash and its text are exactly what mfsearch writes. Weights are safetensors, YAML is
read safely, and there is no pickle.
"""

import dataclasses
import json
import math
import types
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor

from mfsearch.config import MobileFormerConfig, load_config
from mfsearch.cost.judge import judge_madds
from mfsearch.cost.madds import count_costs
from mfsearch.cost.meter import Latency, LatencyMeter
from mfsearch.cost.onnx_export import TOLERANCE
from mfsearch.cost.passport import DevicePassport, read_passport
from mfsearch.export.bundle_manifest import (
    ARCH,
    INT8,
    MANIFEST,
    METRICS,
    MODEL,
    ONNX,
    PREPROCESS,
    PTE,
    TRAINING,
    WEIGHTS,
    BundleManifest,
    changed,
    read_json,
    read_manifest,
)
from mfsearch.export.bundle_metrics import BundleMetrics, read_preprocessing
from mfsearch.export.executorch import check_installed, run_pte
from mfsearch.export.origin import of_metrics
from mfsearch.export.replacing import finish_replacing
from mfsearch.export.run_apart import run_apart
from mfsearch.export.source import check_fit, measured, onnx_metadata, read_tensors, stored_numbers
from mfsearch.export.standalone import GENERATOR, write_standalone
from mfsearch.export.train_yaml import load_training
from mfsearch.model import MobileFormer

OK, FAILED, SKIPPED, WARNING = "ok", "failed", "skipped", "warning"
IMAGES = 2  # that the three ways are compared on


class Check(NamedTuple):
    """One check. outcome: ok, failed, skipped or warning; said: the finding, in one line."""

    name: str
    outcome: str
    said: str


class Report(NamedTuple):
    """All checks of one bundle."""

    folder: Path
    checks: list[Check]

    @property
    def verified(self) -> bool:
        return not any(check.outcome == FAILED for check in self.checks)


class _Mismatch(Exception):  # noqa: N818, it is a finding
    """A check that failed, with its reason."""


class _Skip(Exception):  # noqa: N818
    """A check that could not be made, with its reason."""


class _Warning(Exception):  # noqa: N818
    """A check without a verdict, with its reason."""


def verify_bundle(folder: Path, *, latency: bool = True, cache_dir: Path | None = None) -> Report:
    """Check a whole bundle; if a file is missing, altered or unknown, nothing else is checked.

    latency: also measure it, for up to half a minute, if the bundle's figure comes from a device like this one.
    cache_dir: as in LatencyMeter.open(). Raises ValueError if there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} must be the folder of a bundle: there is none")
    try:
        finish_replacing(folder)
        manifest = read_manifest(folder)
    except (ValueError, OSError) as error:
        return Report(folder, [Check("files", FAILED, str(error))])
    if wrong := wrong_files(folder, manifest):
        return Report(folder, [Check("files", FAILED, line) for line in wrong])
    try:
        looked = _Inspection(folder, manifest, cache_dir)
    except ValueError as error:
        return Report(folder, [Check("files", FAILED, str(error))])
    checks = [Check("files", OK, f"{len(manifest.files)}, each as {MANIFEST} says")]
    steps: list[tuple[str, Callable[[], str]]] = [
        ("network", looked.network),
        ("costs", looked.costs),
        ("model.py", looked.standalone),
        ("model.onnx", looked.onnx),
        ("train.yaml", looked.training),
    ]
    if PREPROCESS in manifest.files:
        steps.append((PREPROCESS, looked.pixels))
    if INT8 in manifest.files:
        steps.append((INT8, looked.int8))
    if PTE in manifest.files:
        steps.append((PTE, looked.executorch))
    steps.append(("latency", looked.latency if latency else _not_asked))
    for name, step in steps:
        checks.append(_done(name, step))
        if name == "network" and checks[-1].outcome == FAILED:
            break  # the other checks need the network
        if name == ONNX and checks[-1].outcome == FAILED:
            steps[-1] = ("latency", _not_asked)  # a graph that is not ours may never end
    return Report(folder, checks)


def wrong_files(folder: Path, manifest: BundleManifest, checked: Collection[str] = ()) -> list[str]:
    """A line for each file that is missing, altered or not in the manifest. checked: files whose hash is known."""
    told = manifest.files
    left = [name for name in told if name not in checked]
    wrong = [f"{folder / name}: {reason}" for name in left if (reason := changed(folder, name, told[name]))]
    for path in sorted(folder.iterdir()):
        if path.name not in told and path.name != MANIFEST:
            hint = ": Python made it when model.py was imported there, delete it" if path.name == "__pycache__" else ""
            wrong.append(f"{path}: not in {MANIFEST}{hint}")
    return wrong


def _not_asked() -> str:
    raise _Skip("not asked for")


def _done(name: str, step: Callable[[], str]) -> Check:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Check(name, OK, step())
    except _Skip as reason:
        return Check(name, SKIPPED, str(reason))
    except _Warning as reason:
        return Check(name, WARNING, str(reason))
    except (_Mismatch, ValueError) as error:
        return Check(name, FAILED, str(error))
    except Exception as error:  # a forged bundle can fail in any way
        return Check(name, FAILED, f"{type(error).__name__}: {error}")


class _Inspection:
    """The checks of a bundle whose files match its manifest; each may use the results of those before it."""

    def __init__(self, folder: Path, manifest: BundleManifest, cache_dir: Path | None) -> None:
        self.cache_dir = cache_dir
        self.folder = folder
        self.manifest = manifest
        self.metrics = BundleMetrics.read(folder)
        self.preprocessing = read_preprocessing(folder) if PREPROCESS in manifest.files else None
        self.config: MobileFormerConfig
        self.model: MobileFormer
        self.images: Tensor
        self.expected: Tensor

    def network(self) -> str:
        """The network of arch.yaml can be built and saved again unchanged, and the weights fit it."""
        config = self.config = load_config(self.folder / ARCH)
        for name, said in ((MANIFEST, self.manifest), (METRICS, self.metrics)):
            _same("the network", {ARCH: config.arch_id, name: said.arch_id})
        num_params = count_costs(config).num_params
        path = self.folder / WEIGHTS
        if path.exists():
            stored = stored_numbers(path)  # before a network of any size is built
            if stored < num_params:
                raise _Mismatch(f"{WEIGHTS} holds {stored} numbers, the network of {ARCH} has {num_params} parameters")
        self.model = MobileFormer(config, seed=self.manifest.seed).eval()
        if MobileFormerConfig.from_dict(self.model.config.to_dict()) != config:
            raise _Mismatch(f"the network built from {ARCH} has another config")
        if path.exists():
            tensors = read_tensors(path)
            check_fit(self.model, tensors, path)
            self.model.load_state_dict(tensors)
        side = config.resolution
        self.images = torch.randn(IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            self.expected = self.model(self.images)
        if not torch.isfinite(self.expected).all():
            raise _Mismatch("the network's logits are not finite")
        return f"{config.arch_id}, {len(self.model.state_dict())} tensors"

    def costs(self) -> str:
        """Costs by closed form, by fvcore and of the built network equal those in metrics.json."""
        told, costs = self.metrics.costs, count_costs(self.config)
        built = sum(value.numel() for value in self.model.parameters())
        judged = judge_madds(self.model, self.config.resolution).madds
        _same("parameters", {METRICS: told.num_params, "closed form": costs.num_params, "as built": built})
        _same("multiply-adds", {METRICS: told.madds, "closed form": costs.madds, "fvcore": judged})
        for name in ("macs", "activation_bytes"):
            _same(name, {METRICS: getattr(told, name), "closed form": getattr(costs, name)})
        for name in ("resolution", "classes"):
            _same(name, {METRICS: getattr(told, name), ARCH: getattr(self.config, name)})
        return f"{built} parameters, {judged} multiply-adds; closed form, fvcore and the built network agree"

    def standalone(self) -> str:
        """model.py is exactly what mfsearch writes, and computes the same logits as the package."""
        generator = self.manifest.generator
        if generator != GENERATOR:
            raise _Skip(f"not run: written by another generator ({generator!r:.20}, this one is {GENERATOR})")
        text = (self.folder / MODEL).read_text(encoding="utf-8")
        if text != write_standalone(self.config, self.manifest.normalisation, self.preprocessing):
            raise _Mismatch(f"{MODEL} is not what mfsearch writes for this network; it was not run")
        module: Any = types.ModuleType("model")
        module.__file__ = str(self.folder / MODEL)
        exec(compile(text, str(self.folder / MODEL), "exec"), module.__dict__)  # the text that was compared
        if WEIGHTS in self.manifest.files:
            network = module.load(self.folder / WEIGHTS)
        else:
            network = module.build().eval()
            network.load_state_dict(self.model.state_dict())
        with torch.no_grad():
            logits = network(self.images)
        return f"{_agreeing(logits, self.expected, MODEL)} from mfsearch's own network"

    def onnx(self) -> str:
        """ONNX Runtime and torch compute the same logits, one image at a time or in one batch."""
        path = self.folder / ONNX
        self._metadata(path)
        any_batch = self.metrics.onnx.batch == "any"
        images_NCHW = self.images.numpy()
        parts = run_apart(path, [images_NCHW] if any_batch else [image_CHW[None] for image_CHW in images_NCHW])
        return f"{_agreeing(torch.from_numpy(np.concatenate(parts)), self.expected, ONNX)} from torch in ONNX Runtime"

    def int8(self) -> str:
        """The int8 file is of this network and runs; its accuracy is not judged, which needs the images."""
        path = self.folder / INT8
        self._metadata(path)
        (logits,) = run_apart(path, [self.images[:1].numpy()])
        if logits.shape != (1, self.config.classes) or not np.isfinite(logits).all():
            raise _Mismatch(f"{INT8} must give {self.config.classes} finite logits, got {logits.shape}")
        scheme = self.metrics.int8 and self.metrics.int8.scheme
        if scheme is None:  # before 2026-11-27
            raise _Warning("runs; its 8-bit weights overflow on x86 processors without VNNI: export it again")
        return f"runs ({scheme:.200}); its agreement with fp32 needs the images and is not judged again"

    def executorch(self) -> str:
        """ExecuTorch and torch compute the same logits; skipped if ExecuTorch is not installed."""
        try:
            check_installed()
        except ValueError as error:
            raise _Skip(f"not run: {error}") from None
        return f"{_agreeing(run_pte(self.folder / PTE, self.images), self.expected, PTE)} from torch in ExecuTorch"

    def _metadata(self, path: Path) -> None:
        model = onnx.load(str(path), load_external_data=False)
        strange = sorted({node.op_type for node in model.graph.node} & {"Loop", "Scan", "If"})
        if strange or model.functions:
            raise _Mismatch(f"{path.name} holds {', '.join(strange) or 'functions'}, which mfsearch never writes")
        told = {one.key: one.value for one in model.metadata_props}
        for name, value in onnx_metadata(self.config, self.manifest.normalisation, self.preprocessing).items():
            place = MANIFEST if name in ("arch_id", "normalisation") else PREPROCESS
            _same(f"{name} in {path.name}", {path.name: told.get(name), place: value})

    def pixels(self) -> str:
        """preprocess.json gives the same preprocessing and classes as the other files."""
        told = self.preprocessing
        assert told is not None  # else there is no such check
        expected, metrics = of_metrics(self.config, self.manifest, self.metrics), self.metrics
        weights, full = metrics.weights, metrics.full_training
        known = full is not None or weights.published is not None
        if weights.trained_tensors and not known and (weights.fresh_tensors or metrics.proxy is None):
            # no other file records how this training prepared its images
            kept = {name: getattr(expected, name) for name in ("size", "mean", "std", "class_names")}
            expected = dataclasses.replace(told, **kept)
        content = read_json(self.folder / PREPROCESS)
        for name, value in expected.to_dict().items():
            _same(name, {PREPROCESS: content.get(name), f"{METRICS}, {MANIFEST} and {ARCH}": value})
        return f"{told.size} px, {len(told.class_names or ()) or 'no'} class names, as the other files say"

    def training(self) -> str:
        """train.yaml has only keys of timm's script, and trains this network."""
        settings = load_training(self.folder / TRAINING)
        arch = (settings.get("model_kwargs") or {}).get("arch")
        if arch is None or MobileFormerConfig.from_dict(arch) != self.config:
            raise _Mismatch(f"{TRAINING} trains another network than {ARCH} says")
        return f"{len(settings)} keys of timm's train.py, for this network"

    def latency(self) -> str:
        """The latency measured here agrees, if the passport is this device's; measured twice before it fails."""
        told = self.metrics.latency
        if told is None:
            raise _Skip("metrics.json has none")
        if told.by_program:
            raise _Skip("it was measured by a program of the user's")
        try:
            passport = DevicePassport.from_dict(told.passport or {})
        except ValueError as error:
            raise _Mismatch(f"{METRICS}: {error}") from None
        low, high = told.latency_low_ms, told.latency_high_ms
        if low is None or high is None or not math.isfinite(low) or not math.isfinite(high):
            raise _Mismatch(f"{METRICS}: the interval of the latency must be two numbers, got {low!r} and {high!r}")
        if not low <= told.latency_ms <= high:
            raise _Mismatch(f"{METRICS}: latency_ms is {told.latency_ms!r:.20}, outside its own {low} to {high}")
        here = read_passport(passport.threads)
        if here != passport:
            pairs = zip(dataclasses.asdict(passport).items(), dataclasses.asdict(here).values(), strict=True)
            others = [f"{name} {ours} (there {theirs})" for (name, theirs), ours in pairs if ours != theirs]
            raise _Skip(f"this is another device: {'; '.join(others)}")
        found = self._measure(passport.threads)
        if not _inside(found, low, high):
            found = self._measure(passport.threads)
        said = (
            f"{found.latency_ms:.2f} ms ({found.latency_low_ms:.2f} to {found.latency_high_ms:.2f}) here, "
            f"{METRICS} says {low:.2f} to {high:.2f}"
        )
        if _inside(found, low, high):
            return said
        if found.disturbed or told.latency_disturbed:
            whose = "this machine is" if found.disturbed else "the machine was, then,"
            raise _Warning(f"{said}, but {whose} disturbed")
        raise _Mismatch(f"{said}: the intervals do not meet, measured twice")

    def _measure(self, threads: int) -> Latency:
        meter = LatencyMeter.open(threads, self.cache_dir)
        any_batch = self.metrics.onnx.batch == "any"
        return measured(self.model, meter) if any_batch else meter.measure(self.folder / ONNX)


def _inside(found: Latency, low: float, high: float) -> bool:
    """Whether the measured and the stated interval overlap."""
    return found.latency_low_ms <= high and found.latency_high_ms >= low


def _same(what: str, values: dict[str, object]) -> None:
    """Raise _Mismatch with every value and its place if the values differ."""
    if len({json.dumps(value) for value in values.values()}) > 1:
        raise _Mismatch(f"{what} differ: {', '.join(f'{place} {value!r:.200}' for place, value in values.items())}")


def _agreeing(logits: Tensor, expected: Tensor, name: str) -> str:
    if logits.shape != expected.shape:
        raise _Mismatch(f"{name} gives logits {tuple(logits.shape)}, expected are {tuple(expected.shape)}")
    deviation = float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
    if not deviation <= TOLERANCE:
        raise _Mismatch(f"{name} differs by {deviation:.1e} of the largest logit, allowed are {TOLERANCE:g}")
    return f"{deviation:.1e} of the largest logit"


def verify_all(folders: Sequence[Path], *, latency: bool = True, cache_dir: Path | None = None) -> list[Report]:
    """Check several bundles; ValueError before the first check if a folder is missing."""
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} must be the folder of a bundle: there is none")
    return [verify_bundle(folder, latency=latency, cache_dir=cache_dir) for folder in folders]
