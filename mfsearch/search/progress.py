"""The state of a run: its limits, the work of each worker, and the events for a display."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mfsearch.config import MobileFormerConfig
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.plan import Plan
from mfsearch.search.promotion import Promotion, Standing, Stop, finalists, standing
from mfsearch.search.proposal import Proposal
from mfsearch.study.calibration_file import CalibrationFile
from mfsearch.study.manifest import Manifest
from mfsearch.study.settings import Limits
from mfsearch.study.study import front_trials
from mfsearch.study.trial import Training, Trial
from mfsearch.units import counted, format_left, format_seconds

TRAINED = ("trained", "stopped")  # outcomes with a top1
LATEST = 3  # the latest trainings give the pace, as the machine may be busier than before
FULL_SECONDS = 15.0  # roughly, for one latency at the end of a run


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


@dataclass(repr=False)
class Progress:
    """The state of a run; the run updates it."""

    manifest: Manifest
    limits: Limits
    trust: str  # a calibration's verdict on the ranking
    plan: Plan | None = None
    notes: tuple[str, ...] = ()  # on the images
    started: float = field(default_factory=time.monotonic)
    calibration: CalibrationFile | None = None  # that fits the study
    stage: str = "starting workers"
    to_measure: int = 0  # latencies of the front, at the end
    estimated: tuple[float, float] = (0.0, 0.0)  # the last estimate of the seconds left, and when it was made
    trials: list[Trial] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    standing: Standing = field(default_factory=Standing)
    running: dict[int, Running] = field(default_factory=dict)  # by worker
    screened: int = 0
    before: int = 0  # trials from earlier runs

    def __repr__(self) -> str:
        return (
            f"Progress({self.manifest.study}: {counted(len(self.trials), 'trial')}, {self.trained} trained, "
            f"{len(self.front)} on the front, {len(self.running)} running)"
        )

    @property
    def objectives(self) -> tuple[str, ...]:
        return self.manifest.objectives

    @property
    def rungs(self) -> Rungs:
        return self.manifest.rungs

    def rank(self) -> None:
        """Recompute the front and the standing from the trials."""
        self.front = [trial.number for trial in front_trials(self.trials, self.objectives)]
        self.standing = standing(self.trials, self.objectives, self.rungs)

    @property
    def trained(self) -> int:
        """Networks with a short training, including those stopped half way."""
        return sum(trial.outcome in TRAINED for trial in self.trials)

    def seconds_left(self) -> float | None:
        """Seconds until the run stops, from its trainings so far and the time limit; None if neither is known.

        Between two estimates it goes down with the clock, below 0 where work is left or the time limit is over.
        """
        left, now = [], time.monotonic()
        short, (done, total) = self.short_seconds(), self.work()
        if total is not None and short is not None:
            cuts = max(0, (self.limits.trials or 0) - self.trained) * (self.cut_seconds() or 0.0)
            left.append(((total - done) * short + cuts) / self.limits.workers + self.to_measure * FULL_SECONDS)
        if self.limits.seconds is not None:
            left.append(self.limits.seconds - (now - self.started))
        if not left:
            return None
        if min(left) != self.estimated[0]:
            self.estimated = min(left), now
        seconds = self.estimated[0] - (now - self.estimated[1])
        late = self.limits.seconds is not None and now - self.started > self.limits.seconds
        return seconds if late or (total is not None and done < total) else max(0.0, seconds)

    def time_left(self) -> str | None:
        left = self.seconds_left()
        if not left or self.limits.seconds is None or self.limits.trials is not None:
            return f"about {format_left(left)}" if left and left > 0 else format_left(left) if left else None
        return f"at most {format_left(left)}" if left > 0 else f"{format_seconds(-left)} over the limit"

    def work(self) -> tuple[float, float | None]:
        """Work done and in total, in short trainings; a longer training resumes the shorter one of its seed, and a cut
        without training counts nothing."""
        factors = self.rungs.factors
        longest = {(trial.number, one.seed): factors[one.rung] for trial in self.trials for one in trial.trainings}
        done = sum(longest.values())
        for running in list(self.running.values()):
            rung = 0 if running.promotion is None else running.promotion.rung
            done += running.share * (factors[rung] - (factors[rung - 1] if rung else 0))
        trials = self.limits.trials
        return done, None if trials is None else max(done, self.rungs.short_trainings(trials))

    def training_seconds(self, promotion: Promotion | None) -> float:
        """Seconds of a new network's first rung or of a longer training; 0 if neither a training nor a plan tells."""
        factors = self.rungs.factors
        if promotion is None and self.rungs.starts_cut:
            return self.cut_seconds() or 0.0
        rung, goes_on = (0, False) if promotion is None else (promotion.rung, promotion.seed == self.manifest.seed)
        return (self.short_seconds(last=LATEST) or 0.0) * (factors[rung] - (factors[rung - 1] if goes_on else 0))

    def short_seconds(self, last: int = 0) -> float | None:
        """Mean seconds of a short training so far, or the plan's before the first. last: only the last so many."""
        known = self._mean_seconds(self.rungs.factors.index(1), last)
        return self.plan.short_seconds if known is None and self.plan is not None else known

    def cut_seconds(self) -> float | None:
        """Mean seconds in which the latest networks were judged as they were cut; None for a study without that."""
        return self._mean_seconds(0, LATEST) if self.rungs.starts_cut else None

    def _mean_seconds(self, rung: int, last: int) -> float | None:
        trained = [trial for trial in self.trials if trial.outcome == "trained"]
        every = [one.train_seconds for trial in trained for one in trial.trainings if one.rung == rung]
        seconds = [one for one in every if one is not None][-last:]
        return sum(seconds) / len(seconds) if seconds else None

    def final_seconds(self) -> float | None:
        """Seconds that the final would take from here; None before the first training."""
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
    """One event of a search.

    kind: `began`; `trial` when a trial finished; `training` when a longer training finished; `latency` when a network
    of the front was measured again, with `left` still to measure; `problem` when that failed, with a sentence in
    `text`; `tick` twice a second. trial and training: the subject of the event.
    """

    kind: Literal["began", "trial", "training", "latency", "problem", "tick"]
    progress: Progress
    trial: Trial | None = None
    training: Training | None = None
    left: int = 0
    text: str = ""


OnEvent = Callable[[SearchEvent], None]  # such as a display
