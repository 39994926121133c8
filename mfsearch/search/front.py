"""The Pareto front during a search, before its latencies are measured again."""

import dataclasses
from collections.abc import Sequence

from mfsearch.study.study import front_trials
from mfsearch.study.trial import Trial


def front_in_search(trials: Sequence[Trial], objectives: Sequence[str]) -> list[int]:
    """Trial numbers of the front by the latencies measured during the search, ignoring those measured at its end."""
    searched = [dataclasses.replace(trial, final=None) if trial.final else trial for trial in trials]
    return [trial.number for trial in front_trials(searched, objectives)]


def contenders(trials: Sequence[Trial], objectives: Sequence[str]) -> set[int]:
    """Numbers of the trials that keep their weights.

    These are the front and, if latency is an objective, also the front by the search's own latencies and the front of
    the rest, which replaces networks that turn out slower.
    """
    front = {trial.number for trial in front_trials(trials, objectives)}
    if "latency_ms" not in objectives:
        return front
    front.update(front_in_search(trials, objectives))
    rest = [trial for trial in trials if trial.number not in front and not trial.over_limit]
    return front | set(front_in_search(rest, objectives))
