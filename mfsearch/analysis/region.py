"""A region of a figure as a search: the command that looks for more networks there."""

import shlex
from collections.abc import Mapping
from math import ceil, floor

from mfsearch.analysis.figures.tradeoff import Brush
from mfsearch.analysis.frame import METRICS

# Options of the first search that its follower does not take over; all of them have a value.
REPLACED = ("--budget", "--latency", "--study", "--from", "--storage", "--trials", "--time")


def parse_brush(text: str) -> Brush | None:
    """A brush as `brush_text` writes it; None if it is no such text."""
    cost, *ends = text.split(":")
    try:
        numbers = [float(end) for end in ends]
    except ValueError:
        return None
    if cost not in METRICS or len(numbers) != 4 or not numbers[0] < numbers[1] or not numbers[2] < numbers[3]:
        return None
    return Brush(cost, *numbers)


def brush_text(brush: Brush) -> str:
    """A brush in one word, for the address of a page."""
    ends = (brush.low, brush.high, brush.top1_low, brush.top1_high)
    return ":".join([brush.cost, *(f"{end:.4g}" for end in ends)])


def search_command(manifest: Mapping[str, object], study: str, brush: Brush | None, limits: Mapping[str, float]) -> str:
    """The command that searches the brushed region with the study's settings, beginning with its best networks.

    study: how a command line names it. limits: upper limits in base units by column; a brush goes before the limit on
    its cost. A region of parameters or memory has no option of its own, so it narrows nothing.
    """
    low, high = None, limits.get("madds")
    latency = limits.get("latency_ms")
    if brush is not None and brush.cost == "madds":
        low, high = max(brush.low, 0.0) * 1e6, brush.high * 1e6
    if brush is not None and brush.cost == "latency_ms":
        latency = brush.high
    words = shlex.split(str(manifest.get("command") or "mfsearch run"))
    kept, at = words[:2], 2
    given: dict[str, list[str]] = {}
    while at < len(words):
        name, equals, _ = words[at].partition("=")
        size = 1 if equals or at + 1 == len(words) or words[at + 1].startswith("--") else 2
        given[name] = words[at : at + size]
        kept += [] if name in REPLACED else words[at : at + size]
        at += size
    budget = given.get("--budget", ["--budget", "150M"])
    if high is not None:
        top = f"{ceil(high / 1e5) / 10:g}M"
        budget = ["--budget", f"{floor(low / 1e5) / 10:g}M..{top}" if low else top]
    kept[2:2] = budget
    kept += ["--latency", f"{ceil(latency * 100) / 100:g}ms"] if latency is not None else []
    return shlex.join([*kept, "--from", study])
