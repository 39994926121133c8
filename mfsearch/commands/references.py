"""List the published systems to compare with, and measure them on this machine."""

import argparse
import json
from typing import TYPE_CHECKING

from mfsearch.commands import options
from mfsearch.references import PUBLISHED, find_references

if TYPE_CHECKING:
    from mfsearch.analysis.latency.reference_figures import ReferenceFigures

FOOT = """
? not verified: quoted from memory, not read in the system's own release or a paper. top1 on ImageNet-1k, as published.
built: exact costs in M of the network as built here, re-parameterised ones fused. madds is all that fvcore counts,
  BatchNorm, LayerNorm and pooling too. Many papers count products alone; the note says where that explains over 3 %.
timm: its tables' GMACs. ms: measured on this machine at that size, batch 1, one thread, with the 95 % interval."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="networks or families (default: all)")
    parser.add_argument("--measure", action="store_true", help="measure those not yet measured on this machine")
    parser.add_argument("--again", action="store_true", help="with --measure: measure all of them")
    parser.add_argument("--resolution", type=options.whole, help="image side in pixels for all (default: as published)")
    options.add_results(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was published, unverified figures marked, with exact costs and what was measured here."""
    from mfsearch.analysis.latency.kept_latency import passport_text
    from mfsearch.analysis.latency.reference_figures import reference_figures

    chosen = find_references(args.names)
    if args.again and not args.measure:
        raise ValueError("--again is for --measure, which is not given")
    if args.measure:
        import torch

        torch.set_num_threads(1)
    if not args.json:
        width = max(len(row.name) for row in PUBLISHED)
        head = f"{'network':<{width}}{'params (M)':>12}{'madds (M)':>11}{'top1 (%)':>10}"
        print(f"{head}{'px':>5}{'built: params, madds':>22}{'timm':>6}{'ms':>8}{'interval':>18}  note")
    figures = []
    settings = {"measure": args.measure, "again": args.again, "resolution": args.resolution}
    for each in reference_figures(chosen, args.results, cache_dir=args.cache_dir, **settings):
        figures.append(each)
        if not args.json:
            print(_line(each, width), flush=True)
    if args.json:
        print(json.dumps([_dict(each) for each in figures], indent=1))
    else:
        print(FOOT)
        for device in dict.fromkeys(passport_text(each.latency.passport) for each in figures if each.latency):
            print(f"device: {device}")
    return int(any(each.failure for each in figures))


def _dict(figures: "ReferenceFigures") -> dict[str, object]:
    built = None if figures.counts is None else {"preset": figures.reference.preset} | figures.counts._asdict()
    measured = None if figures.latency is None else figures.latency._asdict()
    row = figures.reference._asdict() | {"resolution": figures.resolution, "built": built, "measured": measured}
    return row | {"note": figures.note, "failure": figures.failure}


def _line(figures: "ReferenceFigures", width: int) -> str:
    reference, counts, latency = figures.reference, figures.counts, figures.latency

    def marked(text: str, verified: bool) -> str:
        return text + (" " if verified else "?")

    params = "" if reference.num_params is None else f"{reference.num_params / 1e6:.1f}"
    side = "" if figures.resolution is None else str(figures.resolution)
    line = f"{reference.name:<{width}}{marked(params, reference.verified_params or not params):>12}"
    line += f"{marked(f'{reference.madds / 1e6:.0f}', reference.verified_madds):>11}"
    line += f"{marked(f'{100 * reference.top1:.1f}', reference.verified_top1):>10}{side:>5}"
    line += f"{'' if counts is None else f'{counts.num_params / 1e6:.3f}, {counts.madds / 1e6:.2f}':>22}"
    line += f"{'' if counts is None or counts.timm_gmacs is None else f'{counts.timm_gmacs:.2f}':>6}"
    if latency is None or latency.latency_low_ms is None:
        return f"{line:<{width + 92}}  {figures.note}".rstrip()
    line += f"{latency.latency_ms:>8.2f}{f'{latency.latency_low_ms:.2f} .. {latency.latency_high_ms:.2f}':>18}"
    return f"{line}  {figures.note}".rstrip()
