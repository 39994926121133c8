"""The progress bar of a search from Python, on a terminal or in a notebook; elsewhere only problems are shown."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from mfsearch.search.progress import OnEvent, Progress, SearchEvent
from mfsearch.study.study import best_trial
from mfsearch.units import counted, format_seconds

SECONDS = 0.25  # between two updates


@contextlib.contextmanager
def progress_bar() -> Iterator[OnEvent]:
    """Yields a callback for `mf.search` that shows networks trained, the best top1 and the time left."""
    console = Console(stderr=True)
    live = console.is_terminal or console.is_jupyter
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not live) as bar:
        task = bar.add_task("search", total=None)
        last = 0.0

        def show(event: SearchEvent) -> None:
            nonlocal last
            if event.kind == "problem":
                console.print(event.text, highlight=False)
            elif live and time.monotonic() - last >= SECONDS:
                done, total = _trainings(event.progress)
                words = f"measuring {event.left} more" if event.kind == "latency" else _words(event.progress)
                bar.update(task, description=words, completed=done, total=total)
                last = time.monotonic()

        yield show


def _trainings(progress: Progress) -> tuple[float, float | None]:
    """Work done and work in all, in short trainings; a longer training goes on from the shorter one of its seed."""
    factors = progress.rungs.factors
    longest = {(trial.number, one.seed): factors[one.rung] for trial in progress.trials for one in trial.trainings}
    done = sum(longest.values())
    for running in progress.running.values():
        rung = 0 if running.promotion is None else running.promotion.rung
        done += running.share * (factors[rung] - (factors[rung - 1] if rung else 0))
    trials = progress.limits.trials
    return done, None if trials is None else max(done, progress.rungs.short_trainings(trials))


def _words(progress: Progress) -> str:
    words = f"{progress.manifest.study}: {counted(progress.trained, 'network')} trained"
    best = best_trial([progress.trials[number] for number in progress.front])
    if best is not None:
        words += f", best top1 {best.metric('top1'):.1%}, {len(progress.front)} on the front"
    left = progress.seconds_left()
    return words if left is None else f"{words}, about {format_seconds(left)} left"
