"""Finds a network by any of its names: a preset, a YAML or JSON file, or STUDY:TRIAL."""

from pathlib import Path

from mfsearch.config import MobileFormerConfig, load_config
from mfsearch.living import check_living
from mfsearch.presets import PRESETS, V4_PRESETS, preset
from mfsearch.study.files import MANIFEST, find_study
from mfsearch.study.study import Study
from mfsearch.study.trial import Trial


def find_config(name: str, results: Path) -> MobileFormerConfig:
    """The network called `name`; ValueError lists the known names, or the dead parts of a file's network."""
    if name in PRESETS or name in V4_PRESETS:
        return preset(name)
    path = Path(name)
    if path.suffix in (".yaml", ".yml", ".json"):
        return check_living(load_config(path), path)
    study, colon, trial = name.rpartition(":")
    if colon:
        return find_trial(study, trial, results)[1].config
    if any((folder / MANIFEST).is_file() for folder in (results / name, path)):
        if (path / "arch.yaml").is_file():
            raise ValueError(f"{name:.200} is a bundle: name its network, {name:.200}/arch.yaml")
        raise ValueError(_name_a_trial(name, results))
    try:
        return preset(name)
    except ValueError as error:
        raise ValueError(f"{error}; a network may also be a .yaml file or STUDY:TRIAL") from None


def _name_a_trial(name: str, results: Path) -> str:
    opened = Study.open(find_study(name, results))
    trial = opened.best() or next(iter(opened.trials), None)
    example = "it has none yet" if trial is None else f"such as {name}:{trial.number}"
    return f"{name:.200} is a study: name a trial of it, {example}"


def find_trial(study: str, trial: str, results: Path) -> tuple[Study, Trial]:
    """A study and one of its trials; ValueError if the study or the trial does not exist."""
    folder = find_study(study, results)
    if not trial.isdecimal():
        raise ValueError(f"a trial must be a whole number, as in {study}:3, got {trial!r:.200}")
    opened = Study.open(folder)
    return opened, opened.trial(int(trial))
