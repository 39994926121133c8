"""How a run stands: its limits, the work of each worker, and the events that a display gets."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mfsearch.config import MobileFormerConfig
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.promotion import Promotion, Standing, Stop, finalists, standing
from mfsearch.search.proposal import Proposal
from mfsearch.study.manifest import Manifest
from mfsearch.study.settings import Limits
from mfsearch.study.study import front_trials
from mfsearch.study.trial import Training, Trial

TRAINED = ("trained", "stopped")  # outcomes with a top1


@dataclass
class Running:
    """The work of one worker: a new proposal, or the longer training of a trial."""

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
    """The state of a run, kept up to date by it."""

    manifest: Manifest
    limits: Limits
    trust: str  # what a calibration says of the ranking
    started: float = field(default_factory=time.monotonic)
    trials: list[Trial] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    standing: Standing = field(default_factory=Standing)
    running: dict[int, Running] = field(default_factory=dict)  # by worker
    screened: int = 0
    before: int = 0  # trials that were there when this run began

    @property
    def objectives(self) -> tuple[str, ...]:
        return self.manifest.objectives

    @property
    def rungs(self) -> Rungs:
        return self.manifest.rungs

    def rank(self) -> None:
        """Bring front and standing up to date with the trials."""
        self.front = [trial.number for trial in front_trials(self.trials, self.objectives)]
        self.standing = standing(self.trials, self.objectives, self.rungs)

    @property
    def trained(self) -> int:
        """Networks with a short training, those given up half way included."""
        return sum(trial.outcome in TRAINED for trial in self.trials)

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
        seconds = [
            trial.short.train_seconds
            for trial in self.trials
            if trial.outcome == "trained" and trial.short is not None and trial.short.train_seconds is not None
        ]
        return sum(seconds) / len(seconds) if seconds else None

    def final_seconds(self) -> float | None:
        """What the final would take from here."""
        short = self.short_seconds()
        if short is None:
            return None
        rungs = self.rungs
        epochs = 0.0
        for trial in finalists(self.standing, rungs):
            seeds = {training.seed for training in trial.longer if training.rung == rungs.last}
            epochs += max(0, rungs.seeds - len(seeds)) * rungs.factors[-1]
            epochs -= rungs.factors[trial.rung] if not seeds else 0
        return epochs * short / self.limits.workers


@dataclass(frozen=True)
class SearchEvent:
    """One thing that happened in a search, or the passing of time.

    kind: `began`; `trial` when one is finished; `training` when a longer one is; `latency` when a member of the front
    was measured again, with `left` to go; `problem` where that failed, with a sentence in `text`; `tick`, twice a
    second. trial and training: what the event is about.
    """

    kind: Literal["began", "trial", "training", "latency", "problem", "tick"]
    progress: Progress
    trial: Trial | None = None
    training: Training | None = None
    left: int = 0
    text: str = ""


OnEvent = Callable[[SearchEvent], None]  # a display, or whatever else wants to know
