"""What a calibration's trainings say: how well each proxy ranks, how well it could at best, and which is the cheapest.

The truth is the top1 of the long trainings. Every figure of a proxy stands beside those of MAdds and params over the
same networks.
"""

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
from mfsearch.analysis.ranking.readings import READINGS, at_epochs
from mfsearch.proxy.zero_cost import ZERO_COST
from mfsearch.search.calibration import Network, NetworkRecords, long_key, short_key
from mfsearch.search.calibration_file import GROUPS, SCHEMA
from mfsearch.study.files import versions
from mfsearch.study.settings import Calibration
from mfsearch.study.task_file import TaskRecord

TOP = 5


class Pair(NamedTuple):
    """A network with its short and its long training."""

    network: Network
    short: TaskRecord
    long: TaskRecord


class Column(NamedTuple):
    """A proxy's values over the networks that have them, more is better. again: the same with another seed, None where
    no seed matters or there is none; core_seconds: the mean a network."""

    name: str
    epochs: float | None
    values: Sequence[float] | Values
    again: Sequence[float] | Values | None
    core_seconds: float
    kept: list[int]  # which networks


def calibration_figures(settings: Calibration, trained: NetworkRecords, targets: Mapping[str, float]) -> dict[str, Any]:
    """Everything that calibration.json holds, as plain data; top1 and noise are fractions, NaN is None.

    targets: the tau that is good enough, inside the band and across budgets. Raises RuntimeError where too few
    networks were trained to rank any.
    """
    noise, noise_seeds = _long_noise(settings, trained)
    figures: dict[str, Any] = {
        "schema": SCHEMA,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "identity": trained.identity,
        "versions": versions(),
        "seeds": {"short": settings.seed, "long": settings.seed + 1, "noise": noise_seeds},
        "epochs": {"short": list(settings.points), "long": settings.long_points[-1]},
        "long_noise": noise,
        "left_out": [
            f"{key}: {record.reason}" for key, record in trained.records.items() if record.outcome != "trained"
        ],
        "groups": {},
    }
    for group in GROUPS:
        pairs = _pairs(settings, trained, trained.networks[group])
        if len(pairs) < 2:
            raise RuntimeError(
                f"{len(pairs)} of {len(trained.networks[group])} networks were trained short and long; "
                f"{'; '.join(figures['left_out'][:3])}"
            )
        figures["groups"][group] = _group(settings, pairs, noise, targets[group])
    return figures


def _long_noise(settings: Calibration, trained: NetworkRecords) -> tuple[float | None, list[int]]:
    """Standard deviation of the long top1 over the seeds of the band's first network, and those seeds."""
    first = trained.networks["band"][0]
    seeds = [settings.seed + 1 + k for k in range(settings.seeds)]
    records = {seed: trained.records[long_key(first, seed)] for seed in seeds}
    top1 = {seed: record.top1 for seed, record in records.items() if record.top1 is not None}
    return (float(np.std(list(top1.values()), ddof=1)) if len(top1) > 1 else None), list(top1)


def _pairs(settings: Calibration, trained: NetworkRecords, networks: list[Network]) -> list[Pair]:
    pairs = []
    for network in networks:
        short = trained.records[short_key(network, settings.seed)]
        long = trained.records[long_key(network, settings.seed + 1)]
        if short.outcome == long.outcome == "trained":
            pairs.append(Pair(network, short, long))
    return pairs


def _group(settings: Calibration, pairs: list[Pair], noise: float | None, target: float) -> dict[str, Any]:
    truth = np.array([pair.long.top1 for pair in pairs], dtype=np.float64)
    spread = None if noise is None else spread_between(truth, noise)
    madds = np.array([float(pair.network.madds) for pair in pairs])
    params = np.array([float(pair.network.num_params) for pair in pairs])
    columns = [column for point in settings.points for column in _trained_columns(pairs, point)]
    every = list(range(len(pairs)))
    columns += [Column("madds", None, madds, None, 0.0, every), Column("params", None, params, None, 0.0, every)]
    columns += _zero_cost_columns(pairs)
    rows = []
    for column in columns:
        row = _row(column, truth, madds, params, settings.seed)
        row["noise"], row["ceiling"] = _ceiling(column, noise, spread)
        row["shown"] = column.name not in ZERO_COST or _beats_both(row)
        rows.append(row)
    reaching = [row for row in rows if row["shown"] and row["tau"] is not None and row["tau"] >= target]
    cheapest = min(reaching, key=lambda row: (row["core_seconds"], -row["tau"]), default=None)
    return {
        "n": len(pairs),
        "madds": [int(madds.min()), int(madds.max())],
        "long_top1": [float(truth.min()), float(truth.max())],
        "long_spread": spread,
        "target": target,
        "cheapest": None if cheapest is None else {"name": cheapest["name"], "epochs": cheapest["epochs"]},
        "proxies": rows,
        "networks": [
            {
                "arch_id": pair.network.arch_id,
                "madds": pair.network.madds,
                "num_params": pair.network.num_params,
                "long_top1": pair.long.top1,
                "short": [dataclasses.asdict(log) for log in pair.short.curve],
                "long": [dataclasses.asdict(log) for log in pair.long.curve],
                "zero_cost": {name: score.to_dict() for name, score in pair.short.zero_cost.items()},
                "config": pair.network.config.to_dict(),
            }
            for pair in pairs
        ],
    }


def _trained_columns(pairs: list[Pair], epochs: float) -> list[Column]:
    """What a training of so many epochs says, each more is better, and the mean rank of accuracy and training loss."""
    first: dict[str, list[float]] = {name: [] for name in READINGS}
    second: dict[str, list[float]] = {name: [] for name in READINGS}
    seconds = []
    for pair in pairs:
        log = at_epochs(pair.short.curve, epochs)
        for name, read in READINGS.items():
            first[name].append(read(pair.short.curve, epochs))
            second[name].append(read(pair.long.curve, epochs))
        whole = pair.short.curve[-1].seconds
        seconds.append((pair.short.core_seconds or 0.0) * (log.seconds / whole if whole else 1.0))
    for each in (first, second):
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


def _row(column: Column, truth: Values, madds: Values, params: Values, seed: int) -> dict[str, Any]:
    kept_truth = truth[column.kept]
    tau = bootstrap_tau(column.values, kept_truth, seed=seed)
    recall = top_recall(column.values, kept_truth, TOP) if len(column.kept) > TOP else None
    gains = {
        name: bootstrap_gain(column.values, base[column.kept], kept_truth, seed=seed)
        for name, base in (("over_madds", madds), ("over_params", params))
    }
    return {
        "name": column.name,
        "epochs": column.epochs,
        **_plain(tau, "tau"),
        "n": tau.n,
        "top5_recall": recall,
        "core_seconds": column.core_seconds,
        **{name: _plain(gain, "gain") for name, gain in gains.items()},
    }


def _beats_both(row: dict[str, Any]) -> bool:
    """Whether the proxy ranks better than MAdds and params with 95 % confidence; where those are all equal, better than
    not at all."""
    lows = [row[f"over_{base}"]["low"] for base in ("madds", "params")]
    return row["tau"] is not None and all((row["low"] if low is None else low) > 0 for low in lows)


def _ceiling(column: Column, long_noise: float | None, long_spread: float | None) -> tuple[float | None, float | None]:
    """The proxy's seed noise from its two seeds of every network, and the tau that it and the long noise allow."""
    noise = 0.0 if column.again is None else retest_noise(column.values, column.again)
    spread = spread_between(np.asarray(column.values, dtype=np.float64), noise)
    if long_noise is None or long_spread is None:
        return noise, None
    if not spread or not long_spread:
        return noise, None  # the spread between networks cannot be told from noise
    return noise, noise_ceiling(noise, spread, long_noise, long_spread)


def _plain(estimate: Estimate, name: str) -> dict[str, float | None]:
    values = {name: estimate.value, "low": estimate.low, "high": estimate.high}
    return {key: value if math.isfinite(value) else None for key, value in values.items()}
