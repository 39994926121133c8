"""Where a network that is bundled comes from, and all that is known of it: a trial of a study, or a config alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mfsearch.config import MobileFormerConfig
from mfsearch.data import KNOWN_DATA, DataError
from mfsearch.export.standalone import Normalisation
from mfsearch.export.train_yaml import recommended_training
from mfsearch.proxy.recipe import Recipe
from mfsearch.search.front import front_numbers
from mfsearch.study.files import without_password
from mfsearch.study.ledger import WEIGHTS, read_manifest, read_trials

LATENCY = ("latency_ms", "latency_low_ms", "latency_high_ms", "latency_ratio", "latency_disturbed")
PROXY = ("top1", "top1_std", "top1_short", "score", "rung", "epochs", "train_seconds", "device", "finished")
PROTOCOL = (
    "batch 1, fp32, ONNX Runtime on the CPU; median ratio to MobileNetV3-Large, timed in turns, times that network's "
    "own time on the device, with its 95 % interval"
)


@dataclass(frozen=True)
class Origin:
    """A network before it is a bundle. weights: of its short training; None where there are none, and note says why.
    seed: of the first weights. study, latency, proxy: plain data for manifest.json and metrics.json.
    normalisation, class_names: of the images that the weights were trained on, None where that is not known."""

    name: str
    config: MobileFormerConfig
    weights: Path | None
    note: str
    seed: int
    normalisation: Normalisation | None
    study: dict[str, Any] | None = None
    latency: dict[str, Any] | None = None
    proxy: dict[str, Any] | None = None
    class_names: list[str] | None = None
    full_training: dict[str, Any] | None = None  # what is told of it, where the weights are its own


def of_config(name: str, config: MobileFormerConfig) -> Origin:
    """A preset or a config of one's own: nothing is trained, nothing measured."""
    return Origin(name, config, None, "first weights, nothing trained", 0, of_training(config))


def of_training(config: MobileFormerConfig) -> Normalisation:
    """The normalisation that the recommended training uses."""
    settings = recommended_training(config)
    return Normalisation(tuple(settings["mean"]), tuple(settings["std"]))


def of_trial(
    folder: Path,
    number: int,
    *,
    resolution: int | None = None,
    classes: int | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
) -> Origin:
    """A trial of the study in a folder, deployed as it says or at another resolution or number of classes.

    data, data_dir: where the study's images are, for the normalisation that studies of before do not tell; an image
    folder is looked into only where `data` names it. Raises ValueError if there is no such trial.
    """
    manifest, rows = read_manifest(folder), read_trials(folder)
    row = next((row for row in rows if row["number"] == number), None)
    if row is None:
        known = f"it has 0 to {rows[-1]['number']}" if rows else "it has none yet"
        raise ValueError(f"study {manifest['study']!r} has no trial {number}: {known}")
    trained_as = MobileFormerConfig.from_dict(row["config"])
    config = replace(
        trained_as,
        resolution=trained_as.resolution if resolution is None else resolution,
        classes=trained_as.classes if classes is None else classes,
    )
    weights, note = _kept_weights(folder, manifest, rows, row)
    normalisation, class_names = _images(manifest, data, data_dir) if weights else (of_training(config), None)
    return Origin(
        name=f"{manifest['study']}:{number}",
        config=config,
        weights=weights,
        note=note,
        seed=int(manifest["seed"]),
        normalisation=normalisation,
        study=_study(manifest, row),
        latency=_latency(manifest, row) if config == trained_as else None,
        proxy=_proxy(manifest, row) if row["outcome"] == "trained" else None,
        class_names=class_names,
    )


def _kept_weights(
    folder: Path, manifest: Mapping[str, Any], rows: list[dict[str, Any]], row: Mapping[str, Any]
) -> tuple[Path | None, str]:
    number, arch_id = row["number"], str(row["arch_id"])
    if re.fullmatch("[0-9a-f]{12}", arch_id):  # it names a file
        kept = folder / WEIGHTS / f"{arch_id}.safetensors"
        if kept.is_file():
            return kept, ""
    if row["outcome"] != "trained":
        return None, f"first weights: trial {number} was {row['outcome']}"
    if number in front_numbers(rows, manifest["objectives"]):
        return None, f"first weights: trial {number} is on the front, but the training's were not kept"
    return None, f"first weights: the training's are kept for the front only, trial {number} is not on it"


def _images(
    manifest: Mapping[str, Any], data: str | None, data_dir: Path | None
) -> tuple[Normalisation | None, list[str] | None]:
    """Normalisation and class names of the images that the study trained on: as its manifest tells, else from them."""
    told = manifest.get("normalisation")
    if told:
        return Normalisation(_three(told["mean"]), _three(told["std"])), manifest.get("class_names")
    name = data or manifest["data"]["name"]
    if data is None and name not in KNOWN_DATA:
        return None, None
    try:
        images = Recipe(**manifest["recipe"]).load_images(name, data_dir=data_dir, seed=int(manifest["seed"]))
    except DataError:
        return None, None
    if images.digest != manifest["data"]["digest"]:
        return None, None
    return Normalisation(images.mean, images.std), list(images.classes)


def _three(values: Any) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in values)
    return r, g, b


def _study(manifest: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    space = manifest["space"]
    return {
        "name": manifest["study"],
        "trial": row["number"],
        "seed": manifest["seed"],
        "space": {"name": space["name"], "digest": space["digest"]},
        "data": manifest["data"],
        "params": row["params"],
        "command": without_password(str(manifest.get("command") or "")) or None,
        "created": manifest.get("created"),
        "versions": manifest.get("versions"),
        "git_revision": manifest.get("git_revision"),
    }


def _latency(manifest: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row.get("latency_ms") is None:
        return None
    command = manifest.get("latency_cmd")
    measured = row.get("latency_final") or row
    return {
        **{name: row.get(name) for name in LATENCY},
        "passport": manifest.get("passport"),
        "protocol": PROTOCOL if command is None else f"measured by the program {without_password(str(command))}",
        "by_program": command is not None,
        "baseline_ms": manifest.get("baseline_ms"),
        "measured": measured.get("finished"),
    }


def _proxy(manifest: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What the search's training of it came to; seeds: of its longest training."""
    longest = [stage for stage in row.get("stages", ()) if stage["rung"] == row.get("rung") and stage["rung"] > 0]
    return {
        **{name: row[name] for name in PROXY if name in row},
        "seeds": [stage["seed"] for stage in longest] or [row.get("seed")],
        "rungs": manifest.get("rungs"),
        "recipe": manifest["recipe"],
        "data": manifest["data"],
    }
