"""How certain the front is: how much top1 varies between seeds and images, and which networks it cannot tell apart.

Two networks are compared by their mean top1 after the longest training that both had, as on the front. A top1 has two
sources of error. The validation images are a sample; all networks see the same ones, so half of this error is assumed
to be common to any two, and their difference has the sampling error of one. And trainings differ between seeds, which
is known if some networks were trained with several.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfsearch.living import dead_parts
from mfsearch.pareto import fair_mask, fronts, pareto_mask, shared_lengths
from mfsearch.proxy.rungs import CUT
from mfsearch.study.study import best_trial, front_mask, minimised, top1_table
from mfsearch.study.trial import Training, Trial
from mfsearch.units import counted

DRAWS = 2000  # a probability of one half is then known to 0.011
MOST_DRAWN, FEWEST_DRAWS = 5_000_000, 200  # draws times trials: half a second, and 80 MB
RIVALS = 12  # checked for each trial before it is compared with all
Z_95 = NormalDist().inv_cdf(0.975)


class Noise(NamedTuple):
    """Standard deviation of the top1 of one training, a fraction, and the degrees of freedom that it was found with."""

    std: float
    degrees: float


class Confidence(NamedTuple):
    """top1_error: standard error of top1, a fraction. front_probability: of being on the front, None if no network was
    trained with two seeds. tied_with: for members of the front, networks that cost no more and cannot be told from it
    by top1, the nearest first."""

    top1_error: float
    front_probability: float | None
    tied_with: list[int]

    def to_dict(self) -> dict[str, float | list[int]]:
        return {name: value for name, value in self._asdict().items() if value is not None}


class Top1Errors(NamedTuple):
    """Top1 of some trials after each length of training [N, rungs], and the variances of its two errors [N, rungs].

    reaches: Student's t at 97.5 % for the noise of each rung [rungs].
    """

    rungs: list[int]
    top1: NDArray[np.float64]
    between_seeds: NDArray[np.float64]
    of_sample: NDArray[np.float64]
    reaches: NDArray[np.float64]

    def apart(self, at: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The top1 of trial `at` minus that of each trial, and the half-width of the 95 % interval [N]."""
        both = ~np.isnan(self.top1 - self.top1[at])
        lengths = both.shape[1] - 1 - both[:, ::-1].argmax(axis=1)  # NaN if no length is common
        rows = np.arange(len(both))
        seeds, sample = (each[rows, lengths] + each[at, lengths] for each in (self.between_seeds, self.of_sample))
        lead = self.top1[at, lengths] - self.top1[rows, lengths]
        return lead, np.sqrt(self.reaches[lengths] ** 2 * seeds + Z_95**2 * sample / 2)

    def longest(self) -> NDArray[np.float64]:
        """The standard error of each trial's top1 after its longest training [N]."""
        known = ~np.isnan(self.top1)
        at = known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
        errors: NDArray[np.float64] = np.sqrt(self.between_seeds + self.of_sample)[np.arange(len(at)), at]
        return errors


def top1_errors(trials: Sequence[Trial], noise: Mapping[int, Noise], images: int | None) -> Top1Errors:
    """The errors of trained trials. noise: by rung, empty if unknown; images: to validate with, None if unknown."""
    rungs, top1 = top1_table(trials, np.array([trial.metric("top1") for trial in trials], dtype=np.float64))
    seeds = np.ones_like(top1)
    for at, trial in enumerate(trials):
        if trial.longer:
            seeds[at] = [len(trial.top1_by_rung.get(rung, (0,))) for rung in rungs]
    known = [noise[_rung_of(noise, rung)] for rung in rungs] if noise else [Noise(0.0, np.inf)] * len(rungs)
    reaches = np.full(len(rungs), Z_95)
    if noise:
        from scipy.special import stdtrit  # takes 0.2 s, needed only with repeated seeds

        reaches = stdtrit([each.degrees for each in known], 0.975)
    variances = np.array([each.std**2 for each in known])
    return Top1Errors(rungs, top1, variances / seeds, _sampling_variance(top1, images), reaches)


def _sampling_variance(top1: NDArray[np.float64], images: int | None) -> NDArray[np.float64]:
    """The variance of a share of `images`. Two right and two wrong are added, so that a share of 0 is not certain
    (Agresti and Coull 1998)."""
    if images is None:
        return np.zeros_like(top1)
    share = (top1 * images + 2) / (images + 4)
    variance: NDArray[np.float64] = share * (1 - share) / (images + 4)
    return variance


def marks(front: Sequence[Trial], noise: Mapping[int, Noise], images: int | None) -> dict[int, str]:
    """By number: "best" for the best network of a front, "tied" for each that may be as good, given the errors.

    Partly dead networks of earlier searches are marked too.
    """
    best = best_trial(front)
    if best is None:
        return {}
    lead, reach = top1_errors(front, noise, images).apart(list(front).index(best))
    known = bool(noise) or images is not None
    told = {one.number: "tied" if known and near else "" for one, near in zip(front, lead <= reach, strict=True)}
    told[best.number] = "best"
    return {one.number: ", ".join(filter(None, (told[one.number], "dead in part" * one.dead))) for one in front}


def shown_wiring(front: Sequence[Trial]) -> str | None:
    """Sentences on a front's networks that are partly dead, or lack Formers or one direction of bridges; None if none
    are."""
    lacking: dict[str, list[str]] = {"Mobile->Former bridge": [], "Mobile<-Former bridge": [], "Former": []}
    dead: list[str] = []
    for trial in front:
        try:
            config = trial.config
        except ValueError:  # its config cannot be read
            continue
        blocks = config.blocks
        dead += [str(trial.number)] if dead_parts(config) else []
        has = (config.bridges.final or any(row.to_former for row in blocks), any(row.to_mobile for row in blocks))
        for part, there in zip(lacking, (*has, any(row.former for row in blocks)), strict=True):
            lacking[part] += [] if there else [str(trial.number)]
    sentences = [f"No {part} in trial {', '.join(numbers)}." for part, numbers in lacking.items() if numbers]
    if lacking["Former"]:
        sentences.append("A network without Formers is a MobileNet alone, which this space allows.")
    if dead:
        sentences.append(
            f"Dead in part: {counted(len(dead), 'network')} (trial {', '.join(dead)}). The image never reaches some of "
            "their Formers, bridges or tokens, or nothing reads them; a search today leaves such parts out."
        )
    return " ".join(sentences) or None


def shown_training(trial: Trial) -> str:
    """How long and how often a trained trial was trained: "1x", "3x", "9x, 2 seeds"."""
    seeds = len(trial.longest)
    return shown_length(trial, trial.rung) + (f", {seeds} seeds" if seeds > 1 else "")


def shown_length(trial: Trial, rung: int) -> str:
    """The length of a trial's training at a rung, in multiples of its short one: "3x"; "rung 1" if that is unknown;
    "cut, no training" at the first rung of a study that begins with it."""
    epochs, short = next((one.epochs for one in trial.longer if one.rung == rung and one.epochs), None), trial.epochs
    if rung == 0:
        return CUT if trial.short is not None and trial.short.epochs == 0 else "1x"
    return f"{round(epochs / short, 1):g}x" if epochs and short else f"rung {rung}"


def shown_probability(share: float) -> str:
    """ "82 %"; never quite 0 or 100, as the draws cannot know that: "< 1 %", "> 99 %"."""
    return "< 1 %" if share < 0.01 else "> 99 %" if share > 0.99 else f"{share:.0%}".replace("%", " %")


def shown_ties(tied: object) -> str:
    """The five nearest of a frame's `tied_with`, and how many more: "4, 7", "4, 7, 9, 1, 2 and 80 more"."""
    numbers = str(tied).split(", ")
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return ", ".join(numbers[:5]) + more


def shown_lengths(trials: Sequence[Trial]) -> str | None:
    """A sentence on how networks of several lengths of training are compared; None if all have one length."""
    lengths = {trial.rung: shown_length(trial, trial.rung) for trial in trials}
    if len(lengths) < 2:
        return None
    told = ", ".join(lengths[rung] for rung in sorted(lengths))
    return f"Lengths of training differ ({told}): any two networks are compared after the longest that both had."


def shown_precision(images: int, seeds: int, top1: float = 0.5, noise: Noise | None = None) -> str:
    """The least difference of top1 that will show: "150 validation images, one seed: differences under 8 points will
    not show".

    For two networks near `top1`, by default where the error is largest, with `seeds` trainings each.
    """
    few = np.full((2, 1), top1)
    variance = 0.0 if noise is None else noise.std**2 / seeds
    reach = Z_95
    if noise is not None:
        from scipy.special import stdtrit

        reach = float(stdtrit(noise.degrees, 0.975))
    errors = Top1Errors([0], few, np.full((2, 1), variance), _sampling_variance(few, images), np.array([reach]))
    points = 100 * float(errors.apart(0)[1][1])
    told = f"{points:.0f}" if points >= 2 else f"{points:.1f}"
    trainings = "one seed" if seeds == 1 else f"{seeds} seeds"
    return f"{images:,} validation images, {trainings}: differences under {told} points will not show"


def shown_noise(trials: Sequence[Trial], images: int | None = None) -> str | None:
    """Sentences on the differences that top1 can show, and on the source of the probabilities or why there are none.

    None if all trainings were short and the number of validation images is unknown.
    """
    trained = _trained(trials)
    longer = {trial.rung: shown_length(trial, trial.rung) for trial in trained if trial.rung}
    noise, told = training_noise(trials), []
    if images is not None and (best := best_trial(trained)) is not None:
        known = noise[_rung_of(noise, best.rung)] if noise else None
        precision = shown_precision(images, len(best.longest), best.metric("top1"), known)
        told.append(f"{precision.removesuffix(' will not show')} do not show (95 %).")
    if longer and not noise:
        told.append("No probability of being on the front: with one seed each, the noise of a training is unknown.")
    elif noise:
        last = max(noise)
        degrees = noise[last].degrees
        spread = f"{100 * noise[last].std:.2f} points, {degrees:g} degree{'s' if degrees > 1 else ''} of freedom"
        told.append(
            f"One {longer[last]} training varies by {spread}, apart from what all networks share in a seed. "
            "Tied: costs no more, and top1 cannot tell the two apart (95 %)."
        )
    return " ".join(told) or None


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
    """The noise of one training from `top1` by (network, seed); None if no network has two seeds.

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
    trials: Sequence[Trial],
    objectives: Sequence[str],
    noise: Mapping[int, Noise],
    seed: int = 0,
    draws: int = DRAWS,
    images: int | None = None,
) -> dict[int, float]:
    """The probability of being on the front for each trained trial by number; `noise` by rung.

    Each draw varies top1 about its mean by its errors, the noise itself within its degrees of freedom (so top1 is
    Student's t), and latency within its 95 % interval. A network has the same luck after each length of its training.
    The other costs are exact. Trials that lack an objective have probability 0. Above 2,500 trained trials there are
    fewer draws, MOST_DRAWN over all trials but at least FEWEST_DRAWS each: at 10,000 trials a probability of one half
    is known to 0.022, from 25,000 on to 0.035.
    """
    trained = _trained(trials)
    draws = min(draws, max(FEWEST_DRAWS, MOST_DRAWN // max(1, len(trained))))
    generator = np.random.default_rng(seed)
    drawn_noise = {rung: _variance_ratios(each, draws, generator) for rung, each in sorted(noise.items())}
    means = minimised(trained, objectives)
    varied = [k for k, name in enumerate(objectives) if name in ("top1", "latency_ms")]
    luck = generator.standard_normal((len(trained), len(varied), draws))
    errors = top1_errors(trained, noise, images)
    ratios = np.array([drawn_noise[_rung_of(noise, rung)] for rung in errors.rungs])
    own_sample = errors.of_sample / 2  # the other half is common to all
    clocks = np.array([_latency_std(trial) for trial in trained])
    top = objectives.index("top1") if "top1" in objectives else None

    def samples(rows: NDArray[np.intp], at: int) -> NDArray[np.float64]:
        """The varied objectives [rows, V, draws], top1 after one length of training."""
        values = np.empty((len(rows), len(varied), draws))
        for j, k in enumerate(varied):
            values[:, j] = luck[rows, j]
            if k == top:
                variances = errors.between_seeds[rows, at, None] * ratios[at] + own_sample[rows, at, None]
                values[:, j] = values[:, j] * np.sqrt(variances) - errors.top1[rows, at, None]
            else:
                values[:, j] = values[:, j] * clocks[rows, None] + means[rows, k, None]
        return values

    left = np.zeros((len(trained), draws), dtype=np.bool_)
    whole = np.flatnonzero(~np.isnan(means).any(axis=1))
    everyone = [(np.arange(len(whole)), 0)]
    for some, at in everyone if top is None else shared_lengths(errors.top1[whole]):
        rows = whole[some]
        middle, spreads = means[rows], np.repeat(clocks[rows, None], len(varied), axis=1)
        if top is not None:
            middle[:, top] = -errors.top1[rows, at]
            spreads[:, varied.index(top)] = np.sqrt(errors.between_seeds + own_sample)[rows, at]
        left[rows] |= _unbeaten(middle, varied, samples(rows, at), spreads)
    counts = np.zeros(len(trained), dtype=np.int64)
    drawn, kept = np.nonzero(left.T)
    for draw, rows in enumerate(np.split(kept, np.searchsorted(drawn, np.arange(1, draws)))):
        values, losses = means[rows], np.empty((len(rows), 0))
        for j, k in enumerate(varied):
            if k == top:
                spread = np.sqrt(errors.between_seeds[rows] * ratios[:, draw] + own_sample[rows])
                losses = luck[rows, j, draw, None] * spread - errors.top1[rows]
            else:
                values[:, k] += luck[rows, j, draw] * clocks[rows]
        counts[rows[pareto_mask(values) if top is None else fair_mask(np.delete(values, top, axis=1), losses)]] += 1
    return {trial.number: float(share) for trial, share in zip(trained, counts / draws, strict=True)}


def ties(
    trials: Sequence[Trial], objectives: Sequence[str], noise: Mapping[int, Noise], images: int | None = None
) -> dict[int, list[int]]:
    """For each member of the front the trials that cost no more and cannot be told from it, the nearest first.

    Two networks cannot be told apart if their top1, after the longest training that both had, differs by no more than
    the 95 % interval for equals. A latency counts as no greater if the difference is within its interval.
    """
    trained = _trained(trials)
    values = minimised(trained, objectives)
    numbers = np.array([trial.number for trial in trained], dtype=np.int64)
    clocks = np.array([_latency_std(trial) for trial in trained])
    errors = top1_errors(trained, noise, images)
    tied: dict[int, list[int]] = {}
    for at in np.flatnonzero(front_mask(trained, objectives, values)).tolist():
        lead, reach = errors.apart(at)
        near = np.abs(lead) <= reach
        for k, name in enumerate(objectives):
            if name != "top1":
                slack = Z_95 * np.hypot(clocks, clocks[at]) if name == "latency_ms" else 0.0
                near &= values[:, k] <= values[at, k] + slack
        near[at] = False
        there = np.flatnonzero(near)
        tied[int(numbers[at])] = numbers[there[np.lexsort((numbers[there], np.abs(lead)[there]))]].tolist()
    return tied


def confidence(
    trials: Sequence[Trial],
    objectives: Sequence[str],
    images: int | None = None,
    seed: int = 0,
    fallback: Mapping[int, Noise] | None = None,
) -> dict[int, Confidence]:
    """How sure the place of each trained trial is, by number; empty if neither noise nor `images` is known.

    images: to validate with. fallback: the noise by rung, such as a calibration's, for a study in which no network was
    trained with two seeds.
    """
    noise = training_noise(trials) or fallback or {}
    if not noise and images is None:
        return {}
    trained = _trained(trials)
    tied = ties(trained, objectives, noise, images)
    shares = front_probability(trained, objectives, noise, seed, images=images) if noise else {}
    errors = top1_errors(trained, noise, images).longest().tolist()
    return {
        trial.number: Confidence(error, shares.get(trial.number), tied.get(trial.number, []))
        for trial, error in zip(trained, errors, strict=True)
    }


def _trained(trials: Sequence[Trial]) -> list[Trial]:
    """Trained trials with a top1, by number, so that their order changes no draw."""
    trained = [trial for trial in trials if trial.outcome == "trained" and trial.top1 is not None]
    return sorted(trained, key=lambda trial: trial.number)


def _rung_epochs(trials: Sequence[Trial]) -> dict[int, float]:
    """The epochs at which each rung ends, as far as the trials record them."""
    epochs: dict[int, float] = {}
    for trial in _trained(trials):
        for training in (trial.short, *trial.longer):
            if training is not None and training.epochs is not None:
                epochs.setdefault(training.rung, training.epochs)
    return dict(sorted(epochs.items()))


def _top1_after(training: Training, epochs: float) -> float | None:
    """The top1 of a training after so many epochs; None if its curve has no point there."""
    if training.epochs == epochs:
        return training.top1
    return next((log.top1 for log in training.curve if abs(log.epoch - epochs) <= 1e-6 * epochs), None)


def _indicators(labels: Sequence[int]) -> NDArray[np.float64]:
    """[N, distinct labels]: 1 where the row has the label."""
    same: NDArray[np.float64] = np.equal.outer(labels, np.unique(labels)).astype(np.float64)
    return same


def _variance_ratios(noise: Noise, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draws of the true variance in units of the estimated one: degrees / chi-square."""
    if np.isinf(noise.degrees):
        return np.ones(draws)
    ratios: NDArray[np.float64] = noise.degrees / generator.chisquare(noise.degrees, draws)
    return ratios


def _rung_of(noise: Mapping[int, Noise], rung: int) -> int:
    """The rung whose noise counts for `rung`: its own, or the noisiest known."""
    return rung if rung in noise else max(noise, key=lambda each: noise[each].std)


def _latency_std(trial: Trial) -> float:
    latency = trial.latency
    if latency is None or latency.low_ms is None or latency.high_ms is None:
        return 0.0
    return (latency.high_ms - latency.low_ms) / (2 * Z_95)


def _unbeaten(
    means: NDArray[np.float64],
    varied: Sequence[int],
    samples: NDArray[np.float64],
    spreads: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """The draws in which no strong rival dominates a trial [N, draws], for trials compared after one length of
    training.

    means: [N, K], minimised; samples: [N, V, draws] of the objectives `varied`; spreads: [N, V]. It saves time and
    keeps the fronts of the draws exact: a trial that dominates a removed one also dominates everything below that.
    """
    rivals = _rivals(means, varied, spreads)
    left = np.zeros((len(means), samples.shape[2]), dtype=np.bool_)
    for start in range(0, len(means), 256):  # by blocks, which stay in the processor's cache
        block = slice(start, start + 256)
        left[block] = ~_beaten(samples[rivals[block, 0]], samples[block])
    trials, at_draw = np.nonzero(left)
    for rival in rivals.T[1:]:
        beaten = _beaten(samples[rival[trials], :, at_draw], samples[trials, :, at_draw])
        trials, at_draw = trials[~beaten], at_draw[~beaten]
    left[:] = False
    left[trials, at_draw] = True
    return left


def _rivals(means: NDArray[np.float64], varied: Sequence[int], spreads: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each trial the rivals likeliest to dominate it in a draw: [N, RIVALS], the trial itself if there are fewer.

    A rival is no worse in the exact objectives, and the further below in the varied ones, in spreads, the likelier.
    """
    exact = [k for k in range(means.shape[1]) if k not in varied]
    whole = np.flatnonzero(~np.isnan(means).any(axis=1))
    strong = np.zeros(0, dtype=np.int64)
    for front in fronts(means):
        strong = np.concatenate([strong, front])
        if len(strong) >= 100:
            break
    rivals = np.repeat(np.arange(len(means))[:, None], RIVALS, axis=1)
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
        best = np.argsort(-lead, axis=1, kind="stable")[:, :RIVALS]
        there = np.take_along_axis(lead, best, axis=1) > -np.inf
        rivals[block, : best.shape[1]] = np.where(there, strong[best], block[:, None])
    return rivals


def _beaten(rivals: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a rival [N, V, ...] is below in the first objective and not above in the others, hence dominates."""
    beaten: NDArray[np.bool_] = rivals[:, 0] < own[:, 0]
    for j in range(1, own.shape[1]):
        beaten &= rivals[:, j] <= own[:, j]
    return beaten
