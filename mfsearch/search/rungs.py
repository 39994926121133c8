"""Who is trained longer: short for all, longer for the better part, in full for a few with several seeds.

Pure functions of the study's rows; nothing here trains or writes. Ranks are by non-dominated sorting over the study's
objectives, so a small network competes with its equals in cost.
"""

import heapq
import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfsearch.proxy.rungs import READINGS, Rungs

MIN_RANKED = 6  # networks with a short training, before the first goes on
MIN_GAINS = 8  # finished curves, before a bound on what the rest of a training gains is trusted

Row = dict[str, Any]


@dataclass(frozen=True)
class Promotion:
    """A training that goes on: the trial, the rung it goes to and the seed of the training."""

    number: int
    rung: int
    seed: int


def score_at(row: Row, rung: int) -> float | None:
    """Mean score of a trial at a rung over the seeds it was trained with there; None where it was not."""
    if rung == 0:
        value = row["score"] if "score" in row else row["top1"]  # a study from before there were scores
        return float(value) if row["outcome"] == "trained" else None
    found = [stage["score"] for stage in row.get("stages", ()) if stage["rung"] == rung and stage["score"] is not None]
    return statistics.fmean(found) if found else None


def ranking(rows: Sequence[Row], objectives: Sequence[str], rung: int) -> list[Row]:
    """The trials with a result at `rung`, best first: by non-dominated rank, within a rank by what each adds."""
    results = [(row, score_at(row, rung)) for row in rows]
    there = [(row, score) for row, score in results if score is not None]
    if not there:
        return []
    values = np.array([_minimised(row, score, objectives) for row, score in there])
    by_rank: dict[int, list[tuple[Row, float]]] = {}
    for rank, item in zip(nondominated_ranks(values), there, strict=True):
        by_rank.setdefault(rank, []).append(item)
    worst = min(score for _, score in there)
    return [row for rank in sorted(by_rank) for row in _by_gain(by_rank[rank], worst)]


def _minimised(row: Row, score: float, objectives: Sequence[str]) -> list[float]:
    return [-score if name == "top1" else as_searched(row, name) for name in objectives]


def nondominated_ranks(values: NDArray[np.float64]) -> list[int]:
    """0 for the front of `values` [N, K], minimised, 1 for the front of the rest and so on; NaN is the worst."""
    # Each distinct row once, in lexicographic order: none is beaten by a later one. + 0.0 turns -0.0 into 0.0.
    rows, place = np.unique(np.where(np.isnan(values), np.inf, values) + 0.0, axis=0, return_inverse=True)
    ranks = np.zeros(len(rows), dtype=np.int64)
    for i in range(1, len(rows)):
        beating = np.logical_and.reduce([column[:i] <= column[i] for column in rows.T])
        ranks[i] = 1 + ranks[:i][beating].max(initial=-1)
    return [int(rank) for rank in ranks[np.ravel(place)]]


def _by_gain(rank: list[tuple[Row, float]], worst: float) -> list[Row]:
    """Members of one rank, each next the one that adds most area over log multiply-adds and score to those before it.

    The area reaches down to `worst` and up to twice the largest network, so that inside a narrow band the score
    decides, and over a wide one the picks spread. Of equals the lowest number comes first.
    """
    steps, place = np.unique(np.log([row["madds"] for row, _ in rank]), return_inverse=True)
    widths = np.diff(steps, append=steps[-1] + math.log(2))
    reached = np.full(len(steps), worst)  # score of the chosen ones that are no larger

    def loss(k: int) -> float:
        at = place[k]
        return -float(widths[at:] @ np.maximum(rank[k][1] - reached[at:], 0.0))

    # What a member adds only shrinks as others are chosen, so the first whose figure is still true is the best.
    left = [(loss(k), row["number"], k) for k, (row, _) in enumerate(rank)]
    heapq.heapify(left)
    chosen: list[Row] = []
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
    """Where the trials stand. ranked: the ranking of each rung below the last; judged: networks whose short training
    was finished or given up; leaders: how many no other one beats at the rung before the last."""

    ranked: tuple[list[Row], ...] = ()
    judged: int = 0
    leaders: int = 0


def standing(rows: Sequence[Row], objectives: Sequence[str], rungs: Rungs) -> Standing:
    """The standing that promotions are decided by; to be made anew once a row comes or changes."""
    ranked = tuple(ranking(rows, objectives, rung) for rung in range(rungs.last))
    if not ranked:
        return Standing()
    values = [_minimised(row, score_at(row, rungs.last - 1) or 0.0, objectives) for row in ranked[-1]]
    leaders = nondominated_ranks(np.array(values)).count(0) if values else 0
    return Standing(ranked, len(ranked[0]) + stopped_count(rows), leaders)


def quota(count: int, rungs: Rungs) -> int:
    """How many of `count` networks of a rung go on to the next."""
    return math.floor(count / rungs.keep)


def next_promotion(at: Standing, rungs: Rungs, running: Collection[Promotion], seed: int) -> Promotion | None:
    """The best trial that has earned the next rung and is not there, or None; the highest rungs first.

    The last rung is for the finalists, who are chosen when the search has trained its networks (`next_final`).
    """
    busy = {promotion.number for promotion in running}
    for rung in range(rungs.last - 2, -1, -1):
        judged = at.judged if rung == 0 else len(at.ranked[rung])
        if judged < MIN_RANKED:
            continue
        for row in at.ranked[rung][: quota(judged, rungs)]:
            if row["number"] not in busy and not _tried(row, rung + 1, seed):
                return Promotion(row["number"], rung + 1, seed)
    return None


def next_final(at: Standing, rungs: Rungs, running: Collection[Promotion], seed: int) -> Promotion | None:
    """What is left of the final, or None: each finalist with the study's seed, then with the seeds after it."""
    chosen = finalists(at, rungs)
    for k in range(rungs.seeds):
        for row in chosen:
            promotion = Promotion(row["number"], rungs.last, seed + k)
            if promotion not in running and not _tried(row, rungs.last, seed + k):
                return promotion
    return None


def finalists(at: Standing, rungs: Rungs) -> list[Row]:
    """The best of the rung before the last; where too few came there, the best of the rungs below.

    More than asked for where the front there is larger: over a wide budget it is. At most one in `keep` of the networks
    tried.
    """
    wanted = max(rungs.finalists, at.leaders) if rungs.finalists else 0
    places = min(wanted, math.ceil(at.judged / rungs.keep))
    chosen = {row["number"]: row for ranked in reversed(at.ranked) for row in ranked[:places]}
    return list(chosen.values())[:places]


def _tried(row: Row, rung: int, seed: int) -> bool:
    return any(stage["rung"] >= rung and stage["seed"] == seed for stage in row.get("stages", ()))


@dataclass(frozen=True)
class Stop:
    """When a short training is given up half way: its score so far and `gain` would still rank too low.

    rivals: score and the other objectives' values of the networks ranked so far; place: the last rank that goes on.
    """

    gain: float
    rivals: tuple[tuple[float, ...], ...]
    place: int

    def hopeless(self, score: float, costs: Sequence[float]) -> bool:
        """Whether even score + gain would leave a network of these costs outside the part that goes on."""
        own = (-(score + self.gain), *costs)
        values = np.array([(-rival[0], *rival[1:]) for rival in self.rivals] + [own])
        ranks = nondominated_ranks(values)
        return sum(rank < ranks[-1] for rank in ranks) >= self.place


def stop_rule(rows: Sequence[Row], objectives: Sequence[str], rungs: Rungs) -> Stop | None:
    """The rule for the next short training, or None while too few curves are finished to bound the second half.

    The gain is that of the finished ones' mean and three standard deviations of a further one.
    """
    finished = [row for row in rows if score_at(row, 0) is not None and len(row.get("curve") or ()) >= 2]
    if len(finished) < max(MIN_GAINS, MIN_RANKED) or rungs.last == 0:
        return None
    read = READINGS[rungs.rank_by]
    gains = [read(row["curve"][-1]) - read(row["curve"][-2]) for row in finished]
    spread = statistics.stdev(gains) * math.sqrt(1 + 1 / len(gains))
    bound = statistics.fmean(gains) + 3 * spread
    costs = [name for name in objectives if name != "top1"]
    there = [(row, score) for row, score in ((row, score_at(row, 0)) for row in rows) if score is not None]
    rivals = tuple((score, *(as_searched(row, name) for name in costs)) for row, score in there)
    return Stop(bound, rivals, max(1, quota(len(rivals) + stopped_count(rows) + 1, rungs)))


def stopped_count(rows: Sequence[Row]) -> int:
    """How many trials were given up in their short training: judged, and ranked below all that go on."""
    return sum(row["outcome"] == "stopped" for row in rows)


def merged(row: Row, stages: Sequence[Row]) -> Row:
    """A trial's row with its longer trainings: top1 becomes that of the longest, top1_short keeps the first's.

    rung: of the longest training; top1_std: sample standard deviation over the seeds there, None with one.
    """
    done = [stage for stage in stages if stage["top1"] is not None]
    if row["outcome"] != "trained" or not done:
        return {**row, "stages": list(stages)} if stages else row
    rung = max(stage["rung"] for stage in done)
    values = [stage["top1"] for stage in done if stage["rung"] == rung]
    return {
        **row,
        "stages": list(stages),
        "top1_short": row["top1"],
        "top1": statistics.fmean(values),
        "top1_std": statistics.stdev(values) if len(values) > 1 else None,
        "rung": rung,
    }


def measured_again(row: Row, final: Row | None) -> Row:
    """A trial's row with its latency at the end: latency_* become those, `latency_search` keeps the search's."""
    if final is None:
        return row
    searched = row.get("latency_search") or {
        name: row[name] for name in final if name.startswith("latency_") and name in row
    }
    return {**row, **{name: final[name] for name in searched}, "latency_search": searched, "latency_final": final}


def as_searched(row: Row, name: str) -> float:
    """An objective as the search saw it: what is measured at the end must not change what is trained next."""
    searched = row.get("latency_search", {})
    return float(searched[name] if name in searched else row[name])


def short_row(row: Row) -> Row:
    """The trial as its short training left it."""
    added = ("stages", "top1_short", "top1_std", "rung", "latency_final", "latency_search")
    short: Row = {key: value for key, value in row.items() if key not in added} | row.get("latency_search", {})
    return short | {"top1": row["top1_short"]} if "top1_short" in row else short


def told(row: Row) -> Row:
    """The trial as a sampler hears of it: its short training, the score in the place of top1."""
    row = short_row(row)
    return {**row, "top1": row["score"]} if row.get("score") is not None else row
