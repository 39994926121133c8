"""describe, latency and space: commands about networks, without a study."""

import argparse
import dataclasses
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import Costs, count_costs, count_madds
from mfsearch.cost.runner import TIMEOUT_S, Runner, RunnerLatency
from mfsearch.space import SearchSpace
from mfsearch.units import format_madds, parse_budget, parse_seconds

if TYPE_CHECKING:
    from mfsearch.cost.meter import LatencyMeter

DRAWS = 1000


def deployed(config: MobileFormerConfig, args: argparse.Namespace) -> MobileFormerConfig:
    """The network at --resolution and --classes where they are given."""
    resolution = config.resolution if args.resolution is None else args.resolution
    classes = config.classes if args.classes is None else args.classes
    return dataclasses.replace(config, resolution=resolution, classes=classes)


def deployed_space(space: SearchSpace, args: argparse.Namespace) -> SearchSpace:
    """The space at --resolution and --classes where they are given."""
    resolution = space.resolution if args.resolution is None else args.resolution
    classes = space.classes if args.classes is None else args.classes
    space = space.deployed(resolution, classes)
    space.draw(random.Random(0))  # a ValueError for a size that no network takes
    return space


def describe(args: argparse.Namespace) -> int:
    """Print the paper's table of a network and its exact costs, per part and per place."""
    from mfsearch.study.configs import find_config

    config = deployed(find_config(args.config, args.results), args)
    costs = count_costs(config)
    if args.json:
        print(json.dumps(_described(args.config, config, costs), indent=1))
        return 0
    print(f"{args.config}   arch_id {config.arch_id}   {config.resolution} px, {config.classes} classes\n")
    print(config.table())
    print(f"\nmultiply-adds  {costs.madds / 1e6:9.2f} M   (of them products: {costs.macs / 1e6:.2f} M)")
    print(f"parameters     {costs.num_params / 1e6:9.3f} M")
    print(f"activations    {costs.activation_bytes / 1e6:9.2f} MB at their peak, fp32, batch 1\n")
    for title, rows in (("part", costs.by_part()), ("place", costs.by_place())):
        print(f"{title:<12}{'madds (M)':>11}{'share':>8}{'params (k)':>13}")
        for name, row in rows.items():
            share = row["madds"] / costs.madds
            print(f"{name:<12}{row['madds'] / 1e6:>11.3f}{share:>8.1%}{row['num_params'] / 1e3:>13.1f}")
        print()
    return 0


def _described(name: str, config: MobileFormerConfig, costs: Costs) -> dict[str, Any]:
    return {
        "name": name,
        "arch_id": config.arch_id,
        "madds": costs.madds,
        "macs": costs.macs,
        "num_params": costs.num_params,
        "activation_bytes": costs.activation_bytes,
        "by_part": costs.by_part(),
        "by_place": costs.by_place(),
        "config": config.to_dict(),
    }


def runner_of(args: argparse.Namespace) -> Runner | None:
    """The user's own runner, where --latency-cmd names one."""
    if args.latency_cmd is None:
        if args.latency_timeout is not None:
            raise ValueError("--latency-timeout is for --latency-cmd, which is not given")
        return None
    timeout_s = TIMEOUT_S if args.latency_timeout is None else parse_seconds(args.latency_timeout)
    return Runner(args.latency_cmd, timeout_s)


def latency(args: argparse.Namespace) -> int:
    """Measure networks, in ONNX Runtime beside the reference network or by a user's runner, and print milliseconds."""
    import torch

    from mfsearch.analysis.latency.kept_latency import BREAKDOWN, kept_line
    from mfsearch.commands.keep import kept
    from mfsearch.cost.breakdown import measure_breakdown
    from mfsearch.cost.meter import LatencyMeter
    from mfsearch.cost.onnx_export import export_onnx
    from mfsearch.model import MobileFormer
    from mfsearch.study.configs import find_config

    configs = {name: deployed(find_config(name, args.results), args) for name in args.configs}
    runner = runner_of(args)
    _check_options(args)
    sides = None
    if args.resolutions is not None:
        from mfsearch.commands.latency_by_size import parse_sides, print_resolutions

        sides = parse_sides(args.resolutions)
    torch.set_num_threads(1)
    meter = runner or LatencyMeter.open(threads=1 if args.threads is None else args.threads)
    if not args.json:
        print(_where(meter))
    if sides is not None:
        return print_resolutions(configs, sides, meter, args)
    if not args.json:
        print(_reference(meter, args.batch))
        print(f"{'network':<24}{'madds (M)':>11}{'ms':>9}{'interval':>19}{'x reference':>13}  note")
    rows = {}
    with kept(args.results, BREAKDOWN, quiet=args.json) as lines:
        for name, config in configs.items():
            with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
                path = Path(folder) / "model.onnx"
                export_onnx(MobileFormer(config), config.resolution, path, batch=args.batch)
                found = meter.measure(path)
                if isinstance(found, RunnerLatency) and runner is not None:
                    meter = dataclasses.replace(runner, device=found.device)  # one table is of one device
                costs = {"arch_id": config.arch_id, "madds": count_madds(config), "batch": args.batch}
                row: dict[str, Any] = costs | found.as_dict()
                if not args.json:
                    print(_latency_line(name, row), flush=True)
                if args.breakdown:
                    row["breakdown"] = measure_breakdown(path).as_dict()
                    lines.append(kept_line(name, config.resolution, row, row["passport"], threads=1))
                    if not args.json:
                        print(_breakdown_lines(row["breakdown"]), flush=True)
                if args.int8:
                    from mfsearch.commands.latency_int8 import int8_columns, shown_agreement

                    row["int8"] = int8_columns(name, config, path, meter, args)
                    if not args.json:
                        print(f"{_latency_line('  in int8', costs | row['int8'])}\n    {shown_agreement(row['int8'])}")
            rows[name] = row
    if args.json:
        print(json.dumps(rows, indent=1))
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """ValueError names the option that was given and what it needs, or what it does not go with."""
    if args.batch < 1:
        raise ValueError(f"--batch must be 1 or more, got {args.batch}")
    options = ("resolutions", "figure", "int8", "data", "data_dir", "breakdown", "resolution", "threads", "latency_cmd")
    values = {f"--{name.replace('_', '-')}": getattr(args, name) for name in options}
    given = {option for option, value in values.items() if value is not None and value is not False}
    for option, needed in (("--figure", "--resolutions"), ("--data", "--int8"), ("--data-dir", "--int8")):
        if option in given and needed not in given:
            raise ValueError(f"{option} is for {needed}, which is not given")
    for option, other, why in (
        ("--resolutions", "--int8", "it measures in fp32"),
        ("--resolutions", "--breakdown", "it measures whole networks"),
        ("--resolutions", "--resolution", "it says the sizes itself"),
        ("--breakdown", "--latency-cmd", "it reads the profile of ONNX Runtime here"),
        ("--threads", "--latency-cmd", "the program decides"),
    ):
        if option in given and other in given:
            raise ValueError(f"{option} goes without {other}: {why}")
    if args.breakdown and args.threads not in (None, 1):
        raise ValueError(f"--breakdown goes with one thread, got --threads {args.threads}")
    figure = args.figure
    if figure is not None and (figure.is_dir() or not figure.parent.is_dir()):
        raise ValueError(f"--figure must be a file in a folder that is there, got {figure}")


def _where(meter: "LatencyMeter | Runner") -> str:
    """What milliseconds belong to, above a table of them."""
    if isinstance(meter, Runner):
        return f"measured by {meter.command}"
    device = meter.passport
    return (
        f"{device.cpu}, {device.cores} cores, governor {device.governor}, {device.threads} thread(s)\n"
        f"{device.runtime} {device.runtime_version}, {device.provider}, {device.system}"
    )


def _reference(meter: "LatencyMeter | Runner", batch: int) -> str:
    where = "" if isinstance(meter, Runner) else f"reference: MobileNetV3-Large at 224 px, {meter.baseline_ms:.2f} ms\n"
    if batch > 1:
        where += f"ms are those of a batch of {batch} images, the reference's those of one\n"
    return where


def _latency_line(name: str, row: dict[str, Any]) -> str:
    low, high, ratio = row["latency_low_ms"], row["latency_high_ms"], row["ratio"]
    interval = "" if low is None else f"{low:.2f} .. {high:.2f}"
    note = "disturbed: measure again on a quieter machine" if row["disturbed"] else row.get("device") or ""
    ratio = "" if ratio is None else f"{ratio:.3f}"
    return f"{name:<24}{row['madds'] / 1e6:>11.1f}{row['latency_ms']:>9.2f}{interval:>19}{ratio:>13}  {note}".rstrip()


def _breakdown_lines(found: dict[str, Any]) -> str:
    from mfsearch.cost.breakdown import PARTS

    lines = [f"    {PARTS[part]:<16}{ms:8.2f} ms{ms / found['sum_ms']:8.1%}" for part, ms in found["parts_ms"].items()]
    lines.append(
        f"    {'sum':<16}{found['sum_ms']:8.2f} ms   {found['nodes']} operators, the profiler's own time taken off"
    )
    return "\n".join(
        [*lines, f"    {'typical run':<16}{found['whole_ms']:8.2f} ms   the line above takes the fastest of five"]
    )


def space(args: argparse.Namespace) -> int:
    """Print knobs, size and reach of a search space, and with a budget the share of random draws that fit it."""
    from mfsearch.space import find_space
    from mfsearch.space.solve import extreme, fit, largest_madds, smallest_madds

    found = deployed_space(find_space(args.space), args)
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
    print(f"\n{len(found.knobs)} knobs, {found.size:.3g} settings, width {report['width']}")
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
