"""What does a long search cost beside its trainings? Loading and going on, a proposal, a write, a ranking.

    python benchmarks/ledger_scale.py [--resume 1000] [--long 5000] [--json]

Trials of mobile_former at 150M are written as a search writes them, with results drawn by a seed, no network trained.

2026-11-22, AMD EPYC, a quiet machine, wall as CPU seconds: going on with 1,000 trials 0.56 (random) to 1.09 (auto); a
trial at 5,000 0.004 (auto) to 0.162 (gp), of it 0.002 for the write; read 2.6, standing 0.61 once a result.
"""

import argparse
import dataclasses
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from mfsearch.cost.madds import Costs, count_costs
from mfsearch.data import ImageData
from mfsearch.proxy.curve import EpochLog
from mfsearch.proxy.recipe import default_recipe
from mfsearch.search.evaluator import TrialResult
from mfsearch.search.loop import finished_trial
from mfsearch.search.promotion import standing, stop_rule
from mfsearch.search.proposal import Proposal, Proposer
from mfsearch.space import find_space
from mfsearch.study.files import JOURNAL, MANIFEST, write_json
from mfsearch.study.ledger import Ledger
from mfsearch.study.manifest import Manifest, StudyRequest, make_manifest
from mfsearch.study.settings import SAMPLERS, Settings
from mfsearch.study.study import Study, front_trials
from mfsearch.study.trial import Training, Trial, TrialLatency
from mfsearch.units import parse_budget

MEASURED = 10  # trials beside the long study, for each sampler
RESUME_LIMIT_S, TRIAL_LIMIT_S = 3.0, 0.3

SETTINGS = Settings("study", parse_budget("150M"), 8.0, find_space("mobile_former"), "digits", default_recipe("digits"))
OBJECTIVES, RUNGS = SETTINGS.objectives, SETTINGS.rungs


def make_trial(proposal: Proposal, rng: random.Random) -> Trial:
    """The trial of a proposal as a search writes it, its results drawn."""
    madds = proposal.costs.madds
    top1 = round(min(0.99, max(0.1, rng.gauss(0.45 + madds / 1.5e9, 0.03))), 4)
    ms = madds / 1.5e7 + rng.gauss(0, 0.5)
    curve = (make_log(0.1, top1 - rng.uniform(0, 0.1)), make_log(0.2, top1))
    short = Training(0, 0, top1, top1, 0.2, curve, 60 + rng.random(), 130 + rng.random())
    measured = TrialLatency(ms, 0.99 * ms, 1.01 * ms, ms / 5, False)
    return finished_trial(proposal, TrialResult("trained", seed=0, device="cpu", measured=measured, short=short))


def make_log(epoch: float, top1: float) -> EpochLog:
    """One point of a curve."""
    return EpochLog(epoch, 2.1 - top1, top1, 2.0 - top1, 300.5 * epoch)


def make_longer(trial: Trial) -> Training:
    """A longer training of a trial, a little better than its short one."""
    assert trial.short is not None
    top1 = min(1.0, (trial.short.top1 or 0.0) + 0.05)
    curve = (*trial.short.curve, make_log(0.2 * RUNGS.factors[1], top1))
    return Training(1, 0, top1, top1, curve[-1].epoch, curve, 180.0, finished=trial.finished)


def make_proposals(count: int) -> list[Proposal]:
    """That many networks inside the budget, drawn at random, none twice."""
    ground = new_proposer("random").ground
    rng = random.Random(0)
    found: list[Proposal] = []
    while len(found) < count:
        candidate = ground.drawn("random", rng)
        assert candidate is not None
        ground.seen.add(candidate.config.arch_id)
        costs: Costs = count_costs(candidate.config)
        found.append(Proposal(len(found), "random", candidate.params, candidate.width, candidate.config, costs))
    return found


def new_proposer(sampler: str) -> Proposer:
    return Proposer(SETTINGS.space, SETTINGS.budget, OBJECTIVES, sampler, 0)


def new_study(folder: Path, images: ImageData) -> Ledger:
    folder.mkdir()
    manifest = make_manifest(SETTINGS, images, StudyRequest("digits"), passport=None, baseline_ms=None)
    write_json(folder / MANIFEST, manifest.to_dict())
    return Ledger(folder, manifest, None)


def fill(ledger: Ledger, trials: list[Trial]) -> None:
    """Write all trials and a longer training for one in three."""
    choices = new_proposer("random").choices
    for trial in trials:
        number = ledger.add(trial, choices)
        if number % 3 == 0:
            ledger.add_training(number, make_longer(trial))


def resumed(folder: Path, sampler: str) -> tuple[Ledger, Proposer]:
    """What a search does when it goes on, up to its first proposal."""
    ledger = Ledger(folder, Manifest.read(folder), None)
    proposer = new_proposer(sampler)
    for trial in ledger.trials():
        proposer.learn(trial)
        proposer.index = max(proposer.index, (trial.proposal or 0) + 1)
    return ledger, proposer


class Seconds:
    """Of a `with` block: cpu, of this process, which a busy machine hardly changes, and wall."""

    def __enter__(self) -> "Seconds":
        self.begun = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self.begun[0], time.perf_counter() - self.begun[1]


def measure(resume: int, long: int) -> dict[str, Any]:
    """CPU and wall seconds of each step; see the table for what they are."""
    rng = random.Random(1)
    images = SETTINGS.recipe.load_images(SETTINGS.data, data_dir=None, seed=0)
    trials = [make_trial(proposal, rng) for proposal in make_proposals(long)]
    figures: dict[str, Any] = {"samplers": {}}
    with tempfile.TemporaryDirectory() as place:
        few, many = Path(place) / "few", Path(place) / "many"
        fill(new_study(few, images), trials[:resume])
        fill(new_study(many, images), trials)
        figures["journal_mb"] = (many / JOURNAL).stat().st_size / 1e6
        for sampler in SAMPLERS:
            figures["samplers"][sampler] = measure_resume(few, sampler) | measure_trial(many, sampler, rng)
        with Seconds() as taken:
            Study.open(many)
        figures["read_s"] = taken.cpu
    numbered = [dataclasses.replace(trial, number=k) for k, trial in enumerate(trials)]
    study = [trial.with_training(make_longer(trial)) if trial.number % 3 == 0 else trial for trial in numbered]
    with Seconds() as taken:
        standing(study, OBJECTIVES, RUNGS)
    figures["standing_s"] = taken.cpu
    with Seconds() as taken:
        front_trials(study, OBJECTIVES)
    figures["front_s"] = taken.cpu
    with Seconds() as taken:
        stop_rule(study, OBJECTIVES, RUNGS)
    figures["stop_rule_s"] = taken.cpu
    found = figures["samplers"].values()
    kept = all(f["resume_s"] < RESUME_LIMIT_S and f["trial_s"] < TRIAL_LIMIT_S for f in found)
    return figures | {"passed": kept}


def measure_resume(folder: Path, sampler: str) -> dict[str, float]:
    """Opening the study, learning its trials and the first proposal."""
    with Seconds() as whole:
        _, proposer = resumed(folder, sampler)
        proposer.next()
    return {"resume_s": whole.cpu, "resume_wall_s": whole.wall}


def measure_trial(folder: Path, sampler: str, rng: random.Random) -> dict[str, float]:
    """Medians over a few trials: proposing, writing and learning one."""
    ledger, proposer = resumed(folder, sampler)
    proposer.next()  # the starting points are made once a run
    spent, walls, writing = [], [], []
    for _ in range(MEASURED):
        with Seconds() as proposing:
            proposal = proposer.next()
        assert proposal is not None
        trial = make_trial(proposal, rng)
        with Seconds() as keeping:
            ledger.add(trial, proposer.choices)
            proposer.learn(trial)
        spent.append(proposing.cpu + keeping.cpu)
        walls.append(proposing.wall + keeping.wall)
        writing.append(keeping.cpu)
    return {
        "trial_s": statistics.median(spent),
        "trial_slowest_s": max(spent),
        "trial_wall_s": statistics.median(walls),
        "write_s": statistics.median(writing),
    }


def print_table(figures: dict[str, Any], resume: int, long: int) -> None:
    heads = f"{f'go on with {resume} trials':>25} {f'a trial at {long}':>19} {'slowest':>9} {'write':>8}"
    print(f"CPU seconds (wall)   {heads}")
    for sampler, one in figures["samplers"].items():
        print(
            f"{sampler:<20} {one['resume_s']:>16.2f} ({one['resume_wall_s']:>5.2f}) {one['trial_s']:>11.3f} "
            f"({one['trial_wall_s']:>5.3f}) {one['trial_slowest_s']:>9.3f} {one['write_s']:>8.4f}"
        )
    print(
        f"at {long} trials, {figures['journal_mb']:.0f} MB: read {figures['read_s']:.2f} s; once a result standing "
        f"{figures['standing_s']:.3f} s, front {figures['front_s']:.3f} s, stop rule {figures['stop_rule_s']:.3f} s"
    )
    print(f"limits {RESUME_LIMIT_S:g} s and {TRIAL_LIMIT_S:g} s of CPU: {'kept' if figures['passed'] else 'NOT KEPT'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time what a search does beside its trainings.")
    parser.add_argument("--resume", type=int, default=1000, help="trials of a study that goes on (%(default)s)")
    parser.add_argument("--long", type=int, default=5000, help="trials of a long study (%(default)s)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(args.resume, args.long)
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        print_table(found, args.resume, args.long)
    raise SystemExit(0 if found["passed"] else 1)
