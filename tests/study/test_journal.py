"""The journal read by our own reader: equal to Optuna's reading, whatever state the file is in."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.simulated_study import simulate, trial_line, write_study
from mfsearch.study.files import JOURNAL, write_json
from mfsearch.study.journal import DamagedJournalError, ForeignJournalError, JournalReader
from mfsearch.study.ledger import Ledger
from mfsearch.study.manifest import Manifest
from mfsearch.study.reader import StudyReader
from mfsearch.study.study import Study
from mfsearch.study.trial import FinalLatency, Training, Trial, TrialLatency
from tests import trials
from tests.trials import manifest, training

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
STUDIES = sorted(path.parent for path in REFERENCE.glob(f"*/{JOURNAL}"))
OBJECTIVES = ["top1", "madds", "latency_ms"]
CHOICES: dict[str, tuple[Any, ...]] = {"on": (True, False), "count": (1, 2.5, "many"), "same": (7,)}


def optuna_trials(journal: Path, study: str) -> list[Trial]:
    """The trials as Optuna itself reads them."""
    storage = JournalStorage(JournalFileBackend(str(journal)))
    found = optuna.load_study(study_name=study, storage=storage)
    stages: dict[int, list[Training]] = {}
    for key, value in found.user_attrs.items():
        if key.startswith("stage "):
            stages.setdefault(int(key.split()[1]), []).append(Training.from_dict(value))
    read = []
    for one in found.get_trials():
        trial = Trial.from_dict(one.number, dict(one.params), one.user_attrs)
        measured = found.user_attrs.get(f"latency {one.number}")
        final = None if measured is None else FinalLatency.from_dict(measured)
        read.append(dataclasses.replace(trial, longer=tuple(stages.get(one.number, ())), final=final))
    return read


def read(journal: Path, study: str) -> list[Trial]:
    reader = JournalReader(journal, study)
    reader.read_on()
    return reader.trials()


def opened(folder: Path) -> list[Trial]:
    return list(Study.open(folder).trials)


def same(ours: list[Trial], theirs: list[Trial]) -> bool:
    """Equal to the order of the keys and the type of every value, NaN being NaN."""
    return repr(ours) == repr(theirs)


def random_trial(rng: random.Random, outcome: str | None = None) -> Trial:
    outcome = outcome or rng.choice(["trained", "trained", "trained", "stopped", "rejected", "failed"])
    params = {name: rng.choice(choices) for name, choices in CHOICES.items() if name == "same" or rng.random() < 0.8}
    return trials.trial(
        0,
        outcome,
        reason=None if outcome == "trained" else 'so, "distributions":{ } \\ \u2028 \u00e9',
        params=params,
        madds=rng.randrange(10**9),
        latency_ms=rng.choice([rng.uniform(1, 9), 5]),
        latency_low_ms=rng.choice([rng.uniform(1, 9), 5, float("nan")]),
        top1=rng.random() if outcome == "trained" else None,
        score=rng.random(),
        finished="then",
        curve=[{"epoch": 1}],
    )


def random_ledger(folder: Path, seed: int, count: int) -> Ledger:
    """A ledger written by a search's own means, in an order that no search would write it in."""
    rng = random.Random(seed)
    folder.mkdir(exist_ok=True)
    begun = manifest("s", objectives=OBJECTIVES, latency_limit_ms=6.0, seed=seed)
    write_json(folder / "manifest.json", begun.to_dict())
    ledger = Ledger(folder, begun, None)
    for number in range(count):
        ledger.add(random_trial(rng), CHOICES)
        for _ in range(rng.randrange(3)):
            longer = training(rng.randrange(1, 3), rng.choice([None, rng.random()]), seed=rng.randrange(2))
            ledger.add_training(rng.randrange(number + 1), longer)
        if rng.random() < 0.4:
            ledger.add_latency(rng.randrange(number + 1), FinalLatency(TrialLatency(rng.random())))
        if rng.random() < 0.2:
            ledger = Ledger(folder, begun, None)  # opened again, as by a search that goes on
    return ledger


@pytest.mark.parametrize("folder", STUDIES, ids=[path.name for path in STUDIES])
def test_committed_studies_are_read_as_optuna_reads_them(folder: Path) -> None:
    study = Manifest.read(folder).study
    expected = optuna_trials(folder / JOURNAL, study)
    assert expected
    assert same(read(folder / JOURNAL, study), expected)
    assert same(opened(folder), expected)


@pytest.mark.parametrize("seed", range(12))
def test_random_studies_are_read_as_optuna_reads_them(tmp_path: Path, seed: int) -> None:
    random_ledger(tmp_path, seed, count=seed * 2)
    expected = optuna_trials(tmp_path / JOURNAL, "s")
    assert same(read(tmp_path / JOURNAL, "s"), expected)
    assert len(expected) == seed * 2


def test_a_simulated_study_is_read_as_optuna_reads_it(tmp_path: Path) -> None:
    simulate(tmp_path / "made", 300, seed=1)
    made = read(tmp_path / "made" / JOURNAL, "made")
    assert same(made, optuna_trials(tmp_path / "made" / JOURNAL, "made"))
    write_study(tmp_path / "again", Manifest.read(tmp_path / "made"), made)
    assert read(tmp_path / "again" / JOURNAL, "again") == made


def test_a_file_cut_at_any_byte_gives_its_whole_lines(tmp_path: Path) -> None:
    random_ledger(tmp_path / "s", 3, count=4)
    content = (tmp_path / "s" / JOURNAL).read_bytes()
    journal = tmp_path / JOURNAL
    reader = JournalReader(journal, "s")
    for cut in [*range(0, len(content), 61), len(content)]:
        journal.write_bytes(content[:cut])
        reader.read_on()
        whole = content[: content[:cut].rfind(b"\n") + 1]
        assert reader.size == len(whole)
        assert same(reader.trials(), optuna_trials(journal, "s") if whole else [])


def test_a_growing_file_is_read_on_and_earlier_states_can_be_read_again(tmp_path: Path) -> None:
    ledger = random_ledger(tmp_path, 5, count=3)
    reader, rng = StudyReader(tmp_path), random.Random(0)
    states = []
    for _ in range(6):
        seen = reader.look()
        states.append((seen, reader.trials(seen)))
        assert reader.look() == seen
        assert same(states[-1][1], optuna_trials(tmp_path / JOURNAL, "s"))
        assert seen.trials == len(states[-1][1])
        ledger.add(random_trial(rng, "failed"), CHOICES)
        ledger.add_training(0, training(1, rng.random()))
    for seen, before in states:
        assert same(reader.trials(seen), before)
        late = StudyReader(tmp_path)
        assert same(late.trials(seen), before)
        assert late.manifest.study == "s"


def test_what_was_read_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = random_ledger(tmp_path, 7, count=20)
    reader = JournalReader(tmp_path / JOURNAL, "s")
    assert reader.read_on()
    lines: list[bytes] = []
    parse = JournalReader._parse

    def noted(self: JournalReader, line: bytes) -> Any:
        lines.append(line)
        return parse(self, line)

    monkeypatch.setattr(JournalReader, "_parse", noted)
    assert not reader.read_on()
    assert lines == []
    ledger.add(random_trial(random.Random(1), "failed"), CHOICES)
    assert reader.read_on()
    assert len(lines) == 1
    assert reader.count == 21


def test_a_study_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    random_ledger(tmp_path / "old", 1, count=9)
    random_ledger(tmp_path / "new", 2, count=12)
    journal = tmp_path / JOURNAL
    journal.write_bytes((tmp_path / "old" / JOURNAL).read_bytes())
    reader = JournalReader(journal, "s")
    reader.read_on()
    before = reader.place
    journal.write_bytes((tmp_path / "new" / JOURNAL).read_bytes())
    assert reader.read_on()
    assert reader.place != before
    assert same(reader.trials(), optuna_trials(journal, "s"))
    journal.write_bytes(b"")
    assert reader.read_on()
    assert reader.trials() == []


@pytest.mark.parametrize("count", [0, 2, 5, 20])
def test_an_old_look_is_no_look_at_a_study_begun_anew(tmp_path: Path, count: int) -> None:
    random_ledger(tmp_path, 1, count=5)
    reader = StudyReader(tmp_path)
    seen = reader.look()
    (tmp_path / JOURNAL).unlink()
    random_ledger(tmp_path, 2, count=count)
    now = reader.look()
    with pytest.raises(ValueError, match="was created again since it was read"):
        reader.trials(seen)
    assert len(reader.trials(now)) == count


def test_a_journal_of_another_study_holds_no_trials_of_this_one(tmp_path: Path) -> None:
    random_ledger(tmp_path, 1, count=3)
    assert read(tmp_path / JOURNAL, "other") == []
    write_json(tmp_path / "manifest.json", manifest("other", objectives=OBJECTIVES).to_dict())
    assert opened(tmp_path) == []


def foreign(folder: Path, kind: str) -> None:
    """Writes what a search never writes, by Optuna's own means or by hand."""
    journal = folder / JOURNAL
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name="s", storage=storage)
    if kind == "told trial":
        trial = study.ask()
        trial.suggest_float("lr", 0, 1)
        trial.set_user_attr("outcome", "failed")
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    elif kind == "another distribution":
        distribution = optuna.distributions.IntDistribution(0, 9)
        attrs = {"outcome": "failed"}
        made = optuna.trial.create_trial(
            params={"x": 3}, distributions={"x": distribution}, state=optuna.trial.TrialState.FAIL, user_attrs=attrs
        )
        study.add_trial(made)
    elif kind == "system attribute":
        storage.set_study_system_attr(study._study_id, "note", "hello")
    elif kind == "another study":
        optuna.create_study(storage=storage, study_name="t")
    elif kind == "choice by a float":
        line = trial_line(trials.trial(0, "failed", params={"same": 7}), OBJECTIVES, CHOICES)
        with journal.open("a", encoding="utf-8") as file:
            file.write(line.replace('"params":{"same":0}', '"params":{"same":0.0}'))


KINDS = ("told trial", "another distribution", "system attribute", "another study", "choice by a float")


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_optuna_understands_is_read_through_optuna(tmp_path: Path, kind: str) -> None:
    random_ledger(tmp_path, 4, count=5)
    foreign(tmp_path, kind)
    with pytest.raises(ForeignJournalError):
        read(tmp_path / JOURNAL, "s")
    expected = optuna_trials(tmp_path / JOURNAL, "s")
    assert same(opened(tmp_path), expected)
    reader = StudyReader(tmp_path)
    seen = reader.look()
    assert seen.trials is None
    assert reader.look() == seen
    foreign(tmp_path, "system attribute")
    assert reader.look() != seen


def test_trials_that_no_search_wrote_are_an_error_with_their_numbers(tmp_path: Path) -> None:
    random_ledger(tmp_path, 4, count=5)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
    optuna.load_study(study_name="s", storage=storage).ask()
    with pytest.raises(ValueError, match=r"holds trials that no search wrote: \[5\]"):
        opened(tmp_path)


def test_a_line_of_ours_in_another_hand_is_read_the_same(tmp_path: Path) -> None:
    """Spaces, another order of keys, "distributions" as a key of the results."""
    random_ledger(tmp_path, 6, count=3)
    journal = tmp_path / JOURNAL
    log = json.loads(trial_line(trials.trial(0, "failed", params={"same": 7, "on": False}), [], CHOICES))
    log["user_attrs"]["odd"] = {"distributions": {"params": {}}}
    line = json.dumps(log, separators=(",", ":")) + "\n"
    hands = [line, json.dumps(log) + "\n", json.dumps(dict(reversed(log.items())), separators=(",", ":")) + "\r\n"]
    nested = {key: log[key] for key in ("op_code", "worker_id", "user_attrs")} | log
    with journal.open("a", encoding="utf-8", newline="") as file:
        file.writelines([*hands, json.dumps(nested, separators=(",", ":")) + "\n"])
    found = read(journal, "s")
    assert same(found, optuna_trials(journal, "s"))
    assert len(found) == 7
    assert found[3].params == {"same": 7, "on": False}


@pytest.mark.parametrize("damage", [b"\0" * 40, b"{", b"\xff\xfe", b'{"op_code":4,"distributions":{},"params":{}'])
def test_a_damaged_line_is_an_error_with_its_place(tmp_path: Path, damage: bytes) -> None:
    random_ledger(tmp_path, 8, count=4)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    before = read(journal, "s")
    journal.write_bytes(whole + damage + b"\n")  # the last line: perhaps not written to its end yet
    assert same(read(journal, "s"), before)
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:-1], damage + b"\n", lines[-1]]))
    with pytest.raises(DamagedJournalError, match=r"journal\.log is damaged after byte \d+"):
        read(journal, "s")
    with pytest.raises(ValueError, match="is damaged"):
        opened(tmp_path)


def test_a_journal_that_nobody_understands_is_an_error_with_a_sentence(tmp_path: Path) -> None:
    random_ledger(tmp_path, 8, count=2)
    with (tmp_path / JOURNAL).open("a", encoding="utf-8") as file:
        file.write('{"op_code": 99}\n[1]\n"text"\n')
    with pytest.raises(ValueError, match=r"journal\.log is damaged"):
        opened(tmp_path)


def test_reading_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    random_ledger(tmp_path, 9, count=3)
    for path in tmp_path.iterdir():
        path.chmod(0o444)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    opened(tmp_path)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_a_study_without_a_journal_is_empty(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", manifest("s", objectives=OBJECTIVES).to_dict())
    assert opened(tmp_path) == []
    assert not (tmp_path / JOURNAL).exists()
    reader = StudyReader(tmp_path)
    seen = reader.look()
    assert seen.trials == 0
    assert reader.trials(seen) == []
    random_ledger(tmp_path, 1, count=2)
    assert reader.look().trials == 2
    assert reader.trials(seen) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [('"madds":', '"madds":"many","x":'), ('"reason":null', '"reason":{}'), ('"outcome":"trained"', '"outcome":"won"')],
)
def test_a_row_that_cannot_be_read_is_named_left_out_and_keeps_a_search_from_writing(
    tmp_path: Path, old: str, new: str
) -> None:
    random_ledger(tmp_path, 8, count=0)
    journal = tmp_path / JOURNAL
    rows = [trials.trial(k, madds=5, top1=0.5, curve=[{}], params={"same": 7}) for k in range(3)]
    lines = [trial_line(row, [], CHOICES) for row in rows]
    assert old in lines[1]
    lines[1] = lines[1].replace(old, new)
    before = journal.read_text()
    journal.write_text(before + "".join(lines))
    study = Study.open(tmp_path)
    place = f"journal.log:{before.count(chr(10)) + 2} cannot be read: trial 1: "
    assert [one.startswith(place) for one in study.unreadable] == [True]
    assert [trial.outcome for trial in study.trials] == ["trained", "failed", "trained"]
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"cannot be read whole, so nothing is written into it: journal\.log"):
        study.check_whole()


@pytest.mark.parametrize("new", [{"low": 0, "high": [None]}, {"low": 0, "high": 7}])
def test_a_ledger_of_other_settings_than_its_manifest_is_an_error_that_names_one(tmp_path: Path, new: Any) -> None:
    random_ledger(tmp_path, 8, count=1)
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    at = next(k for k, line in enumerate(lines) if '"identity"' in line)
    log = json.loads(lines[at])
    log["user_attr"]["identity"]["budget"] = new
    lines[at] = json.dumps(log)
    (tmp_path / JOURNAL).write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"journal\.log and manifest\.json beside it differ in budget"):
        opened(tmp_path)


def test_a_line_nested_too_deeply_is_an_error_though_it_is_the_last(tmp_path: Path) -> None:
    random_ledger(tmp_path, 8, count=1)
    with (tmp_path / JOURNAL).open("a", encoding="utf-8") as file:
        file.write('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(DamagedJournalError, match=r"journal\.log:\d+ is nested too deeply"):
        read(tmp_path / JOURNAL, "s")


@pytest.mark.parametrize("line", ["null", "[1]", '"text"', "7"])
def test_a_line_that_is_no_object_is_an_error_though_it_is_the_only_one(tmp_path: Path, line: str) -> None:
    random_ledger(tmp_path, 8, count=1)
    (tmp_path / JOURNAL).write_text(line + "\n")
    with pytest.raises(DamagedJournalError, match=r"journal\.log is damaged: line 1 must be an object"):
        opened(tmp_path)
