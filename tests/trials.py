"""Made-up trials, as a ledger gives them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import Training, Trial


def trial(number: int, outcome: str = "trained", longer: Sequence[Training] = (), **values: Any) -> Trial:
    """A trial of these values, by their names in the ledger; params among them. Points of a curve may lack figures."""
    params = values.pop("params", {})
    values = {"arch_id": f"{number:012x}", **values, "outcome": outcome}
    if values.get("curve"):
        values["curve"] = curve(values["curve"])
    return dataclasses.replace(Trial.from_dict(number, dict(params), values), longer=tuple(longer))


def training(rung: int, top1: float | None, seed: int = 0, **values: Any) -> Training:
    """A longer training, which failed where it has no top1; score: its top1 where none is given."""
    told = {"rung": rung, "seed": seed, "top1": top1, "score": top1, "reason": None if top1 else "diverged", **values}
    return Training.from_dict({**told, "curve": curve(values.get("curve", ()))})


def curve(points: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The points with all figures: one a pass, of loss 1 and a second."""
    return [{"epoch": k, "loss": 1.0, "top1": 0.5, "seconds": 1.0, **point} for k, point in enumerate(points, 1)]


def manifest(study: str, **changes: Any) -> Manifest:
    """The manifest of a study on digits of networks of 120M to 150M multiply-adds."""
    values = {
        "study": study,
        "budget": {"low": 120_000_000, "high": 150_000_000, "stated": False},
        "objectives": ["top1", "madds"],
        "latency_limit_ms": None,
        "space": {"name": "mobile_former", "digest": "", "knobs": {}},
        "data": {"name": "digits", "digest": "", "classes": 10, "train_images": 1437, "val_images": 360},
        "recipe": {"resolution": 32, "epochs": 1.0},
        "deployment": {"resolution": 224, "classes": 1000},
        "sampler": "auto",
        "seed": 0,
        "device": "cpu",
    }
    return Manifest.from_dict(values | changes)


def numbers(trials: Sequence[Trial]) -> list[int]:
    return [one.number for one in trials]
