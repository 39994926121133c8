"""Describe a network: its table and exact costs."""

import argparse
import json

from mfsearch.commands import options


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help=options.NETWORK)
    options.add_results(parser)
    options.add_deployment(parser, "network")


def run(args: argparse.Namespace) -> int:
    """Print the paper's table of a network and its exact costs, per part and per place."""
    from mfsearch.cost.madds import count_costs
    from mfsearch.study.configs import find_config

    config = options.deployed(find_config(args.config, args.results), args)
    costs, cut_from = count_costs(config), _lineage(args)
    if args.json:
        facts = {
            name: getattr(costs, name) for name in ("madds", "macs", "num_params", "activation_bytes", "onnx_bytes")
        }
        parts = {"by_part": costs.by_part(), "by_place": costs.by_place(), "config": config.to_dict()}
        print(
            json.dumps(
                {"name": args.config, "arch_id": config.arch_id, "lineage": cut_from, **facts, **parts}, indent=1
            )
        )
        return 0
    print(f"{args.config}   arch_id {config.arch_id}   {config.resolution} px, {config.classes} classes\n")
    if cut_from:
        print(f"{cut_from}\n")
    print(config.table())
    print(f"\nmultiply-adds  {costs.madds / 1e6:9.2f} M   (multiplications alone: {costs.macs / 1e6:.2f} M)")
    print(f"parameters     {costs.num_params / 1e6:9.3f} M")
    print(f"activations    {costs.activation_bytes / 1e6:9.2f} MB at their peak, fp32, batch 1")
    print(f"ONNX file      {costs.onnx_bytes / 1e6:9.2f} MB at most\n")
    for title, rows in (("part", costs.by_part()), ("place", costs.by_place())):
        print(f"{title:<12}{'madds (M)':>11}{'share':>8}{'params (k)':>13}")
        for name, sums in rows.items():
            madds, params = sums["madds"], sums["num_params"]
            print(f"{name:<12}{madds / 1e6:>11.3f}{madds / costs.madds:>8.1%}{params / 1e3:>13.1f}")
        print()
    return 0


def _lineage(args: argparse.Namespace) -> str | None:
    """What a trial of a study inside a parent was cut from; None for any other network."""
    from mfsearch.analysis.front.compare import lineage
    from mfsearch.study.configs import find_trial

    study, colon, number = args.config.rpartition(":")
    if not colon or number.endswith((".yaml", ".yml", ".json")):
        return None
    opened, trial = find_trial(study, number, args.results)
    facts = opened.manifest.parent
    return None if facts is None else lineage(facts, opened.parent, trial)
