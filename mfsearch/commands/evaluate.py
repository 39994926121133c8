"""Measure the accuracy of a bundle on labelled images."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mfsearch.commands import options

if TYPE_CHECKING:
    from mfsearch.train.inference import BundleAccuracy, RightAnswers

WHOLE_TABLE = 12  # classes up to which the confusion table is printed whole
MOST_ROWS = 20  # of classes, or of confusions


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder of a trained bundle")
    text = "folder DIR of SPLIT/CLASS/*.jpg, or digits, cifar10, cifar100 for their test splits"
    options.add_data(parser, text, required=True)
    parser.add_argument("--split", help="folder in DIR to judge by; . for DIR itself (default: val)")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print top1 and top5 with their intervals, top1 of each class, and the confusions; int8 beside fp32."""
    options.begin("evaluate", args.bundle, args.data)
    from mfsearch.train.inference import evaluate

    found = evaluate(
        args.bundle,
        args.data,
        split=args.split,
        data_dir=args.data_dir or args.data_home,
        download=args.download,
        skip_damaged=args.skip_damaged,
    )
    if args.json:
        print(json.dumps({"bundle": str(args.bundle)} | found.to_dict(), indent=1))
        return 0
    for note in found.notes:
        print(note, file=sys.stderr)
    print(f"{args.bundle} on {found.fp32.top1.images} images of {found.place}, with 95 % intervals:")
    for name, one in (("fp32", found.fp32), ("int8", found.int8)):
        if one is not None:
            top5 = f"   top5 {_shown(one.top5)}" if len(found.classes) > 5 else ""
            print(f"  {name}  top1 {_shown(one.top1)}{top5}")
    if found.same_top1 is not None:
        print(f"  int8 gives the class of fp32 on {found.same_top1:.1%} of them")
    _print_classes(found)
    _print_confusions(found)
    return 0


def _shown(share: "RightAnswers") -> str:
    low, high = share.interval
    return f"{share.value:.2%} ({low:.1%} to {high:.1%})"


def _print_classes(found: "BundleAccuracy") -> None:
    shares = {k: share for k in range(len(found.classes)) if (share := found.fp32.of_class(k)).images}
    order = sorted(shares, key=lambda k: shares[k].value) if len(shares) > MOST_ROWS else list(shares)
    print("\ntop1 by class" + (f", the {MOST_ROWS} lowest of {len(shares)}" if len(shares) > MOST_ROWS else "") + ":")
    wide = max(len(_name(found, k)) for k in order[:MOST_ROWS])
    for k in order[:MOST_ROWS]:
        int8 = f"   int8 {found.int8.of_class(k).value:.2%}" if found.int8 else ""
        print(f"  {_name(found, k):<{wide}}  {_shown(shares[k])}, {shares[k].images} images{int8}")


def _print_confusions(found: "BundleAccuracy") -> None:
    """The table of true classes (rows) and answers (columns), or the most frequent mistakes if it is large."""
    if len(found.classes) <= WHOLE_TABLE:
        table_KK = found.fp32.confusion
        numbers = [f"[{k}]" for k in range(len(found.classes))]
        wide = max(len(_name(found, k)) for k in range(len(found.classes)))
        cell = max(len(str(table_KK.max())), len(numbers[-1])) + 1
        print("\nimages by true class (row) and answer (column), fp32:")
        print(" " * (wide + 7) + "".join(number.rjust(cell) for number in numbers))
        for k, number in enumerate(numbers):
            print(f"  {number:<4} {_name(found, k):<{wide}}" + "".join(str(count).rjust(cell) for count in table_KK[k]))
        return
    mistakes = found.fp32.confusions()
    print(f"\nmost frequent mistakes of {len(mistakes)}, fp32:" if mistakes else "\nno mistakes")
    for true, answer, count in mistakes[:MOST_ROWS]:
        print(f"  {count:>5}  {_name(found, true)} taken for {_name(found, answer)}")


def _name(found: "BundleAccuracy", k: int) -> str:
    return " ".join(f"{found.classes[k]:.60}".split())
