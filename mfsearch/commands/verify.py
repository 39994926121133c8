"""Verify bundles against their own files and figures."""

import argparse
import json
from pathlib import Path

from mfsearch.commands import options


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="folder of a bundle")
    parser.add_argument("--no-latency", action="store_true", help="skip the latency check (saves up to a minute)")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Check bundles and print a line for each check; the exit code is 1 if a check failed."""
    import torch

    from mfsearch.export.check import FAILED, verify_all

    torch.set_num_threads(1)
    reports = verify_all(args.folders, latency=not args.no_latency, cache_dir=args.cache_dir)
    failed = [report for report in reports if not report.verified]
    if args.json:
        rows = [
            {"folder": str(one.folder), "verified": one.verified, "checks": [check._asdict() for check in one.checks]}
            for one in reports
        ]
        print(json.dumps({"verified": not failed, "bundles": rows}, indent=1))
        return 1 if failed else 0
    for report in reports:
        print(f"{report.folder}: {'verified' if report.verified else 'FAILED'}")
        for check in report.checks:
            outcome = check.outcome.upper() if check.outcome == FAILED else check.outcome
            print(f"  {check.name:<16}{outcome:<9}{' '.join(check.said.split())}")
    if len(reports) > 1:
        print(f"{len(reports) - len(failed)} of {len(reports)} verified")
    return 1 if failed else 0
