"""What a person sees while a search runs: a live panel on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mfsearch.analysis.front.confidence import Confidence, confidence, shown_noise, shown_probability, shown_training
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.front import front_numbers, over_limit, without_weights
from mfsearch.search.progress import Progress
from mfsearch.search.rungs import short_row
from mfsearch.search.screen import screen_line
from mfsearch.study.ledger import WEIGHTS
from mfsearch.units import format_madds, format_seconds

LINES_LIVE = 8  # members of the front in the live panel


def make_display(*, quiet: bool) -> "Display":
    """Live on a terminal, plain lines elsewhere, nothing where only JSON is wanted."""
    console = Console(stderr=quiet, highlight=False)
    return Display(console, live=console.is_terminal and not quiet, quiet=quiet)


class Display(contextlib.AbstractContextManager["Display"]):
    """The watcher of a run."""

    def __init__(self, console: Console, *, live: bool, quiet: bool) -> None:
        self.console, self.quiet = console, quiet
        self.live = Live(console=console, refresh_per_second=4, transient=True) if live else None
        self.last_tick = 0.0

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def began(self, progress: Progress, manifest: dict[str, Any]) -> None:
        if self.quiet:
            return
        space, data, budget = manifest["space"], manifest["data"], manifest["budget"]
        limit = manifest["latency_limit_ms"]
        low = budget["low"] if budget["stated"] else None
        recipe = manifest["recipe"]
        self._say(
            f"study     {progress.study}" + (f", goes on after {progress.before} trials" if progress.before else "")
        )
        self._say(
            f"budget    {'at most ' if low is None else format_madds(low) + ' to '}{format_madds(budget['high'])} "
            f"multiply-adds at {manifest['deployment']['resolution']} px"
            + (f", widths solved from {format_madds(budget['low'])} up" if low is None else "")
            + (f", at most {limit:g} ms" if limit is not None else "")
        )
        self._say(f"space     {space['name']}, {len(space['knobs'])} knobs, sampler {manifest['sampler']}")
        self._say(
            f"data      {data['name']}: {data['train_images']} training and {data['val_images']} validation images, "
            f"{data['classes']} classes"
        )
        self._say(
            f"proxy     {recipe['epochs']:g} epochs at {recipe['resolution']} px, {recipe['optimizer']}, "
            f"batch {recipe['batch']}; {progress.limits.workers} worker(s) on {manifest['device']}"
        )
        if progress.rungs.last:
            self._say(f"longer    {_longer(progress.rungs)}")
        self._say(f"{progress.trust}\n\n* is on the front when it is trained")
        if self.live is not None:
            self.live.start()

    def finished(self, progress: Progress, row: dict[str, Any]) -> None:
        if self.quiet:
            return
        self._say(self._line(progress, row))
        if "weights_lost" in row:
            self._say(f"           its weights could not be kept: {row['weights_lost']}")

    def longer(self, progress: Progress, row: dict[str, Any], stage: dict[str, Any]) -> None:
        if self.quiet:
            return
        top1, front = stage["top1"], " *" if row["number"] in progress.front else "  "
        facts = f"top1 {top1:6.2%}{front}  {format_seconds(stage['train_seconds'])}" if top1 is not None else ""
        length = f"{progress.rungs.factors[stage['rung']]:g}x, seed {stage['seed']}"
        self._say(f"trial {row['number']:>3}  {length:>14}  {facts or stage['reason']}")

    def measured_again(self, row: dict[str, Any], left: int) -> None:
        if self.quiet:
            return
        before = row["latency_search"]["latency_ms"]
        self._say(
            f"trial {row['number']:>3}  latency again {row['latency_ms']:6.2f} ms, {before:.2f} in the search"
            + (", over the limit" if over_limit(row) else "")
            + ("  disturbed" if row["latency_disturbed"] else "")
            + (f"  ({left} left)" if left else "")
        )

    def not_measured_again(self, whose: str, reason: str) -> None:
        """whose: "the front's latencies are" or a trial's."""
        self._say(f"{whose} not measured again: {reason}; the same command tries again")

    def tick(self, progress: Progress) -> None:
        now = time.monotonic()
        if self.live is not None and now - self.last_tick > 0.25:
            self.live.update(_panel(progress))
            self.last_tick = now

    def _say(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def _line(self, progress: Progress, row: dict[str, Any]) -> str:
        facts = f"trial {row['number']:>3}  {format_madds(row['madds']):>7}"
        if row.get("latency_ms") is not None:
            facts += f"  {row['latency_ms']:6.2f} ms"
        if row["outcome"] == "trained":
            front = " *" if row["number"] in progress.front else "  "
            facts += f"  top1 {row['top1']:6.2%}{front}  {format_seconds(row['train_seconds']):>7}"
        else:
            facts += f"  {row['outcome']}: {row['reason']}"
        left = progress.seconds_left()
        return f"{facts}  {row['origin']}" + (f"  ({format_seconds(left)} left)" if left else "")


def _longer(rungs: Rungs) -> str:
    """In words who is trained longer."""
    middle = " and ".join(f"{factor:g}x" for factor in rungs.factors[1:-1])
    words = f"one network in {rungs.keep:g} goes on to {middle} the short training; " if middle else ""
    return f"{words}{rungs.finalists} finalists to {rungs.factors[-1]:g}x with {rungs.seeds} seeds each"


def _panel(progress: Progress) -> Group:
    limits = progress.limits
    of = f" of {limits.trials}" if limits.trials is not None else ""
    rejected = sum(row["outcome"] == "rejected" for row in progress.rows)
    failed = sum(row["outcome"] == "failed" for row in progress.rows)
    longer = sum(len(row.get("stages", ())) for row in progress.rows)
    facts = [f"{progress.trained}{of} trained, {longer} longer, {rejected} rejected, {failed} failed"]
    if progress.trained:
        facts.append(f"best top1 {max(row['top1'] for row in progress.rows if row['outcome'] == 'trained'):.2%}")
    left = progress.seconds_left()
    if left is not None:
        facts.append(f"{format_seconds(left)} left")
    head = "   ".join(facts)
    lines = [Text(head, style="bold")]
    for number, running in sorted(progress.running.items()):
        bar = "#" * round(20 * running.share)
        text = f"  worker {number}  {format_madds(running.madds):>7}  {running.stage:<10} [{bar:<20}]  {running.origin}"
        lines.append(Text(text, style="dim"))
    table = front_table(progress.rows, progress.front[-LINES_LIVE:], progress.objectives)
    return Group(*lines, table)


def front_table(
    rows: list[dict[str, Any]],
    numbers: list[int],
    objectives: list[str],
    sure: Mapping[int, Confidence] | None = None,
) -> Table:
    """The given trials as a table, in their order. sure: by trial, if the noise of a training is known.

    Tokens and DyReLU make room where trainings differ in length, so that the table keeps within 100 columns.
    """
    by_number = {row["number"]: row for row in rows}
    longer = any("rung" in by_number[number] for number in numbers)
    heads = ["trial", "top1 %"] + (["trained"] if longer else []) + (["on front", "tied with"] if sure else [])
    heads += ["madds M", "params M"] + (["ms"] if "latency_ms" in objectives else [])
    heads += ["origin"] if longer or sure else ["tokens", "DyReLU", "origin"]
    table = Table(title="front", title_justify="left", box=None, pad_edge=False)
    for name in heads:
        table.add_column(name, justify="left" if name in ("trained", "tied with", "DyReLU", "origin") else "right")
    for number in numbers:
        row = by_number[number]
        tokens = row["config"]["tokens"]
        cells = {
            "trial": str(number),
            "top1 %": top1_percent(row),
            "trained": shown_training(row),
            "madds M": f"{row['madds'] / 1e6:.1f}",
            "params M": f"{row['num_params'] / 1e6:.2f}",
            "ms": f"{row['latency_ms']:.2f}" if "latency_ms" in objectives else "",
            "tokens": f"{tokens['count']}x{tokens['dim']}" if tokens["count"] else "none",
            "DyReLU": row["config"]["dyrelu"]["source"],
            "origin": row["origin"],
        }
        if sure:
            cells["on front"] = shown_probability(sure[number].front_probability)
            cells["tied with"] = _tied_with(sure[number].tied_with)
        table.add_row(*(cells[name] for name in heads))
    return table


def top1_percent(row: dict[str, Any]) -> str:
    """ "61.34", with its standard deviation over seeds "61.34 ±0.42"; "" without a top1."""
    if row.get("top1") is None:
        return ""
    spread = row.get("top1_std")
    return f"{100 * row['top1']:.2f}" + (f" ±{100 * spread:.2f}" if spread is not None else "")


def _tied_with(numbers: list[int]) -> str:
    """The nearest two and how many more."""
    more = f" +{len(numbers) - 2}" if len(numbers) > 2 else ""
    return ", ".join(map(str, numbers[:2])) + more


def print_front(rows: list[dict[str, Any]], manifest: dict[str, Any], folder: Path) -> None:
    """The front as a table with a line on what became of all trials."""
    console = Console(highlight=False)
    objectives = manifest["objectives"]
    numbers = front_numbers(rows, objectives)
    counts = {
        name: sum(row["outcome"] == name for row in rows) for name in ("trained", "stopped", "rejected", "failed")
    }
    longer = sum("rung" in row for row in rows)
    if numbers:
        console.print(front_table(rows, numbers, objectives, confidence(rows, objectives)), soft_wrap=True)
        if noise := shown_noise(rows):
            console.print(f"\n{noise}", soft_wrap=True)
    disturbed = sum(bool(row.get("latency_disturbed")) for row in rows)
    console.print(
        f"\n{folder.name}: {counts['trained']} trained, "
        + (f"{longer} of them longer, " if longer else "")
        + (f"{counts['stopped']} stopped half way, " if counts["stopped"] else "")
        + f"{counts['rejected']} rejected by latency, {counts['failed']} failed; "
        f"{len(numbers)} on the front of {', '.join(objectives)}",
        soft_wrap=True,
    )
    if "latency_ms" in objectives and counts["trained"]:
        console.print(_latency_origin(rows, manifest, numbers), soft_wrap=True)
    if missing := without_weights(rows, objectives, folder / WEIGHTS):
        console.print(f"on the front without kept weights: trial {', '.join(map(str, missing))}", soft_wrap=True)
    if screened := screen_line([short_row(row) for row in rows], manifest.get("latency_limit_ms")):
        console.print(screened, soft_wrap=True)
    if disturbed:
        measured = sum(row.get("latency_ms") is not None for row in rows)
        console.print(
            f"{disturbed} of {measured} latencies were measured on a disturbed machine and may be off by some percent; "
            f"`mfsearch latency {folder.name}:TRIAL` measures longer",
            soft_wrap=True,
        )


def _latency_origin(rows: list[dict[str, Any]], manifest: dict[str, Any], numbers: list[int]) -> str:
    """Which device latencies belong to, whether the front's were measured again, and who left the front by that."""
    passport = manifest.get("passport") or {}
    device = passport.get("cpu") or passport.get("device") or "a device without a name"
    threads = f", {passport['threads']} thread(s)" if "threads" in passport else ""
    windows = {row.get("latency_final", {}).get("window") for row in rows if row["number"] in numbers}
    again = "" if None in windows or len(windows) != 1 else "; the front's were measured again in one go at the end"
    over = [f"{row['number']} ({row['latency_ms']:.2f} ms)" for row in rows if over_limit(row)]
    limit = f"\nover the limit when measured again, so off the front: trial {', '.join(over)}"
    return f"latencies on {device}{threads}{again}" + (limit if over else "")
