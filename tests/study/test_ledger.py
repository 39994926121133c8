import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from mfsearch.study.files import (
    JOURNAL,
    RESERVE,
    DiskError,
    StudyBusyError,
    check_name,
    find_study,
    locked,
    write_json,
)
from mfsearch.study.ledger import Ledger
from mfsearch.study.manifest import Manifest, check_same_study
from mfsearch.study.study import Study
from mfsearch.study.trial import Trial, TrialLatency
from tests import trials
from tests.trials import manifest, numbers, training

CHOICES = {"knob": ("a", "b")}


def trial(number: int, outcome: str = "trained") -> Trial:
    return trials.trial(
        number,
        outcome,
        reason=None if outcome == "trained" else "because",
        params={"knob": "a"},
        arch_id=f"{number:012d}",
        madds=100 + number,
        top1=0.5 + number / 1000 if outcome == "trained" else None,
        curve=[{"epoch": 1.0, "loss": 2.0, "top1": 0.1, "seconds": 1.0}],
    )


def new_study(folder: Path, storage: str | None = None, **changes: object) -> Ledger:
    folder.mkdir(exist_ok=True)
    begun = manifest(folder.name, storage=storage, **changes)
    write_json(folder / "manifest.json", begun.to_dict())
    return Ledger(folder, begun, storage)


def reopened(folder: Path) -> Ledger:
    return Ledger(folder, Manifest.read(folder), None)


def read(folder: Path) -> list[Trial]:
    return list(Study.open(folder).trials)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    ledger = new_study(tmp_path / "s")
    written = [trial(0), trial(1, "rejected"), trial(2, "failed")]
    assert [ledger.add(one, CHOICES) for one in written] == [0, 1, 2]
    assert read(tmp_path / "s") == written
    assert reopened(tmp_path / "s").trials() == written


def test_optuna_itself_opens_a_study_and_sees_its_trials_values_and_constraints(tmp_path: Path) -> None:
    """Whoever knows Optuna and not mfsearch finds what it is used to; the limit is 8 ms."""
    ledger = new_study(tmp_path / "s", objectives=["top1", "madds", "latency_ms"], latency_limit_ms=8.0)
    fast, slow = (dataclasses.replace(trial(k), measured=TrialLatency(ms)) for k, ms in enumerate((7.5, 9.0)))
    slow = dataclasses.replace(slow, outcome="rejected", short=None, violation_ms=1.0, reason="too slow")
    for one in (fast, slow, trial(2, "failed")):
        ledger.add(one, CHOICES)
    ledger.add_training(0, training(1, 0.75, seed=3))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "s" / JOURNAL)))
    study = optuna.load_study(study_name="s", storage=storage)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert [one.state for one in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert [one.values for one in study.trials] == [[0.5, 100.0, 7.5], None, None]
    assert [one.constraints for one in study.trials] == [{"latency_ms": -0.5}, {"latency_ms": 1.0}, {}]
    assert [one.params for one in study.trials] == [{"knob": "a"}] * 3
    assert [one.user_attrs["arch_id"] for one in study.trials] == [f"{k:012d}" for k in range(3)]
    assert [one.number for one in study.best_trials] == [0]
    assert study.user_attrs["stage 0 1 3"]["top1"] == 0.75
    assert [one.measured for one in read(tmp_path / "s")] == [fast.measured, slow.measured, None]


def test_optuna_itself_opens_a_committed_study(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "results" / "reference" / "fast151"
    journal = shutil.copyfile(folder / JOURNAL, tmp_path / JOURNAL)
    study = optuna.load_study(study_name="fast151", storage=JournalStorage(JournalFileBackend(str(journal))))
    ours = read(folder)
    assert [one.params for one in study.trials] == [one.params for one in ours]
    trained = [one for one in ours if one.outcome == "trained"]
    complete = study.get_trials(states=[TrialState.COMPLETE])
    assert [one.values for one in complete] == [
        [one.top1_short, one.madds, one.measured and one.measured.ms] for one in trained
    ]


def test_a_database_keeps_trials_too(tmp_path: Path) -> None:
    ledger = new_study(tmp_path / "s", f"sqlite:///{tmp_path / 'trials.db'}")
    assert ledger.add(trial(0), CHOICES) == 0
    assert read(tmp_path / "s") == [trial(0)]
    assert not (tmp_path / "s" / JOURNAL).exists()


def test_a_storage_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot open the storage|needs a driver"):
        Ledger(tmp_path, manifest("s"), "nonsense://user:secret@host/db")


def test_a_line_cut_short_by_a_kill_is_taken_back(tmp_path: Path) -> None:
    """The journal ends in half a line: what was whole before is there, and later trials are written behind it."""
    ledger = new_study(tmp_path / "s")
    ledger.add(trial(0), CHOICES)
    journal = tmp_path / "s" / JOURNAL
    whole = journal.read_bytes()
    ledger.add(trial(1), CHOICES)
    journal.write_bytes(journal.read_bytes()[: len(whole) + 50])
    assert numbers(read(tmp_path / "s")) == [0]
    assert reopened(tmp_path / "s").add(trial(2), CHOICES) == 1
    assert [one.madds for one in read(tmp_path / "s")] == [100, 102]


def test_a_kill_at_any_byte_of_the_last_trial_loses_that_trial_alone(tmp_path: Path) -> None:
    ledger = new_study(tmp_path / "s")
    ledger.add(trial(0), CHOICES)
    journal = tmp_path / "s" / JOURNAL
    before = len(journal.read_bytes())
    ledger.add(trial(1), CHOICES)
    content = journal.read_bytes()
    for cut in range(before, len(content), 97):
        journal.write_bytes(content[:cut])
        assert [one.madds for one in reopened(tmp_path / "s").trials()] == [100]


def fill(folder: str, limit: int) -> None:
    """In a process of its own: files may not grow past `limit` bytes, as on a full disk; add trials till it says no."""
    ledger = reopened(Path(folder))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    number = len(ledger.trials())
    while True:
        try:
            ledger.add(trial(number), CHOICES)
        except DiskError as error:
            print(json.dumps({"finished": number, "error": str(error)}))
            return
        number += 1


def test_a_full_disk_loses_no_finished_trial(tmp_path: Path) -> None:
    new_study(tmp_path / "s")
    code = f"from tests.study.test_ledger import fill; fill({str(tmp_path / 's')!r}, 40_000)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert "cannot write the study in" in said["error"]
    assert "File too large" in said["error"]
    assert said["finished"] > 5
    assert len(read(tmp_path / "s")) == said["finished"]
    assert not (tmp_path / "s" / RESERVE).exists()  # given back in the attempt
    assert reopened(tmp_path / "s").add(trial(999), CHOICES) == said["finished"]  # space again: the study goes on


def test_a_second_process_is_turned_away_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mfsearch.study.files import locked\n"
        f"with locked(Path({str(tmp_path / 's')!r})): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StudyBusyError, match="'s' is being written by another process"), locked(tmp_path / "s"):
        pass
    holder.kill()  # a lock does not outlive its process
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    with locked(tmp_path / "s"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DiskError, match="cannot write in"), locked(tmp_path / "s"):
        pass


def test_names_of_studies() -> None:
    assert check_name("cifar10-150M") == "cifar10-150M"
    for bad in ("", "../up", "a b", ".hidden", "x" * 101, "<img src=x>"):
        with pytest.raises(ValueError, match="a study's name must be"):
            check_name(bad)


def test_an_unknown_study_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are none under .*mfsearch run"):
        find_study("s", tmp_path)
    new_study(tmp_path / "s")
    with pytest.raises(ValueError, match="no study 't': known are s"):
        find_study("t", tmp_path)
    assert find_study("s", tmp_path) == find_study(str(tmp_path / "s"), tmp_path) == tmp_path / "s"


def test_other_settings_are_refused_with_each_difference() -> None:
    old = {"budget": {"low": 1, "high": 2, "stated": True}, "seed": 0, "sampler": "tpe"}
    check_same_study("s", old, dict(old))
    new = old | {"budget": {"low": 1, "high": 3, "stated": True}, "seed": 1}
    with pytest.raises(ValueError, match=r"(?s)budget\.high: the study has 2, this run says 3.*seed: .*0.*1"):
        check_same_study("s", old, new)
