"""Short trainings of the published networks on disk: RESULTS/references/trained-DIGEST, one folder for all that is the
same (images, recipe, seed, device), so that a study finds the trainings that compare with its own."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mfsearch.proxy.recipe import Recipe
from mfsearch.study.manifest import Manifest
from mfsearch.study.task_file import TRAININGS, TaskRecord, read_trainings

Identity = Mapping[str, Any]


def shared_settings(facts: Mapping[str, Any], recipe: Recipe, seed: int, device: str) -> Identity:
    """All that two trainings must share to be compared. facts: of the images, as in a manifest."""
    return {"data": dict(facts), "recipe": recipe.as_dict(), "seed": seed, "device": device.partition(":")[0]}


def trainings_path(results: Path, shared: Identity) -> Path:
    digest = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]
    return results / "references" / f"trained-{digest}" / TRAININGS


def kept_trainings(results: Path, manifest: Manifest) -> dict[str, TaskRecord]:
    """What was trained as this study's networks are, by the network's `arch_id`; ValueError if it cannot be read."""
    shared = shared_settings(manifest.to_dict()["data"], manifest.recipe, manifest.seed, manifest.device)
    path = trainings_path(results, shared)
    if not path.exists():
        return {}
    return {row.arch_id: row for row in read_trainings(path)[1].values() if row.top1 is not None}
