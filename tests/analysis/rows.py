"""Made-up trials and a manifest, as a study holds them."""

import dataclasses
from collections.abc import Mapping, Sequence

from mfsearch.space.nested import nested_space
from mfsearch.study.kept_parent import KeptParent
from mfsearch.study.manifest import Manifest
from mfsearch.study.parent import ParentFacts
from mfsearch.study.trial import FinalLatency, Training, Trial
from tests.random_configs import SMALL

LOST: dict[str, object] = {"top1": None, "train_seconds": None, "curve": []}


def row(number: int, top1: float | None = 0.5, madds: float = 100_000_000, **more: object) -> Trial:
    """A trained trial with every value of a ledger; `more` replaces some."""
    values: dict[str, object] = {
        "outcome": "trained",
        "reason": None,
        "origin": "tpe",
        "arch_id": f"{number:08x}",
        "madds": madds,
        "macs": madds * 29 // 30,
        "num_params": 6_000_000 + number,
        "activation_bytes": 3_000_000,
        "top1": top1,
        "train_seconds": 40.0,
        "seed": 0,
        "resolution": 224,
        "config": {"name": "made up"},
        "curve": [point(1, 0.2, 2.0), point(2, 0.0 if top1 is None else top1, 1.0)],
        **more,
    }
    params: object = more.get("params", {"tokens.count": 6 if number % 2 else 3, "dyrelu.source": "pooled"})
    assert isinstance(params, dict)
    return Trial.from_dict(number, params, values)


def changed(trial: Trial, **values: object) -> Trial:
    """The trial with other values of its ledger's line, or another number; later trainings and latency stay."""
    number, params = values.pop("number", trial.number), values.pop("params", trial.params)
    assert isinstance(number, int)
    assert isinstance(params, dict)
    new = Trial.from_dict(number, params, {**trial.to_dict(), **values})
    return dataclasses.replace(new, longer=trial.longer, final=trial.final)


def point(epoch: float, top1: float, loss: float = 1.0) -> dict[str, float]:
    return {"epoch": epoch, "loss": loss, "top1": top1, "seconds": 20.0 * epoch}


def study(count: int = 12, latency: bool = True) -> list[Trial]:
    """A small study with all that can happen: published networks first, two rejected, one failed, the rest trained.

    Top1 rises with madds and falls with the distance from a multiple of three, so that some trials are dominated.
    """
    rows = []
    for number in range(count):
        madds = 60_000_000 + 7_000_000 * number
        ms = {"latency_ms": 4 + number / 4, "latency_low_ms": 3.9 + number / 4, "latency_high_ms": 4.2 + number / 4}
        origin = {0: "preset mf-26m", 1: "fitted mf-52m"}.get(number, "tpe")
        top1 = 0.40 + 0.01 * number - 0.03 * (number % 3)
        rows.append(row(number, top1, madds, origin=origin, **(ms if latency else {})))
    for number in (4, 5):
        rows[number] = changed(rows[number], outcome="rejected", reason="latency 9.1 ms is over the limit", **LOST)
    rows[7] = changed(rows[7], outcome="failed", reason="loss became NaN", **LOST)
    return rows


def failed(count: int) -> list[Trial]:
    """A study in which nothing worked."""
    return [row(number, None, outcome="failed", reason="loss became NaN", curve=[]) for number in range(count)]


def stage(rung: int, seed: int, top1: float, curve: Mapping[float, float] | None = None) -> Training:
    """A longer training, 1, 3 or 9 epochs long; curve: top1 by epoch on the way."""
    epochs = 3.0**rung
    points = {**(curve or {}), epochs: top1}
    logs = [point(epoch, value) for epoch, value in points.items()]
    values = {"rung": rung, "seed": seed, "top1": top1, "epochs": epochs, "curve": logs, "train_seconds": 90.0}
    return Training.from_dict(values)


def longer(trial: Trial, trainings: Sequence[Training]) -> Trial:
    """The trial with longer trainings."""
    return dataclasses.replace(trial, longer=tuple(trainings))


def measured_again(trial: Trial, ms: float, *, over_limit: bool = False, **values: object) -> Trial:
    """The trial with a latency measured at the end."""
    final = {"latency_ms": ms, "window": "one", "finished": None, "over_limit": over_limit, **values}
    return dataclasses.replace(trial, final=FinalLatency.from_dict(final))


def longer_study() -> list[Trial]:
    """Six networks, each dearer than the one before: three short, one 3x, and two finalists of 9x with two seeds.

    The finalists, 4 and 5, differ by 0.01 in the mean; each residual of top1 on network plus seed is 0.005, so that the
    noise is sqrt(4 * 0.005**2 / 1) = 0.01 with one degree of freedom. Trial 6 was stopped half way.
    """
    rows = [row(k, 0.40 + 0.01 * k, 100_000_000 + 10_000_000 * k, epochs=1.0) for k in range(6)]
    rows[3] = longer(rows[3], [stage(1, 0, 0.55)])
    rows[4] = longer(rows[4], [stage(1, 0, 0.60), stage(2, 0, 0.705), stage(2, 1, 0.715)])
    rows[5] = longer(rows[5], [stage(1, 0, 0.61), stage(2, 0, 0.725), stage(2, 1, 0.715)])
    return [*rows, row(6, 0.2, 90_000_000, outcome="stopped", reason="top1 20.00% half way", epochs=0.5)]


VALUES: dict[str, object] = {
    "study": "flowers",
    "budget": {"low": 120_000_000, "high": 150_000_000, "stated": False},
    "latency_limit_ms": 7.25,
    "objectives": ["top1", "madds", "latency_ms"],
    "space": {"name": "made_up", "digest": "0", "knobs": {"tokens.count": [3, 6], "dyrelu.source": ["pooled"]}},
    "data": {"name": "digits", "digest": "0", "classes": 10, "train_images": 1437, "val_images": 360},
    "recipe": {"resolution": 32, "epochs": 1.0},
    "rungs": {"factors": [1.0, 3.0, 9.0]},
    "deployment": {"resolution": 224, "classes": 1000},
    "sampler": "auto",
    "seed": 0,
    "device": "cpu",
    "passport": {"cpu": "A slow CPU", "threads": 1},
}


def manifest(**values: object) -> Manifest:
    """A study's manifest; `values` replace some of its file's; None takes a value out."""
    merged = {**VALUES, **values}
    return Manifest.from_dict({name: value for name, value in merged.items() if value is not None})


MANIFEST = manifest()


def with_knobs(*names: str) -> Manifest:
    """The manifest of a study of a space that nobody has any more, with these knobs."""
    return manifest(space={"name": "made_up", "digest": "0", "knobs": {name: [] for name in names}})


def kept_parent(**more: object) -> KeptParent:
    """A parent of 120M and 8 ms with a top1 of 60 %, as a study keeps it."""
    facts = ParentFacts("bundle", SMALL.arch_id, "0123456789abcdef" * 4)
    network = row(
        0, 0.6, 120_000_000, **{"origin": "parent bundle", "config": SMALL.to_dict(), "latency_ms": 8.0} | more
    )
    return KeptParent(facts, dataclasses.replace(network, number=-1), nested_space(SMALL).to_yaml())


MARKUP = "<img src=x onerror=alert(1)>"
