"""A trial: one network of a study with its costs, latencies, trainings and outcome. Plain data, frozen."""

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import Prediction
from mfsearch.living import dead_parts
from mfsearch.proxy.curve import EpochLog
from mfsearch.space import Value

UNREADABLE = "unreadable"  # origin of a row of the ledger that cannot be read: a failed trial without figures
OUTCOMES = ("trained", "stopped", "rejected", "failed")
_LATER = ("train_seconds", "weights_lost", "score", "rung", "seed", "finished")  # of a longer training
_COSTS = ("madds", "macs", "num_params", "activation_bytes", "onnx_bytes", "resolution")


@dataclass(frozen=True)
class TrialLatency:
    """A network's measured latency in milliseconds, batch 1, with its 95 % interval.

    ratio: to the reference network; disturbed: the machine was busy. A user's program may report `ms` alone.
    """

    ms: float
    low_ms: float | None = None
    high_ms: float | None = None
    ratio: float | None = None
    disturbed: bool | None = None

    @property
    def has_interval(self) -> bool:
        return self.low_ms is not None and self.high_ms is not None and self.low_ms <= self.high_ms

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrialLatency | None":
        """The latency among a trial's values; None if it was not measured."""
        if values.get("latency_ms") is None:
            return None
        return cls(
            ms=_number(values, "latency_ms"),
            low_ms=_maybe(values, "latency_low_ms"),
            high_ms=_maybe(values, "latency_high_ms"),
            ratio=_maybe(values, "latency_ratio"),
            disturbed=values.get("latency_disturbed"),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "latency_ms": self.ms,
            "latency_low_ms": self.low_ms,
            "latency_high_ms": self.high_ms,
            "latency_ratio": self.ratio,
            "latency_disturbed": self.disturbed,
        }


@dataclass(frozen=True)
class FinalLatency:
    """A latency measured again at the end of the search, longer and with no training beside it.

    window: names the measurements that were made in one go. over_limit: the whole interval is above the limit.
    """

    latency: TrialLatency
    window: str = ""
    finished: str | None = None
    over_limit: bool = False

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FinalLatency":
        latency = TrialLatency.from_dict(values)
        if latency is None:
            raise ValueError(f"a latency measured again must have latency_ms, got {str(values)[:200]}")
        return cls(latency, str(values.get("window") or ""), values.get("finished"), bool(values.get("over_limit")))

    def to_dict(self) -> dict[str, Any]:
        own = {"window": self.window, "finished": self.finished, "over_limit": self.over_limit}
        return {**self.latency.to_dict(), **own}


@dataclass(frozen=True)
class Training:
    """One training of a trial's network at one rung, with one seed.

    top1: at the last point, None if the training failed for `reason`. score: ranks networks, more is better. epochs:
    passes over the samples, 0 for a network as it was cut; None in old studies. weights_lost: the reason if its weights
    could not be kept.
    """

    rung: int = 0
    seed: int | None = None
    top1: float | None = None
    score: float | None = None
    epochs: float | None = None
    curve: tuple[EpochLog, ...] = ()
    train_seconds: float | None = None
    images_per_second: float | None = None
    reason: str | None = None
    weights_lost: str | None = None
    finished: str | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Training":
        """The training among a trial's values, or a longer one by itself; ValueError where a figure is no number."""
        curve = values.get("curve") or ()
        if not isinstance(curve, list | tuple):
            raise ValueError(f"curve must be a list of points, got {str(curve)[:200]!r}")
        return cls(
            rung=_count(values, "rung") or 0,
            seed=_count(values, "seed"),
            top1=_maybe(values, "top1"),
            score=_maybe(values, "score"),
            epochs=_maybe(values, "epochs"),
            curve=tuple(map(EpochLog.from_dict, curve)),
            train_seconds=_maybe(values, "train_seconds"),
            images_per_second=_maybe(values, "images_per_second"),
            reason=_text(values, "reason"),
            weights_lost=_text(values, "weights_lost"),
            finished=_text(values, "finished"),
        )

    def to_dict(self) -> dict[str, Any]:
        """A longer training in the form of the ledger."""
        told: dict[str, Any] = {name: getattr(self, name) for name in ("top1", "reason", "epochs")}
        told |= {"curve": [log.to_dict() for log in self.curve] or None}
        return told | {name: getattr(self, name) for name in _LATER}


@dataclass(frozen=True)
class Trial:
    """One network of a study. Frozen: a longer training or a later latency gives a new Trial.

    madds, macs, num_params and activation_bytes (fp32) are exact, at the deployment size; onnx_bytes is an upper bound,
    kept where the study limits or optimises it; None if not recorded. short: its short training, complete or stopped
    half way. longer: later trainings. measured: the latency from the search; final: the one from its end. predicted:
    the latency expected before the measurement; turned_down: draws rejected by prediction before this one.
    violation_ms: milliseconds above the limit.
    """

    number: int
    outcome: str
    origin: str = "unknown"
    params: dict[str, Value] = field(default_factory=dict)
    reason: str | None = None
    proposal: int | None = None
    width: float | None = None
    arch_id: str = ""
    config_data: Mapping[str, Any] | None = None
    madds: int | None = None
    macs: int | None = None
    num_params: int | None = None
    activation_bytes: int | None = None
    onnx_bytes: int | None = None
    resolution: int | None = None
    predicted: Prediction | None = None
    turned_down: int | None = None
    seed: int | None = None
    device: str | None = None
    measured: TrialLatency | None = None
    violation_ms: float | None = None
    short: Training | None = None
    longer: tuple[Training, ...] = ()
    final: FinalLatency | None = None
    finished: str | None = None

    @classmethod
    def read(cls, number: int, params: dict[str, Any], values: Mapping[str, Any], place: str) -> "Trial":
        """The trial from the ledger; an unreadable row keeps its number, and its reason says where it is."""
        try:
            return cls.from_dict(number, params, values)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            return cls(number, "failed", UNREADABLE, reason=f"{place} cannot be read: {error!s:.300}")

    @classmethod
    def from_dict(cls, number: int, params: dict[str, Any], values: Mapping[str, Any]) -> "Trial":
        """A finished trial from the ledger; ValueError names the first value that cannot be read."""
        outcome = values.get("outcome")
        if outcome not in OUTCOMES:
            raise ValueError(
                f"trial {number}: outcome must be one of {', '.join(OUTCOMES)}, got {str(outcome)[:200]!r}"
            )
        try:
            predicted = None
            if values.get("predicted_latency_ms") is not None:
                names = ("predicted_latency_ms", "predicted_low_ms", "predicted_high_ms")
                predicted = Prediction(*(_number(values, name) for name in names))
            trained = values.get("top1") is not None or values.get("curve")
            return cls(
                number=number,
                outcome=outcome,
                origin=str(values.get("origin") or "unknown"),
                params=params,
                reason=_text(values, "reason"),
                proposal=_count(values, "proposal"),
                width=_maybe(values, "width"),
                arch_id=_text(values, "arch_id") or "",
                config_data=values.get("config"),
                madds=_count(values, "madds"),
                macs=_count(values, "macs"),
                num_params=_count(values, "num_params"),
                activation_bytes=_count(values, "activation_bytes"),
                onnx_bytes=_count(values, "onnx_bytes"),
                resolution=_count(values, "resolution"),
                predicted=predicted,
                turned_down=_count(values, "turned_down"),
                seed=_count(values, "seed"),
                device=_text(values, "device"),
                measured=TrialLatency.from_dict(values),
                violation_ms=_maybe(values, "violation_ms"),
                short=Training.from_dict(values) if trained else None,
                finished=_text(values, "finished"),
            )
        except ValueError as error:
            raise ValueError(f"trial {number}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The trial in the form of the ledger, without number, params, longer trainings and final latency."""
        short = self.short
        told: dict[str, Any] = {name: getattr(self, name) for name in ("proposal", "origin", "width")}
        told |= {"config": self.config_data, "arch_id": self.arch_id or None}
        told |= {name: getattr(self, name) for name in _COSTS}
        if self.predicted is not None:
            told |= {f"predicted_{name}": value for name, value in self.predicted._asdict().items()}
            told["turned_down"] = self.turned_down
        told = {name: value for name, value in told.items() if value is not None}
        told |= {"outcome": self.outcome, "reason": self.reason}
        later: dict[str, Any] = {"seed": self.seed, "device": self.device}
        if self.measured is not None:
            later |= {**self.measured.to_dict(), "violation_ms": self.violation_ms}
        if short is not None:
            later |= {"top1": short.top1, "epochs": short.epochs, "curve": [log.to_dict() for log in short.curve]}
            later |= {name: getattr(short, name) for name in ("train_seconds", "images_per_second", "weights_lost")}
        always = self.measured.to_dict() if self.measured is not None else {}
        told |= {name: value for name, value in later.items() if value is not None or name in always}
        if self.finished is not None:  # studies without this have no scores either
            told |= {"score": None if short is None else short.score, "finished": self.finished}
        return told

    def to_row(self) -> dict[str, Any]:
        """The trial as one record for people and programs, in which top1 and latency are the latest.

        top1 is of the longest training, the mean over its seeds; top1_short is of the short one. latency_* are the last
        figures, latency_search those of the search.
        """
        row = {"number": self.number, "params": dict(self.params), **self.to_dict()}
        if self.longer:
            row["stages"] = [training.to_dict() for training in self.longer]
        if self.rung:
            row |= {"top1_short": self.top1_short, "top1": self.top1, "top1_std": self.top1_std, "rung": self.rung}
        if self.final is not None:
            searched = {} if self.measured is None else self.measured.to_dict()
            now = self.final.latency.to_dict()
            row |= {name: now[name] for name in searched}
            row |= {"latency_search": searched, "latency_final": self.final.to_dict()}
        return row

    @cached_property
    def config(self) -> MobileFormerConfig:
        """The network's config; ValueError if the trial has no readable one."""
        if not isinstance(self.config_data, Mapping):
            raise ValueError(f"trial {self.number} keeps no config")
        return MobileFormerConfig.from_dict(self.config_data)

    @property
    def dead(self) -> bool:
        """Whether its network has dead parts, which earlier searches did not drop; False without a readable config."""
        try:
            return bool(dead_parts(self.config))
        except ValueError:
            return False

    @property
    def trainings(self) -> tuple[Training, ...]:
        """All trainings by rising rung, the short one first."""
        return self.longer if self.short is None else (self.short, *self.longer)

    @cached_property
    def longest(self) -> tuple[Training, ...]:
        """The longest trainings with a top1, one per seed; empty if nothing was trained."""
        done = [training for training in self.longer if training.top1 is not None]
        if self.outcome == "trained" and done:
            rung = max(training.rung for training in done)
            return tuple(training for training in done if training.rung == rung)
        return () if self.short is None else (self.short,)

    @cached_property
    def top1_by_rung(self) -> dict[int, tuple[float, ...]]:
        """Top1 of all trainings by rung, one a seed; networks are compared at the highest rung that both have."""
        found: dict[int, tuple[float, ...]] = {}
        for training in self.trainings:
            if training.top1 is not None:
                found[training.rung] = (*found.get(training.rung, ()), training.top1)
        return found

    @property
    def rung(self) -> int:
        """The rung of the longest training."""
        return self.longest[0].rung if self.longest else 0

    @cached_property
    def top1(self) -> float | None:
        """Fraction correct on the validation split after the longest training, the mean over its seeds."""
        values = [training.top1 for training in self.longest if training.top1 is not None]
        return statistics.fmean(values) if values else None

    @property
    def top1_std(self) -> float | None:
        """Sample standard deviation over the seeds of the longest training; None with one seed."""
        values = [training.top1 for training in self.longest if training.top1 is not None]
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def top1_short(self) -> float | None:
        return None if self.short is None else self.short.top1

    @property
    def epochs(self) -> float | None:
        """Epochs of the short training; where networks start cut, of the first with a step: 0 before there is one."""
        if self.short is None or self.short.epochs != 0:
            return None if self.short is None else self.short.epochs
        return min((log.epoch for one in self.longer for log in one.curve if log.epoch), default=0.0)

    @property
    def latency(self) -> TrialLatency | None:
        """The last measurement: from the end of the search, else from the search."""
        return self.measured if self.final is None else self.final.latency

    @property
    def latency_ms(self) -> float | None:
        return None if self.latency is None else self.latency.ms

    @property
    def over_limit(self) -> bool:
        """Whether it was within the latency limit during the search and above it when measured again."""
        return self.final is not None and self.final.over_limit

    @property
    def latency_low_ms(self) -> float | None:
        return None if self.latency is None else self.latency.low_ms

    @property
    def latency_high_ms(self) -> float | None:
        return None if self.latency is None else self.latency.high_ms

    @property
    def train_seconds(self) -> float | None:
        """Seconds of the short training."""
        return None if self.short is None else self.short.train_seconds

    def __hash__(self) -> int:  # params and config_data are mappings
        return hash((self.number, self.arch_id, self.finished))

    def metric(self, name: str) -> float:
        """A figure by its name, such as "top1", "madds" or "latency_ms", in base units; NaN if it is not known."""
        value = getattr(self, name)
        return float("nan") if value is None else float(value)

    def score(self, rung: int = 0) -> float | None:
        """Mean score at a rung over the seeds trained there; None without a result."""
        if rung == 0:
            if self.outcome != "trained" or self.short is None:
                return None
            return self.short.top1 if self.short.score is None else self.short.score  # old studies have no score
        scores = [t.score for t in self.longer if t.rung == rung and t.score is not None]
        return statistics.fmean(scores) if scores else None

    def trained_at(self, rung: int, seed: int) -> bool:
        """Whether a training with this seed was tried at this rung or a higher one."""
        return any(training.rung >= rung and training.seed == seed for training in self.longer)

    def with_training(self, training: Training) -> "Trial":
        return dataclasses.replace(self, longer=(*self.longer, training))

    def as_searched(self) -> "Trial":
        """The trial after its short training alone. Samplers see this, so later results change no proposal."""
        return dataclasses.replace(self, longer=(), final=None) if self.longer or self.final else self


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, got {str(value)[:200]!r}")
    return float(value)


def _maybe(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    return value if value is None or type(value) is float else _number(values, name)


def _count(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63):
        raise ValueError(f"{name} must be a whole number, got {str(value)[:200]!r}")
    return value


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {str(value)[:200]!r}")
    return value
