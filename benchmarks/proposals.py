"""How fast are proposals, are all inside the band, does any repeat?

    python benchmarks/proposals.py [--proposals 1000] [--judged 100] [--json]

At each budget over `mobile_former`: proposals inside the band by the closed form and, on a sample that is built, by
fvcore; published networks below the band's lower end are counted as `below`. No results are learned. Milliseconds are
wall clock; the processor's own time stands beside them, because on a busy machine the first says more of the machine.
"""

import argparse
import json
import random
import statistics
import time
from typing import Any

import torch

from mfsearch.cost.judge import judge_madds
from mfsearch.model import MobileFormer
from mfsearch.search.proposal import Proposer
from mfsearch.space import find_space
from mfsearch.units import parse_budget

BUDGETS = ("30M", "96M", "150M", "500M")


def propose(budget_text: str, count: int, judged: int) -> dict[str, Any]:
    """`count` proposals at one budget, of which `judged` are built and counted by fvcore."""
    budget = parse_budget(budget_text)
    proposer = Proposer(find_space("mobile_former"), budget, ["top1", "madds"], "auto", seed=0)
    proposals = []
    wall: list[float] = []
    cpu: list[float] = []
    for _ in range(count):
        start, start_cpu = time.perf_counter(), time.process_time()
        proposal = proposer.next()
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - start_cpu) * 1e3)
        assert proposal is not None
        proposals.append(proposal)
    sample = random.Random(0).sample(proposals, min(judged, count))
    by_fvcore = [judge_madds(MobileFormer(p.config), p.config.resolution).madds for p in sample]
    return {
        "budget": budget_text,
        "proposals": len(proposals),
        "in_band": sum(budget.low <= p.costs.madds <= budget.high for p in proposals),
        "below": sum(p.costs.madds < budget.low for p in proposals),
        "above": sum(p.costs.madds > budget.high for p in proposals),
        "duplicates": len(proposals) - len({p.arch_id for p in proposals}),
        "judged": len(sample),
        "judged_inside": sum(budget.holds(m) for m in by_fvcore),
        "judged_equal": sum(m == p.costs.madds for m, p in zip(by_fvcore, sample, strict=True)),
        "median_ms": statistics.median(wall),
        "median_cpu_ms": statistics.median(cpu),
        "longest_cpu_ms": max(cpu),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time proposals and check what they keep.")
    parser.add_argument("--proposals", type=int, default=1000, help="at each budget (default: %(default)s)")
    parser.add_argument("--judged", type=int, default=100, help="of them built and counted by fvcore (%(default)s)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    budgets = [propose(budget, args.proposals, args.judged) for budget in BUDGETS]
    if args.json:
        print(json.dumps(budgets, indent=1))
        return
    for one in budgets:
        values = (f"{value:.1f}" if isinstance(value, float) else str(value) for value in one.values())
        print("  ".join(f"{name} {value}" for name, value in zip(one, values, strict=True)))


if __name__ == "__main__":
    main()
