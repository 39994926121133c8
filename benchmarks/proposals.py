"""How fast are proposals, are all inside the band, does any repeat?

    python benchmarks/proposals.py [--proposals 1000] [--judged 100] [--limits] [--json]

At each budget over `mobile_former`: proposals inside the band by the closed form and, on a sample that is built, by
fvcore; published networks below the band's lower end are counted as `below`. No results are learned. Milliseconds are
wall clock; the processor's own time stands beside them, because on a busy machine the first says more of the machine.

`--limits` proposes in every shipped space at 150M and inside `mf-151m` at 80M instead, under each limit on another
cost, and writes `judged` networks of those under a limit on the ONNX file, with weights as after a training. `below` is
under the band, where a limit binds; `over` is by how much the counted size exceeds the file that is written.
"""

import argparse
import json
import random
import statistics
import time
from typing import Any

import torch

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.judge import judge_madds
from mfsearch.cost.onnx_graph import write_onnx
from mfsearch.model import MobileFormer
from mfsearch.presets import PRESETS
from mfsearch.search.proposal import Proposer
from mfsearch.space import SearchSpace, find_space, spaces_folder
from mfsearch.space.nested import NestedSpace, nested_space
from mfsearch.units import parse_budget, parse_limits

BUDGETS = ("30M", "96M", "150M", "500M")
LIMITS = (("params", "5M"), ("memory", "1.5MB"), ("size", "20MB"))


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


def propose_within(space: SearchSpace, option: str, text: str, count: int, judged: int) -> dict[str, Any]:
    """`count` proposals of a space under one limit."""
    budget = parse_budget("80M" if isinstance(space, NestedSpace) else "150M")
    limits = parse_limits(**{option: text})
    proposer = Proposer(space, budget, ["top1", "madds"], "auto", seed=0, limits=limits)
    start, found = time.process_time(), [proposer.next() for _ in range(count)]
    proposals = [one for one in found if one is not None]
    ms = (time.process_time() - start) * 1e3 / count
    sample = random.Random(0).sample(proposals, min(judged, len(proposals))) if option == "size" else []
    written = [(one.costs.onnx_bytes, written_bytes(one.config)) for one in sample]
    over = [most / size - 1 for most, size in written]
    return {
        "space": space.name,
        "limit": f"{option} {text}",
        "proposals": len(proposals),
        "inside": sum(limits.hold(one.costs) and budget.holds(one.costs.madds) for one in proposals),
        "below": sum(one.costs.madds < budget.low for one in proposals),
        "duplicates": len(proposals) - len({one.arch_id for one in proposals}),
        "mean_cpu_ms": ms,
        "written": len(written),
        "written_inside": sum(size <= parse_limits(size=text).given["onnx_bytes"] for _, size in written),
        "over_percent": [round(100 * end, 2) for end in (min(over), max(over))] if over else None,
    }


def written_bytes(config: MobileFormerConfig) -> int:
    """The bytes of a network's ONNX file with weights that are all different."""
    model = MobileFormer(config)
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return int(write_onnx(model.eval(), config.resolution).ByteSize())


def main() -> None:
    parser = argparse.ArgumentParser(description="Time proposals and check what they keep.")
    parser.add_argument("--proposals", type=int, default=1000, help="at each budget (default: %(default)s)")
    parser.add_argument("--judged", type=int, default=100, help="of them built and counted by fvcore (%(default)s)")
    parser.add_argument("--limits", action="store_true", help="limits on other costs instead of budgets")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.limits:
        spaces = [find_space(path.stem) for path in sorted(spaces_folder().glob("*.yaml"))]
        spaces.append(nested_space(PRESETS["mf-151m"], "inside mf-151m"))
        pairs = [(space, *limit) for space in spaces for limit in LIMITS]
        budgets = [propose_within(*pair, args.proposals, args.judged) for pair in pairs]
    else:
        budgets = [propose(budget, args.proposals, args.judged) for budget in BUDGETS]
    if args.json:
        print(json.dumps(budgets, indent=1))
        return
    for one in budgets:
        values = (f"{value:.1f}" if isinstance(value, float) else str(value) for value in one.values())
        print("  ".join(f"{name} {value}" for name, value in zip(one, values, strict=True)))


if __name__ == "__main__":
    main()
