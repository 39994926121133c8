"""The files of a study besides its trials: names, locks, and files that are written completely or not at all."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import filelock

from mfsearch.plain_files import MAX_JSON_BYTES, parse_json, read_bytes

RESULTS = Path("results")
MANIFEST, JOURNAL, LOCK, RESERVE = "manifest.json", "journal.log", "lock", "reserve"
WEIGHTS, CHECKPOINTS, REPORT = "weights", "checkpoints", "report.html"
RESERVED = ("calibrations", "twins", "ablations", "reference", "latency", "tables")  # folders beside the studies
PACKAGES = ("mfsearch", "torch", "optuna", "onnxruntime", "numpy")

Parsed = TypeVar("Parsed")


class StudyBusyError(RuntimeError):
    """Another process is writing the study."""


class DiskError(RuntimeError):
    """The ledger could not be written; everything finished before is kept."""


def locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Lock the study's folder for writing; raises StudyBusyError at once if another process has the lock."""
    return held(
        folder,
        StudyBusyError(f"study {folder.name!r} is being written by another process; wait for it or stop it"),
    )


@contextlib.contextmanager
def held(folder: Path, busy: RuntimeError) -> Iterator[None]:
    """Lock a folder for writing and create it if needed; raises `busy` at once if another process has the lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise busy from None
    except OSError as error:
        raise DiskError(f"cannot write in {folder}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def is_being_written(folder: Path) -> bool | None:
    """Whether a process on this machine has locked the study's folder for writing; None if that is unknown.

    Reads Linux's table of locks and takes no lock, so that a search that starts at this moment is not turned away.
    """
    try:
        status = (folder / LOCK).stat()
        table = Path("/proc/locks").read_text(encoding="ascii")
    except FileNotFoundError:
        return None if (folder / LOCK).exists() else False
    except OSError:
        return None
    device = (os.major(status.st_dev), os.minor(status.st_dev))
    for line in table.splitlines():
        # "1: FLOCK  ADVISORY  WRITE 708 fe:01:130923 0 EOF"; "1: -> FLOCK ..." waits for it
        lock = re.search(r" FLOCK .* ([0-9a-f]+):([0-9a-f]+):(\d+) \d+ \w+$", line)
        if lock is not None and "->" not in line and int(lock[3]) == status.st_ino:
            # some file systems show another device here than in their files' status
            return True if (int(lock[1], 16), int(lock[2], 16)) == device else None
    return False


def read_as(path: Path, parse: Callable[[Any], Parsed], command: str) -> Parsed:
    """A JSON file, read by `parse`; ValueError names the file, the reason and the command that writes it."""
    try:
        return parse(parse_json(read_bytes(path, MAX_JSON_BYTES)))
    except (OSError, ValueError, OverflowError) as error:
        reason = str(error)
    except KeyError as error:
        reason = f"it has no {error}"
    except (AttributeError, TypeError) as error:
        reason = f"a value in it is of the wrong kind ({error})"
    raise ValueError(f"cannot read {path}: {reason}; `mfsearch {command}` writes it again")


def write_json(path: Path, data: Any, *, private: bool = False) -> None:
    """Write a JSON file completely or not at all; `private` makes it readable for its owner only."""
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
    """The name of a study and its folder: letters, digits, dot, dash and underscore. Raises ValueError."""
    if name in RESERVED:
        raise ValueError(f"a study's name must not be one of {', '.join(RESERVED)} (other folders), got {name!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"a study's name must be up to 100 letters, digits, '.', '_' and '-', got {name!r:.200}")
    return name


def study_name(data: str, budget: str) -> str:
    """The default name of a study: "flowers-150M" for data "photos/flowers" and budget "150M"."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{Path(data).name or 'data'}-{budget}".replace("..", "-")).strip("._-")


def find_study(name: str, results: Path = RESULTS) -> Path:
    """The folder of a study by name, under `results`, or by path; ValueError lists the studies there."""
    for folder in (results / name, Path(name)):
        if (folder / MANIFEST).is_file():
            return folder
    there = list_studies(results)
    known = f"known are {', '.join(there)}" if there else f"there are none under {results}; `mfsearch run` creates one"
    raise ValueError(f"no study {name!r:.200}: {known}")


def find_lesson(name: str | None, study: str, results: Path) -> Path | None:
    """The folder of the study to learn from, None without one.

    A study that exists has learned already; then the name alone is compared, and the other study may be gone.
    """
    if name is None or (results / study / MANIFEST).exists():
        return None if name is None else Path(name)
    return find_study(name, results)


def list_studies(results: Path = RESULTS) -> list[str]:
    """Names of the studies under a folder, newest first."""
    by_age: list[tuple[float, str]] = []
    for path in results.glob(f"*/{MANIFEST}"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            by_age.append((-path.stat().st_mtime, path.parent.name))
    return [name for _, name in sorted(by_age)]


def versions() -> dict[str, str]:
    by_package = {}
    for package in PACKAGES:
        try:
            by_package[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            by_package[package] = "unknown"
    return by_package


def now() -> str:
    """The time in UTC as ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def differences(name: str, old: Any, new: Any, kept: str) -> Iterator[str]:
    """A line for every value in which what is kept in `kept` ("the study", "the file") differs from this run."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(f"{name}.{key}".strip("."), old.get(key), new.get(key), kept)
    elif old != new:
        yield f"{name}: {kept} has {old}, this run says {new}"


def without_password(text: str) -> str:
    """The text with user and password of any URL masked, because people share manifests and reports."""
    text = re.sub(r"://[^\s\"]*@", "://***@", text)
    return re.sub(r"(password=)[^&\s\"]+", r"\1***", text)


def git_revision() -> str | None:
    """The checkout's revision, with `-dirty` if it has changes; None for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
