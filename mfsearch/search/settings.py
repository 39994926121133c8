"""What a study is: the settings that make its trials comparable, kept in its manifest and held to ever after."""

import dataclasses
import datetime
import platform
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfsearch.cost.runner import Runner
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.units import Budget

if TYPE_CHECKING:
    from mfsearch.data import ImageData
    from mfsearch.space import SearchSpace

SCHEMA = 1
PACKAGES = ("mfsearch", "torch", "optuna", "onnxruntime", "numpy")
SAMPLERS = ("auto", "gp", "tpe", "evolution", "local", "nsga2", "random")

SHARES = (0.25, 0.5, 1.0)  # of recipe.epochs: the lengths at which a training is read
MIN_NETWORKS = 6  # top-5 recall needs one that is left out; below 16 a tau proves nothing

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
    """Everything that decides what a study's trials are.

    start_from: folder of a study whose best networks, fitted to this budget, are tried first. runner: measures latency
    instead of ONNX Runtime here. data_dir: where CIFAR is. cache_dir: where the reference network's latency is kept.
    command: the command line, kept in the manifest. These three decide nothing.
    """

    study: str
    budget: Budget
    latency_limit_ms: float | None
    space: "SearchSpace"
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
    cache_dir: Path | None = None
    command: str = ""

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


@dataclass(frozen=True)
class Limits:
    """How far one run goes. trials: networks given a short training in the whole study. seconds: of this run.
    checkpoint_seconds: between two checkpoints of a training, None for the training's own default."""

    trials: int | None = 30
    seconds: float | None = None
    workers: int = 1
    checkpoint_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"--trials must be 1 or more, got {self.trials}")
        if not 1 <= self.workers <= 256:
            raise ValueError(f"--workers must be 1 to 256, got {self.workers}")


@dataclass(frozen=True)
class Calibration:
    """What decides the trainings. networks: in each of the two groups. long: how many times recipe.epochs the long
    trainings take. seeds: long trainings of one network, whose spread is the noise. data_dir says where, not what."""

    budget: Budget
    space: "SearchSpace"
    data: str
    recipe: Recipe
    networks: int = 16
    long: float = 10.0
    seeds: int = 3
    seed: int = 0
    device: str = "cpu"
    data_dir: Path | None = None
    download: bool = False

    def __post_init__(self) -> None:
        rules = {
            "networks": (MIN_NETWORKS <= self.networks <= 1000, f"{MIN_NETWORKS} to 1000"),
            "long": (1 < self.long <= 1000, "above 1 and up to 1000, a multiple of the short training"),
            "seeds": (2 <= self.seeds <= 100, "2 to 100: one seed has no spread"),
            "seed": (0 <= self.seed < 2**31, f"0 to {2**31 - 1}"),
        }
        for name, (ok, allowed) in rules.items():
            if not ok:
                raise ValueError(f"--{name} must be {allowed}, got {getattr(self, name)!r}")

    @property
    def points(self) -> tuple[float, ...]:
        """Epochs at which the short trainings are read, the last their end."""
        return tuple(share * self.recipe.epochs for share in SHARES)

    @property
    def long_points(self) -> tuple[float, ...]:
        """Those of the short trainings, three times as long on the way (a rung of `run`), and the end."""
        end = self.long * self.recipe.epochs
        return (*(point for point in (*self.points, 3 * self.recipe.epochs) if point < end), end)

    def identity(self, images: "ImageData") -> dict[str, Any]:
        """What all trainings of one calibration share; more networks and more seeds may be asked for later."""
        return {
            "space": {"name": self.space.name, "digest": self.space.digest},
            "deployment": {"resolution": self.space.resolution, "classes": self.space.classes},
            "data": images.facts(),
            "recipe": self.recipe.as_dict(),
            "budget": dataclasses.asdict(self.budget),
            "long": self.long,
            "seed": self.seed,
            "device": self.device.split(":")[0],
        }


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
        "git_revision": _git_revision(),
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


def versions() -> dict[str, str]:
    import importlib.metadata  # not for --help

    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def without_password(text: str) -> str:
    """The text with user and password of any URL masked: manifests and reports are sent around."""
    text = re.sub(r"://[^\s\"]*@", "://***@", text)
    return re.sub(r"(password=)[^&\s\"]+", r"\1***", text)


def _git_revision() -> str | None:
    """The checkout's revision, `-dirty` where it has changes; None for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
