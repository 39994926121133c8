"""One door for every way to name a network: a preset, a YAML or JSON file, or STUDY:TRIAL."""

from pathlib import Path
from typing import Any

from mfsearch.config import MobileFormerConfig, load_config
from mfsearch.presets import PRESETS, preset


def find_config(name: str, results: Path) -> MobileFormerConfig:
    """The network that `name` stands for; ValueError says which names are known."""
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml", ".json"):
        return load_config(path)
    study, colon, trial = name.rpartition(":")
    if colon:
        return MobileFormerConfig.from_dict(find_trial(study, trial, results)["config"])
    try:
        return preset(name)
    except ValueError as error:
        raise ValueError(f"{error}; a network is also a .yaml file or STUDY:TRIAL") from None


def find_trial(study: str, trial: str, results: Path) -> dict[str, Any]:
    """The row of one trial; ValueError if there is no such study or number."""
    from mfsearch.study.ledger import find_study, read_trials

    folder = find_study(study, results)
    if not trial.isdecimal():
        raise ValueError(f"a trial is a whole number, as in {study}:3, got {trial!r}")
    rows = read_trials(folder)
    for row in rows:
        if row["number"] == int(trial):
            return row
    known = f"it has 0 to {rows[-1]['number']}" if rows else "it has none yet"
    raise ValueError(f"study {study!r} has no trial {trial}: {known}")
