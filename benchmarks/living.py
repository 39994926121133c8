"""How many networks have dead parts, and is every part of a drawn network alive?

    python benchmarks/living.py [--count 500] [--budget 150M] [--shares-only]

For each shipped space it draws `count` networks that fit the budget and says how many would hold dead parts if
`resolve` did not drop them, and counts the dead networks of the committed studies. Then it draws `count` more at a
quarter of the width and checks each as tests/test_living.py does: all Formers, bridges and DyReLUs depend on the image,
the logits depend on all of them, no operator of the ONNX graph has constants alone as inputs.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mfsearch.living import dead_parts, living
from mfsearch.space import find_space, search_space
from mfsearch.space.solve import fit
from mfsearch.study.study import Study
from mfsearch.units import parse_madds
from tests.test_living import SPACES, check_all_alive, draws

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--budget", type=parse_madds, default=parse_madds("150M"))
    parser.add_argument("--shares-only", action="store_true")
    args = parser.parse_args()
    for name in SPACES:
        print_shares(name, args.count, args.budget)
    for path in sorted(RESULTS.rglob("manifest.json")):
        study = Study.open(path.parent)
        trained = [trial for trial in study.trials if trial.outcome == "trained"]
        front = study.front()
        print(
            f"{path.parent.relative_to(RESULTS)}: {sum(trial.dead for trial in trained)} of {len(trained)} trained "
            f"networks are dead in part, {sum(trial.dead for trial in front)} of {len(front)} on the front"
        )
    with tempfile.TemporaryDirectory() as folder:
        for name in () if args.shares_only else SPACES:
            for config in draws(name, args.count, seed=1):
                check_all_alive(config, Path(folder) / "net.onnx")
            print(f"{name}: all parts of {args.count} networks are alive", flush=True)


def print_shares(name: str, count: int, budget: float) -> None:
    """Of random draws that fit the budget: how many `living` changes, and how many have no living Former at all."""
    space, rng = find_space(name), random.Random(0)
    changed = fits = former = lone = drawn = 0
    with mock.patch.object(search_space, "living", lambda config: config):
        while fits < count and drawn < 20 * count:
            drawn += 1
            sized = fit(space, space.draw(rng), 0.85 * budget, budget)
            if sized is None:
                continue
            config, fits = sized.config, fits + 1
            alive = living(config)
            changed += bool(dead_parts(config))
            before, after = (sum(row.former for row in net.blocks) for net in (config, alive))
            former += after < before
            lone += before > 0 and after == 0
    print(
        f"{name}: {space.size:.3g} settings, {fits / drawn:.0%} of them fit {budget / 1e6:g}M; of {fits} that fit "
        f"{changed / max(fits, 1):.0%} hold a dead part, {former / max(fits, 1):.0%} a dead Former, "
        f"in {lone / max(fits, 1):.0%} all Formers are dead",
        flush=True,
    )


if __name__ == "__main__":
    main()
