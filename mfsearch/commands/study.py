"""show and explore: commands about a study."""

import argparse
import http.client
import json
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from mfsearch.units import Budget


def show(args: argparse.Namespace) -> int:
    """Print the front of a study, or all its trials."""
    from mfsearch.analysis.front.confidence import shown_training
    from mfsearch.commands.display import print_front, top1_percent
    from mfsearch.study.ledger import find_study, list_studies, read_manifest, read_trials

    name = args.study
    if name is None:
        known = list_studies(args.results)
        if not known:
            raise ValueError(f"there is no study under {args.results}; `mfsearch run` makes one")
        name = known[0]
    folder = find_study(name, args.results)
    manifest, rows = read_manifest(folder), read_trials(folder)
    if args.json:
        summary = summary_of(manifest, rows, folder)
        sure = _confidence_by_number(rows, manifest["objectives"]) if args.all else {}
        trials = {"trials": [row | sure.get(row["number"], {}) for row in rows]} if args.all else {}
        print(json.dumps(summary | trials, indent=1))
        return 0
    if args.all:
        longer = any("rung" in row for row in rows)
        width, trained = (13, f"{'trained':<14}") if longer else (8, "")
        print(f"{'trial':>5} {'outcome':<9}{'top1 %':>{width}}{'madds M':>9}{'ms':>8}  {trained}origin / reason")
        for row in rows:
            ms = f"{row['latency_ms']:.2f}" if row.get("latency_ms") is not None else ""
            if longer:
                trained = f"{shown_training(row) if row['outcome'] == 'trained' else '':<14}"
            words = row["origin"] + (f": {row['reason']}" if row.get("reason") else "")
            facts = (
                f"{row['number']:>5} {row['outcome']:<9}{top1_percent(row):>{width}}{row['madds'] / 1e6:>9.1f}{ms:>8}"
            )
            print(f"{facts}  {trained}{words}")
        print()
    print_front(rows, manifest, folder)
    return 0


def summary_of(manifest: dict[str, Any], rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """A study as plain data: counts by outcome, the front without its curves and how sure it is, the manifest."""
    from mfsearch.analysis.front.confidence import training_noise
    from mfsearch.search.front import front_numbers
    from mfsearch.study.files import without_password

    front = front_numbers(rows, manifest["objectives"])
    by_number = {row["number"]: row for row in rows}
    counts = {name: sum(row["outcome"] == name for row in rows) for name in ("trained", "rejected", "failed")}
    duplicates = len(rows) - len({row["arch_id"] for row in rows})
    budget = Budget(**manifest["budget"])
    sure = _confidence_by_number(rows, manifest["objectives"])
    noise = {rung: each._asdict() for rung, each in training_noise(rows).items()}
    return {
        "study": manifest["study"],
        "folder": str(folder),
        **counts,
        "stopped_half_way": sum(row["outcome"] == "stopped" for row in rows),
        "trained_longer": sum("rung" in row for row in rows),
        "duplicates": duplicates,
        "trained_outside_budget": sum(row["outcome"] == "trained" and not budget.holds(row["madds"]) for row in rows),
        "top1_noise": noise or None,
        "front": [_without_curves(by_number[number]) | sure.get(number, {}) for number in front],
        "manifest": manifest | {"storage": without_password(manifest.get("storage") or "") or None},
    }


def _confidence_by_number(rows: list[dict[str, Any]], objectives: list[str]) -> dict[int, dict[str, Any]]:
    from mfsearch.analysis.front.confidence import confidence

    return {number: sure._asdict() for number, sure in confidence(rows, objectives).items()}


def _without_curves(row: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in row.items() if key != "curve"}
    if "stages" in row:
        plain["stages"] = [{key: value for key, value in stage.items() if key != "curve"} for stage in row["stages"]]
    return plain


def explore(args: argparse.Namespace) -> int:
    """Open the Streamlit explorer on 127.0.0.1 until Ctrl-C."""
    from mfsearch.explore import committed_results, explore_command
    from mfsearch.study.ledger import find_study, list_studies

    if not 1 <= args.port <= 65535:
        raise ValueError(f"--port must be 1 to 65535, got {args.port}")
    study = None
    if args.study is not None:
        come_along = committed_results()
        own = args.study in list_studies(args.results)
        use = args.results if own or come_along is None or args.study not in list_studies(come_along) else come_along
        study = find_study(args.study, use)
    if _listens(args.port):
        raise ValueError(f"--port {args.port} is in use; take another, such as {args.port % 65535 + 1}")
    command = explore_command(study, args.results, args.port)
    server = subprocess.Popen(command)
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True
        server.terminate()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, end)
    print("reading the study: the address follows", flush=True)
    while server.poll() is None and not _is_ready(args.port):
        time.sleep(0.05)
    if server.poll() is None:
        print(f"explorer at http://127.0.0.1:{args.port} (Ctrl-C ends it)", flush=True)
    code = server.wait()
    return 0 if ended else code


def _is_ready(port: int) -> bool:
    """Whether the explorer answers; it listens before, and lets who asks wait."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)  # unlike urllib's by no proxy
    try:
        asked.request("GET", "/_stcore/health")
        return asked.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


def _listens(port: int) -> bool:
    """Whether anything listens on the port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
