"""How sure the front is: what a training varies by between seeds, and which networks that leaves open.

Every network is compared by the mean top1 of the longest training it had. One that was trained shorter than its rivals
therefore competes with its short figure: its probability says what the study knows, not what a longer training would
find. The spread is that of trainings; that the validation images are a sample, too, is left out, as all share them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfsearch.pareto import pareto_mask

DRAWS = 2000  # a probability of one half is then known to 0.011
Z_95 = 1.959964
# The 0.975 quantile of Student's t for 1 to 10 degrees; beyond, an expansion in 1 / degrees is good to 0.003.
STUDENT_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

Row = Mapping[Any, Any]  # of a study, or of its frame: keys are texts


class Longest(NamedTuple):
    """The longest training of a trained trial. epochs: None where the study did not say."""

    rung: int
    seeds: int
    epochs: float | None
    curve: list[dict[str, Any]]  # of its first seed


class Noise(NamedTuple):
    """Standard deviation of the top1 of one training, a fraction, and the degrees of freedom that it was found with."""

    std: float
    degrees: float


class Confidence(NamedTuple):
    """front_probability: of being on the front. tied_with: for members of the front, networks that cost no more and
    cannot be told from it by top1, the nearest first."""

    front_probability: float
    tied_with: list[int]


def longest(row: Row) -> Longest:
    """The longest training of a trial that has a top1 there; its short one where it had no other."""
    done = [stage for stage in row.get("stages") or () if stage["top1"] is not None]
    rung = max((stage["rung"] for stage in done), default=0)
    if rung == 0:
        return Longest(0, 1, row.get("epochs"), row.get("curve") or [])
    there = [stage for stage in done if stage["rung"] == rung]
    return Longest(rung, len(there), there[0].get("epochs"), there[0].get("curve") or [])


def shown_training(row: Row) -> str:
    """How long and how often a trained trial was trained: "1x", "3x", "9x, 2 seeds"."""
    found, short = longest(row), row.get("epochs")
    length = found.epochs / short if found.rung and found.epochs and short else 1.0
    return f"{round(length, 1):g}x" + (f", {found.seeds} seeds" if found.seeds > 1 else "")


def shown_probability(share: float) -> str:
    """ "82 %"; never quite 0 or 100, as the draws cannot know that: "< 1 %", "> 99 %"."""
    return "< 1 %" if share < 0.01 else "> 99 %" if share > 0.99 else f"{share:.0%}".replace("%", " %")


def shown_noise(rows: Sequence[Row]) -> str | None:
    """A sentence on where the probabilities come from, or why there are none; None where all trainings were short."""
    longer = {
        found.rung: shown_training(row).partition(",")[0] for row in _trained(rows) if (found := longest(row)).rung
    }
    if not longer:
        return None
    noise = training_noise(rows)
    if not noise:
        return "No probability of being on the front: one seed each, so what a training varies by is not known."
    last = max(noise)
    degrees = noise[last].degrees
    spread = f"{100 * noise[last].std:.2f} points, {degrees:g} degree{'s' if degrees > 1 else ''} of freedom"
    return (
        f"One {longer[last]} training varies by {spread}, apart from what all networks share in a seed. "
        "Tied: costs no more, and top1 cannot tell the two apart (95 %)."
    )


def training_noise(rows: Sequence[Row]) -> dict[int, Noise]:
    """The noise of one training by rung, from the networks that were trained with several seeds; empty without one.

    Their curves pass through the lengths of all rungs, so each rung has a figure of its own.
    """
    repeated = [(row, found) for row in _trained(rows) if (found := longest(row)).seeds > 1]
    last = max((found.rung for _, found in repeated), default=0)
    finals = [
        (row["number"], stage)
        for row, found in repeated
        if found.rung == last
        for stage in row["stages"]
        if stage["rung"] == last and stage["top1"] is not None
    ]
    noise: dict[int, Noise] = {}
    for rung, epochs in _rung_epochs(rows).items():
        points = {(number, stage["seed"]): _top1_after(stage, epochs) for number, stage in finals}
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
    rows: Sequence[Row], objectives: Sequence[str], noise: Mapping[int, Noise], seed: int = 0, draws: int = DRAWS
) -> dict[int, float]:
    """The probability of being on the front for each trained trial by number; `noise` by rung.

    Drawn: top1 about its mean with noise / sqrt(seeds), the noise itself as well as its degrees of freedom know it (so
    top1 is Student's t), and latency by its 95 % interval. The other costs are exact. Trials that lack an objective
    have 0.
    """
    trained = _trained(rows)
    generator = np.random.default_rng(seed)
    scales = {rung: _scales(each, draws, generator) for rung, each in sorted(noise.items())}
    # [draws, trials, objectives], minimised
    samples = np.broadcast_to(_minimised(trained, objectives), (draws, len(trained), len(objectives))).copy()
    for at, row in enumerate(trained):
        found = longest(row)
        for k, name in enumerate(objectives):
            if name == "top1":
                spread = scales[_rung_of(noise, found.rung)] / np.sqrt(found.seeds)
            elif name == "latency_ms":
                spread = np.full(draws, _latency_std(row))
            else:
                continue
            samples[:, at, k] += spread * generator.standard_normal(draws)
    open_still = ~_beaten(samples.min(axis=0), samples.max(axis=0))
    shares = np.zeros(len(trained))
    shares[open_still] = np.mean([pareto_mask(sample) for sample in samples[:, open_still]], axis=0)
    return {row["number"]: float(share) for row, share in zip(trained, shares, strict=True)}


def ties(rows: Sequence[Row], objectives: Sequence[str], noise: Mapping[int, Noise]) -> dict[int, list[int]]:
    """For each member of the front the trials that cost no more and cannot be told from it, the nearest first.

    Cannot be told: the difference of top1 lies within the 95 % interval of a difference of two equals (Student's t with
    the fewer degrees of the two). A latency counts as no greater within the interval of its difference.
    """
    trained = _trained(rows)
    front = [row for row, on in zip(trained, pareto_mask(_minimised(trained, objectives)), strict=True) if on]
    costs = [name for name in objectives if name != "top1"]
    tied: dict[int, list[int]] = {}
    for member in front:
        near = [
            (abs(member["top1"] - rival["top1"]), rival["number"])
            for rival in trained
            if rival is not member
            and all(_no_greater(name, rival, member) for name in costs)
            and abs(member["top1"] - rival["top1"]) <= _reach(member, rival, noise)
        ]
        tied[member["number"]] = [number for _, number in sorted(near)]
    return tied


def confidence(
    rows: Sequence[Row], objectives: Sequence[str], seed: int = 0, fallback: Mapping[int, Noise] | None = None
) -> dict[int, Confidence]:
    """What is known of each trained trial's place, by number; empty where no noise is known.

    fallback: the noise by rung, such as a calibration's, for a study in which no network was trained with two seeds.
    """
    noise = training_noise(rows) or fallback
    if not noise:
        return {}
    tied = ties(rows, objectives, noise)
    shares = front_probability(rows, objectives, noise, seed)
    return {number: Confidence(share, tied.get(number, [])) for number, share in shares.items()}


def _trained(rows: Sequence[Row]) -> list[Row]:
    """Trained trials with a top1, by number, so that the order of the rows changes no draw."""
    found = [row for row in rows if row["outcome"] == "trained" and not np.isnan(_number(row, "top1"))]
    return sorted(found, key=lambda row: int(row["number"]))


def _minimised(rows: Sequence[Row], objectives: Sequence[str]) -> NDArray[np.float64]:
    values = [[_number(row, name) * (-1 if name == "top1" else 1) for name in objectives] for row in rows]
    return np.array(values, dtype=np.float64).reshape(len(rows), len(objectives))


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else np.nan


def _rung_epochs(rows: Sequence[Row]) -> dict[int, float]:
    """The epochs at which each rung ends, as far as the rows tell."""
    epochs: dict[int, float] = {}
    for row in _trained(rows):
        for entry in [{"rung": 0, "epochs": row.get("epochs")}, *(row.get("stages") or ())]:
            if entry["epochs"] is not None:
                epochs.setdefault(entry["rung"], entry["epochs"])
    return dict(sorted(epochs.items()))


def _top1_after(stage: Row, epochs: float) -> float | None:
    """The top1 of a training after so many epochs; None where its curve has no point there."""
    if stage["epochs"] == epochs:
        return float(stage["top1"])
    there = [point["top1"] for point in stage.get("curve") or () if abs(point["epoch"] - epochs) < 1e-6 * epochs]
    return there[0] if there else None


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


def _latency_std(row: Row) -> float:
    width = _number(row, "latency_high_ms") - _number(row, "latency_low_ms")
    return 0.0 if np.isnan(width) else width / (2 * Z_95)


def _beaten(best: NDArray[np.float64], worst: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True for rows whose best over all draws [N, K] is dominated by another's worst: they are on no front."""
    rivals = worst[pareto_mask(worst)][None, :, :]
    own = best[:, None, :]
    beats = np.logical_and((rivals <= own).all(axis=2), (rivals < own).any(axis=2))
    return np.asarray(beats.any(axis=1), dtype=np.bool_)


def _no_greater(name: str, rival: Row, member: Row) -> bool:
    slack = Z_95 * np.hypot(_latency_std(rival), _latency_std(member)) if name == "latency_ms" else 0.0
    return bool(_number(rival, name) <= _number(member, name) + slack)


def _reach(one: Row, other: Row, noise: Mapping[int, Noise]) -> float:
    """Half the 95 % interval of the difference of two top1 whose networks are equal."""
    found = [longest(row) for row in (one, other)]
    noises = [noise[_rung_of(noise, each.rung)] for each in found]
    variance = sum(each.std**2 / its.seeds for each, its in zip(noises, found, strict=True))
    return student_t(min(each.degrees for each in noises)) * float(np.sqrt(variance))


def student_t(degrees: float) -> float:
    """The 0.975 quantile of Student's t: a 95 % interval reaches so many standard errors to either side."""
    if degrees <= len(STUDENT_T_95):
        return STUDENT_T_95[int(degrees) - 1]
    z = Z_95
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
