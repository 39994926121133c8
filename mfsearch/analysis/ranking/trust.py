"""What calibrations say of one study's ranking: which fits, how it differs, and its verdict in words."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mfsearch.analysis.front.command import given_options
from mfsearch.analysis.ranking.readings import NAMES
from mfsearch.proxy.recipe import Recipe
from mfsearch.search.calibration_file import CALIBRATION, CALIBRATIONS, GROUPS, SCHEMA, find_calibration
from mfsearch.units import Budget, format_madds

PLACES = {"band": "inside the band", "across": "across budgets"}
COSTS = ("madds", "params")
ENOUGH = 16  # networks; a tau over fewer proves nothing
# Options of `mfsearch run` that decide what a calibration must be made with.
SHARED = (
    "space",
    "data-dir",
    "epochs",
    "samples",
    "batch",
    "optimizer",
    "lr",
    "proxy-resolution",
    "resolution",
    "classes",
)
SHARED_TOO = ("seed", "device", "results")


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


def fitting_calibration(places: Iterable[Path], manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `mfsearch run` finds for the study's space, data and short training in the first folder that has one."""
    try:
        recipe = Recipe(**manifest["recipe"])
        budget = Budget(**manifest["budget"])
        digests = str(manifest["space"]["digest"]), str(manifest["data"]["digest"])
    except (KeyError, TypeError, ValueError):
        return None
    for place in places:
        try:
            found = find_calibration(place, *digests, recipe, budget)
        except (ValueError, KeyError, TypeError):
            continue  # read_calibrations has said why
        if found is not None:
            return found
    return None


def by_fit(
    kept: Sequence[KeptCalibration], fits: Mapping[str, Any] | None, manifest: Mapping[str, Any]
) -> list[KeptCalibration]:
    """The calibrations, that which fits first, then those that differ in the least."""
    return sorted(kept, key=lambda each: (each.figures != fits, len(differences(each.figures, manifest))))


def differences(figures: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """In what a calibration differs from the study, in words; empty if in nothing that is known to matter."""
    identity = figures["identity"]
    words = []
    for name in ("space", "data"):
        theirs, ours = identity.get(name) or {}, _mapping(manifest, name)
        if theirs.get("digest") != ours.get("digest"):
            same = theirs.get("name") == ours.get("name")
            what = (
                f"another version of {theirs.get('name')}" if same else f"{theirs.get('name')}, here {ours.get('name')}"
            )
            words.append(f"{name}: {what}")
    theirs, ours = identity.get("recipe") or {}, _mapping(manifest, "recipe")
    words += [
        f"{name} of the short training: {theirs.get(name)}, here {ours.get(name)}"
        for name in dict.fromkeys([*theirs, *ours])
        if name != "epochs" and theirs.get(name) != ours.get(name)
    ]
    epochs = ours.get("epochs")
    read = [each for each in figures["epochs"]["short"] if each is not None]
    if isinstance(epochs, int | float) and not any(abs(each - epochs) <= 0.01 * epochs for each in read):
        shown = ", ".join(f"{each:.3g}" for each in read)
        words.append(f"its short training was read after {shown or 'no'} epochs, here it takes {epochs:.3g}")
    for name in ("resolution", "classes"):
        one, other = (_mapping(each, "deployment").get(name) for each in (identity, manifest))
        if one != other:
            words.append(f"{name} at deployment: {one}, here {other}")
    one, other = (_mapping(each, "budget").get("high") for each in (identity, manifest))
    if isinstance(one, int | float) and isinstance(other, int | float) and one != other:
        words.append(f"budget: up to {format_madds(one)} multiply-adds, here {format_madds(other)}")
    return words


def study_reading(figures: Mapping[str, Any], manifest: Mapping[str, Any]) -> Reading:
    """The way in which the study compares its networks, or the nearest to it that the calibration has."""
    wanted = _mapping(manifest, "rungs").get("rank_by", "val_loss")
    epochs = _mapping(manifest, "recipe").get("epochs")
    there = readings(figures, "band")
    named = [each for each in there if each.name == wanted and each.epochs is not None] or there
    if not isinstance(epochs, int | float):
        return named[-1]
    return min(named, key=lambda each: abs((each.epochs or 0.0) - epochs))


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


def calibrate_command(manifest: Mapping[str, Any]) -> str:
    """The command that calibrates with the study's settings: those of its own command, else of its manifest."""
    given = given_options(manifest)
    budget, data = _mapping(manifest, "budget"), _mapping(manifest, "data")
    words = ["mfsearch", "calibrate", "--budget", given.get("budget") or _budget(budget)]
    words += ["--data", given.get("data") or str(data.get("name") or "DIR")]
    space = _mapping(manifest, "space").get("name")
    if "space" not in given and space not in (None, "mobile_former"):
        words += ["--space", str(space)]
    for name in (*SHARED, *SHARED_TOO):
        if name in given:
            words += [f"--{name}", given[name]]
    return shlex.join(words)


def _budget(budget: Mapping[str, Any]) -> str:
    try:
        return str(Budget(**budget))
    except TypeError:
        return "150M"


def _mapping(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}
