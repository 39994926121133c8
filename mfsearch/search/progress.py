"""How a run stands: what it may do, what its workers are at, and what a display is told."""

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from mfsearch.config import MobileFormerConfig
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.front import front_numbers
from mfsearch.search.proposal import Proposal
from mfsearch.search.rungs import Promotion, Standing, Stop, finalists, standing
from mfsearch.search.settings import Limits

TRAINED = ("trained", "stopped")  # outcomes with a top1


@dataclass
class Running:
    """What a worker is doing: a new proposal, or a longer training of trial `number`."""

    config: MobileFormerConfig
    madds: int
    origin: str
    proposal: Proposal | None = None
    stop: Stop | None = None
    promotion: Promotion | None = None
    stage: str = "waiting"
    share: float = 0.0


@dataclass
class Progress:
    """What a display shows, kept up to date by the run."""

    study: str
    limits: Limits
    objectives: list[str]
    rungs: Rungs
    trust: str  # what a calibration says of the ranking
    started: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    standing: Standing = field(default_factory=Standing)
    running: dict[int, Running] = field(default_factory=dict)  # by worker
    screened: int = 0
    before: int = 0  # trials that were there when this run began

    def rank(self) -> None:
        """Bring front and standing up to date with the rows."""
        self.front = front_numbers(self.rows, self.objectives)
        self.standing = standing(self.rows, self.objectives, self.rungs)

    @property
    def trained(self) -> int:
        """Networks with a short training, those given up half way included."""
        return sum(row["outcome"] in TRAINED for row in self.rows)

    def seconds_left(self) -> float | None:
        """Until the stop, by what trainings took so far and the time limit; None before there is a training."""
        left = []
        short = self.short_seconds()
        if self.limits.trials is not None and short is not None:
            networks = max(0, self.limits.trials - self.trained)
            first = self.rungs.factors[1] - 1 if self.rungs.last > 1 else 0.0
            left.append(
                short * networks * (1 + first / self.rungs.keep) / self.limits.workers + (self.final_seconds() or 0.0)
            )
        if self.limits.seconds is not None:
            left.append(self.limits.seconds - (time.monotonic() - self.started))
        return max(0.0, min(left)) if left else None

    def short_seconds(self) -> float | None:
        """Mean seconds of a short training so far."""
        found = [row["train_seconds"] for row in self.rows if row["outcome"] == "trained"]
        return sum(found) / len(found) if found else None

    def final_seconds(self) -> float | None:
        """What the final would take from here."""
        short = self.short_seconds()
        if short is None:
            return None
        rungs = self.rungs
        epochs = 0.0
        for row in finalists(self.standing, rungs):
            seeds = {stage["seed"] for stage in row.get("stages", ()) if stage["rung"] == rungs.last}
            epochs += max(0, rungs.seeds - len(seeds)) * rungs.factors[-1]
            epochs -= rungs.factors[row.get("rung", 0)] if not seeds else 0
        return epochs * short / self.limits.workers


class Watcher(Protocol):
    """A display. `finished` comes once a trial, `longer` once a longer training, `tick` about twice a second;
    `measured_again` at the end for each member of the front, `not_measured_again` where that failed."""

    def began(self, progress: Progress, manifest: dict[str, Any]) -> None: ...

    def finished(self, progress: Progress, row: dict[str, Any]) -> None: ...

    def longer(self, progress: Progress, row: dict[str, Any], stage: dict[str, Any]) -> None: ...

    def measured_again(self, row: dict[str, Any], left: int) -> None: ...

    def not_measured_again(self, whose: str, reason: str) -> None: ...

    def tick(self, progress: Progress) -> None: ...
