"""Measurements are kept for the explorer; where the results folder takes none, a line says so."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def kept(results: Path, name: str, *, quiet: bool) -> Iterator[list[dict[str, object]]]:
    """Yield a list; what is in it at the end, also of an interrupted measurement, is appended to RESULTS/latency/NAME.

    quiet: say nothing on standard output. A failure to write is one line on standard error and nothing more.
    """
    from mfsearch.analysis.latency.kept_latency import FOLDER, append_lines

    lines: list[dict[str, object]] = []
    try:
        yield lines
    finally:
        path = results / FOLDER / name
        try:
            if lines:
                append_lines(path, lines)
                if not quiet:
                    print(f"\nkept      {path}")
        except OSError as error:
            print(f"mfsearch: these figures are not kept, cannot write {path}: {error.strerror}", file=sys.stderr)
