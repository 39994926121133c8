"""Reads a study repeatedly while a search may be writing it; each look costs only what is new."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mfsearch.study.files import JOURNAL, MANIFEST, DiskError
from mfsearch.study.journal import ForeignJournalError, JournalReader
from mfsearch.study.manifest import Manifest, other_settings
from mfsearch.study.trial import Trial

if TYPE_CHECKING:
    from mfsearch.study.ledger import Database


class Position(NamedTuple):
    """How far a study has come; two equal positions mean that nothing happened in between.

    trials: their number, None if they would have to be read to be counted.
    """

    manifest: tuple[int, int, int]
    ledger: tuple[int, ...]
    trials: int | None


class StudyReader:
    """Looks at a study and reads its trials; never writes and takes no lock. Not thread-safe.

    Raises ValueError with the reason if the study cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stamp: tuple[int, int, int] | None = None
        self._manifest: Manifest | None = None
        self._journal = JournalReader(folder / JOURNAL, "")
        self._database: Database | None = None

    @property
    def manifest(self) -> Manifest:
        """The study's manifest at the last look."""
        if self._manifest is None:
            self.look()
        assert self._manifest is not None
        return self._manifest

    @property
    def unreadable(self) -> list[str]:
        """A sentence for each longer training and latency of the journal that cannot be read."""
        return self._journal.unreadable

    def look(self) -> Position:
        """The study's position now."""
        stamp = _stamp(self.folder / MANIFEST)
        if stamp != self._stamp:
            manifest, before = Manifest.read(self.folder), self._manifest
            if before is None or (manifest.study, manifest.storage) != (before.study, before.storage):
                self._journal, self._database = JournalReader(self.folder / JOURNAL, manifest.study), None
            self._stamp, self._manifest = stamp, manifest
        if self.manifest.storage:
            return self._look_into_database(stamp)
        try:
            self._journal.read_on()
        except FileNotFoundError:
            return Position(stamp, (), 0)
        except ForeignJournalError:
            return Position(stamp, _stamp(self._journal.path), None)
        except OSError as error:
            raise ValueError(f"cannot read {self._journal.path}: {error.strerror}") from None
        self._check_identity()
        return Position(stamp, self._journal.place, self._journal.count)

    def trials(self, at: Position) -> list[Trial]:
        """The trials at that position.

        From a database or a foreign journal, later trainings of these trials are included. ValueError if the journal
        was replaced since, because the study was deleted and created again.
        """
        manifest = self.manifest
        if at.ledger == self._journal.place and not manifest.storage:
            return self._journal.trials()
        if at.trials is None or manifest.storage:
            return self._read_by_optuna()[: at.trials]
        if not at.ledger:
            return []
        earlier = JournalReader(self._journal.path, manifest.study)
        try:
            earlier.read_on(at.ledger[-1])
        except OSError as error:
            raise ValueError(f"cannot read {earlier.path}: {error.strerror}") from None
        if earlier.place != at.ledger:
            raise ValueError(f"the study in {self.folder} was created again since it was read: reload the page")
        return earlier.trials()

    def _check_identity(self) -> None:
        """ValueError if the journal is of a study with other settings than the manifest's."""
        ours, path = self._journal.identity, self._journal.path
        if ours is None or not self._journal.count:  # no trial: the study may be about to be created again
            return
        if not isinstance(ours, Mapping):
            raise ValueError(f"{path}: the study's identity must be a mapping, got {ours!r:.200}")
        if other := other_settings(ours, self.manifest.identity):
            raise ValueError(f"{path} and {MANIFEST} beside it differ in {other[0].partition(':')[0]}")

    def _look_into_database(self, stamp: tuple[int, int, int]) -> Position:
        from mfsearch.study import ledger

        try:
            with ledger.storage_errors(f"cannot read the study in {self.folder}"):
                counts = ledger.count_rows(self._open_database(), self.manifest.study)
        except DiskError as error:
            raise ValueError(str(error)) from None
        return Position(stamp, counts, counts[0] if counts else 0)

    def _open_database(self) -> "Database":
        from mfsearch.study import ledger

        if self._database is None:
            self._database = ledger.open_url(str(self.manifest.storage), to_read=True)
        return self._database

    def _read_by_optuna(self) -> list[Trial]:
        from mfsearch.study import ledger

        try:
            with ledger.storage_errors(f"cannot read the study in {self.folder}"):
                kept = self.manifest.storage
                storage = self._open_database() if kept else ledger.open_journal(self._journal.path)
                return ledger.read_by_optuna(self.manifest, storage)
        except DiskError as error:
            raise ValueError(str(error)) from None
        except (TypeError, LookupError, AttributeError, AssertionError, OverflowError) as error:
            raise ValueError(f"the ledger of the study in {self.folder} is damaged: {error!r:.200}") from None


def _stamp(path: Path) -> tuple[int, int, int]:
    """Values that change when the file changes; ValueError if it is missing."""
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    return status.st_ino, status.st_size, status.st_mtime_ns
