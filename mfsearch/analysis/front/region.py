"""A region of a figure as a search: the command that looks for more networks there."""

import shlex
from collections.abc import Mapping
from math import ceil, floor, isfinite

from mfsearch.analysis.figures.tradeoff import Brush
from mfsearch.analysis.metrics import METRICS
from mfsearch.study.manifest import Manifest, option_words
from mfsearch.units import LIMITED, format_limit


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


def search_command(manifest: Manifest, study: str, brush: Brush | None, limits: Mapping[str, float]) -> str:
    """The command that searches the brushed region with the study's settings, beginning with its best networks.

    study: its name or folder on a command line. limits: upper limits in base units by column; the brush replaces the
    limit on its cost. The budget keeps its lower end if the user gave one.
    """
    budget = manifest.budget
    low: float | None = budget.low if budget.stated else None
    high, latency = limits.get("madds"), limits.get("latency_ms")
    if brush is not None and brush.cost == "madds":
        low, high = max(brush.low, 0.0) * 1e6, brush.high * 1e6
    if brush is not None and brush.cost == "latency_ms":
        latency = brush.high
    asked = manifest.asked_budget()
    if high is not None:
        top = f"{ceil(high / 1e5) / 10:g}M"
        asked = f"{floor(low / 1e5) / 10:g}M..{top}" if low and low < high else top
    options = {"budget": asked, **manifest.options()}
    for name in LIMITED:
        top_here = brush.high / METRICS[name].scale if brush is not None and brush.cost == name else limits.get(name)
        if top_here is not None and top_here != manifest.limits.get(name):  # the study's own is in its options
            options[LIMITED[name][0]] = format_limit(name, ceil(top_here / 1e4) * 10_000)
    if latency is not None:
        options["latency"] = f"{ceil(latency * 100) / 100:g}ms"
    return shlex.join(["mfsearch", "run", *option_words(options), "--from", study])
