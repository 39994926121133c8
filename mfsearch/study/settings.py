"""The settings of a study, the limits of a run, and the settings of a calibration. Light to import."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mfsearch.cost.runner import Runner
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.study.parent import Parent
from mfsearch.units import LIMITED, NO_LIMITS, Budget, CostLimits

if TYPE_CHECKING:
    from mfsearch.space import SearchSpace

SHARES = (0.25, 0.5, 1.0)  # fractions of recipe.epochs at which a calibration evaluates a training
MIN_NETWORKS = 6  # top-5 recall needs one more network than five
MAX_WORKERS = 256
SAMPLERS = ("auto", "gp", "tpe", "evolution", "random")
MODELLED = ("auto", "gp")  # those with a model, which a prior is for
PRIORS = ("tables", "none")
GOALS = {  # what a study may optimise: the option's word, and the metric
    "top1": "top1",
    "madds": "madds",
    "latency": "latency_ms",
    **{option: name for name, (option, _, _) in LIMITED.items()},
}


@dataclass(frozen=True)
class Settings:
    """The settings that decide a study's trials.

    data_dir: the images' folder. start_from: folder of a study whose best networks are tried first, fitted to this
    budget. runner: the program that measures latency, None for ONNX Runtime on this machine. cache_dir: folder of the
    reference network's latency. space_given: the space's name or file as the user gave it, for commands that repeat the
    study. parent: the trained network that the networks of `space` are cut from; None if they start from first weights.
    prior: whether the sampler's model begins with what the tables that come with mfsearch say. cost_limits: that every
    network keeps. goals: the objectives asked for, as metrics; empty for the usual ones.
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
    skip_damaged: bool = False
    start_from: Path | None = None
    runner: Runner | None = None
    cache_dir: Path | None = None
    space_given: str | None = None
    parent: Parent | None = None
    prior: str = "tables"
    cost_limits: CostLimits = NO_LIMITS
    goals: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.latency_limit_ms is not None and not 0 < self.latency_limit_ms < math.inf:
            raise ValueError(f"a latency limit must be above 0 ms, got {self.latency_limit_ms}")
        if self.runner is not None and self.latency_limit_ms is None:
            raise ValueError("--latency-cmd needs a latency limit too, like --latency 8ms")
        if self.sampler not in SAMPLERS:
            gone = " (local and nsga2 were removed)" if self.sampler in ("local", "nsga2") else ""
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {self.sampler!r:.200}{gone}")
        if self.prior not in PRIORS:
            raise ValueError(f"prior must be {' or '.join(PRIORS)}, got {self.prior!r:.200}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be 0 to {2**31 - 1}, got {self.seed}")
        if self.parent is None and self.rungs.starts_cut:
            raise ValueError("rungs must begin with 1 without a parent: a 0 is for networks cut from one")

        if "latency_ms" in self.goals and self.latency_limit_ms is None:
            raise ValueError("objective latency needs a latency limit, like --latency 8ms")

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives of the Pareto front; unless asked for, latency is one only with a limit."""
        return self.goals or usual_objectives(self.latency_limit_ms)


def usual_objectives(latency_limit_ms: float | None) -> tuple[str, ...]:
    """The objectives of a study that asked for none."""
    return ("top1", "madds") if latency_limit_ms is None else ("top1", "madds", "latency_ms")


def parse_objectives(text: str | Sequence[str]) -> tuple[str, ...]:
    """Metrics to optimise from `top1,params` or the words alone; top1 and at least one cost, each once."""
    words = text.split(",") if isinstance(text, str) else list(text)
    if unknown := [word for word in words if word not in GOALS]:
        raise ValueError(f"objectives must be among {', '.join(GOALS)}, got {unknown[0]!r:.200}")
    if "top1" not in words or len(words) < 2 or len(set(words)) < len(words):
        raise ValueError(f"objectives must be top1 and others, each once, got {text!r:.200}")
    return tuple(name for word, name in GOALS.items() if word in words)


@dataclass(frozen=True)
class Limits:
    """The limits of one run. trials: networks with a short training in the whole study. seconds: of this run.
    checkpoint_seconds: between two checkpoints of a training, None for the training's own default."""

    trials: int | None = 30
    seconds: float | None = None
    workers: int = 1
    checkpoint_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"--trials must be 1 or more, got {self.trials}")
        if not 1 <= self.workers <= MAX_WORKERS:
            raise ValueError(f"--workers must be 1 to {MAX_WORKERS}, got {self.workers}")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"a time limit must be seconds above 0, got {self.seconds}")


def check_device(device: str) -> None:
    """Raise ValueError if torch cannot train on the device."""
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu, cuda or cuda:N, got {device!r:.200}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: torch finds no CUDA device on this machine")


@dataclass(frozen=True)
class Calibration:
    """The settings of a calibration. networks: number in each of the two groups. long: length of the long trainings, as
    a multiple of recipe.epochs. seeds: long trainings of one network, whose spread is the noise. parent: see Settings.
    """

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
    skip_damaged: bool = False
    parent: Parent | None = None

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
        """Epochs at which the short trainings are evaluated; the last is their end. Inside a parent the first is 0."""
        return (*(() if self.parent is None else (0.0,)), *(share * self.recipe.epochs for share in SHARES))

    @property
    def long_points(self) -> tuple[float, ...]:
        """Epochs at which the long trainings are evaluated: the short ones', then three times as long, then the end."""
        end = self.long * self.recipe.epochs
        return (*(point for point in (*self.points, 3 * self.recipe.epochs) if point < end), end)

    @property
    def long_seeds(self) -> list[int]:
        """Seeds of the long trainings whose spread is the noise; the first is that of every long training."""
        return [self.seed + 1 + k for k in range(self.seeds)]
