"""Reads a study's trials directly from its journal file, many times faster than Optuna, and incrementally.

Optuna's journal is a file of JSON lines, each an operation with a code. This reader understands only the operations
that `Ledger` writes: a study is created, a finished trial is added, an attribute of the study is set. Anything else
raises `ForeignJournalError`; such a file is read through Optuna.
"""

import dataclasses
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mfsearch.plain_files import check_letters, open_regular
from mfsearch.study.trial import FinalLatency, Training, Trial

STAGE = "stage"  # prefix of the study attributes with longer trainings
LATENCY = "latency"  # prefix of those with latencies measured again at the end

# Operation codes of optuna.storages.journal.JournalStorage, and the states of optuna.trial.TrialState
BEGIN_STUDY, SET_STUDY_ATTRIBUTE, ADD_TRIAL = 0, 2, 4
FINISHED = (1, 2, 3)  # complete, pruned, failed

HEAD, PARAMS = b',"distributions":', b'},"params":{'  # before and after the text that trials share
MAX_BYTES, MAX_LINE_BYTES = 1 << 30, 1 << 22  # a trial has 4 kB
MARK = 256  # bytes at both ends of the part read so far; they identify the file

Line = dict[str, Any]


class ForeignJournalError(ValueError):
    """The journal holds operations that `Ledger` does not write: read it through Optuna."""


class DamagedJournalError(ValueError):
    """A line within the journal is not JSON."""


class JournalReader:
    """The trials of one study in a journal file. `read_on` reads the complete lines that were appended since.

    size: bytes read so far. trials: the trials in them. It takes no lock. A last line that is incomplete, or not yet
    valid JSON, is left for the next read. Not thread-safe.
    """

    def __init__(self, path: Path, study: str) -> None:
        self.path, self.study = path, study
        self._restart()

    def _restart(self) -> None:
        self.size = self._line = 0
        self.unreadable: list[str] = []  # a sentence for each longer training or latency that cannot be read
        self._first = self._last = b""  # bytes at both ends of the part read so far
        self._trials: list[Trial] = []
        self._later: dict[tuple[int, str], Training | FinalLatency] = {}
        self.identity: object = None  # settings of the study, as its first run wrote them
        self._begun: str | None = None  # the name of the study that the journal holds
        self._choices: dict[bytes, dict[str, list[Any]]] = {}  # of each knob, by the text that says so

    @property
    def count(self) -> int:
        """Number of trials read so far."""
        return len(self._trials) if self._begun == self.study else 0

    @property
    def place(self) -> tuple[int, int]:
        """The file and the position in it: readers with equal places have the same trials."""
        return zlib.crc32(self._first), self.size

    def trials(self) -> list[Trial]:
        """The trials taken in; none where the journal holds a study of another name."""
        return with_later(self._trials, self._later) if self._begun == self.study else []

    def read_on(self, end: int | None = None) -> bool:
        """Read the appended lines, up to byte `end`; returns whether anything changed.

        A new file (the study was deleted and created again) is read from its start. Raises OSError if it cannot be
        opened, ForeignJournalError and DamagedJournalError.
        """
        with open_regular(self.path) as file:
            whole = os.fstat(file.fileno()).st_size if end is None else end
            if whole > MAX_BYTES:
                raise DamagedJournalError(f"{self.path} must be at most {MAX_BYTES >> 20} MB")
            again = self._is_another(file, whole)
            if again:
                self._restart()
            before = self.size
            file.seek(before)
            try:
                self._take_in(file, whole)
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                raise ForeignJournalError(
                    f"{self.path} has a strange line after byte {self.size}: {error!r}"
                ) from error
        return again or self.size > before

    def _is_another(self, file: BinaryIO, whole: int) -> bool:
        if whole < self.size:
            return True
        first = file.read(len(self._first))
        file.seek(self.size - len(self._last))
        return first != self._first or file.read(len(self._last)) != self._last

    def _take_in(self, file: BinaryIO, whole: int) -> None:
        broken: Exception | None = None
        for line in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
            if len(line) == MAX_LINE_BYTES:
                raise DamagedJournalError(f"{self.path}:{self._line + 1} is longer than {MAX_LINE_BYTES >> 20} MB")
            if self.size + len(line) > whole or not line.endswith(b"\n"):
                break
            if broken is not None:  # not the last line, so it will never be completed
                raise DamagedJournalError(f"{self.path} is damaged after byte {self.size}: {broken}")
            try:
                log, choices = self._parse(line)
                check_letters(line, log)
            except RecursionError as error:  # no line that is still being written
                raise DamagedJournalError(f"{self.path}:{self._line + 1} is nested too deeply") from error
            except (json.JSONDecodeError, UnicodeError) as error:
                broken = error
                continue
            self._line += 1
            self._apply(log, choices)
            self._first = self._first or line[:MARK]
            self._last = line[-MARK:]
            self.size += len(line)

    def _parse(self, line: bytes) -> tuple[Line, dict[str, list[Any]] | None]:
        """The object in a line, and for a trial the choices of each knob.

        Two thirds of a trial's line are the choices, identical to the line before it. The line is cut around this text;
        each piece must be a JSON object, so a cut at a wrong place is noticed.
        """
        start, end = line.find(HEAD), line.find(PARAMS)
        if 0 < start < end:
            text = line[start + len(HEAD) : end + 1]
            try:
                choices = self._choices.get(text) or self._choices.setdefault(text, _choices(json.loads(text)))
                head, tail = json.loads(line[:start] + b"}"), json.loads(b"{" + line[end + 2 :])
            except json.JSONDecodeError:
                pass
            else:
                if "distributions" not in tail:
                    return {**head, **tail}, choices
        log = json.loads(line)
        there = isinstance(log, dict) and log.get("op_code") == ADD_TRIAL
        return log, _choices(log["distributions"]) if there else None

    def _apply(self, log: Line, choices: dict[str, list[Any]] | None) -> None:
        if not isinstance(log, dict):
            raise DamagedJournalError(f"{self.path} is damaged: line {self._line} must be an object, got {log!r:.100}")
        code = log["op_code"]
        if code == BEGIN_STUDY and self._begun in (None, log["study_name"]):  # every writer repeats it
            self._begun = log["study_name"]
        elif code == SET_STUDY_ATTRIBUTE and log["study_id"] == 0 and self._begun and len(log["user_attr"]) == 1:
            self.identity = log["user_attr"].get("identity", self.identity)
            try:
                self._later.update(parse_later(log["user_attr"]))
            except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
                self.unreadable.append(f"{self.path.name}:{self._line} cannot be read: {error!s:.300}")
        elif (
            code == ADD_TRIAL
            and choices is not None
            and log["study_id"] == 0
            and self._begun
            and log["state"] in FINISHED
            and "outcome" in log["user_attrs"]
        ):
            place = f"{self.path.name}:{self._line}"
            # use the keys of `choices`, so that all trials share the strings
            places = log["params"]
            if list(places) == list(choices):
                params = {
                    name: known[place] for (name, known), place in zip(choices.items(), places.values(), strict=True)
                }
            else:
                params = {name: choices[name][place] for name, place in places.items()}
            self._trials.append(Trial.read(len(self._trials), params, log["user_attrs"], place))
        else:
            raise ForeignJournalError(f"{self.path} has an unknown operation {code!r:.200} after byte {self.size}")


def parse_later(attributes: Mapping[str, Any]) -> Iterator[tuple[tuple[int, str], Training | FinalLatency]]:
    """Longer trainings and final latencies among a study's attributes, each by its trial's number and its key."""
    for key, values in attributes.items():
        kind, _, rest = key.partition(" ")
        if kind == STAGE:
            yield (int(rest.split()[0]), key), Training.from_dict(values)
        elif kind == LATENCY:
            yield (int(rest), key), FinalLatency.from_dict(values)


def with_later(trials: Iterable[Trial], later: Mapping[tuple[int, str], Training | FinalLatency]) -> list[Trial]:
    """Trials as they were added, with their longer trainings and final latencies."""
    longer: dict[int, list[Training]] = {}
    finals: dict[int, FinalLatency] = {}
    for (number, _), value in later.items():
        if isinstance(value, Training):
            longer.setdefault(number, []).append(value)
        else:
            finals[number] = value
    return [
        dataclasses.replace(trial, longer=tuple(longer.get(trial.number, ())), final=finals.get(trial.number))
        if trial.number in longer or trial.number in finals
        else trial
        for trial in trials
    ]


def _choices(distributions: Mapping[str, str]) -> dict[str, list[Any]]:
    """The choices of each knob; ForeignJournalError if a distribution is not categorical."""
    choices: dict[str, list[Any]] = {}
    for name, text in distributions.items():
        said = json.loads(text)
        if said.get("name") != "CategoricalDistribution" or set(said["attributes"]) != {"choices"}:
            raise ForeignJournalError(f"knob {name!r} must have categorical choices, got {text:.200}")
        choices[name] = said["attributes"]["choices"]
        if not all(isinstance(choice, bool | int | float | str) for choice in choices[name]):
            raise DamagedJournalError(f"choices of knob {name!r:.200} must be numbers and words, got {text:.200}")
    return choices
