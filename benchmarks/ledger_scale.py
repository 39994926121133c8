"""What does a long search cost beside its trainings? Loading and going on, a proposal, a write, a ranking.

    python benchmarks/ledger_scale.py [--json]

Trials of mobile_former at 150M are written as a search writes them, with results drawn by a seed, no network trained.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from mfsearch.cost.madds import Costs, count_costs
from mfsearch.search.front import front_numbers
from mfsearch.search.proposal import Proposal, Proposer
from mfsearch.search.rungs import Rungs, merged, short_row, standing, stop_rule
from mfsearch.search.run import proposed
from mfsearch.search.settings import SAMPLERS
from mfsearch.search.study import Ledger, read_trials, write_json
from mfsearch.space import find_space
from mfsearch.units import parse_budget

RESUMED, LONG = 1000, 5000  # trials
MEASURED = 20  # trials at LONG, for each sampler
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
        **{"top1": top1, "reason": None, "epochs": curve[-1]["epoch"], "curve": curve, "train_seconds": 180.0},
        **{"rung": rung, "seed": 0, "finished": row["finished"]},
    }


def make_proposals(count: int) -> list[Proposal]:
    """That many networks inside the budget, drawn at random, none twice."""
    ground = new_proposer("random").ground
    rng = random.Random(0)
    found = []
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
        proposer.learn(short_row(row))
        proposer.index = max(proposer.index, row["proposal"] + 1)
    return ledger, proposer, rows


def measure() -> dict[str, Any]:
    """Seconds of each step; see the table for what they are."""
    rng = random.Random(1)
    rows = [make_row(proposal, rng) for proposal in make_proposals(LONG)]
    figures: dict[str, Any] = {"resume_s": {}, "first_proposal_s": {}, "trial_s": {}, "trial_slowest_s": {}}
    with tempfile.TemporaryDirectory() as place:
        short, long = Path(place) / "short", Path(place) / "long"
        fill(new_study(short), rows[:RESUMED])
        fill(new_study(long), rows)
        figures["journal_mb"] = (long / "journal.log").stat().st_size / 1e6
        for sampler in SAMPLERS:
            start = time.perf_counter()
            _, proposer, _ = resumed(short, sampler)
            middle = time.perf_counter()
            proposer.next()
            figures["resume_s"][sampler] = time.perf_counter() - start
            figures["first_proposal_s"][sampler] = time.perf_counter() - middle
        start = time.perf_counter()
        read_trials(long)
        figures["read_long_s"] = time.perf_counter() - start
        for sampler in SAMPLERS:
            ledger, proposer, _ = resumed(long, sampler)
            proposer.next()  # the starting points are made once a run
            seconds = []
            for _ in range(MEASURED):
                start = time.perf_counter()
                proposal = proposer.next()
                middle = time.perf_counter()
                assert proposal is not None
                row = make_row(proposal, rng)
                begin = time.perf_counter()
                ledger.add(row, proposer.choices)
                proposer.learn(row)
                seconds.append(time.perf_counter() - begin + middle - start)
            figures["trial_s"][sampler] = statistics.median(seconds)
            figures["trial_slowest_s"][sampler] = max(seconds)
        merged_rows = [
            merged({"number": k, **row}, [make_stage(row, 1)] if k % 3 == 0 else []) for k, row in enumerate(rows)
        ]
    for name, work in {
        "standing_s": lambda: standing(merged_rows, OBJECTIVES, RUNGS),
        "front_s": lambda: front_numbers(merged_rows, OBJECTIVES),
        "stop_rule_s": lambda: stop_rule(merged_rows, OBJECTIVES, RUNGS),
    }.items():
        start = time.perf_counter()
        work()
        figures[name] = time.perf_counter() - start
    slowest = max(figures["resume_s"].values()), max(figures["trial_s"].values())
    return figures | {"passed": slowest[0] < RESUME_LIMIT_S and slowest[1] < TRIAL_LIMIT_S}


def print_table(figures: dict[str, Any]) -> None:
    print(f"{'sampler':<10} {f'go on, {RESUMED} trials':>22} {'first proposal':>15} {f'trial at {LONG}':>15} {'slowest':>9}")
    for sampler in SAMPLERS:
        cells = [figures[name][sampler] for name in ("resume_s", "first_proposal_s", "trial_s", "trial_slowest_s")]
        print(f"{sampler:<10} {cells[0]:>20.2f} s {cells[1]:>13.3f} s {cells[2]:>13.3f} s {cells[3]:>7.3f} s")
    print(
        f"at {LONG} trials, {figures['journal_mb']:.0f} MB: read {figures['read_long_s']:.2f} s, "
        f"standing {figures['standing_s']:.3f} s, front {figures['front_s']:.3f} s, "
        f"stop rule {figures['stop_rule_s']:.3f} s, the last three once a result"
    )
    print(f"limits {RESUME_LIMIT_S:g} s and {TRIAL_LIMIT_S:g} s: {'kept' if figures['passed'] else 'NOT KEPT'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time what a search does beside its trainings.")
    parser.add_argument("--json", action="store_true")
    found = measure()
    if parser.parse_args().json:
        print(json.dumps(found, indent=1))
    else:
        print_table(found)
    raise SystemExit(0 if found["passed"] else 1)
