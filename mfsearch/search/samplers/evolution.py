"""Samplers without a model: parents from the history, small changes, screened."""

import random

from mfsearch.search.samplers.ground import ATTEMPTS, Candidate, Ground
from mfsearch.search.samplers.history import History

POPULATION, TOURNAMENT = 20, 5
BEST = 8  # networks that `front_mutation` starts from


def evolution(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """Regularised evolution (arXiv:1802.01548): mutate the best of a few random trials among the latest POPULATION.

    The best is the first in `History.best`: the front first, then by top1.
    """
    population = history.trials[-POPULATION:]
    for _ in range(ATTEMPTS if population else 0):
        few = rng.sample(population, min(TOURNAMENT, len(population)))
        candidate = ground.screen("evolution", ground.mutate((history.best(1, few) or few)[0].params, rng))
        if candidate is not None:
            return candidate
    return None


def front_mutation(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """A small change of one of the BEST best trials, chosen uniformly."""
    best = history.best(BEST)
    for _ in range(ATTEMPTS if best else 0):
        candidate = ground.screen("mutation", ground.mutate(rng.choice(best).params, rng))
        if candidate is not None:
            return candidate
    return None
