"""What a sampler knows: the trials so far in the order of the ledger, and what is being evaluated."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfsearch.pareto import fronts, pareto_mask
from mfsearch.search.samplers.ground import Candidate
from mfsearch.space import Value
from mfsearch.study.trial import Trial


class Observation(NamedTuple):
    """A finished trial inside the band. top1 is None where nothing was trained; a training that was stopped early
    counts with the top1 it had reached, which is known to be no better than its end would have been."""

    params: dict[str, Value]
    madds: int
    top1: float | None
    latency_ms: float | None
    violation_ms: float  # by how much the latency limit was missed, 0 where it was kept or there is none


@dataclass
class History:
    """trials: with a top1. rejected: too slow. Failed ones are only remembered as seen: nothing was measured."""

    objectives: Sequence[str]
    trials: list[Observation] = field(default_factory=list)
    rejected: list[Observation] = field(default_factory=list)
    pending: dict[str, Candidate] = field(default_factory=dict)  # by arch_id

    def learn(self, trial: Trial) -> None:
        """Take in a trial of this space: its short training, and the latency that the search measured."""
        short, madds = trial.short, trial.madds
        assert madds is not None
        observation = Observation(
            params=trial.params,
            madds=madds,
            top1=None if short is None else short.top1 if short.score is None else short.score,
            latency_ms=None if trial.measured is None else trial.measured.ms,
            violation_ms=trial.violation_ms or 0.0,
        )
        if trial.outcome == "rejected":
            self.rejected.append(observation)
        elif trial.outcome != "failed" and observation.top1 is not None:
            self.trials.append(observation)

    def best(self, count: int, trials: Sequence[Observation] | None = None) -> list[Observation]:
        """The `count` best: the front, then the front of the rest and so on; within a front by falling top1."""
        trials = self.trials if trials is None else trials
        chosen: list[Observation] = []
        for front in fronts(self.values(trials)):
            chosen += sorted((trials[k] for k in front.tolist()), key=lambda trial: -(trial.top1 or 0.0))
            if len(chosen) >= count:
                break
        return chosen[:count]

    def front(self) -> list[Observation]:
        """Trials that no other one beats, by falling top1."""
        mask = pareto_mask(self.values(self.trials))
        return sorted((t for t, on in zip(self.trials, mask, strict=True) if on), key=lambda t: -(t.top1 or 0.0))

    def values(self, trials: Sequence[Observation]) -> NDArray[np.float64]:
        """The objectives [N, K], minimised; NaN where one is missing."""
        signs = np.array([-1.0 if name == "top1" else 1.0 for name in self.objectives])
        table: NDArray[np.float64] = signs * np.array(
            [[getattr(t, name) for name in self.objectives] for t in trials], dtype=np.float64
        ).reshape(len(trials), len(signs))
        return table
