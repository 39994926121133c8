"""The journal read by our own reader: equal to Optuna's reading, whatever state the file is in."""

import json
import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.simulated_study import simulate, trial_line, write_study
from mfsearch.search.rungs import measured_again, merged
from mfsearch.study.files import write_json
from mfsearch.study.journal import DamagedJournalError, ForeignJournalError, JournalReader
from mfsearch.study.ledger import JOURNAL, Ledger, StudyReader, read_manifest, read_trials

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
STUDIES = sorted(path.parent for path in REFERENCE.glob(f"*/{JOURNAL}"))
OBJECTIVES = ["top1", "madds", "latency_ms"]
CHOICES: dict[str, tuple[Any, ...]] = {"on": (True, False), "count": (1, 2.5, "many"), "same": (7,)}


def optuna_rows(journal: Path, study: str) -> list[dict[str, Any]]:
    """The rows as they were read before there was a reader of our own."""
    storage = JournalStorage(JournalFileBackend(str(journal)))
    found = optuna.load_study(study_name=study, storage=storage)
    stages: dict[int, list[dict[str, Any]]] = {}
    for key, value in found.user_attrs.items():
        if key.startswith("stage "):
            stages.setdefault(int(key.split()[1]), []).append(value)
    rows = []
    for trial in found.get_trials():
        row = {"number": trial.number, "params": dict(trial.params), **trial.user_attrs}
        longer = merged(row, stages.get(trial.number, ()))
        rows.append(measured_again(longer, found.user_attrs.get(f"latency {trial.number}")))
    return rows


def read(journal: Path, study: str) -> list[dict[str, Any]]:
    reader = JournalReader(journal, study)
    reader.read_on()
    return reader.rows()


def same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    """Equal to the order of the keys and the type of every value, NaN being NaN."""
    return repr(ours) == repr(theirs)


def random_row(rng: random.Random) -> dict[str, Any]:
    outcome = rng.choice(["trained", "trained", "trained", "stopped", "rejected", "failed"])
    params = {name: rng.choice(choices) for name, choices in CHOICES.items() if name == "same" or rng.random() < 0.8}
    latency = rng.choice([rng.uniform(1, 9), 5, float("nan")])
    row: dict[str, Any] = {
        "outcome": outcome,
        "reason": None if outcome == "trained" else 'so, "distributions":{ } \\ \u2028 \u00e9',
    }
    row |= {"params": params, "madds": rng.randrange(10**9), "latency_ms": latency, "latency_low_ms": latency}
    return row | {
        "top1": rng.random() if outcome == "trained" else None,
        "score": rng.random(),
        "curve": [{"epoch": 1}],
    }


def random_ledger(folder: Path, seed: int, trials: int) -> Ledger:
    """A ledger written by a search's own means, in an order that no search would write it in."""
    rng = random.Random(seed)
    folder.mkdir(exist_ok=True)
    write_json(folder / "manifest.json", {"study": "s", "objectives": OBJECTIVES})
    ledger = Ledger(folder, "s", OBJECTIVES, None, identity={"seed": seed})
    for number in range(trials):
        row = random_row(rng)
        if row["outcome"] == "trained" and row["latency_ms"] != row["latency_ms"]:
            row["latency_ms"] = 1.0  # Optuna takes no NaN for an objective
        ledger.add(row, CHOICES)
        for _ in range(rng.randrange(3)):
            stage = {"rung": rng.randrange(1, 3), "seed": rng.randrange(2), "top1": rng.choice([None, rng.random()])}
            ledger.add_stage(rng.randrange(number + 1), stage)
        if rng.random() < 0.4:
            ledger.add_latency(rng.randrange(number + 1), {"latency_ms": rng.random(), "over_limit": False})
        if rng.random() < 0.2:
            ledger = Ledger(folder, "s", OBJECTIVES, None)  # opened again, as by a search that goes on
    return ledger


@pytest.mark.parametrize("folder", STUDIES, ids=[path.name for path in STUDIES])
def test_committed_studies_are_read_as_optuna_reads_them(folder: Path) -> None:
    study = read_manifest(folder)["study"]
    expected = optuna_rows(folder / JOURNAL, study)
    assert expected
    assert same(read(folder / JOURNAL, study), expected)
    assert same(read_trials(folder), expected)


@pytest.mark.parametrize("seed", range(12))
def test_random_studies_are_read_as_optuna_reads_them(tmp_path: Path, seed: int) -> None:
    random_ledger(tmp_path, seed, trials=seed * 2)
    expected = optuna_rows(tmp_path / JOURNAL, "s")
    assert same(read(tmp_path / JOURNAL, "s"), expected)
    assert len(expected) == seed * 2


def test_a_simulated_study_is_read_as_optuna_reads_it(tmp_path: Path) -> None:
    simulate(tmp_path / "made", 300, seed=1)
    rows = read(tmp_path / "made" / JOURNAL, "made")
    assert same(rows, optuna_rows(tmp_path / "made" / JOURNAL, "made"))
    write_study(tmp_path / "again", read_manifest(tmp_path / "made"), rows)
    assert read(tmp_path / "again" / JOURNAL, "again") == rows


def test_a_file_cut_at_any_byte_gives_its_whole_lines(tmp_path: Path) -> None:
    random_ledger(tmp_path / "s", 3, trials=4)
    content = (tmp_path / "s" / JOURNAL).read_bytes()
    journal = tmp_path / JOURNAL
    reader = JournalReader(journal, "s")
    for cut in [*range(0, len(content), 61), len(content)]:
        journal.write_bytes(content[:cut])
        reader.read_on()
        whole = content[: content[:cut].rfind(b"\n") + 1]
        assert reader.size == len(whole)
        assert same(reader.rows(), optuna_rows(journal, "s") if whole else [])


def test_a_growing_file_is_read_on_and_earlier_states_can_be_read_again(tmp_path: Path) -> None:
    ledger = random_ledger(tmp_path, 5, trials=3)
    reader, rng = StudyReader(tmp_path), random.Random(0)
    states = []
    for _ in range(6):
        seen = reader.look()
        states.append((seen, reader.rows(seen)))
        assert reader.look() == seen
        assert same(states[-1][1], optuna_rows(tmp_path / JOURNAL, "s"))
        assert seen.trials == len(states[-1][1])
        ledger.add({**random_row(rng), "outcome": "failed"}, CHOICES)
        ledger.add_stage(0, {"rung": 1, "seed": 0, "top1": rng.random()})
    for seen, rows in states:
        assert same(reader.rows(seen), rows)
        late = StudyReader(tmp_path)
        assert same(late.rows(seen), rows)
        assert late.manifest["study"] == "s"


def test_what_was_read_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = random_ledger(tmp_path, 7, trials=20)
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
    ledger.add({**random_row(random.Random(1)), "outcome": "failed"}, CHOICES)
    assert reader.read_on()
    assert len(lines) == 1
    assert reader.trials == 21


def test_a_study_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    random_ledger(tmp_path / "old", 1, trials=9)
    random_ledger(tmp_path / "new", 2, trials=12)
    journal = tmp_path / JOURNAL
    journal.write_bytes((tmp_path / "old" / JOURNAL).read_bytes())
    reader = JournalReader(journal, "s")
    reader.read_on()
    before = reader.place
    journal.write_bytes((tmp_path / "new" / JOURNAL).read_bytes())
    assert reader.read_on()
    assert reader.place != before
    assert same(reader.rows(), optuna_rows(journal, "s"))
    journal.write_bytes(b"")
    assert reader.read_on()
    assert reader.rows() == []


@pytest.mark.parametrize("trials", [0, 2, 5, 20])
def test_an_old_look_is_no_look_at_a_study_begun_anew(tmp_path: Path, trials: int) -> None:
    random_ledger(tmp_path, 1, trials=5)
    reader = StudyReader(tmp_path)
    seen = reader.look()
    (tmp_path / JOURNAL).unlink()
    random_ledger(tmp_path, 2, trials=trials)
    now = reader.look()
    with pytest.raises(ValueError, match="was created again since it was read"):
        reader.rows(seen)
    assert len(reader.rows(now)) == trials


def test_a_journal_of_another_study_holds_no_trials_of_this_one(tmp_path: Path) -> None:
    random_ledger(tmp_path, 1, trials=3)
    assert read(tmp_path / JOURNAL, "other") == []
    write_json(tmp_path / "manifest.json", {"study": "other", "objectives": OBJECTIVES})
    assert read_trials(tmp_path) == []


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
        line = trial_line({"outcome": "failed", "params": {"same": 7}}, OBJECTIVES, CHOICES)
        with journal.open("a", encoding="utf-8") as file:
            file.write(line.replace('"params":{"same":0}', '"params":{"same":0.0}'))


KINDS = ("told trial", "another distribution", "system attribute", "another study", "choice by a float")


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_optuna_understands_is_read_through_optuna(tmp_path: Path, kind: str) -> None:
    random_ledger(tmp_path, 4, trials=5)
    foreign(tmp_path, kind)
    with pytest.raises(ForeignJournalError):
        read(tmp_path / JOURNAL, "s")
    expected = optuna_rows(tmp_path / JOURNAL, "s")
    assert same(read_trials(tmp_path), expected)
    reader = StudyReader(tmp_path)
    seen = reader.look()
    assert seen.trials is None
    assert reader.look() == seen
    foreign(tmp_path, "system attribute")
    assert reader.look() != seen


def test_trials_that_no_search_wrote_are_an_error_with_their_numbers(tmp_path: Path) -> None:
    random_ledger(tmp_path, 4, trials=5)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
    optuna.load_study(study_name="s", storage=storage).ask()
    with pytest.raises(ValueError, match=r"holds trials that no search wrote: \[5\]"):
        read_trials(tmp_path)


def test_a_line_of_ours_in_another_hand_is_read_the_same(tmp_path: Path) -> None:
    """Spaces, another order of keys, "distributions" as a key of the results."""
    random_ledger(tmp_path, 6, trials=3)
    journal = tmp_path / JOURNAL
    line = trial_line(
        {"outcome": "failed", "params": {"same": 7, "on": False}, "odd": {"distributions": {"params": {}}}}, [], CHOICES
    )
    log = json.loads(line)
    hands = [line, json.dumps(log) + "\n", json.dumps(dict(reversed(log.items())), separators=(",", ":")) + "\r\n"]
    nested = {key: log[key] for key in ("op_code", "worker_id", "user_attrs")} | log
    with journal.open("a", encoding="utf-8", newline="") as file:
        file.writelines([*hands, json.dumps(nested, separators=(",", ":")) + "\n"])
    rows = read(journal, "s")
    assert same(rows, optuna_rows(journal, "s"))
    assert len(rows) == 7
    assert rows[3]["params"] == {"same": 7, "on": False}


@pytest.mark.parametrize("damage", [b"\0" * 40, b"{", b"\xff\xfe", b'{"op_code":4,"distributions":{},"params":{}'])
def test_a_damaged_line_is_an_error_with_its_place(tmp_path: Path, damage: bytes) -> None:
    random_ledger(tmp_path, 8, trials=4)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    rows = read(journal, "s")
    journal.write_bytes(whole + damage + b"\n")  # the last line: perhaps not written to its end yet
    assert same(read(journal, "s"), rows)
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:-1], damage + b"\n", lines[-1]]))
    with pytest.raises(DamagedJournalError, match=r"journal\.log is damaged after byte \d+"):
        read(journal, "s")
    with pytest.raises(ValueError, match="is damaged"):
        read_trials(tmp_path)


def test_a_journal_that_nobody_understands_is_an_error_with_a_sentence(tmp_path: Path) -> None:
    random_ledger(tmp_path, 8, trials=2)
    with (tmp_path / JOURNAL).open("a", encoding="utf-8") as file:
        file.write('{"op_code": 99}\n[1]\n"text"\n')
    with pytest.raises(ValueError, match=r"journal\.log is damaged"):
        read_trials(tmp_path)


def test_reading_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    random_ledger(tmp_path, 9, trials=3)
    for path in tmp_path.iterdir():
        path.chmod(0o444)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    read_trials(tmp_path)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_a_study_without_a_journal_is_empty(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"study": "s", "objectives": OBJECTIVES})
    assert read_trials(tmp_path) == []
    assert not (tmp_path / JOURNAL).exists()
    reader = StudyReader(tmp_path)
    seen = reader.look()
    assert seen.trials == 0
    assert reader.rows(seen) == []
    random_ledger(tmp_path, 1, trials=2)
    assert reader.look().trials == 2
    assert reader.rows(seen) == []
