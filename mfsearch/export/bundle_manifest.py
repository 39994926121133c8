"""manifest.json of a bundle: the network's origin, and the SHA-256 of every file, including its own."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mfsearch import plain_files
from mfsearch.export.standalone import Normalisation
from mfsearch.plain_files import parsed
from mfsearch.study.manifest import DataFacts, NamedSpace
from mfsearch.study.parent import ParentFacts

SCHEMA = 2  # 1: without preprocess.json
MANIFEST = "manifest.json"
ARCH, MODEL, WEIGHTS, ONNX, INT8 = "arch.yaml", "model.py", "weights.safetensors", "model.onnx", "model.int8.onnx"
PTE = "model.pte"
TRAINING, METRICS, CARD = "train.yaml", "metrics.json", "README.md"
PREPROCESS = "preprocess.json"
NEEDED = (ARCH, MODEL, ONNX, TRAINING, METRICS, CARD)
FILES = (*NEEDED, PREPROCESS, WEIGHTS, INT8, PTE)
MAX_FILE_BYTES = 1 << 30  # the largest published network has 56 MB


@dataclass(frozen=True)
class FileFacts:
    """A file of a bundle. bytes: its size."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class StudyOrigin:
    """The study that a network was found in, and its trial there. parent: the network it was cut from."""

    name: str
    trial: int
    seed: int
    space: NamedSpace
    data: DataFacts
    params: dict[str, Any]
    command: str | None = None
    created: str | None = None
    versions: dict[str, str] | None = None
    git_revision: str | None = None
    parent: ParentFacts | None = None


@dataclass(frozen=True)
class BundleManifest:
    """The origin of a bundle. bundle: its name. seed: of the initial weights. changed: when a full training replaced
    the weights. normalisation: of the training images, None if unknown. generator: version of model.py's generator.
    files: all other files by name."""

    bundle: str
    arch_id: str
    created: str
    seed: int
    versions: dict[str, str]
    command: str | None = None
    normalisation: Normalisation | None = None
    study: StudyOrigin | None = None
    generator: int | None = None
    changed: str | None = None
    files: dict[str, FileFacts] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BundleManifest":
        """The content of manifest.json; ValueError names the value that is wrong."""
        plain = {name: value for name, value in values.items() if name != "normalisation"}
        manifest: BundleManifest = parsed(cls, plain)
        return dataclasses.replace(manifest, normalisation=told_normalisation(values.get("normalisation")))

    def to_dict(self) -> dict[str, Any]:
        told = {"schema": SCHEMA, **dataclasses.asdict(self)}
        told["normalisation"] = self.normalisation and self.normalisation._asdict()
        if self.study is not None and self.study.parent is None:  # as in earlier bundles
            del told["study"]["parent"]
        return {name: value for name, value in told.items() if name != "changed" or value is not None}


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write manifest.json with the hashes of the files in the folder, and of itself."""
    there = [folder / name for name in FILES if (folder / name).exists()]
    files = {path.name: FileFacts(path.stat().st_size, sha256_of(path)) for path in there}
    content = dataclasses.replace(manifest, files=files).to_dict()
    write_json(folder / MANIFEST, {**content, "sha256": _digest(content)})


def read_manifest(folder: Path) -> BundleManifest:
    """The manifest of a bundle; ValueError if it is invalid or was changed after it was written."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{path}: missing: this is no bundle")
    content = read_json(path)
    schema = content.get("schema")
    if type(schema) is not int or schema < 1:
        raise ValueError(f"{path}: is not the manifest of a bundle: schema is {schema!r:.50}")
    if schema > SCHEMA:
        raise ValueError(
            f"{path}: has schema {schema}, this version of mfsearch reads {SCHEMA}: written by a newer one, update"
        )
    told = content.pop("sha256", None)
    if told != _digest(content) or _text({**content, "sha256": told}).encode() != path.read_bytes():
        raise ValueError(f"{path}: changed since it was written: its own SHA-256 is another one")
    files = content.get("files")
    needed = NEEDED if schema == 1 else (*NEEDED, PREPROCESS)
    if (
        not isinstance(files, dict)
        or not set(needed) <= set(files) <= set(FILES)
        or not all(isinstance(told, dict) for told in files.values())
    ):
        raise ValueError(f"{path}: must list {', '.join(needed)} and may list {WEIGHTS}, {INT8} and {PTE}")
    try:
        return BundleManifest.from_dict(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def told_normalisation(told: Any) -> Normalisation | None:
    """The normalisation in a manifest, None if unknown; ValueError if it is invalid."""
    if told is None:
        return None
    parts = []
    for name in Normalisation._fields:
        values: Any = told.get(name) if isinstance(told, Mapping) else None
        ok = isinstance(values, list | tuple) and len(values) == 3 and all(type(v) in (int, float) for v in values)
        if not ok or not all(math.isfinite(value) and (name == "mean" or value > 0) for value in values):
            raise ValueError(f"{name} of a normalisation must be three numbers, std above 0, got {values!r:.80}")
        parts.append((float(values[0]), float(values[1]), float(values[2])))
    return Normalisation(*parts)


def changed(folder: Path, name: str, told: FileFacts) -> str | None:
    """The fault of a file that the manifest lists; None if it has none."""
    path = folder / name
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return "must be a plain file"
    if not path.exists():
        return "missing"
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        return f"larger than {MAX_FILE_BYTES >> 20} MB"
    if size != told.bytes:
        return f"changed since it was written: {size} bytes, {MANIFEST} says {told.bytes}"
    if sha256_of(path) != told.sha256:
        return "changed since it was written: its SHA-256 is another one"
    return None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as a file of a bundle."""
    path.write_text(_text(content), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; ValueError names the file and what is wrong."""
    content = plain_files.read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a mapping, got {type(content).__name__}")
    return content
