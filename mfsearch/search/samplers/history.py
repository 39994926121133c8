"""The data for a sampler: the trials so far in the ledger's order, and the running proposals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfsearch.config import MobileFormerConfig
from mfsearch.pareto import fronts, pareto_mask
from mfsearch.search.samplers.ground import Candidate
from mfsearch.space import Value
from mfsearch.study.prior import Prior
from mfsearch.study.trial import Trial


class Observation(NamedTuple):
    """A finished trial inside the band. top1: the score that ranks networks (`--rank-by`), None if nothing was trained.
    A training that was stopped early counts with the score it reached, which is no higher than at its end."""

    params: dict[str, Value]
    madds: int
    top1: float | None
    latency_ms: float | None
    violation_ms: float  # milliseconds above the latency limit, 0 if within it or without a limit
    trial: Trial | None = None

    @property
    def config(self) -> MobileFormerConfig | None:
        """The network that was trained; None without a readable one."""
        try:
            return None if self.trial is None else self.trial.config
        except ValueError:
            return None

    def metric(self, name: str) -> float | None:
        """An objective by its name; None or NaN if it is not known."""
        if name in self._fields:
            value: float | None = getattr(self, name)
            return value
        return None if self.trial is None else self.trial.metric(name)

    @property
    def width(self) -> float:
        """The factor by which its widths were scaled."""
        return 1.0 if self.trial is None or self.trial.width is None else self.trial.width


@dataclass
class History:
    """trials: with a top1. rejected: too slow. Failed trials are not kept: nothing was measured. prior: of the study,
    what tables say of any network."""

    objectives: Sequence[str]
    trials: list[Observation] = field(default_factory=list)
    rejected: list[Observation] = field(default_factory=list)
    pending: dict[str, Candidate] = field(default_factory=dict)  # by arch_id
    prior: Prior | None = None

    def learn(self, trial: Trial) -> None:
        """Add a trial of this space: its short training and the latency measured during the search."""
        short, madds = trial.short, trial.madds
        assert madds is not None
        observation = Observation(
            params=trial.params,
            madds=madds,
            top1=None if short is None else short.top1 if short.score is None else short.score,
            latency_ms=None if trial.measured is None else trial.measured.ms,
            violation_ms=trial.violation_ms or 0.0,
            trial=trial.as_searched(),
        )
        if trial.outcome == "rejected":
            self.rejected.append(observation)
        elif trial.outcome != "failed" and observation.top1 is not None:
            self.trials.append(observation)

    def best(self, count: int, trials: Sequence[Observation] | None = None) -> list[Observation]:
        """The `count` best: the front, then the front of the rest, and so on; within a front by falling top1."""
        trials = self.trials if trials is None else trials
        chosen: list[Observation] = []
        for front in fronts(self.values(trials)):
            chosen += sorted((trials[k] for k in front.tolist()), key=lambda trial: -(trial.top1 or 0.0))
            if len(chosen) >= count:
                break
        return chosen[:count]

    def front(self) -> list[Observation]:
        """The Pareto front of the trials, by falling top1."""
        mask = pareto_mask(self.values(self.trials))
        return sorted((t for t, on in zip(self.trials, mask, strict=True) if on), key=lambda t: -(t.top1 or 0.0))

    def values(self, trials: Sequence[Observation]) -> NDArray[np.float64]:
        """The objectives [N, K], minimised; NaN if one is missing."""
        signs = np.array([-1.0 if name == "top1" else 1.0 for name in self.objectives])
        table: NDArray[np.float64] = signs * np.array(
            [[t.metric(name) for name in self.objectives] for t in trials], dtype=np.float64
        ).reshape(len(trials), len(signs))
        return table
