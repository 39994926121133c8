"""The settings of a study: everything that makes its trials comparable."""

from dataclasses import dataclass, field
from pathlib import Path

from mfsearch.cost.runner import Runner
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.space import SearchSpace
from mfsearch.units import Budget

SAMPLERS = ("auto", "gp", "tpe", "evolution", "local", "nsga2", "random")


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a study's trials are.

    data_dir: where the images are, not which. start_from: folder of a study whose best networks are tried first, fitted
    to this budget. runner: the program that measures latency, None for ONNX Runtime here.
    """

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
    def objectives(self) -> tuple[str, ...]:
        """Names of what the front trades: latency only where a limit is asked for."""
        return ("top1", "madds") if self.latency_limit_ms is None else ("top1", "madds", "latency_ms")
