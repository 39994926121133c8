"""The settings that a study started with: budget, limits, objectives, data, recipe, device. Later runs must agree."""

import dataclasses
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mfsearch.data import ImageData
from mfsearch.plain_files import parsed, read_json
from mfsearch.proxy.recipe import Recipe, default_recipe
from mfsearch.proxy.rungs import Rungs, default_rungs
from mfsearch.space import SearchSpace
from mfsearch.study.files import MANIFEST, differences, git_revision, now, versions, without_password
from mfsearch.study.parent import ParentFacts
from mfsearch.study.prior import Prior
from mfsearch.study.settings import GOALS, Settings, usual_objectives
from mfsearch.study.trial import Trial
from mfsearch.units import NO_LIMITS, Budget, CostLimits

SCHEMA = 1

# A later run of the study must have the same values; trials, time and workers may differ.
IDENTITY = (
    *("budget", "limits", "objectives", "latency_limit_ms", "latency_cmd", "space", "data", "recipe", "rungs"),
    *("deployment", "sampler", "seed", "device", "parent", "prior"),
)


@dataclass(frozen=True)
class DataFacts:
    """The images of a study: the data's name, a digest of every pixel, and the numbers of classes and images."""

    name: str
    digest: str
    classes: int
    train_images: int
    val_images: int


@dataclass(frozen=True)
class NamedSpace:
    """A search space by its name and a digest of its YAML."""

    name: str
    digest: str


@dataclass(frozen=True)
class SpaceFacts(NamedSpace):
    """The search space of a study, with the choices of each knob."""

    knobs: dict[str, tuple[bool | int | float | str, ...]]


@dataclass(frozen=True)
class StudyRequest:
    """Requested options that are not part of the study's identity; None in older studies.

    data: as typed, such as a folder's path. space: name or file. trials: number of networks to train. time: seconds
    that the plan of recipe and rungs was made for, None without one. networks: that the first run could afford; presets
    get a third of them at the most. parent: folder of the parent's bundle. skip_damaged: whether damaged images were
    left out.
    """

    data: str
    data_dir: str | None = None
    space: str | None = None
    trials: int | None = None
    workers: int = 1
    time: float | None = None
    networks: int | None = None
    parent: str | None = None
    skip_damaged: bool = False


@dataclass(frozen=True)
class Lesson:
    """The best trials of another study, copied because that study may change or be deleted."""

    study: str
    trials: tuple[Trial, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Lesson":
        trials = (Trial.from_dict(one["number"], one["params"], one) for one in values["trials"])
        return cls(values["study"], tuple(trials))

    def to_dict(self) -> dict[str, Any]:
        """Number, origin, params, outcome, madds, arch_id and, as top1, the score of each."""
        trials = [
            {
                **{name: getattr(one, name) for name in ("number", "origin", "outcome", "madds", "arch_id")},
                "params": dict(one.params),
                "top1": one.score(),
            }
            for one in self.trials
        ]
        return {"study": self.study, "trials": trials}


@dataclass(frozen=True)
class Manifest:
    """The settings that a study started with; `kept` holds the file's own values, which later runs are compared with.

    budget: multiply-adds at deployment. latency_limit_ms: batch 1; None without a limit. cost_limits: on other costs,
    which every network keeps. passport: of the device that latencies are measured on. baseline_ms: the reference
    network's time there. mean, std: of the images, per channel. storage: URL of the ledger, None for the journal in the
    study's folder. prior: what was asked for; prior_fit: what the model begins with, None in older studies too.
    """

    study: str
    budget: Budget
    objectives: tuple[str, ...]
    space: SpaceFacts
    data: DataFacts
    recipe: Recipe
    rungs: Rungs
    resolution: int
    classes: int
    sampler: str
    seed: int
    device: str
    prior: str = Settings.prior
    prior_fit: Prior | None = None
    cost_limits: CostLimits = NO_LIMITS
    latency_limit_ms: float | None = None
    latency_cmd: str | None = None
    passport: Mapping[str, Any] | None = None
    baseline_ms: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    class_names: tuple[str, ...] | None = None
    lesson: Lesson | None = None
    parent: ParentFacts | None = None
    request: StudyRequest | None = None
    storage: str | None = None
    created: str | None = None
    command: str | None = None
    git_revision: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of the study in a folder; ValueError if it is missing or is not a manifest."""
        path = folder / MANIFEST
        values = read_json(path)
        try:
            return cls.from_dict(values)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path} is not the manifest of a study: {error!r:.400}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Manifest":
        """The manifest that `to_dict` wrote, in this version or an earlier one; ValueError if it cannot be read."""
        if not isinstance(values, Mapping) or not isinstance(values.get("study"), str):
            raise ValueError(f"a study's manifest must hold its name under 'study', got {str(values)[:200]}")
        deployment, told = values["deployment"], values.get("normalisation")
        objectives = tuple(values["objectives"])
        if unknown := [name for name in objectives if name not in GOALS.values()]:
            raise ValueError(f"objectives must be {', '.join(GOALS.values())}, got {str(unknown[0])[:200]!r}")
        if len(set(objectives)) < len(objectives) or "top1" not in objectives:
            raise ValueError(f"objectives must be top1 and others, each once, got {objectives!r:.200}")
        names, lesson, request = values.get("class_names"), values.get("from"), values.get("request")
        return cls(
            study=values["study"],
            budget=_as(Budget, values, "budget"),
            objectives=objectives,
            space=_as(SpaceFacts, values, "space"),
            data=_as(DataFacts, values, "data"),
            recipe=_as(Recipe, values, "recipe"),
            rungs=Rungs.from_dict(values["rungs"]) if values.get("rungs") else Rungs(factors=(1.0,)),
            resolution=parsed(int, deployment["resolution"], "deployment.resolution"),
            classes=parsed(int, deployment["classes"], "deployment.classes"),
            sampler=parsed(str, values["sampler"], "sampler"),
            seed=parsed(int, values["seed"], "seed"),
            device=parsed(str, values["device"], "device"),
            prior=parsed(str, values.get("prior", Settings.prior), "prior"),
            prior_fit=None if values.get("prior_fit") is None else _as(Prior, values, "prior_fit"),
            cost_limits=_as(CostLimits, values, "limits") if values.get("limits") else NO_LIMITS,
            latency_limit_ms=parsed(float | None, values.get("latency_limit_ms"), "latency_limit_ms"),
            latency_cmd=parsed(str | None, values.get("latency_cmd"), "latency_cmd"),
            passport=parsed(dict[str, Any] | None, values.get("passport"), "passport"),
            baseline_ms=parsed(float | None, values.get("baseline_ms"), "baseline_ms"),
            mean=None if told is None else _three(told["mean"]),
            std=None if told is None else _three(told["std"]),
            class_names=parsed(tuple[str, ...] | None, names, "class_names"),
            lesson=None if lesson is None else Lesson.from_dict(lesson),
            parent=None if values.get("parent") is None else _as(ParentFacts, values, "parent"),
            request=None if request is None else _as(StudyRequest, values, "request"),
            storage=parsed(str | None, values.get("storage"), "storage"),
            created=parsed(str | None, values.get("created"), "created"),
            command=parsed(str | None, values.get("command"), "command"),
            git_revision=parsed(str | None, values.get("git_revision"), "git_revision"),
            versions=parsed(dict[str, str], values.get("versions") or {}, "versions"),
            kept=values,
        )

    def to_dict(self) -> dict[str, Any]:
        """The manifest in the form of its file."""
        return dict(self.kept)

    @property
    def device_name(self) -> str | None:
        """The name of the device that latencies are measured on; None without latencies."""
        passport = self.passport or {}
        return passport.get("cpu") or passport.get("device")

    @property
    def afforded(self) -> int | None:
        """The number of networks that the study's first run could afford; None in older studies."""
        return None if self.request is None else self.request.networks

    @cached_property
    def limits(self) -> dict[str, float]:
        """Upper limits by metric, in base units: multiply-adds, and whatever else is limited."""
        latency = {} if self.latency_limit_ms is None else {"latency_ms": float(self.latency_limit_ms)}
        others = {name: float(limit) for name, limit in self.cost_limits.given.items()}
        return {"madds": float(self.budget.high), **latency, **others}

    @property
    def least_madds(self) -> int:
        """The multiply-adds from which networks may be drawn: where a limit may keep them below the band, any."""
        return self.budget.low if self.budget.stated or not self.cost_limits.given else 0

    @property
    def first_epochs(self) -> float:
        """The epochs after which the search ranks all of its networks: 0 where it ranks them as they are cut."""
        return self.recipe.epochs * self.rungs.factors[0]

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that all trials of the study share, in the form of the file."""
        settings = {name: self.kept.get(name) for name in (*IDENTITY, "passport")}
        settings["limits"] = self.cost_limits.given
        if self.parent is not None:  # its folder may move
            settings["parent"] = {"arch_id": self.parent.arch_id, "digest": self.parent.digest}
        return settings

    def asked_budget(self) -> str:
        """The budget in the form of the option: "150M", "120M..150M"."""
        low, high = (f"{end / 1e6:.10g}M" for end in (self.budget.low, self.budget.high))
        return f"{low}..{high}" if self.budget.stated else high

    def options(self) -> dict[str, str]:
        """The options of `mfsearch run` that repeat this study, by name without dashes; defaults are left out.

        A flag has the value "", see `option_words`. The caller adds budget, latency limit and name.
        """
        request = self.request or StudyRequest(data=self.data.name)
        space = request.space or self.space.name
        limit_ms, words = self.latency_limit_ms, {name: word for word, name in GOALS.items()}
        goals = tuple(name for name in self.objectives if name != "latency_ms" or limit_ms is not None)
        options: dict[str, str | None] = {
            "data": request.data,
            "data-dir": request.data_dir,
            "skip-damaged": "" if request.skip_damaged else None,
            "space": None if space == "mobile_former" or (self.parent and request.space is None) else space,
            "parent": request.parent,
            **self.cost_limits.options(),
            "objectives": None if goals == usual_objectives(limit_ms) else ",".join(words[name] for name in goals),
            "latency-cmd": self.latency_cmd,
            "workers": str(request.workers) if request.workers > 1 else None,
        }
        recipe = {"proxy-resolution": "resolution"} | {n: n for n in ("epochs", "samples", "batch", "optimizer", "lr")}
        rungs = {"finalists": "finalists", "rank-by": "rank_by", "final-seeds": "seeds"}
        defaults: list[tuple[dict[str, str], object, object]] = [
            (recipe, self.recipe, default_recipe(request.data, inside=self.parent is not None)),
            (rungs, self.rungs, Rungs),
            ({n: n for n in ("sampler", "seed", "device", "prior")}, self, Settings),
            ({"resolution": "resolution"}, self, SearchSpace),
        ]
        if self.classes != self.data.classes:
            options["classes"] = str(self.classes)
        if self.rungs.factors != default_rungs(inside=self.parent is not None).factors:
            options["rungs"] = ",".join(f"{factor:.10g}" for factor in self.rungs.factors)
        for names, ours, usual in defaults:
            for option, name in names.items():
                if (value := getattr(ours, name)) is not None and value != getattr(usual, name):
                    options[option] = f"{value:.10g}" if isinstance(value, float) else str(value)
        return {name: value for name, value in options.items() if value is not None}


def option_words(options: Mapping[str, str]) -> list[str]:
    """Options by name without dashes as the words of a command line; one of value "" is a flag."""
    return [word for name, value in options.items() for word in (f"--{name}", value) if word]


def make_manifest(
    settings: Settings,
    images: ImageData,
    request: StudyRequest,
    *,
    passport: Mapping[str, Any] | None,
    baseline_ms: float | None,
    lesson: Lesson | None = None,
    prior: Prior | None = None,
    storage: str | None = None,
    command: str | None = None,
) -> Manifest:
    """The manifest of a new study. command: the command line that started it, if there was one."""
    space = settings.space
    return Manifest.from_dict(
        {
            "schema": SCHEMA,
            "study": settings.study,
            "created": now(),
            "budget": dataclasses.asdict(settings.budget),
            "objectives": list(settings.objectives),
            **({"limits": settings.cost_limits.given} if settings.cost_limits.given else {}),
            "latency_limit_ms": settings.latency_limit_ms,
            "latency_cmd": None if settings.runner is None else without_password(settings.runner.command),
            "space": {"name": space.name, "digest": space.digest, "knobs": {k.name: [*k.choices] for k in space.knobs}},
            "data": images.facts(),
            "recipe": settings.recipe.as_dict(),
            "rungs": settings.rungs.to_dict(),
            "deployment": {"resolution": space.resolution, "classes": space.classes},
            "sampler": settings.sampler,
            "seed": settings.seed,
            "device": settings.device.split(":")[0],
            "prior": settings.prior,
            **({} if prior is None else {"prior_fit": dataclasses.asdict(prior)}),
            "passport": passport,
            "versions": versions(),
            "git_revision": git_revision(),
            "host": {"system": platform.platform(), "python": platform.python_version()},
            "baseline_ms": baseline_ms,
            "normalisation": {"mean": list(images.mean), "std": list(images.std)},
            "class_names": list(images.classes),
            **({} if lesson is None else {"from": lesson.to_dict()}),
            **({} if settings.parent is None else {"parent": dataclasses.asdict(settings.parent.facts)}),
            "storage": storage,
            "command": None if command is None else without_password(command),
            "request": dataclasses.asdict(request),
        }
    )


def other_settings(ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """A line for each setting in which the identity of a run differs from that of the study to resume."""
    ours, wanted = ({"limits": {}, **identity} for identity in (ours, wanted))  # studies from before limits
    names = [name for name in IDENTITY if name != "prior" or ours.get(name) is not None]  # studies from before priors
    if ours.get("passport") and wanted.get("passport") and ours.get("latency_cmd") == wanted.get("latency_cmd"):
        names.append("passport")  # if the latency command changed, the device may change too
    return [
        line.replace("passport", "device passport", 1)
        for name in names
        for line in differences(name, ours.get(name), wanted.get(name), "the study")
    ]


def check_same_study(study: str, ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ValueError with every setting in which a run's identity differs from that of the study to resume."""
    if differing := other_settings(ours, wanted):
        lines = "\n  ".join(differing)
        raise ValueError(
            f"study {study!r} was started with other settings:\n  {lines}\n"
            "repeat its settings, or give another name with --study"
        )


def _as(kind: Any, values: Mapping[str, Any], name: str) -> Any:
    """The section of a manifest as a dataclass; ValueError also for a key that it does not have."""
    section = values[name]
    if isinstance(section, Mapping) and (unknown := set(section) - {one.name for one in dataclasses.fields(kind)}):
        raise ValueError(f"unknown key {min(unknown)!r:.200} in {name}")
    return parsed(kind, section, name)


def _three(values: Any) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in values)
    return r, g, b
