"""The Gaussian process: proposes the candidate with the largest expected growth of the area under the front.

The cost of that front is the MAdds, or the first objective of the parameters, memory and file size if the MAdds are
none: known before training, they need no model. The score that ranks networks is modelled. If latency is an objective,
its ratio to the MAdds is modelled too, for the probability that a candidate is within the limit.
"""

import math
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mfsearch.cost.madds import count_costs
from mfsearch.search.samplers.encode import BUILT_COLUMNS, Encoder, built
from mfsearch.search.samplers.gaussian import GaussianProcess
from mfsearch.search.samplers.ground import Candidate, Ground
from mfsearch.search.samplers.history import History, Observation
from mfsearch.search.samplers.improvement import expected_area
from mfsearch.study.prior import prior_slope, without_outliers
from mfsearch.units import LIMITED

Array = NDArray[np.float64]

AT_LEAST = 4  # trials before a fit
MOST = 120  # trials in a fit: half of them the best by fronts, the others the latest
FRESH, NEAR = 120, 48  # the pool: random params and mutations of the best, those that fit the band
ROUNDS, CLIMBERS, CHILDREN = 3, 5, 6  # hill climbing from the pool; to solve a width takes 2 ms
SPREAD = 0.3  # standard deviation of a column of `built` over the trials; that of a knob's column is about as large
HEAD_START = 1.0  # in log likelihood, of the model of what is built


def gp(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """The most promising candidate of a pool, or None with fewer than AT_LEAST trials.

    Running proposals enter the model with their predicted mean, so that a second worker tries something else.
    """
    if len(history.trials) < AT_LEAST:
        return None
    model, best = Model(ground, history), history.best(12)
    params = [ground.draw(rng) for _ in range(FRESH)]
    params += [ground.mutate(best[k % len(best)].params, rng) for k in range(NEAR)]
    pool: dict[str, Candidate] = {}
    scores = np.empty(0)
    for _ in range(1 + ROUNDS):
        drawn = [c for c in (ground.screen("gp", one) for one in params) if c is not None]
        new = {c.config.arch_id: c for c in drawn if c.config.arch_id not in pool}
        pool |= new
        scores = np.concatenate([scores, model.scores(list(new.values()))])
        everyone = list(pool.values())
        ranked = [everyone[k] for k in np.argsort(-scores, kind="stable").tolist()]
        params = [ground.mutate(top.params, rng) for top in ranked[:CLIMBERS] for _ in range(CHILDREN)]
    return ranked[0] if ranked else None


class Model:
    """The prediction for networks that are not yet trained, from the trials so far: the mean of two processes.

    One reads what is built, the other the knobs; each is weighted by how likely it makes the trials. In a space with
    knobs for all widths the first is far better. It is blind where all knobs are about tokens, bridges or activations.
    slope: of the trials' scores over what the history's prior says of them. The processes model the rest.
    """

    def __init__(self, ground: Ground, history: History, encoder: Encoder | None = None) -> None:
        self.encoder = encoder or Encoder(ground)
        self.trials = _chosen(history)
        rows = _built(self.trials)
        known = rows[np.isfinite(rows).all(1)] if np.isfinite(rows).any() else np.zeros((1, BUILT_COLUMNS))
        self.middle, self.scale = known.mean(0), known.std(0) / SPREAD
        self.scale[self.scale < 1e-9] = 1.0
        y = without_outliers(np.array([t.top1 for t in self.trials], dtype=np.float64))
        self.prior = history.prior
        expected = self._known(self.trials)
        self.slope = prior_slope(expected, y)
        y = y - self.slope * expected
        views = self._views(self.trials)
        self.processes = [GaussianProcess(x, y) for x in views]
        losses = np.array([process.loss for process in self.processes]) - [HEAD_START, 0.0]
        likely = np.exp(losses.min() - losses)
        self.weights: Array = likely / likely.sum()
        pending = list(history.pending.values())
        if pending:
            views = [np.concatenate(pair) for pair in zip(views, self._views(pending), strict=True)]
            self.processes = [
                GaussianProcess(x, np.append(y, process.predict(x[len(y) :])[0]), theta=process.theta)
                for process, x in zip(self.processes, views, strict=True)
            ]
        exact = [name for name in ("madds", *LIMITED) if name in history.objectives]
        self.cost = (exact or ["madds"])[0]
        networks: list[Observation | Candidate] = [*self.trials, *pending]
        # the front by the model's means, because measured values include lucky seeds
        self.front = np.stack([self._costs(networks), self.means(networks)], axis=1)
        budget, end = ground.budget, 1.15 * float(np.nanmax(self.front[:, 0]))
        end = 2.0 * budget.high - budget.low if self.cost == "madds" else end
        self.reference = (end, float(np.median(self.front[:, 1])))
        self.latency = _Latency(self.encoder, history) if "latency_ms" in history.objectives else None

    def _views(self, networks: Sequence[Observation | Candidate]) -> list[Array]:
        """The rows for each process; a network without a readable config is an average one."""
        knobs = np.stack([self.encoder.encode(one.params, one.madds) for one in networks])
        return [np.nan_to_num((_built(networks) - self.middle) / self.scale), knobs]

    def _costs(self, networks: Sequence[Observation | Candidate]) -> Array:
        """The cost of networks [N]; infinite without a readable config."""
        if self.cost == "madds":
            return np.array([one.madds for one in networks], dtype=np.float64)
        configs = [one.config for one in networks]
        return np.array([math.inf if c is None else getattr(count_costs(c), self.cost) for c in configs], np.float64)

    def _known(self, networks: Sequence[Observation | Candidate]) -> Array:
        """What the prior says of networks [N]; 0 without a prior, their mean for one without a readable config."""
        if self.prior is None:
            return np.zeros(len(networks))
        known = np.array([math.nan if n.config is None else self.prior.score(n.config) for n in networks])
        known[np.isnan(known)] = np.nanmean(known) if np.isfinite(known).any() else 0.0
        return known

    def means(self, networks: Sequence[Observation | Candidate]) -> Array:
        """The predicted scores of networks [N]."""
        pairs = zip(self.processes, self._views(networks), strict=True)
        means: Array = self.weights @ np.array([process.predict(x)[0] for process, x in pairs])
        means += self.slope * self._known(networks)
        return means

    def scores(self, candidates: Sequence[Candidate]) -> Array:
        """Expected growth of the area under the front times the probability of being within the latency limit [M].

        The area reaches beyond the budget, or the dearest network so far, so that a network there counts.
        """
        if not candidates:
            return np.empty(0)
        views, costs = self._views(candidates), self._costs(candidates)
        known, areas = self.slope * self._known(candidates), []
        for process, x in zip(self.processes, views, strict=True):
            mean, spread = process.predict(x)
            areas.append(expected_area(costs, mean + known, spread, self.front, self.reference))
        area: Array = self.weights @ np.array(areas)
        if self.latency is None:
            return area
        return area * self.latency.kept(views[-1], np.array([c.madds for c in candidates], dtype=np.float64))


def _built(networks: Sequence[Observation | Candidate]) -> Array:
    """The rows of `built`; NaN for a trial without a readable config."""
    lost = [math.nan] * BUILT_COLUMNS
    configs = [one.config for one in networks]
    rows = [lost if c is None else built(c, one.width, one.madds) for c, one in zip(configs, networks, strict=True)]
    return np.array(rows)


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
