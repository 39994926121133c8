"""How far a study's ranking can be trusted: the calibration that fits, its differences, and its verdict in words."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mfsearch.analysis.knobs.importance import study_space
from mfsearch.analysis.ranking.agreement import chance_sentence
from mfsearch.study.calibration_file import (
    CALIBRATION,
    CALIBRATIONS,
    COSTS,
    NAMES,
    PLACES,
    CalibrationFile,
    CalibrationIdentity,
    ProxyFigures,
    Reading,
    study_calibration,
)
from mfsearch.study.manifest import Manifest, option_words
from mfsearch.units import counted, format_madds

# Options of `mfsearch run` that a calibration must repeat.
SHARED = (
    *("data", "data-dir", "skip-damaged", "space", "parent", "resolution", "classes", "seed", "device"),
    *("epochs", "samples", "batch", "optimizer", "lr", "proxy-resolution"),
)


class KeptCalibration(NamedTuple):
    """A calibration on disk, with its folder."""

    path: Path
    figures: CalibrationFile


def read_calibrations(places: Iterable[Path]) -> tuple[list[KeptCalibration], list[str]]:
    """The calibrations under folders of results, and a sentence for each that cannot be read."""
    found: dict[Path, KeptCalibration] = {}
    unread = []
    for path in [path for place in places for path in sorted(place.glob(f"{CALIBRATIONS}/*/{CALIBRATION}"))]:
        if path.resolve() in found:
            continue
        try:
            figures = CalibrationFile.read(path)
        except ValueError as error:
            unread.append(str(error))
            continue
        if figures is None:
            unread.append(f"{path} is of another version of mfsearch; `mfsearch calibrate` writes it again")
            continue
        found[path.resolve()] = KeptCalibration(path.parent, figures)
    return list(found.values()), unread


def fitting_calibration(places: Iterable[Path], manifest: Manifest) -> CalibrationFile | None:
    """The calibration that `mfsearch run` finds for this study, in the first folder that has one."""
    space = study_space(manifest)
    for place in places:
        try:
            found = study_calibration(place, manifest, space)
        except ValueError:
            continue  # read_calibrations says why
        if found is not None:
            return found
    return None


def by_fit(kept: Sequence[KeptCalibration], fits: CalibrationFile | None, manifest: Manifest) -> list[KeptCalibration]:
    """The calibrations: the one that fits first, the others by the number of differences."""
    return sorted(kept, key=lambda each: (each.figures != fits, len(differences(each.figures, manifest))))


def differences(figures: CalibrationFile, manifest: Manifest) -> list[str]:
    """How a calibration differs from the study, in words; empty if nothing that matters differs."""
    identity = figures.identity
    words = []
    for kind, theirs, ours in (("space", identity.space, manifest.space), ("data", identity.data, manifest.data)):
        if theirs.digest != ours.digest and not (kind == "space" and _deployed_alone(identity, manifest)):
            same = theirs.name == ours.name
            words.append(
                f"{kind}: " + (f"another version of {ours.name}" if same else f"{theirs.name}, here {ours.name}")
            )
    if identity.parent != (manifest.parent and manifest.parent.digest):
        words.append("networks: cut from another parent" if identity.parent else "networks: trained from first weights")
    here = manifest.recipe.as_dict()
    words += [
        f"{name} of the short training: {value}, here {here[name]}"
        for name, value in identity.recipe.as_dict().items()
        if name != "epochs" and value != here[name]
    ]
    epochs = manifest.first_epochs
    read = [each for each in figures.short_epochs if each is not None]
    if not any(_same_length(each, manifest) for each in read):
        shown = ", ".join(f"{each:.3g}" for each in read)
        words.append(f"short training: read after {shown or 'no'} epochs, here it takes {epochs:.3g}")
    for name in ("resolution", "classes"):
        if getattr(identity, name) != getattr(manifest, name):
            words.append(f"{name} at deployment: {getattr(identity, name)}, here {getattr(manifest, name)}")
    top, own = identity.budget.high, manifest.budget.high
    if top != own:
        words.append(f"budget: up to {format_madds(top)} multiply-adds, here {format_madds(own)}")
    return words


def _deployed_alone(identity: CalibrationIdentity, manifest: Manifest) -> bool:
    """Whether the spaces differ in their image size or classes alone, which have words of their own."""
    space = study_space(manifest)
    return space is not None and space.deployed(identity.resolution, identity.classes).digest == identity.space.digest


def study_reading(figures: CalibrationFile, manifest: Manifest) -> Reading:
    """The calibration's reading that is nearest to how the study ranks its networks."""
    known = readings(figures, "band")
    named = [each for each in known if each.name == manifest.rungs.rank_by and each.epochs is not None] or known
    return min(named, key=lambda each: abs((each.epochs or 0.0) - manifest.first_epochs))


def is_own(reading: Reading, manifest: Manifest) -> bool:
    """Whether the study compares its networks by this reading, not by one that is only near to it."""
    same = reading.epochs is not None and _same_length(reading.epochs, manifest)
    return same and reading.name == manifest.rungs.rank_by


def _same_length(epochs: float, manifest: Manifest) -> bool:
    return abs(epochs - manifest.first_epochs) <= 0.01 * manifest.first_epochs


def readings(figures: CalibrationFile, group: str) -> list[Reading]:
    """Every reading of a group, in the order of its figures."""
    return [proxy.reading for proxy in figures.groups[group].proxies]


def verdict(figures: CalibrationFile, name: str, reading: Reading) -> str:
    """How well a reading ranks the networks of a group, with its interval, beside multiply-adds and parameters."""
    group, place = figures.groups[name], PLACES[name].capitalize()
    row = group.figures_of(reading)
    if row is None or row.tau is None:
        return f"{place} {reading.words} ranks nothing: all networks have the same value."
    interval = "" if row.low is None else f" [{row.low:.2f}, {row.high:.2f}]"
    others = {cost: group.figures_of(Reading(cost, None)) for cost in COSTS if cost != reading.name}
    beside = [f"{NAMES[cost]} {it.tau:.2f}" for cost, it in others.items() if it is not None and it.tau is not None]
    parts = [
        f"{place} {reading.words} ranks {row.n} networks like the long training with tau "
        f"{row.tau:.2f}{interval}" + (f"; {', '.join(beside)}." if beside else "."),
        _against(row),
    ]
    if row.ceiling is not None:
        parts.append(f"Seed noise alone allows about {row.ceiling:.2f}.")
    if row.top5_recall is not None:
        parts.append(f"Its five best hold {5 * row.top5_recall:.3g} of the true five (by chance {25 / row.n:.2g}).")
    parts.append(chance_sentence(row.n))
    return " ".join(filter(None, parts))


def _against(row: ProxyFigures) -> str:
    """Whether a reading is better than chance and than what costs nothing; empty for multiply-adds and parameters."""
    if row.name in COSTS:
        return ""
    chance = "is better" if (row.low or 0) > 0 else "may be no better"
    gains = zip((row.over_madds, row.over_params), COSTS, strict=True)
    others = [f", {gain.words} {NAMES[cost]}" for gain, cost in gains if gain.words]
    return f"It {chance} than chance{''.join(others)}, as far as {row.n} networks tell."


def noise_note(figures: CalibrationFile) -> str:
    """How much the long training, which is the reference, varies between seeds."""
    spread = "is unknown: fewer than two seeds of one network were trained"
    if figures.long_noise is not None:
        spread = f"is {100 * figures.long_noise:.2f} points (one network, {counted(len(figures.noise_seeds), 'seed')})"
    return (
        f"Judged by top1 on {figures.identity.data.val_images:,} images after {counted(figures.long_epochs, 'epoch')} "
        f"with another seed; its own noise {spread}. Calibrated {figures.date[:10]}."
    )


def calibrate_command(manifest: Manifest) -> str:
    """The command that calibrates with the study's settings."""
    options = {"budget": manifest.asked_budget()}
    options |= {name: value for name, value in manifest.options().items() if name in SHARED}
    return shlex.join(["mfsearch", "calibrate", *option_words(options)])


def twins_command(manifest: Manifest, network: str) -> str:
    """The command that trains twins of a network with the study's images and short training.

    network: as a command line names it. Its config holds its space, image size and classes; the seeds are twins' own.
    """
    unasked = ("space", "parent", "resolution", "classes", "seed")
    options = {name: value for name, value in manifest.options().items() if name in SHARED and name not in unasked}
    return shlex.join(["mfsearch", "twins", network, *option_words(options), "--seeds", "3", "--latency"])
