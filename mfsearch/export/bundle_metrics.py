"""metrics.json of a bundle: costs, latency and accuracy of the network, each with how it was obtained."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfsearch.export.bundle_manifest import METRICS, PREPROCESS, SCHEMA, read_json, told_normalisation
from mfsearch.export.standalone import Preprocessing
from mfsearch.plain_files import parsed
from mfsearch.study.manifest import DataFacts

ALWAYS = ("top1", "seeds", "recipe", "data", "rungs")  # of a search's training; the rest is written if it is known


@dataclass(frozen=True)
class BundleCosts:
    """Costs at the deployment size. activation_bytes: the peak for one image in fp32. fvcore: its version."""

    madds: int
    macs: int
    num_params: int
    activation_bytes: int
    resolution: int
    classes: int
    counter: str
    fvcore_madds: int
    fvcore: str


@dataclass(frozen=True)
class BundleLatency:
    """Milliseconds for one image in fp32 with their 95 % interval. passport: describes the device. by_program: measured
    by a user's program. baseline_ms: the reference network's time on the device."""

    latency_ms: float
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    latency_ratio: float | None = None
    latency_disturbed: bool | None = None
    passport: dict[str, Any] | None = None
    protocol: str = ""
    by_program: bool = False
    baseline_ms: float | None = None
    measured: str | None = None

    def __post_init__(self) -> None:
        if (self.latency_low_ms is None) != (self.latency_high_ms is None):
            raise ValueError(
                "latency_low_ms and latency_high_ms must both be numbers or null, got "
                f"{self.latency_low_ms} and {self.latency_high_ms}"
            )

    @property
    def device_name(self) -> str:
        passport = self.passport or {}
        return passport.get("cpu") or passport.get("device") or "unknown"


@dataclass(frozen=True)
class SearchTraining:
    """The result of the search's own training. seeds: of the longest training. recipe, rungs: from the study's
    manifest."""

    top1: float
    seeds: tuple[int | None, ...]
    recipe: dict[str, Any]
    data: DataFacts
    rungs: dict[str, Any] | None = None
    top1_std: float | None = None
    top1_short: float | None = None
    score: float | None = None
    rung: int | None = None
    epochs: float | None = None
    train_seconds: float | None = None
    device: str | None = None
    finished: str | None = None


@dataclass(frozen=True)
class PublishedFile:
    """The file of the authors' release that weights come from. trained_size: in pixels. preset: their network."""

    name: str
    sha256: str
    trained_size: int
    preset: str


@dataclass(frozen=True)
class WeightsOrigin:
    """trained_tensors: how many a training set; fresh_tensors: the re-initialised ones; note: both in a sentence.
    published: None unless they come from the authors' release."""

    trained_tensors: int
    fresh_tensors: tuple[str, ...]
    note: str
    published: PublishedFile | None = None


@dataclass(frozen=True)
class OnnxFile:
    """batch: 1 or "any". largest_deviation: of a logit from torch's, as a fraction of the largest logit."""

    batch: int | str
    largest_deviation: float


@dataclass(frozen=True)
class Int8File:
    """same_top1, largest_deviation: against fp32 on `images` validation images; None if not judged (why_not_judged)."""

    images: int
    same_top1: float | None
    largest_deviation: float | None
    why_not_judged: str | None
    calibration_images: int
    data: DataFacts
    scheme: str | None = None  # number formats of weights and activations; older bundles have none


@dataclass(frozen=True)
class PteFile:
    """model.pte, compared with torch on `images` images of noise."""

    version: str
    backend: str
    batch: int
    images: int
    largest_deviation: float


@dataclass(frozen=True)
class BundleMetrics:
    """proxy: the search's training. full_training: plain data, None before a full training. class_names: in the order
    of the logits, None if unknown."""

    arch_id: str
    costs: BundleCosts
    weights: WeightsOrigin
    onnx: OnnxFile
    latency: BundleLatency | None = None
    proxy: SearchTraining | None = None
    int8: Int8File | None = None
    executorch: PteFile | None = None
    full_training: dict[str, Any] | None = None
    class_names: tuple[str, ...] | None = None

    @classmethod
    def read(cls, folder: Path) -> "BundleMetrics":
        """The metrics of the bundle in a folder; ValueError names the value that is wrong."""
        content = read_json(folder / METRICS)
        try:
            metrics: BundleMetrics = parsed(cls, content)
        except ValueError as error:
            raise ValueError(f"{folder / METRICS}: {error}") from None
        return metrics

    def to_dict(self) -> dict[str, Any]:
        told = {"schema": SCHEMA, **dataclasses.asdict(self)}
        if self.proxy is not None:
            always = (*ALWAYS, "top1_std") if self.proxy.rung else ALWAYS
            told["proxy"] = {name: one for name, one in told["proxy"].items() if one is not None or name in always}
        return told


def read_preprocessing(folder: Path) -> Preprocessing:
    """The preprocessing of the bundle in a folder; ValueError names the value that is wrong."""
    content = read_json(folder / PREPROCESS)
    try:
        found: Preprocessing = parsed(Preprocessing, content)
        if found.mean is not None or found.std is not None:
            told_normalisation(content)
    except ValueError as error:
        raise ValueError(f"{folder / PREPROCESS}: {error}") from None
    return found
