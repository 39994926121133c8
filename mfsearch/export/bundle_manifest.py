"""manifest.json of a bundle: the SHA-256 of every file, its own included, and which schema they are of."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = 1
MANIFEST = "manifest.json"
ARCH, MODEL, WEIGHTS, ONNX, INT8 = "arch.yaml", "model.py", "weights.safetensors", "model.onnx", "model.int8.onnx"
PTE = "model.pte"
TRAINING, METRICS, CARD = "train.yaml", "metrics.json", "README.md"
NEEDED = (ARCH, MODEL, ONNX, TRAINING, METRICS, CARD)
FILES = (*NEEDED, WEIGHTS, INT8, PTE)
MAX_JSON_BYTES = 4 << 20  # a training curve is a hundredth of it


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest.json with the hashes of the files in the folder, and of itself."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
        for name in FILES
        if (folder / name).exists()
    }
    content = {**manifest, "files": files}
    write_json(folder / MANIFEST, {**content, "sha256": _digest(content)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle, unchanged since it was written; ValueError says what is wrong with it."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{path}: missing: this is no bundle")
    manifest = read_json(path)
    schema = manifest.get("schema")
    if type(schema) is not int or schema < 1:
        raise ValueError(f"{path}: is not the manifest of a bundle: schema is {schema!r:.50}")
    if schema > SCHEMA:
        raise ValueError(
            f"{path}: has schema {schema}, this version of mfsearch reads {SCHEMA}: written by a newer one, update"
        )
    told = manifest.pop("sha256", None)
    if told != _digest(manifest) or _text({**manifest, "sha256": told}).encode() != path.read_bytes():
        raise ValueError(f"{path}: changed since it was written: its own SHA-256 is another one")
    files = manifest.get("files")
    if (
        not isinstance(files, dict)
        or not set(NEEDED) <= set(files) <= set(FILES)
        or not all(isinstance(told, dict) for told in files.values())
    ):
        raise ValueError(f"{path}: must list {', '.join(NEEDED)} and may list {WEIGHTS}, {INT8} and {PTE}")
    if "bundle" not in manifest or not isinstance(manifest.get("arch_id"), str):
        raise ValueError(f"{path}: is not the manifest of a bundle")
    return manifest


def changed(folder: Path, name: str, told: Mapping[str, Any]) -> str | None:
    """What is wrong with a file that the manifest lists, None for nothing."""
    path = folder / name
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return "must be a plain file"
    if not path.exists():
        return "missing"
    size = path.stat().st_size
    if size != told.get("bytes"):
        return f"changed since it was written: {size} bytes, {MANIFEST} says {told.get('bytes')}"
    if sha256_of(path) != told.get("sha256"):
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
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"larger than {MAX_JSON_BYTES >> 20} MB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a mapping, got {type(content).__name__}")
    return content
