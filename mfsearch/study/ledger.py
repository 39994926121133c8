"""A study on disk: a folder with manifest, ledger (an Optuna study), weights and report.

One process writes at a time and holds the folder's lock; readers need none. A finished trial is one append, flushed to
the disk, so nothing that ends the process leaves half a trial or one that runs for ever.
"""

import contextlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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

from mfsearch.search.settings import check_same_study
from mfsearch.study.files import DiskError, without_password
from mfsearch.study.journal import (
    LATENCY,
    STAGE,
    ForeignJournalError,
    JournalReader,
    with_later,
)

RESULTS = Path("results")
MANIFEST, JOURNAL, RESERVE = "manifest.json", "journal.log", "reserve"
WEIGHTS, CHECKPOINTS, REPORT = "weights", "checkpoints", "report.html"
RESERVED = ("calibrations", "twins", "reference", "latency")  # folders beside the studies
RESERVE_BYTES = 1 << 20  # given back when the disk is full, so that finished trials can still be written

OUTCOMES = {
    "trained": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "rejected": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


optuna.logging.set_verbosity(optuna.logging.ERROR)


class _HeldLock(BaseJournalFileLock):
    """The study's own lock is held for as long as the ledger is open: no lock file can go stale after a kill."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Journal(JournalFileBackend):
    """Appends whole lines or nothing: a line cut short by a kill or a full disk is taken back."""

    def __init__(self, path: Path) -> None:
        self._cut_partial_line(path)
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

    @staticmethod
    def _cut_partial_line(path: Path) -> None:
        if not path.exists():
            return
        with path.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)


class Ledger:
    """The study's trials, open for writing by the one process that holds the lock."""

    def __init__(
        self,
        folder: Path,
        name: str,
        objectives: list[str],
        storage: str | None,
        identity: dict[str, Any] | None = None,
    ) -> None:
        """Open or begin the study. identity: settings that all its trials share, kept in the ledger itself, because a
        database may hold a study of this name that another folder's manifest describes; ValueError if they differ."""
        self.folder = folder
        self.objectives = objectives
        reserve = folder / RESERVE
        if storage is None and not reserve.exists():
            with contextlib.suppress(OSError):
                reserve.write_bytes(b"\0" * RESERVE_BYTES)
        self.storage = JournalStorage(_Journal(folder / JOURNAL)) if storage is None else _open_url(storage)
        directions = [StudyDirection.MAXIMIZE if name == "top1" else StudyDirection.MINIMIZE for name in objectives]
        with _storage_errors(f"cannot open the study in {folder}"):
            self.study = optuna.create_study(
                storage=self.storage, study_name=name, directions=directions, load_if_exists=True
            )
            self.study_id = self.storage.get_study_id_from_name(name)
            if identity is not None:
                kept = self.study.user_attrs.get("identity")
                if kept is None and not self.study.get_trials(deepcopy=False):
                    self.study.set_user_attr("identity", identity)
                else:
                    check_same_study({"study": name, **(kept or {})}, identity)

    def rows(self) -> list[dict[str, Any]]:
        """All finished trials, as `read_trials` gives them."""
        return with_later(_plain_rows(self.study), self.study.user_attrs)

    def add_stage(self, number: int, stage: dict[str, Any]) -> None:
        """Write one longer training of a finished trial; DiskError if the disk does not take it.

        stage: rung, seed, top1 (None with a reason where it failed), epochs, curve, train_seconds.
        """
        with _storage_errors(f"cannot write the study in {self.folder}"):
            self.study.set_user_attr(f"{STAGE} {number} {stage['rung']} {stage['seed']}", stage)

    def add_latency(self, number: int, final: dict[str, Any]) -> None:
        """Write the latency of a finished trial that was measured again, in the place of an earlier one; DiskError.

        final: the columns latency_*, window (which measurements belong together), finished, over_limit.
        """
        with _storage_errors(f"cannot write the study in {self.folder}"):
            self.study.set_user_attr(f"{LATENCY} {number}", final)

    def add(self, row: dict[str, Any], choices: dict[str, tuple[Any, ...]]) -> int:
        """Write one finished trial and return its number; DiskError if the disk does not take it.

        row: as `read_trials` gives it, without number and longer trainings. choices: what each of its params could be.
        """
        attrs = {key: value for key, value in row.items() if key not in ("params", "number")}
        trained = row["outcome"] == "trained"
        trial = optuna.trial.create_trial(
            state=OUTCOMES[row["outcome"]],
            values=[row[name] for name in self.objectives] if trained else None,
            params=row["params"],
            distributions={name: CategoricalDistribution(choices[name]) for name in row["params"]},
            user_attrs=attrs,
        )
        with _storage_errors(f"cannot write the study in {self.folder}"):
            made = self.storage.create_new_trial(self.study_id, template_trial=trial)
            return self.storage.get_trial_number_from_id(made)


@contextlib.contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    """Files and databases fail in their own ways; all become a DiskError with the reason."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"{what}: {error.strerror}") from error
    except (OptunaError, SQLAlchemyError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise DiskError(f"{what}: {without_password(reason)}") from error


def _open_url(url: str, *, to_read: bool = False) -> RDBStorage:
    """to_read: a database that is not there is not made."""
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


def check_name(name: str) -> str:
    """The name of a study, which is also its folder's: letters, digits, dot, dash and underscore."""
    if name in RESERVED:
        raise ValueError(f"a study cannot be called {name!r}: that folder of results holds something else")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"a study's name must be letters, digits, '.', '_' and '-', up to 100, got {name!r}")
    return name


def find_study(name: str, results: Path = RESULTS) -> Path:
    """The folder of a study by its name under `results` or by its path; ValueError lists what is there."""
    for folder in (results / name, Path(name)):
        if (folder / MANIFEST).is_file():
            return folder
    there = list_studies(results)
    known = f"known are {', '.join(there)}" if there else f"there are none under {results}; `mfsearch run` makes one"
    raise ValueError(f"no study {name!r}: {known}")


def list_studies(results: Path = RESULTS) -> list[str]:
    """Names of the studies under a folder, newest first."""
    found: list[tuple[float, str]] = []
    for path in results.glob(f"*/{MANIFEST}"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            found.append((-path.stat().st_mtime, path.parent.name))
    return [name for _, name in sorted(found)]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The study's manifest; ValueError if it is missing or no manifest of ours."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(manifest, dict) or "study" not in manifest:
        raise ValueError(f"{path} is not the manifest of a study")
    return manifest


class Seen(NamedTuple):
    """How far a study had come when it was looked at: between two looks that are equal nothing happened.

    trials: None where they would have to be read to be counted.
    """

    manifest: tuple[int, int, int]
    ledger: tuple[int, ...]
    trials: int | None


class StudyReader:
    """Reads a study again and again while a search may write it, at the cost of what is new; it never writes or locks.

    Not for two threads at once. ValueError with a sentence where the study cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stamp: tuple[int, int, int] | None = None
        self._manifest: dict[str, Any] = {}
        self._journal = JournalReader(folder / JOURNAL, "")
        self._database: RDBStorage | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        """The study's manifest at the last look."""
        return self._manifest

    def look(self) -> Seen:
        """How far the study has come."""
        stamp = _stamp(self.folder / MANIFEST)
        if stamp != self._stamp:
            manifest = read_manifest(self.folder)
            if (manifest["study"], manifest.get("storage")) != (self._journal.study, self._manifest.get("storage")):
                self._journal, self._database = JournalReader(self.folder / JOURNAL, manifest["study"]), None
            self._stamp, self._manifest = stamp, manifest
        if self._manifest.get("storage"):
            return self._look_into_database(stamp)
        try:
            self._journal.read_on()
        except FileNotFoundError:
            return Seen(stamp, (), 0)
        except ForeignJournalError:
            return Seen(stamp, _stamp(self._journal.path), None)
        except OSError as error:
            raise ValueError(f"cannot read {self._journal.path}: {error.strerror}") from None
        return Seen(stamp, self._journal.place, self._journal.trials)

    def rows(self, seen: Seen) -> list[dict[str, Any]]:
        """The trials as they were at that look, as `read_trials` gives them.

        Where they are not in a journal of our own, what was written later of these trials is there, too. ValueError
        where the journal is not the one that was looked at: the study was deleted and begun anew.
        """
        if self._stamp is None:
            self.look()  # it was another reader that looked
        if seen.ledger == self._journal.place and not self._manifest.get("storage"):
            return self._journal.rows()
        if seen.trials is None or self._manifest.get("storage"):
            return self._rows_by_optuna()[: seen.trials]
        if not seen.ledger:
            return []
        earlier = JournalReader(self._journal.path, self._journal.study)
        try:
            earlier.read_on(seen.ledger[-1])
        except OSError as error:
            raise ValueError(f"cannot read {earlier.path}: {error.strerror}") from None
        if earlier.place != seen.ledger:
            raise ValueError(f"the study in {self.folder} was begun anew since it was looked at: load the page again")
        return earlier.rows()

    def _look_into_database(self, stamp: tuple[int, int, int]) -> Seen:
        count = "SELECT COUNT(*), 0 FROM trials WHERE study_id = :study"
        later = "SELECT COUNT(*), SUM(LENGTH(value_json)) FROM study_user_attributes WHERE study_id = :study"
        try:
            with _storage_errors(f"cannot read the study in {self.folder}"):
                storage = self._open_database()
                study = {"study": storage.get_study_id_from_name(self._manifest["study"])}
                with storage.engine.connect() as connection:
                    found = [tuple(connection.execute(sqlalchemy.text(ask), study).one()) for ask in (count, later)]
        except KeyError:
            return Seen(stamp, (), 0)
        except DiskError as error:
            raise ValueError(str(error)) from None
        return Seen(stamp, tuple(int(value or 0) for pair in found for value in pair), int(found[0][0]))

    def _open_database(self) -> RDBStorage:
        if self._database is None:
            self._database = _open_url(self._manifest["storage"], to_read=True)
        return self._database

    def _rows_by_optuna(self) -> list[dict[str, Any]]:
        storage: BaseStorage
        try:
            with _storage_errors(f"cannot read the study in {self.folder}"):
                kept = self._manifest.get("storage")
                storage = self._open_database() if kept else _read_foreign(self._journal.path)
                try:
                    study = optuna.load_study(study_name=self._manifest["study"], storage=storage)
                except KeyError:  # no study of that name
                    return []
                rows = _plain_rows(study)
        except DiskError as error:
            raise ValueError(str(error)) from None
        if strange := [row["number"] for row in rows if "outcome" not in row]:
            raise ValueError(f"the study in {self.folder} holds trials that no search wrote: {strange[:5]}")
        return with_later(rows, study.user_attrs)


def read_trials(folder: Path) -> list[dict[str, Any]]:
    """Every finished trial as a plain dict, in the order of their numbers; reads only, also while a search writes.

    ValueError with a sentence if the ledger cannot be read or is damaged.
    """
    reader = StudyReader(folder)
    return reader.rows(reader.look())


def _read_foreign(path: Path) -> JournalStorage:
    """Optuna's own reading of a journal; ValueError where it does not understand it either."""
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_HeldLock()))
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from None


def _plain_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """The trials as they were added."""
    trials = study.get_trials(deepcopy=False)
    return [{"number": trial.number, "params": dict(trial.params), **trial.user_attrs} for trial in trials]


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file does; ValueError if it is not there."""
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    return status.st_ino, status.st_size, status.st_mtime_ns
