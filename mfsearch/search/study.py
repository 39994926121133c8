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
from typing import Any

import filelock
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from mfsearch.search.rungs import measured_again, merged
from mfsearch.search.settings import check_same_study, without_password

RESULTS = Path("results")
MANIFEST, JOURNAL, LOCK, RESERVE = "manifest.json", "journal.log", "lock", "reserve"
WEIGHTS, CHECKPOINTS, REPORT = "weights", "checkpoints", "report.html"
STAGE = "stage"  # begins the study attributes that hold longer trainings of finished trials
LATENCY = "latency"  # begins those that hold latencies measured again at the end
RESERVED = ("calibrations", "twins", "reference")  # folders beside the studies
RESERVE_BYTES = 1 << 20  # given back when the disk is full, so that finished trials can still be written

OUTCOMES = {
    "trained": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "rejected": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


optuna.logging.set_verbosity(optuna.logging.ERROR)


class StudyBusyError(RuntimeError):
    """Another process is writing the study."""


class DiskError(RuntimeError):
    """The ledger could not be written; what was finished before is kept."""


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
        return _rows(self.study)

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


def _open_url(url: str) -> BaseStorage:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except ImportError as error:
        raise ValueError(f"storage {without_password(url)} needs a driver that is not installed: {error}") from None
    except Exception as error:
        reason = without_password(str(error.__cause__ or error)).partition("\n")[0]
        raise ValueError(f"cannot open the storage {without_password(url)}: {reason}") from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the study's folder for writing; StudyBusyError at once if another process does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise StudyBusyError(
            f"study {folder.name!r} is being written by another process; wait for it or stop it"
        ) from None
    except OSError as error:
        raise DiskError(f"cannot write in {folder}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, data: Any, *, private: bool = False) -> None:
    """Write whole or not at all; private: for the owner's eyes alone."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        if private:
            part.chmod(0o600)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DiskError(f"cannot write {path}: {error.strerror}") from None


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
    manifests = sorted(results.glob(f"*/{MANIFEST}"), key=lambda path: -path.stat().st_mtime)
    return [path.parent.name for path in manifests]


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


def read_trials(folder: Path) -> list[dict[str, Any]]:
    """Every finished trial as a plain dict, in the order of their numbers; reads only, also while a search writes."""
    manifest = read_manifest(folder)
    storage: BaseStorage
    if manifest.get("storage"):
        storage = _open_url(manifest["storage"])
    elif (folder / JOURNAL).is_file():
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL), lock_obj=_HeldLock()))
    else:
        return []
    try:
        with _storage_errors(f"cannot read the study in {folder}"):
            study = optuna.load_study(study_name=manifest["study"], storage=storage)
            return _rows(study)
    except KeyError:
        return []


def _rows(study: optuna.Study) -> list[dict[str, Any]]:
    stages: dict[int, list[dict[str, Any]]] = {}
    for key, stage in study.user_attrs.items():
        if key.startswith(f"{STAGE} "):
            stages.setdefault(int(key.split()[1]), []).append(stage)
    rows = [
        {"number": trial.number, "params": dict(trial.params), **trial.user_attrs}
        for trial in study.get_trials(deepcopy=False)
    ]
    final = study.user_attrs
    return [
        measured_again(merged(row, stages.get(row["number"], ())), final.get(f"{LATENCY} {row['number']}"))
        for row in rows
    ]
