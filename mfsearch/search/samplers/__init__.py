"""What to try next, each strategy one function of the ground, the history and a seeded generator.

None keeps a state: what a strategy proposes follows from the trials so far and the generator, so that a search that
was killed goes on as if it had not been.
"""

import random
from collections.abc import Callable

from mfsearch.search.samplers.evolution import evolution, front_mutation, local, nsga2
from mfsearch.search.samplers.gp import gp
from mfsearch.search.samplers.ground import Candidate, Ground
from mfsearch.search.samplers.history import History
from mfsearch.search.samplers.tpe import tpe

Sampler = Callable[[Ground, History, random.Random], Candidate | None]

GP_UNTIL = 100  # trials up to which the Gaussian process leads


def uniform(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """The control: any feasible network alike."""
    return ground.drawn("random", rng)


def auto(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """The Gaussian process up to GP_UNTIL trials, then TPE and small changes of the best in turns."""
    if len(history.trials) < GP_UNTIL:
        return gp(ground, history, rng)
    return (tpe if rng.random() < 0.5 else front_mutation)(ground, history, rng)


SAMPLERS: dict[str, Sampler] = {  # the names are `settings.SAMPLERS`
    "auto": auto,
    "gp": gp,
    "tpe": tpe,
    "evolution": evolution,
    "local": local,
    "nsga2": nsga2,
    "random": uniform,
}
