"""What does a long search cost beside its trainings? Loading and going on, a proposal, a write, a ranking.

    python benchmarks/ledger_scale.py [--json]

Trials of mobile_former at 150M are written as a search writes them, with results drawn by a seed, no network trained.

2026-11-22, AMD EPYC, a quiet machine, wall as CPU seconds: going on with 1,000 trials 0.56 (random) to 1.09 (auto); a
trial at 5,000 0.004 (auto) to 0.162 (gp), of it 0.002 for the write; read 2.6, standing 0.61 once a result.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from mfsearch.search.rungs import merged, standing, stop_rule, told

from mfsearch.cost.madds import Costs, count_costs
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.front import front_numbers
from mfsearch.search.loop import proposed
from mfsearch.search.proposal import Proposal, Proposer
from mfsearch.space import find_space
from mfsearch.study.files import write_json
from mfsearch.study.ledger import Ledger, read_trials, write_json
from mfsearch.study.settings import SAMPLERS
from mfsearch.units import parse_budget

RESUMED, LONG = 1000, 5000  # trials
MEASURED = 10  # trials at LONG, for each sampler
RESUME_LIMIT_S, TRIAL_LIMIT_S = 3.0, 0.3

SPACE, BUDGET, RUNGS = "mobile_former", "150M", Rungs()
OBJECTIVES = ["top1", "madds", "latency_ms"]


def make_row(proposal: Proposal, rng: random.Random) -> dict[str, Any]:
    """The row of a proposal as a search writes it, its results drawn."""
    madds = proposal.costs.madds
    top1 = round(min(0.99, max(0.1, rng.gauss(0.45 + madds / 1.5e9, 0.03))), 4)
    latency = madds / 1.5e7 + rng.gauss(0, 0.5)
    return proposed(proposal) | {
        "outcome": "trained",
        "reason": None,
        "seed": 0,
        "device": "cpu",
        "latency_ms": latency,
        "latency_low_ms": 0.99 * latency,
        "latency_high_ms": 1.01 * latency,
        "latency_ratio": latency / 5,
        "latency_disturbed": False,
        "top1": top1,
        "score": top1,
        "epochs": 0.2,
        "curve": [make_log(0.1, top1 - rng.uniform(0, 0.1)), make_log(0.2, top1)],
        "train_seconds": 60 + rng.random(),
        "images_per_second": 130 + rng.random(),
        "finished": "2026-11-22T12:00:00+00:00",
    }


def make_log(epoch: float, top1: float) -> dict[str, float]:
    """One point of a curve."""
    return {"epoch": epoch, "loss": 2.1 - top1, "top1": top1, "val_loss": 2.0 - top1, "seconds": 300.5 * epoch}


def make_stage(row: dict[str, Any], rung: int) -> dict[str, Any]:
    """A longer training of a trial, a little better than its short one."""
    top1 = min(1.0, row["top1"] + 0.05 * rung)
    curve = [*row["curve"], make_log(0.2 * RUNGS.factors[rung], top1)]
    return {
        "top1": top1,
        "score": top1,
        "reason": None,
        "epochs": curve[-1]["epoch"],
        "curve": curve,
        "train_seconds": 180.0,
        "rung": rung,
        "seed": 0,
        "finished": row["finished"],
    }


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
    return Proposer(find_space(SPACE), parse_budget(BUDGET), OBJECTIVES, sampler, 0)


def new_study(folder: Path) -> Ledger:
    folder.mkdir()
    write_json(folder / "manifest.json", {"study": folder.name, "objectives": OBJECTIVES})
    return Ledger(folder, folder.name, OBJECTIVES, None)


def fill(ledger: Ledger, rows: list[dict[str, Any]]) -> list[float]:
    """Write all rows and a longer training for one in three; seconds of each row."""
    choices = new_proposer("random").choices
    seconds = []
    for row in rows:
        start = time.perf_counter()
        number = ledger.add(row, choices)
        seconds.append(time.perf_counter() - start)
        if number % 3 == 0:
            ledger.add_stage(number, make_stage(row, 1))
    return seconds


def resumed(folder: Path, sampler: str) -> tuple[Ledger, Proposer, list[dict[str, Any]]]:
    """What a search does when it goes on, up to its first proposal."""
    ledger = Ledger(folder, folder.name, OBJECTIVES, None)
    rows = ledger.rows()
    proposer = new_proposer(sampler)
    for row in rows:
        proposer.learn(told(row))
        proposer.index = max(proposer.index, row["proposal"] + 1)
    return ledger, proposer, rows


class Seconds:
    """Of a `with` block: cpu, of this process, which a busy machine hardly changes, and wall."""

    def __enter__(self) -> "Seconds":
        self.begun = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self.begun[0], time.perf_counter() - self.begun[1]


def measure() -> dict[str, Any]:
    """CPU and wall seconds of each step; see the table for what they are."""
    rng = random.Random(1)
    rows = [make_row(proposal, rng) for proposal in make_proposals(LONG)]
    figures: dict[str, Any] = {"samplers": {}}
    with tempfile.TemporaryDirectory() as place:
        short, long = Path(place) / "short", Path(place) / "long"
        fill(new_study(short), rows[:RESUMED])
        fill(new_study(long), rows)
        figures["journal_mb"] = (long / "journal.log").stat().st_size / 1e6
        for sampler in SAMPLERS:
            figures["samplers"][sampler] = measure_resume(short, sampler) | measure_trial(long, sampler, rng)
        with Seconds() as taken:
            read_trials(long)
        figures["read_s"] = taken.cpu
    study = [merged({"number": k, **row}, [make_stage(row, 1)] if k % 3 == 0 else []) for k, row in enumerate(rows)]
    with Seconds() as taken:
        standing(study, OBJECTIVES, RUNGS)
    figures["standing_s"] = taken.cpu
    with Seconds() as taken:
        front_numbers(study, OBJECTIVES)
    figures["front_s"] = taken.cpu
    with Seconds() as taken:
        stop_rule(study, OBJECTIVES, RUNGS)
    figures["stop_rule_s"] = taken.cpu
    found = figures["samplers"].values()
    kept = all(f["resume_s"] < RESUME_LIMIT_S and f["trial_s"] < TRIAL_LIMIT_S for f in found)
    return figures | {"passed": kept}


def measure_resume(folder: Path, sampler: str) -> dict[str, float]:
    """Opening the study, learning its rows and the first proposal."""
    with Seconds() as whole:
        _, proposer, _ = resumed(folder, sampler)
        proposer.next()
    return {"resume_s": whole.cpu, "resume_wall_s": whole.wall}


def measure_trial(folder: Path, sampler: str, rng: random.Random) -> dict[str, float]:
    """Medians over a few trials: proposing, writing and learning one."""
    ledger, proposer, _ = resumed(folder, sampler)
    proposer.next()  # the starting points are made once a run
    spent, walls, writing = [], [], []
    for _ in range(MEASURED):
        with Seconds() as proposing:
            proposal = proposer.next()
        assert proposal is not None
        row = make_row(proposal, rng)
        with Seconds() as keeping:
            ledger.add(row, proposer.choices)
            proposer.learn(told(row))
        spent.append(proposing.cpu + keeping.cpu)
        walls.append(proposing.wall + keeping.wall)
        writing.append(keeping.cpu)
    return {
        "trial_s": statistics.median(spent),
        "trial_slowest_s": max(spent),
        "trial_wall_s": statistics.median(walls),
        "write_s": statistics.median(writing),
    }


def print_table(figures: dict[str, Any]) -> None:
    heads = f"{f'go on with {RESUMED} trials':>25} {f'a trial at {LONG}':>19} {'slowest':>9} {'write':>8}"
    print(f"CPU seconds (wall)   {heads}")
    for sampler, one in figures["samplers"].items():
        print(
            f"{sampler:<20} {one['resume_s']:>16.2f} ({one['resume_wall_s']:>5.2f}) {one['trial_s']:>11.3f} "
            f"({one['trial_wall_s']:>5.3f}) {one['trial_slowest_s']:>9.3f} {one['write_s']:>8.4f}"
        )
    print(
        f"at {LONG} trials, {figures['journal_mb']:.0f} MB: read {figures['read_s']:.2f} s; once a result standing "
        f"{figures['standing_s']:.3f} s, front {figures['front_s']:.3f} s, stop rule {figures['stop_rule_s']:.3f} s"
    )
    print(f"limits {RESUME_LIMIT_S:g} s and {TRIAL_LIMIT_S:g} s of CPU: {'kept' if figures['passed'] else 'NOT KEPT'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time what a search does beside its trainings.")
    parser.add_argument("--json", action="store_true")
    found = measure()
    if parser.parse_args().json:
        print(json.dumps(found, indent=1))
    else:
        print_table(found)
    raise SystemExit(0 if found["passed"] else 1)
