"""What a study is: the settings that make its trials comparable, kept in its manifest and held to ever after."""

import dataclasses
import datetime
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mfsearch.cost.runner import Runner
from mfsearch.proxy.recipe import Recipe
from mfsearch.search.rungs import Rungs
from mfsearch.space import SearchSpace
from mfsearch.study.files import git_revision, versions, without_password
from mfsearch.units import Budget

SCHEMA = 1
SAMPLERS = ("auto", "gp", "tpe", "evolution", "local", "nsga2", "random")

# A later run of the same study must agree on these; trials, time and workers may change.
IDENTITY = (
    "budget",
    "objectives",
    "latency_limit_ms",
    "latency_cmd",
    "space",
    "data",
    "recipe",
    "rungs",
    "deployment",
    "sampler",
    "seed",
    "device",
)


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a study's trials are. data_dir says where, not what. start_from: the folder of a
    study whose best networks, fitted to this budget, are tried first. runner: measures latency in the place of ONNX
    Runtime here."""

    study: str
    budget: Budget
    latency_limit_ms: float | None
    space: SearchSpace
    data: str
    recipe: Recipe
    sampler: str = "auto"
    seed: int = 0
    device: str = "cpu"
    rungs: Rungs = field(default_factory=Rungs)
    data_dir: Path | None = None
    download: bool = False
    start_from: Path | None = None
    runner: Runner | None = None

    def __post_init__(self) -> None:
        if self.runner is not None and self.latency_limit_ms is None:
            raise ValueError("--latency-cmd needs a limit on latency as well, like --latency 8ms")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {self.sampler!r}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be 0 to {2**31 - 1}, got {self.seed}")

    @property
    def objectives(self) -> list[str]:
        """Names of what the front trades: latency only where a limit is asked for."""
        return ["top1", "madds"] + (["latency_ms"] if self.latency_limit_ms is not None else [])


def make_manifest(settings: Settings, data_facts: dict[str, Any], passport: dict[str, Any] | None) -> dict[str, Any]:
    """The manifest of a new study, plain data for JSON. passport: of the device whose latency is measured."""
    space = settings.space
    return {
        "schema": SCHEMA,
        "study": settings.study,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "budget": dataclasses.asdict(settings.budget),
        "objectives": settings.objectives,
        "latency_limit_ms": settings.latency_limit_ms,
        "latency_cmd": None if settings.runner is None else without_password(settings.runner.command),
        "space": {"name": space.name, "digest": space.digest, "knobs": {k.name: list(k.choices) for k in space.knobs}},
        "data": data_facts,
        "recipe": settings.recipe.as_dict(),
        "rungs": settings.rungs.as_dict(),
        "deployment": {"resolution": space.resolution, "classes": space.classes},
        "sampler": settings.sampler,
        "seed": settings.seed,
        "device": settings.device.split(":")[0],
        "passport": passport,
        "versions": versions(),
        "git_revision": git_revision(),
        "host": {"system": platform.platform(), "python": platform.python_version()},
    }


def check_same_study(manifest: dict[str, Any], wanted: dict[str, Any]) -> None:
    """ValueError naming every setting in which a run differs from the study it would go on with."""
    differences = []
    for name in IDENTITY:
        old, new = manifest.get(name), wanted.get(name)
        if old != new:
            differences += _differences(name, old, new)
    old_passport, new_passport = manifest.get("passport"), wanted.get("passport")
    same_cmd = manifest.get("latency_cmd") == wanted.get("latency_cmd")  # another one is named already
    if old_passport and new_passport and same_cmd:
        differences += _differences("device passport", old_passport, new_passport)
    if differences:
        raise ValueError(
            f"study {manifest.get('study')!r} was begun with other settings:\n  "
            + "\n  ".join(differences)
            + "\ngive its settings again, or another name with --study"
        )


def _differences(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [
            line
            for key in keys
            if old.get(key) != new.get(key)
            for line in _differences(f"{name}.{key}", old.get(key), new.get(key))
        ]
    return [f"{name}: the study has {old}, this run says {new}"]
