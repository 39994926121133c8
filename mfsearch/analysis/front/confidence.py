"""How sure the front is: what a training varies by between seeds, and which networks that leaves open.

Every network is compared by the mean top1 of the longest training it had. One that was trained shorter than its rivals
therefore competes with its short figure: its probability says what the study knows, not what a longer training would
find. The spread is that of trainings; that the validation images are a sample, too, is left out, as all share them.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfsearch.pareto import fronts, pareto_mask
from mfsearch.study.study import minimised
from mfsearch.study.trial import Training, Trial

DRAWS = 2000  # a probability of one half is then known to 0.011
MOST_DRAWN, FEWEST_DRAWS = 5_000_000, 200  # draws times trials: half a second, and 80 MB
Z_95 = NormalDist().inv_cdf(0.975)


class Noise(NamedTuple):
    """Standard deviation of the top1 of one training, a fraction, and the degrees of freedom that it was found with."""

    std: float
    degrees: float


class Confidence(NamedTuple):
    """front_probability: of being on the front. tied_with: for members of the front, networks that cost no more and
    cannot be told from it by top1, the nearest first."""

    front_probability: float
    tied_with: list[int]


def shown_training(trial: Trial) -> str:
    """How long and how often a trained trial was trained: "1x", "3x", "9x, 2 seeds"."""
    epochs, short, seeds = trial.longest[0].epochs if trial.longest else None, trial.epochs, len(trial.longest)
    length = epochs / short if trial.rung and epochs and short else 1.0
    return f"{round(length, 1):g}x" + (f", {seeds} seeds" if seeds > 1 else "")


def shown_probability(share: float) -> str:
    """ "82 %"; never quite 0 or 100, as the draws cannot know that: "< 1 %", "> 99 %"."""
    return "< 1 %" if share < 0.01 else "> 99 %" if share > 0.99 else f"{share:.0%}".replace("%", " %")


def shown_ties(tied: object) -> str:
    """The five nearest of a frame's `tied_with`, and how many more: "4, 7", "4, 7, 9, 1, 2 and 80 more"."""
    numbers = str(tied).split(", ")
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return ", ".join(numbers[:5]) + more


def shown_noise(trials: Sequence[Trial]) -> str | None:
    """A sentence on where the probabilities come from, or why there are none; None where all trainings were short."""
    longer = {trial.rung: shown_training(trial).partition(",")[0] for trial in _trained(trials) if trial.rung}
    if not longer:
        return None
    noise = training_noise(trials)
    if not noise:
        return "No probability of being on the front: one seed each, so what a training varies by is not known."
    last = max(noise)
    degrees = noise[last].degrees
    spread = f"{100 * noise[last].std:.2f} points, {degrees:g} degree{'s' if degrees > 1 else ''} of freedom"
    return (
        f"One {longer[last]} training varies by {spread}, apart from what all networks share in a seed. "
        "Tied: costs no more, and top1 cannot tell the two apart (95 %)."
    )


def training_noise(trials: Sequence[Trial]) -> dict[int, Noise]:
    """The noise of one training by rung, from the networks that were trained with several seeds; empty without one.

    Their curves pass through the lengths of all rungs, so each rung has a figure of its own.
    """
    repeated = [trial for trial in _trained(trials) if len(trial.longest) > 1]
    last = max((trial.rung for trial in repeated), default=0)
    finals = [(trial.number, training) for trial in repeated if trial.rung == last for training in trial.longest]
    noise: dict[int, Noise] = {}
    for rung, epochs in _rung_epochs(trials).items():
        points = {(number, training.seed or 0): _top1_after(training, epochs) for number, training in finals}
        pooled = pooled_noise({key: top1 for key, top1 in points.items() if top1 is not None})
        if pooled is not None:
            noise[rung] = pooled
    return noise


def pooled_noise(top1: Mapping[tuple[int, int], float]) -> Noise | None:
    """The noise of one training from `top1` by (network, seed); None where no network has two seeds.

    What is common to a network and what is common to a seed are both taken out (least squares of top1 on network plus
    seed, the residual over the degrees that are left): networks that share their seeds share their draws, and the
    luck of a seed cancels when they are compared. Where that leaves no degree, as with one network, only the network's
    mean is.
    """
    values = np.array(list(top1.values()), dtype=np.float64)
    networks, seeds = (_indicators([key[at] for key in top1]) for at in (0, 1))
    for design in (np.hstack([networks, seeds]), networks):
        degrees = len(values) - int(np.linalg.matrix_rank(design)) if len(values) else 0
        if degrees > 0:
            fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
            return Noise(float(np.sqrt(((values - fitted) ** 2).sum() / degrees)), float(degrees))
    return None


def front_probability(
    trials: Sequence[Trial], objectives: Sequence[str], noise: Mapping[int, Noise], seed: int = 0, draws: int = DRAWS
) -> dict[int, float]:
    """The probability of being on the front for each trained trial by number; `noise` by rung.

    Drawn: top1 about its mean with noise / sqrt(seeds), the noise itself as well as its degrees of freedom know it (so
    top1 is Student's t), and latency by its 95 % interval. The other costs are exact. Trials that lack an objective
    have 0. With more than 2,500 trained trials there are fewer draws, MOST_DRAWN between them all and no fewer than
    FEWEST_DRAWS: with 10,000 trials a probability of one half is known to 0.022, with 25,000 and more to 0.035.
    """
    trained = _trained(trials)
    draws = min(draws, max(FEWEST_DRAWS, MOST_DRAWN // max(1, len(trained))))
    generator = np.random.default_rng(seed)
    scales = {rung: _scales(each, draws, generator) for rung, each in sorted(noise.items())}
    means = minimised(trained, objectives)
    varied = [k for k, name in enumerate(objectives) if name in ("top1", "latency_ms")]
    samples = generator.standard_normal((len(trained), len(varied), draws))
    spreads = np.zeros((len(trained), len(varied)))  # as they usually are
    for at, trial in enumerate(trained):
        seeds = len(trial.longest)
        for j, k in enumerate(varied):
            if objectives[k] == "top1":
                rung = _rung_of(noise, trial.rung)
                samples[at, j] *= scales[rung] / np.sqrt(seeds)
                spreads[at, j] = noise[rung].std / np.sqrt(seeds)
            else:
                spreads[at, j] = _latency_std(trial)
                samples[at, j] *= spreads[at, j]
    samples += means[:, varied, None]
    shares = _front_counts(means, varied, samples, spreads) / draws
    return {trial.number: float(share) for trial, share in zip(trained, shares, strict=True)}


def ties(trials: Sequence[Trial], objectives: Sequence[str], noise: Mapping[int, Noise]) -> dict[int, list[int]]:
    """For each member of the front the trials that cost no more and cannot be told from it, the nearest first.

    Cannot be told: the difference of top1 lies within the 95 % interval of a difference of two equals (Student's t with
    the fewer degrees of the two). A latency counts as no greater within the interval of its difference.
    """
    from scipy.special import stdtrit  # takes 0.2 s, which only a study with repeated seeds needs

    trained = _trained(trials)
    values = minimised(trained, objectives)
    numbers = np.array([trial.number for trial in trained], dtype=np.int64)
    top1 = np.array([trial.metric("top1") for trial in trained])
    clocks = np.array([_latency_std(trial) for trial in trained])
    trainings = [(noise[_rung_of(noise, trial.rung)], len(trial.longest)) for trial in trained]
    variances = np.array([each.std**2 / seeds for each, seeds in trainings])
    degrees = np.array([each.degrees for each, _ in trainings])
    known, place = np.unique(degrees, return_inverse=True)
    reaches = stdtrit(known, 0.975)[place]  # the fewer degrees, the further
    tied: dict[int, list[int]] = {}
    for at in np.flatnonzero(pareto_mask(values)).tolist():
        apart = np.abs(top1 - top1[at])
        near = apart <= np.maximum(reaches, reaches[at]) * np.sqrt(variances[at] + variances)
        for k, name in enumerate(objectives):
            if name != "top1":
                slack = Z_95 * np.hypot(clocks, clocks[at]) if name == "latency_ms" else 0.0
                near &= values[:, k] <= values[at, k] + slack
        near[at] = False
        there = np.flatnonzero(near)
        tied[int(numbers[at])] = numbers[there[np.lexsort((numbers[there], apart[there]))]].tolist()
    return tied


def confidence(
    trials: Sequence[Trial], objectives: Sequence[str], seed: int = 0, fallback: Mapping[int, Noise] | None = None
) -> dict[int, Confidence]:
    """What is known of each trained trial's place, by number; empty where no noise is known.

    fallback: the noise by rung, such as a calibration's, for a study in which no network was trained with two seeds.
    """
    noise = training_noise(trials) or fallback
    if not noise:
        return {}
    tied = ties(trials, objectives, noise)
    shares = front_probability(trials, objectives, noise, seed)
    return {number: Confidence(share, tied.get(number, [])) for number, share in shares.items()}


def _trained(trials: Sequence[Trial]) -> list[Trial]:
    """Trained trials with a top1, by number, so that their order changes no draw."""
    trained = [trial for trial in trials if trial.outcome == "trained" and trial.top1 is not None]
    return sorted(trained, key=lambda trial: trial.number)


def _rung_epochs(trials: Sequence[Trial]) -> dict[int, float]:
    """The epochs at which each rung ends, as far as the trials tell."""
    epochs: dict[int, float] = {}
    for trial in _trained(trials):
        for training in (trial.short, *trial.longer):
            if training is not None and training.epochs is not None:
                epochs.setdefault(training.rung, training.epochs)
    return dict(sorted(epochs.items()))


def _top1_after(training: Training, epochs: float) -> float | None:
    """The top1 of a training after so many epochs; None where its curve has no point there."""
    if training.epochs == epochs:
        return training.top1
    return next((log.top1 for log in training.curve if abs(log.epoch - epochs) < 1e-6 * epochs), None)


def _indicators(labels: Sequence[int]) -> NDArray[np.float64]:
    """[N, distinct labels]: 1 where the row has the label."""
    same: NDArray[np.float64] = np.equal.outer(labels, np.unique(labels)).astype(np.float64)
    return same


def _scales(noise: Noise, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """What the noise may be, given how well it is known: std * sqrt(degrees / chi-square)."""
    if np.isinf(noise.degrees):
        return np.full(draws, noise.std)
    scales: NDArray[np.float64] = noise.std * np.sqrt(noise.degrees / generator.chisquare(noise.degrees, draws))
    return scales


def _rung_of(noise: Mapping[int, Noise], rung: int) -> int:
    """The rung whose noise counts for `rung`: its own, or the noisiest known."""
    return rung if rung in noise else max(noise, key=lambda each: noise[each].std)


def _latency_std(trial: Trial) -> float:
    latency = trial.latency
    if latency is None or latency.low_ms is None or latency.high_ms is None:
        return 0.0
    return (latency.high_ms - latency.low_ms) / (2 * Z_95)


def _front_counts(
    means: NDArray[np.float64],
    varied: Sequence[int],
    samples: NDArray[np.float64],
    spreads: NDArray[np.float64],
) -> NDArray[np.int64]:
    """The number of draws in which each trial is on the front.

    means: [N, K], minimised; samples: [N, V, draws] of the objectives `varied`; spreads: [N, V]. To save time, trials
    that a strong rival dominates are removed from a draw before `pareto_mask` sees it. The result is exact: a trial
    that dominates a removed trial also dominates all that the removed one dominates.
    """
    counts = np.zeros(len(means), dtype=np.int64)
    rivals = _rivals(means, varied, spreads)
    left = np.zeros((len(means), samples.shape[2]), dtype=np.bool_)
    whole = np.flatnonzero(~np.isnan(means).any(axis=1))
    for start in range(0, len(whole), 256):  # by blocks, which stay in the processor's cache
        block = whole[start : start + 256]
        left[block] = ~_beaten(samples[rivals[block, 0]], samples[block])
    trials, at_draw = np.nonzero(left)
    for rival in rivals.T[1:]:
        beaten = _beaten(samples[rival[trials], :, at_draw], samples[trials, :, at_draw])
        trials, at_draw = trials[~beaten], at_draw[~beaten]
    order = np.argsort(at_draw, kind="stable")
    ends = np.searchsorted(at_draw[order], np.arange(1, samples.shape[2]))
    for draw, some in enumerate(np.split(trials[order], ends)):
        values = means[some]
        values[:, varied] = samples[some, :, draw]
        counts[some[pareto_mask(values)]] += 1
    return counts


def _rivals(
    means: NDArray[np.float64], varied: Sequence[int], spreads: NDArray[np.float64], count: int = 12
) -> NDArray[np.int64]:
    """For each trial the rivals likeliest to dominate it in a draw: [N, count], the trial itself where there are fewer.

    A rival is no worse in the exact objectives, and the further below in the varied ones, in spreads, the likelier.
    """
    exact = [k for k in range(means.shape[1]) if k not in varied]
    whole = np.flatnonzero(~np.isnan(means).any(axis=1))
    strong = np.zeros(0, dtype=np.int64)
    for front in fronts(means):
        strong = np.concatenate([strong, front])
        if len(strong) >= 100:
            break
    rivals = np.repeat(np.arange(len(means))[:, None], count, axis=1)
    if not varied or not len(strong):
        return rivals
    for start in range(0, len(whole), 256):
        block = whole[start : start + 256]
        lead = np.full((len(block), len(strong)), np.inf)
        for j, k in enumerate(varied):
            apart = means[block, None, k] - means[None, strong, k]
            lead = np.minimum(lead, apart / (np.hypot(spreads[block, None, j], spreads[None, strong, j]) + 1e-12))
        for k in exact:
            lead[means[None, strong, k] > means[block, None, k]] = -np.inf
        best = np.argsort(-lead, axis=1, kind="stable")[:, :count]
        there = np.take_along_axis(lead, best, axis=1) > -np.inf
        rivals[block, : best.shape[1]] = np.where(there, strong[best], block[:, None])
    return rivals


def _beaten(rivals: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a rival [N, V, ...] is below in the first objective and not above in the others, hence dominates."""
    beaten: NDArray[np.bool_] = rivals[:, 0] < own[:, 0]
    for j in range(1, own.shape[1]):
        beaten &= rivals[:, j] <= own[:, j]
    return beaten
