"""Rerun the paper's ablations of a network, and those that nobody has published, on your images."""

import argparse
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfsearch.commands import options, twins
from mfsearch.units import counted, format_madds, format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mfsearch.config import MobileFormerConfig
    from mfsearch.search.ablations import AblationRow
    from mfsearch.study.twins_file import Twin, TwinParent, TwinReport

FOLDER, REPORT, FIGURE = "ablations", "ablation.json", "ablation.html"  # FOLDER is under a folder of results
ROWS = "parts,tokens,dim,directions,stages,dyrelu,intercepts,ffn,gate"
TITLES = {
    "own": "at the network's own widths, as in the paper",
    "scaled": "with all widths scaled to the network's multiply-adds",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset", dest="config", metavar="CONFIG", default="mf-294m", help=f"{options.NETWORK} (default: %(default)s)"
    )
    parser.add_argument("--rows", default=ROWS, help="the questions, separated by commas (default: %(default)s)")
    text = "own: rows as they are changed; scaled: at the network's multiply-adds (default: %(default)s)"
    parser.add_argument("--widths", choices=("own", "scaled", "both"), default="both", help=text)
    parser.add_argument("--dry-run", action="store_true", help="print the rows, their costs and an estimate, and end")
    twins.add_training_options(parser, FOLDER)


def run(args: argparse.Namespace) -> int:
    """Train the network and all rows by the same seeds, and print and draw what each change does."""
    options.begin("ablate", args.config, args.data)
    from mfsearch.analysis.figures.effects import ablation_dots, draw_ablation
    from mfsearch.analysis.figures.style import write_figure
    from mfsearch.cost.madds import count_costs
    from mfsearch.search.ablations import WIDTHS, make_rows, with_results
    from mfsearch.search.twin_networks import twin_tasks
    from mfsearch.study.files import write_json
    from mfsearch.study.twins_file import TwinParent

    network = twins.deployed_network(args)
    rows = make_rows(network, map(str.strip, args.rows.split(",")), WIDTHS if args.widths == "both" else (args.widths,))
    options.note("")
    found = [row.twin for row in rows if row.same_as is None and row.twin.config is not None]
    if not found:
        raise ValueError(f"--rows {args.rows}: {args.config} has no network that differs")
    if args.dry_run:
        costs = count_costs(network)
        parent = TwinParent(args.config, network.arch_id, costs.madds, costs.num_params, {}, {}, network)
        tasks = twin_tasks(network, found, range(args.seeds))
        seconds = twins.seconds_of(args, tasks)
        if args.json:
            plain = [_row_dict(row, 0) for row in rows]
            print(json.dumps({"network": parent.to_dict(), "trainings": len(tasks), "seconds": seconds, "rows": plain}))
        else:
            print(table(parent, rows))
            what = f"{counted(len(tasks), 'training')} of {counted(len(found) + 1, 'network')}"
            print(f"\n{what}, about {format_seconds(seconds)}; nothing was trained or written")
        return 0
    if not args.json:
        print(_head(args.config, network), flush=True)
    report = twins.train_and_compare(args, network, found, FOLDER, args.rows)
    rows = with_results(rows, report)
    folder, values = Path(report.folder), _report_dict(report, rows)
    write_json(folder / REPORT, values)
    write_figure(draw_ablation(ablation_dots(report.parent, rows)), folder / FIGURE)
    if args.json:
        print(json.dumps(values, indent=1))
    else:
        print(f"\n{table(report.parent, rows, 1 / report.data.val_images)}\n\n{twins.meaning(report)}")
        print(f"\nall values  {folder / REPORT}\nfigure      {folder / FIGURE}")
    twins.check_pairs(report)
    return 0


def table(parent: "TwinParent", rows: "Sequence[AblationRow]", step: float = 0.0) -> str:
    """The rows in at most 100 columns, with top1 in percent and the effect in points, each with its 95 % interval.

    step: one validation image as a fraction.
    """
    from mfsearch.search.ablations import SCALED

    head = f"{'':<26} {'MAdds':>6} {'params':>6}  {'top1, %':<13} {'change, points':<24} {'paper':<6}"
    timed = parent.latency_ms is not None
    lines = [_head(parent.name, parent.config), "", head + (" ms" if timed else "")]
    ms = f" {parent.latency_ms:.2f}" if timed else ""
    lines.append(f"{'the network':<26} {twins.costs_text(parent)}  {_mean(parent.top1, step):<45} {ms}")
    missing = [f"the network, seed {seed}: {reason}" for seed, reason in parent.failures.items()]
    above = []  # rows of the second table whose widths need no scaling
    widths = question = ""
    for row in rows:
        if row.widths != widths:
            widths, question = row.widths, row.question
            lines += ["", f"{TITLES[widths]}:"]
        twin, label = row.twin, row.change.label
        if row.widths != rows[0].widths and row.same_as and not row.same_as.endswith(SCALED):
            above.append(label)
            continue
        if row.question != question:
            question = row.question
            lines.append("")
        missing += [f"{twin.knob}, seed {seed}: {reason}" for seed, reason in twin.failures.items()]
        if twin.config is None:
            missing.append(f"{twin.knob}: {twin.reason}")
        elif row.same_as is not None:
            lines.append(f"{label:<26} {'= ' + row.same_as:<53} {_paper(row)}")
        else:
            effect = twins.effect_text(twin) if twin.top1 else ""
            line = f"{label:<26} {twins.costs_text(twin)}  {_mean(twin.top1, step):<13} {effect:<24} {_paper(row):<6}"
            lines.append(line + _milliseconds(twin))
    if above:
        lines += ["", textwrap.fill(f"As above, the widths stay: {', '.join(above)}.", twins.COLUMNS)]
    if missing:
        lines += ["", "not compared:", *(f"  {line}" for line in missing)]
    if any(_paper(row) for row in rows):
        lines += ["", "paper: top1 of mf-294m with that change on ImageNet; ?: quoted from memory, not verified"]
    if any(row.same_as for row in rows):
        lines.append("=: the same network, trained once. Tokens that never see the image go, with their Former.")
    return "\n".join(line.rstrip() for line in lines)


def _head(name: str, network: "MobileFormerConfig") -> str:
    from mfsearch.cost.madds import count_madds

    madds = format_madds(count_madds(network))
    return f"{name}   arch_id {network.arch_id}   {madds} multiply-adds at {network.resolution} px"


def _mean(top1: "Mapping[int, float]", step: float) -> str:
    """The mean of the seeds in percent with half its 95 % interval, "32.73 ±2.11"."""
    from mfsearch.analysis.knobs.twin_pairs import mean_effect

    mean = mean_effect(top1, step=step)
    if mean.mean is None:
        return ""
    return f"{100 * mean.mean:.2f}" + ("" if mean.high is None else f" ±{100 * (mean.high - mean.mean):.2f}")


def _paper(row: "AblationRow") -> str:
    paper = row.paper
    return "" if paper is None else f"{100 * paper:.1f}" + "?" * (not row.change.verified)


def _milliseconds(twin: "Twin") -> str:
    found = twin.latency
    if found is None:
        return ""
    half = (found.latency_high_ms - found.latency_low_ms) / 2
    return f" {found.latency_ms:.2f} ±{half:.2f}{' ?' * found.disturbed}"


def _report_dict(report: "TwinReport", rows: "Sequence[AblationRow]") -> dict[str, Any]:
    plain = report.to_dict()
    del plain["twins"]
    return plain | {"rows": [_row_dict(row, 1 / report.data.val_images) for row in rows]}


def _row_dict(row: "AblationRow", step: float) -> dict[str, Any]:
    from mfsearch.analysis.knobs.twin_pairs import mean_effect
    from mfsearch.cost.madds import count_as_published

    change = row.change
    paper = None if row.paper is None else {"top1": row.paper, "verified": change.verified}
    plain: dict[str, Any] = {"question": row.question, "label": change.label, "knobs": dict(change.knobs)}
    plain |= {"widths": row.widths, "same_as": row.same_as, "paper": paper}
    if row.twin.config is not None:
        plain["madds_as_published"] = count_as_published(row.twin.config)
        mean = mean_effect(row.twin.top1, step=step)
        plain["top1_mean"] = {name: getattr(mean, name) for name in ("mean", "low", "high")}
    own = ("knob", "old", "new", "name")
    return plain | {name: value for name, value in row.twin.to_dict().items() if name not in own}
