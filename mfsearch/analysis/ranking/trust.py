"""What calibrations say of one study's ranking: which fits, how it differs, and its verdict in words."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mfsearch.analysis.ranking.readings import NAMES
from mfsearch.search.calibration_file import CALIBRATION, CALIBRATIONS, GROUPS, SCHEMA, find_calibration
from mfsearch.study.manifest import Manifest
from mfsearch.units import format_madds

PLACES = {"band": "inside the band", "across": "across budgets"}
COSTS = ("madds", "params")
ENOUGH = 16  # networks; a tau over fewer proves nothing
# Options of `mfsearch run` that decide what a calibration must be made with.
SHARED = (
    *("data", "data-dir", "space", "resolution", "classes", "seed", "device"),
    *("epochs", "samples", "batch", "optimizer", "lr", "proxy-resolution"),
)


class KeptCalibration(NamedTuple):
    """A calibration on disk: its folder and what calibration.json holds."""

    path: Path
    figures: dict[str, Any]


class Reading(NamedTuple):
    """A way to rank networks: the name of a figure and after how many epochs, None where no training is needed."""

    name: str
    epochs: float | None

    @property
    def words(self) -> str:
        after = "" if self.epochs is None else f" after {self.epochs:.3g} epochs"
        return NAMES.get(self.name, self.name) + after


def read_calibrations(places: Iterable[Path]) -> tuple[list[KeptCalibration], list[str]]:
    """The calibrations under folders of results, and a sentence for each that cannot be read."""
    found: dict[Path, KeptCalibration] = {}
    unread = []
    for path in [path for place in places for path in sorted(place.glob(f"{CALIBRATIONS}/*/{CALIBRATION}"))]:
        if path.resolve() in found:
            continue
        try:
            figures = json.loads(path.read_text(encoding="utf-8"))
            if figures.get("schema") != SCHEMA:
                unread.append(f"{path} is of another version of mfsearch; `mfsearch calibrate` writes it anew")
                continue
            for group in GROUPS:
                _ = [(row["name"], row["tau"], row["ceiling"], row["n"]) for row in figures["groups"][group]["proxies"]]
            _ = figures["identity"]["space"]["digest"], figures["epochs"]["short"], figures["long_noise"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            unread.append(f"cannot read {path}: {error}; `mfsearch calibrate` writes it anew")
            continue
        found[path.resolve()] = KeptCalibration(path.parent, figures)
    return list(found.values()), unread


def fitting_calibration(places: Iterable[Path], manifest: Manifest) -> dict[str, Any] | None:
    """What `mfsearch run` finds for the study's space, data and short training in the first folder that has one."""
    for place in places:
        try:
            found = find_calibration(
                place, manifest.space.digest, manifest.data.digest, manifest.recipe, manifest.budget
            )
        except (ValueError, KeyError, TypeError):
            continue  # read_calibrations has said why
        if found is not None:
            return found
    return None


def by_fit(
    kept: Sequence[KeptCalibration], fits: Mapping[str, Any] | None, manifest: Manifest
) -> list[KeptCalibration]:
    """The calibrations, that which fits first, then those that differ in the least."""
    return sorted(kept, key=lambda each: (each.figures != fits, len(differences(each.figures, manifest))))


def differences(figures: Mapping[str, Any], manifest: Manifest) -> list[str]:
    """In what a calibration differs from the study, in words; empty if in nothing that is known to matter."""
    identity = figures["identity"]
    words = []
    for name, ours in (("space", manifest.space), ("data", manifest.data)):
        theirs = identity.get(name) or {}
        if theirs.get("digest") != ours.digest:
            same = theirs.get("name") == ours.name
            what = f"another version of {ours.name}" if same else f"{theirs.get('name')}, here {ours.name}"
            words.append(f"{name}: {what}")
    recipe, here = identity.get("recipe") or {}, manifest.kept["recipe"]
    words += [
        f"{name} of the short training: {recipe.get(name)}, here {here.get(name)}"
        for name in dict.fromkeys([*recipe, *here])
        if name != "epochs" and recipe.get(name) != here.get(name)
    ]
    epochs = manifest.recipe.epochs
    read = [each for each in figures["epochs"]["short"] if each is not None]
    if not any(abs(each - epochs) <= 0.01 * epochs for each in read):
        shown = ", ".join(f"{each:.3g}" for each in read)
        words.append(f"its short training was read after {shown or 'no'} epochs, here it takes {epochs:.3g}")
    deployment, top = identity.get("deployment") or {}, (identity.get("budget") or {}).get("high")
    for name, other in (("resolution", manifest.resolution), ("classes", manifest.classes)):
        if deployment.get(name) != other:
            words.append(f"{name} at deployment: {deployment.get(name)}, here {other}")
    if isinstance(top, int | float) and top != manifest.budget.high:
        words.append(f"budget: up to {format_madds(top)} multiply-adds, here {format_madds(manifest.budget.high)}")
    return words


def study_reading(figures: Mapping[str, Any], manifest: Manifest) -> Reading:
    """The way in which the study compares its networks, or the nearest to it that the calibration has."""
    known = readings(figures, "band")
    named = [each for each in known if each.name == manifest.rungs.rank_by and each.epochs is not None] or known
    return min(named, key=lambda each: abs((each.epochs or 0.0) - manifest.recipe.epochs))


def readings(figures: Mapping[str, Any], group: str) -> list[Reading]:
    """Every way to rank that a group's figures hold, in their order."""
    return [Reading(row["name"], row["epochs"]) for row in figures["groups"][group]["proxies"]]


def row_of(figures: Mapping[str, Any], group: str, reading: Reading) -> dict[str, Any] | None:
    """The figures of one reading; None where the group has none of it."""
    rows: list[dict[str, Any]] = figures["groups"][group]["proxies"]
    return next((row for row in rows if (row["name"], row["epochs"]) == reading), None)


def verdict(figures: Mapping[str, Any], group: str, reading: Reading) -> str:
    """In plain words: how well a reading ranks a group's networks, beside what costs nothing, and how sure that is."""
    row = row_of(figures, group, reading)
    if row is None or row["tau"] is None:
        return f"{PLACES[group].capitalize()} {reading.words} ranks nothing: all networks came out alike."
    n, low, high = row["n"], row["low"], row["high"]
    interval = "" if low is None else f" [{low:.2f}, {high:.2f}]"
    beside = [
        f"{NAMES[cost]} {other['tau']:.2f}"
        for cost in COSTS
        if (other := row_of(figures, group, Reading(cost, None))) and other["tau"] is not None and cost != reading.name
    ]
    parts = [
        f"{PLACES[group].capitalize()} {reading.words} ranks {n} networks like the long training with tau "
        f"{row['tau']:.2f}{interval}" + (f"; {', '.join(beside)}." if beside else ".")
    ]
    parts.append(_sure(row))
    if row["ceiling"] is not None:
        parts.append(f"Seed noise alone allows about {row['ceiling']:.2f}.")
    if row["top5_recall"] is not None:
        parts.append(f"Its five best hold {5 * row['top5_recall']:.3g} of the true five (by chance {25 / n:.2g}).")
    few = f"{n} networks: a tau over fewer than {ENOUGH} proves nothing." if n < ENOUGH else ""
    return " ".join(part for part in (*parts, few) if part)


def _sure(row: Mapping[str, Any]) -> str:
    if row["name"] in COSTS:
        return ""
    if row["low"] is None or row["low"] <= 0:
        return "It may be no better than chance."
    beaten = [NAMES[cost] for cost in COSTS if ((row.get(f"over_{cost}") or {}).get("low") or 0) > 0]
    if len(beaten) == len(COSTS):
        return "It is better than chance and than both of these."
    if beaten:
        return f"It is better than chance and than {beaten[0]}, not surely than the other."
    return "It is better than chance, but not surely better than what costs nothing."


def noise_note(figures: Mapping[str, Any]) -> str:
    """What the long training, the judge, varies by between seeds."""
    data, epochs, noise = figures["identity"]["data"], figures["epochs"]["long"], figures["long_noise"]
    spread = "is unknown: fewer than two seeds of one network were trained"
    if noise is not None:
        spread = f"is {100 * noise:.2f} points (one network, {len(figures['seeds']['noise'])} seeds)"
    return (
        f"Judged by top1 on {data['val_images']:,} images after {epochs:g} epochs with another seed; its own noise "
        f"{spread}. Calibrated {str(figures.get('date'))[:10]}."
    )


def calibrate_command(manifest: Manifest) -> str:
    """The command that calibrates with the study's settings."""
    options = {"budget": manifest.asked_budget()}
    options |= {name: value for name, value in manifest.options().items() if name in SHARED}
    return shlex.join(["mfsearch", "calibrate", *(word for name in options for word in (f"--{name}", options[name]))])
