"""One door for every way to name a network: a preset, a YAML or JSON file, or STUDY:TRIAL."""

from pathlib import Path

from mfsearch.config import MobileFormerConfig, load_config
from mfsearch.presets import PRESETS, preset
from mfsearch.study.files import find_study
from mfsearch.study.study import Study
from mfsearch.study.trial import Trial


def find_config(name: str, results: Path) -> MobileFormerConfig:
    """The network that `name` stands for; ValueError says which names are known."""
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml", ".json"):
        return load_config(path)
    study, colon, trial = name.rpartition(":")
    if colon:
        return find_trial(study, trial, results)[1].config
    try:
        return preset(name)
    except ValueError as error:
        raise ValueError(f"{error}; a network is also a .yaml file or STUDY:TRIAL") from None


def find_trial(study: str, trial: str, results: Path) -> tuple[Study, Trial]:
    """A study and one of its trials; ValueError if there is no such study or number."""
    folder = find_study(study, results)
    if not trial.isdecimal():
        raise ValueError(f"a trial is a whole number, as in {study}:3, got {trial!r}")
    found = Study.open(folder)
    return found, found.trial(int(trial))
