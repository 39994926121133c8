"""List the published systems to compare with, unverified figures marked."""

import argparse
import json
from typing import TYPE_CHECKING

from mfsearch.commands import options
from mfsearch.references import PUBLISHED, Reference

if TYPE_CHECKING:
    from mfsearch.cost.madds import Costs


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was published, unverified figures marked, with the exact costs of what mfsearch builds itself."""
    from mfsearch.cost.madds import count_costs
    from mfsearch.presets import PRESETS

    built = {it.preset: count_costs(PRESETS[it.preset]) for it in PUBLISHED if it.preset is not None}
    if args.json:
        names = ("num_params", "madds", "macs")
        exact = {
            preset: {"preset": preset} | {name: getattr(costs, name) for name in names}
            for preset, costs in built.items()
        }
        rows = [it._asdict() | {"built": None if it.preset is None else exact[it.preset]} for it in PUBLISHED]
        print(json.dumps(rows, indent=1))
        return 0
    width = max(len(reference.name) for reference in PUBLISHED)
    head = f"{'network':<{width}}{'params (M)':>12}{'madds (M)':>12}{'top1 (%)':>10}"
    print(f"{head}{'px':>6}{'built: params, madds':>23}  note")
    for reference in PUBLISHED:
        print(_line(reference, width, None if reference.preset is None else built[reference.preset]))
    print(
        "\n? not verified: quoted from memory, not read in the system's own release or a paper. top1 on ImageNet-1k.\n"
        "built: the exact costs of the preset in M, multiply-adds as fvcore counts them."
    )
    return 0


def _line(reference: Reference, width: int, built: "Costs | None") -> str:
    def marked(text: str, verified: bool) -> str:
        return text + (" " if verified else "?")

    params = "" if reference.num_params is None else f"{reference.num_params / 1e6:.1f}"
    side = "" if reference.resolution is None else str(reference.resolution)
    line = f"{reference.name:<{width}}{marked(params, reference.verified_params or not params):>12}"
    line += f"{marked(f'{reference.madds / 1e6:.0f}', reference.verified_madds):>12}"
    line += f"{marked(f'{100 * reference.top1:.1f}', reference.verified_top1):>10}{side:>6}"
    exact = "" if built is None else f"{built.num_params / 1e6:.3f}, {built.madds / 1e6:.2f}"
    return f"{line}{exact:>23}  {reference.note}".rstrip()
