"""Optuna's multivariate TPE over ordered integers, asked until a candidate passes the screen."""

import random
import warnings

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning

from mfsearch.search.samplers.encode import is_ordered
from mfsearch.search.samplers.ground import Candidate, Ground
from mfsearch.search.samplers.history import History, Observation
from mfsearch.space import Value
from mfsearch.study.ledger import quiet_optuna

AT_LEAST = 10  # trials before TPE is used
BEST, LATEST, SLOW = 60, 60, 30  # trials for TPE: its time grows with them, and old bad ones add little
ASKS = 60


@quiet_optuna()
def tpe(ground: Ground, history: History, rng: random.Random) -> Candidate | None:
    """A candidate from TPE, or None with too few trials or if all its suggestions are rejected.

    Builds a study in memory from the trials each time. Running proposals only serve to avoid duplicates.
    """
    if len(history.trials) + len(history.rejected) < AT_LEAST or not history.trials:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=rng.getrandbits(32), multivariate=True, n_startup_trials=1)
    study = optuna.create_study(sampler=sampler)
    distributions = {name: _distribution(choices) for name, choices in ground.choices.items()}
    chosen = _chosen(history)
    place = {id(trial): float(k) for k, trial in enumerate(history.best(len(chosen), chosen))}
    study.add_trials([_told(ground, trial, place.get(id(trial), 0.0), distributions) for trial in chosen])
    for _ in range(ASKS):
        asked = study.ask(distributions).params
        params = {
            name: choices[int(asked[name])] if is_ordered(choices) else asked[name]
            for name, choices in ground.choices.items()
        }
        candidate = ground.screen("tpe", params)
        if candidate is not None:
            return candidate
    return None


def _distribution(choices: tuple[Value, ...]) -> BaseDistribution:
    return IntDistribution(0, len(choices) - 1) if is_ordered(choices) else CategoricalDistribution(choices)


def _told(
    ground: Ground, trial: Observation, place: float, distributions: dict[str, BaseDistribution]
) -> optuna.trial.FrozenTrial:
    """A trial for Optuna; its value is the position in `History.best`. Optuna orders rejected trials by violation only,
    so their value does not matter."""
    params = {
        name: ground.choices[name].index(value) if is_ordered(ground.choices[name]) else value
        for name, value in trial.params.items()
    }
    return optuna.trial.create_trial(
        value=place, params=params, distributions=distributions, constraints={"latency": trial.violation_ms}
    )


def _chosen(history: History) -> list[Observation]:
    slow = history.rejected[-SLOW:]
    if len(history.trials) <= BEST + LATEST:
        return history.trials + slow
    best = history.best(BEST)
    kept = {id(trial) for trial in best}
    return best + [trial for trial in history.trials[-LATEST:] if id(trial) not in kept] + slow
