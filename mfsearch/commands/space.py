"""Show the knobs, size and reach of a search space."""

import argparse
import json
import random
import statistics
from typing import Any

from mfsearch.commands import options
from mfsearch.units import counted, format_madds, parse_budget

DRAWS = 1000


def add_options(parser: argparse.ArgumentParser) -> None:
    text = "name or YAML file; left out beside --parent, all that may be cut from the parent is printed as YAML"
    parser.add_argument("space", metavar="SPACE", nargs="?", help=text)
    options.add_parent(parser)
    text = "also print the share of random draws that fit: 150M or 120M..150M"
    parser.add_argument("--budget", type=options.checked(parse_budget), help=text)
    options.add_json(parser)
    options.add_deployment(parser, "space")


def run(args: argparse.Namespace) -> int:
    """Print knobs, size and reach of a search space, and with a budget the share of random draws that fit it."""
    from mfsearch.cost.madds import count_costs
    from mfsearch.space.nested import NestedSpace
    from mfsearch.space.solve import extreme, fit, largest_madds, smallest_madds

    if args.space is None and args.parent is None:
        raise ValueError("name a SPACE, or a --parent to print the space inside it")
    found, _ = options.space_and_parent(args)
    if args.space is None and isinstance(found, NestedSpace) and not (args.budget or args.json):
        print(found.to_yaml(), end="")
        return 0
    rng = random.Random(0)
    draws = [found.draw(rng) for _ in range(DRAWS)]
    costs = sorted((count_costs(found.resolve(params)) for params in draws), key=lambda cost: cost.madds)
    ends = [count_costs(extreme(found, largest=largest)) for largest in (False, True)]
    report: dict[str, Any] = {
        "name": found.name,
        "digest": found.digest,
        "knobs": {knob.name: list(knob.choices) for knob in found.knobs},
        "size": found.size,
        "width": "solve" if found.solved else "fixed",
        "resolution": found.resolution,
        "classes": found.classes,
    }
    for name, low, high in (
        ("madds", ends[0].madds, ends[1].madds),
        ("num_params", min(c.num_params for c in (*costs, *ends)), max(c.num_params for c in (*costs, *ends))),
    ):
        values = [getattr(cost, name) for cost in costs]
        report[name] = {"smallest": low, "median": round(statistics.median(values)), "largest": high}
    if found.solved:
        report["madds_with_width"] = {"smallest": smallest_madds(found), "largest": largest_madds(found)}
    if args.budget:
        budget = parse_budget(args.budget)
        as_drawn = sum(budget.low <= cost.madds <= budget.high for cost in costs) / DRAWS
        fitted = sum(fit(found, params, budget.low, budget.high) is not None for params in draws) / DRAWS
        report["budget"] = {"low": budget.low, "high": budget.high, "share_as_drawn": as_drawn, "share": fitted}
    if args.json:
        print(json.dumps(report, indent=1))
        return 0
    print(f"space {found.name} ({found.digest}), {found.resolution} px, {found.classes} classes\n")
    width = max(len(name) for name in report["knobs"])
    for name, choices in report["knobs"].items():
        words = [str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in choices]
        print(f"  {name:<{width}}  {', '.join(words)}")
    print(f"\n{counted(len(found.knobs), 'knob')}, {found.size:.3g} settings, width {report['width']}")
    print(f"{'':<12}{'smallest':>10}{'median':>10}{'largest':>10}   ({DRAWS} random draws; ends of madds by descent)")
    madds, params = report["madds"], report["num_params"]
    print(f"{'madds':<12}" + "".join(f"{format_madds(madds[key]):>10}" for key in madds))
    print(f"{'num_params':<12}" + "".join(f"{params[key] / 1e6:>9.2f}M" for key in params))
    if found.solved:
        reach = report["madds_with_width"]
        print(
            f"with widths scaled: {format_madds(reach['smallest'])} to {format_madds(reach['largest'])} multiply-adds"
        )
    if args.budget:
        share = report["budget"]
        fits = f"{share['share_as_drawn']:.1%} of draws lie inside as they are"
        if found.solved:
            fits += f", {share['share']:.1%} with their width solved"
        print(f"budget {format_madds(share['low'])} to {format_madds(share['high'])}: {fits}")
    return 0
