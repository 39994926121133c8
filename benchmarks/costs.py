"""How fast are exact costs? The closed form beside fvcore on the built network, in one run.

    python benchmarks/costs.py [--networks 100000] [--json]

2026-11-22, AMD EPYC, two busy cores, seconds of the processor: 100,000 networks counted in 8.1 s; medians: resolve
115 us, count_costs 68 us, building and fvcore 519,000 us (ratio 7,600).
"""

import argparse
import json
import random
import statistics
import time

import torch

from mfsearch.cost.judge import judge_madds
from mfsearch.cost.madds import count_costs
from mfsearch.model import MobileFormer
from mfsearch.space import find_space

JUDGED = 5


def measure(networks: int) -> dict[str, float]:
    """Seconds of the processor for the closed form of all networks, and medians a network; all at 224 px."""
    torch.set_num_threads(1)
    space = find_space("mobile_former")
    rng = random.Random(0)
    resolving, counting, judging = [], [], []
    for k in range(networks):
        params = space.draw(rng)
        start = time.thread_time()
        config = space.resolve(params)
        middle = time.thread_time()
        costs = count_costs(config)
        counting.append((time.thread_time() - middle) * 1e6)
        resolving.append((middle - start) * 1e6)
        if k < JUDGED:
            start = time.thread_time()
            judged = judge_madds(MobileFormer(config), config.resolution).madds
            judging.append((time.thread_time() - start) * 1e6)
            assert judged == costs.madds
    medians = {
        "count_costs_all_s": sum(counting) / 1e6,
        "resolve_us": statistics.median(resolving),
        "count_costs_us": statistics.median(counting),
        "build_and_fvcore_us": statistics.median(judging),
    }
    return medians | {"ratio": medians["build_and_fvcore_us"] / medians["count_costs_us"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time the closed-form costs beside fvcore.")
    parser.add_argument("--networks", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = measure(args.networks)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:<22}{value:12.1f}")
