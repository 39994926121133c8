"""The Gaussian process: proposes the candidate with the largest expected growth of the area under the front.

MAdds are known before training and need no model. top1 is modelled. If latency is an objective, its ratio to the MAdds
is modelled too, for the probability that a candidate is within the limit.
"""

import math
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mfsearch.search.samplers.encode import Encoder
from mfsearch.search.samplers.gaussian import GaussianProcess
from mfsearch.search.samplers.ground import Candidate, Ground
from mfsearch.search.samplers.history import History, Observation
from mfsearch.search.samplers.improvement import expected_area
from mfsearch.space import Value

Array = NDArray[np.float64]

AT_LEAST = 4  # trials before a fit
MOST = 120  # trials in a fit: half of them the best by fronts, the others the latest
FRESH, NEAR = 200, 96  # the pool: random params and mutations of the best
ROUNDS, CLIMBERS, CHILDREN = 3, 6, 10  # hill climbing from the pool
SIZED = 4  # best members of the pool, whose exact MAdds decide the last choice


def gp(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """The most promising candidate of a pool, or None with fewer than AT_LEAST trials.

    Running proposals enter the model with their predicted mean, so that a second worker tries something else. The width
    of a pool member is solved only when it is considered for the choice.
    """
    if len(history.trials) < AT_LEAST:
        return None
    model = Model(ground, history)
    pool = [ground.draw(rng) for _ in range(FRESH)]
    best = history.best(12)
    pool += [ground.mutate(best[k % len(best)].params, rng) for k in range(NEAR)]
    scores = model.scores(pool)
    for _ in range(ROUNDS):
        top = np.argsort(-scores, kind="stable")[:CLIMBERS]
        children = [ground.mutate(pool[int(k)], rng) for k in top for _ in range(CHILDREN)]
        pool += children
        scores = np.concatenate([scores, model.scores(children)])
    sized: list[Candidate] = []
    for k in np.argsort(-scores, kind="stable"):
        candidate = ground.screen("gp", pool[int(k)])
        if candidate is not None:
            sized.append(candidate)
            if len(sized) == SIZED:
                break
    if not sized:
        return None
    return sized[int(model.scores([c.params for c in sized], [c.madds for c in sized]).argmax())]


class Model:
    """The prediction for networks that are not yet trained, from the trials so far."""

    def __init__(self, ground: Ground, history: History) -> None:
        self.ground, self.encoder = ground, Encoder(ground)
        self.trials = _chosen(history)
        x = self._rows([t.params for t in self.trials], [t.madds for t in self.trials])
        y = np.array([t.top1 for t in self.trials], dtype=np.float64)
        # limit outliers: a training that diverged must not stretch the scale of the others
        low, middle, high = np.quantile(y, [0.25, 0.5, 0.75])
        y = np.maximum(y, middle - 3.0 * max(high - low, 1e-3))
        self.top1 = GaussianProcess(x, y)
        pending = list(history.pending.values())
        if pending:
            x_pending = self._rows([c.params for c in pending], [c.madds for c in pending])
            x, y = np.concatenate([x, x_pending]), np.concatenate([y, self.top1.predict(x_pending)[0]])
            self.top1 = GaussianProcess(x, y, theta=self.top1.theta)
        costs = np.array([t.madds for t in self.trials] + [c.madds for c in pending], dtype=np.float64)
        # the front by the model's means, because measured values include lucky seeds
        self.front = np.stack([costs, self.top1.predict(x)[0]], axis=1)
        budget = ground.budget
        self.reference = (2.0 * budget.high - budget.low, float(np.median(self.front[:, 1])))
        self.latency = _Latency(self.encoder, history) if "latency_ms" in history.objectives else None

    def _rows(self, params: list[dict[str, Value]], madds: list[int] | None = None) -> Array:
        costs: Sequence[int | None] = madds or [None] * len(params)
        return np.stack([self.encoder.encode(p, m) for p, m in zip(params, costs, strict=True)])

    def scores(self, params: list[dict[str, Value]], madds: list[int] | None = None) -> Array:
        """Expected growth of the area under the front times the probability of being within the latency limit [M].

        The area reaches one width of the band beyond the budget, so that a network at the budget counts. Without
        `madds`, uses the targets in the params.
        """
        x = self._rows(params, madds)
        costs = np.exp(x[:, -1] * self.encoder.span + self.encoder.low)
        mean, spread = self.top1.predict(x)
        area = expected_area(costs, mean, spread, self.front, self.reference)
        return area if self.latency is None else area * self.latency.kept(x, costs)


class _Latency:
    """A model of log(milliseconds / MAdds), from every measured network, trained or not."""

    def __init__(self, encoder: Encoder, history: History) -> None:
        slow = [t for t in history.rejected if t.latency_ms is not None][-MOST // 2 :]
        timed = [t for t in history.trials if t.latency_ms is not None][-MOST // 2 :] + slow
        self.limit = slow[-1].latency_ms - slow[-1].violation_ms if slow and slow[-1].latency_ms else None
        self.model = None
        if self.limit is not None and len(timed) >= AT_LEAST:
            x = np.stack([encoder.encode(t.params, t.madds) for t in timed])
            self.model = GaussianProcess(x, np.array([math.log((t.latency_ms or 1.0) / t.madds) for t in timed]))

    def kept(self, x: Array, costs: Array) -> Array:
        """The probability of being within the limit; 1 until a network was too slow."""
        if self.model is None or self.limit is None:
            return np.ones(len(x))
        mean, spread = self.model.predict(x)
        spread = np.hypot(spread, math.sqrt(self.model.noise) * self.model.scale)
        z = (math.log(self.limit) - np.log(costs) - mean) / spread
        result: Array = ndtr(z)
        return result


def _chosen(history: History) -> list[Observation]:
    if len(history.trials) <= MOST:
        return history.trials
    best = history.best(MOST // 2)
    kept = {id(trial) for trial in best}
    rest = [trial for trial in history.trials if id(trial) not in kept]
    return best + rest[-(MOST - len(best)) :]
