"""What a change buys: paired differences over seeds, with t-intervals and a correction for multiple comparisons."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CONFIDENCE = 0.95
FOLDER, REPORT = "twins", "twins.json"  # under a folder of results; the report of one study of twins


class Effect(NamedTuple):
    """The mean paired difference, second minus first, with its 95 % interval; None if there are too few pairs.

    p: two-sided, for a mean of 0, by the same t-distribution; below 0.05 exactly if the interval excludes 0.
    """

    pairs: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def paired_effect(first: Mapping[int, float], second: Mapping[int, float], *, step: float = 0.0) -> Effect:
    """The effect over the seeds that both have. step: the resolution of the values, such as one image of top1.

    Values are rounded to the step, so equal values may hide a difference: the spread is at least that of two roundings.
    Assumes that the differences are independent and roughly normal.
    """
    from scipy.special import stdtr, stdtrit  # takes 0.2 s, which a reader of finished twins does not need

    differences = [second[seed] - first[seed] for seed in first if seed in second]
    if not differences:
        return Effect(0)
    n, mean = len(differences), statistics.fmean(differences)
    if n == 1:
        return Effect(1, mean)
    error = max(statistics.stdev(differences), step / math.sqrt(6)) / math.sqrt(n)
    if error == 0:
        return Effect(n, mean, mean, mean, 1.0 if mean == 0 else 0.0)
    reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    return Effect(n, mean, mean - reach, mean + reach, 2 * float(stdtr(n - 1, -abs(mean) / error)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values (1979): below 0.05 keeps the chance of any false finding among them all under 5 %."""
    known = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, k) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[k] = highest
    return adjusted


def expected_by_chance(effects: Sequence[Effect]) -> float:
    """How many intervals would exclude 0 if no change had any effect."""
    return (1 - CONFIDENCE) * sum(effect.low is not None for effect in effects)


class TwinRow(NamedTuple):
    """One change and its effect. effect: in top1, a fraction; p_holm: adjusted for all changes of the study.

    ms, ms_low, ms_high: twin minus network with its 95 % interval, None if it was not timed; disturbed: whether the
    machine was busy meanwhile. reason: why there is no pair, "" if there is one.
    """

    change: str
    effect: Effect
    p_holm: float | None
    ms: float | None
    ms_low: float | None
    ms_high: float | None
    disturbed: bool
    reason: str

    @property
    def verdict(self) -> str:
        """What is shown about top1, in words."""
        if self.effect.mean is None:
            return f"not compared: {self.reason}" if self.reason else "not compared"
        if self.effect.low is None:
            return "one pair has no interval"
        if not self.effect.shown:
            return "no effect shown"
        holds = self.p_holm is not None and self.p_holm < 1 - CONFIDENCE
        word = "gain" if self.effect.mean > 0 else "loss"
        return f"{word} shown" if holds else f"{word} shown alone, not after the correction for all"


class TwinReport(NamedTuple):
    """The report in a folder of `mfsearch twins`. data, recipe: as in a study's manifest; parent_ms: None if not timed;
    passport: the device on which the milliseconds were measured, None if not recorded."""

    path: Path
    network: str
    madds: float
    seeds: int
    val_images: int
    data: dict[str, Any]
    recipe: dict[str, Any]
    parent_ms: float | None
    passport: dict[str, Any] | None
    rows: list[TwinRow]


def twin_folders(places: Iterable[Path]) -> list[Path]:
    """The folders with a twins report under the given results folders, each once, sorted by name."""
    found = {path.parent.resolve(): path.parent for place in places for path in place.glob(f"{FOLDER}/*/{REPORT}")}
    return sorted(found.values(), key=lambda path: path.name)


def read_twins(folder: Path) -> TwinReport:
    """The report in a twins folder; ValueError if it cannot be read."""
    path = folder / REPORT
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        parent = kept["parent"]
        return TwinReport(
            path=folder,
            network=str(parent["name"]),
            madds=float(parent["madds"]),
            seeds=len(kept["seeds"]),
            val_images=int(kept["data"]["val_images"]),
            data=dict(kept["data"]),
            recipe=dict(kept["recipe"]),
            parent_ms=parent.get("latency_ms"),
            passport=dict(passport) if isinstance(passport := parent.get("passport"), Mapping) else None,
            rows=[_row(row) for row in kept["twins"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"cannot read {path}: {error}; `mfsearch twins` writes it anew") from None


def _row(row: Mapping[str, Any]) -> TwinRow:
    effect, latency = row["effect"], row.get("latency") or {}
    failures = [str(reason) for reason in (row.get("failures") or {}).values()]
    return TwinRow(
        change=f"{row['knob']} {row['old']} -> {row['new']}" if row["new"] != "-" else str(row["knob"]),
        effect=Effect(*(effect[name] for name in Effect._fields)),
        p_holm=effect["p_holm"],
        ms=latency.get("difference_ms"),
        ms_low=latency.get("difference_low_ms"),
        ms_high=latency.get("difference_high_ms"),
        disturbed=bool(latency.get("disturbed")),
        reason=str(row.get("reason") or next(iter(failures), "")),
    )


def twins_note(report: TwinReport) -> str:
    """The report in sentences: what was compared, what is shown, and how much chance alone would show."""
    compared = [row for row in report.rows if row.effect.low is not None]
    shown = [row for row in compared if row.effect.shown]
    strict = [row for row in shown if row.p_holm is not None and row.p_holm < 1 - CONFIDENCE]
    chance = expected_by_chance([row.effect for row in report.rows])
    said = f"{len(shown)} of {len(compared)} intervals leave out 0, {chance:.1f} would if nothing had any effect"
    words = f"{said}; after Holm's correction for all of them {len(strict) or 'none'}."
    if compared and not shown:
        words = f"No effect on top1 is shown: all {len(compared)} intervals hold 0."
    return (
        f"{report.network} ({report.madds / 1e6:.1f} M multiply-adds) beside twins that differ in one knob and have "
        f"its multiply-adds to 2 %, {report.seeds} seeds, the same {report.val_images:,} validation images. {words} "
        "No effect shown is not no effect: read how wide the interval is."
    )
