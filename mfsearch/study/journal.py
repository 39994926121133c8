"""The trials of a study straight from its journal file: what Optuna reads there, many times faster, and read on.

A journal of Optuna is a file of JSON lines, each an operation with its code. Of all that Optuna may write there, this
understands what `Ledger` writes: a study is begun, a finished trial is added, an attribute of the study is set. A file
that holds anything else is a `ForeignJournalError`, never a guess: it is then read through Optuna.
"""

import dataclasses
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mfsearch.study.trial import FinalLatency, Training, Trial

STAGE = "stage"  # begins the study attributes that hold longer trainings of finished trials
LATENCY = "latency"  # begins those that hold latencies measured again at the end

# Operation codes of optuna.storages.journal.JournalStorage, and the states of optuna.trial.TrialState
BEGIN_STUDY, SET_STUDY_ATTRIBUTE, ADD_TRIAL = 0, 2, 4
FINISHED = (1, 2, 3)  # complete, pruned, failed

HEAD, PARAMS = b',"distributions":', b'},"params":{'  # what stands before and behind the text that trials share
MARK = 256  # bytes at both ends of what was read, by which a file is known again

Line = dict[str, Any]


class ForeignJournalError(ValueError):
    """The journal holds what `Ledger` does not write: read it through Optuna."""


class DamagedJournalError(ValueError):
    """A line within the journal is no JSON."""


class JournalReader:
    """What a journal file holds of one study. `read_on` takes in whole lines that were appended since, and no others.

    size: bytes taken in. trials: how many trials they hold. It opens the file to read it and takes no lock; a last line
    that is cut short, or no JSON yet, counts as not written yet. Not for two threads at once.
    """

    def __init__(self, path: Path, study: str) -> None:
        self.path, self.study = path, study
        self._restart()

    def _restart(self) -> None:
        self.size = 0
        self._first = self._last = b""  # the bytes at both ends of what was taken in
        self._trials: list[Trial] = []
        self._later: dict[tuple[int, str], Training | FinalLatency] = {}
        self._begun: str | None = None  # the name of the study that the journal holds
        self._choices: dict[bytes, dict[str, list[Any]]] = {}  # of each knob, by the text that says so

    @property
    def count(self) -> int:
        """How many trials were taken in."""
        return len(self._trials) if self._begun == self.study else 0

    @property
    def place(self) -> tuple[int, int]:
        """Which file it is and how far it was taken in: readers at one place have the same trials."""
        return zlib.crc32(self._first), self.size

    def trials(self) -> list[Trial]:
        """The trials taken in; none where the journal holds a study of another name."""
        return with_later(self._trials, self._later) if self._begun == self.study else []

    def read_on(self, end: int | None = None) -> bool:
        """Take in what was appended, up to the byte `end`; whether that changed anything.

        A file that is another than before (the study was deleted and begun anew) is read from its start. OSError if it
        cannot be opened, ForeignJournalError and DamagedJournalError as their names say.
        """
        with self.path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size if end is None else end
            again = self._is_another(file, whole)
            if again:
                self._restart()
            before = self.size
            file.seek(before)
            try:
                self._take_in(file, whole)
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                raise ForeignJournalError(f"{self.path} holds a line with {error!r} after byte {self.size}") from error
        return again or self.size > before

    def _is_another(self, file: BinaryIO, whole: int) -> bool:
        if whole < self.size:
            return True
        first = file.read(len(self._first))
        file.seek(self.size - len(self._last))
        return first != self._first or file.read(len(self._last)) != self._last

    def _take_in(self, file: BinaryIO, whole: int) -> None:
        broken: ValueError | None = None
        for line in file:
            if self.size + len(line) > whole or not line.endswith(b"\n"):
                break
            if broken is not None:  # it was not the last: nobody will write it to its end
                raise DamagedJournalError(f"{self.path} is damaged after byte {self.size}: {broken}")
            try:
                log, choices = self._parse(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                broken = error
                continue
            self._apply(log, choices)
            self._first = self._first or line[:MARK]
            self._last = line[-MARK:]
            self.size += len(line)

    def _parse(self, line: bytes) -> tuple[Line, dict[str, list[Any]] | None]:
        """A line's object, and of a trial what each knob could be.

        Two thirds of a trial's line say what its knobs could be, word for word as the trial before it. The line is
        taken apart around that text; as each part has to be an object of its own, a cut in a wrong place is noticed.
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
        code = log["op_code"]
        if code == BEGIN_STUDY and self._begun in (None, log["study_name"]):  # again by whoever opens it to write
            self._begun = log["study_name"]
        elif code == SET_STUDY_ATTRIBUTE and log["study_id"] == 0 and self._begun and len(log["user_attr"]) == 1:
            self._later.update(parse_later(log["user_attr"]))
        elif (
            code == ADD_TRIAL
            and choices is not None
            and log["study_id"] == 0
            and self._begun
            and log["state"] in FINISHED
            and "outcome" in log["user_attrs"]
        ):
            # the names of `choices`, so that all trials share them
            places = log["params"]
            if list(places) == list(choices):
                params = {
                    name: known[place] for (name, known), place in zip(choices.items(), places.values(), strict=True)
                }
            else:
                params = {name: choices[name][place] for name, place in places.items()}
            self._trials.append(Trial.from_dict(len(self._trials), params, log["user_attrs"]))
        else:
            raise ForeignJournalError(f"{self.path} holds an operation {code} of another kind after byte {self.size}")


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
    """What each knob could be; ForeignJournalError for a distribution that is not categorical."""
    found: dict[str, list[Any]] = {}
    for name, text in distributions.items():
        said = json.loads(text)
        if said.get("name") != "CategoricalDistribution" or set(said["attributes"]) != {"choices"}:
            raise ForeignJournalError(f"knob {name!r} has a distribution of another kind: {text}")
        found[name] = said["attributes"]["choices"]
    return found
