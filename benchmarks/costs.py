"""How fast are exact costs? The closed form beside fvcore on the built network, in one run.

    python benchmarks/costs.py [--json]

2026-11-22, AMD EPYC, two busy cores, one thread: resolve 111 us, count_costs 53 us, building and fvcore 603,000 us
(ratio 11,300).
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

NETWORKS = 1000
JUDGED = 5


def measure() -> dict[str, float]:
    """Median microseconds a network: resolving params, closed form, building and judging; all networks at 224 px."""
    torch.set_num_threads(1)
    space = find_space("mobile_former")
    rng = random.Random(0)
    params = [space.draw(rng) for _ in range(NETWORKS)]
    resolving, counting, judging, configs = [], [], [], []
    for one in params:
        start = time.perf_counter()
        configs.append(space.resolve(one))
        middle = time.perf_counter()
        count_costs(configs[-1])
        counting.append((time.perf_counter() - middle) * 1e6)
        resolving.append((middle - start) * 1e6)
    for config in configs[:JUDGED]:
        start = time.perf_counter()
        judged = judge_madds(MobileFormer(config), config.resolution).madds
        judging.append((time.perf_counter() - start) * 1e6)
        assert judged == count_costs(config).madds
    medians = {
        "resolve_us": statistics.median(resolving),
        "count_costs_us": statistics.median(counting),
        "build_and_fvcore_us": statistics.median(judging),
    }
    return medians | {"ratio": medians["build_and_fvcore_us"] / medians["count_costs_us"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time the closed-form costs beside fvcore.")
    parser.add_argument("--json", action="store_true")
    figures = measure()
    if parser.parse_args().json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:<22}{value:12.1f}")
