"""Show the knobs, size and reach of a search space."""

import argparse
import json
import random
import statistics
from typing import Any

from mfsearch.commands import options
from mfsearch.units import LIMITED, counted, format_madds, parse_budget, parse_limits

DRAWS = 1000


def add_options(parser: argparse.ArgumentParser) -> None:
    text = "name or YAML file; left out beside --parent, all that may be cut from the parent is printed as YAML"
    parser.add_argument("space", metavar="SPACE", nargs="?", help=text)
    options.add_parent(parser)
    text = "also print the share of random draws that fit: 150M or 120M..150M"
    parser.add_argument("--budget", type=options.checked(parse_budget), help=text)
    options.add_limits(parser)
    options.add_json(parser)
    options.add_deployment(parser, "space")


def run(args: argparse.Namespace) -> int:
    """Print knobs, size and reach of a search space, and with a budget the share of random draws that fit it."""
    from mfsearch.cost.madds import count_costs
    from mfsearch.search.samplers.ground import Ground
    from mfsearch.space.nested import NestedSpace
    from mfsearch.space.solve import extreme, largest_madds, smallest_madds

    if args.space is None and args.parent is None:
        raise ValueError("name a SPACE, or a --parent to print the space inside it")
    limits = parse_limits(args.params, args.memory, args.size)
    if limits.given and not args.budget:
        raise ValueError("--params, --memory and --size need a --budget, because they are limits beside it")
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
    for name in ("madds", *LIMITED):
        values = [getattr(cost, name) for cost in (*costs, *ends)]
        middle = round(statistics.median(values[:DRAWS]))
        report[name] = {"smallest": min(values), "median": middle, "largest": max(values)}
    if found.solved:
        report["madds_with_width"] = {"smallest": smallest_madds(found), "largest": largest_madds(found)}
    if args.budget:
        budget = parse_budget(args.budget)
        as_drawn = sum(budget.low <= c.madds <= budget.high and limits.hold(c) for c in costs) / DRAWS
        ground = Ground(found, budget, limits)
        fitted = sum(ground.fit(params) is not None for params in draws) / DRAWS
        report["limits"] = limits.given
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
    print(f"{'':<16}{'smallest':>10}{'median':>10}{'largest':>10}   ({DRAWS} random draws; ends of madds by descent)")
    print(f"{'madds':<16}" + "".join(f"{format_madds(each):>10}" for each in report["madds"].values()))
    for name, (_, unit, _) in LIMITED.items():
        print(f"{name:<16}" + "".join(f"{each / 1e6:>{10 - len(unit)}.2f}{unit}" for each in report[name].values()))
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
        kept = f", {limits}" if limits.given else ""
        print(f"budget {format_madds(share['low'])} to {format_madds(share['high'])}{kept}: {fits}")
    return 0
