"""A study in memory: its manifest, its trials, and the paths of its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mfsearch.pareto import Array, Mask, fair_mask, pareto_mask
from mfsearch.study.files import WEIGHTS
from mfsearch.study.kept_parent import KeptParent
from mfsearch.study.manifest import Manifest
from mfsearch.study.reader import StudyReader
from mfsearch.study.trial import UNREADABLE, Trial

if TYPE_CHECKING:
    import pandas as pd

    from mfsearch.model import MobileFormer


@dataclass(frozen=True)
class Study:
    """A study at one moment; later writes by a search do not change it.

    folder: of manifest, ledger and weights. trials: all of them by number, with any outcome.
    unreadable: a sentence for each row of the ledger that cannot be read, with its line. parent: None without one, and
    in earlier studies.
    """

    folder: Path
    manifest: Manifest
    trials: tuple[Trial, ...]
    unreadable: tuple[str, ...] = ()
    parent: KeptParent | None = None

    @classmethod
    def open(cls, folder: Path) -> "Study":
        """Read the study in a folder; ValueError if it cannot be read or is damaged."""
        reader = StudyReader(folder)
        trials = tuple(reader.trials(reader.look()))
        rows = [trial.reason or "" for trial in trials if trial.origin == UNREADABLE]
        parent = None
        try:
            parent = KeptParent.read(folder, reader.manifest.parent)
        except ValueError as error:
            rows.append(str(error))
        return cls(folder, reader.manifest, trials, (*rows, *reader.unreadable), parent)

    def check_whole(self) -> None:
        """Raise ValueError if anything in the ledger cannot be read, because a resumed search must know all of it."""
        if strange := self.strange():
            raise ValueError(
                f"study {self.name!r:.100} cannot be read whole, so nothing is written into it: {strange[0]}"
            )

    def strange(self) -> list[str]:
        """A sentence for everything in the ledger that cannot be read, configs too (0.2 ms a trial)."""
        strange = list(self.unreadable)
        for trial in self.trials:
            try:
                if trial.config_data is not None:
                    _ = trial.config
            except ValueError as error:
                strange.append(f"trial {trial.number} cannot be read: {error}")
            if any(training.rung > self.manifest.rungs.last for training in trial.longer):
                strange.append(
                    f"trial {trial.number} cannot be read: a rung beyond the last, {self.manifest.rungs.last}"
                )
        return strange

    @property
    def name(self) -> str:
        return self.manifest.study

    @property
    def objectives(self) -> tuple[str, ...]:
        """The front's objectives: top1 (maximised), madds and, with a latency limit, latency_ms (both minimised)."""
        return self.manifest.objectives

    def trial(self, number: int) -> Trial:
        """The trial with this number; ValueError lists the valid numbers."""
        if not 0 <= number < len(self.trials):
            known = f"it has 0 to {len(self.trials) - 1}" if self.trials else "it has none yet"
            raise ValueError(f"study {self.name!r} has no trial {number}: {known}")
        return self.trials[number]

    def count(self, *outcomes: str) -> int:
        """Number of trials with these outcomes: trained, stopped, rejected or failed."""
        return sum(trial.outcome in outcomes for trial in self.trials)

    def front(self) -> list[Trial]:
        """The Pareto front of the trained trials, by rising multiply-adds.

        Two networks are compared after the longest training that both had, so a longer training alone pushes nothing
        off the front. Trials that exceeded the latency limit when measured again are left out.
        """
        return front_trials(self.trials, self.objectives)

    def best(self) -> Trial | None:
        """The best network of the front, see `best_trial`; None while there is no front."""
        return best_trial(self.front())

    def frame(self) -> "pd.DataFrame":
        """A pandas table with a row per trial: metrics in base units, knobs as "knob:NAME", and the trial itself."""
        from mfsearch.study.frame import study_frame

        return study_frame(self.trials)

    def weights(self, number: int) -> Path | None:
        """The file with the trained weights of a trial; None if they were not kept."""
        arch_id = self.trial(number).arch_id
        path = self.folder / WEIGHTS / f"{arch_id}.safetensors"
        is_arch_id = len(arch_id) == 12 and not set(arch_id) - set("0123456789abcdef")
        return path if is_arch_id and path.is_file() else None  # checked, because it becomes a path

    def without_weights(self) -> list[int]:
        """Trials on the front without weights; empty if the study was copied without its weights."""
        if not (self.folder / WEIGHTS).is_dir():
            return []
        return [trial.number for trial in self.front() if self.weights(trial.number) is None]

    def network(self, number: int, *, weights: bool = False) -> "MobileFormer":
        """The network of a trial as a torch module in eval mode: images [N, 3, H, W] to logits [N, classes].

        weights: True loads the trained weights, with the classes of the study's data; ValueError if they were not kept.
        False gives initial weights, from the study's seed, with the deployment classes.
        """
        import dataclasses

        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from mfsearch.model import MobileFormer

        config, path = self.trial(number).config, self.weights(number)
        if not weights:
            return MobileFormer(config, seed=self.manifest.seed).eval()
        if path is None:
            raise ValueError(f"study {self.name!r} kept no weights of trial {number}: only those of the front are kept")
        network = MobileFormer(dataclasses.replace(config, classes=self.manifest.data.classes))
        try:
            network.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"cannot read the weights of trial {number} in {path}: {reason:.200}") from None
        return network.eval()


def front_trials(trials: Sequence[Trial], objectives: Sequence[str]) -> list[Trial]:
    """The Pareto front of some trials, by rising multiply-adds; see `Study.front`."""
    trained = [trial for trial in trials if trial.outcome == "trained" and not trial.over_limit]
    if not trained:
        return []
    on_front = front_mask(trained, objectives, minimised(trained, objectives))
    kept = [trial for trial, on in zip(trained, on_front, strict=True) if on]
    return sorted(kept, key=lambda trial: (trial.metric("madds"), trial.number))


def front_mask(trials: Sequence[Trial], objectives: Sequence[str], values: Array) -> Mask:
    """Which trials no other beats, each pair compared after the longest training both had; see `fair_mask`.

    values: the objectives [N, K], minimised, with the top1 of the longest training; a row with a NaN is left out.
    """
    if "top1" not in objectives:
        return pareto_mask(values)
    at = list(objectives).index("top1")
    return fair_mask(np.delete(values, at, axis=1), -top1_table(trials, -values[:, at])[1])


def top1_table(trials: Sequence[Trial], top1: Array) -> tuple[list[int], Array]:
    """The rungs, and the mean top1 at each [N, rungs]: NaN where a trial was not trained so long, or top1 [N] is NaN.

    top1: after the longest training; enough for trials with the short one alone.
    """
    longer = [at for at, trial in enumerate(trials) if trial.longer]
    rungs = sorted({0}.union(*(trials[at].top1_by_rung for at in longer)))
    table = np.full((len(trials), len(rungs)), np.nan)
    table[:, 0] = top1
    for at in longer:
        if top1[at] == top1[at]:
            table[at] = [fmean(trials[at].top1_by_rung.get(rung, (np.nan,))) for rung in rungs]
    return rungs, table


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The best network of a front: the one with the highest top1, however long it was trained.

    Ties go to the fewest multiply-adds, then to the first; None if no trial has a top1.
    """
    known = [trial for trial in trials if not np.isnan(trial.metric("top1"))]
    return min(known, key=lambda trial: (-trial.metric("top1"), trial.metric("madds"), trial.number), default=None)


def minimised(trials: Sequence[Trial], objectives: Sequence[str]) -> NDArray[np.float64]:
    """The objectives [N, K] to minimise: top1 is negated; NaN if a trial lacks one."""
    signs = np.array([-1.0 if name == "top1" else 1.0 for name in objectives])
    values = [[trial.metric(name) for name in objectives] for trial in trials]
    table: NDArray[np.float64] = signs * np.array(values, dtype=np.float64).reshape(len(trials), len(signs))
    return table
