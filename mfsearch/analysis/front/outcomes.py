"""The outcomes of a study's trials: reasons, who proposed them, and how the time was spent."""

import contextlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from mfsearch.proxy.rungs import CUT
from mfsearch.study.manifest import Manifest
from mfsearch.study.prior import Prior, prior_slope, without_outliers
from mfsearch.study.trial import OUTCOMES, Trial
from mfsearch.units import counted, format_seconds

GAP = "…"  # stands for figures that differ
FIGURE = re.compile(r"[-+]?(?:\d+(?:[.,]\d+)*(?:e[-+]?\d+)?|\b(?:nan|inf)\b)", re.IGNORECASE)


class Reason(NamedTuple):
    """Why trials were not trained to the end: the outcome, the reason with "…" for figures that differ, and whose."""

    outcome: str
    text: str
    numbers: list[int]


class OriginOutcomes(NamedTuple):
    """The outcomes of the networks of one origin. counts: trials by outcome; front: how many are on it; top1: the best,
    a fraction, NaN where none was trained."""

    name: str
    counts: dict[str, int]
    front: int
    top1: float


class TrainingTime(NamedTuple):
    """Core-seconds of some trainings: how many there were, and of how many the time was not recorded."""

    what: str
    trainings: int
    core_seconds: float
    unrecorded: int


class Clock(NamedTuple):
    """A study's times in seconds: from its beginning to the last result, and the longest time between two results.
    last: when that was."""

    seconds: float
    longest_gap: float
    last: datetime


def grouped_reasons(frame: pd.DataFrame) -> list[Reason]:
    """The trials that were stopped, rejected or failed by their reasons, the commonest of each outcome first.

    Reasons that differ in their figures alone are one; figures that agree in all of them stay.
    """
    groups: dict[tuple[str, str, int], list[tuple[int, list[str]]]] = {}
    lost = frame[frame["outcome"] != "trained"]
    for number, outcome, reason in zip(lost["number"], lost["outcome"], lost["reason"], strict=True):
        text = " ".join(str(reason or "no reason recorded").split())
        figures = FIGURE.findall(text)
        groups.setdefault((outcome, FIGURE.sub(GAP, text), len(figures)), []).append((int(number), figures))
    reasons = []
    for (outcome, pattern, _), members in groups.items():
        same = [each[0] if len(set(each)) == 1 else GAP for each in zip(*(found for _, found in members), strict=True)]
        pieces = pattern.split(GAP)
        # a reason may hold the sign itself: then the pieces do not fit the figures, and the pattern stays as it is
        fits = len(pieces) == len(same) + 1
        text = "".join(one for pair in zip(pieces, [*same, ""], strict=True) for one in pair) if fits else pattern
        reasons.append(Reason(outcome, text, [number for number, _ in members]))
    return sorted(reasons, key=lambda one: (OUTCOMES.index(one.outcome), -len(one.numbers), one.text))


def proposers(frame: pd.DataFrame, front: Sequence[int]) -> list[OriginOutcomes]:
    """The trials by who proposed them, in the order in which they first did; front: numbers of its members."""
    origins = frame["origin"].map(proposer_name)
    found = []
    for name in dict.fromkeys(origins):
        own = frame[origins == name]
        counts = {outcome: int((own["outcome"] == outcome).sum()) for outcome in OUTCOMES}
        top1 = own.loc[own["outcome"] == "trained", "top1"].max()
        found.append(OriginOutcomes(name, counts, int(own["number"].isin(front).sum()), float(top1)))
    return found


def proposer_name(origin: object) -> str:
    """ "published, fitted" for "fitted mf-52m", "from flowers" for "from flowers:12", else the sampler's own name."""
    kind, _, name = str(origin or "unknown").partition(" ")
    if kind == "from":
        return f"from {name.rpartition(':')[0] or name}"
    return {"preset": "published", "fitted": "published, fitted"}.get(kind, str(origin or "unknown"))


def spent_on_training(frame: pd.DataFrame, manifest: Manifest) -> list[TrainingTime]:
    """Core-seconds by length of training, the short ones first.

    A training that goes on from a checkpoint has all its seconds in its record: those of the shorter one are taken off.
    """
    first = CUT if manifest.rungs.starts_cut else "short"
    found = [
        _spent(name, frame.loc[frame["outcome"] == outcome, "train_seconds"].tolist())
        for outcome, name in (("trained", first), ("stopped", "short, stopped half way"))
    ]
    longer: dict[int, list[float]] = {}
    for trial in frame["trial"]:
        done = {trial.seed: trial.metric("train_seconds")}  # seconds so far by seed
        for training in sorted(trial.longer, key=lambda training: training.rung):
            seconds = np.nan if training.train_seconds is None else training.train_seconds
            before = done.get(training.seed, 0.0)
            longer.setdefault(training.rung, []).append(seconds - (before if before <= seconds else 0.0))
            done[training.seed] = seconds
    found += [_spent(_length(rung, manifest), longer[rung]) for rung in sorted(longer)]
    return [one for one in found if one.trainings]


def _spent(what: str, seconds: Sequence[float]) -> TrainingTime:
    known = [one for one in seconds if not np.isnan(one)]
    return TrainingTime(what, len(seconds), sum(known), len(seconds) - len(known))


def _length(rung: int, manifest: Manifest) -> str:
    """ "3x": how long a rung's trainings are, in short ones."""
    factors = manifest.rungs.factors
    return f"{factors[rung]:g}x" if rung < len(factors) else f"rung {rung}"


def clock(frame: pd.DataFrame, manifest: Manifest) -> Clock | None:
    """The study's times from the stamps of trials and longer trainings; None if none was recorded, as in old
    studies."""
    trials: list[Trial] = frame["trial"].tolist()
    stamps = [_stamp(stamp) for trial in trials for stamp in (trial.finished, *(one.finished for one in trial.longer))]
    known = sorted(stamp for stamp in stamps if stamp is not None)
    if not known:
        return None
    created = _stamp(manifest.created)
    times = [*([created] if created is not None and created <= known[0] else []), *known]
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    return Clock((times[-1] - times[0]).total_seconds(), max(gaps, default=0.0), times[-1])


def _stamp(value: object) -> datetime | None:
    """A time as the ledger writes it; one without a zone is UTC."""
    try:
        stamp = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=UTC)


def time_in_words(spent: Sequence[TrainingTime], taken: Clock | None) -> str:
    """How the time was spent, as far as the study records it, and what it does not record."""
    if not spent:
        return "No training was recorded, so the time spent is unknown."
    total, trainings = sum(one.core_seconds for one in spent), sum(one.trainings for one in spent)
    cut = sum(one.trainings for one in spent if one.what == CUT)
    words = [f"{counted(cut, 'network')} as cut"] if cut else []
    words += [counted(trainings - cut, "training")] if trainings > cut else []
    sentences = [f"{' and '.join(words)} took {format_seconds(total)} of core time."]
    if missing := sum(one.unrecorded for one in spent):
        sentences.append(f"{missing} of them have no recorded time.")
    if taken is None:
        sentences.append("This study did not record when trials finished or how long latency measurements took.")
        return " ".join(sentences)
    if taken.seconds > 0:
        sentences.append(
            f"The study ran for {format_seconds(taken.seconds)} from start to last result, with "
            f"{total / taken.seconds:.1f} trainings at a time on average; the longest gap between two results was "
            f"{format_seconds(taken.longest_gap)}."
        )
    sentences.append(
        "The rest is export, latency measurement, proposals and pauses; a study does not record these separately."
    )
    return " ".join(sentences)


def prior_worth(trials: Iterable[Trial], prior: Prior | None) -> str | None:
    """How well the prior, which saw none of the study's trainings, ranks them; None without a prior, or if fewer than
    four networks are trained."""
    if prior is None:
        return None
    pairs = []
    for trial in trials:
        with contextlib.suppress(ValueError):  # without a readable config
            if (score := trial.score()) is not None:
                pairs.append((prior.score(trial.config), score))
    if len(pairs) < 4:
        return None
    from mfsearch.analysis.ranking.agreement import kendall_tau

    known, scores = np.array(pairs).T
    tau = kendall_tau(known, scores)
    if tau != tau:  # all alike
        return None
    weight = "weight" if prior_slope(known, without_outliers(scores)) else "no weight"
    return f"prior: tau {tau:.2f} with the {len(pairs)} networks trained here; such trainings give it {weight}"
