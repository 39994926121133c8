"""Recount every network of another family and print the table of mfsearch/references/counts.py.

    python benchmarks/reference_counts.py [NAME...] [--timm benchmark-infer-amp-nchw-pt291-cu128-4090.csv]

Each is built fused, counted by fvcore at its published resolution, exported, and compared with torch by ONNX Runtime.
The comparison is of lively weights (`enliven`): with first weights a branch behind a layer scale of 1e-6 would not
show. Rows that differ from the committed ones are named on standard error. About a minute on an idle core.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import torch

from mfsearch.cost.judge import UNCOUNTED, judge_madds
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.references import find_references
from mfsearch.references.build import build_reference
from mfsearch.references.counts import COUNTS, UNCOUNTED_ELSEWHERE, BuiltCounts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks or families (default: all)")
    parser.add_argument("--timm", type=Path, help="a table of timm with the columns model, infer_img_size, infer_gmacs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = list(csv.DictReader(args.timm.open())) if args.timm else []
    gmacs = {(row["model"], int(row["infer_img_size"])): float(row["infer_gmacs"]) for row in rows}
    met: set[str] = set()
    for reference in find_references(args.names):
        if not reference.built_elsewhere or reference.resolution is None:
            continue
        model = build_reference(reference)
        judged = judge_madds(model, reference.resolution, UNCOUNTED | UNCOUNTED_ELSEWHERE)
        met |= set(judged.uncounted)
        num_params = sum(each.numel() for each in model.parameters())
        listed = gmacs.get((reference.timm or "", reference.resolution))
        found = BuiltCounts(num_params, judged.madds, judged.macs, listed)
        with tempfile.TemporaryDirectory() as folder:
            deviation = export_onnx(enliven(model), reference.resolution, Path(folder) / "model.onnx")
        name = f'"{reference.name}":'
        numbers = f"{num_params:>11_}, {judged.madds:>14_}, {judged.macs:>14_}" + (f", {listed}" if listed else "")
        print(f"    {name:<34} BuiltCounts({numbers}),  # ONNX {deviation:.0e}", flush=True)
        if found != COUNTS.get(reference.name):
            print(f"{reference.name}: committed {COUNTS.get(reference.name)}", file=sys.stderr)
    print("uncounted and not met:", *sorted(UNCOUNTED_ELSEWHERE - met), file=sys.stderr)


def enliven(model: torch.nn.Module) -> torch.nn.Module:
    """The same network with scales and running statistics drawn around 1, and biases around 0."""
    generator = torch.Generator().manual_seed(1)
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if values.is_floating_point() and (values.dim() == 1 or "gamma" in name or "layer_scale" in name):
            draw = torch.rand(values.shape, generator=generator) * 0.5
            values.data.copy_(draw - 0.25 if name.endswith(("bias", "mean")) else draw + 0.75)
    return model


if __name__ == "__main__":
    main()
