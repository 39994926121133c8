"""Searches killed with all their processes: the same command goes on and ends as if nothing had happened."""

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.kills import STUDY, command, faults_of, outcome, run_killed, run_undisturbed, unfinished
from mfsearch.study.files import JOURNAL
from mfsearch.study.study import Study

TRIALS = 4


def in_trainings(folder: Path, *moments: tuple[int, int]) -> Callable[[subprocess.Popen[str]], bool]:
    """Kill once in a training after so many trials and longer trainings, for each of `moments`; then let it end."""
    left = list(moments)
    seen, done = 0, (0, 0)  # bytes of the journal, and the trials and longer trainings in them

    def wait(process: subprocess.Popen[str]) -> bool:
        nonlocal seen, done
        while left and process.poll() is None:
            if (folder / JOURNAL).exists() and unfinished(folder, "*.pt"):
                if (size := (folder / JOURNAL).stat().st_size) != seen:
                    trials = Study.open(folder).trials
                    seen, done = size, (len(trials), sum(len(trial.longer) for trial in trials))
                if done >= left[0] and unfinished(folder, "*.pt"):  # still, as the training may have ended meanwhile
                    del left[0]
                    return True
            time.sleep(0.01)
        return False

    return wait


@pytest.mark.slow
def test_a_search_killed_in_three_trainings_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    """In the second short training, in the last one, and in the longer training that goes on from a short one."""
    undisturbed = command(tmp_path / "a", trials=TRIALS)
    run_undisturbed(undisturbed)
    expected = outcome(tmp_path / "a" / STUDY)
    assert {len(trial["stages"]) for trial in expected["trials"]} == {0, 2}
    folder = tmp_path / "b" / STUDY
    kills = run_killed(
        command(tmp_path / "b", trials=TRIALS), folder, in_trainings(folder, (1, 0), (TRIALS - 1, 0), (TRIALS, 0))
    )
    assert (kills.kills, kills.gone_on, kills.faults) == (3, 3, [])
    assert faults_of(folder, TRIALS) == []
    assert outcome(folder) == expected


@pytest.mark.slow
def test_two_workers_killed_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    folder = tmp_path / STUDY
    line = command(tmp_path, trials=TRIALS, workers=2)
    kills = run_killed(line, folder, in_trainings(folder, (random.Random(0).randrange(TRIALS), 0), (TRIALS, 1)))
    assert (kills.kills, kills.faults) == (2, [])
    assert kills.gone_on  # the other may have ended between the look at its checkpoint and the kill
    assert faults_of(folder, TRIALS) == []
