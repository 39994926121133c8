"""A study on disk: a folder with manifest, ledger (an Optuna study), weights and report.

One process writes at a time and holds the folder's lock; readers need no lock. A finished trial is one append, flushed
to disk, so however the process ends, no trial is half written or left running.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from mfsearch.study.files import JOURNAL, RESERVE, DiskError, without_password
from mfsearch.study.journal import LATENCY, STAGE, parse_later, with_later
from mfsearch.study.manifest import Manifest, check_same_study
from mfsearch.study.trial import FinalLatency, Training, Trial

RESERVE_BYTES = 1 << 20  # freed when the disk is full, so that finished trials can still be written

Database = RDBStorage  # the ledger of a study with a storage URL

STATES = {
    "trained": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "rejected": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class _HeldLock(BaseJournalFileLock):
    """No lock of its own: the folder is locked while the ledger is open, so no lock file is left after a kill."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Journal(JournalFileBackend):
    """Appends complete lines only: a line cut by a kill or a full disk is removed."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            with path.open("rb+") as file:
                content = file.read()
                whole = content.rfind(b"\n") + 1
                if whole < len(content):
                    file.truncate(whole)
        super().__init__(str(path), lock_obj=_HeldLock())

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        path = Path(self._file_path)
        size = path.stat().st_size
        try:
            super().append_logs(logs)
        except OSError:
            os.truncate(path, size)
            reserve = path.with_name(RESERVE)
            if not reserve.exists():
                raise
            reserve.unlink()
            try:
                super().append_logs(logs)
            except OSError:
                os.truncate(path, size)
                raise


class Ledger:
    """The study's trials, open for writing by the process that holds the lock."""

    def __init__(self, folder: Path, manifest: Manifest, storage: str | None) -> None:
        """Open or begin the study; ValueError if a database holds one of this name with other settings."""
        self.folder, self.objectives, self.limit_ms = folder, manifest.objectives, manifest.latency_limit_ms
        reserve = folder / RESERVE
        if storage is None and not reserve.exists():
            with contextlib.suppress(OSError):
                reserve.write_bytes(b"\0" * RESERVE_BYTES)
        self.storage = JournalStorage(_Journal(folder / JOURNAL)) if storage is None else open_url(storage)
        directions = [
            StudyDirection.MAXIMIZE if name == "top1" else StudyDirection.MINIMIZE for name in self.objectives
        ]
        with storage_errors(f"cannot open the study in {folder}"), quiet_optuna():
            self.study = optuna.create_study(
                storage=self.storage, study_name=manifest.study, directions=directions, load_if_exists=True
            )
            self.study_id = self.storage.get_study_id_from_name(manifest.study)
            # checked in the ledger, because another folder's manifest may describe the database's study of this name
            kept = self.study.user_attrs.get("identity")
            if kept is None and not self.study.get_trials(deepcopy=False):
                self.study.set_user_attr("identity", manifest.identity)
            else:
                check_same_study(manifest.study, kept or {}, manifest.identity)

    def trials(self) -> list[Trial]:
        """All finished trials by number."""
        return with_later(plain_trials(self.study), dict(parse_later(self.study.user_attrs)))

    def add_training(self, number: int, training: Training) -> None:
        """Write one longer training of a finished trial; raises DiskError."""
        with storage_errors(f"cannot write the study in {self.folder}"):
            self.study.set_user_attr(f"{STAGE} {number} {training.rung} {training.seed}", training.to_dict())

    def add_latency(self, number: int, final: FinalLatency) -> None:
        """Write the final latency of a finished trial, replacing an earlier one; raises DiskError."""
        with storage_errors(f"cannot write the study in {self.folder}"):
            self.study.set_user_attr(f"{LATENCY} {number}", final.to_dict())

    def add(self, trial: Trial, choices: Mapping[str, tuple[Any, ...]]) -> int:
        """Write one finished trial and return its number; raises DiskError.

        The trial's own number, longer trainings and final latency are ignored. choices: allowed values of its params.
        """
        constraints = None
        if self.limit_ms is not None and trial.measured is not None:  # above 0 breaks the limit
            constraints = {"latency_ms": trial.measured.ms - self.limit_ms}
        template = optuna.trial.create_trial(
            state=STATES[trial.outcome],
            values=[_value(trial, name) for name in self.objectives] if trial.outcome == "trained" else None,
            params=dict(trial.params),
            distributions={name: CategoricalDistribution(choices[name]) for name in trial.params},
            user_attrs=trial.to_dict(),
            constraints=constraints,
        )
        with storage_errors(f"cannot write the study in {self.folder}"):
            made = self.storage.create_new_trial(self.study_id, template_trial=template)
            return self.storage.get_trial_number_from_id(made)


def _value(trial: Trial, name: str) -> float:
    value = trial.top1_short if name == "top1" else trial.metric(name)
    assert value is not None
    return value


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Inside, Optuna logs only errors; afterwards the caller's level is restored."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.ERROR))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn the errors of files and databases into a DiskError with the reason."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"{what}: {error.strerror}") from error
    except (OptunaError, SQLAlchemyError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise DiskError(f"{what}: {without_password(reason)}") from error


def open_url(url: str, *, to_read: bool = False) -> RDBStorage:
    """Open a database by its URL; with `to_read` a missing one is an error and is not created. Raises ValueError."""
    try:
        place = sqlalchemy.make_url(url)
        file = place.database if place.get_backend_name() == "sqlite" else None
        if to_read and file and not file.startswith("file:") and not Path(file).is_file():
            raise ValueError(f"there is no file {file}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True}, skip_table_creation=to_read)
    except ImportError as error:
        raise ValueError(f"storage {without_password(url)} needs a driver that is not installed: {error}") from None
    except Exception as error:
        reason = without_password(str(error.__cause__ or error)).partition("\n")[0]
        raise ValueError(f"cannot open the storage {without_password(url)}: {reason}") from None


def count_rows(storage: RDBStorage, study: str) -> tuple[int, ...]:
    """Numbers of a study's trials, attributes and attribute bytes in a database; empty if it has no such study."""
    count = "SELECT COUNT(*), 0 FROM trials WHERE study_id = :study"
    later = "SELECT COUNT(*), SUM(LENGTH(value_json)) FROM study_user_attributes WHERE study_id = :study"
    try:
        known = {"study": storage.get_study_id_from_name(study)}
    except KeyError:
        return ()
    with storage.engine.connect() as connection:
        pairs = [tuple(connection.execute(sqlalchemy.text(ask), known).one()) for ask in (count, later)]
    return tuple(int(value or 0) for pair in pairs for value in pair)


def read_by_optuna(manifest: Manifest, storage: BaseStorage) -> list[Trial]:
    """The study's trials through Optuna; empty if the storage has no study of this name. Raises ValueError."""
    try:
        study = optuna.load_study(study_name=manifest.study, storage=storage)
    except KeyError:
        return []
    strange = [trial.number for trial in study.get_trials(deepcopy=False) if "outcome" not in trial.user_attrs]
    if strange:
        raise ValueError(f"study {manifest.study!r} holds trials that no search wrote: {strange[:5]}")
    return with_later(plain_trials(study), dict(parse_later(study.user_attrs)))


def open_journal(path: Path) -> JournalStorage:
    """Open a journal through Optuna; ValueError if Optuna cannot read it either."""
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_HeldLock()))
    except Exception as error:  # a journal of others can fail in any way
        raise ValueError(f"{path} is damaged: {error!r:.200}") from None


def plain_trials(study: optuna.Study) -> list[Trial]:
    """The trials as they were first written, without longer trainings and final latencies."""
    trials = study.get_trials(deepcopy=False)
    return [Trial.read(one.number, dict(one.params), one.user_attrs, f"trial {one.number}") for one in trials]
