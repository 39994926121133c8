"""Samplers: each is one function of the ground, the history and a seeded generator, and proposes a network.

None keeps a state: a proposal follows from the trials so far and the generator alone, so a killed search resumes as if
nothing had happened.
"""

import random
from collections.abc import Callable

from mfsearch.search.samplers.evolution import evolution, front_mutation
from mfsearch.search.samplers.gp import gp
from mfsearch.search.samplers.ground import Candidate, Ground
from mfsearch.search.samplers.history import History
from mfsearch.search.samplers.tpe import tpe

Sampler = Callable[[Ground, History, random.Random], Candidate | None]

GP_UNTIL = 100  # trials; below this number `auto` uses the Gaussian process


def uniform(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """The control: a uniformly random feasible network."""
    return ground.drawn("random", rng)


def auto(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """The Gaussian process up to GP_UNTIL trials, then TPE or a mutation of the best at random."""
    if len(history.trials) < GP_UNTIL:
        return gp(ground, history, rng)
    return (tpe if rng.random() < 0.5 else front_mutation)(ground, history, rng)


SAMPLERS: dict[str, Sampler] = {  # the names are `settings.SAMPLERS`
    "auto": auto,
    "gp": gp,
    "tpe": tpe,
    "evolution": evolution,
    "random": uniform,
}
