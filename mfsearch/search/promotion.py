"""Decides which networks train longer: all train short, the better part longer, a few in full with several seeds.

Pure functions of the study's trials. Ranks come from non-dominated sorting over the study's objectives, so a small
network competes with networks of similar cost.
"""

import heapq
import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mfsearch.pareto import nondominated_ranks
from mfsearch.proxy.curve import SCORES
from mfsearch.proxy.rungs import Rungs
from mfsearch.study.trial import Trial

MIN_RANKED = 6  # networks with a short training before the first promotion
MIN_GAINS = 8  # finished curves before the gain of the second half is estimated


@dataclass(frozen=True)
class Promotion:
    """A training to resume: the trial, its next rung and the seed of the training."""

    number: int
    rung: int
    seed: int


def ranking(trials: Sequence[Trial], objectives: Sequence[str], rung: int) -> list[Trial]:
    """The trials with a result at `rung`, best first: by non-dominated rank, then by the area that each adds."""
    scores = [(trial, trial.score(rung)) for trial in trials]
    ranked = [(trial, score) for trial, score in scores if score is not None]
    if not ranked:
        return []
    values = np.array([_minimised(trial, score, objectives) for trial, score in ranked])
    by_rank: dict[int, list[tuple[Trial, float]]] = {}
    for rank, item in zip(nondominated_ranks(values), ranked, strict=True):
        by_rank.setdefault(rank, []).append(item)
    worst = min(score for _, score in ranked)
    return [trial for rank in sorted(by_rank) for trial in _by_gain(by_rank[rank], worst)]


def _minimised(trial: Trial, score: float, objectives: Sequence[str]) -> list[float]:
    """The objectives as measured during the search; a latency from its end does not change later trainings."""
    return [-score if name == "top1" else _searched_cost(trial, name) for name in objectives]


def _searched_cost(trial: Trial, name: str) -> float:
    if name == "latency_ms":
        return math.nan if trial.measured is None else trial.measured.ms
    return trial.metric(name)


def _by_gain(rank: list[tuple[Trial, float]], worst: float) -> list[Trial]:
    """Members of one rank in greedy order: next is the member that adds most area over log multiply-adds and score.

    The area reaches down to `worst` and up to twice the largest network: in a narrow band the score decides, over a
    wide one the picks spread. Among equals the lowest number comes first.
    """
    steps, place = np.unique(np.log([trial.metric("madds") for trial, _ in rank]), return_inverse=True)
    widths = np.diff(steps, append=steps[-1] + math.log(2))
    reached = np.full(len(steps), worst)  # best score among chosen networks of at most this size

    def loss(k: int) -> float:
        at = place[k]
        return -float(widths[at:] @ np.maximum(rank[k][1] - reached[at:], 0.0))

    # A member's gain only shrinks as others are chosen, so the first member whose stored gain is current is the best.
    left = [(loss(k), trial.number, k) for k, (trial, _) in enumerate(rank)]
    heapq.heapify(left)
    chosen: list[Trial] = []
    while left:
        _, number, k = left[0]
        now = (loss(k), number, k)
        if now > left[0]:
            heapq.heapreplace(left, now)
        else:
            heapq.heappop(left)
            chosen.append(rank[k][0])
            np.maximum(reached[place[k] :], rank[k][1], out=reached[place[k] :])
    return chosen


class Standing(NamedTuple):
    """The state for promotions. ranked: the ranking of each rung below the last; judged: networks whose short training
    finished or was stopped; leaders: size of the front at the rung before the last."""

    ranked: tuple[list[Trial], ...] = ()
    judged: int = 0
    leaders: int = 0


def standing(trials: Sequence[Trial], objectives: Sequence[str], rungs: Rungs) -> Standing:
    """The standing that decides promotions; compute it again after each new or changed trial."""
    ranked = tuple(ranking(trials, objectives, rung) for rung in range(rungs.last))
    if not ranked:
        return Standing()
    values = [_minimised(trial, trial.score(rungs.last - 1) or 0.0, objectives) for trial in ranked[-1]]
    leaders = nondominated_ranks(np.array(values)).count(0) if values else 0
    return Standing(ranked, len(ranked[0]) + stopped_count(trials), leaders)


def quota(count: int, rungs: Rungs) -> int:
    """The number of promotions from `count` networks at a rung."""
    return math.floor(count / rungs.keep)


def least_explored(networks: int | None) -> int:
    """Networks with a short training before the first promotion: half of those that the study can afford."""
    return MIN_RANKED if networks is None else max(MIN_RANKED, math.ceil(networks / 2))


def next_promotion(
    at: Standing, rungs: Rungs, running: Collection[Promotion], seed: int, explored: int = MIN_RANKED
) -> Promotion | None:
    """The best trial that has earned the next rung and is not yet there, highest rungs first; None without one.

    explored: networks with a short training before the first promotion. The last rung is for the finalists, chosen
    after the search has trained all its networks (`next_final`).
    """
    busy = {promotion.number for promotion in running}
    for rung in range(rungs.last - 2, -1, -1):
        judged = at.judged if rung == 0 else len(at.ranked[rung])
        if judged < (MIN_RANKED if rung else explored):
            continue
        for trial in at.ranked[rung][: quota(judged, rungs)]:
            if trial.number not in busy and not trial.trained_at(rung + 1, seed):
                return Promotion(trial.number, rung + 1, seed)
    return None


def next_final(at: Standing, rungs: Rungs, running: Collection[Promotion], seed: int) -> Promotion | None:
    """The next training of the final, or None: each finalist with the study's seed, then with the seeds after it."""
    chosen = finalists(at, rungs)
    for k in range(rungs.seeds):
        for trial in chosen:
            promotion = Promotion(trial.number, rungs.last, seed + k)
            if promotion not in running and not trial.trained_at(rungs.last, seed + k):
                return promotion
    return None


def finalists(at: Standing, rungs: Rungs) -> list[Trial]:
    """The best networks at the rung before the last, filled up with the best of lower rungs.

    If the front at that rung is larger than `finalists`, as over a wide budget, all of it qualifies; the limit is one
    in `keep` of the networks tried.
    """
    places = min(max(rungs.finalists, at.leaders) if rungs.finalists else 0, math.ceil(at.judged / rungs.keep))
    chosen = {trial.number: trial for ranked in reversed(at.ranked) for trial in ranked[:places]}
    return list(chosen.values())[:places]


@dataclass(frozen=True)
class Stop:
    """The rule that stops a short training half way: its score so far plus `gain` would still rank too low.

    rivals: score and the other objectives of the networks ranked so far; place: the last rank that is promoted.
    """

    gain: float
    rivals: tuple[tuple[float, ...], ...]
    place: int

    def hopeless(self, score: float, costs: Sequence[float]) -> bool:
        """Whether even score + gain would leave a network of these costs below the promoted ranks."""
        own = (-(score + self.gain), *costs)
        values = np.array([(-rival[0], *rival[1:]) for rival in self.rivals] + [own])
        ranks = nondominated_ranks(values)
        return sum(rank < ranks[-1] for rank in ranks) >= self.place


def stop_rule(trials: Sequence[Trial], objectives: Sequence[str], rungs: Rungs) -> Stop | None:
    """The rule for the next short training, or None while there are too few finished curves to bound the second half.

    The gain is the mean of the finished curves plus three standard deviations of a new one.
    """
    scores = [(trial, trial.score()) for trial in trials]
    ranked = [(trial, score) for trial, score in scores if score is not None]
    curves = [trial.short.curve for trial, _ in ranked if trial.short is not None and len(trial.short.curve) >= 2]
    if len(curves) < max(MIN_GAINS, MIN_RANKED) or rungs.last == 0:
        return None
    read = SCORES[rungs.rank_by]
    gains = [read(curve[-1]) - read(curve[-2]) for curve in curves]
    spread = statistics.stdev(gains) * math.sqrt(1 + 1 / len(gains))
    bound = statistics.fmean(gains) + 3 * spread
    costs = [name for name in objectives if name != "top1"]
    rivals = tuple((score, *(_searched_cost(trial, name) for name in costs)) for trial, score in ranked)
    return Stop(bound, rivals, max(1, quota(len(rivals) + stopped_count(trials) + 1, rungs)))


def stopped_count(trials: Sequence[Trial]) -> int:
    """How many trials were stopped in their short training; they rank below all promoted ones."""
    return sum(trial.outcome == "stopped" for trial in trials)
