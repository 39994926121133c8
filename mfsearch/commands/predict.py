"""Name the classes of photos by the network of a bundle."""

import argparse
import json
import sys
from pathlib import Path

from mfsearch.commands import options


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder of a trained bundle")
    parser.add_argument(
        "photos", metavar="PHOTO", nargs="+", type=Path, help="image file of any kind that Pillow opens"
    )
    options.add_default(parser, "--top", 5, "number of classes to print")
    parser.add_argument("--torch", action="store_true", help="compute in torch (default: ONNX Runtime)")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the likeliest classes of each photo with their probabilities."""
    options.note(f"mfsearch predict: {args.bundle}")
    from mfsearch.train.inference import predict

    found = predict(
        args.bundle,
        args.photos,
        top=args.top,
        by_torch=args.torch,
        on_note=lambda note: print(note, file=sys.stderr),
    )
    if args.json:
        told = [
            {"photo": one.photo, "classes": [{"name": name, "probability": share} for name, share in one.classes]}
            for one in found
        ]
        print(json.dumps(told, indent=1))
        return 0
    for one in found:
        print(one.photo)
        for name, share in one.classes:
            print(f"  {share:>7.2%}  {' '.join(name.split())}")
    return 0
