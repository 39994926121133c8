"""The results of calibrations: the figures of calibration.json, which of them fit a study, and one sentence on its
ranking. Free of torch."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mfsearch.config import MobileFormerConfig
from mfsearch.proxy.curve import EpochLog
from mfsearch.proxy.recipe import Recipe
from mfsearch.space import SearchSpace
from mfsearch.study.files import read_as
from mfsearch.study.manifest import DataFacts, Manifest, NamedSpace
from mfsearch.study.task_file import ZeroCostScore
from mfsearch.units import Budget, counted

SCHEMA = 1
CALIBRATIONS, CALIBRATION = "calibrations", "calibration.json"
EARLIER_CLASSES = 1000  # that every network was costed for, whatever the data
GROUPS = ("band", "across")
PLACES = {"band": "inside the band", "across": "across budgets"}
COSTS = ("madds", "params")
NAMES = {
    "top1": "accuracy",
    "val_loss": "validation loss",
    "loss": "training loss",
    "mean_loss": "mean training loss",
    "mean_rank": "mean rank",
    "madds": "multiply-adds",
    "params": "parameters",
}


class Reading(NamedTuple):
    """A way to rank networks: the name of a figure and after how many epochs, None if it needs no training."""

    name: str
    epochs: float | None

    @property
    def words(self) -> str:
        after = "" if self.epochs is None else f" after {counted(self.epochs, 'epoch')}" if self.epochs else " as cut"
        return NAMES.get(self.name, self.name) + after


@dataclass(frozen=True)
class TauGain:
    """The difference of two taus with its 95 % interval; None if undefined."""

    gain: float | None
    low: float | None
    high: float | None

    @property
    def words(self) -> str:
        """`better than`, `not shown to be better than` or `worse than`, as the interval says; empty if undefined."""
        if self.low is None or self.high is None:
            return ""
        return "better than" if self.low > 0 else "worse than" if self.high < 0 else "not shown to be better than"


@dataclass(frozen=True)
class ProxyFigures:
    """How well one reading ranks n networks: Kendall's tau with its 95 % interval; None if undefined.

    core_seconds: per network. noise: over seeds, in the reading's unit. ceiling: the highest tau that seed noise
    allows. shown: False for a zero-cost score that is not clearly better than multiply-adds and parameters.
    """

    name: str
    epochs: float | None
    tau: float | None
    low: float | None
    high: float | None
    n: int
    top5_recall: float | None
    core_seconds: float
    over_madds: TauGain
    over_params: TauGain
    noise: float | None
    ceiling: float | None
    shown: bool

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ProxyFigures":
        gains = {name: TauGain(**values[name]) for name in ("over_madds", "over_params")}
        for number in (values["tau"], values["low"], values["high"], values["ceiling"], values["n"]):
            if not isinstance(number, int | float | None):
                raise ValueError(f"figures of {values['name']} must be numbers or null, got {number!r}")
        return cls(**{**values, **gains})

    @property
    def reading(self) -> Reading:
        return Reading(self.name, self.epochs)


@dataclass(frozen=True)
class RankedNetwork:
    """A network of a calibration with the curves of its short and its long training."""

    arch_id: str
    madds: int
    num_params: int
    long_top1: float
    short: tuple[EpochLog, ...]
    long: tuple[EpochLog, ...]
    zero_cost: Mapping[str, ZeroCostScore]
    config: MobileFormerConfig

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RankedNetwork":
        parsed = {
            **{name: tuple(map(EpochLog.from_dict, values[name])) for name in ("short", "long")},
            "zero_cost": {name: ZeroCostScore(**score) for name, score in values["zero_cost"].items()},
            "config": MobileFormerConfig.from_dict(values["config"]),
        }
        return cls(**{**values, **parsed})

    def to_dict(self) -> dict[str, Any]:
        return {
            **vars(self),
            **{name: [log.to_dict() for log in getattr(self, name)] for name in ("short", "long")},
            "zero_cost": {name: score.to_dict() for name, score in self.zero_cost.items()},
            "config": self.config.to_dict(),
        }


@dataclass(frozen=True)
class GroupFigures:
    """The networks of one group and every reading of them.

    madds, long_top1: the least and the most. long_spread: standard deviation of the long top1 between networks.
    target: the tau that is good enough. cheapest: the reading that reaches it in the fewest core-seconds.
    """

    n: int
    madds: tuple[int, int]
    long_top1: tuple[float, float]
    long_spread: float | None
    target: float
    cheapest: Reading | None
    proxies: tuple[ProxyFigures, ...]
    networks: tuple[RankedNetwork, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "GroupFigures":
        parsed = {
            **{name: tuple(values[name]) for name in ("madds", "long_top1")},
            "cheapest": None if values["cheapest"] is None else Reading(**values["cheapest"]),
            "proxies": tuple(map(ProxyFigures.from_dict, values["proxies"])),
            "networks": tuple(map(RankedNetwork.from_dict, values["networks"])),
        }
        return cls(**{**values, **parsed})

    def to_dict(self) -> dict[str, Any]:
        return {
            **vars(self),
            **{name: list(getattr(self, name)) for name in ("madds", "long_top1")},
            "cheapest": None if self.cheapest is None else self.cheapest._asdict(),
            "proxies": list(map(dataclasses.asdict, self.proxies)),
            "networks": [network.to_dict() for network in self.networks],
        }

    def figures_of(self, reading: Reading) -> ProxyFigures | None:
        """The figures of one reading; None if the group lacks it."""
        return next((proxy for proxy in self.proxies if proxy.reading == reading), None)


@dataclass(frozen=True)
class CalibrationIdentity:
    """The settings common to all trainings of a calibration. resolution, classes: at deployment; long: in short
    trainings; parent: SHA-256 of the weights that its networks are cut from."""

    space: NamedSpace
    resolution: int
    classes: int
    data: DataFacts
    recipe: Recipe
    budget: Budget
    long: float
    seed: int
    device: str
    parent: str | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CalibrationIdentity":
        parsed = {
            "space": NamedSpace(**values["space"]),
            "data": DataFacts(**values["data"]),
            "recipe": Recipe(**values["recipe"]),
            "budget": Budget(**values["budget"]),
        }
        others = {name: value for name, value in values.items() if name != "deployment"}
        return cls(**{**others, **values["deployment"], **parsed})

    def to_dict(self) -> dict[str, Any]:
        plain = dataclasses.asdict(self)
        deployment = {name: plain.pop(name) for name in ("resolution", "classes")}
        parent = {"parent": plain.pop("parent")}  # left out without one, as in earlier files
        return {"space": plain.pop("space"), "deployment": deployment, **plain, **(parent if self.parent else {})}


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration as calibration.json holds it; top1 and noise are fractions.

    short_seed, long_seed, noise_seeds: of the trainings. short_epochs: at which the short trainings were read, None
    for a reading that was never made; long_epochs: of the long ones. long_noise: standard deviation of the long top1 of
    one network over noise_seeds, None for fewer than two. left_out: a sentence for each training that failed.
    """

    date: str
    identity: CalibrationIdentity
    versions: Mapping[str, str]
    short_seed: int
    long_seed: int
    noise_seeds: tuple[int, ...]
    short_epochs: tuple[float | None, ...]
    long_epochs: float
    long_noise: float | None
    left_out: tuple[str, ...]
    groups: Mapping[str, GroupFigures]

    @classmethod
    def read(cls, path: Path) -> "CalibrationFile | None":
        """The calibration in a file; None for a file of another version of mfsearch. ValueError names the file."""
        return read_as(path, lambda it: cls.from_dict(it) if it.get("schema") == SCHEMA else None, "calibrate")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CalibrationFile":
        """The calibration that `to_dict` wrote; ValueError, KeyError or TypeError if it is invalid."""
        seeds, epochs = values["seeds"], values["epochs"]
        return cls(
            date=str(values["date"]),
            identity=CalibrationIdentity.from_dict(values["identity"]),
            versions=values["versions"],
            short_seed=seeds["short"],
            long_seed=seeds["long"],
            noise_seeds=tuple(seeds["noise"]),
            short_epochs=tuple(epochs["short"]),
            long_epochs=epochs["long"],
            long_noise=values["long_noise"],
            left_out=tuple(values["left_out"]),
            groups={group: GroupFigures.from_dict(values["groups"][group]) for group in GROUPS},
        )

    def to_dict(self) -> dict[str, Any]:
        """The file's words."""
        return {
            "schema": SCHEMA,
            "date": self.date,
            "identity": self.identity.to_dict(),
            "versions": dict(self.versions),
            "seeds": {"short": self.short_seed, "long": self.long_seed, "noise": list(self.noise_seeds)},
            "epochs": {"short": list(self.short_epochs), "long": self.long_epochs},
            "long_noise": self.long_noise,
            "left_out": list(self.left_out),
            "groups": {name: group.to_dict() for name, group in self.groups.items()},
        }


def study_calibration(results: Path, manifest: Manifest, space: SearchSpace | None) -> CalibrationFile | None:
    """The calibration that fits a study, as in `find_calibration`.

    space: the study's, None if unknown. With it, a calibration of before networks were costed for the classes of the
    data fits too.
    """
    earlier = [] if space is None else [space.deployed(space.resolution, EARLIER_CLASSES).digest]
    parent = None if manifest.parent is None else manifest.parent.digest
    for digest in (manifest.space.digest, *earlier):
        found = find_calibration(results, digest, manifest.data.digest, manifest.recipe, manifest.budget, parent)
        if found is not None:
            return found
    return None


def find_calibration(
    results: Path,
    space_digest: str,
    data_digest: str,
    recipe: Recipe,
    budget: Budget | None = None,
    parent: str | None = None,
) -> CalibrationFile | None:
    """The calibration for this space, these images, this recipe and this parent by its hash; None if nobody calibrated
    them.

    A calibration fits a short training of any length that it read on its way, because the points of a curve do not
    depend on its end. Of several, the one nearest to the budget counts, then the newest. Files of another version of
    mfsearch do not count; ValueError for a file that cannot be read.
    """
    found = []
    for kept in filter(None, map(CalibrationFile.read, (results / CALIBRATIONS).glob(f"*/{CALIBRATION}"))):
        ours = kept.identity
        own_recipe = dataclasses.replace(ours.recipe, epochs=recipe.epochs)
        theirs = ours.space.digest, ours.data.digest, own_recipe, ours.parent
        was_read = any(_same_epochs(epochs, recipe.epochs) for epochs in kept.short_epochs)
        if was_read and theirs == (space_digest, data_digest, recipe, parent):
            found.append(kept)

    def distance(kept: CalibrationFile) -> float:
        return 0.0 if budget is None else abs(math.log(kept.identity.budget.high / budget.high))

    return min(sorted(found, key=lambda kept: kept.date, reverse=True), key=distance, default=None)


def _same_epochs(one: float | None, other: float) -> bool:
    return one is not None and math.isclose(one, other, rel_tol=0.01)


def trust_line(calibration: CalibrationFile | None, *, epochs: float, reading: str) -> str:
    """One sentence on how far the ranking by a reading (top1, val_loss, loss) after so many epochs can be trusted."""
    if calibration is None:
        return (
            "ranking   not calibrated: `mfsearch calibrate` with the same space, data, seed and\n"
            "          short training measures how far it can be trusted"
        )
    words = []
    for name, place in PLACES.items():
        group = calibration.groups[name]
        proxy = next(row for row in group.proxies if row.name == reading and _same_epochs(row.epochs, epochs))
        if proxy.tau is None:
            words.append(f"no tau {place}: all networks are equal")
            continue
        madds = group.figures_of(Reading("madds", None))
        beside = f"MAdds {'none' if madds is None or madds.tau is None else f'{madds.tau:.2f}'}"
        if proxy.over_madds.words not in ("", "better than"):
            beside = f"{proxy.over_madds.words} {beside}"
        words.append(
            f"tau {proxy.tau:.2f} [{proxy.low:.2f}, {proxy.high:.2f}] {place} over {proxy.n} networks ({beside})"
        )
    cut = "" if epochs else " of networks as cut"
    return f"ranking   by {reading}{cut}, {', '.join(words)}; calibrated {calibration.date[:10]}"
