"""A region of a figure as a search: the command that looks for more networks there."""

import shlex
from collections.abc import Mapping
from math import ceil, floor, isfinite

from mfsearch.analysis.figures.tradeoff import Brush
from mfsearch.analysis.frame import METRICS
from mfsearch.analysis.front.command import command_options, command_words, given_options

# Options of the first search that its follower does not take over; all of them have a value.
REPLACED = ("budget", "latency", "study", "from", "storage", "trials", "time")


def parse_brush(text: str) -> Brush | None:
    """A brush as `brush_text` writes it; None if it is no such text."""
    cost, *ends = text.split(":")
    try:
        numbers = [float(end) for end in ends]
    except ValueError:
        return None
    if cost not in METRICS or len(numbers) != 4 or not all(map(isfinite, numbers)):
        return None
    if not numbers[0] < numbers[1] or not numbers[2] < numbers[3]:
        return None
    return Brush(cost, *numbers)


def brush_text(brush: Brush) -> str:
    """A brush in one word, for the address of a page."""
    ends = (brush.low, brush.high, brush.top1_low, brush.top1_high)
    return ":".join([brush.cost, *(f"{end:.6g}" for end in ends)])


def search_command(manifest: Mapping[str, object], study: str, brush: Brush | None, limits: Mapping[str, float]) -> str:
    """The command that searches the brushed region with the study's settings, beginning with its best networks.

    study: how a command line names it. limits: upper limits in base units by column; a brush goes before the limit on
    its cost. A lower end of the budget that was typed stays. A region of parameters or memory has no option of its own,
    so it narrows nothing.
    """
    low, high = _stated_low(manifest), limits.get("madds")
    latency = limits.get("latency_ms")
    if brush is not None and brush.cost == "madds":
        low, high = max(brush.low, 0.0) * 1e6, brush.high * 1e6
    if brush is not None and brush.cost == "latency_ms":
        latency = brush.high
    words = command_words(manifest)[:2] or ["mfsearch", "run"]
    budget = ["--budget", given_options(manifest).get("budget", "150M")]
    if high is not None:
        top = f"{ceil(high / 1e5) / 10:g}M"
        budget = ["--budget", f"{floor(low / 1e5) / 10:g}M..{top}" if low and low < high else top]
    kept = [word for option in command_options(manifest) if option.name not in REPLACED for word in option.words]
    slowest = ["--latency", f"{ceil(latency * 100) / 100:g}ms"] if latency is not None else []
    return shlex.join([*words, *budget, *kept, *slowest, "--from", study])


def _stated_low(manifest: Mapping[str, object]) -> float | None:
    """The lower end of the study's budget where it was typed; the usual one follows from the upper end."""
    budget = manifest.get("budget")
    low = budget.get("low") if isinstance(budget, Mapping) and budget.get("stated") is True else None
    return float(low) if isinstance(low, int | float) else None
