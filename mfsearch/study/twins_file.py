"""The results of `mfsearch twins`: the report in twins.json, and the measured latencies. Free of torch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mfsearch.config import MobileFormerConfig
from mfsearch.proxy.recipe import Recipe
from mfsearch.study.files import read_as
from mfsearch.study.manifest import DataFacts

CONFIDENCE = 0.95
FOLDER, REPORT, LATENCIES = "twins", "twins.json", "latencies.json"  # FOLDER is under a folder of results


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


NO_PAIR = Effect(0)


@dataclass(frozen=True)
class TwinLatency:
    """A twin timed in turns with its network. difference_ms: twin minus network, with its 95 % interval."""

    difference_ms: float
    difference_low_ms: float
    difference_high_ms: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int
    disturbed: bool


@dataclass(frozen=True)
class Twin:
    """A twin, or the reason why there is none, and after its trainings the effect on top1, a fraction.

    old, new: the knob's value as text. madds_changed: multiply-adds after the change, before the widths were solved;
    width: the factor by which they were then scaled. top1, failures: by seed. p_holm: adjusted for all twins.
    """

    knob: str
    old: str
    new: str
    config: MobileFormerConfig | None = None
    width: float | None = None
    madds_changed: int | None = None
    madds: int | None = None
    reason: str | None = None
    num_params: int | None = None
    top1: Mapping[int, float] = field(default_factory=dict)
    failures: Mapping[int, str] = field(default_factory=dict)
    latency: TwinLatency | None = None
    effect: Effect = NO_PAIR
    p_holm: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Twin":
        config, latency, effect = values["config"], values.get("latency"), values["effect"]
        parsed = {
            "config": None if config is None else MobileFormerConfig.from_dict(config),
            **{name: _by_seed(values.get(name, {})) for name in ("top1", "failures")},
            "latency": None if latency is None else TwinLatency(**latency),
            "effect": Effect(*(effect[name] for name in Effect._fields)),
            "p_holm": effect["p_holm"],
        }
        own = {name: value for name, value in values.items() if name not in ("name", "arch_id")}
        return cls(**{**own, **parsed})

    def to_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = {name: getattr(self, name) for name in ("knob", "old", "new", "config")}
        plain |= {name: getattr(self, name) for name in ("width", "madds_changed", "madds", "reason", "name")}
        if self.config is not None:
            plain |= {"config": self.config.to_dict(), "arch_id": self.config.arch_id, "num_params": self.num_params}
            plain |= {"top1": dict(self.top1), "failures": dict(self.failures)}
            plain["latency"] = None if self.latency is None else vars(self.latency)
        return plain | {"effect": self.effect._asdict() | {"shown": self.effect.shown, "p_holm": self.p_holm}}

    @property
    def name(self) -> str:
        return f"{self.knob}={self.new}"

    @property
    def change(self) -> str:
        return self.knob if self.new == "-" else f"{self.knob} {self.old} -> {self.new}"

    @property
    def holds(self) -> bool:
        """Whether the effect is shown after the correction for all twins, too."""
        return self.p_holm is not None and self.p_holm < 1 - CONFIDENCE

    @property
    def verdict(self) -> str:
        """The finding on top1, in words."""
        if self.effect.mean is None:
            reason = self.reason or next(iter(self.failures.values()), "")
            return f"not compared: {reason}" if reason else "not compared"
        if self.effect.low is None:
            return "one pair has no interval"
        if not self.effect.shown:
            return "no effect shown"
        word = "gain" if self.effect.mean > 0 else "loss"
        return f"{word} shown" if self.holds else f"{word} shown alone, not after the correction for all"


@dataclass(frozen=True)
class TwinParent:
    """The network that twins are compared with. top1, failures: by seed. latency_ms, passport: None if not timed."""

    name: str
    arch_id: str
    madds: int
    num_params: int
    top1: Mapping[int, float]
    failures: Mapping[int, str]
    config: MobileFormerConfig
    latency_ms: float | None = None
    passport: Mapping[str, Any] | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TwinParent":
        by_seed = {name: _by_seed(values[name]) for name in ("top1", "failures")}
        return cls(**{**values, **by_seed, "config": MobileFormerConfig.from_dict(values["config"])})

    def to_dict(self) -> dict[str, Any]:
        return {**{k: v for k, v in vars(self).items() if v is not None}, "config": self.config.to_dict()}


@dataclass(frozen=True)
class TwinReport:
    """The report of one study of twins. network: arch_id of the parent; knobs: as asked for."""

    folder: str
    network: str
    data: DataFacts
    recipe: Recipe
    seed: int
    device: str
    knobs: str
    parent: TwinParent
    seeds: tuple[int, ...]
    twins: tuple[Twin, ...]
    confidence: float
    shown_by_chance: float
    versions: Mapping[str, str]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TwinReport":
        parsed = {
            "data": DataFacts(**values["data"]),
            "recipe": Recipe(**values["recipe"]),
            "parent": TwinParent.from_dict(values["parent"]),
            "seeds": tuple(values["seeds"]),
            "twins": tuple(map(Twin.from_dict, values["twins"])),
        }
        return cls(**{**values, **parsed})

    def to_dict(self) -> dict[str, Any]:
        plain = {"data": vars(self.data), "recipe": self.recipe.as_dict(), "parent": self.parent.to_dict()}
        return {**vars(self), **plain, "seeds": list(self.seeds), "twins": [twin.to_dict() for twin in self.twins]}


@dataclass(frozen=True)
class TwinLatencies:
    """The measured latencies of a network (by its arch_id) and of its twins on one device. parent_ms: None if not
    measured yet."""

    parent: str
    passport: Mapping[str, Any]
    parent_ms: float | None = None
    twins: Mapping[str, TwinLatency] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TwinLatencies":
        return cls(**{**values, "twins": {name: TwinLatency(**each) for name, each in values["twins"].items()}})

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def read_twins(folder: Path) -> TwinReport:
    """The report in a folder of twins, which becomes its `folder`; ValueError if it cannot be read."""
    return dataclasses.replace(read_as(folder / REPORT, TwinReport.from_dict, "twins"), folder=str(folder))


def _by_seed(values: Mapping[str, Any]) -> dict[int, Any]:
    return {int(seed): value for seed, value in values.items()}
