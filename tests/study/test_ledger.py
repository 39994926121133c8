import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mfsearch.study.ledger import (
    JOURNAL,
    RESERVE,
    DiskError,
    Ledger,
    StudyBusyError,
    check_name,
    find_study,
    locked,
    read_trials,
    write_json,
)
from mfsearch.study.settings import check_same_study

OBJECTIVES = ["top1", "madds"]
CHOICES = {"knob": ("a", "b")}


def row(number: int, outcome: str = "trained") -> dict[str, Any]:
    return {
        "outcome": outcome,
        "reason": None if outcome == "trained" else "because",
        "params": {"knob": "a"},
        "arch_id": f"{number:012d}",
        "madds": 100 + number,
        "top1": 0.5 + number / 1000 if outcome == "trained" else None,
        "curve": [{"epoch": 1.0, "loss": 2.0, "top1": 0.1, "seconds": 1.0}],
    }


def new_study(folder: Path) -> Ledger:
    folder.mkdir(exist_ok=True)
    write_json(folder / "manifest.json", {"study": folder.name, "objectives": OBJECTIVES})
    return Ledger(folder, folder.name, OBJECTIVES, None)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    ledger = new_study(tmp_path / "s")
    rows = [row(0), row(1, "rejected"), row(2, "failed")]
    assert [ledger.add(one, CHOICES) for one in rows] == [0, 1, 2]
    read = read_trials(tmp_path / "s")
    assert read == [{"number": k, **one} for k, one in enumerate(rows)]
    assert Ledger(tmp_path / "s", "s", OBJECTIVES, None).rows() == read


def test_a_database_keeps_trials_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    folder = tmp_path / "s"
    folder.mkdir()
    write_json(folder / "manifest.json", {"study": "s", "objectives": OBJECTIVES, "storage": url})
    ledger = Ledger(folder, "s", OBJECTIVES, url)
    assert ledger.add(row(0), CHOICES) == 0
    assert read_trials(folder) == [{"number": 0, **row(0)}]
    assert not (folder / JOURNAL).exists()


def test_a_storage_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot open the storage|needs a driver"):
        Ledger(tmp_path, "s", OBJECTIVES, "nonsense://user:secret@host/db")


def test_a_line_cut_short_by_a_kill_is_taken_back(tmp_path: Path) -> None:
    """The journal ends in half a line: what was whole before is there, and later trials are written behind it."""
    ledger = new_study(tmp_path / "s")
    ledger.add(row(0), CHOICES)
    journal = tmp_path / "s" / JOURNAL
    whole = journal.read_bytes()
    ledger.add(row(1), CHOICES)
    journal.write_bytes(journal.read_bytes()[: len(whole) + 50])
    assert [one["number"] for one in read_trials(tmp_path / "s")] == [0]
    again = Ledger(tmp_path / "s", "s", OBJECTIVES, None)
    assert again.add(row(2), CHOICES) == 1
    assert [one["madds"] for one in read_trials(tmp_path / "s")] == [100, 102]


def test_a_kill_at_any_byte_of_the_last_trial_loses_that_trial_alone(tmp_path: Path) -> None:
    ledger = new_study(tmp_path / "s")
    ledger.add(row(0), CHOICES)
    journal = tmp_path / "s" / JOURNAL
    before = len(journal.read_bytes())
    ledger.add(row(1), CHOICES)
    content = journal.read_bytes()
    for cut in range(before, len(content), 97):
        journal.write_bytes(content[:cut])
        assert [one["madds"] for one in Ledger(tmp_path / "s", "s", OBJECTIVES, None).rows()] == [100]


def fill(folder: str, limit: int) -> None:
    """In a process of its own: files may not grow past `limit` bytes, as on a full disk; add trials till it says no."""
    ledger = Ledger(Path(folder), "s", OBJECTIVES, None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    number = len(ledger.rows())
    while True:
        try:
            ledger.add(row(number), CHOICES)
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
    assert len(read_trials(tmp_path / "s")) == said["finished"]
    assert not (tmp_path / "s" / RESERVE).exists()  # given back in the attempt
    ledger = Ledger(tmp_path / "s", "s", OBJECTIVES, None)  # space again: the study goes on
    assert ledger.add(row(999), CHOICES) == said["finished"]


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
    old = {"study": "s", "budget": {"low": 1, "high": 2, "stated": True}, "seed": 0, "sampler": "tpe"}
    check_same_study(old, dict(old))
    new = old | {"budget": {"low": 1, "high": 3, "stated": True}, "seed": 1}
    with pytest.raises(ValueError, match=r"(?s)budget\.high: the study has 2, this run says 3.*seed: .*0.*1"):
        check_same_study(old, new)
