"""Evaluates a calibration: how well each proxy ranks networks, how well it could at best, and which is cheapest.

The top1 of the long trainings counts as true. Multiply-adds and parameters are judged on the same networks.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mfsearch.analysis.ranking.agreement import (
    Estimate,
    Values,
    bootstrap_gain,
    bootstrap_tau,
    mean_rank,
    noise_ceiling,
    retest_noise,
    spread_between,
    top_recall,
)
from mfsearch.analysis.ranking.readings import CURVE_READINGS, at_epochs
from mfsearch.proxy.zero_cost import ZERO_COST
from mfsearch.search.calibration import Network, NetworkRecords, long_key, short_key
from mfsearch.study.calibration_file import GROUPS, CalibrationFile, GroupFigures, ProxyFigures, RankedNetwork, TauGain
from mfsearch.study.files import now, versions
from mfsearch.study.settings import Calibration
from mfsearch.study.task_file import TaskRecord

TOP = 5


class Pair(NamedTuple):
    """A network with its short and its long training."""

    network: Network
    short: TaskRecord
    long: TaskRecord


class Column(NamedTuple):
    """A proxy's values over the networks that have them, more is better.

    again: the values with another seed, None if the proxy has none. core_seconds: mean per network. kept: indices of
    those networks.
    """

    name: str
    epochs: float | None
    values: Sequence[float] | Values
    again: Sequence[float] | Values | None
    core_seconds: float
    kept: list[int]


def calibration_figures(
    settings: Calibration, trained: NetworkRecords, targets: Mapping[str, float]
) -> CalibrationFile:
    """How well each proxy ranks the networks.

    targets: the tau that is good enough, by group. RuntimeError if a group has fewer than two networks with both
    trainings.
    """
    first = trained.networks["band"][0]
    longs = {seed: trained.records[long_key(first, seed)].top1 for seed in settings.long_seeds}
    top1 = {seed: value for seed, value in longs.items() if value is not None}
    noise = float(np.std(list(top1.values()), ddof=1)) if len(top1) > 1 else None
    left_out = [f"{key}: {record.reason}" for key, record in trained.records.items() if record.outcome != "trained"]
    groups = {}
    for group in GROUPS:
        records = (
            (each, trained.records[short_key(each, settings.seed)], trained.records[long_key(each, settings.seed + 1)])
            for each in trained.networks[group]
        )
        pairs = [Pair(*one) for one in records if one[1].outcome == one[2].outcome == "trained"]
        if len(pairs) < 2:
            raise RuntimeError(
                f"{len(pairs)} of {len(trained.networks[group])} networks were trained short and long; "
                f"{'; '.join(left_out[:3])}"
            )
        groups[group] = _group(settings, pairs, noise, targets[group])
    return CalibrationFile(
        date=now(),
        identity=trained.identity,
        versions=versions(),
        short_seed=settings.seed,
        long_seed=settings.seed + 1,
        noise_seeds=tuple(top1),
        short_epochs=settings.points,
        long_epochs=settings.long_points[-1],
        long_noise=noise,
        left_out=tuple(left_out),
        groups=groups,
    )


def _group(settings: Calibration, pairs: list[Pair], noise: float | None, target: float) -> GroupFigures:
    truth = np.array([pair.long.top1 for pair in pairs], dtype=np.float64)
    spread = None if noise is None else spread_between(truth, noise)
    madds = np.array([float(pair.network.madds) for pair in pairs])
    params = np.array([float(pair.network.num_params) for pair in pairs])
    columns = [column for point in settings.points for column in _trained_columns(pairs, point)]
    every = list(range(len(pairs)))
    columns += [Column("madds", None, madds, None, 0.0, every), Column("params", None, params, None, 0.0, every)]
    columns += _zero_cost_columns(pairs)
    rows = [_figures(column, truth, madds, params, (noise, spread), settings.seed) for column in columns]
    reaching = [
        (row.core_seconds, -row.tau, row.reading)
        for row in rows
        if row.shown and row.tau is not None and row.tau >= target
    ]
    return GroupFigures(
        n=len(pairs),
        madds=(int(madds.min()), int(madds.max())),
        long_top1=(float(truth.min()), float(truth.max())),
        long_spread=spread,
        target=target,
        cheapest=min(reaching, key=lambda row: row[:2])[2] if reaching else None,
        proxies=tuple(rows),
        networks=tuple(
            RankedNetwork(
                arch_id=pair.network.arch_id,
                madds=pair.network.madds,
                num_params=pair.network.num_params,
                long_top1=top1,
                short=pair.short.curve,
                long=pair.long.curve,
                zero_cost=pair.short.zero_cost,
                config=pair.network.config,
            )
            for pair, top1 in zip(pairs, truth.tolist(), strict=True)
        ),
    )


def _trained_columns(pairs: list[Pair], epochs: float) -> list[Column]:
    """The readings after so many epochs, and the mean rank by accuracy and training loss; more is better. Before the
    first step there is no training loss."""
    readings = {name: read for name, read in CURVE_READINGS.items() if epochs or name in ("top1", "val_loss")}
    first: dict[str, list[float]] = {name: [] for name in readings}
    second: dict[str, list[float]] = {name: [] for name in readings}
    seconds = []
    for pair in pairs:
        log = at_epochs(pair.short.curve, epochs)
        for name, read in readings.items():
            first[name].append(read(pair.short.curve, epochs))
            second[name].append(read(pair.long.curve, epochs))
        whole = pair.short.curve[-1].seconds
        seconds.append((pair.short.core_seconds or 0.0) * (log.seconds / whole if whole else 1.0))
    for each in (first, second) if epochs else ():
        each["mean_rank"] = list(mean_rank(each["top1"], each["loss"]))
    kept = list(range(len(pairs)))
    return [Column(name, epochs, first[name], second[name], float(np.mean(seconds)), kept) for name in first]


def _zero_cost_columns(pairs: list[Pair]) -> list[Column]:
    columns = []
    for name in ZERO_COST:
        found = {i: pair.short.zero_cost[name] for i, pair in enumerate(pairs) if name in pair.short.zero_cost}
        scores = {i: each.score for i, each in found.items() if each.score is not None}
        if len(scores) > 1:
            seconds = float(np.mean([found[i].core_seconds for i in scores]))
            columns.append(Column(name, None, list(scores.values()), None, seconds, list(scores)))
    return columns


def _figures(
    column: Column,
    truth: Values,
    madds: Values,
    params: Values,
    long: tuple[float | None, float | None],
    seed: int,
) -> ProxyFigures:
    """long: noise and spread of the long trainings."""
    kept_truth = truth[column.kept]
    tau = bootstrap_tau(column.values, kept_truth, seed=seed)
    gains = [bootstrap_gain(column.values, base[column.kept], kept_truth, seed=seed) for base in (madds, params)]
    noise, ceiling = _ceiling(column, *long)
    value, low, high = _known(tau)
    over_madds, over_params = (TauGain(*_known(gain)) for gain in gains)
    # if all networks have equal costs, the proxy must only be better than chance
    lows = [low if gain.low is None else gain.low for gain in (over_madds, over_params)]
    return ProxyFigures(
        name=column.name,
        epochs=column.epochs,
        tau=value,
        low=low,
        high=high,
        n=tau.n,
        top5_recall=top_recall(column.values, kept_truth, TOP) if len(column.kept) > TOP else None,
        core_seconds=column.core_seconds,
        over_madds=over_madds,
        over_params=over_params,
        noise=noise,
        ceiling=ceiling,
        shown=column.name not in ZERO_COST or (value is not None and all((each or 0.0) > 0 for each in lows)),
    )


def _ceiling(column: Column, long_noise: float | None, long_spread: float | None) -> tuple[float | None, float | None]:
    """The proxy's seed noise, and the highest tau that it and the noise of the long trainings allow."""
    noise = 0.0 if column.again is None else retest_noise(column.values, column.again)
    spread = spread_between(np.asarray(column.values, dtype=np.float64), noise)
    if long_noise is None or not spread or not long_spread:
        return noise, None  # unknown, or the spread between networks cannot be told from noise
    return noise, noise_ceiling(noise, spread, long_noise, long_spread)


def _known(estimate: Estimate) -> list[float | None]:
    """Value, low and high; None for NaN."""
    return [value if math.isfinite(value) else None for value in estimate[:3]]
