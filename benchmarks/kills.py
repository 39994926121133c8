"""Does a search that is killed again and again end as one that never was?

    python benchmarks/kills.py [--runs 20] [--workers 1] [--json]

A small search on the digits runs once undisturbed, then `--runs` times with a SIGKILL of all its processes at random
moments, uniform over the time that the undisturbed one took, and the same command again until it ends. With one worker
the trials, curves, longer trainings and weights must be identical; with more, nothing may be lost, twice or half done.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from mfsearch.search.promotion import next_final, standing
from mfsearch.study.files import CHECKPOINTS, JOURNAL, MANIFEST, WEIGHTS
from mfsearch.study.ledger import Ledger
from mfsearch.study.study import Study
from mfsearch.study.trial import Training

SPACE = Path(__file__).parents[1] / "tests" / "tiny_space.yaml"
TRIALS, STUDY = 10, "s"
CHECKPOINT_SECONDS = 0.05  # small trainings take a second or two


def command(results: Path, *, trials: int = TRIALS, workers: int = 1, samples: int = 320) -> list[str]:
    """A search whose better networks are trained twice as long, and in the end four times:
    two finalists or the front, two seeds each."""
    return [
        *(sys.executable, "-m", "mfsearch", "run", "--budget", "0.5M", "--space", str(SPACE), "--data", "digits"),
        *("--resolution", "32", "--classes", "10", "--proxy-resolution", "16", "--samples", str(samples)),
        *("--batch", "16", "--epochs", "1", "--rungs", "1,2,4", "--finalists", "2", "--final-seeds", "2"),
        *("--trials", str(trials), "--workers", str(workers), "--study", STUDY, "--results", str(results)),
    ]


@dataclass
class Kills:
    """What became of a search under kills. in_training: kills that left a checkpoint, whole or half written, younger
    than the last result; gone_on: those after which the training goes on from a whole one."""

    kills: int = 0
    in_training: int = 0
    gone_on: int = 0
    faults: list[str] = field(default_factory=list)


def begin(line: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MFSEARCH_CHECKPOINT_SECONDS": str(CHECKPOINT_SECONDS)}
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=environment
    )


def run_undisturbed(line: list[str]) -> float:
    """Seconds of a search from its start to its end."""
    begun = time.monotonic()
    process = begin(line)
    said, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the search ended with code {process.returncode}:\n{said}")
    return time.monotonic() - begun


def run_killed(line: list[str], folder: Path, moments: Callable[[subprocess.Popen[str]], bool]) -> Kills:
    """Start the search until it ends by itself. moments: waits for the next moment; whether it is one to kill at, or
    the search ended before."""
    found = Kills()
    before: list[str] = []
    while True:
        process = begin(line)
        if not moments(process):
            said, _ = process.communicate()
            if process.returncode != 0:
                found.faults.append(f"ended with code {process.returncode}: {said[-500:]}")
            return found
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        found.kills += 1
        whole, part = unfinished(folder, "*.pt"), unfinished(folder, "*.part")
        found.in_training += whole or part
        found.gone_on += whole
        now = [trial.arch_id for trial in Study.open(folder).trials] if (folder / MANIFEST).exists() else []
        if now[: len(before)] != before:
            found.faults.append("a trial that was written is gone")
        before = now


def unfinished(folder: Path, pattern: str) -> bool:
    """Whether a training had written a checkpoint since the last result."""
    journal = folder / JOURNAL
    told = journal.stat().st_mtime_ns if journal.exists() else 0
    return any(path.stat().st_mtime_ns > told for path in (folder / CHECKPOINTS).glob(pattern))


def at_random(rng: random.Random, span: float) -> Callable[[subprocess.Popen[str]], bool]:
    """A moment within `span` seconds of each start."""

    def wait(process: subprocess.Popen[str]) -> bool:
        try:
            process.wait(rng.uniform(0, span))
        except subprocess.TimeoutExpired:
            return True
        return False

    return wait


def outcome(folder: Path) -> dict[str, Any]:
    """All of a study that no clock decides."""
    return {
        "trials": [
            {
                **{name: getattr(trial, name) for name in ("number", "proposal", "origin", "arch_id", "params")},
                "outcome": trial.outcome,
                "top1": trial.top1,
                "curve": curve(trial.short),
                "stages": [(one.rung, one.seed, one.top1, curve(one)) for one in trial.longer],
            }
            for trial in Study.open(folder).trials
        ],
        "weights": {path.name: weights(path) for path in (folder / WEIGHTS).iterdir()},
    }


def weights(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a safetensors file, whose metadata stand in any order."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


def curve(training: Training | None) -> list[tuple[float, ...]]:
    return [(log.epoch, log.loss, log.top1, log.val_loss) for log in (training.curve if training else ())]


def faults_of(folder: Path, trials: int) -> list[str]:
    """What is wrong in a study that has ended, whatever the order of its trials."""
    found = Study.open(folder)
    written, rungs = found.trials, found.manifest.rungs
    study = Ledger(folder, found.manifest, found.manifest.storage).study
    stages = [(trial.number, one.rung, one.seed) for trial in written for one in trial.longer]
    trained = found.count("trained", "stopped")
    wrong = {
        "a trial is RUNNING": bool(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))),
        "a network came twice": len({trial.arch_id for trial in written}) != len(written),
        "a proposal came twice or is missing": sorted(trial.proposal or 0 for trial in written)
        != list(range(len(written))),
        "a longer training came twice": len(set(stages)) != len(stages),
        "the final is not whole": next_final(standing(written, found.objectives, rungs), rungs, [], 0) is not None,
        f"{trained} trials, not {trials}": trained != trials,
        "checkpoints are left": (folder / CHECKPOINTS).exists(),
        "half a file is left": any((folder / WEIGHTS).glob("*.part")),
    }
    return [what for what, is_so in wrong.items() if is_so]


def measure(runs: int, workers: int, seed: int) -> dict[str, Any]:
    """Kill `runs` searches and compare each to the undisturbed one."""
    total, identical = Kills(), 0
    with tempfile.TemporaryDirectory() as place:
        undisturbed = Path(place) / "undisturbed"
        span = run_undisturbed(command(undisturbed, workers=workers))
        expected = outcome(undisturbed / STUDY)
        total.faults += [f"undisturbed: {fault}" for fault in faults_of(undisturbed / STUDY, TRIALS)]
        for k in range(runs):
            results = Path(place) / str(k)
            line = command(results, workers=workers)
            one = run_killed(line, results / STUDY, at_random(random.Random(f"{seed}:{k}"), span))
            one.faults += faults_of(results / STUDY, TRIALS)
            same = outcome(results / STUDY) == expected
            if workers == 1 and not same:
                one.faults.append("not the undisturbed trials")
            identical += same
            total.kills += one.kills
            total.in_training += one.in_training
            total.gone_on += one.gone_on
            total.faults += [f"run {k}: {fault}" for fault in one.faults]
            print(f"run {k}: {one.kills} kills, {'identical' if same else 'other'}", *one.faults, file=sys.stderr)
    return {"runs": runs, "workers": workers, "identical": identical, "undisturbed_s": span, **vars(total)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kill a search at random moments and compare how it ends.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.runs, given.workers, given.seed)
    if given.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{figures['identical']} of {figures['runs']} identical; {figures['kills']} kills, "
            f"{figures['in_training']} in a training, after {figures['gone_on']} it went on from a checkpoint; "
            f"undisturbed {figures['undisturbed_s']:.0f} s"
        )
        print(*figures["faults"], sep="\n")
    raise SystemExit(1 if figures["faults"] else 0)
