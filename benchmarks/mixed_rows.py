"""Do networks with MobileNetV4's rows count, compute, export and train alike wherever they are written down?

    python benchmarks/mixed_rows.py [--count 300]

Half of them are drawn from search_spaces/mobile_former_v4.yaml at a quarter of its widths, half are random mixtures of
all kinds of rows. Each is checked as tests/model/test_mobilenet_v4.py does: the closed form equals fvcore and the
module in total, by part and by block, the written ONNX graph computes the same within 1e-4, model.py the same outputs
and gradients, and a training step stays finite.
"""

import argparse
import sys
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.model.test_mobilenet_v4 import check_network
from tests.random_configs import random_v4_config
from tests.test_living import draws


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=300)
    args = parser.parse_args()
    half, failed = args.count // 2, 0
    configs = chain(draws("mobile_former_v4", half), map(random_v4_config, range(args.count - half)))
    for k, config in enumerate(configs):
        try:
            check_network(config, k)
        except Exception as error:  # each is named, and the rest is checked
            failed += 1
            print(f"network {k}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        if (k + 1) % 50 == 0:
            print(f"{k + 1} checked, {failed} failed", flush=True)
    print(f"{args.count} networks checked, {failed} failed")


if __name__ == "__main__":
    main()
