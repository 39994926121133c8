"""Samplers that `mfsearch run` offered until November 2026: in the replay (replay.py) they found less than `gp`."""

import math
import random

import numpy as np

from mfsearch.pareto import nondominated_ranks
from mfsearch.search.samplers.evolution import POPULATION
from mfsearch.search.samplers.ground import ATTEMPTS, Candidate, Ground
from mfsearch.search.samplers.history import History, Observation

CROSSOVER = 0.9


def local(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """Change one knob by one step, from a trial on the front; if those are exhausted, from the next best trial."""
    front = history.front()
    rng.shuffle(front)
    known = {id(trial) for trial in front}
    for trial in [*front, *(t for t in history.best(3 * POPULATION) if id(t) not in known)]:
        neighbours = []
        for name, choices in ground.choices.items():
            at = choices.index(trial.params[name])
            near = [choices[k] for k in (at - 1, at + 1) if 0 <= k < len(choices)]
            neighbours += [{**trial.params, name: choice} for choice in near]
        rng.shuffle(neighbours)
        for params in neighbours:
            candidate = ground.screen("local", params)
            if candidate is not None:
                return candidate
    return None


def nsga2(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """NSGA-II (Deb et al. 2002), one child at a time: the population is the best of all trials so far.

    This steady-state form has no generations, so a search can be resumed from its trials alone.
    """
    population = history.best(POPULATION)
    if len(population) < 2:
        return None
    crowding = _crowding(history, population)
    place = {id(trial): k for k, trial in enumerate(population)}
    for _ in range(ATTEMPTS):
        mother, father = (
            min(rng.sample(population, 2), key=lambda t: (crowding[place[id(t)]][0], -crowding[place[id(t)]][1]))
            for _ in range(2)
        )
        mixed = rng.random() < CROSSOVER
        child = {
            name: father.params[name] if mixed and rng.random() < 0.5 else value
            for name, value in mother.params.items()
        }
        names = [name for name, choices in ground.choices.items() if len(choices) > 1]
        for name in names:
            if rng.random() < 1 / len(names):
                child[name] = rng.choice(ground.choices[name])
        candidate = ground.screen("nsga2", child)
        if candidate is not None:
            return candidate
    return None


def _crowding(history: History, population: list[Observation]) -> list[tuple[int, float]]:
    """The rank of the front and the crowding distance within it, for each member of the population."""
    table = history.values(population)
    ranks = np.array(nondominated_ranks(table))
    crowding = np.zeros(len(table))
    for rank in np.unique(ranks):
        values = table[ranks == rank]
        distance = [0.0] * len(values)
        for k in range(values.shape[1]):
            order = values[:, k].argsort(kind="stable").tolist()
            span = values[order[-1], k] - values[order[0], k]
            distance[order[0]] = distance[order[-1]] = math.inf
            for before, at, after in zip(order, order[1:], order[2:], strict=False):
                distance[at] += (values[after, k] - values[before, k]) / span if span > 0 else 0.0
        crowding[ranks == rank] = distance
    return list(zip(ranks.tolist(), crowding.tolist(), strict=True))
